/* SPDX-License-Identifier: Apache-2.0 */

/* What is JSON: our own, SARIF, GitLab's code quality. */

#include "detector/gate/report_json.h"

#include <ctype.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "base/cleanup.h"
#include "base/escape.h"
#include "detector/report.h"
#include "detector/survey.h"

#define SARIF_SCHEMA                                                           \
	"https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/"  \
	"sarif-schema-2.1.0.json"

static json_t *text(const char *s)
{
	return report_json_text(s);
}

/* The whole command line as one text. */
static json_t *command_line(const struct gate_report *r)
{
	json_t *list = json_array();

	for (size_t i = 0; r->argv[i]; i++)
		json_array_append_new(list, text(r->argv[i]));
	return list;
}

/* --- our own --- */

static json_t *frame_json(const struct leak_frame *f)
{
	return json_pack("{s:o, s:o, s:i}", "function", text(f->function),
			 "file", text(f->file), "line", (int)f->line);
}

static json_t *stack_json(const struct leak *l)
{
	json_t *list = json_array();

	for (size_t i = 0; i < l->n_frames; i++)
		json_array_append_new(list, frame_json(&l->frames[i]));
	return list;
}

static const char *leak_status(const struct leak *l)
{
	return l->ignored ? "ignored" : l->known ? "known" : "new";
}

static json_t *leak_json(const struct leak *l)
{
	json_t *o = json_pack(
		"{s:s, s:s, s:s, s:I, s:o, s:o, s:o, s:o, s:o}", "fingerprint",
		l->fingerprint, "kind", leak_kind_name(l->kind), "status",
		leak_status(l), "count", (json_int_t)l->count, "test",
		text(l->test), "package", text(l->package), "state",
		text(l->reason), "stack", stack_json(l), "created_by",
		l->has_creator ? frame_json(&l->creator) : json_null());

	if (o && l->before)
		json_object_set_new(o, "before",
				    json_integer((json_int_t)l->before));
	if (o && l->connection)
		json_object_set_new(o, "connection",
				    json_pack("{s:o, s:o, s:b, s:o}", "text",
					      text(l->connection), "verdict",
					      text(l->verdict), "proven",
					      l->verdict_certain, "why",
					      text(l->why)));
	if (o && l->ignored)
		json_object_set_new(o, "ignored_by",
				    json_pack("{s:o, s:o}", "rule",
					      text(l->ignored->name), "reason",
					      text(l->ignored->reason)));
	return o;
}

static const char *outcome_name(enum gate_outcome outcome)
{
	switch (outcome) {
	case GATE_JUDGED:
		return "judged";
	case GATE_NOT_READ:
		return "not-read";
	case GATE_KILLED:
		return "killed";
	case GATE_FAILED:
		return "failed";
	case GATE_FOREIGN:
		return "foreign";
	case GATE_COPY:
		return "copy";
	case GATE_TOOLCHAIN:
		return "toolchain";
	}
	return "?";
}

static json_t *gaps_json(const struct gaps *gaps)
{
	json_t *list = json_array();

	for (size_t i = 0; i < gaps->n; i++)
		json_array_append_new(
			list, json_pack("{s:s, s:I, s:o}", "kind",
					gap_kind_name(gaps->v[i].kind), "count",
					(json_int_t)gaps->v[i].count, "text",
					text(gaps->v[i].text)));
	return list;
}

static json_t *process_json(const struct gate_process *p)
{
	json_t *leaks = json_array();

	for (size_t i = 0; i < p->n_leaks; i++)
		json_array_append_new(leaks, leak_json(&p->leaks[i]));
	return json_pack(
		"{s:i, s:o, s:o, s:o, s:s, s:o, s:i, s:I, s:I, s:b, "
		"s:o, s:o, s:I}",
		"pid", (int)p->pid, "command", text(p->cmdline), "runtime",
		text(p->runtime), "package", text(p->package), "outcome",
		outcome_name(p->outcome), "why", text(p->why), "status",
		(int)p->status, "held_ms", (json_int_t)p->held_ms, "goroutines",
		(json_int_t)p->tasks, "no_grace", p->no_grace, "leaks", leaks,
		"gaps", gaps_json(&p->gaps), "looks", (json_int_t)p->looks);
}

static json_t *processes_json(const struct gate_process *p)
{
	json_t *list = json_array();

	for (; p; p = p->next)
		json_array_append_new(list, process_json(p));
	return list;
}

static json_t *orphans_json(const struct watch_result *w)
{
	json_t *list = json_array();

	for (size_t i = 0; i < w->n_orphans; i++)
		json_array_append_new(
			list,
			json_pack("{s:i, s:o}", "pid", (int)w->orphans[i].pid,
				  "command", text(w->orphans[i].cmdline)));
	return list;
}

static json_t *gone_json(const struct gate_baseline *b)
{
	json_t *list = json_array();

	for (size_t i = 0; b && i < b->n; i++)
		if (!b->v[i].seen && !b->v[i].count)
			json_array_append_new(list, text(b->v[i].fingerprint));
	return list;
}

static json_t *sums_json(const struct gate_report *r)
{
	const struct watch_result *w = r->result;
	struct gate_sums s;

	gate_sum(r, &s);
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, "
			 "s:I}",
			 "leaks", (json_int_t)s.leaks, "goroutines",
			 (json_int_t)s.tasks, "known", (json_int_t)s.known,
			 "ignored", (json_int_t)s.ignored, "judged",
			 (json_int_t)s.judged, "failed", (json_int_t)s.failed,
			 "exits", (json_int_t)w->exits, "foreign",
			 (json_int_t)w->foreign, "toolchain",
			 (json_int_t)w->toolchain, "may_be_cached",
			 (json_int_t)w->cached, "gaps", (json_int_t)s.gaps);
}

json_t *gate_json(const struct gate_report *r)
{
	const struct watch_result *w = r->result;

	return json_pack("{s:i, s:{s:s, s:s}, s:o, s:i, s:b, s:o, s:o, s:o, "
			 "s:o, s:o, s:o}",
			 "schema", REPORT_SCHEMA, "tool", "name", "stranded",
			 "version", stranded_version(), "command",
			 command_line(r), "status", r->status, "timed_out",
			 w->timed_out, "summary", sums_json(r), "processes",
			 processes_json(w->processes), "hung",
			 processes_json(w->hung), "orphans", orphans_json(w),
			 "baseline_gone", gone_json(r->baseline), "gaps",
			 gaps_json(&w->gaps));
}

/* --- shared by SARIF and code quality --- */

/* RFC 3986: what is neither unreserved nor a slash is escaped. */
static void print_uri(FILE *out, const char *path)
{
	for (; *path; path++) {
		unsigned char c = (unsigned char)*path;

		if (isalnum(c) || strchr("-._~/", c))
			fputc(c, out);
		else
			fprintf(out, "%%%02X", c);
	}
}

/* The source file that a person is to look at, NULL when none is known. */
static const char *file_of(const struct gate_report *r,
			   const struct gate_process *p, const struct leak *l,
			   char buf[PATH_MAX], bool *in_root_ret)
{
	const char *file =
		l->has_site ? gate_file(r, p, &l->site, buf, PATH_MAX) : NULL;

	*in_root_ret = file != NULL;
	if (file)
		return file;
	return l->has_site && *l->site.file ? l->site.file : NULL;
}

/* Absolute: a file URI; else, as of -trimpath, a relative reference. */
static char *uri_of(const char *path)
{
	char *s = NULL;
	size_t len;
	FILE *out = open_memstream(&s, &len);

	if (!out)
		return NULL;
	fputs(path[0] == '/' ? "file://" : "", out);
	print_uri(out, path);
	return fclose(out) ? NULL : s;
}

static char *message_of(const struct gate_process *p, const struct leak *l)
{
	char head[TEXT_CELL], *s = NULL;
	size_t len;
	FILE *out = open_memstream(&s, &len);

	if (!out)
		return NULL;
	gate_headline(l, head, sizeof(head));
	fputs(head, out);
	if (l->test)
		fprintf(out, " (%s)", l->test);
	fprintf(out, ", in %s", gate_process_name(p));
	if (l->connection)
		fprintf(out, "; connection %s", l->connection);
	fputc('\n', out);
	gate_print_stack(out, l, "");
	return fclose(out) ? NULL : s;
}

/* --- SARIF 2.1.0 --- */

static json_t *sarif_location(const struct gate_report *r,
			      const struct gate_process *p,
			      const struct leak *l)
{
	char buf[PATH_MAX];
	bool in_root;
	const char *file = file_of(r, p, l, buf, &in_root);
	AUTO_FREE char *uri = uri_of(file ? file : p->exe ? p->exe : "/");
	json_t *artifact = json_pack("{s:o}", "uri", text(uri ? uri : ""));
	json_t *physical;

	if (in_root)
		json_object_set_new(artifact, "uriBaseId",
				    json_string("%SRCROOT%"));
	physical = json_pack("{s:o}", "artifactLocation", artifact);
	if (file && l->site.line)
		json_object_set_new(
			physical, "region",
			json_pack("{s:i}", "startLine", (int)l->site.line));
	return json_pack("[{s:o}]", "physicalLocation", physical);
}

static json_t *sarif_result(const struct gate_report *r,
			    const struct gate_process *p, const struct leak *l)
{
	AUTO_FREE char *message = message_of(p, l);
	json_t *o = json_pack(
		"{s:s, s:s, s:{s:o}, s:o, s:{s:s}}", "ruleId", gate_rule_id(l),
		"level", l->known || l->ignored ? "note" : "error", "message",
		"text", text(message ? message : "?"), "locations",
		sarif_location(r, p, l), "partialFingerprints",
		"strandedGate/v1", l->fingerprint);

	if (o && r->baseline)
		json_object_set_new(
			o, "baselineState",
			json_string(l->known ? "unchanged" : "new"));
	if (o && l->ignored)
		json_object_set_new(o, "suppressions",
				    json_pack("[{s:s, s:o}]", "kind",
					      "external", "justification",
					      text(l->ignored->reason)));
	return o;
}

static json_t *sarif_rule(const char *id, const char *short_text,
			  const char *help)
{
	return json_pack("{s:s, s:{s:s}, s:{s:s}, s:{s:s}}", "id", id,
			 "shortDescription", "text", short_text, "help", "text",
			 help, "defaultConfiguration", "level", "error");
}

static json_t *sarif_driver(void)
{
	return json_pack(
		"{s:s, s:s, s:[o, o, o, o, o]}", "name", "stranded", "version",
		stranded_version(), "rules",
		sarif_rule("leaked-goroutine",
			   "A goroutine outlives the program's work",
			   "End it before the test or program ends: close its "
			   "channel, cancel its context, wait for it."),
		sarif_rule("stranded-goroutine",
			   "A goroutine waits on a dead connection",
			   "Set a deadline, or keep keepalive on."),
		sarif_rule("leaked-coroutine",
			   "A coroutine outlives the program's work",
			   "Let it run to its end before the program does."),
		sarif_rule("stranded-coroutine",
			   "A coroutine waits on a dead connection",
			   "Set a deadline, or keep keepalive on."),
		sarif_rule("leaked-connection",
			   "A dead connection is held open",
			   "Close it when a read says that the peer is gone."));
}

static void notify(json_t *list, const char *message)
{
	json_array_append_new(list,
			      json_pack("{s:s, s:{s:o}}", "level", "error",
					"message", "text", text(message)));
}

static void notify_gaps(json_t *list, const struct gate_report *r,
			const struct gaps *gaps)
{
	for (size_t i = 0; !r->allow_gaps && i < gaps->n; i++)
		if (gap_matters(gaps->v[i].kind))
			notify(list, gaps->v[i].text);
}

/* What is no leak, and yet not well: section 3.20.21. */
static json_t *sarif_notifications(const struct gate_report *r)
{
	char why[TEXT_CELL];
	json_t *list = json_array();

	if (gate_command_failure(r, why, sizeof(why)))
		notify(list, why);
	notify_gaps(list, r, &r->result->gaps);
	for (const struct gate_process *p = r->result->processes; p;
	     p = p->next) {
		notify_gaps(list, r, &p->gaps);
		if (p->outcome == GATE_NOT_READ && !r->allow_gaps)
			notify(list, p->why ? p->why : "?");
	}
	return list;
}

json_t *gate_sarif(const struct gate_report *r)
{
	char why[TEXT_CELL];
	json_t *results = json_array();

	for (const struct gate_process *p = r->result->processes; p;
	     p = p->next)
		for (size_t i = 0; i < p->n_leaks; i++)
			json_array_append_new(results,
					      sarif_result(r, p, &p->leaks[i]));
	return json_pack(
		"{s:s, s:s, s:[{s:{s:o}, s:[{s:b, s:i, s:o, s:o}], s:o}]}",
		"$schema", SARIF_SCHEMA, "version", "2.1.0", "runs", "tool",
		"driver", sarif_driver(), "invocations", "executionSuccessful",
		!gate_command_failure(r, why, sizeof(why)), "exitCode",
		r->status, "arguments", command_line(r),
		"toolExecutionNotifications", sarif_notifications(r), "results",
		results);
}

/* --- GitLab, where a path is always one in the repository --- */

static json_t *quality_row(const struct gate_report *r,
			   const struct gate_process *p, const struct leak *l)
{
	char head[TEXT_CELL], line[TEXT_CELL * 2], buf[PATH_MAX];
	bool in_root;
	const char *file = file_of(r, p, l, buf, &in_root);
	int number = file && l->site.line ? (int)l->site.line : 1;

	file = file ? file : p->exe ? p->exe : "?";
	gate_headline(l, head, sizeof(head));
	snprintf(line, sizeof(line), "%s%s%s%s", head, l->test ? " (" : "",
		 l->test ? l->test : "", l->test ? ")" : "");
	return json_pack("{s:s, s:o, s:s, s:[s], s:s, s:s, s:{s:o, s:{s:i}}}",
			 "type", "issue", "description", text(line),
			 "check_name", gate_rule_id(l), "categories",
			 "Bug Risk", "fingerprint", l->fingerprint, "severity",
			 l->known ? "minor" : "major", "location", "path",
			 text(file + strspn(file, "/")), "lines", "begin",
			 number);
}

/* GitLab wants each fingerprint once. */
static bool is_listed(const json_t *list, const char *fingerprint)
{
	size_t i;
	json_t *row;

	json_array_foreach((json_t *)list, i, row)
	{
		const char *s =
			json_string_value(json_object_get(row, "fingerprint"));
		if (s && !strcmp(s, fingerprint))
			return true;
	}
	return false;
}

json_t *gate_codequality(const struct gate_report *r)
{
	json_t *list = json_array();

	for (const struct gate_process *p = r->result->processes; p;
	     p = p->next)
		for (size_t i = 0; i < p->n_leaks; i++)
			if (!p->leaks[i].ignored &&
			    !is_listed(list, p->leaks[i].fingerprint))
				json_array_append_new(
					list, quality_row(r, p, &p->leaks[i]));
	return list;
}
