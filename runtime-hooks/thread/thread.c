/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime-hooks/thread/thread.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/futex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "runtime-hooks/native/native.h"
#include "runtime-hooks/thread/sets.h"
#include "runtime-hooks/thread/stop.h"
#include "runtime-hooks/thread/syscalls.h"

/* Linux 5.14, later than the headers of Debian 11 */
#ifndef FUTEX_LOCK_PI2
#define FUTEX_LOCK_PI2 13
#endif

#define TRIES 3
#define STACK_COPY 8192
#define STOP_COPY 65536 /* is unwound later: nothing is read beyond it */
#define STAT_MAX 4096
#define EPOLL_SETS 64 /* sets that are kept while one snapshot is taken */

struct thread_context {
	const struct process *process;
	struct native *native; /* NULL: no stacks here, see no_stacks */
	struct error *no_stacks;
	uint8_t copy[STOP_COPY];
};

/* One snapshot in the making. */
struct taking {
	struct thread_context *ctx;
	const struct runtime_options *opt;
	struct task_snapshot *snap;
	/* Each epoll set is asked for once, however many threads wait in it. */
	struct {
		int fd;
		struct wait_set set;
	} epoll[EPOLL_SETS];
	size_t n_epoll;
	uint64_t denied, no_set, not_stopped, spared;
};

static void thread_detach(void *arg)
{
	struct thread_context *ctx = arg;

	if (!ctx)
		return;
	native_close(ctx->native);
	error_free(ctx->no_stacks);
	free(ctx);
}

/* System calls are numbered otherwise there. */
static bool is_32bit(const struct process *p)
{
	AUTO_CLOSE int fd = openat(p->procfd, "exe", O_RDONLY | O_CLOEXEC);
	unsigned char ident[EI_NIDENT];

	return fd >= 0 && pread(fd, ident, sizeof(ident), 0) == EI_NIDENT &&
	       !memcmp(ident, ELFMAG, SELFMAG) && ident[EI_CLASS] == ELFCLASS32;
}

static struct error *check_readable(const struct process *p)
{
	struct process_syscall call;
	int rc = process_thread_syscall(p, p->pid, &call);

	/* A leader that has ended leaves its threads behind. */
	if (rc == -ESRCH || rc == -EPROTO || rc == 0)
		return process_alive(p) ? NULL
					: process_error(p, ESRCH, "threads of");
	return process_error(p, -rc, "threads of");
}

static struct error *thread_attach(const struct process *p, void **ctx_ret)
{
	struct thread_context *ctx;
	struct error *err = check_readable(p);

	if (err)
		return err;
	if (is_32bit(p))
		return error_new(ERROR_UNSUPPORTED,
				 "process %d is a 32-bit program, whose system "
				 "calls are not read",
				 p->pid);
	ctx = calloc(1, sizeof(*ctx));
	if (!ctx)
		return &error_nomem;
	ctx->process = p;
	err = native_open(p, &ctx->native);
	if (err && error_code(err) != ERROR_UNSUPPORTED) {
		thread_detach(ctx);
		return err;
	}
	ctx->no_stacks = err;
	*ctx_ret = ctx;
	return NULL;
}

static const char *thread_version(const void *arg)
{
	(void)arg;
	return "threads";
}

static void thread_explain(const void *arg,
			   void (*line)(void *arg, const char *text),
			   void *line_arg)
{
	const struct thread_context *ctx = arg;

	line(line_arg, "system calls of threads: /proc/PID/task/TID/syscall");
	if (ctx->no_stacks)
		line(line_arg, error_text(ctx->no_stacks));
	else
		line(line_arg, "stacks of threads: call frame information, "
			       "without a stop");
}

/* A small file of one thread; "" when it cannot be read. */
static ssize_t slurp(const struct taking *t, pid_t tid, const char *what,
		     char **ret)
{
	char name[48];

	snprintf(name, sizeof(name), "task/%d/%s", (int)tid, what);
	return process_slurp(t->ctx->process, name, STAT_MAX, ret);
}

/*
 * How many time slices it has had: the third number of schedstat
 * (proc_pid_schedstat, fs/proc/base.c); 0 without CONFIG_SCHED_INFO.
 */
static uint64_t runs_of(const struct taking *t, pid_t tid)
{
	AUTO_FREE char *text = NULL;
	uint64_t runs = 0;

	if (slurp(t, tid, "schedstat", &text) < 0 ||
	    sscanf(text, "%*u %*u %" SCNu64, &runs) != 1)
		return 0;
	return runs + 1;
}

static const char *comm_of(const struct taking *t, pid_t tid)
{
	AUTO_FREE char *text = NULL;

	if (slurp(t, tid, "comm", &text) < 0)
		return NULL;
	text[strcspn(text, "\n")] = '\0';
	return arena_strdup(t->snap->arena, text);
}

/* A struct timespec or timeval (@per_s units) in milliseconds; -1 none. */
static int64_t time_at(const struct taking *t, raddr_t addr, int64_t per_s)
{
	int64_t v[2];

	if (!addr || process_read(t->ctx->process, addr, v, sizeof(v)) ||
	    v[0] < 0 || v[0] > INT64_C(1) << 40)
		return -1;
	return v[0] * 1000 + v[1] / (per_s / 1000);
}

/*
 * FUTEX_WAIT alone has a time from now on; the others name a moment, and what
 * is no wait has another argument there (futex(2); do_futex and futex_init_
 * timeout, Linux 6.18). glibc's timed waits are of the second kind.
 */
static int64_t futex_timeout(const struct taking *t,
			     const struct process_syscall *c)
{
	int op = (int)c->args[1];
	int64_t ms = time_at(t, c->args[3], 1000000000);
	bool wall = op & FUTEX_CLOCK_REALTIME;

	switch (op & FUTEX_CMD_MASK) {
	case FUTEX_WAIT:
		return ms;
	case FUTEX_LOCK_PI:
		wall = true;
		break;
	case FUTEX_WAIT_BITSET:
	case FUTEX_WAIT_REQUEUE_PI:
	case FUTEX_LOCK_PI2:
		break;
	default:
		return -1;
	}
	if (ms < 0)
		return -1;
	ms -= wall ? clock_wall_ms() : clock_mono_ns() / 1000000;
	return ms > 0 ? ms : 0;
}

static int64_t call_timeout(const struct taking *t,
			    const struct syscall_kind *kind,
			    const struct process_syscall *c)
{
	int64_t ms;

	switch (kind->set) {
	case SET_POLL:
		ms = (int32_t)c->args[2];
		return ms < 0 ? -1 : ms;
	case SET_EPOLL:
		ms = (int32_t)c->args[3];
		return ms < 0 ? -1 : ms;
	case SET_PPOLL:
		return time_at(t, c->args[2], 1000000000);
	case SET_EPOLL2:
		return time_at(t, c->args[3], 1000000000);
	case SET_FUTEX:
		return futex_timeout(t, c);
	case SET_SELECT:
		return time_at(t, c->args[4], 1000000);
	case SET_PSELECT:
		return time_at(t, c->args[4], 1000000000);
	case SET_NONE:
		break;
	}
	return -1;
}

static int epoll_set(struct taking *t, int fd, struct wait_set *ret)
{
	for (size_t i = 0; i < t->n_epoll; i++) {
		if (t->epoll[i].fd == fd) {
			*ret = t->epoll[i].set;
			return 0;
		}
	}
	int rc = wait_set_epoll(t->ctx->process, fd, t->snap->arena, ret);
	if (!rc && t->n_epoll < EPOLL_SETS) {
		t->epoll[t->n_epoll].fd = fd;
		t->epoll[t->n_epoll++].set = *ret;
	}
	return rc;
}

static int read_set(struct taking *t, const struct syscall_kind *kind,
		    const struct process_syscall *c, struct wait_set *ret)
{
	const struct process *p = t->ctx->process;

	switch (kind->set) {
	case SET_POLL:
	case SET_PPOLL:
		return wait_set_poll(p, c->args[0], c->args[1], t->snap->arena,
				     ret);
	case SET_SELECT:
	case SET_PSELECT:
		return wait_set_select(p, c->args[0], &c->args[1],
				       t->snap->arena, ret);
	case SET_EPOLL:
	case SET_EPOLL2:
		return epoll_set(t, (int)c->args[0], ret);
	case SET_FUTEX:
	case SET_NONE:
		break;
	}
	return 0;
}

static int set_futex(struct taking *t, const struct process_syscall *c,
		     struct task *task)
{
	struct wait_object *o = arena_alloc(t->snap->arena, sizeof(*o));

	if (!o)
		return -ENOMEM;
	*o = (struct wait_object){ .kind = OBJECT_FUTEX, .addr = c->args[0] };
	task->objects = o;
	task->n_objects = 1;
	return 0;
}

/*
 * A stop leaves restart_syscall in the place of a poll, sleep or futex with a
 * time-out, but not their arguments (-ERESTART_RESTARTBLOCK, kernel/signal.c).
 * The code in front of the pc tells which it was.
 */
static const struct syscall_kind *kind_of(const struct taking *t,
					  const struct process_syscall *c)
{
	uint8_t code[SYSCALL_CODE];

	if (c->nr == SYS_restart_syscall &&
	    !process_read(t->ctx->process, c->pc - sizeof(code), code,
			  sizeof(code))) {
		const struct syscall_kind *kind = syscall_restarted(code);

		if (kind)
			return kind;
	}
	return syscall_kind(c->nr);
}

/* What it waits for, from the system call and its arguments. */
static int decode(struct taking *t, const struct process_syscall *c,
		  struct task *task)
{
	const struct syscall_kind *kind = kind_of(t, c);
	struct wait_set set = { 0 };

	task->reason = kind ? kind->name : NULL;
	if (!kind)
		task->reason = arena_printf(t->snap->arena,
					    "system call %" PRId64, c->nr);
	if (!task->reason)
		return -ENOMEM;
	task->wait = kind ? kind->wait : WAIT_SYSCALL;
	if (!kind)
		return 0;
	if (kind->fd) {
		task->fd = (int)c->args[0];
		task->fd_proof = FD_SYSCALL;
	}
	task->timeout_ms = task_timeout(call_timeout(t, kind, c));
	if (kind->set == SET_FUTEX)
		return set_futex(t, c, task);
	int rc = t->opt->fds ? read_set(t, kind, c, &set) : 0;
	if (rc == -ENOMEM)
		return rc;
	if (rc) {
		task->partial = true;
		t->no_set++;
		return 0;
	}
	task->fds = set.v;
	task->n_fds = set.n;
	task->fds_cut = set.cut;
	if (kind->wait == WAIT_POLL)
		task->fd_proof = FD_SYSCALL;
	if (kind->wait == WAIT_POLL && set.n == 1)
		task->fd = set.v[0].fd;
	return 0;
}

static int unwind(struct taking *t, const struct native_regs *regs,
		  raddr_t base, size_t len, struct task *task)
{
	const struct native_copy copy = { .base = base,
					  .bytes = t->ctx->copy,
					  .len = len };
	struct native_result result;
	int rc = native_unwind(t->ctx->native, NATIVE_FAST, regs, &copy,
			       &result);

	if (rc == -EINVAL)
		return 0;
	if (!rc && result.stack->n)
		task->stack = result.stack;
	return rc;
}

static int read_stack(struct taking *t, const struct process_syscall *c,
		      struct task *task)
{
	struct native_regs regs = { 0 };
	ssize_t len;

	if (!t->opt->stacks || !t->ctx->native || !c->sp)
		return 0;
	len = process_read_some(t->ctx->process, c->sp, t->ctx->copy,
				STACK_COPY);
	if (len <= 0)
		return 0;
	native_regs_set(&regs, NATIVE_RIP, c->pc);
	native_regs_set(&regs, NATIVE_RSP, c->sp);
	return unwind(t, &regs, c->sp, (size_t)len, task);
}

static bool same_call(const struct process_syscall *a,
		      const struct process_syscall *b)
{
	return a->running == b->running && a->nr == b->nr && a->sp == b->sp &&
	       a->pc == b->pc && !memcmp(a->args, b->args, sizeof(a->args));
}

static void begin_task(struct task *task, pid_t tid, const char *name)
{
	*task = (struct task){
		.id = (uint64_t)tid,
		.tid = tid,
		.name = name,
		.reason = "running",
		.state = TASK_RUNNING,
		.fd = -1,
		.fd_proof = FD_NONE,
		.timeout_ms = -1,
	};
}

/* Returns: 0, 1 it ran meanwhile, or -errno. */
static int read_once(struct taking *t, pid_t tid, const char *name,
		     struct task *task)
{
	const struct runtime_options *opt = t->opt;
	struct process_syscall c, again;
	uint64_t runs = runs_of(t, tid);
	int rc = process_thread_syscall(t->ctx->process, tid, &c);

	begin_task(task, tid, name);
	if (rc)
		return rc;
	if (opt->taken && opt->taken(opt->taken_arg, tid, c.running ? 0 : c.pc))
		return -ENOENT;
	if (c.running)
		return 0;
	task->runs = runs;
	task->state = TASK_WAITING;
	task->sp = c.sp;
	task->pc = c.pc;
	if (c.nr < 0) {
		/* A page that is read from disk, a signal that stopped it. */
		task->wait = WAIT_OTHER;
		task->reason = "no system call";
		return 0;
	}
	rc = decode(t, &c, task);
	if (!rc)
		rc = read_stack(t, &c, task);
	if (!rc)
		rc = process_thread_syscall(t->ctx->process, tid, &again);
	if (rc)
		return rc;
	return !same_call(&c, &again) || runs_of(t, tid) != runs;
}

/* Returns as read_once(), but for the 1: that is marked in the task. */
static int read_thread(struct taking *t, pid_t tid, struct task *task)
{
	const char *name = comm_of(t, tid);
	int rc = 1;

	for (int i = 0; i < TRIES && rc == 1; i++) {
		t->snap->torn_retried += i > 0;
		rc = read_once(t, tid, name, task);
	}
	if (rc != 1)
		return rc;
	task->torn = true;
	task->stack = NULL;
	t->snap->torn++;
	return 0;
}

/* Would a stop end the call that it sits in with EINTR (hooks of signal(7))? */
static bool minds_a_stop(const struct taking *t, const struct task *task)
{
	struct process_syscall c;
	struct timeval tv[2] = { 0 };
	socklen_t len = sizeof(tv[0]);

	if (process_thread_syscall(t->ctx->process, task->tid, &c))
		return true;
	const struct syscall_kind *kind =
		c.running || c.nr < 0 ? NULL : kind_of(t, &c);
	if (!kind)
		return !c.running && c.nr >= 0;
	if (!kind->eintr_timeout)
		return kind->eintr;
	AUTO_CLOSE int fd = process_dup_fd(t->ctx->process, (int)c.args[0]);
	if (fd < 0)
		return true;
	if (getsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv[0], &len) < 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv[1], &len) < 0)
		return errno != ENOTSOCK;
	return tv[0].tv_sec || tv[0].tv_usec || tv[1].tv_sec || tv[1].tv_usec;
}

static bool is_doubtful(const struct task *task)
{
	if (!task->stack || task->stack->incomplete)
		return true;
	for (uint32_t i = 0; i < task->stack->n; i++)
		if (task->stack->frames[i]->uncertain)
			return true;
	return false;
}

static int stop_one(struct taking *t, struct task *task)
{
	struct native_regs regs;
	size_t len = 0;
	int64_t ns = 0;

	if (!is_doubtful(task))
		return 0;
	if (!t->opt->force && minds_a_stop(t, task)) {
		t->spared++;
		return 0;
	}
	int rc = thread_stop(t->ctx->process, task->tid, &regs, t->ctx->copy,
			     sizeof(t->ctx->copy), &len, &ns);
	t->snap->stopped_ns += ns;
	if (rc) {
		t->not_stopped += rc != -ESRCH;
		return 0;
	}
	task->stack = NULL;
	/* It was let go, and has gone elsewhere, since its call was read. */
	if (task->pc && (regs.r[NATIVE_RIP] != task->pc ||
			 regs.r[NATIVE_RSP] != task->sp)) {
		task->torn = true;
		t->snap->torn++;
		return 0;
	}
	return unwind(t, &regs, regs.r[NATIVE_RSP], len, task);
}

static int read_all(struct taking *t, const pid_t *tids, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct task *task = &t->snap->tasks[t->snap->n];
		int rc = read_thread(t, tids[i], task);

		if (!rc && t->opt->stop && t->opt->stacks && t->ctx->native)
			rc = stop_one(t, task);
		if (rc == -ENOMEM)
			return rc;
		if (!rc)
			t->snap->n++;
		else if (rc == -EPERM || rc == -EACCES)
			t->denied++;
	}
	return 0;
}

static void tell_gaps(const struct taking *t)
{
	struct gaps *gaps = &t->snap->gaps;

	if (t->denied)
		gaps_add(gaps, GAP_DENIED, t->denied,
			 "threads may not be read; see stranded doctor");
	if (t->no_set)
		gaps_add(gaps, GAP_CORRUPT, t->no_set,
			 "threads wait on a set of file descriptors that could "
			 "not be read");
	if (t->not_stopped)
		gaps_add(gaps, GAP_DENIED, t->not_stopped,
			 "threads could not be stopped: another tracer has "
			 "them, the kernel refuses, or they are in state D");
	if (t->spared)
		gaps_add(gaps, GAP_RUNNING, t->spared,
			 "threads were not stopped, since their system call "
			 "would end with EINTR; --force stops them all the "
			 "same");
	if (t->ctx->native)
		gaps_merge(gaps, native_gaps(t->ctx->native));
}

static struct error *take(struct taking *t)
{
	const struct process *p = t->ctx->process;
	AUTO_ARENA struct arena *arena = arena_create();
	struct task_snapshot *snap = t->snap;
	pid_t *tids;
	size_t n;

	if (!arena)
		return &error_nomem;
	struct error *err = process_threads(p, arena, &tids, &n);
	if (!err && t->opt->stacks && t->ctx->native)
		err = native_begin(t->ctx->native);
	if (err)
		return err;
	snap->tasks = arena_array(snap->arena, n + 1, sizeof(*snap->tasks));
	if (!snap->tasks || read_all(t, tids, n) == -ENOMEM)
		return &error_nomem;
	tell_gaps(t);
	if (n && !snap->n && t->denied == n)
		return process_error(p, EPERM, "threads of");
	return NULL;
}

static struct error *thread_snapshot(void *arg,
				     const struct runtime_options *opt,
				     struct task_snapshot **ret)
{
	AUTO_TASKS struct task_snapshot *snap = calloc(1, sizeof(*snap));

	if (!snap || !(snap->arena = arena_create()))
		return &error_nomem;
	snap->kind = TASK_THREAD;
	snap->runtime = "threads";
	snap->taken_mono_ns = clock_mono_ns();
	snap->taken_wall_ms = clock_wall_ms();
	snap->gaps.arena = snap->arena;
	AUTO_FREE struct taking *t = calloc(1, sizeof(*t));
	if (!t)
		return &error_nomem;
	t->ctx = arg;
	t->opt = opt;
	t->snap = snap;
	struct error *err = take(t);
	if (err)
		return err;
	snap->duration_ns = clock_mono_ns() - snap->taken_mono_ns;
	log_debug("mem",
		  "snapshot: %zu threads, %" PRId64 " us, stopped %" PRId64
		  " us",
		  snap->n, snap->duration_ns / 1000, snap->stopped_ns / 1000);
	*ret = TAKE(snap);
	return NULL;
}

const struct runtime_source runtime_thread = {
	.name = "thread",
	.kind = TASK_THREAD,
	.attach = thread_attach,
	.version = thread_version,
	.explain = thread_explain,
	.snapshot = thread_snapshot,
	.detach = thread_detach,
};
