/* SPDX-License-Identifier: Apache-2.0 */
#include "scenarios/run/scenario.h"

#include <ctype.h>
#include <ini.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"

/* inih cuts longer lines silently (INI_MAX_LINE is 200 in Debian's). */
#define LINE_MAX_BYTES 190

static const char *const verdict_names[] = {
	"half-open",
	"unreachable",
	"local-cause",
	"half-closed",
	"peer-not-reading",
	"path-mtu",
	"data-waiting",
	"alive",
	"silent",
	"unknown",
	"listening",
	"connecting",
	"gone",
};
#define N_VERDICTS (sizeof(verdict_names) / sizeof(verdict_names[0]))

const char *scenario_verdict_name(uint32_t bit)
{
	for (size_t i = 0; i < N_VERDICTS; i++)
		if (bit == 1u << i)
			return verdict_names[i];
	return NULL;
}

uint32_t scenario_verdict_bit(const char *name)
{
	for (size_t i = 0; i < N_VERDICTS; i++)
		if (!strcmp(name, verdict_names[i]))
			return 1u << i;
	return 0;
}

void scenario_verdicts_text(uint32_t bits, char *buf, size_t size)
{
	size_t len = 0;

	snprintf(buf, size, "-");
	for (size_t i = 0; i < N_VERDICTS; i++) {
		if (!(bits & (1u << i)) || len >= size)
			continue;
		int n = snprintf(buf + len, size - len, "%s%s", len ? "|" : "",
				 verdict_names[i]);
		len += n > 0 ? (size_t)n : 0;
	}
}

/* One file on its way through inih. */
struct parse {
	struct scenario *s;
	struct arena *arena;
	const char *file;
	const char *p, *end;
	int line; /* of the last line handed out */
	struct error *err;
	int err_line;
	uint64_t seen; /* bit per row of keys[] */
};

__attribute__((format(printf, 2, 3))) static void fail(struct parse *parse,
						       const char *fmt, ...)
{
	char text[256];
	va_list ap;

	if (parse->err)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	parse->err_line = parse->line;
	parse->err = error_new(ERROR_USAGE, "%s:%d: %s", parse->file,
			       parse->line, text);
}

static const char *keep(struct parse *parse, const char *value)
{
	const char *copy = arena_strdup(parse->arena, value);

	if (!copy && !parse->err)
		parse->err = &error_nomem;
	return copy ? copy : "";
}

/* --- kinds of values --- */

static void set_text(struct parse *parse, void *to, const char *value)
{
	*(const char **)to = keep(parse, value);
}

static void set_words(struct parse *parse, void *to, const char *value)
{
	struct scenario_args *args = to;
	char *copy = arena_strdup(parse->arena, value), *rest = copy;

	if (!copy && !parse->err)
		parse->err = &error_nomem;
	for (char *w; copy && (w = strsep(&rest, " \t"));) {
		if (!*w)
			continue;
		if (args->n == SCENARIO_MAX_ARGS - 1) {
			fail(parse, "more than %d words",
			     SCENARIO_MAX_ARGS - 1);
			return;
		}
		args->v[args->n++] = w;
	}
}

static void set_yes(struct parse *parse, void *to, const char *value)
{
	*(bool *)to = !strcmp(value, "yes");
	if (strcmp(value, "yes") && strcmp(value, "no"))
		fail(parse, "'%.40s' is neither yes nor no", value);
}

static void set_duration(struct parse *parse, void *to, const char *value)
{
	int64_t *ms = to;

	if (!clock_parse_duration(value, ms) || *ms < 0 ||
	    *ms > SCENARIO_WAIT_MAX_MS)
		fail(parse, "'%.40s' is no duration from 0 to 2m; as in 1500ms",
		     value);
}

static void set_number(struct parse *parse, void *to, const char *value)
{
	char *end;
	long n = strtol(value, &end, 10);

	if (*end || end == value || n < 0 || n > 1 << 20)
		fail(parse, "'%.40s' is no number from 0 to %d", value,
		     1 << 20);
	else
		*(int *)to = (int)n;
}

static void set_verdicts(struct parse *parse, void *to, const char *value)
{
	struct scenario_args words = { 0 };

	set_words(parse, &words, value);
	for (size_t i = 0; i < words.n; i++) {
		uint32_t bit = scenario_verdict_bit(words.v[i]);
		if (!bit)
			fail(parse, "unknown verdict '%.40s'", words.v[i]);
		*(uint32_t *)to |= bit;
	}
}

static void set_view(struct parse *parse, void *to, const char *value)
{
	*(enum scenario_view *)to = strcmp(value, "host") ? VIEW_ALONE
							  : VIEW_HOST;
	if (strcmp(value, "host") && strcmp(value, "alone"))
		fail(parse, "'%.40s' is no view; use alone or host", value);
}

static void set_victim(struct parse *parse, void *to, const char *value)
{
	struct scenario *s = parse->s;

	(void)to;
	if (!strncmp(value, "twin-", 5) && !strchr(value, '/'))
		s->victim = VICTIM_TWIN;
	else if (!strcmp(value, "sockets"))
		s->victim = VICTIM_SOCKETS;
	else if (strcmp(value, "victim"))
		fail(parse,
		     "unknown victim '%.40s'; use victim, sockets or a twin",
		     value);
	s->program = keep(parse, value);
}

static void set_peer(struct parse *parse, void *to, const char *value)
{
	static const char *const names[] = { "peer", "redis", "postgres" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (!strcmp(value, names[i])) {
			*(enum scenario_peer *)to = (enum scenario_peer)i;
			return;
		}
	}
	fail(parse, "unknown peer '%.40s'; use peer, redis or postgres", value);
}

static void set_families(struct parse *parse, void *to, const char *value)
{
	struct scenario *s = to;

	s->family4 = !strcmp(value, "4") || !strcmp(value, "both");
	s->family6 = !strcmp(value, "6") || !strcmp(value, "both");
	if (!s->family4 && !s->family6)
		fail(parse, "'%.40s' is no family; use 4, 6 or both", value);
}

static struct scenario_fault *add_fault(struct parse *parse, const char *value)
{
	struct scenario *s = parse->s;
	struct scenario_args words = { 0 };

	if (s->n_faults == SCENARIO_MAX_FAULTS) {
		fail(parse, "more than %d faults", SCENARIO_MAX_FAULTS);
		return NULL;
	}
	set_words(parse, &words, value);
	if (parse->err || !words.n)
		return NULL;
	struct scenario_fault *f = &s->faults[s->n_faults++];
	f->name = words.v[0];
	f->args.n = words.n - 1;
	memcpy(f->args.v, words.v + 1, f->args.n * sizeof(words.v[0]));
	return f;
}

static void set_fault(struct parse *parse, void *to, const char *value)
{
	(void)to;
	add_fault(parse, value);
}

static void set_fault_before(struct parse *parse, void *to, const char *value)
{
	struct scenario_fault *f = add_fault(parse, value);

	(void)to;
	if (f)
		f->before = true;
}

static void set_finding(struct parse *parse, void *to, const char *value)
{
	struct scenario_args words = { 0 };
	struct scenario *s = to;

	if (!strcmp(value, "none"))
		return;
	set_words(parse, &words, value);
	if (words.n != 2) {
		fail(parse, "a finding is 'none' or a kind and a grade");
		return;
	}
	s->finding = words.v[0];
	s->grade = words.v[1];
}

static const struct key {
	const char *section, *name;
	void (*set)(struct parse *parse, void *to, const char *value);
	size_t offset; /* in struct scenario */
	enum { ONCE, REQUIRED, REPEATS } times;
} keys[] = {
#define FIELD(f) offsetof(struct scenario, f)
	{ "scenario", "title", set_text, FIELD(title), REQUIRED },
	{ "scenario", "row", set_text, FIELD(row), ONCE },
	{ "scenario", "topology", set_text, FIELD(topology), REQUIRED },
	{ "scenario", "view", set_view, FIELD(view), ONCE },
	{ "scenario", "families", set_families, 0, ONCE },
	{ "scenario", "needs", set_words, FIELD(needs), ONCE },
	{ "scenario", "like-healthy", set_yes, FIELD(like_healthy), ONCE },
	{ "victim", "program", set_victim, 0, ONCE },
	{ "victim", "hook", set_yes, FIELD(hook), ONCE },
	{ "victim", "args", set_words, FIELD(victim_args), ONCE },
	{ "victim", "target", set_text, FIELD(target_host), ONCE },
	{ "victim", "serves", set_yes, FIELD(victim_serves), ONCE },
	{ "victim", "connections", set_number, FIELD(connections), ONCE },
	{ "peer", "program", set_peer, FIELD(peer), ONCE },
	{ "peer", "args", set_words, FIELD(peer_args), ONCE },
	{ "peer", "healthy-args", set_words, FIELD(healthy_args), ONCE },
	{ "fault", "before", set_fault_before, 0, REPEATS },
	{ "fault", "ready", set_duration, FIELD(ready_ms), ONCE },
	{ "fault", "fault", set_fault, 0, REPEATS },
	{ "fault", "write", set_number, FIELD(write_bytes), ONCE },
	{ "fault", "settle", set_duration, FIELD(settle_ms), ONCE },
	{ "expect", "before", set_verdicts, FIELD(before), REQUIRED },
	{ "expect", "after", set_verdicts, FIELD(after), ONCE },
	{ "expect", "answer-after", set_duration, FIELD(answer_after_ms),
	  ONCE },
	{ "expect", "never", set_verdicts, FIELD(never), REQUIRED },
	{ "expect", "looks", set_number, FIELD(looks), ONCE },
	{ "expect", "shield", set_yes, FIELD(shield), ONCE },
	{ "expect", "finding", set_finding, 0, REQUIRED },
	{ "expect", "findings", set_number, FIELD(findings), ONCE },
	{ "expect", "runtime", set_text, FIELD(runtime), ONCE },
	{ "expect", "returns", set_text, FIELD(returns), ONCE },
#undef FIELD
};
#define N_KEYS (sizeof(keys) / sizeof(keys[0]))

/* --- the file --- */

static int on_value(void *user, const char *section, const char *name,
		    const char *value)
{
	struct parse *parse = user;

	if (parse->err)
		return 0;
	for (size_t i = 0; i < N_KEYS; i++) {
		const struct key *k = &keys[i];
		if (strcmp(k->section, section) || strcmp(k->name, name))
			continue;
		if ((parse->seen & (1ull << i)) && k->times != REPEATS)
			fail(parse, "a second '%s'", name);
		else if (!value || !*value)
			fail(parse, "'%s' has no value", name);
		else
			k->set(parse, (char *)parse->s + k->offset, value);
		parse->seen |= 1ull << i;
		return !parse->err;
	}
	fail(parse, "unknown key '%.40s' in [%.40s]", name, section);
	return 0;
}

/* fgets() over the text, for inih; an overlong line is an error, not cut. */
static char *next_line(char *buf, int size, void *user)
{
	struct parse *parse = user;

	if (parse->p == parse->end || parse->err || size < 2)
		return NULL;
	size_t left = (size_t)(parse->end - parse->p);
	const char *nl = memchr(parse->p, '\n', left);
	size_t len = nl ? (size_t)(nl - parse->p) : left;

	parse->line++;
	if (len > LINE_MAX_BYTES || len > (size_t)size - 2) {
		fail(parse, "line of more than %d bytes", LINE_MAX_BYTES);
		return NULL;
	}
	if (memchr(parse->p, '\0', len)) {
		fail(parse, "a NUL byte");
		return NULL;
	}
	// A line that starts with blanks would go on with the value before.
	if (len && isblank((unsigned char)*parse->p)) {
		fail(parse, "a line that starts with a blank");
		return NULL;
	}
	memcpy(buf, parse->p, len);
	buf[len] = '\n';
	buf[len + 1] = '\0';
	parse->p += len + (nl ? 1 : 0);
	return buf;
}

static void check_whole(struct parse *parse)
{
	const struct scenario *s = parse->s;

	for (size_t i = 0; i < N_KEYS; i++)
		if (keys[i].times == REQUIRED && !(parse->seen & (1ull << i)))
			fail(parse, "no '%s' in [%s]", keys[i].name,
			     keys[i].section);
	if (!s->victim_args.n && s->victim == VICTIM_GO)
		fail(parse, "no 'args' in [victim]: which mode?");
	if (s->before & s->never || s->after & s->never)
		fail(parse, "a verdict is expected, and must never be said");
	if (s->shield && !s->after)
		fail(parse, "a shield, and no probe");
	if (s->answer_after_ms && !s->after)
		fail(parse, "an answer, and no probe");
	if (s->runtime && !s->finding)
		fail(parse, "a runtime, and no finding");
	if (s->connections < 1 || s->connections > 1000)
		fail(parse, "from 1 to 1000 connections");
	if (s->looks < 1 || s->looks > 20)
		fail(parse, "from 1 to 20 looks");
}

/* "/x/NAME/scenario.ini" -> "/x/NAME" and "NAME". */
static void set_name(struct parse *parse)
{
	const char *slash = strrchr(parse->file, '/');
	size_t len = slash ? (size_t)(slash - parse->file) : 0;
	char *path = arena_strndup(parse->arena, parse->file, len);

	if (!path) {
		if (!parse->err)
			parse->err = &error_nomem;
		return;
	}
	slash = strrchr(path, '/');
	parse->s->path = path;
	parse->s->name = slash ? slash + 1 : path;
	if (strlen(parse->s->name) >= SCENARIO_NAME_MAX)
		fail(parse, "the folder's name is too long");
}

struct error *scenario_parse(const char *file, const char *text, size_t len,
			     struct arena *arena, struct scenario *ret)
{
	struct scenario s = {
		.row = "",
		.family4 = true,
		.family6 = true,
		.target_host = "b",
		.program = "victim",
		.findings = -1,
		.connections = 1,
		.looks = 1,
		.ready_ms = 300,
		.settle_ms = 300,
	};
	struct parse parse = { .s = &s,
			       .arena = arena,
			       .file = file,
			       .p = text,
			       .end = text + len };

	if (len > SCENARIO_FILE_MAX)
		return error_new(ERROR_USAGE, "%s: more than %d bytes", file,
				 SCENARIO_FILE_MAX);
	set_name(&parse);
	int bad = ini_parse_stream(next_line, &parse, on_value, &parse);
	if (bad < 0 && !parse.err)
		parse.err = &error_nomem;
	// inih reads on behind a line that it does not understand.
	if (bad > 0 && (!parse.err || bad < parse.err_line)) {
		error_free(TAKE(parse.err));
		parse.line = bad;
		fail(&parse, "neither [section] nor key = value");
	}
	if (!parse.err)
		check_whole(&parse);
	if (parse.err)
		return parse.err;
	if (!s.healthy_args.n)
		s.healthy_args = s.peer_args;
	*ret = s;
	return NULL;
}
