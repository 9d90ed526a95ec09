/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime-hooks/coroutine/coroutine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "runtime-hooks/coroutine/lines.h"
#include "runtime-hooks/coroutine/st.h"

#define HUGE_PAGE ((uintptr_t)2 << 20)
#define NS_PER_S INT64_C(1000000000)

struct context {
	const struct process *process;
	struct live mem;
	struct native *native; /* NULL: this machine's stacks cannot be had */
	struct arena *arena;
	struct intern_table uncertain, st_stacks;
	struct tsc_moment begin;
	raddr_t roots[ROOT_MAX]; /* of the active ones */
	size_t n_roots, n_idle;
	pid_t inner_pid; /* as the process itself sees it; 0 not known */
	bool same_pidns; /* its thread ids are what we see */
	struct st st;
	bool has_st;
	uint64_t st_unseen; /* in the last snapshot */
	char version[64];
};

static int read_process(void *arg, struct process_read_req *reqs, size_t n)
{
	return process_read_batch(arg, reqs, n);
}

static void co_detach(void *arg)
{
	struct context *ctx = arg;

	if (!ctx)
		return;
	intern_free(&ctx->uncertain);
	intern_free(&ctx->st_stacks);
	native_close(ctx->native);
	arena_destroy(ctx->arena);
	free(ctx);
}

/* "NSpid: 4711 12": its number in each namespace, its own last. */
static void find_inner_pid(struct context *ctx)
{
	char line[512], *number = NULL, *rest;
	int numbers = 0;

	if (!process_thread_status(ctx->process, ctx->process->pid, "NSpid",
				   line, sizeof(line)))
		return;
	for (char *word = strtok_r(line, " \t", &rest); word;
	     word = strtok_r(NULL, " \t", &rest)) {
		number = word;
		numbers++;
	}
	if (number)
		ctx->inner_pid = atoi(number);
	ctx->same_pidns = numbers == 1;
}

/* Is the table another process's, as this one got it by fork(2)? */
static bool is_copied(const struct context *ctx, const struct root *root)
{
	return ctx->inner_pid && (pid_t)root->v.pid != ctx->inner_pid;
}

/* Keep the tables that are sound and active. Fails: as root_read(), with what
 * the last that is not sound has, when none is. */
static struct error *keep_roots(struct context *ctx, const raddr_t *found,
				size_t n)
{
	struct error *last = NULL;

	for (size_t i = 0; i < n; i++) {
		struct root root;
		struct error *err = root_read(&ctx->mem, found[i], &root);

		if (err) {
			log_debug("elf", "%s", error_text(err));
			error_free(last);
			last = err;
		} else if (root.v.activity == HOOK_ACTIVE) {
			ctx->roots[ctx->n_roots++] = found[i];
		} else {
			ctx->n_idle++;
		}
	}
	if (ctx->n_roots || !last) {
		error_free(last);
		return NULL;
	}
	return last;
}

static struct error *find_tables(struct context *ctx)
{
	AUTO_ARENA struct arena *arena = arena_create();
	raddr_t found[ROOT_MAX - 1]; // the last number is State Threads'
	struct process_maps maps;
	struct error *err;
	size_t n;

	if (!arena)
		return &error_nomem;
	err = process_maps(ctx->process, arena, &maps);
	if (err)
		return err;
	n = root_find(&ctx->mem, &maps, found, ROOT_MAX - 1);
	if (ctx->mem.error)
		return process_error(ctx->process, -ctx->mem.error,
				     "memory of");
	return keep_roots(ctx, found, n);
}

/* What it is that has no hook, and does not need one. */
static struct error *find_st(struct context *ctx)
{
	struct st_symbols symbols;
	struct error *err;

	if (!ctx->native || !st_symbols(ctx->process, &symbols))
		return error_new(ERROR_ABSENT,
				 "no coroutine hook in this process; start it "
				 "with 'stranded run'");
	err = st_find(&ctx->mem, ctx->native, &symbols, &ctx->st);
	ctx->has_st = !err;
	return err;
}

static struct error *open_native(struct context *ctx)
{
	struct error *err = native_open(ctx->process, &ctx->native);

	if (error_catch(&err, ERROR_UNSUPPORTED))
		log_debug("elf", "no stacks of coroutines on this machine");
	return err;
}

static void name_version(struct context *ctx)
{
	char hook[32] = "";

	if (ctx->n_roots)
		snprintf(hook, sizeof(hook), "coroutine hook %d", HOOK_VERSION);
	snprintf(ctx->version, sizeof(ctx->version), "%s%s%s", hook,
		 ctx->n_roots && ctx->has_st ? ", " : "",
		 ctx->has_st ? "State Threads 1.9" : "");
}

static struct error *set_up(struct context *ctx)
{
	struct error *err = find_tables(ctx);
	struct error *no_st;

	if (err)
		return err;
	err = open_native(ctx);
	if (err)
		return err;
	no_st = find_st(ctx);
	if (!ctx->n_roots && !ctx->has_st)
		return no_st;
	if (no_st)
		log_debug("elf", "%s", error_text(no_st));
	error_free(no_st);
	find_inner_pid(ctx);
	name_version(ctx);
	return NULL;
}

static struct error *co_attach(const struct process *p, void **ctx_ret)
{
	struct context *ctx = calloc(1, sizeof(*ctx));
	struct error *err = &error_nomem;

	if (!ctx)
		return err;
	ctx->process = p;
	// read_process() only reads through it
	ctx->mem = (struct live){ .read = read_process, .arg = (void *)p };
	ctx->begin = tsc_now();
	ctx->arena = arena_create();
	if (ctx->arena)
		err = set_up(ctx);
	if (err) {
		co_detach(ctx);
		return err;
	}
	*ctx_ret = ctx;
	return NULL;
}

static const char *co_version(const void *arg)
{
	return ((const struct context *)arg)->version;
}

static void explain_root(const struct context *ctx, const struct root *root,
			 char *text, size_t size)
{
	snprintf(text, size,
		 "coroutine table at 0x%llx: version %u, %llu created, %llu "
		 "ended, %u lines, %u creation sites%s",
		 (unsigned long long)root->at, root->v.version,
		 (unsigned long long)root->v.created,
		 (unsigned long long)root->v.ended, root->v.n_lines,
		 root->v.n_sites,
		 is_copied(ctx, root) ? ", copied by fork(2) and not used since"
				      : "");
}

static void co_explain(const void *arg,
		       void (*line)(void *arg, const char *text),
		       void *line_arg)
{
	const struct context *ctx = arg;
	struct live mem = ctx->mem;
	char text[256];

	for (size_t i = 0; i < ctx->n_roots; i++) {
		struct root root;
		AUTO_ERROR struct error *err =
			root_read(&mem, ctx->roots[i], &root);

		if (!err) {
			explain_root(ctx, &root, text, sizeof(text));
			line(line_arg, text);
		} else {
			line(line_arg, error_text(err));
		}
	}
	if (ctx->n_idle) {
		snprintf(text, sizeof(text),
			 "%zu more cop%s of the hook, not in use", ctx->n_idle,
			 ctx->n_idle == 1 ? "y" : "ies");
		line(line_arg, text);
	}
	if (ctx->has_st) {
		snprintf(text, sizeof(text),
			 "State Threads: _st_this_vp at 0x%llx; %llu threads "
			 "wait for a lock or condition, or run: not listed",
			 (unsigned long long)ctx->st.vp,
			 (unsigned long long)ctx->st_unseen);
		line(line_arg, text);
	}
	if (!ctx->native)
		line(line_arg, "stacks cannot be had on this machine");
}

static struct error *snapshot_create(const struct context *ctx,
				     struct task_snapshot **ret)
{
	struct task_snapshot *snap = calloc(1, sizeof(*snap));

	if (!snap)
		return &error_nomem;
	snap->arena = arena_create();
	snap->kind = TASK_COROUTINE;
	snap->taken_mono_ns = clock_mono_ns();
	snap->taken_wall_ms = clock_wall_ms();
	snap->gaps.arena = snap->arena;
	if (snap->arena)
		snap->runtime = arena_strdup(snap->arena, ctx->version);
	if (!snap->runtime) {
		task_snapshot_destroy(snap);
		return &error_nomem;
	}
	*ret = snap;
	return NULL;
}

/* How long the process has lived, at most. */
static int64_t alive_ns(const struct process *p)
{
	int64_t tick = NS_PER_S / sysconf(_SC_CLK_TCK);

	return clock_boot_ns() - (int64_t)p->start_ticks * tick + tick;
}

/* The roots as they are now; those that are unsound now are a gap. */
static size_t read_roots(struct context *ctx, struct task_snapshot *snap,
			 struct root *v)
{
	size_t n = 0;

	for (size_t i = 0; i < ctx->n_roots; i++) {
		AUTO_ERROR struct error *err =
			root_read(&ctx->mem, ctx->roots[i], &v[n]);

		if (!err)
			n++;
		else
			gaps_add(&snap->gaps, GAP_CORRUPT, 1, "%s",
				 error_text(err));
	}
	return n;
}

static void limit_lines(struct task_snapshot *snap, struct root *v, size_t n)
{
	uint64_t left = TASK_MAX_TASKS;

	for (size_t i = 0; i < n; i++) {
		if (v[i].v.n_lines > left) {
			gaps_add(&snap->gaps, GAP_LIMIT, v[i].v.n_lines - left,
				 "lines of coroutine tables beyond the first "
				 "%d",
				 TASK_MAX_TASKS);
			v[i].v.n_lines = (uint32_t)left;
		}
		left -= v[i].v.n_lines;
	}
}

static struct error *read_st(struct context *ctx,
			     const struct runtime_options *opt, size_t room,
			     struct task_snapshot *snap)
{
	struct st_in in = {
		.mem = &ctx->mem,
		.native = ctx->native,
		.st = &ctx->st,
		.number = ctx->n_roots ? ROOT_MAX - 1 : 0,
		.stacks = opt->stacks || opt->fds || opt->objects,
		.tid = ctx->process->pid,
		.alive_ns = alive_ns(ctx->process),
		.now_wall_us = clock_wall_ms() * 1000,
		.now_mono_ns = clock_mono_ns(),
		.variants = &ctx->st_stacks,
		.arena = ctx->arena,
	};

	return st_read(&in, room, snap, &ctx->st_unseen);
}

/* A million tasks are 50,000 page faults, a third of the time; or 100. */
static void in_huge_pages(void *mem, size_t size)
{
	uintptr_t lo = ((uintptr_t)mem + HUGE_PAGE - 1) & ~(HUGE_PAGE - 1);
	uintptr_t hi = ((uintptr_t)mem + size) & ~(HUGE_PAGE - 1);

	if (hi > lo)
		madvise((void *)lo, hi - lo, MADV_HUGEPAGE);
}

static struct error *read_tables(struct context *ctx,
				 const struct runtime_options *opt,
				 struct root *roots, size_t n,
				 struct task_snapshot *snap)
{
	struct lines_out out = { .snap = snap };
	size_t st_room = 0;

	for (size_t i = 0; i < n; i++)
		out.cap += lines_most(&roots[i]);
	if (ctx->has_st)
		st_room = st_most(&ctx->mem, &ctx->st);
	// zeroed pages that are not there until they are written to
	snap->tasks = arena_array(snap->arena, out.cap + st_room + 1,
				  sizeof(*snap->tasks));
	if (!snap->tasks)
		return &error_nomem;
	in_huge_pages(snap->tasks, out.cap * sizeof(*snap->tasks));
	for (size_t i = 0; i < n; i++) {
		const struct root *root = &roots[i];
		struct lines_in in = {
			.mem = &ctx->mem,
			.root = root,
			.number = (uint32_t)i,
			.native = ctx->native,
			.stacks = opt->stacks || opt->fds || opt->objects,
			.tids = ctx->same_pidns && !is_copied(ctx, root),
			.rate = tsc_rate_find(
				ctx->begin,
				(struct tsc_moment){ root->v.tsc,
						     root->v.mono_ns }),
			.alive_ns = alive_ns(ctx->process),
			.uncertain = &ctx->uncertain,
			.arena = ctx->arena,
		};
		struct error *err = lines_read(&in, &out);

		if (err)
			return err;
	}
	log_debug("mem", "coroutines left out, their stacks are gone: %llu",
		  (unsigned long long)out.gone);
	return ctx->has_st ? read_st(ctx, opt, st_room, snap) : NULL;
}

static int by_tid(const void *a, const void *b)
{
	const pid_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

/*
 * A thread that has ended leaves its coroutine running in the table, and in a
 * child of fork(2) all but one are somebody else's.
 */
static void forget_ended_threads(const struct process *p,
				 struct task_snapshot *snap)
{
	AUTO_ARENA struct arena *arena = NULL;
	pid_t *tids = NULL;
	size_t n = 0;

	for (size_t i = 0; i < snap->n; i++) {
		struct task *t = &snap->tasks[i];

		if (!t->tid)
			continue;
		if (!arena) {
			arena = arena_create();
			if (arena)
				error_free(
					process_threads(p, arena, &tids, &n));
		}
		if (!n || !bsearch(&t->tid, tids, n, sizeof(*tids), by_tid))
			t->tid = 0;
	}
}

static struct error *take(struct context *ctx,
			  const struct runtime_options *opt,
			  struct task_snapshot *snap)
{
	struct root roots[ROOT_MAX];
	struct error *err = NULL;
	size_t n;

	ctx->mem.error = 0;
	n = read_roots(ctx, snap, roots);
	if (!n && (!ctx->has_st || !process_alive(ctx->process)))
		return process_error(ctx->process,
				     ctx->mem.error ? -ctx->mem.error : EFAULT,
				     "coroutine table of");
	limit_lines(snap, roots, n);
	if (ctx->native)
		err = native_begin(ctx->native);
	if (!err)
		err = read_tables(ctx, opt, roots, n, snap);
	if (!err)
		forget_ended_threads(ctx->process, snap);
	if (!err && !process_alive(ctx->process))
		err = process_error(ctx->process, ESRCH, "memory of");
	return err;
}

static struct error *co_snapshot(void *arg, const struct runtime_options *opt,
				 struct task_snapshot **ret)
{
	struct context *ctx = arg;
	struct task_snapshot *snap;
	struct error *err = snapshot_create(ctx, &snap);

	if (err)
		return err;
	err = take(ctx, opt, snap);
	if (err) {
		task_snapshot_destroy(snap);
		return err;
	}
	if (ctx->native)
		gaps_merge(&snap->gaps, native_gaps(ctx->native));
	snap->duration_ns = clock_mono_ns() - snap->taken_mono_ns;
	log_debug("mem",
		  "snapshot: %zu coroutines, %llu retried, %llu torn, %lld us",
		  snap->n, (unsigned long long)snap->torn_retried,
		  (unsigned long long)snap->torn,
		  (long long)snap->duration_ns / 1000);
	*ret = snap;
	return NULL;
}

struct site_list {
	struct task_site *v;
	size_t n;
	struct intern_table by_frame;
};

/* Creation sites whose place is not known are told by what they start. */
static struct error *add_site(struct context *ctx, struct site_list *list,
			      const struct hook_site *site)
{
	bool known = lines_site_known(site);
	raddr_t pc = known ? site->pc : site->start;
	const struct frame *frame = NULL;
	struct task_site *s;

	if (!site->created && !site->ended)
		return NULL;
	if (ctx->native && live_plausible(pc, 1))
		frame = native_frame(ctx->native, pc, known);
	s = intern_get(&list->by_frame, (uint64_t)(uintptr_t)frame);
	if (!s) {
		s = &list->v[list->n++];
		s->frame = frame;
		if (!intern_add(&list->by_frame, (uint64_t)(uintptr_t)frame, s))
			return &error_nomem;
	}
	s->created += site->created;
	s->ended += site->ended;
	return NULL;
}

static struct error *add_table_sites(struct context *ctx, raddr_t at,
				     struct arena *arena,
				     struct site_list *list)
{
	AUTO_FREE struct hook_site *sites = NULL;
	struct task_site *v;
	struct root root;
	struct error *err = root_read(&ctx->mem, at, &root);

	if (!err)
		err = lines_sites(&ctx->mem, &root, &sites);
	if (err || !sites)
		return err;
	// what is in the list keeps its place: the table points there
	v = list->v;
	if (!v)
		v = arena_array(arena,
				(size_t)HOOK_MAX_SITES * ctx->n_roots + 1,
				sizeof(*v));
	if (!v)
		return &error_nomem;
	list->v = v;
	for (uint32_t i = 0; !err && i < root.v.max_sites; i++)
		err = add_site(ctx, list, &sites[i]);
	return err;
}

static struct error *co_sites(void *arg, struct arena *arena,
			      struct task_site **ret, size_t *n_ret)
{
	struct context *ctx = arg;
	struct site_list list = { 0 };
	struct error *err = NULL;

	ctx->mem.error = 0;
	if (ctx->native)
		err = native_begin(ctx->native);
	for (size_t i = 0; !err && i < ctx->n_roots; i++)
		err = add_table_sites(ctx, ctx->roots[i], arena, &list);
	intern_free(&list.by_frame);
	if (ctx->mem.error && ctx->mem.error != -EFAULT) {
		error_free(err);
		err = process_error(ctx->process, -ctx->mem.error, "memory of");
	}
	if (err)
		return err;
	*ret = list.v;
	*n_ret = list.n;
	return NULL;
}

const struct runtime_source runtime_coroutine = {
	.name = "coroutine",
	.kind = TASK_COROUTINE,
	.attach = co_attach,
	.version = co_version,
	.explain = co_explain,
	.snapshot = co_snapshot,
	.detach = co_detach,
	.sites = co_sites,
};
