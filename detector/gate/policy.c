/* SPDX-License-Identifier: Apache-2.0 */
#include "detector/gate/policy.h"

#include <errno.h>
#include <ini.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "detector/rules.h"

/* inih keeps at most 49 bytes of a section's name, silently. */
#define SECTION_MAX 49
#define FILE_MAX (1 << 20)

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

struct policy_pattern {
	struct policy_pattern *next;
	enum policy_key key;
	const char *text;
};

/* One file on its way through inih. */
struct parse {
	struct gate_policy *policy;
	const char *name, *today;
	const char *p, *end;
	int line;
	struct policy_rule *open;
	bool in_connections;
	struct error *err; /* the first one */
	int err_line;
};

__attribute__((format(printf, 3, 4))) static void
fail(struct parse *parse, int line, const char *fmt, ...)
{
	char *text;
	va_list ap;

	if (parse->err)
		return;
	va_start(ap, fmt);
	int len = vasprintf(&text, fmt, ap);
	va_end(ap);
	parse->err_line = line;
	if (len < 0) {
		parse->err = &error_nomem;
		return;
	}
	parse->err =
		error_new(ERROR_USAGE, "%s:%d: %s", parse->name, line, text);
	free(text);
}

static void close_rule(struct parse *parse)
{
	const struct policy_rule *r = parse->open;

	parse->open = NULL;
	if (parse->in_connections && !parse->policy->has_connections)
		fail(parse, parse->line,
		     "[connections] without 'require = keepalive<=60s'");
	parse->in_connections = false;
	if (!r)
		return;
	if (!r->reason)
		fail(parse, r->line,
		     "rule '%s' without a reason; add 'reason = why this is "
		     "accepted'",
		     r->name);
	else if (!(r->keys & ~(1u << KEY_KIND)))
		fail(parse, r->line,
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

static void open_rule(struct parse *parse, size_t len)
{
	close_rule(parse);
	if (parse->err)
		return;
	if (len > SECTION_MAX) {
		fail(parse, parse->line, "name of more than %d bytes",
		     SECTION_MAX - 2);
		return;
	}
	const char *name = arena_strndup(parse->policy->arena, parse->p + 1,
					 len > 2 ? len - 2 : 0);
	if (name && !strcmp(name, "connections")) {
		parse->in_connections = true;
		return;
	}
	if (parse->policy->n >= GATE_POLICY_MAX_RULES) {
		fail(parse, parse->line, "more than %d rules",
		     GATE_POLICY_MAX_RULES);
		return;
	}
	parse->open = name ? new_rule(parse->policy) : NULL;
	if (!parse->open) {
		if (!parse->err)
			parse->err = &error_nomem;
		return;
	}
	parse->open->name = name;
	parse->open->line = parse->line;
}

/* inih's reader, as fgets(3); also where lines are counted and measured. */
static char *read_line(char *buf, int size, void *arg)
{
	struct parse *parse = arg;

	if (parse->err || parse->p == parse->end)
		return NULL;
	const char *nl =
		memchr(parse->p, '\n', (size_t)(parse->end - parse->p));
	size_t len = (size_t)((nl ? nl : parse->end) - parse->p);
	parse->line++;
	if (parse->line > GATE_POLICY_MAX_LINES) {
		fail(parse, parse->line, "more than %d lines",
		     GATE_POLICY_MAX_LINES);
		return NULL;
	}
	if (len > GATE_POLICY_MAX_LINE || len + 2 > (size_t)size) {
		fail(parse, parse->line, "line of more than %d bytes",
		     GATE_POLICY_MAX_LINE);
		return NULL;
	}
	if (memchr(parse->p, '\0', len)) {
		fail(parse, parse->line, "a NUL byte; is this a text file?");
		return NULL;
	}
	if (len && *parse->p == '[')
		open_rule(parse, len);
	memcpy(buf, parse->p, len);
	buf[len] = '\n';
	buf[len + 1] = '\0';
	parse->p = nl ? nl + 1 : parse->end;
	return buf;
}

static bool keep_text(struct parse *parse, const char **to, const char *key,
		      const char *value)
{
	if (*to) {
		fail(parse, parse->line, "a second %s", key);
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

static bool set_expires(struct parse *parse, const char *value)
{
	if (!is_date(value)) {
		fail(parse, parse->line, "'%s' is no date; as in 2027-03-31",
		     value);
		return false;
	}
	if (!keep_text(parse, &parse->open->expires, "expires", value))
		return false;
	parse->open->expired = strcmp(value, parse->today) < 0;
	return true;
}

static bool set_max(struct parse *parse, const char *value)
{
	char *end;

	errno = 0;
	unsigned long n = strtoul(value, &end, 10);
	if (errno || *end || *value < '0' || *value > '9' || !n ||
	    n > UINT32_MAX) {
		fail(parse, parse->line, "max: '%s' is no number from 1 up",
		     value);
		return false;
	}
	if (parse->open->max) {
		fail(parse, parse->line, "a second max");
		return false;
	}
	parse->open->max = n;
	return true;
}

static bool add_pattern(struct parse *parse, enum policy_key key,
			const char *value)
{
	struct policy_rule *r = parse->open;
	struct policy_pattern *p =
		arena_alloc(parse->policy->arena, sizeof(*p));

	if (key == KEY_KIND && strcmp(value, "goroutine") != 0 &&
	    strcmp(value, "coroutine") != 0 &&
	    strcmp(value, "connection") != 0) {
		fail(parse, parse->line,
		     "unknown kind '%s'; use goroutine, coroutine or connection",
		     value);
		return false;
	}
	if (!p || !(p->text = arena_strdup(parse->policy->arena, value))) {
		parse->err = &error_nomem;
		return false;
	}
	p->key = key;
	p->next = r->patterns;
	r->patterns = p;
	r->keys |= 1u << key;
	return true;
}

static bool handle_connections(struct parse *parse, const char *key,
			       const char *value)
{
	if (strcmp(key, "require") != 0) {
		fail(parse, parse->line,
		     "unknown key '%s' in [connections]; use require", key);
		return false;
	}
	if (parse->policy->has_connections) {
		fail(parse, parse->line, "a second require");
		return false;
	}
	AUTO_ERROR struct error *err =
		policy_parse(value, &parse->policy->connections);
	if (err) {
		fail(parse, parse->line, "%s", error_text(err));
		return false;
	}
	parse->policy->has_connections = true;
	return true;
}

static bool handle_rule(struct parse *parse, const char *key, const char *value)
{
	if (!strcmp(key, "reason"))
		return keep_text(parse, &parse->open->reason, key, value);
	if (!strcmp(key, "expires"))
		return set_expires(parse, value);
	if (!strcmp(key, "max"))
		return set_max(parse, value);
	for (int i = 0; i < N_KEYS; i++)
		if (!strcmp(key, key_names[i]))
			return add_pattern(parse, (enum policy_key)i, value);
	fail(parse, parse->line,
	     "unknown key '%s'; use reason, function, creator, package, file, "
	     "test, kind, expires or max",
	     key);
	return false;
}

/* inih's handler: one "key = value". Returns 0 to refuse the line. */
static int handle(void *arg, const char *section, const char *key,
		  const char *value)
{
	struct parse *parse = arg;

	(void)section;
	if (parse->err)
		return 0;
	if (!*value) {
		fail(parse, parse->line, "'%s' has no value", key);
		return 0;
	}
	if (parse->in_connections)
		return handle_connections(parse, key, value);
	if (!parse->open) {
		fail(parse, parse->line,
		     "'%s' outside a rule; begin one with [name]", key);
		return 0;
	}
	return handle_rule(parse, key, value);
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
	AUTO_GATE_POLICY struct gate_policy *policy = NULL;
	struct error *err = policy_create(name, &policy);

	if (err)
		return err;
	struct parse parse = { .policy = policy,
			       .name = name,
			       .today = today,
			       .p = text,
			       .end = text + len };
	int bad = ini_parse_stream(read_line, &parse, handle, &parse);
	if (bad > 0 && (!parse.err || bad < parse.err_line)) {
		error_free(TAKE(parse.err));
		fail(&parse, bad, "neither [name] nor key = value");
	}
	close_rule(&parse);
	if (bad < 0 && !parse.err)
		parse.err = &error_nomem;
	if (!parse.err)
		*ret = TAKE(policy);
	return parse.err;
}

struct error *gate_policy_read(const char *path, const char *today,
			       struct gate_policy **ret)
{
	AUTO_FCLOSE FILE *f = fopen(path, "re");

	if (!f)
		return error_new(ERROR_USAGE,
				 "cannot open policy file '%s': %s", path,
				 strerror(errno));
	AUTO_FREE char *text = malloc(FILE_MAX);
	if (!text)
		return &error_nomem;
	size_t len = fread(text, 1, FILE_MAX, f);
	if (ferror(f))
		return error_new(ERROR_USAGE,
				 "cannot read policy file '%s': %s", path,
				 strerror(errno));
	if (len == FILE_MAX)
		return error_new(ERROR_USAGE,
				 "policy file '%s' is too large; at most 1 MiB",
				 path);
	return gate_policy_parse(path, text, len, today, ret);
}

void gate_policy_destroy(struct gate_policy *policy)
{
	if (!policy)
		return;
	arena_destroy(policy->arena);
	free(policy->v);
	free(policy);
}

static bool any_frame(const char *pattern, const struct leak *leak)
{
	for (size_t i = 0; i < leak->n_frames; i++)
		if (rules_glob(pattern, leak->frames[i].function))
			return true;
	return false;
}

static bool pattern_matches(const struct policy_pattern *p,
			    const struct leak *leak)
{
	switch (p->key) {
	case KEY_FUNCTION:
		return any_frame(p->text, leak);
	case KEY_CREATOR:
		return leak->has_creator &&
		       rules_glob(p->text, leak->creator.function);
	case KEY_PACKAGE:
		return leak->package && rules_glob(p->text, leak->package);
	case KEY_FILE:
		return leak->has_site && rules_glob(p->text, leak->site.file);
	case KEY_TEST:
		return leak->test && rules_glob(p->text, leak->test);
	case KEY_KIND:
		return !strcmp(p->text, leak_kind_name(leak->kind));
	case N_KEYS:
		break;
	}
	return false;
}

static bool rule_matches(const struct policy_rule *r, const struct leak *leak)
{
	uint32_t matched = 0;

	for (const struct policy_pattern *p = r->patterns; p; p = p->next)
		if (!(matched & (1u << p->key)) && pattern_matches(p, leak))
			matched |= 1u << p->key;
	return matched == r->keys;
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

			if (leak->ignored || !rule_matches(r, leak))
				continue;
			r->used++;
			if (!r->expired)
				leak->ignored = r;
		}
		apply_max(r, p);
	}
}
