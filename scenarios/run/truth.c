/* SPDX-License-Identifier: Apache-2.0 */
#include "scenarios/run/truth.h"

#include <jansson.h>
#include <limits.h>
#include <string.h>

#include "scenarios/run/scenario.h"

/* A copy of the member @key of @o; "" when it is no string. */
static const char *text(struct arena *arena, const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));
	const char *copy = s ? arena_strdup(arena, s) : "";

	return copy ? copy : "";
}

/* The member @key of @o; -1 when it is no number that an fd can be. */
static int number(const json_t *o, const char *key)
{
	const json_t *v = json_object_get(o, key);
	json_int_t n = json_is_integer(v) ? json_integer_value(v) : -1;

	return n >= 0 && n <= INT_MAX ? (int)n : -1;
}

/* Go's victim calls it what it is there. */
static const char *function(struct arena *arena, const json_t *o)
{
	const char *s = text(arena, o, "function");

	return *s ? s : text(arena, o, "goroutine");
}

/* The settings in their own order, so that two can be compared as text. */
static const char *options(struct arena *arena, const json_t *o)
{
	char buf[512];
	size_t n = 0;
	const json_t *v = json_object_get(o, "options");

	if (json_is_object(v))
		n = json_dumpb(v, buf, sizeof(buf),
			       JSON_COMPACT | JSON_SORT_KEYS);
	const char *copy = arena_strndup(arena, buf, n < sizeof(buf) ? n : 0);
	return copy ? copy : "";
}

static json_t *load(const char *line, size_t len)
{
	return json_loadb(line, len, JSON_REJECT_DUPLICATES, NULL);
}

struct error *truth_parse(const char *line, struct arena *arena,
			  struct truth *ret)
{
	json_auto_t *o = load(line, strlen(line));
	const json_t *conns = json_object_get(o, "connections"), *c;
	size_t i, n = json_array_size(conns);

	if (!n || n > TRUTH_MAX_CONNS ||
	    !json_is_integer(json_object_get(o, "pid")))
		return error_new(ERROR_CORRUPT,
				 "the victim's truth is not understood: %.200s",
				 line);
	*ret = (struct truth){
		.pid = (pid_t)json_integer_value(json_object_get(o, "pid")),
		.v = arena_array(arena, n, sizeof(*ret->v)),
		.options = options(arena, o),
	};
	if (!ret->v)
		return &error_nomem;
	json_array_foreach(conns, i, c)
	{
		ret->v[ret->n++] = (struct truth_conn){
			.healthy = !strcmp(text(arena, c, "role"), "healthy"),
			.local = text(arena, c, "local"),
			.remote = text(arena, c, "remote"),
			.function = function(arena, c),
			.blocked = text(arena, c, "blocked"),
			.task = text(arena, c, "task"),
			.fd = number(c, "fd"),
		};
	}
	return NULL;
}

struct error *truth_parse_event(const char *line, struct arena *arena,
				struct truth_event *ret)
{
	json_auto_t *o = load(line, strlen(line));

	if (!json_is_object(o))
		return error_new(ERROR_CORRUPT,
				 "the victim's line is not understood: %.200s",
				 line);
	*ret = (struct truth_event){
		.event = text(arena, o, "event"),
		.healthy = !strcmp(text(arena, o, "role"), "healthy"),
		.error = text(arena, o, "error"),
		.options = options(arena, o),
	};
	return NULL;
}

/* --- what stranded says --- */

static struct seen_conn conn_of(struct arena *arena, const json_t *o)
{
	const json_t *evidence = json_object_get(o, "evidence");
	const char *verdict = json_string_value(json_object_get(o, "verdict"));
	const json_t *answered =
		json_object_get(json_object_get(o, "probe"), "answered_ms");

	return (struct seen_conn){
		.local = text(arena, o, "local"),
		.remote = text(arena, o, "remote"),
		.state = text(arena, o, "state"),
		.verdict = verdict ? scenario_verdict_bit(verdict) : 0,
		.certain = json_is_true(json_object_get(o, "certain")),
		.why = text(arena, json_array_get(evidence, 0), "text"),
		.answered_ms = json_is_integer(answered)
				       ? json_integer_value(answered)
				       : -1,
	};
}

static struct error *add_conns(struct arena *arena, const json_t *a,
			       struct seen *ret)
{
	size_t i, n = json_array_size(a);
	const json_t *o;

	if (n > SEEN_MAX_CONNS)
		return error_new(ERROR_CORRUPT, "more than %d connections",
				 SEEN_MAX_CONNS);
	ret->conns = arena_array(arena, n + 1, sizeof(*ret->conns));
	if (!ret->conns)
		return &error_nomem;
	ret->n_conns = 0;
	json_array_foreach(a, i, o)
	{
		struct seen_conn c = conn_of(arena, o);
		if (!c.verdict)
			return error_new(ERROR_CORRUPT,
					 "a verdict that is not known");
		ret->conns[ret->n_conns++] = c;
	}
	return NULL;
}

static const char *functions(struct arena *arena, const json_t *stack)
{
	const char *all = "\n";
	const json_t *frame;
	size_t i;

	json_array_foreach(stack, i, frame)
	{
		if (i == 256)
			break;
		const char *more = arena_printf(arena, "%s%s\n", all,
						text(arena, frame, "function"));
		all = more ? more : all;
	}
	return all;
}

/* @o is a task, or a connection that no task waits on. */
static struct seen_task task_of(struct arena *arena, const json_t *finding,
				const json_t *o)
{
	const json_t *holder = json_object_get(o, "held_by");

	return (struct seen_task){
		.local = text(arena, o, "local"),
		.remote = text(arena, o, "remote"),
		.runtime = text(arena, finding, "runtime"),
		.name = text(arena, o, "name"),
		.held_by = text(arena, holder, "wait_kind"),
		.fd = number(o, "fd"),
	};
}

static struct error *set_tasks(struct arena *arena, const json_t *o,
			       struct seen_finding *f)
{
	const json_t *all = json_object_get(o, "tasks"), *t;
	size_t i;

	if (!json_array_size(all))
		all = json_object_get(o, "sockets");
	if (json_array_size(all) > SEEN_MAX_CONNS)
		return error_new(ERROR_CORRUPT, "more than %d tasks",
				 SEEN_MAX_CONNS);
	f->tasks =
		arena_array(arena, json_array_size(all) + 1, sizeof(*f->tasks));
	if (!f->tasks)
		return &error_nomem;
	json_array_foreach(all, i, t)
	{
		f->tasks[f->n++] = task_of(arena, o, t);
	}
	if (!f->n)
		f->tasks[f->n++] =
			task_of(arena, o, json_object_get(o, "socket"));
	return NULL;
}

static struct error *add_findings(struct arena *arena, const json_t *a,
				  struct seen *ret)
{
	size_t i, n = json_array_size(a);
	const json_t *o;

	if (n > SEEN_MAX_FINDINGS)
		return error_new(ERROR_CORRUPT, "more than %d findings",
				 SEEN_MAX_FINDINGS);
	ret->findings = arena_array(arena, n + 1, sizeof(*ret->findings));
	if (!ret->findings)
		return &error_nomem;
	ret->n_findings = 0;
	json_array_foreach(a, i, o)
	{
		struct seen_finding *f = &ret->findings[ret->n_findings++];
		struct error *err = set_tasks(arena, o, f);
		if (err)
			return err;
		f->kind = text(arena, o, "kind");
		f->grade = text(arena, o, "grade");
		f->functions = functions(arena, json_object_get(o, "stack"));
	}
	return NULL;
}

struct error *seen_parse(const char *json, size_t len, struct arena *arena,
			 struct seen *ret)
{
	json_auto_t *o = load(json, len);
	const json_t *conns = json_object_get(o, "sockets");
	const json_t *findings = json_object_get(o, "findings");
	struct error *err = NULL;

	if (!json_is_array(conns) && !json_is_array(findings))
		return error_new(ERROR_CORRUPT,
				 "the report is not understood: %.200s",
				 len ? json : "(nothing)");
	if (json_is_array(conns))
		err = add_conns(arena, conns, ret);
	if (!err && json_is_array(findings))
		err = add_findings(arena, findings, ret);
	return err;
}
