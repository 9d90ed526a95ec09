/* SPDX-License-Identifier: Apache-2.0 */
#include "detector/group.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "detector/fingerprint.h"

/* A power of two; stacks are interned, so most lookups hit. */
#define IDENTITY_CACHE 1024

struct group {
	uint64_t identity, creator;
	const char *reason; /* tells blocked groups apart, else NULL */
	const char *extra;
	bool benign;
	struct rule_hit rule;
	struct finding f;
	size_t cap;
};

struct groups {
	const struct rules *rules;
	struct group *v;
	size_t n, cap;
	uint32_t *table; /* index + 1 in v; 0: free */
	size_t table_size;
	struct {
		const struct stack *stack;
		uint64_t identity;
	} cache[IDENTITY_CACHE];
};

struct error *groups_create(const struct rules *rules, struct groups **ret)
{
	struct groups *groups = calloc(1, sizeof(*groups));

	if (!groups)
		return &error_nomem;
	groups->rules = rules;
	*ret = groups;
	return NULL;
}

void groups_destroy(struct groups *groups)
{
	if (!groups)
		return;
	for (size_t i = 0; i < groups->n; i++)
		free(groups->v[i].f.members);
	free(groups->v);
	free(groups->table);
	free(groups);
}

static uint64_t identity_of(struct groups *groups, const struct stack *stack)
{
	size_t slot = ((uintptr_t)stack >> 4) % IDENTITY_CACHE;

	if (!stack)
		return 0;
	if (groups->cache[slot].stack != stack) {
		groups->cache[slot].stack = stack;
		groups->cache[slot].identity = stack_identity(stack);
	}
	return groups->cache[slot].identity;
}

static uint64_t text_hash(const char *s)
{
	uint64_t hash = 5381;

	for (; s && *s; s++)
		hash = hash * 33 + (unsigned char)*s;
	return hash;
}

static bool same_text(const char *a, const char *b)
{
	return a == b || (a && b && !strcmp(a, b));
}

static bool same_group(const struct group *a, const struct group *b)
{
	return a->f.runtime == b->f.runtime && a->identity == b->identity &&
	       a->creator == b->creator && a->f.kind == b->f.kind &&
	       a->f.grade == b->f.grade && a->f.verdict == b->f.verdict &&
	       same_text(a->reason, b->reason) && same_text(a->extra, b->extra);
}

static size_t slot_of(const struct group *g, size_t table_size)
{
	uint64_t h = g->identity ^ g->creator * 31 ^ text_hash(g->reason) * 7 ^
		     text_hash(g->extra) * 3 ^
		     ((uint64_t)g->f.kind << 8 ^ (uint64_t)g->f.verdict << 4 ^
		      (uint64_t)g->f.grade);

	return (size_t)(h * UINT64_C(0x9e3779b97f4a7c15) >> 20) &
	       (table_size - 1);
}

static struct error *grow_table(struct groups *groups)
{
	size_t size = groups->table_size ? 2 * groups->table_size : 64;
	uint32_t *table = calloc(size, sizeof(*table));

	if (!table)
		return &error_nomem;
	for (size_t i = 0; i < groups->n; i++) {
		size_t slot = slot_of(&groups->v[i], size);

		while (table[slot])
			slot = (slot + 1) & (size - 1);
		table[slot] = (uint32_t)i + 1;
	}
	free(groups->table);
	groups->table = table;
	groups->table_size = size;
	return NULL;
}

static struct group *push_group(struct groups *groups, const struct group *g)
{
	if (groups->n == groups->cap) {
		size_t cap = groups->cap ? 2 * groups->cap : 16;
		struct group *v = realloc(groups->v, cap * sizeof(*v));

		if (!v)
			return NULL;
		groups->v = v;
		groups->cap = cap;
	}
	groups->v[groups->n] = *g;
	return &groups->v[groups->n++];
}

/* The group like @key; made, and asked about once, when it is new. */
static struct error *find_group(struct groups *groups, const struct group *key,
				const struct task *task, struct group **ret)
{
	if (2 * groups->n >= groups->table_size) {
		struct error *err = grow_table(groups);

		if (err)
			return err;
	}
	size_t slot = slot_of(key, groups->table_size);
	for (; groups->table[slot];
	     slot = (slot + 1) & (groups->table_size - 1)) {
		*ret = &groups->v[groups->table[slot] - 1];
		if (same_group(*ret, key))
			return NULL;
	}
	*ret = push_group(groups, key);
	if (!*ret)
		return &error_nomem;
	groups->table[slot] = (uint32_t)groups->n;
	if (key->f.grade == GRADE_POSSIBLE && task)
		(*ret)->benign = rules_match(groups->rules, key->f.kind, task,
					     &(*ret)->rule);
	return NULL;
}

static struct error *push_member(struct group *g,
				 const struct finding_member *member)
{
	if (g->f.count == g->cap) {
		size_t cap = g->cap ? 2 * g->cap : 4;
		struct finding_member *v =
			realloc(g->f.members, cap * sizeof(*v));

		if (!v)
			return &error_nomem;
		g->f.members = v;
		g->cap = cap;
	}
	g->f.members[g->f.count++] = *member;
	return NULL;
}

struct error *groups_add(struct groups *groups, const struct judgement *judged,
			 const struct finding_member *member, const char *extra)
{
	const struct task *task = member->task;
	struct group key = {
		.extra = extra,
		.f = {
			.runtime = member->runtime,
			.kind = judged->kind,
			.grade = judged->grade,
			.verdict = member->verdict ? member->verdict->kind
						   : VERDICT_UNKNOWN,
		},
	};
	struct group *g;

	if (member->holder)
		key.identity = identity_of(groups, member->holder->stack);
	if (task) {
		key.identity = identity_of(groups, task->stack);
		if (task->created_by)
			key.creator = text_hash(task->created_by->function);
		if (judged->kind == FINDING_BLOCKED_GROUP)
			key.reason = task->reason;
	}
	struct error *err = find_group(groups, &key, task, &g);
	return err ? err : push_member(g, member);
}

static uint64_t member_id(const struct finding_member *m)
{
	return m->task ? m->task->id : m->socket ? m->socket->inode : 0;
}

static int by_blocked(const void *a, const void *b)
{
	const struct finding_member *x = a, *y = b;

	if (x->blocked.at_least_ms != y->blocked.at_least_ms)
		return x->blocked.at_least_ms < y->blocked.at_least_ms ? 1 : -1;
	return member_id(x) < member_id(y) ? -1 : member_id(x) > member_id(y);
}

static int by_remote(const void *a, const void *b)
{
	const struct endpoint *x = *(const struct endpoint *const *)a;
	const struct endpoint *y = *(const struct endpoint *const *)b;

	if (x->family != y->family)
		return x->family < y->family ? -1 : 1;
	if (x->port != y->port)
		return x->port < y->port ? -1 : 1;
	if (x->scope != y->scope)
		return x->scope < y->scope ? -1 : 1;
	return memcmp(x->addr, y->addr, sizeof(x->addr));
}

static struct error *count_remotes(struct finding *f)
{
	AUTO_FREE const struct endpoint **v = malloc(f->count * sizeof(*v));
	size_t n = 0;

	if (!v)
		return &error_nomem;
	for (size_t i = 0; i < f->count; i++)
		if (f->members[i].socket)
			v[n++] = &f->members[i].socket->remote;
	qsort(v, n, sizeof(*v), by_remote);
	f->sockets = n;
	for (size_t i = 0; i < n; i++)
		f->remotes += !i || by_remote(&v[i - 1], &v[i]) != 0;
	return NULL;
}

/* The interval that holds those of all members. */
static void widen(struct blocked_for *all, const struct blocked_for *one)
{
	if (one->at_least_ms < all->at_least_ms) {
		all->at_least_ms = one->at_least_ms;
		all->at_least_source = one->at_least_source;
	}
	if (all->at_most_ms < 0)
		return;
	if (one->at_most_ms < 0 || one->at_most_ms > all->at_most_ms) {
		all->at_most_ms = one->at_most_ms;
		all->at_most_source = one->at_most_source;
	}
}

static struct error *sum_up(struct group *g)
{
	struct finding *f = &g->f;

	qsort(f->members, f->count, sizeof(*f->members), by_blocked);
	const struct finding_member *first = &f->members[0];
	f->blocked = first->blocked;
	for (size_t i = 1; i < f->count; i++)
		widen(&f->blocked, &f->members[i].blocked);
	if (first->task) {
		f->stack = first->task->stack;
		f->created_by = first->task->created_by;
	}
	if (first->holder)
		f->stack = first->holder->stack;
	if (first->socket)
		f->keepalive = socket_keepalive(first->socket);
	fingerprint(f->kind, f->stack, f->created_by, g->extra, f->fingerprint);
	return count_remotes(f);
}

static int by_weight(const void *a, const void *b)
{
	const struct finding *x = a, *y = b;

	if (x->grade != y->grade)
		return x->grade < y->grade ? -1 : 1;
	if (x->count != y->count)
		return x->count > y->count ? -1 : 1;
	return strcmp(x->fingerprint, y->fingerprint);
}

static bool too_small(const struct finding *f, uint32_t min_group)
{
	return f->kind == FINDING_BLOCKED_GROUP && f->grade == GRADE_POSSIBLE &&
	       f->count < min_group;
}

static void count_benign(struct findings *findings, const struct group *g)
{
	for (size_t i = 0; i < findings->n_benign; i++) {
		if (findings->benign[i].rule == g->rule.name) {
			findings->benign[i].tasks += g->f.count;
			return;
		}
	}
	findings->benign[findings->n_benign++] = (struct benign_count){
		.rule = g->rule.name,
		.reason = g->rule.reason,
		.runtime = g->f.runtime,
		.tasks = g->f.count,
	};
}

struct error *groups_finish(struct groups *groups, uint32_t min_group,
			    struct findings *findings)
{
	findings->benign = arena_array(findings->arena, groups->n + 1,
				       sizeof(*findings->benign));
	findings->v = calloc(groups->n + 1, sizeof(*findings->v));
	if (!findings->benign || !findings->v)
		return &error_nomem;
	for (size_t i = 0; i < groups->n; i++) {
		struct group *g = &groups->v[i];

		if (g->benign) {
			count_benign(findings, g);
			continue;
		}
		if (too_small(&g->f, min_group))
			continue;
		struct error *err = sum_up(g);
		if (err)
			return err;
		findings->v[findings->n++] = g->f;
		g->f.members = NULL; /* handed over */
	}
	qsort(findings->v, findings->n, sizeof(*findings->v), by_weight);
	return NULL;
}
