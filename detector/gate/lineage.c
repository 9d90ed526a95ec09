/* SPDX-License-Identifier: Apache-2.0 */
#include "detector/gate/lineage.h"

#include <stdlib.h>
#include <string.h>

struct member {
	uint64_t goid, parent; /* goid 0: empty */
	char *test;	       /* NULL: not known, or none */
	bool sure;
};

struct lineage {
	struct member *v;
	size_t n, cap; /* cap is 0 or a power of two, and more than n */
};

struct lineage *lineage_create(void)
{
	return calloc(1, sizeof(struct lineage));
}

void lineage_destroy(struct lineage *l)
{
	for (size_t i = 0; l && i < l->cap; i++)
		free(l->v[i].test);
	if (l)
		free(l->v);
	free(l);
}

/* Where it is, or belongs. There is always a free place. */
static struct member *place(const struct lineage *l, uint64_t goid)
{
	size_t i = goid * 0x9e3779b97f4a7c15ULL >> 32 & (l->cap - 1);

	while (l->v[i].goid && l->v[i].goid != goid)
		i = (i + 1) & (l->cap - 1);
	return &l->v[i];
}

static const struct member *find(const struct lineage *l, uint64_t goid)
{
	const struct member *m = l->cap && goid ? place(l, goid) : NULL;

	return m && m->goid ? m : NULL;
}

static bool grow(struct lineage *l)
{
	struct lineage bigger = { .cap = l->cap ? 2 * l->cap : 64, .n = l->n };

	if (2 * (l->n + 1) < l->cap)
		return true;
	bigger.v = calloc(bigger.cap, sizeof(*bigger.v));
	if (!bigger.v)
		return false;
	for (size_t i = 0; i < l->cap; i++)
		if (l->v[i].goid)
			*place(&bigger, l->v[i].goid) = l->v[i];
	free(l->v);
	*l = bigger;
	return true;
}

void lineage_put(struct lineage *l, uint64_t goid, uint64_t parent)
{
	if (!goid || find(l, goid) || l->n == LINEAGE_MAX || !grow(l))
		return;
	*place(l, goid) = (struct member){ .goid = goid, .parent = parent };
	l->n++;
}

void lineage_name(struct lineage *l, uint64_t goid, const char *name, bool sure)
{
	if (!find(l, goid))
		return;
	struct member *m = place(l, goid);
	char *copy = strdup(name);
	if (!copy)
		return;
	free(m->test);
	m->test = copy;
	m->sure = sure;
}

enum lineage_state lineage_state(const struct lineage *l, uint64_t goid)
{
	const struct member *m = find(l, goid);

	return !m ? LINEAGE_NEW : m->sure ? LINEAGE_NAMED : LINEAGE_KNOWN;
}

const char *lineage_test(const struct lineage *l, uint64_t goid)
{
	const struct member *m = find(l, goid);

	for (int i = 0; m && i < LINEAGE_MAX_PARENTS; i++) {
		if (m->test)
			return m->test;
		m = find(l, m->parent);
	}
	return NULL;
}
