/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime-hooks/go/unwind.h"

#include <stdlib.h>
#include <string.h>

#include "runtime-hooks/go/shape.h"

#define BUCKETS 4096
#define BUCKET_MAX 64	 /* shapes with one first pc and size: callers differ */
#define SHAPES_MAX 20000 /* some 8 MB */
#define WINDOW_BYTES 4096 /* deep stacks are read on in such pieces */

struct go_unwinder {
	struct go_live *mem;
	const struct go_symbols *sym;
	struct go_shape *buckets[BUCKETS];
	uint8_t depth[BUCKETS];
	size_t n_shapes;
	/* one stack in the making */
	struct go_shape draft;
	raddr_t pcs[TASK_MAX_FRAMES];
	uint32_t ret_at[TASK_MAX_FRAMES];
	/* beyond the bytes of the view */
	uint8_t window[WINDOW_BYTES];
	raddr_t window_at;
	bool window_valid;
};

struct go_unwinder *go_unwinder_create(struct go_live *mem,
				       const struct go_symbols *sym)
{
	struct go_unwinder *u = calloc(1, sizeof(*u));

	if (!u)
		return NULL;
	u->mem = mem;
	u->sym = sym;
	return u;
}

static void drop_shapes(struct go_unwinder *u)
{
	for (size_t i = 0; i < BUCKETS; i++) {
		struct go_shape *s, *next;

		for (s = u->buckets[i]; s; s = next) {
			next = s->next;
			free(s);
		}
		u->buckets[i] = NULL;
		u->depth[i] = 0;
	}
	u->n_shapes = 0;
}

void go_unwinder_destroy(struct go_unwinder *u)
{
	if (!u)
		return;
	drop_shapes(u);
	free(u);
}

bool go_unwinder_begin(struct go_unwinder *u)
{
	u->window_valid = false;
	if (u->n_shapes < SHAPES_MAX)
		return false;
	drop_shapes(u);
	return true;
}

/* A word past the copied part, through a window that follows the walk. */
static bool far_word(struct go_unwinder *u, const struct go_stack_view *view,
		     raddr_t addr, uint64_t *ret)
{
	if (!u->window_valid || addr < u->window_at ||
	    addr + 8 > u->window_at + WINDOW_BYTES) {
		size_t len = WINDOW_BYTES;

		if (view->hi - addr < len)
			len = view->hi - addr;
		u->window_valid = false;
		if (!go_live_read(u->mem, addr, u->window, len))
			return false;
		memset(u->window + len, 0, WINDOW_BYTES - len);
		u->window_valid = true;
		u->window_at = addr;
	}
	*ret = go_word(u->window + (addr - u->window_at));
	return true;
}

bool go_stack_word(struct go_unwinder *u, const struct go_stack_view *view,
		   uint64_t off, uint64_t *ret)
{
	if (off >= view->hi - view->sp || view->hi - view->sp - off < 8)
		return false;
	if (off + 8 <= view->len) {
		*ret = go_word(view->bytes + off);
		return true;
	}
	return far_word(u, view, view->sp + off, ret);
}

static uint64_t shape_key(raddr_t pc, const struct go_stack_view *view)
{
	uint64_t h = pc * 0x9e3779b97f4a7c15ULL ^ (view->hi - view->sp);

	return h * 0xff51afd7ed558ccdULL;
}

static bool same(struct go_unwinder *u, const struct go_shape *s,
		 const struct go_stack_view *view)
{
	for (uint32_t i = 0; i + 1 < s->n; i++) {
		uint64_t word;

		if (!go_stack_word(u, view, s->ret_at[i], &word) ||
		    word != s->pcs[i + 1])
			return false;
	}
	return true;
}

static struct go_shape *find_shape(struct go_unwinder *u,
				   const struct go_stack_view *view, raddr_t pc,
				   uint64_t key)
{
	struct go_shape **at = &u->buckets[key % BUCKETS];

	for (struct go_shape *s = *at; s; s = *at) {
		if (s->key == key && s->first_pc == pc && same(u, s, view))
			return s;
		at = &s->next;
	}
	return NULL;
}

/* After these the next pc is where the program was, not a return address. */
static bool is_signal_frame(const char *name)
{
	return name && (!strcmp(name, "runtime.asyncPreempt") ||
			!strcmp(name, "runtime.sigpanic"));
}

/*
 * Walk the frames of @view into u->pcs. Frame sizes come from the tables, so
 * frame pointers, which a cgo callback interrupts, are not needed.
 */
static void walk(struct go_unwinder *u, const struct go_stack_view *view,
		 raddr_t pc, struct go_shape *d, bool *truncated)
{
	bool is_return = !u->sym->is_entry(u->sym->arg, pc);
	uint64_t at = 0;

	*truncated = false;
	while (d->n < TASK_MAX_FRAMES) {
		struct go_func func;
		uint32_t size;

		// as the runtime does, of pc itself: a call is never the last
		// instruction, and systemstack_switch is entered by no call
		if (!u->sym->func(u->sym->arg, pc, &func))
			return;
		d->pcs[d->n] = pc;
		d->ret_at[d->n++] = 0;
		if (func.top_frame) {
			d->whole = true;
			return;
		}
		if ((func.sp_write && d->n > 1) ||
		    !u->sym->frame_size(u->sym->arg, pc, is_return, &size) ||
		    size < 8 || !go_stack_word(u, view, at + size - 8, &pc))
			return;
		at += size;
		if (at > UINT32_MAX)
			return;
		d->ret_at[d->n - 1] = (uint32_t)at - 8;
		shape_note_frame(d, func.name, (uint32_t)at);
		is_return = !is_signal_frame(func.name);
	}
	*truncated = d->whole = true;
}

static struct go_shape *keep(struct go_unwinder *u, const struct go_shape *d,
			     uint64_t key)
{
	size_t size =
		sizeof(*d) + d->n * (sizeof(*d->pcs) + sizeof(*d->ret_at));
	struct go_shape *s;

	if (u->depth[key % BUCKETS] >= BUCKET_MAX || u->n_shapes >= SHAPES_MAX)
		return NULL;
	s = malloc(size);
	if (!s)
		return NULL;
	*s = *d;
	s->key = key;
	s->pcs = (raddr_t *)(s + 1);
	s->ret_at = (uint32_t *)(s->pcs + s->n);
	memcpy(s->pcs, d->pcs, s->n * sizeof(*s->pcs));
	memcpy(s->ret_at, d->ret_at, s->n * sizeof(*s->ret_at));
	s->next = u->buckets[key % BUCKETS];
	u->buckets[key % BUCKETS] = s;
	u->depth[key % BUCKETS]++;
	u->n_shapes++;
	return s;
}

struct go_shape *go_unwind(struct go_unwinder *u,
			   const struct go_stack_view *view, raddr_t pc)
{
	uint64_t key = shape_key(pc, view);
	struct go_shape *d = &u->draft, *kept;
	bool truncated;

	u->window_valid = false; // what it holds may be older than the view
	kept = find_shape(u, view, pc, key);
	if (kept)
		return kept;
	*d = (struct go_shape){ .first_pc = pc,
				.pcs = u->pcs,
				.ret_at = u->ret_at };
	walk(u, view, pc, d, &truncated);
	d->stack = u->sym->stack(u->sym->arg, d->pcs, d->n,
				 !u->sym->is_entry(u->sym->arg, pc), !d->whole,
				 truncated);
	if (!d->stack)
		return NULL;
	shape_note_stack(d);
	// a stack that moved under our hands is not to be found again
	kept = d->whole ? keep(u, d, key) : NULL;
	return kept ? kept : d;
}
