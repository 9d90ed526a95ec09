/* SPDX-License-Identifier: Apache-2.0 */

/* Markdown, GitHub's annotations; and which writer is asked. */

#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/escape.h"
#include "detector/gate/report.h"
#include "detector/gate/report_json.h"
#include "detector/gate/report_junit.h"
#include "detector/report.h"

/* In a table's cell: no bar, no line feed, no markup. */
static void put_cell(FILE *out, const char *s)
{
	AUTO_FREE char *utf8 = escape_utf8(s ? s : "");

	fputs("| ", out);
	for (const char *c = utf8; c && *c; c++) {
		if (strchr("|\\`*_<>[]#&", *c))
			fputc('\\', out);
		fputc((unsigned char)*c < 0x20 ? ' ' : *c, out);
	}
	fputc(' ', out);
}

static void markdown_row(FILE *out, const struct gate_report *r,
			 const struct gate_process *p, const struct leak *l)
{
	char head[TEXT_CELL], buf[PATH_MAX], where[PATH_MAX + 16] = "";

	gate_headline(l, head, sizeof(head));
	if (l->has_site) {
		const char *file = gate_file(r, p, &l->site, buf, sizeof(buf));
		snprintf(where, sizeof(where), "%s:%" PRIu32,
			 file ? file : l->site.file, l->site.line);
	}
	put_cell(out, l->ignored ? "ignored" : l->known ? "known" : "new");
	put_cell(out, head);
	put_cell(out, l->test);
	put_cell(out, gate_process_name(p));
	put_cell(out, where);
	put_cell(out, l->connection && l->verdict ? l->verdict : "");
	fputs("|\n", out);
}

static void write_markdown(FILE *out, const struct gate_report *r)
{
	struct gate_sums s;

	gate_sum(r, &s);
	fprintf(out,
		"### stranded gate: %s\n\n%" PRIu64 " new leak%s (%" PRIu64
		" task%s), %" PRIu64 " known, %" PRIu64 " ignored, in %" PRIu64
		" process%s.\n",
		s.leaks ? "leaks" : "no leak", s.leaks, PLURAL(s.leaks),
		s.tasks, PLURAL(s.tasks), s.known, s.ignored, s.judged,
		s.judged == 1 ? "" : "es");
	if (r->result->timed_out)
		fputs("\nThe command did not end in time.\n", out);
	if (s.gaps)
		fputs("\nNot all was seen.\n", out);
	if (!(s.leaks + s.known + s.ignored))
		return;
	fputs("\n| | what | test | process | started at | connection |\n"
	      "|---|---|---|---|---|---|\n",
	      out);
	for (const struct gate_process *p = r->result->processes; p;
	     p = p->next)
		for (size_t i = 0; i < p->n_leaks; i++)
			markdown_row(out, r, p, &p->leaks[i]);
}

/* github.com/actions/toolkit, command.ts: escapeData and escapeProperty. */
static void put_command(FILE *out, const char *s, bool property)
{
	AUTO_FREE char *utf8 = escape_utf8(s ? s : "?");

	for (const char *c = utf8; c && *c; c++) {
		if (*c == '%' || *c == '\r' || *c == '\n' ||
		    (property && (*c == ':' || *c == ',')))
			fprintf(out, "%%%02X", (unsigned char)*c);
		else
			fputc((unsigned char)*c < 0x20 ? '?' : *c, out);
	}
}

static void annotate(FILE *out, const struct gate_report *r,
		     const struct gate_process *p, const struct leak *l)
{
	char head[TEXT_CELL], buf[PATH_MAX], title[2 * TEXT_CELL];
	AUTO_FREE char *stack = NULL;
	size_t len;
	const char *file = l->has_site
				   ? gate_file(r, p, &l->site, buf, sizeof(buf))
				   : NULL;
	FILE *mem = open_memstream(&stack, &len);

	if (mem) {
		gate_print_stack(mem, l, "");
		fclose(mem);
	}
	gate_headline(l, head, sizeof(head));
	snprintf(title, sizeof(title), "%s%s%s", head, l->test ? " by " : "",
		 l->test ? l->test : "");
	fputs("::error ", out);
	if (file) {
		fputs("file=", out);
		put_command(out, file, true);
		fprintf(out, ",line=%" PRIu32 ",", l->site.line);
	}
	fputs("title=", out);
	put_command(out, title, true);
	fputs("::", out);
	put_command(out, stack, false);
	fputc('\n', out);
}

void gate_report_annotations(FILE *out, const struct gate_report *r)
{
	for (const struct gate_process *p = r->result->processes; p;
	     p = p->next)
		for (size_t i = 0; i < p->n_leaks; i++)
			if (!p->leaks[i].known && !p->leaks[i].ignored)
				annotate(out, r, p, &p->leaks[i]);
}

static struct error *dump(FILE *out, json_t *o)
{
	int rc = o ? json_dumpf(o, out, JSON_INDENT(1)) : -1;

	json_decref(o);
	fputc('\n', out);
	return rc && !ferror(out) ? &error_nomem : NULL;
}

struct error *gate_report_write(enum gate_format format, FILE *out,
				const struct gate_report *r)
{
	switch (format) {
	case GATE_JUNIT:
		gate_junit(out, r);
		return NULL;
	case GATE_MARKDOWN:
		write_markdown(out, r);
		return NULL;
	case GATE_SARIF:
		return dump(out, gate_sarif(r));
	case GATE_JSON:
		return dump(out, gate_json(r));
	case GATE_CODEQUALITY:
		return dump(out, gate_codequality(r));
	case GATE_N_FORMATS:
		break;
	}
	return NULL;
}
