/* SPDX-License-Identifier: Apache-2.0 */
#include "detector/gate/growth.h"

#include <string.h>

/* Of one process. What is beyond has no earlier count, and stays a leak. */
#define MAX_ROWS (4 * GATE_MAX_LEAKS)

void growth_init(struct growth *g, struct arena *arena)
{
	*g = (struct growth){ .arena = arena };
}

/* The place of @fingerprint, or where it belongs. */
static size_t place(const struct growth *g, const char *fingerprint)
{
	size_t lo = 0, hi = g->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (strcmp(g->rows[mid].fingerprint, fingerprint) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static struct growth_row *find(const struct growth *g, const char *fingerprint)
{
	size_t at = place(g, fingerprint);

	return at < g->n && !strcmp(g->rows[at].fingerprint, fingerprint)
		       ? &g->rows[at]
		       : NULL;
}

static struct error *reserve(struct growth *g)
{
	size_t cap = g->cap ? 2 * g->cap : 64;

	if (g->n < g->cap)
		return NULL;
	struct growth_row *rows = arena_array(g->arena, cap, sizeof(*rows));
	if (!rows)
		return &error_nomem;
	if (g->n)
		memcpy(rows, g->rows, g->n * sizeof(*rows));
	g->rows = rows;
	g->cap = cap;
	return NULL;
}

static struct error *insert(struct growth *g, const char *fingerprint,
			    struct growth_row **ret)
{
	size_t at = place(g, fingerprint);
	struct error *err = reserve(g);

	if (err)
		return err;
	memmove(&g->rows[at + 1], &g->rows[at], (g->n - at) * sizeof(*g->rows));
	g->n++;
	*ret = &g->rows[at];
	**ret = (struct growth_row){ 0 };
	memcpy((*ret)->fingerprint, fingerprint, GATE_FINGERPRINT);
	return NULL;
}

/* The first one stays, which is what GROWTH_QUIET is held against. */
static void thin_out(struct growth *g)
{
	for (size_t r = 0; r < g->n; r++) {
		uint32_t *v = g->rows[r].v;

		for (size_t i = 0; i < GROWTH_LOOKS / 2; i++)
			v[i] = v[2 * i];
		memset(v + GROWTH_LOOKS / 2, 0, GROWTH_LOOKS / 2 * sizeof(*v));
	}
	g->n_looks = GROWTH_LOOKS / 2;
}

struct error *growth_add(struct growth *g, const struct gate_process *p)
{
	if (g->n_looks == GROWTH_LOOKS)
		thin_out(g);
	size_t look = g->n_looks++;
	for (size_t i = 0; i < p->n_leaks; i++) {
		const struct leak *l = &p->leaks[i];
		struct growth_row *row = find(g, l->fingerprint);
		struct error *err = NULL;

		if (!row && g->n < MAX_ROWS)
			err = insert(g, l->fingerprint, &row);
		if (err)
			return err;
		if (row)
			row->v[look] += (uint32_t)l->count;
	}
	return NULL;
}

bool growth_enough(const struct growth *g, enum growth_rule rule)
{
	return g->n_looks >= (rule == GROWTH_BUSY ? GROWTH_MIN_LOOKS : 2);
}

uint64_t growth_more(const uint32_t *v, size_t n, enum growth_rule rule,
		     uint64_t *before_ret)
{
	size_t half = rule == GROWTH_BUSY ? n / 2 : 1;
	uint32_t before = 0, now = n ? v[n - 1] : 0;

	for (size_t i = 0; i < half && i < n; i++)
		before = v[i] > before ? v[i] : before;
	for (size_t i = half; rule == GROWTH_BUSY && i < n; i++)
		now = v[i] < now ? v[i] : now;
	*before_ret = before;
	uint64_t more = now > before ? now - before : 0;
	return rule == GROWTH_BUSY && more < GROWTH_MIN_MORE ? 0 : more;
}

/* What it is bad to have, however long one has had it. */
static bool counts_anyway(const struct leak *l)
{
	return l->dead || l->kind == LEAK_CONNECTION;
}

void growth_attribute(struct gate_process *p, const char *fingerprint,
		      uint64_t more, uint64_t before)
{
	size_t kept = 0;

	for (size_t i = 0; i < p->n_leaks; i++) {
		struct leak *l = &p->leaks[i];

		if (!strcmp(l->fingerprint, fingerprint) && !counts_anyway(l)) {
			l->count = more < l->count ? (size_t)more : l->count;
			more -= l->count;
			l->before = before;
			if (!l->count)
				continue;
		}
		if (kept != i)
			p->leaks[kept] = *l;
		kept++;
	}
	p->n_leaks = kept;
}

void growth_apply(const struct growth *g, enum growth_rule rule,
		  struct gate_process *p)
{
	bool enough = growth_enough(g, rule);

	for (size_t i = 0; i < g->n; i++) {
		uint64_t before = 0;
		uint64_t more = enough ? growth_more(g->rows[i].v, g->n_looks,
						     rule, &before)
				       : 0;

		growth_attribute(p, g->rows[i].fingerprint, more, before);
	}
}
