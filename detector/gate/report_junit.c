/* SPDX-License-Identifier: Apache-2.0 */
#include "detector/gate/report_junit.h"

#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/escape.h"
#include "detector/report.h"
#include "detector/survey.h"

/* Names of their own, beside those of functions and tests. */
#define CASE_CLEAN "leaves nothing behind"
#define CASE_SEEN "is seen whole"
#define CASE_ENDS "comes to its end"

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

/* An attribute: a space and NAME="VALUE". */
static void put_attr(FILE *out, const char *name, const char *value)
{
	fprintf(out, " %s=\"", name);
	put_xml(out, value);
	fputc('"', out);
}

/* Its end tag is the caller's. */
static void put_case(FILE *out, const char *class, const char *name, int64_t ms)
{
	fputs("  <testcase", out);
	put_attr(out, "classname", class);
	put_attr(out, "name", name);
	fprintf(out, " time=\"%.3f\">", (double)ms / 1000);
}

/* Of "failure", "error" or "skipped": with an empty text when @body is NULL. */
static void put_outcome(FILE *out, const char *what, const char *type,
			const char *message, const char *body)
{
	fprintf(out, "<%s", what);
	put_attr(out, "type", type);
	put_attr(out, "message", message);
	if (!body) {
		fputs("/>", out);
		return;
	}
	fputc('>', out);
	put_xml(out, body);
	fprintf(out, "</%s>", what);
}

static char *leak_body(const struct leak *l)
{
	char *s = NULL;
	size_t len;
	FILE *mem = open_memstream(&s, &len);

	if (!mem)
		return NULL;
	if (l->connection)
		fprintf(mem, "connection %s: %s\n", l->connection,
			l->verdict ? l->verdict : "?");
	gate_print_stack(mem, l, "");
	return fclose(mem) ? NULL : s;
}

static void junit_leak(FILE *out, const struct gate_process *p,
		       const struct leak *l)
{
	char head[TEXT_CELL], name[TEXT_CELL];

	gate_headline(l, head, sizeof(head));
	snprintf(name, sizeof(name), "%s [%s]", case_name(l), l->fingerprint);
	put_case(out, l->package ? l->package : gate_process_name(p), name, 0);
	if (l->ignored) {
		put_outcome(out, "skipped", "ignored", l->ignored->reason,
			    NULL);
	} else if (l->known) {
		put_outcome(out, "skipped", "known", head, NULL);
	} else {
		AUTO_FREE char *body = leak_body(l);
		put_outcome(out, "failure", gate_rule_id(l), head, body);
	}
	fputs("</testcase>\n", out);
}

static void junit_cut(FILE *out, const struct gate_process *p)
{
	char text[64];

	snprintf(text, sizeof(text), "and %" PRIu64 " more goroutines",
		 p->leaks_cut);
	put_case(out, gate_process_name(p), CASE_CLEAN, p->held_ms);
	put_outcome(out, "failure", "leaked-goroutine", text, NULL);
	fputs("</testcase>\n", out);
}

/* A process without a leak is a test that passed; one not read, an error. */
static void junit_whole(FILE *out, const struct gate_report *r,
			const struct gate_process *p)
{
	const char *why = p->why ? p->why : "it ended with a failure";

	put_case(out, gate_process_name(p), CASE_CLEAN, p->held_ms);
	if (p->outcome == GATE_NOT_READ)
		put_outcome(out, r->allow_gaps ? "skipped" : "error",
			    "not-read", why, NULL);
	else if (p->outcome != GATE_JUDGED)
		put_outcome(out, "skipped", "not-judged", why, NULL);
	fputs("</testcase>\n", out);
}

static bool has_gaps(const struct gate_report *r, const struct gaps *gaps)
{
	return !r->allow_gaps && gaps_matter(gaps);
}

static void junit_gaps(FILE *out, const char *class, const struct gaps *gaps)
{
	AUTO_FREE char *body = NULL;
	size_t len;
	FILE *mem = open_memstream(&body, &len);

	for (size_t i = 0; mem && i < gaps->n; i++)
		if (gap_matters(gaps->v[i].kind))
			fprintf(mem, "%" PRIu64 " %s\n", gaps->v[i].count,
				gaps->v[i].text);
	if (mem)
		fclose(mem);
	put_case(out, class, CASE_SEEN, 0);
	put_outcome(out, "error", "gaps", "not all was seen", body);
	fputs("</testcase>\n", out);
}

struct junit_counts {
	size_t id; /* of the suite: its number */
	size_t tests, failures, errors, skipped;
};

static void suite_begin(FILE *out, const char *name, const char *package,
			const struct junit_counts *n, int64_t ms)
{
	char host[HOST_NAME_MAX + 1] = "localhost", when[32];
	time_t now = time(NULL);
	struct tm tm;

	gethostname(host, sizeof(host) - 1);
	gmtime_r(&now, &tm);
	strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%S", &tm);
	fprintf(out, " <testsuite id=\"%zu\"", n->id);
	put_attr(out, "name", name);
	put_attr(out, "package", package);
	fprintf(out,
		" tests=\"%zu\" failures=\"%zu\" errors=\"%zu\" "
		"skipped=\"%zu\" time=\"%.3f\" timestamp=\"%s\"",
		n->tests, n->failures, n->errors, n->skipped, (double)ms / 1000,
		when);
	put_attr(out, "hostname", host);
	fputs(">\n", out);
}

static struct junit_counts count(const struct gate_report *r,
				 const struct gate_process *p)
{
	bool whole = !p->n_leaks && !p->leaks_cut;
	bool error = p->outcome == GATE_NOT_READ && !r->allow_gaps;
	bool gaps = has_gaps(r, &p->gaps);
	struct junit_counts n = {
		.failures = gate_process_new_leaks(p) + (p->leaks_cut > 0),
		.errors = (whole && error) + (size_t)gaps,
	};

	n.tests = p->n_leaks + (whole || p->leaks_cut) + (size_t)gaps;
	n.skipped = p->n_leaks - gate_process_new_leaks(p) +
		    (whole && p->outcome != GATE_JUDGED && !error);
	return n;
}

static void junit_process(FILE *out, const struct gate_report *r,
			  const struct gate_process *p, size_t id)
{
	struct junit_counts n = count(r, p);

	n.id = id;
	suite_begin(out, gate_process_name(p), p->package ? p->package : "", &n,
		    p->held_ms);
	for (size_t i = 0; i < p->n_leaks; i++)
		junit_leak(out, p, &p->leaks[i]);
	if (p->leaks_cut)
		junit_cut(out, p);
	else if (!p->n_leaks)
		junit_whole(out, r, p);
	if (has_gaps(r, &p->gaps))
		junit_gaps(out, gate_process_name(p), &p->gaps);
	fputs(" </testsuite>\n", out);
}

static char *hung_body(const struct gate_process *p)
{
	char *s = NULL;
	size_t len;
	FILE *mem = open_memstream(&s, &len);

	if (!mem)
		return NULL;
	for (; p; p = p->next) {
		fprintf(mem, "process %d: %s\n", (int)p->pid, p->cmdline);
		for (size_t i = 0; i < p->n_leaks; i++) {
			const struct leak *l = &p->leaks[i];

			fprintf(mem, "%zu goroutine%s, %s:\n", l->count,
				PLURAL(l->count), l->reason);
			gate_print_stack(mem, l, "  ");
		}
	}
	return fclose(mem) ? NULL : s;
}

/* What befell the command itself, or all of it; nothing when it just ended. */
static void junit_command(FILE *out, const struct gate_report *r, size_t id)
{
	char why[TEXT_CELL];
	bool ended = !gate_command_failure(r, why, sizeof(why));
	bool gaps = has_gaps(r, &r->result->gaps);
	size_t errors = (size_t)!ended + (size_t)gaps;
	struct junit_counts n = { .id = id, .tests = errors, .errors = errors };

	if (!errors)
		return;
	suite_begin(out, r->argv[0], "", &n, 0);
	if (!ended) {
		AUTO_FREE char *body = hung_body(r->result->hung);
		put_case(out, r->argv[0], CASE_ENDS, 0);
		put_outcome(out, "error", "command", why, body);
		fputs("</testcase>\n", out);
	}
	if (gaps)
		junit_gaps(out, r->argv[0], &r->result->gaps);
	fputs(" </testsuite>\n", out);
}

void gate_junit(FILE *out, const struct gate_report *r)
{
	size_t id = 0;

	fputs("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n",
	      out);
	for (const struct gate_process *p = r->result->processes; p;
	     p = p->next)
		junit_process(out, r, p, id++);
	junit_command(out, r, id);
	fputs("</testsuites>\n", out);
}
