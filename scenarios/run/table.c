/* SPDX-License-Identifier: Apache-2.0 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/escape.h"
#include "scenarios/run/run.h"

#define WORDS_MAX 100
#define ROW "%-30.30s %2s  %-27s %-17s %-12s %7s  %s\n"

static const char *const outcome_words[] = {
	[OUTCOME_RIGHT] = "ok",
	[OUTCOME_WRONG] = "WRONG",
	[OUTCOME_FALSE_ALARM] = "FALSE ALARM",
	[OUTCOME_NOT_RUN] = "NOT RUN",
};

static const char *const outcome_json[] = {
	[OUTCOME_RIGHT] = "right",
	[OUTCOME_WRONG] = "wrong",
	[OUTCOME_FALSE_ALARM] = "false-alarm",
	[OUTCOME_NOT_RUN] = "not-run",
};

static const char *family_word(int family)
{
	return family == AF_INET6 ? "6" : "4";
}

void run_print_head(FILE *out)
{
	fprintf(out, ROW, "SCENARIO", "IP", "EXPECTED", "SEEN BEFORE",
		"AFTER PROBE", "TIME", "");
}

void run_print_row(FILE *out, const struct run_item *item)
{
	const struct scenario *s = item->scenario;
	char expected[2 * WORDS_MAX + 4], before[WORDS_MAX], after[WORDS_MAX];
	char took[CLOCK_TEXT_MAX];

	scenario_verdicts_text(s->before, before, sizeof(before));
	scenario_verdicts_text(s->after, after, sizeof(after));
	snprintf(expected, sizeof(expected), s->after ? "%s -> %s" : "%s",
		 before, after);
	scenario_verdicts_text(item->result.before, before, sizeof(before));
	scenario_verdicts_text(item->result.after, after, sizeof(after));
	clock_format_duration(item->result.duration_ms, took);
	fprintf(out, ROW, s->name, family_word(item->family), expected, before,
		after, took, outcome_words[item->result.outcome]);
	if (item->result.outcome != OUTCOME_RIGHT) {
		fputs("    ", out);
		escape_print(out, item->result.why, COMPARE_WHY_MAX);
		fputc('\n', out);
	}
	fflush(out);
}

void run_print_summary(FILE *out, const struct run_item *items, size_t n,
		       int64_t duration_ms)
{
	struct run_count c = run_count(items, n);
	char took[CLOCK_TEXT_MAX];

	clock_format_duration(duration_ms, took);
	fprintf(out,
		"\n%zu run in %s: %zu right, %zu wrong, %zu false alarms, %zu "
		"could not run\n",
		n, took, c.n[OUTCOME_RIGHT], c.n[OUTCOME_WRONG],
		c.n[OUTCOME_FALSE_ALARM], c.n[OUTCOME_NOT_RUN]);
}

static json_t *words_json(uint32_t bits)
{
	json_t *a = json_array();

	for (uint32_t i = 0; i < 32; i++) {
		const char *name = scenario_verdict_name(bits & (1u << i));
		if (name)
			json_array_append_new(a, json_string(name));
	}
	return a;
}

static json_t *item_json(const struct run_item *item)
{
	const struct scenario *s = item->scenario;
	const struct result *r = &item->result;
	AUTO_FREE char *why = escape_utf8(r->why);

	return json_pack(
		"{s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:I, s:s, s:o}",
		"name", s->name, "title", s->title, "row", s->row, "family",
		family_word(item->family), "expected_before",
		words_json(s->before), "expected_after", words_json(s->after),
		"never", words_json(s->never), "before", words_json(r->before),
		"after", words_json(r->after), "duration_ms",
		(json_int_t)r->duration_ms, "outcome", outcome_json[r->outcome],
		"why", *r->why && why ? json_string(why) : json_null());
}

void run_print_json(FILE *out, const struct run_item *items, size_t n,
		    int64_t duration_ms, const char *version)
{
	struct run_count c = run_count(items, n);
	json_t *a = json_array();

	for (size_t i = 0; i < n; i++)
		json_array_append_new(a, item_json(&items[i]));
	json_auto_t *o = json_pack(
		"{s:i, s:{s:s, s:s}, s:o, s:{s:I, s:I, s:I, s:I, s:I}}",
		"schema", 1, "tool", "name", "stranded", "version", version,
		"scenarios", a, "summary", "right",
		(json_int_t)c.n[OUTCOME_RIGHT], "wrong",
		(json_int_t)c.n[OUTCOME_WRONG], "false_alarms",
		(json_int_t)c.n[OUTCOME_FALSE_ALARM], "not_run",
		(json_int_t)c.n[OUTCOME_NOT_RUN], "duration_ms",
		(json_int_t)duration_ms);
	if (o)
		json_dumpf(o, out, JSON_COMPACT);
	fputc('\n', out);
}

static json_t *scenario_json(const struct scenario *s)
{
	return json_pack("{s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:b, s:b}",
			 "name", s->name, "title", s->title, "row", s->row,
			 "topology", s->topology, "expected_before",
			 words_json(s->before), "expected_after",
			 words_json(s->after), "never", words_json(s->never),
			 "ipv4", (int)s->family4, "ipv6", (int)s->family6);
}

void run_print_list_json(FILE *out, const struct scenario_list *list,
			 const char *version)
{
	json_t *a = json_array();

	for (size_t i = 0; i < list->n; i++)
		json_array_append_new(a, scenario_json(&list->v[i]));
	json_auto_t *o = json_pack("{s:i, s:{s:s, s:s}, s:o}", "schema", 1,
				   "tool", "name", "stranded", "version",
				   version, "scenarios", a);
	if (o)
		json_dumpf(o, out, JSON_COMPACT);
	fputc('\n', out);
}

static const char *const user_words[] = {
	[USER_LET_GO] = "let-go",
	[USER_HOLDS] = "holds",
	[USER_NOT_RUN] = "not-run",
};

static void print_let_go(FILE *out, const struct user_result *r,
			 const char *took)
{
	fprintf(out, "PASS  let go of %zu dead connection%s after %s", r->dead,
		r->dead == 1 ? "" : "s", took);
	if (r->serves && r->kept)
		fprintf(out, ", kept %zu of %zu living ones", r->kept,
			r->living);
	else if (r->serves)
		fprintf(out, ", of the living ones too, and serves new calls");
	fputc('\n', out);
}

void run_print_user(FILE *out, const struct scenario *s, int family,
		    const struct user_result *r)
{
	char took[CLOCK_TEXT_MAX];

	clock_format_duration(r->took_ms, took);
	fprintf(out, "%s, IPv%s: ", s->name, family_word(family));
	if (r->outcome == USER_LET_GO)
		print_let_go(out, r, took);
	else if (r->outcome == USER_HOLDS && !r->held)
		fprintf(out, "FAIL\n");
	else if (r->outcome == USER_HOLDS)
		fprintf(out,
			"FAIL  %zu of %zu dead connections still held after "
			"%s\n",
			r->held, r->dead, took);
	else
		fprintf(out, "NOT RUN\n");
	if (*r->why) {
		fputs("    ", out);
		escape_print(out, r->why, USER_WHY_MAX);
		fputc('\n', out);
	}
	// Escaped by its writer.
	if (r->report)
		fprintf(out, "\n%s", r->report);
	fflush(out);
}

void run_print_user_json(FILE *out, const struct scenario *s, int family,
			 const struct user_result *r, const char *version)
{
	AUTO_FREE char *why = escape_utf8(r->why);
	json_auto_t *o = json_pack(
		"{s:i, s:{s:s, s:s}, s:s, s:s, s:s, s:b, s:I, s:I, s:I, s:I, "
		"s:I, s:o}",
		"schema", 1, "tool", "name", "stranded", "version", version,
		"scenario", s->name, "family", family_word(family), "outcome",
		user_words[r->outcome], "serves", (int)r->serves, "dead",
		(json_int_t)r->dead, "living", (json_int_t)r->living, "held",
		(json_int_t)r->held, "kept", (json_int_t)r->kept, "took_ms",
		(json_int_t)r->took_ms, "why",
		*r->why && why ? json_string(why) : json_null());
	if (o)
		json_dumpf(o, out, JSON_COMPACT);
	fputc('\n', out);
}
