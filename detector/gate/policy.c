/* SPDX-License-Identifier: Apache-2.0 */
#include "detector/gate/policy.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "detector/inifile.h"

/* inih keeps at most 49 bytes of a section's name, silently. */
#define SECTION_MAX 49

enum policy_key {
	KEY_FUNCTION,
	KEY_CREATOR,
	KEY_PACKAGE,
	KEY_FILE,
	KEY_TEST,
	KEY_KIND,
	N_KEYS
};

static const char *const key_names[N_KEYS] = {
	[KEY_FUNCTION] = "function", [KEY_CREATOR] = "creator",
	[KEY_PACKAGE] = "package",   [KEY_FILE] = "file",
	[KEY_TEST] = "test",	     [KEY_KIND] = "kind",
};

/* One file that is taken in. */
struct parse {
	struct gate_policy *policy;
	const char *today;
	struct policy_rule *open;
	bool in_connections;
};

static void close_rule(struct inifile *f)
{
	struct parse *parse = f->arg;
	const struct policy_rule *r = parse->open;

	parse->open = NULL;
	if (parse->in_connections && !parse->policy->has_connections)
		inifile_fail(
			f, f->line,
			"[connections] without 'require = keepalive<=60s'");
	parse->in_connections = false;
	if (!r)
		return;
	if (!r->reason)
		inifile_fail(
			f, r->line,
			"rule '%s' without a reason; add 'reason = why this is "
			"accepted'",
			r->name);
	else if (!(r->patterns.keys & ~(1u << KEY_KIND)))
		inifile_fail(
			f, r->line,
			"rule '%s' would match everything; add function, creator, "
			"package, file or test",
			r->name);
}

static struct policy_rule *new_rule(struct gate_policy *policy)
{
	if (policy->n == policy->cap) {
		size_t cap = policy->cap ? 2 * policy->cap : 16;
		struct policy_rule *v =
			realloc(policy->v, cap * sizeof(*policy->v));

		if (!v)
			return NULL;
		policy->v = v;
		policy->cap = cap;
	}
	struct policy_rule *r = &policy->v[policy->n++];
	*r = (struct policy_rule){ 0 };
	return r;
}

static void open_rule(struct inifile *f, const char *line, size_t len)
{
	struct parse *parse = f->arg;

	close_rule(f);
	if (f->err)
		return;
	if (len > SECTION_MAX) {
		inifile_fail(f, f->line, "name of more than %d bytes",
			     SECTION_MAX - 2);
		return;
	}
	const char *name = arena_strndup(parse->policy->arena, line + 1,
					 len > 2 ? len - 2 : 0);
	if (name && !strcmp(name, "connections")) {
		parse->in_connections = true;
		return;
	}
	if (parse->policy->n >= GATE_POLICY_MAX_RULES) {
		inifile_fail(f, f->line, "more than %d rules",
			     GATE_POLICY_MAX_RULES);
		return;
	}
	parse->open = name ? new_rule(parse->policy) : NULL;
	if (!parse->open) {
		if (!f->err)
			f->err = &error_nomem;
		return;
	}
	parse->open->name = name;
	parse->open->line = f->line;
}

static bool keep_text(struct inifile *f, const char **to, const char *key,
		      const char *value)
{
	struct parse *parse = f->arg;
	if (*to) {
		inifile_fail(f, f->line, "a second %s", key);
		return false;
	}
	*to = arena_strdup(parse->policy->arena, value);
	return *to;
}

/* Only whether it could be a date: what it is compared with is one. */
static bool is_date(const char *s)
{
	int year, month, day, len = 0;

	return strlen(s) == 10 &&
	       sscanf(s, "%4d-%2d-%2d%n", &year, &month, &day, &len) == 3 &&
	       len == 10 && s[4] == '-' && s[7] == '-' && year >= 1970 &&
	       month >= 1 && month <= 12 && day >= 1 && day <= 31;
}

static bool set_expires(struct inifile *f, const char *value)
{
	struct parse *parse = f->arg;
	if (!is_date(value)) {
		inifile_fail(f, f->line, "'%s' is no date; as in 2027-03-31",
			     value);
		return false;
	}
	if (!keep_text(f, &parse->open->expires, "expires", value))
		return false;
	parse->open->expired = strcmp(value, parse->today) < 0;
	return true;
}

static bool set_max(struct inifile *f, const char *value)
{
	struct parse *parse = f->arg;
	char *end;

	errno = 0;
	unsigned long n = strtoul(value, &end, 10);
	if (errno || *end || *value < '0' || *value > '9' || !n ||
	    n > UINT32_MAX) {
		inifile_fail(f, f->line, "max: '%s' is no number from 1 up",
			     value);
		return false;
	}
	if (parse->open->max) {
		inifile_fail(f, f->line, "a second max");
		return false;
	}
	parse->open->max = n;
	return true;
}

static bool add_pattern(struct inifile *f, enum policy_key key,
			const char *value)
{
	struct parse *parse = f->arg;

	if (key == KEY_KIND && strcmp(value, "goroutine") != 0 &&
	    strcmp(value, "coroutine") != 0 &&
	    strcmp(value, "connection") != 0) {
		inifile_fail(
			f, f->line,
			"unknown kind '%s'; use goroutine, coroutine or connection",
			value);
		return false;
	}
	if (patterns_add(&parse->open->patterns, parse->policy->arena, (int)key,
			 value))
		return true;
	f->err = &error_nomem;
	return false;
}

static bool handle_connections(struct inifile *f, const char *key,
			       const char *value)
{
	struct parse *parse = f->arg;
	if (strcmp(key, "require") != 0) {
		inifile_fail(f, f->line,
			     "unknown key '%s' in [connections]; use require",
			     key);
		return false;
	}
	if (parse->policy->has_connections) {
		inifile_fail(f, f->line, "a second require");
		return false;
	}
	AUTO_ERROR struct error *err =
		policy_parse(value, &parse->policy->connections);
	if (err) {
		inifile_fail(f, f->line, "%s", error_text(err));
		return false;
	}
	parse->policy->has_connections = true;
	return true;
}

static bool handle_rule(struct inifile *f, const char *key, const char *value)
{
	struct parse *parse = f->arg;
	if (!strcmp(key, "reason"))
		return keep_text(f, &parse->open->reason, key, value);
	if (!strcmp(key, "expires"))
		return set_expires(f, value);
	if (!strcmp(key, "max"))
		return set_max(f, value);
	for (int i = 0; i < N_KEYS; i++)
		if (!strcmp(key, key_names[i]))
			return add_pattern(f, (enum policy_key)i, value);
	inifile_fail(
		f, f->line,
		"unknown key '%s'; use reason, function, creator, package, file, "
		"test, kind, expires or max",
		key);
	return false;
}

static bool take_entry(struct inifile *f, const char *section, const char *key,
		       const char *value)
{
	const struct parse *parse = f->arg;

	(void)section;
	if (!*value) {
		inifile_fail(f, f->line, "'%s' has no value", key);
		return false;
	}
	if (parse->in_connections)
		return handle_connections(f, key, value);
	if (!parse->open) {
		inifile_fail(f, f->line,
			     "'%s' outside a rule; begin one with [name]", key);
		return false;
	}
	return handle_rule(f, key, value);
}

static struct error *policy_create(const char *name, struct gate_policy **ret)
{
	struct gate_policy *policy = calloc(1, sizeof(*policy));

	if (!policy)
		return &error_nomem;
	policy->arena = arena_create();
	policy->path = policy->arena ? arena_strdup(policy->arena, name) : NULL;
	if (!policy->path) {
		gate_policy_destroy(policy);
		return &error_nomem;
	}
	*ret = policy;
	return NULL;
}

struct error *gate_policy_parse(const char *name, const char *text, size_t len,
				const char *today, struct gate_policy **ret)
{
	static const struct inifile_reader reader = {
		.section = open_rule,
		.entry = take_entry,
		.end = close_rule,
	};
	AUTO_GATE_POLICY struct gate_policy *policy = NULL;
	struct error *err = policy_create(name, &policy);

	if (err)
		return err;
	struct parse parse = { .policy = policy, .today = today };
	err = inifile_parse(&reader, &parse, name, text, len);
	if (!err)
		*ret = TAKE(policy);
	return err;
}

struct error *gate_policy_read(const char *path, const char *today,
			       struct gate_policy **ret)
{
	AUTO_FREE char *text = NULL;
	size_t len;
	struct error *err = inifile_load("policy", path, &text, &len);

	return err ? err : gate_policy_parse(path, text, len, today, ret);
}

void gate_policy_destroy(struct gate_policy *policy)
{
	if (!policy)
		return;
	arena_destroy(policy->arena);
	free(policy->v);
	free(policy);
}

/* TestPool is all of its subtests, too. */
static bool test_matches(const char *glob, const char *test)
{
	char top[256];
	size_t len = strcspn(test, "/");

	if (pattern_glob(glob, test))
		return true;
	if (!test[len] || len >= sizeof(top))
		return false;
	memcpy(top, test, len);
	top[len] = '\0';
	return pattern_glob(glob, top);
}

static bool any_frame(const char *pattern, const struct leak *leak)
{
	for (size_t i = 0; i < leak->n_frames; i++)
		if (pattern_glob(pattern, leak->frames[i].function))
			return true;
	return false;
}

struct found {
	const struct gate_process *process;
	const struct leak *leak;
};

/* Of the code that started it, or of the program or the tests that it is in. */
static bool package_matches(const char *glob, const struct found *found)
{
	const char *leaks = found->leak->package;
	const char *ran = found->process->package;

	return (leaks && pattern_glob(glob, leaks)) ||
	       (ran && pattern_glob(glob, ran));
}

static bool pattern_matches(const struct pattern *p, const void *arg)
{
	const struct found *found = arg;
	const struct leak *leak = found->leak;

	switch ((enum policy_key)p->key) {
	case KEY_FUNCTION:
		return any_frame(p->text, leak);
	case KEY_CREATOR:
		return leak->has_creator &&
		       pattern_glob(p->text, leak->creator.function);
	case KEY_PACKAGE:
		return package_matches(p->text, found);
	case KEY_FILE:
		return leak->has_site && pattern_glob(p->text, leak->site.file);
	case KEY_TEST:
		return leak->test && test_matches(p->text, leak->test);
	case KEY_KIND:
		return !strcmp(p->text, leak_kind_name(leak->kind));
	case N_KEYS:
		break;
	}
	return false;
}

/* More than its max in one process: then none of them is ignored. */
static void apply_max(struct policy_rule *r, struct gate_process *p)
{
	uint64_t n = 0;

	for (size_t i = 0; i < p->n_leaks; i++)
		if (p->leaks[i].ignored == r)
			n += p->leaks[i].count;
	if (!r->max || n <= r->max)
		return;
	r->exceeded++;
	for (size_t i = 0; i < p->n_leaks; i++)
		if (p->leaks[i].ignored == r)
			p->leaks[i].ignored = NULL;
}

void gate_policy_apply(struct gate_policy *policy, struct gate_process *p)
{
	for (size_t i = 0; i < policy->n; i++) {
		struct policy_rule *r = &policy->v[i];

		for (size_t j = 0; j < p->n_leaks; j++) {
			struct leak *leak = &p->leaks[j];
			const struct found found = { p, leak };

			if (leak->ignored ||
			    !patterns_match(&r->patterns, pattern_matches,
					    &found))
				continue;
			r->used++;
			if (!r->expired)
				leak->ignored = r;
		}
		apply_max(r, p);
	}
}
