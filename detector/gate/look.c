/* SPDX-License-Identifier: Apache-2.0 */
#include "detector/gate/look.h"

#include <inttypes.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/process.h"
#include "detector/gate/goroutines.h"
#include "detector/gate/gotest.h"
#include "detector/gate/look_net.h"
#include "detector/gate/program.h"
#include "detector/gate/sampler.h"
#include "detector/gate/tree.h"
#include "runtime-hooks/coroutine/coroutine.h"
#include "runtime-hooks/go/go.h"

#define NS_PER_MS INT64_C(1000000)
/* Between two looks in the time of grace: doubled up to the longest. */
#define FIRST_PAUSE_MS 1
#define LONGEST_PAUSE_MS 50
#define ENVIRON_MAX (4u << 20)

struct look {
	const struct look_options *opt;
	struct gate_process *p;
	struct process *process;
	const struct runtime_source *source;
	void *ctx;   /* of the source */
	int threads; /* of the process; 0: it goes on */
	pid_t exiting;
	bool listening; /* the others run on while the exit waits */
	int64_t began_ns;
	struct task_snapshot *snap; /* the latest */
};

void look_describe(const struct process *process, struct gate_process *p)
{
	struct program_info info;
	char cwd[PROCESS_MAX_TEXT];

	p->start_ticks = process->start_ticks;
	p->cmdline = arena_strdup(p->arena, process->cmdline);
	p->exe = arena_strdup(p->arena, process->exe ? process->exe : "");
	ssize_t n = readlinkat(process->procfd, "cwd", cwd, sizeof(cwd) - 1);
	if (n > 0)
		p->cwd = arena_strndup(p->arena, cwd, (size_t)n);
	if (program_info(p->pid, &info) && program_is_toolchain(&info)) {
		p->outcome = GATE_TOOLCHAIN;
		p->may_be_cached = gotest_may_be_cached(p->pid) != 0;
	}
	p->parent = tree_parent(p->pid);
	p->module = *info.module ? arena_strdup(p->arena, info.module) : NULL;
	p->is_test = program_is_test(&info, p->exe);
	size_t len = strlen(info.path);
	if (*info.path)
		p->package = arena_strndup(p->arena, info.path,
					   p->is_test ? len - 5 : len);
	else if (p->is_test && p->cwd && program_package_of(p->cwd, info.path))
		p->package = arena_strdup(p->arena, info.path);
}

struct sampled look_sampled(const struct look_options *opt,
			    const struct gate_process *p)
{
	return (struct sampled){ opt->sampler, p->pid, p->start_ticks };
}

/* One processor, or GOMAXPROCS=1 from the start: then it is known at once. */
static bool single_processor(const struct look *l)
{
	static const char name[] = "GOMAXPROCS=1";
	cpu_set_t set;
	char *text = NULL;
	bool found = false;

	if (!sched_getaffinity(l->p->pid, sizeof(set), &set) &&
	    CPU_COUNT(&set) == 1)
		return true;
	ssize_t len = process_slurp(l->process, "environ", ENVIRON_MAX, &text);
	for (ssize_t at = 0; at < len; at += (ssize_t)strlen(text + at) + 1)
		found |= !strcmp(text + at, name);
	free(text);
	return found;
}

static struct error *take(struct look *l)
{
	static const struct runtime_options opt = { .stacks = true,
						    .fds = true };

	task_snapshot_destroy(l->snap);
	l->snap = NULL;
	return l->source->snapshot(l->ctx, &opt, &l->snap);
}

/* Until nothing is left, or the time is over. */
static struct error *wait_for_grace(struct look *l)
{
	int64_t end = l->began_ns + l->opt->grace_ms * NS_PER_MS;
	int64_t pause = FIRST_PAUSE_MS;
	struct error *err = take(l);

	if (err || !goroutines_left(l->snap, l->exiting))
		return err;
	/* By ptrace there is none to be had: they are told to die already. */
	if (l->threads == 1)
		return NULL; /* of coroutines: nobody else can run */
	if (!l->listening || single_processor(l)) {
		l->p->no_grace = true;
		return NULL;
	}
	while (clock_mono_ns() < end) {
		int64_t until = clock_mono_ns() + pause * NS_PER_MS;

		clock_sleep_until(until < end ? until : end);
		pause = pause < LONGEST_PAUSE_MS ? 2 * pause : pause;
		err = take(l);
		if (err || !goroutines_left(l->snap, l->exiting))
			return err;
	}
	l->p->starved = goroutines_starved(l->snap, l->exiting);
	l->p->no_grace = l->p->starved;
	return NULL;
}

static void decorate(void *arg, const struct task *task, struct leak *leak)
{
	look_net_decorate(arg, task, leak);
}

static struct error *judge(struct look *l)
{
	struct sampled sampled = look_sampled(l->opt, l->p);
	const struct goroutine_tests tests = { sampler_name, &sampled };
	struct look_net *net = NULL;
	struct error *err = look_net_take(l->opt, l->p, &net);
	const struct goroutines_hooks hooks = { &tests, NULL, decorate, net };

	if (!err)
		err = goroutines_collect(l->snap, l->exiting, &hooks, l->p);
	if (!err)
		look_net_collect(l->opt, net, l->p);
	look_net_destroy(net);
	gaps_merge(&l->p->gaps, &l->snap->gaps);
	return err;
}

/* Goroutines, or else coroutines. */
static struct error *attach(struct look *l)
{
	l->source = &runtime_go;
	struct error *err = runtime_go.attach(l->process, &l->ctx);
	if (!error_catch(&err, ERROR_ABSENT))
		return err;
	l->source = &runtime_coroutine;
	return runtime_coroutine.attach(l->process, &l->ctx);
}

/*
 * What fork or vfork made of a Go program, and never called execve: it has the
 * parent's goroutines in its memory, and none runs. Go's os/exec makes such ones
 * to try the kernel. A live runtime has a second thread from its start, sysmon.
 */
static bool is_copy(const struct look *l)
{
	return l->source->kind == TASK_GO && l->threads == 1;
}

/* Sets the outcome; an error is why it could not be read. */
static struct error *look(struct look *l)
{
	struct error *err = process_open(l->p->pid, &l->process);

	if (err)
		return err;
	look_describe(l->process, l->p);
	if (l->p->outcome == GATE_TOOLCHAIN)
		return NULL;
	err = attach(l);
	if (error_catch(&err, ERROR_ABSENT)) {
		l->p->outcome = GATE_FOREIGN;
		return NULL;
	}
	if (err)
		return err;
	if (is_copy(l)) {
		l->p->outcome = GATE_COPY;
		return NULL;
	}
	l->p->runtime = arena_strdup(l->p->arena, l->source->version(l->ctx));
	if (l->exiting && l->p->status) {
		l->p->outcome = GATE_FAILED;
		return NULL;
	}
	err = wait_for_grace(l);
	if (err)
		return err;
	l->p->tasks = l->snap->n;
	l->p->outcome = GATE_JUDGED;
	return judge(l);
}

void look_end(struct gate_process *p, struct error *err)
{
	if (err) {
		p->outcome = error_code(err) == ERROR_GONE ? GATE_KILLED
							   : GATE_NOT_READ;
		p->why = arena_strdup(p->arena, error_text(err));
		error_free(err);
	}
	if (!p->cmdline)
		p->cmdline = "?";
	if (!p->runtime)
		p->runtime = "?";
}

static void finish(struct look *l, struct error *err)
{
	look_end(l->p, err);
	task_snapshot_destroy(l->snap);
	if (l->ctx)
		l->source->detach(l->ctx);
	process_close(l->process);
	l->p->held_ms = (clock_mono_ns() - l->began_ns) / NS_PER_MS;
}

struct gate_process *look_at_exit(const struct look_options *opt, int listener,
				  const struct catch_thread *thread,
				  const struct catch_exit *e)
{
	struct look l = { .opt = opt,
			  .exiting = thread->ns_tid,
			  .listening = listener >= 0,
			  .threads = thread->threads,
			  .began_ns = clock_mono_ns() };

	l.p = gate_process_create(thread->pid);
	if (!l.p)
		return NULL;
	l.p->status = e->status;
	struct error *err = look(&l);
	/* What was read may be of whoever has the pid now: not to be believed. */
	if (listener >= 0 && !catch_valid(listener, e->id) &&
	    l.p->outcome != GATE_FOREIGN) {
		error_free(err);
		err = error_new(ERROR_GONE, "it was killed while its exit was "
					    "held up");
		l.p->n_leaks = 0;
	}
	finish(&l, err);
	return l.p;
}

struct gate_process *look_at_hang(const struct look_options *opt, pid_t pid)
{
	struct look l = { .opt = opt, .began_ns = clock_mono_ns() };

	l.p = gate_process_create(pid);
	if (!l.p)
		return NULL;
	struct error *err = process_open(pid, &l.process);
	if (!err) {
		look_describe(l.process, l.p);
		err = attach(&l);
	}
	if (error_catch(&err, ERROR_ABSENT)) {
		l.p->outcome = GATE_FOREIGN;
	} else if (!err) {
		l.p->runtime =
			arena_strdup(l.p->arena, l.source->version(l.ctx));
		err = take(&l);
	}
	if (!err && l.snap) {
		l.p->tasks = l.snap->n;
		l.p->outcome = GATE_JUDGED;
		struct sampled sampled = look_sampled(opt, l.p);
		const struct goroutine_tests tests = { sampler_name, &sampled };
		err = goroutines_collect_all(l.snap, &tests, l.p);
	}
	finish(&l, err);
	return l.p;
}
