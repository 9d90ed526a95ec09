/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime-hooks/go/goroutine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "runtime-hooks/go/gtask.h"

#define BATCH GO_GATHER_MAX
#define CHUNK_BYTES ((size_t)4 << 20) /* stacks that are read at once */
/* Stacks this close are read in one piece: most are 2 KB with 0.4 KB in use,
 * and a piece more costs as much as copying 3 KB. */
#define STACK_GAP 2048
#define STACK_FIRST ((size_t)32 << 10) /* of one stack; deeper on demand */
#define STACK_MAX ((uint64_t)2 << 30)  /* twice Go's limit */

/* One goroutine on its way through a batch. */
struct item {
	uint32_t index; /* in allgs */
	raddr_t g;
	enum { ITEM_SKIP, ITEM_PLAIN, ITEM_KNOWN, ITEM_READ, ITEM_BAD } what;
	const uint8_t *bytes, *again;
	struct go_stack_view view;
	raddr_t pc;
	bool stack_read;
	bool emitted; /* a task was made of it */
};

struct go_goroutines {
	struct go_live *mem;
	struct go_layout *layout;
	const struct go_symbols *sym;
	struct go_unwinder *unwinder;
	struct gtask_record *records; /* by index in allgs */
	size_t n_records;
	int64_t last_taken; /* of the snapshot before, 0 none */
	/* buffers, reused from batch to batch */
	uint8_t *bytes, *bytes_again, *chunk;
	struct item items[BATCH];
	struct item *order[BATCH]; /* those to be read, by address */
	struct process_read_req reqs[BATCH];
};

/* What happens during one go_goroutines_read(). */
struct pass {
	struct go_goroutines *gs;
	struct gtask *out;
	int round; /* 0, then 1 to GO_RETRIES */
	bool stacks;
	raddr_t array;
	size_t len;
	uint32_t *retry; /* indices to read again */
	size_t n_retry, cap_retry;
	bool nomem;
	uint64_t bad, unreadable, unread, known, stacks_read, bytes_read;
};

struct go_goroutines *go_goroutines_create(struct go_live *mem,
					   struct go_layout *layout,
					   const struct go_symbols *sym)
{
	struct go_goroutines *gs = calloc(1, sizeof(*gs));
	size_t size = go_live_gather_size(BATCH, layout->g_len);

	if (!gs)
		return NULL;
	gs->mem = mem;
	gs->layout = layout;
	gs->sym = sym;
	gs->unwinder = go_unwinder_create(mem, sym);
	gs->bytes = malloc(size);
	gs->bytes_again = malloc(size);
	gs->chunk = malloc(CHUNK_BYTES);
	if (gs->unwinder && gs->bytes && gs->bytes_again && gs->chunk)
		return gs;
	go_goroutines_destroy(gs);
	return NULL;
}

void go_goroutines_destroy(struct go_goroutines *gs)
{
	if (!gs)
		return;
	go_unwinder_destroy(gs->unwinder);
	free(gs->records);
	free(gs->bytes);
	free(gs->bytes_again);
	free(gs->chunk);
	free(gs);
}

static void push_retry(struct pass *pass, uint32_t index)
{
	if (pass->n_retry == pass->cap_retry) {
		size_t cap = pass->cap_retry ? pass->cap_retry * 2 : 256;
		uint32_t *v = realloc(pass->retry, cap * sizeof(*v));

		if (!v) {
			pass->nomem = true;
			return;
		}
		pass->retry = v;
		pass->cap_retry = cap;
	}
	pass->retry[pass->n_retry++] = index;
}

static bool last_round(const struct pass *pass)
{
	return pass->round == GO_RETRIES;
}

static uint32_t status_of(const struct go_layout *l, const uint8_t *b)
{
	return go_half(b + l->g_status) & ~GO_STATUS_SCAN;
}

static bool has_stack(uint32_t status)
{
	return status == GO_WAITING || status == GO_RUNNABLE ||
	       status == GO_SYSCALL || status == GO_PREEMPTED ||
	       status == GO_LEAKED;
}

/* Where a parked goroutine's stack starts; false when it makes no sense. */
static bool locate_stack(const struct go_layout *l, struct item *it)
{
	const uint8_t *b = it->bytes;
	uint64_t lo = go_word(b + GO_G_STACK_LO);
	uint64_t hi = go_word(b + GO_G_STACK_HI);
	uint64_t sp = go_word(b + GO_G_SP);

	it->pc = go_word(b + GO_G_PC);
	if (status_of(l, b) == GO_SYSCALL && go_word(b + l->g_syscallsp)) {
		sp = go_word(b + l->g_syscallsp);
		it->pc = go_word(b + l->g_syscallsp + 8);
	}
	if (lo >= hi || hi - lo > STACK_MAX || sp < lo || sp >= hi || sp & 7 ||
	    hi >> 47)
		return false;
	it->view = (struct go_stack_view){ .sp = sp, .hi = hi };
	return true;
}

static void plan(struct pass *pass, struct item *it)
{
	const struct go_layout *l = pass->gs->layout;
	uint32_t status;

	it->what = ITEM_BAD;
	if (!it->bytes || go_word(it->bytes + GO_G_SELF) != it->g) {
		// one that is just being made has no sched.g yet
		if (it->bytes && status_of(l, it->bytes) == GO_DEAD)
			it->what = ITEM_SKIP;
		return;
	}
	status = status_of(l, it->bytes);
	if (status == GO_DEAD || status == GO_DEADEXTRA || status == GO_IDLE ||
	    !go_word(it->bytes + l->g_goid))
		it->what = ITEM_SKIP;
	else if (!has_stack(status) || !pass->stacks)
		it->what = ITEM_PLAIN;
	else if (!locate_stack(l, it))
		it->what = ITEM_BAD;
	else if (gtask_unchanged(l, &pass->gs->records[it->index], it->bytes))
		it->what = ITEM_KNOWN;
	else
		it->what = ITEM_READ;
}

/* Plan items from @from until the chunk may be full. Returns the end. */
static size_t plan_portion(struct pass *pass, size_t from, size_t n,
			   size_t *n_order)
{
	struct go_goroutines *gs = pass->gs;
	size_t used = 0, i;

	*n_order = 0;
	for (i = from; i < n && used + STACK_FIRST + STACK_GAP <= CHUNK_BYTES;
	     i++) {
		struct item *it = &gs->items[i];
		size_t len;

		it->stack_read = it->emitted = false;
		plan(pass, it);
		if (it->what != ITEM_READ)
			continue;
		len = it->view.hi - it->view.sp;
		if (len > STACK_FIRST)
			len = STACK_FIRST;
		it->view.len = len;
		gs->order[(*n_order)++] = it;
		used += len + STACK_GAP;
		pass->stacks_read++;
		pass->bytes_read += len;
	}
	return i;
}

static int by_sp(const void *a, const void *b)
{
	const struct item *x = *(struct item *const *)a;
	const struct item *y = *(struct item *const *)b;

	return x->view.sp < y->view.sp ? -1 : x->view.sp > y->view.sp;
}

/* How many of @order, from the first on, are read in one piece. */
static size_t stack_run(struct item **order, size_t n, raddr_t *end_ret)
{
	raddr_t end = order[0]->view.sp + order[0]->view.len;
	size_t i = 1;

	while (i < n && order[i]->view.sp >= end &&
	       order[i]->view.sp - end <= STACK_GAP) {
		end = order[i]->view.sp + order[i]->view.len;
		i++;
	}
	*end_ret = end;
	return i;
}

/* A piece had a hole: each stack of it by itself. */
static void read_singly(struct go_goroutines *gs, struct item **order, size_t n)
{
	for (size_t i = 0; i < n; i++)
		// it->view.bytes is in the chunk, ours to write
		order[i]->stack_read = go_live_read(
			gs->mem, order[i]->view.sp,
			(uint8_t *)order[i]->view.bytes, order[i]->view.len);
}

static void read_stacks(struct go_goroutines *gs, size_t n)
{
	size_t first[BATCH + 1], n_reqs = 0, used = 0;

	qsort(gs->order, n, sizeof(gs->order[0]), by_sp);
	for (size_t i = 0; i < n;) {
		raddr_t at = gs->order[i]->view.sp, end;
		size_t run = stack_run(gs->order + i, n - i, &end);

		for (size_t k = i; k < i + run; k++)
			gs->order[k]->view.bytes =
				gs->chunk + used + (gs->order[k]->view.sp - at);
		gs->reqs[n_reqs] = (struct process_read_req){
			.addr = at,
			.buf = gs->chunk + used,
			.len = (uint32_t)(end - at)
		};
		first[n_reqs++] = i;
		used += end - at;
		i += run;
	}
	first[n_reqs] = n;
	if (n_reqs)
		gs->mem->read(gs->mem->arg, gs->reqs, n_reqs);
	for (size_t r = 0; r < n_reqs; r++) {
		for (size_t k = first[r]; k < first[r + 1]; k++)
			gs->order[k]->stack_read = gs->reqs[r].ok;
		if (!gs->reqs[r].ok)
			read_singly(gs, gs->order + first[r],
				    first[r + 1] - first[r]);
	}
}

/* One in an unchanged park is proved by that (gtask.h). */
static bool is_rechecked(const struct item *it)
{
	return it->emitted && it->what == ITEM_READ;
}

/* Read the g's of the portion again: what changed meanwhile is torn. */
static void read_again(struct go_goroutines *gs, size_t from, size_t to)
{
	raddr_t addrs[BATCH] = { 0 };
	const uint8_t *at[BATCH];
	size_t n = 0;

	for (size_t i = from; i < to; i++)
		if (is_rechecked(&gs->items[i]))
			addrs[n++] = gs->items[i].g;
	go_live_gather(gs->mem, addrs, n, gs->layout->g_len, gs->bytes_again,
		       at);
	n = 0;
	for (size_t i = from; i < to; i++)
		if (is_rechecked(&gs->items[i]))
			gs->items[i].again = at[n++];
}

/* Did the goroutine stay where it was while the rest of it was read? */
static bool stayed(const struct go_layout *l, const struct item *it)
{
	const uint8_t *a = it->bytes, *b = it->again;

	return b && status_of(l, a) == status_of(l, b) &&
	       go_word(a + l->g_goid) == go_word(b + l->g_goid) &&
	       !memcmp(a + GO_G_STACK_LO, b + GO_G_STACK_LO, 16) &&
	       !memcmp(a + GO_G_SP, b + GO_G_SP, 16) &&
	       !memcmp(a + l->g_syscallsp, b + l->g_syscallsp, 16) &&
	       !memcmp(a + l->g_waitreason, b + l->g_waitreason,
		       gtask_marks_len(l));
}

static struct gtask_in input(struct pass *pass, const struct item *it)
{
	return (struct gtask_in){
		.g = it->g,
		.bytes = it->bytes,
		.view = &it->view,
		.record = &pass->gs->records[it->index],
		.unchanged = it->what == ITEM_KNOWN,
		.first = !pass->round,
		.last = last_round(pass),
	};
}

/* One whose record makes no sense, also after all rounds. */
static void give_up(struct pass *pass, const struct item *it)
{
	struct gtask_in in = input(pass, it);

	pass->bad++;
	in.torn = true;
	if (it->bytes && go_word(it->bytes + GO_G_SELF) == it->g)
		gtask_emit(pass->out, &in); // listed, without a stack
}

/*
 * Make a task of what was read, for recheck() to keep or to drop. Sets
 * it->emitted; leaves it false when the goroutine is to be read again.
 */
static void attempt(struct pass *pass, struct item *it)
{
	struct go_goroutines *gs = pass->gs;
	struct gtask_in in = input(pass, it);
	bool ok = true;

	it->emitted = false;
	if (it->what == ITEM_KNOWN) {
		in.shape = in.record->shape;
		pass->known++;
	} else if (it->what == ITEM_READ) {
		if (it->stack_read)
			in.shape = go_unwind(gs->unwinder, &it->view, it->pc);
		ok = in.shape && in.shape->whole;
	}
	if (ok || in.last)
		it->emitted = gtask_emit(pass->out, &in);
	if (it->emitted)
		pass->unreadable += it->what == ITEM_READ && !it->stack_read;
	else
		push_retry(pass, it->index);
}

/* Drop the tasks of those that went on while they were read. */
static void recheck(struct pass *pass, size_t from, size_t to, size_t base)
{
	struct go_goroutines *gs = pass->gs;
	size_t next = base, n_torn = 0;
	uint16_t torn[BATCH];

	read_again(gs, from, to);
	for (size_t i = from; i < to; i++) {
		struct item *it = &gs->items[i];

		if (!it->emitted)
			continue;
		if (!is_rechecked(it) || stayed(gs->layout, it)) {
			gtask_keep(pass->out, next++, &base);
			continue;
		}
		gtask_drop(pass->out, &gs->records[it->index], &base);
		if (last_round(pass))
			torn[n_torn++] = (uint16_t)i;
		else
			push_retry(pass, it->index);
	}
	gtask_cut(pass->out, next);
	for (size_t i = 0; i < n_torn; i++) {
		struct gtask_in in = input(pass, &gs->items[torn[i]]);

		in.torn = true;
		gtask_emit(pass->out, &in);
	}
}

static void run_portion(struct pass *pass, size_t from, size_t to)
{
	struct go_goroutines *gs = pass->gs;
	size_t base = gtask_snapshot(pass->out)->n;

	for (size_t i = from; i < to; i++)
		if (gs->items[i].what == ITEM_PLAIN ||
		    gs->items[i].what == ITEM_KNOWN ||
		    gs->items[i].what == ITEM_READ)
			attempt(pass, &gs->items[i]);
	recheck(pass, from, to, base);
	for (size_t i = from; i < to; i++) {
		if (gs->items[i].what != ITEM_BAD)
			continue;
		if (last_round(pass))
			give_up(pass, &gs->items[i]);
		else
			push_retry(pass, gs->items[i].index);
	}
}

/* Read the goroutines in gs->items[0 .. n). */
static void run_batch(struct pass *pass, size_t n)
{
	struct go_goroutines *gs = pass->gs;
	raddr_t addrs[BATCH] = { 0 };
	const uint8_t *at[BATCH];
	size_t to;

	for (size_t i = 0; i < n; i++)
		addrs[i] = gs->items[i].g;
	go_live_gather(gs->mem, addrs, n, gs->layout->g_len, gs->bytes, at);
	for (size_t i = 0; i < n; i++)
		gs->items[i].bytes = at[i];
	for (size_t from = 0; from < n; from = to) {
		size_t n_order;

		to = plan_portion(pass, from, n, &n_order);
		// what is found from here on is newer than the g's
		go_live_forget(gs->mem);
		if (n_order)
			read_stacks(gs, n_order);
		run_portion(pass, from, to);
	}
}

static void run_first(struct pass *pass)
{
	struct go_goroutines *gs = pass->gs;

	for (size_t i = 0; i < pass->len; i += BATCH) {
		size_t want = pass->len - i < BATCH ? pass->len - i : BATCH;
		raddr_t addrs[BATCH] = { 0 };
		size_t n = 0;

		if (!gs->mem->error &&
		    !go_live_read(gs->mem, pass->array + i * 8, addrs,
				  want * 8) &&
		    !gs->mem->error) {
			pass->bad += want;
			continue;
		}
		if (gs->mem->error) {
			pass->unread += pass->len - i;
			return;
		}
		for (size_t k = 0; k < want; k++) {
			if (!go_live_plausible(addrs[k])) {
				pass->bad++;
				continue;
			}
			gs->items[n].index = (uint32_t)(i + k);
			gs->items[n++].g = addrs[k];
		}
		run_batch(pass, n);
	}
}

static void run_retry(struct pass *pass)
{
	struct go_goroutines *gs = pass->gs;
	uint32_t *todo = pass->retry;
	size_t n_todo = pass->n_retry, n = 0;

	pass->retry = NULL;
	pass->n_retry = pass->cap_retry = 0;
	for (size_t i = 0; i < n_todo; i++) {
		struct item *it = &gs->items[n];

		it->index = todo[i];
		n += go_live_word(gs->mem, pass->array + it->index * 8ull,
				  &it->g) &&
		     go_live_plausible(it->g);
		if (n == BATCH || i + 1 == n_todo) {
			run_batch(pass, n);
			n = 0;
		}
	}
	free(todo);
}

static bool grow_records(struct go_goroutines *gs, size_t len)
{
	struct gtask_record *v;

	if (len <= gs->n_records)
		return true;
	v = calloc(len, sizeof(*v));
	if (!v)
		return false;
	if (gs->records)
		memcpy(v, gs->records, gs->n_records * sizeof(*v));
	free(gs->records);
	gs->records = v;
	gs->n_records = len;
	return true;
}

static struct error *nothing_read(const struct go_goroutines *gs)
{
	if (gs->mem->error)
		return error_os(-gs->mem->error,
				"cannot read the memory of the program");
	return error_new(ERROR_CORRUPT,
			 "the list of goroutines makes no sense; the program "
			 "may be ending");
}

static void add_gaps(const struct pass *pass, struct gaps *gaps)
{
	if (pass->bad)
		gaps_add(gaps, GAP_CORRUPT, pass->bad,
			 "goroutines whose record makes no sense");
	if (pass->unreadable)
		gaps_add(gaps, GAP_CORRUPT, pass->unreadable,
			 "goroutines whose stack is not readable");
	if (pass->unread)
		gaps_add(gaps,
			 pass->gs->mem->error == -EPERM ? GAP_DENIED : GAP_GONE,
			 pass->unread, "goroutines were not read: %s",
			 strerror(-pass->gs->mem->error));
}

static void run(struct pass *pass)
{
	run_first(pass);
	for (pass->round = 1; pass->round <= GO_RETRIES; pass->round++) {
		if (!pass->n_retry || pass->gs->mem->error)
			break;
		log_debug("go", "round %d: %zu goroutines again", pass->round,
			  pass->n_retry);
		if (pass->round == 1)
			gtask_snapshot(pass->out)->torn_retried +=
				pass->n_retry;
		run_retry(pass);
	}
	pass->unread += pass->n_retry; // the reading broke off
	free(pass->retry);
	log_debug("go", "%llu stacks read (%llu KB), %llu known",
		  (unsigned long long)pass->stacks_read,
		  (unsigned long long)pass->bytes_read >> 10,
		  (unsigned long long)pass->known);
}

struct error *go_goroutines_read(struct go_goroutines *gs,
				 const struct runtime_options *opt,
				 int64_t alive_ms, struct task_snapshot *snap)
{
	struct pass pass = {
		.gs = gs, .stacks = opt->stacks || opt->fds || opt->objects
	};
	struct error *err;

	gs->mem->error = 0;
	go_live_forget(gs->mem);
	if (!go_layout_allgs(gs->layout, &pass.array, &pass.len))
		return nothing_read(gs);
	if (pass.len > TASK_MAX_TASKS) {
		gaps_add(&snap->gaps, GAP_LIMIT, pass.len - TASK_MAX_TASKS,
			 "goroutines beyond the first %d", TASK_MAX_TASKS);
		pass.len = TASK_MAX_TASKS;
	}
	if (!grow_records(gs, pass.len))
		return &error_nomem;
	if (go_unwinder_begin(gs->unwinder))
		memset(gs->records, 0, gs->n_records * sizeof(*gs->records));
	err = gtask_begin(gs->mem, gs->layout, gs->sym, gs->unwinder, opt,
			  alive_ms, gs->last_taken, pass.len, snap, &pass.out);
	if (err)
		return err;
	run(&pass);
	add_gaps(&pass, &snap->gaps);
	err = gtask_end(pass.out);
	gs->last_taken = snap->taken_mono_ns;
	if (!err && pass.nomem)
		return &error_nomem;
	if (!err && !snap->n && gs->mem->error)
		return nothing_read(gs);
	return err;
}
