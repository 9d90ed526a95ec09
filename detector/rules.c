/* SPDX-License-Identifier: Apache-2.0 */
#include "detector/rules.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "detector/frames.h"
#include "detector/inifile.h"
#include "detector/patterns.h"
#include "detector/rules_builtin.h"

/* inih keeps at most 49 bytes of a section's name, silently. */
#define SECTION_MAX 49

enum rule_key { KEY_FUNCTION, KEY_TOP, KEY_CREATED_BY, KEY_WAIT, KEY_KIND };
#define N_KEYS 5

static const char *const key_names[N_KEYS] = {
	[KEY_FUNCTION] = "function",
	[KEY_TOP] = "top",
	[KEY_CREATED_BY] = "created-by",
	[KEY_WAIT] = "wait",
	[KEY_KIND] = "kind",
};

struct rule {
	const char *name, *reason;
	struct patterns patterns; /* by enum rule_key */
};

struct rules {
	struct arena *arena;
	struct rule *v;
	size_t n, cap;
};

struct error *rules_create(struct rules **ret)
{
	struct rules *rules = calloc(1, sizeof(*rules));

	if (!rules)
		return &error_nomem;
	rules->arena = arena_create();
	if (!rules->arena) {
		free(rules);
		return &error_nomem;
	}
	*ret = rules;
	return NULL;
}

void rules_destroy(struct rules *rules)
{
	if (!rules)
		return;
	arena_destroy(rules->arena);
	free(rules->v);
	free(rules);
}

size_t rules_count(const struct rules *rules)
{
	return rules->n;
}

static struct rule *new_rule(struct rules *rules)
{
	if (rules->n == rules->cap) {
		size_t cap = rules->cap ? 2 * rules->cap : 16;
		struct rule *v = realloc(rules->v, cap * sizeof(*v));

		if (!v)
			return NULL;
		rules->v = v;
		rules->cap = cap;
	}
	struct rule *r = &rules->v[rules->n++];
	*r = (struct rule){ 0 };
	return r;
}

/* One file that is taken in. */
struct parse {
	struct rules *rules;
	int section_line; /* where the open rule began */
	struct rule *open;
};

static void close_rule(struct inifile *f)
{
	struct parse *parse = f->arg;
	const struct rule *r = parse->open;

	if (!r)
		return;
	parse->open = NULL;
	if (!r->reason)
		inifile_fail(
			f, parse->section_line,
			"rule without a reason; add 'reason = why this wait is "
			"benign'");
	else if (!(r->patterns.keys & ~(1u << KEY_KIND)))
		inifile_fail(
			f, parse->section_line,
			"rule '%s' would match everything; add function, top, "
			"created-by or wait",
			r->name);
}

static void open_rule(struct inifile *f, const char *line, size_t len)
{
	struct parse *parse = f->arg;

	(void)line;
	close_rule(f);
	parse->section_line = f->line;
	if (len > SECTION_MAX) {
		inifile_fail(f, f->line, "name of more than %d bytes",
			     SECTION_MAX - 2);
		return;
	}
	if (parse->rules->n >= RULES_MAX) {
		inifile_fail(f, f->line, "more than %d rules", RULES_MAX);
		return;
	}
	parse->open = new_rule(parse->rules);
	if (!parse->open && !f->err)
		f->err = &error_nomem;
}

static bool add_pattern(struct inifile *f, enum rule_key key, const char *value)
{
	struct parse *parse = f->arg;
	enum finding_kind kind;

	if (key == KEY_KIND && !finding_kind_parse(value, &kind)) {
		inifile_fail(f, f->line, "unknown kind '%s'", value);
		return false;
	}
	if (patterns_add(&parse->open->patterns, parse->rules->arena, (int)key,
			 value))
		return true;
	f->err = &error_nomem;
	return false;
}

static bool set_reason(struct inifile *f, const char *value)
{
	struct parse *parse = f->arg;

	if (parse->open->reason) {
		inifile_fail(f, f->line, "a second reason");
		return false;
	}
	if (!*value) {
		inifile_fail(f, f->line, "an empty reason");
		return false;
	}
	parse->open->reason = arena_strdup(parse->rules->arena, value);
	return parse->open->reason;
}

static bool take_entry(struct inifile *f, const char *section, const char *key,
		       const char *value)
{
	struct parse *parse = f->arg;

	if (!parse->open) {
		inifile_fail(f, f->line,
			     "'%s' outside a rule; begin one with "
			     "[name]",
			     key);
		return false;
	}
	if (!parse->open->name)
		parse->open->name = arena_strdup(parse->rules->arena, section);
	if (!strcmp(key, "reason"))
		return set_reason(f, value);
	for (int i = 0; i < N_KEYS; i++)
		if (!strcmp(key, key_names[i]) && *value)
			return add_pattern(f, (enum rule_key)i, value);
	if (!*value)
		inifile_fail(f, f->line, "'%s' has no value", key);
	else
		inifile_fail(
			f, f->line,
			"unknown key '%s'; use reason, function, top, created-by, "
			"wait or kind",
			key);
	return false;
}

struct error *rules_add_text(struct rules *rules, const char *name,
			     const char *text, size_t len)
{
	static const struct inifile_reader reader = {
		.section = open_rule,
		.entry = take_entry,
		.end = close_rule,
	};
	struct parse parse = { .rules = rules };
	size_t before = rules->n;
	struct error *err = inifile_parse(&reader, &parse, name, text, len);

	if (err)
		rules->n = before;
	return err;
}

struct error *rules_add_builtin(struct rules *rules)
{
	return rules_add_text(
		rules, "benign.rules", rules_builtin_start,
		(size_t)(rules_builtin_end - rules_builtin_start));
}

struct error *rules_add_file(struct rules *rules, const char *path)
{
	AUTO_FREE char *text = NULL;
	size_t len;
	struct error *err = inifile_load("rules", path, &text, &len);

	return err ? err : rules_add_text(rules, path, text, len);
}

static bool any_frame(const char *pattern, const struct stack *stack)
{
	for (uint32_t i = 0; stack && i < stack->n; i++)
		if (pattern_glob(pattern, stack->frames[i]->function))
			return true;
	return false;
}

static bool top_frame(const char *pattern, const struct stack *stack)
{
	for (uint32_t i = 0; stack && i < stack->n; i++) {
		const struct frame *f = stack->frames[i];

		if (frame_class(f) != FRAME_RUNTIME)
			return pattern_glob(pattern, f->function);
	}
	return false;
}

struct wait {
	enum finding_kind kind;
	const struct task *task;
};

static bool pattern_matches(const struct pattern *p, const void *arg)
{
	const struct wait *wait = arg;
	const struct task *task = wait->task;

	switch ((enum rule_key)p->key) {
	case KEY_FUNCTION:
		return any_frame(p->text, task->stack);
	case KEY_TOP:
		return top_frame(p->text, task->stack);
	case KEY_CREATED_BY:
		return task->created_by &&
		       pattern_glob(p->text, task->created_by->function);
	case KEY_WAIT:
		return pattern_glob(p->text, task->reason) ||
		       pattern_glob(p->text, wait_kind_name(task->wait));
	case KEY_KIND:
		return !strcmp(p->text, finding_kind_name(wait->kind));
	}
	return false;
}

bool rules_match(const struct rules *rules, enum finding_kind kind,
		 const struct task *task, struct rule_hit *ret)
{
	const struct wait wait = { kind, task };

	for (size_t i = 0; i < rules->n; i++) {
		if (!patterns_match(&rules->v[i].patterns, pattern_matches,
				    &wait))
			continue;
		*ret = (struct rule_hit){
			.name = rules->v[i].name,
			.reason = rules->v[i].reason,
			.index = i,
		};
		return true;
	}
	return false;
}
