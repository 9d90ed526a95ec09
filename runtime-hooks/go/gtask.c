/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime-hooks/go/gtask.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fnv.h"
#include "runtime-hooks/go/order.h"
#include "runtime-hooks/go/since.h"

#define SITES 512 /* start functions and creators that are remembered */

struct site {
	raddr_t pc;
	const struct frame *frame;
};

struct label_memo {
	raddr_t at;
	const struct label *v;
	uint16_t n;
};

struct gtask {
	struct go_live *mem;
	struct go_layout *layout;
	const struct go_symbols *sym;
	struct runtime_options opt;
	struct task_snapshot *snap;
	struct go_wait wait;
	int64_t now, alive_ms, last_taken;
	size_t max;
	struct site starts[SITES], creators[SITES];
	struct label_memo labels[SITES];
	uint64_t running, torn, incomplete, no_reasons, duplicate;
};

size_t gtask_marks_len(const struct go_layout *l)
{
	return l->g_gopc - 80u > l->g_waitreason
		       ? l->g_gopc - 80u - l->g_waitreason
		       : 1;
}

static uint64_t marks_of(const struct go_layout *l, const uint8_t *b)
{
	uint64_t h = 0;
	size_t n = gtask_marks_len(l), i;

	for (i = 0; i + 8 <= n; i += 8)
		h = (h ^ go_word(b + l->g_waitreason + i)) *
		    0x9e3779b97f4a7c15ULL;
	return fnv_bytes(h, b + l->g_waitreason + i, n - i);
}

static enum go_reason_class reason_class(const struct go_layout *l,
					 const uint8_t *b)
{
	return l->reasons[b[l->g_waitreason]].class;
}

static bool same_place(const struct gtask_record *r, const struct go_layout *l,
		       const uint8_t *b)
{
	return r->goid == go_word(b + l->g_goid) &&
	       r->sp == go_word(b + GO_G_SP) && r->pc == go_word(b + GO_G_PC);
}

bool gtask_unchanged(const struct go_layout *l, const struct gtask_record *r,
		     const uint8_t *b)
{
	// a coroutine switch parks and resumes past the scheduler
	return r->shape && r->since &&
	       r->since == (int64_t)go_word(b + l->g_waitsince) &&
	       same_place(r, l, b) &&
	       (go_half(b + l->g_status) & ~GO_STATUS_SCAN) == GO_WAITING &&
	       reason_class(l, b) != GO_REASON_COROUTINE &&
	       reason_class(l, b) != GO_REASON_COND; // its stack is needed
}

struct error *gtask_begin(struct go_live *mem, struct go_layout *layout,
			  const struct go_symbols *sym,
			  struct go_unwinder *unwinder,
			  const struct runtime_options *opt, int64_t alive_ms,
			  int64_t last_taken, size_t max,
			  struct task_snapshot *snap, struct gtask **ret)
{
	struct gtask *out = calloc(1, sizeof(*out));

	if (!out)
		return &error_nomem;
	// zero pages that no task is written to cost nothing
	snap->tasks = arena_array(snap->arena, max, sizeof(*snap->tasks));
	if (!snap->tasks) {
		free(out);
		return &error_nomem;
	}
	out->mem = mem;
	out->layout = layout;
	out->sym = sym;
	out->opt = *opt;
	out->snap = snap;
	out->now = snap->taken_mono_ns;
	out->alive_ms = alive_ms;
	out->last_taken = last_taken;
	out->max = max;
	out->wait = (struct go_wait){
		.mem = mem,
		.layout = layout,
		.sym = sym,
		.unwinder = unwinder,
		.arena = snap->arena,
	};
	*ret = out;
	return NULL;
}

struct task_snapshot *gtask_snapshot(struct gtask *out)
{
	return out->snap;
}

static const struct frame *site(struct gtask *out, struct site *table,
				const struct frame *(*find)(void *, raddr_t),
				raddr_t pc)
{
	struct site *s = &table[(pc * 0x9e3779b97f4a7c15ULL) >> 55];

	_Static_assert(SITES == 1 << (64 - 55), "the hash fits the table");
	if (!pc)
		return NULL;
	if (s->pc != pc) {
		s->frame = find(out->sym->arg, pc);
		s->pc = pc;
	}
	return s->frame;
}

static enum task_state state_of(uint32_t status)
{
	switch (status) {
	case GO_RUNNABLE:
		return TASK_RUNNABLE;
	case GO_RUNNING:
		return TASK_RUNNING;
	case GO_SYSCALL:
		return TASK_SYSCALL;
	case GO_WAITING:
		return TASK_WAITING;
	case GO_PREEMPTED:
		return TASK_PREEMPTED;
	case GO_COPYSTACK:
		return TASK_COPYSTACK;
	case GO_LEAKED:
		return TASK_LEAKED;
	case GO_IDLE:
	case GO_DEAD:
	case GO_DEADEXTRA:
		return TASK_IDLE;
	default:
		return TASK_UNKNOWN;
	}
}

/* The words of goroutineheader() (runtime/traceback.go, 1.17 to 1.27). */
static const char *status_text(enum task_state state)
{
	switch (state) {
	case TASK_RUNNABLE:
	case TASK_RUNNING:
	case TASK_SYSCALL:
	case TASK_WAITING:
	case TASK_PREEMPTED:
	case TASK_COPYSTACK:
	case TASK_LEAKED:
	case TASK_IDLE:
		return task_state_name(state);
	case TASK_UNKNOWN:
		break;
	}
	return "???";
}

static const char *reason_text(struct gtask *out, const struct task *t,
			       const uint8_t *b)
{
	const struct go_layout *l = out->layout;
	unsigned reason = b[l->g_waitreason];

	if ((t->state != TASK_WAITING && t->state != TASK_LEAKED) || !reason)
		return status_text(t->state);
	if (!l->n_reasons) {
		out->no_reasons++;
		return status_text(t->state);
	}
	if (reason >= l->n_reasons || !l->reasons[reason].text)
		return "unknown wait reason"; // as waitReason.String() says
	return l->reasons[reason].text;
}

/*
 * Does the word @m point to an m, by m.g0.m == m? m.g0 is its first word, and
 * g.m has its fixed place.
 */
static bool is_m(struct go_live *mem, raddr_t m)
{
	uint64_t g0, back;

	return go_live_plausible(m) && go_live_word(mem, m, &g0) &&
	       go_live_plausible(g0) && go_live_word(mem, g0 + GO_G_M, &back) &&
	       back == m;
}

/*
 * lockedm is 64 (to 1.20), 72 (to 1.25) or 80 (1.26) before gopc. What lies at
 * the other two places is never an m, so the first one found settles it.
 */
static raddr_t locked_m(struct gtask *out, const uint8_t *b)
{
	struct go_layout *l = out->layout;

	if (l->g_lockedm)
		return go_word(b + l->g_lockedm);
	for (unsigned back = 64; back <= 80; back += 8) {
		raddr_t m = go_word(b + l->g_gopc - back);

		if (!m || !is_m(out->mem, m))
			continue;
		l->g_lockedm = (uint16_t)(l->g_gopc - back);
		return m;
	}
	return 0;
}

/* m.procid is behind g0 and a gobuf of 7 (1.25) or 8 words and a divisor. */
static pid_t thread_of(struct gtask *out, raddr_t m)
{
	struct go_layout *l = out->layout;
	struct process_syscall call;
	uint64_t id;

	if (!is_m(out->mem, m))
		return 0;
	for (unsigned off = 56; !l->m_procid && off <= 88; off += 8) {
		if (!go_live_word(out->mem, m + off, &id) || !id ||
		    id > 1u << 22 || !out->sym->thread_syscall ||
		    out->sym->thread_syscall(out->sym->arg, (pid_t)id, &call))
			continue;
		l->m_procid = (uint16_t)off;
	}
	if (!l->m_procid || !go_live_word(out->mem, m + l->m_procid, &id) ||
	    id > 1u << 22)
		return 0;
	return (pid_t)id;
}

/* isSystemGoroutine() (runtime/traceback.go, 1.17 to 1.27), by names. */
static bool is_system(const struct task *t, const struct go_shape *shape)
{
	const char *name = t->start ? t->start->function : NULL;

	if (!name || strncmp(name, "runtime.", 8) != 0)
		return false;
	name += 8;
	if (!strcmp(name, "main") || !strcmp(name, "corostart") ||
	    !strcmp(name, "handleAsyncEvent"))
		return false;
	// these are the user's while they call the user's functions
	if (!strcmp(name, "runfinq") || !strcmp(name, "runFinalizers") ||
	    !strcmp(name, "runCleanups"))
		return !shape || !shape->calls_user;
	return true;
}

static void set_labels(struct gtask *out, struct task *t, raddr_t at)
{
	struct label_memo *memo = &out->labels[(at >> 3) % SITES];
	const struct label *v;
	uint16_t n;

	if (!at || !out->opt.objects)
		return;
	if (memo->at != at) {
		if (!go_labels_read(out->mem, out->snap->arena, at,
				    out->layout->minor, &v, &n)) {
			out->wait.labels_bad++;
			return;
		}
		*memo = (struct label_memo){ .at = at, .v = v, .n = n };
	}
	t->labels = memo->v;
	t->n_labels = memo->n;
}

static void set_identity(struct gtask *out, const struct gtask_in *in,
			 struct task *t)
{
	const struct go_layout *l = out->layout;
	const uint8_t *b = in->bytes;
	uint32_t status = go_half(b + l->g_status);

	*t = (struct task){
		.id = go_word(b + l->g_goid),
		.state = state_of(status & ~GO_STATUS_SCAN),
		.scan_bit = status & GO_STATUS_SCAN,
		.fd = -1,
		.fd_proof = FD_NONE,
		.handle = in->g,
		.torn = in->torn,
		.blocked = { .at_most_ms = -1 },
	};
	t->leaked = t->state == TASK_LEAKED;
	if (l->g_parent)
		t->parent_id = go_word(b + l->g_parent);
	t->reason = reason_text(out, t, b);
	t->start = site(out, out->starts, out->sym->start,
			go_word(b + l->g_startpc));
	if (t->id != 1) // the first one was created by assembly
		t->created_by = site(out, out->creators, out->sym->creator,
				     go_word(b + l->g_gopc));
	t->system = is_system(t, in->shape);
	set_labels(out, t, go_word(b + l->g_labels));
}

static void set_thread(struct gtask *out, const uint8_t *b, struct task *t)
{
	raddr_t m = go_word(b + GO_G_M), locked = locked_m(out, b);

	t->locked_to_thread = locked;
	if (m && (t->state == TASK_RUNNING || t->state == TASK_SYSCALL))
		t->tid = thread_of(out, m);
	else if (locked)
		t->tid = thread_of(out, locked);
}

static void set_stack(struct gtask *out, const struct gtask_in *in,
		      struct task *t)
{
	if (in->shape) {
		t->sp = in->view->sp;
		t->pc = in->shape->first_pc;
		if (out->opt.stacks)
			t->stack = in->shape->stack;
		t->partial = in->shape->stack->incomplete;
	} else if (t->state != TASK_RUNNING && t->state != TASK_COPYSTACK) {
		t->partial = out->opt.stacks;
	}
}

static void set_blocked(struct gtask *out, const struct gtask_in *in,
			struct task *t)
{
	struct gtask_record *r = in->record;
	int64_t ms;

	if (t->state != TASK_WAITING && t->state != TASK_LEAKED &&
	    t->state != TASK_SYSCALL)
		return;
	t->blocked.at_most_ms = out->alive_ms;
	t->blocked.at_most_source = BLOCKED_PROCESS;
	if (!r->goid) // not remembered
		return;
	ms = (out->now - r->here_ns) / 1000000;
	if (ms > t->blocked.at_least_ms) {
		t->blocked.at_least_ms = ms;
		t->blocked.at_least_source = BLOCKED_OBSERVED;
	}
	if (!r->absent_ns)
		return;
	t->blocked.at_most_ms = (out->now - r->absent_ns) / 1000000;
	t->blocked.at_most_source = BLOCKED_OBSERVED;
}

/* Remember where it is; its place is the same when nothing of it changed. */
static void remember(struct gtask *out, const struct gtask_in *in)
{
	const struct go_layout *l = out->layout;
	struct gtask_record *r = in->record;
	uint64_t marks = marks_of(l, in->bytes);
	int64_t since = (int64_t)go_word(in->bytes + l->g_waitsince);
	bool same = r->shape == in->shape && same_place(r, l, in->bytes) &&
		    (r->marks == marks || (since && r->since == since));

	if (!same) {
		r->here_ns = out->now;
		r->absent_ns = out->last_taken;
		r->known = 0;
	}
	r->goid = go_word(in->bytes + l->g_goid);
	r->sp = go_word(in->bytes + GO_G_SP);
	r->pc = go_word(in->bytes + GO_G_PC);
	r->since = since;
	r->marks = marks;
	r->shape = in->shape;
}

static void forget(struct gtask_record *r)
{
	*r = (struct gtask_record){ 0 };
}

static bool fill_wait(struct gtask *out, const struct gtask_in *in,
		      struct task *t)
{
	const struct go_layout *l = out->layout;
	struct go_wait_on on = {
		.g = in->g,
		.waiting = go_word(in->bytes + l->g_waiting),
		.view = in->view,
		.shape = in->shape,
		.class = reason_class(l, in->bytes),
		.fds = out->opt.fds,
		.objects = out->opt.objects,
		.known = &in->record->known,
	};

	out->wait.first_round = in->first;
	if (t->state == TASK_SYSCALL) {
		if (out->opt.fds)
			go_wait_syscall(&out->wait, t);
		else
			t->wait = WAIT_SYSCALL;
		return true;
	}
	if (t->state != TASK_WAITING && t->state != TASK_LEAKED)
		return true;
	if (!in->shape) {
		go_wait_guess(&on, t);
		return true;
	}
	return go_wait_fill(&out->wait, &on, t);
}

/* The last try failed too: say what is not known. */
static void settle(struct gtask *out, struct task *t)
{
	t->partial = true;
	if (t->fd_proof == FD_UNKNOWN) {
		out->wait.fds_unknown++;
		out->layout->poll_refuted++;
	} else {
		out->wait.objects_unknown++;
		out->layout->chan_refuted += t->wait == WAIT_CHAN_RECV ||
					     t->wait == WAIT_CHAN_SEND ||
					     t->wait == WAIT_SELECT;
	}
}

static uint64_t objects_of(const struct task *t)
{
	uint64_t h = (uint64_t)t->fd + 1;

	for (uint32_t i = 0; i < t->n_objects; i++)
		h = h * 0x100000001b3ULL ^
		    (t->objects[i].addr << 1 | t->objects[i].send);
	return h;
}

/*
 * An unchanged goroutine is not read a second time. Should it have gone on
 * since its g was read, what was found meanwhile may be of its next wait: then
 * it is not what was found before.
 */
static bool same_objects(const struct gtask_in *in, struct task *t)
{
	uint64_t objects = objects_of(t);

	if (in->unchanged && in->record->objects != objects) {
		t->torn = true;
		t->n_objects = 0;
		return false;
	}
	if (in->record->goid)
		in->record->objects = objects;
	return true;
}

bool gtask_emit(struct gtask *out, const struct gtask_in *in)
{
	struct task *t = &out->snap->tasks[out->snap->n];
	const struct go_layout *l = out->layout;

	if (out->snap->n == out->max)
		return true;
	set_identity(out, in, t);
	set_stack(out, in, t);
	set_thread(out, in->bytes, t);
	if (t->state == TASK_WAITING || t->state == TASK_SYSCALL ||
	    t->state == TASK_LEAKED)
		t->wait_since_mono_ns =
			(int64_t)go_word(in->bytes + l->g_waitsince);
	if (in->shape && in->shape->whole)
		remember(out, in);
	else
		forget(in->record);
	if (!fill_wait(out, in, t) || !same_objects(in, t)) {
		forget(in->record); // and read it whole the next time
		if (!in->last)
			return false;
		settle(out, t);
	}
	set_blocked(out, in, t);
	out->snap->n++;
	return true;
}

void gtask_keep(struct gtask *out, size_t to, size_t *next)
{
	struct task *t = out->snap->tasks;

	if (to != *next)
		t[to] = t[*next];
	++*next;
}

void gtask_drop(struct gtask *out, struct gtask_record *record, size_t *next)
{
	(void)out;
	forget(record);
	++*next;
}

void gtask_cut(struct gtask *out, size_t n)
{
	out->snap->n = n;
}

static void count(struct gtask *out)
{
	for (size_t i = 0; i < out->snap->n; i++) {
		const struct task *t = &out->snap->tasks[i];

		out->running += t->state == TASK_RUNNING;
		out->torn += t->torn;
		out->incomplete += t->stack && t->stack->incomplete;
	}
}

static void add_gaps(struct gtask *out)
{
	struct gaps *gaps = &out->snap->gaps;
	const struct go_wait *w = &out->wait;

	if (out->running)
		gaps_add(gaps, GAP_RUNNING, out->running,
			 "goroutines were running: no stack");
	if (out->torn)
		gaps_add(gaps, GAP_TORN, out->torn,
			 "goroutines changed while they were read");
	if (out->incomplete)
		gaps_add(gaps, GAP_CORRUPT, out->incomplete,
			 "stacks do not reach their outermost function");
	if (out->no_reasons)
		gaps_add(gaps, GAP_UNSUPPORTED, out->no_reasons,
			 "wait reasons: the runtime's texts were not found");
	if (w->fds_unknown)
		gaps_add(gaps, GAP_UNSUPPORTED, w->fds_unknown,
			 "goroutines wait for I/O on an fd that was not found");
	if (w->chans_unlearned)
		gaps_add(gaps, GAP_UNSUPPORTED, w->chans_unlearned,
			 "channel waits: the layout of channels was not found");
	if (w->objects_unknown)
		gaps_add(gaps, GAP_UNSUPPORTED, w->objects_unknown,
			 "goroutines wait on something that was not found");
	if (w->labels_bad)
		gaps_add(gaps, GAP_CORRUPT, w->labels_bad,
			 "goroutine labels that make no sense");
	if (out->duplicate)
		gaps_add(gaps, GAP_CORRUPT, out->duplicate,
			 "goroutines that are listed twice");
}

struct error *gtask_end(struct gtask *out)
{
	bool sorted = go_tasks_order(out->snap, &out->duplicate);
	struct error *err =
		go_since_bound(out->snap->tasks, out->snap->n, out->now);

	if (!err && !sorted)
		err = &error_nomem;
	count(out);
	out->snap->torn = out->torn;
	go_wait_count(out->snap->tasks, out->snap->n);
	add_gaps(out);
	free(out);
	return err;
}
