/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime-hooks/coroutine/st.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "runtime-hooks/coroutine/ctask.h"
#include "runtime-hooks/coroutine/st_layout.h"
#include "runtime-hooks/coroutine/variant.h"

#define POLL_MAX 1024u /* files of one st_poll() */
#define STACK_COPY 8192u

/* One that was found, and by what. */
struct found {
	raddr_t thread;
	raddr_t pollq;	/* 0: not by the I/O queue */
	raddr_t lo, hi; /* its stack; 0: not known */
};

struct walk {
	const struct st_in *in;
	struct st_vp vp;
	struct found *v;
	size_t n, cap;
	bool nomem, torn;
};

static bool add(struct walk *w, raddr_t thread, raddr_t pollq)
{
	if (w->n == w->cap) {
		size_t cap = w->cap ? w->cap * 2 : 256;
		struct found *v = realloc(w->v, cap * sizeof(*v));

		if (!v) {
			w->nomem = true;
			return false;
		}
		w->v = v;
		w->cap = cap;
	}
	w->v[w->n++] = (struct found){ .thread = thread, .pollq = pollq };
	return w->n < ST_MAX;
}

/*
 * Follow a ring whose head is at @head; @add_node makes a thread of a node.
 * False: it has changed, or lies.
 */
static bool walk_ring(struct walk *w, raddr_t head,
		      bool (*add_node)(struct walk *w, raddr_t node))
{
	raddr_t before = head, at;
	struct st_list list;

	if (!live_read(w->in->mem, head, &list, sizeof(list)))
		return false;
	for (at = list.next; at != head; at = list.next) {
		if (!live_plausible(at, 8) ||
		    !live_read(w->in->mem, at, &list, sizeof(list)) ||
		    list.prev != before || w->nomem || w->n >= ST_MAX)
			return false;
		if (!add_node(w, at))
			return false;
		before = at;
	}
	return true;
}

static bool add_pollq(struct walk *w, raddr_t node)
{
	struct st_pollq q;

	return live_read(w->in->mem, node, &q, sizeof(q)) &&
	       live_plausible(q.thread, 8) && add(w, q.thread, node);
}

static bool add_runnable(struct walk *w, raddr_t node)
{
	return add(w, node - offsetof(struct st_thread, links), 0);
}

/* The sleepers, without recursion: what is still to be visited is a list. */
static bool walk_heap(struct walk *w)
{
	size_t first = w->n, at;

	if (!w->vp.sleep_q)
		return true;
	if (!live_plausible(w->vp.sleep_q, 8) || !add(w, w->vp.sleep_q, 0))
		return false;
	for (at = first; at < w->n; at++) {
		struct st_thread t;
		raddr_t sons[2];

		if (!live_read(w->in->mem, w->v[at].thread, &t, sizeof(t)))
			return false;
		if (w->n - first > (size_t)w->vp.sleepq_size)
			return false;
		sons[0] = t.left;
		sons[1] = t.right;
		for (int i = 0; i < 2; i++)
			if (sons[i] && (!live_plausible(sons[i], 8) ||
					!add(w, sons[i], 0)))
				return false;
	}
	return true;
}

static bool walk_once(struct walk *w)
{
	raddr_t vp = w->in->st->vp;

	w->n = 0;
	return live_read(w->in->mem, vp, &w->vp, sizeof(w->vp)) &&
	       w->vp.sleepq_size >= 0 && w->vp.sleepq_size <= ST_MAX &&
	       walk_ring(w, vp + offsetof(struct st_vp, io_q), add_pollq) &&
	       walk_ring(w, vp + offsetof(struct st_vp, run_q), add_runnable) &&
	       walk_heap(w);
}

/* One that is in two queues counts once, by the one that tells more. */
static int by_thread(const void *a, const void *b)
{
	const struct found *x = a, *y = b;

	if (x->thread != y->thread)
		return x->thread < y->thread ? -1 : 1;
	return x->pollq > y->pollq ? -1 : x->pollq < y->pollq;
}

/* A thread and what belongs to it. */
struct seen {
	struct st_thread t;
	struct st_stack stack;
	bool has_stack; /* the primordial one has that of the program */
	struct st_pollq q;
	struct pollfd pds[POLL_MAX];
	uint32_t n_pds;
	bool pds_cut;
	uint8_t bytes[STACK_COPY], again[STACK_COPY];
	uint32_t n_bytes;
	const struct stack *unwound;
};

static bool read_pollq(const struct st_in *in, const struct found *f,
		       struct seen *s)
{
	s->n_pds = 0;
	s->pds_cut = false;
	if (!f->pollq)
		return true;
	if (!live_read(in->mem, f->pollq, &s->q, sizeof(s->q)) ||
	    s->q.thread != f->thread || s->q.npds < 0)
		return false;
	s->n_pds = s->q.npds < (int32_t)POLL_MAX ? (uint32_t)s->q.npds
						 : POLL_MAX;
	s->pds_cut = s->q.npds > (int32_t)POLL_MAX;
	return !s->n_pds || live_read(in->mem, s->q.pds, s->pds,
				      s->n_pds * sizeof(s->pds[0]));
}

static bool read_record(const struct st_in *in, const struct found *f,
			struct seen *s)
{
	if (!live_read(in->mem, f->thread, &s->t, sizeof(s->t)) ||
	    s->t.state < ST_RUNNING || s->t.state > ST_SUSPENDED)
		return false;
	s->has_stack = !(s->t.flags & ST_PRIMORDIAL);
	if (s->has_stack &&
	    (!live_plausible(s->t.stack, 8) ||
	     !live_read(in->mem, s->t.stack, &s->stack, sizeof(s->stack)) ||
	     s->t.regs[ST_RSP] < s->stack.stk_bottom ||
	     s->t.regs[ST_RSP] > s->stack.stk_top))
		return false;
	return read_pollq(in, f, s);
}

static uint32_t stack_len(const struct seen *s)
{
	uint64_t len = STACK_COPY;

	if (s->has_stack && s->stack.stk_top - s->t.regs[ST_RSP] < len)
		len = s->stack.stk_top - s->t.regs[ST_RSP];
	return (uint32_t)len;
}

/* Linked into the program as it is, the library looks like it. */
static void tell_library(struct frame *frame)
{
	if (strncmp(frame->function, "st_", 3) != 0 &&
	    strncmp(frame->function, "_st_", 4) != 0)
		return;
	frame->own = false;
	frame->runtime = true;
}

static bool unwind(const struct st_in *in, struct seen *s)
{
	static const enum native_reg order[] = {
		NATIVE_RBX, NATIVE_RBP, NATIVE_R12, NATIVE_R13,
		NATIVE_R14, NATIVE_R15, NATIVE_RSP, NATIVE_RIP,
	};
	struct native_regs regs = { .pc_is_return = true };
	struct native_copy copy = {
		.base = s->t.regs[ST_RSP],
		.bytes = s->bytes,
		.len = s->n_bytes,
		.hi = s->has_stack ? s->stack.stk_top : 0,
	};
	struct native_result result;

	for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++)
		native_regs_set(&regs, order[i], s->t.regs[i]);
	if (native_unwind(in->native, NATIVE_FAST, &regs, &copy, &result))
		return false;
	s->unwound = NULL;
	if (result.stack->n)
		s->unwound = variant_of(in->variants, in->arena, result.stack,
					tell_library);
	return true;
}

/* The stack of one that does not run, read twice: nothing counts switches. */
static bool read_stack(const struct st_in *in, struct seen *s)
{
	s->unwound = NULL;
	if (!in->stacks || s->t.state == ST_RUNNING)
		return true;
	s->n_bytes = stack_len(s);
	if (!live_read(in->mem, s->t.regs[ST_RSP], s->bytes, s->n_bytes)) {
		s->n_bytes = (uint32_t)(4096 - s->t.regs[ST_RSP] % 4096);
		if (!live_read(in->mem, s->t.regs[ST_RSP], s->bytes,
			       s->n_bytes))
			return true;
	}
	return unwind(in, s) &&
	       live_read(in->mem, s->t.regs[ST_RSP], s->again, s->n_bytes) &&
	       !memcmp(s->bytes, s->again, s->n_bytes);
}

/* Everything of one thread at one moment; false: it moves. */
static bool read_thread(const struct st_in *in, const struct found *f,
			struct seen *s)
{
	for (int i = 0; i <= ST_RETRIES; i++) {
		struct st_thread again;

		if (read_record(in, f, s) && read_stack(in, s) &&
		    live_read(in->mem, f->thread, &again, sizeof(again)) &&
		    !memcmp(&again, &s->t, sizeof(again)))
			return true;
	}
	return false;
}

/* Accepting and connecting are waits like others; the stack tells. */
static enum wait_kind kind_of(const struct seen *s, short events)
{
	for (uint32_t i = 0; s->unwound && i < s->unwound->n && i < 6; i++) {
		const char *name = s->unwound->frames[i]->function;

		if (!strcmp(name, "st_accept"))
			return WAIT_ACCEPT;
		if (!strcmp(name, "st_connect"))
			return WAIT_CONNECT;
	}
	return events & POLLIN ? WAIT_READ : WAIT_WRITE;
}

static void set_files(struct arena *arena, const struct seen *s, struct task *t)
{
	struct wait_fd *fds;

	t->wait = WAIT_POLL;
	if (s->n_pds == 1) {
		short events = s->pds[0].events;

		t->fd = s->pds[0].fd;
		t->fd_proof = FD_PROVEN;
		if (!(events & POLLIN) != !(events & POLLOUT))
			t->wait = kind_of(s, events);
		if (t->wait != WAIT_POLL)
			return;
	}
	fds = arena_array(arena, s->n_pds, sizeof(*fds));
	if (!fds || !s->n_pds)
		return;
	for (uint32_t i = 0; i < s->n_pds; i++)
		fds[i] = (struct wait_fd){ s->pds[i].fd,
					   (uint16_t)s->pds[i].events };
	t->fds = fds;
	t->n_fds = s->n_pds;
	t->fds_cut = s->pds_cut;
}

static void set_due(const struct st_in *in, const struct seen *s,
		    struct task *t)
{
	struct deadline due = { .state = DEADLINE_NONE };
	int64_t left_us = (int64_t)(s->t.due - (uint64_t)in->now_wall_us);

	if (s->t.flags & ST_ON_SLEEPQ) {
		// the program may have given it another clock
		due.state = DEADLINE_UNKNOWN;
		if (left_us > -60000000 && left_us < INT64_C(1) << 50)
			due = (struct deadline){ .state = DEADLINE_SET,
						 .at_mono_ns = in->now_mono_ns +
							       left_us * 1000 };
	}
	t->read_deadline = t->write_deadline = due;
}

static void set_state(const struct st_in *in, struct arena *arena,
		      const struct seen *s, struct task *t)
{
	static const struct {
		enum task_state state;
		enum wait_kind wait;
		const char *reason;
	} states[] = {
		[ST_RUNNING] = { TASK_RUNNING, WAIT_NONE, "running" },
		[ST_RUNNABLE] = { TASK_RUNNABLE, WAIT_NONE, "runnable" },
		[ST_IO_WAIT] = { TASK_WAITING, WAIT_POLL, "I/O wait" },
		[ST_LOCK_WAIT] = { TASK_WAITING, WAIT_MUTEX, "lock wait" },
		[ST_COND_WAIT] = { TASK_WAITING, WAIT_COND, "condition wait" },
		[ST_SLEEPING] = { TASK_WAITING, WAIT_SLEEP, "sleep" },
		[ST_ZOMBIE] = { TASK_IDLE, WAIT_NONE, "ended" },
		[ST_SUSPENDED] = { TASK_WAITING, WAIT_OTHER, "suspended" },
	};

	t->state = states[s->t.state].state;
	t->wait = states[s->t.state].wait;
	t->reason = states[s->t.state].reason;
	t->fd = -1;
	t->fd_proof = t->wait == WAIT_POLL ? FD_UNKNOWN : FD_NONE;
	if (s->t.state == ST_IO_WAIT && s->n_pds)
		set_files(arena, s, t);
	if (s->t.state == ST_IO_WAIT)
		t->reason = wait_kind_name(t->wait);
	if (t->state == TASK_WAITING)
		set_due(in, s, t);
	if (t->state == TASK_RUNNING)
		t->tid = in->tid;
}

static void emit(const struct st_in *in, const struct found *f,
		 const struct seen *s, bool torn, struct task_snapshot *snap)
{
	struct task *t = &snap->tasks[snap->n++];

	*t = (struct task){
		.id = ctask_id(in->number, (uint32_t)(f->thread >> 32),
			       (uint32_t)f->thread),
		.reason = "moving",
		.state = TASK_UNKNOWN,
		.fd = -1,
		.timeout_ms = -1,
		.handle = f->thread,
		.torn = torn,
		.blocked = { .at_most_ms = in->alive_ns / 1000000,
			     .at_most_source = BLOCKED_PROCESS },
	};
	snap->torn += torn;
	if (torn)
		return;
	set_state(in, snap->arena, s, t);
	t->system = s->t.flags & ST_IDLE;
	t->stack = s->unwound;
	t->partial = in->stacks && !s->unwound && t->state == TASK_WAITING;
	if (t->state != TASK_RUNNING) {
		t->sp = s->t.regs[ST_RSP];
		t->pc = s->t.regs[ST_RIP];
	}
	if (live_plausible(s->t.start, 1))
		t->start = native_frame(in->native, s->t.start, false);
}

static void emit_all(const struct st_in *in, struct walk *w, size_t room,
		     struct seen *s, struct task_snapshot *snap)
{
	for (size_t i = 0; i < w->n && room; i++) {
		bool ok;

		if (i && w->v[i - 1].thread == w->v[i].thread)
			continue;
		ok = read_thread(in, &w->v[i], s);
		if (ok && s->has_stack) {
			w->v[i].lo = s->stack.stk_bottom;
			w->v[i].hi = s->stack.stk_top;
		}
		emit(in, &w->v[i], s, !ok, snap);
		room--;
	}
}

static int by_lo(const void *a, const void *b)
{
	const struct found *x = a, *y = b;

	return x->lo < y->lo ? -1 : x->lo > y->lo;
}

static bool is_on_one(const struct walk *w, raddr_t sp)
{
	size_t lo = 0, hi = w->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (w->v[mid].lo <= sp)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo && sp < w->v[lo - 1].hi;
}

/* What the hook has seen on these stacks, of tasks before *first: we know
 * better. */
static void drop_seen(struct walk *w, struct task_snapshot *snap, size_t *first)
{
	size_t to = 0, n = 0;

	if (w->n)
		qsort(w->v, w->n, sizeof(w->v[0]), by_lo);
	for (size_t i = 0; i < snap->n; i++) {
		const struct task *t = &snap->tasks[i];

		if (i < *first && t->fd_proof == FD_LAST_IO &&
		    is_on_one(w, t->sp))
			continue;
		n += i < *first;
		if (to != i)
			snap->tasks[to] = *t;
		to++;
	}
	*first = n;
	snap->n = to;
}

static uint32_t active_count(struct live *mem, const struct st *st)
{
	int32_t n = 0;

	if (!st->active || !live_read(mem, st->active, &n, sizeof(n)) ||
	    n < 0 || n > ST_MAX)
		return 0;
	return (uint32_t)n;
}

size_t st_most(struct live *mem, const struct st *st)
{
	return active_count(mem, st) * 2ul + 1024;
}

struct error *st_read(const struct st_in *in, size_t room,
		      struct task_snapshot *snap, uint64_t *unseen_ret)
{
	struct walk w = { .in = in };
	struct seen *s = malloc(sizeof(*s));
	size_t first = snap->n;
	bool whole = false;
	uint32_t active;

	for (int i = 0; s && !whole && !w.nomem && i <= ST_RETRIES; i++)
		whole = walk_once(&w);
	if (s && !w.nomem) {
		if (w.n)
			qsort(w.v, w.n, sizeof(w.v[0]), by_thread);
		if (!whole)
			gaps_add(&snap->gaps, GAP_TORN, 1,
				 "queues of State Threads that changed while "
				 "they were read");
		emit_all(in, &w, room, s, snap);
		drop_seen(&w, snap, &first);
	}
	active = active_count(in->mem, in->st);
	*unseen_ret = active > snap->n - first ? active - (snap->n - first) : 0;
	free(w.v);
	if (!s || w.nomem) {
		free(s);
		return &error_nomem;
	}
	free(s);
	return NULL;
}
