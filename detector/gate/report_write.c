/* SPDX-License-Identifier: Apache-2.0 */

/* JUnit's XML, markdown, GitHub's annotations; and which writer is asked. */

#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/escape.h"
#include "detector/gate/report.h"
#include "detector/gate/report_json.h"
#include "detector/report.h"

/*
 * XML 1.0: neither control characters but tab and line feed, nor U+FFFE and
 * U+FFFF, not even escaped.
 */
static void put_xml(FILE *out, const char *s)
{
	AUTO_FREE char *utf8 = escape_utf8(s ? s : "?");

	for (const char *c = utf8; c && *c; c++) {
		if (*c == '<')
			fputs("&lt;", out);
		else if (*c == '>')
			fputs("&gt;", out);
		else if (*c == '&')
			fputs("&amp;", out);
		else if (*c == '"')
			fputs("&quot;", out);
		else if (!strncmp(c, "\xef\xbf\xbe", 3) ||
			 !strncmp(c, "\xef\xbf\xbf", 3))
			fputc('?', out), c += 2;
		else if ((unsigned char)*c >= 0x20 || *c == '\t' || *c == '\n')
			fputc(*c, out);
		else
			fputc('?', out);
	}
}

static const char *case_name(const struct leak *l)
{
	if (l->test)
		return l->test;
	return l->has_site ? l->site.function : gate_rule_id(l);
}

static void junit_case(FILE *out, const struct gate_process *p,
		       const struct leak *l)
{
	char head[TEXT_CELL];

	gate_headline(l, head, sizeof(head));
	fputs("  <testcase classname=\"", out);
	put_xml(out, l->package ? l->package : gate_process_name(p));
	fputs("\" name=\"", out);
	put_xml(out, case_name(l));
	fprintf(out, " [%s]\" time=\"0\">\n", l->fingerprint);
	if (l->known || l->ignored) {
		fputs("   <skipped/>\n", out);
	} else {
		fprintf(out, "   <failure type=\"%s\" message=\"",
			gate_rule_id(l));
		put_xml(out, head);
		fputs("\">", out);
		AUTO_FREE char *stack = NULL;
		size_t len;
		FILE *mem = open_memstream(&stack, &len);
		if (mem) {
			if (l->connection)
				fprintf(mem, "connection %s: %s\n",
					l->connection,
					l->verdict ? l->verdict : "?");
			gate_print_stack(mem, l, "");
			fclose(mem);
			put_xml(out, stack);
		}
		fputs("</failure>\n", out);
	}
	fputs("  </testcase>\n", out);
}

/* A process without a leak is a test that passed; one not read, an error. */
static void junit_whole(FILE *out, const struct gate_process *p)
{
	fputs("  <testcase classname=\"", out);
	put_xml(out, gate_process_name(p));
	fprintf(out, "\" name=\"leaves nothing behind\" time=\"%.3f\">",
		(double)p->held_ms / 1000);
	if (p->outcome == GATE_NOT_READ) {
		fputs("<error type=\"not-read\" message=\"", out);
		put_xml(out, p->why);
		fputs("\"/>", out);
	} else if (p->outcome != GATE_JUDGED) {
		fputs("<skipped/>", out);
	}
	fputs("</testcase>\n", out);
}

static void junit_suite(FILE *out, const struct gate_process *p, size_t id)
{
	size_t failures = gate_process_new_leaks(p);
	bool error = p->outcome == GATE_NOT_READ;
	char host[HOST_NAME_MAX + 1] = "localhost", when[32];
	time_t now = time(NULL);
	struct tm tm;

	gethostname(host, sizeof(host) - 1);
	gmtime_r(&now, &tm);
	strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%S", &tm);
	fprintf(out, " <testsuite id=\"%zu\" name=\"", id);
	put_xml(out, gate_process_name(p));
	fputs("\" package=\"", out);
	put_xml(out, p->package ? p->package : "");
	fprintf(out,
		"\" tests=\"%zu\" failures=\"%zu\" errors=\"%d\" "
		"skipped=\"%zu\" time=\"%.3f\" timestamp=\"%s\" hostname=\"",
		p->n_leaks ? p->n_leaks : 1, failures, error,
		p->n_leaks ? p->n_leaks - failures
			   : (size_t)(p->outcome != GATE_JUDGED && !error),
		(double)p->held_ms / 1000, when);
	put_xml(out, host);
	fputs("\">\n", out);
	for (size_t i = 0; i < p->n_leaks; i++)
		junit_case(out, p, &p->leaks[i]);
	if (!p->n_leaks)
		junit_whole(out, p);
	fputs(" </testsuite>\n", out);
}

static void write_junit(FILE *out, const struct gate_report *r)
{
	size_t id = 0;

	fputs("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n",
	      out);
	for (const struct gate_process *p = r->result->processes; p;
	     p = p->next)
		junit_suite(out, p, id++);
	fputs("</testsuites>\n", out);
}

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
		write_junit(out, r);
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
