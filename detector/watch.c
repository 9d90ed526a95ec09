/* SPDX-License-Identifier: Apache-2.0 */
#include "detector/watch.h"

#include <stdlib.h>
#include <string.h>

#define SITE_SLOTS 32768 /* a power of two, more than WATCH_MAX_SITES */
#define N_RUNTIMES (TASK_THREAD + 1)

struct seen {
	uint64_t id;
	int64_t first_ms;
	uint32_t site; /* UINT32_MAX: beyond the limit */
};

/* The tasks that were there in the last look, ascending by id. */
struct living {
	struct seen *v;
	size_t n;
	uint64_t first_max_id, max_id, created;
	bool looked;
};

struct watch_state {
	struct living of[N_RUNTIMES];
	uint32_t slots[SITE_SLOTS]; /* index + 1 in v; 0: free */
	/* The counters in the first look that had the site. */
	struct base {
		uint64_t created, ended;
		bool known;
	} base[WATCH_MAX_SITES];
	uint32_t counted_looks[N_RUNTIMES];
	uint64_t too_many;
	int64_t first_ms, now_ms;
};

struct error *watch_create(struct watch **ret)
{
	struct watch *w = calloc(1, sizeof(*w));

	if (!w)
		return &error_nomem;
	w->arena = arena_create();
	w->gaps.arena = w->arena;
	w->state = calloc(1, sizeof(*w->state));
	w->v = calloc(WATCH_MAX_SITES, sizeof(*w->v));
	if (!w->arena || !w->state || !w->v) {
		watch_destroy(w);
		return &error_nomem;
	}
	*ret = w;
	return NULL;
}

void watch_destroy(struct watch *watch)
{
	if (!watch)
		return;
	for (size_t i = 0; watch->state && i < N_RUNTIMES; i++)
		free(watch->state->of[i].v);
	free(watch->state);
	free(watch->v);
	arena_destroy(watch->arena);
	free(watch);
}

void watch_begin_look(struct watch *watch, int64_t now_ms)
{
	struct watch_state *st = watch->state;

	if (!watch->looks)
		st->first_ms = now_ms;
	st->now_ms = now_ms;
	watch->looks++;
	watch->duration_ms = now_ms - st->first_ms;
	for (size_t i = 0; i < watch->n; i++) {
		watch->v[i].oldest_id = 0;
		watch->v[i].oldest_ms = -1;
	}
}

/* Two pcs of one line are one site: a call that was inlined twice. */
static bool same_site(const struct watch_site *s, enum task_runtime runtime,
		      const struct frame *f)
{
	if (s->runtime != runtime)
		return false;
	if (s->frame == f)
		return true;
	return s->frame && f && s->frame->line == f->line &&
	       !strcmp(s->frame->function, f->function) &&
	       !strcmp(s->frame->file, f->file) &&
	       (f->line || s->frame->pc == f->pc);
}

static size_t hash_site(enum task_runtime runtime, const struct frame *f)
{
	uint64_t h = 5381 + (uint64_t)runtime;

	for (const char *s = f ? f->function : ""; *s; s++)
		h = h * 33 + (unsigned char)*s;
	h ^= f ? f->line : 0;
	return (size_t)(h * UINT64_C(0x9e3779b97f4a7c15) >> 40) % SITE_SLOTS;
}

/* The index of the site, made when it is new; UINT32_MAX: there are too many. */
static uint32_t site_of(struct watch *w, enum task_runtime runtime,
			const struct frame *f)
{
	struct watch_state *st = w->state;
	size_t slot = hash_site(runtime, f);

	for (; st->slots[slot]; slot = (slot + 1) % SITE_SLOTS)
		if (same_site(&w->v[st->slots[slot] - 1], runtime, f))
			return st->slots[slot] - 1;
	if (w->n == WATCH_MAX_SITES) {
		st->too_many++;
		return UINT32_MAX;
	}
	w->v[w->n] = (struct watch_site){ .runtime = runtime,
					  .frame = f,
					  .oldest_ms = -1 };
	st->slots[slot] = (uint32_t)++w->n;
	return (uint32_t)w->n - 1;
}

static void note_oldest(struct watch *w, const struct seen *s)
{
	struct watch_site *site;

	if (s->site == UINT32_MAX)
		return;
	site = &w->v[s->site];
	/* Ids ascend, so the first is the oldest; but who knows the table. */
	if (site->oldest_id &&
	    site->oldest_ms >= w->state->now_ms - s->first_ms)
		return;
	site->oldest_id = s->id;
	site->oldest_ms = w->state->now_ms - s->first_ms;
}

static void came(struct watch *w, struct living *l, const struct seen *s,
		 bool counted)
{
	l->created += l->looked;
	if (s->site == UINT32_MAX || counted)
		return;
	w->v[s->site].alive++;
	if (l->looked)
		w->v[s->site].created++;
	else
		w->v[s->site].alive_first++;
}

static void went(struct watch *w, const struct seen *s, bool counted)
{
	if (s->site == UINT32_MAX || counted)
		return;
	w->v[s->site].alive--;
	w->v[s->site].ended++;
}

/* Hold the tasks of @snap against those of the last look. */
static void compare(struct watch *w, struct living *l, struct seen *v, size_t n,
		    bool counted)
{
	size_t old = 0;

	for (size_t i = 0; i < n; i++) {
		while (old < l->n && l->v[old].id < v[i].id)
			went(w, &l->v[old++], counted);
		if (old < l->n && l->v[old].id == v[i].id)
			v[i] = l->v[old++];
		else
			came(w, l, &v[i], counted);
		note_oldest(w, &v[i]);
	}
	while (old < l->n)
		went(w, &l->v[old++], counted);
}

struct error *watch_tasks(struct watch *watch, const struct task_snapshot *snap,
			  bool counted)
{
	struct living *l = &watch->state->of[snap->kind];
	struct seen *v = malloc((snap->n + 1) * sizeof(*v));
	size_t n = 0;

	if (!v)
		return &error_nomem;
	for (size_t i = 0; i < snap->n; i++) {
		const struct task *t = &snap->tasks[i];

		if (t->system || (n && v[n - 1].id == t->id))
			continue;
		v[n++] = (struct seen){
			.id = t->id,
			.first_ms = watch->state->now_ms,
			.site = site_of(watch, snap->kind, t->created_by),
		};
	}
	compare(watch, l, v, n, counted);
	free(l->v);
	l->v = v;
	l->n = n;
	/* Also the system's: ids are given to all. */
	uint64_t max = snap->n ? snap->tasks[snap->n - 1].id : 0;
	if (!l->looked)
		l->first_max_id = max;
	if (max > l->max_id)
		l->max_id = max;
	l->looked = true;
	return NULL;
}

struct error *watch_counts(struct watch *watch, enum task_runtime runtime,
			   const struct task_site *v, size_t n)
{
	struct watch_state *st = watch->state;
	bool first = !st->counted_looks[runtime]++;

	for (size_t i = 0; i < watch->n; i++)
		if (watch->v[i].runtime == runtime)
			watch->v[i].created = watch->v[i].ended =
				watch->v[i].alive = 0;
	for (size_t i = 0; i < n; i++) {
		uint32_t at = site_of(watch, runtime, v[i].frame);
		struct watch_site *s;

		if (at == UINT32_MAX)
			continue;
		s = &watch->v[at];
		/* A line may have two counters, so these are added up. */
		s->created += v[i].created;
		s->ended += v[i].ended;
		if (v[i].created > v[i].ended)
			s->alive += v[i].created - v[i].ended;
	}
	for (size_t i = 0; i < watch->n; i++) {
		struct watch_site *s = &watch->v[i];
		struct base *b = &st->base[i];

		if (s->runtime != runtime)
			continue;
		if (first) {
			*b = (struct base){ s->created, s->ended, true };
			s->alive_first = s->alive;
		}
		/* The process counts up; less is a table that was made anew. */
		s->created -= b->created < s->created ? b->created : s->created;
		s->ended -= b->ended < s->ended ? b->ended : s->ended;
	}
	return NULL;
}

void watch_end_look(struct watch *watch, int quarter)
{
	if (quarter < 0 || quarter > WATCH_QUARTERS)
		return;
	for (size_t i = 0; i < watch->n; i++)
		watch->v[i].quarter[quarter] = watch->v[i].alive;
}

static bool grows(const struct watch_site *s)
{
	if (s->ended || s->created < WATCH_MIN_GROWTH)
		return false;
	for (int i = 0; i < WATCH_QUARTERS; i++)
		if (s->quarter[i + 1] <= s->quarter[i])
			return false;
	return true;
}

static int64_t growth(const struct watch_site *s)
{
	return (int64_t)s->created - (int64_t)s->ended;
}

static int by_growth(const void *a, const void *b)
{
	const struct watch_site *x = a, *y = b;

	if (x->grows != y->grows)
		return x->grows ? -1 : 1;
	if (growth(x) != growth(y))
		return growth(x) > growth(y) ? -1 : 1;
	if (x->alive != y->alive)
		return x->alive > y->alive ? -1 : 1;
	return x->frame && y->frame
		       ? strcmp(x->frame->function, y->frame->function)
		       : !!y->frame - !!x->frame;
}

void watch_finish(struct watch *watch)
{
	struct watch_state *st = watch->state;
	const struct living *go = &st->of[TASK_GO];

	for (size_t i = 0; i < watch->n; i++)
		watch->v[i].grows = grows(&watch->v[i]);
	watch->created_at_most = go->max_id - go->first_max_id;
	if (watch->created_at_most > go->created)
		watch->unseen_at_most = watch->created_at_most - go->created;
	if (st->too_many)
		gaps_add(&watch->gaps, GAP_LIMIT, st->too_many,
			 "tasks of more than %d creation sites",
			 WATCH_MAX_SITES);
	/* Nothing is added any more: the slots need not follow. */
	qsort(watch->v, watch->n, sizeof(*watch->v), by_growth);
}

size_t watch_growing(const struct watch *watch)
{
	size_t n = 0;

	for (size_t i = 0; i < watch->n; i++)
		n += watch->v[i].grows;
	return n;
}
