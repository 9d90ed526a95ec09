/* SPDX-License-Identifier: Apache-2.0 */
#include "detector/gate/watch.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "detector/gate/catch.h"
#include "detector/gate/guardian.h"
#include "detector/gate/live.h"
#include "detector/gate/program.h"
#include "detector/gate/sampler.h"
#include "detector/gate/trace.h"

#define NS_PER_MS INT64_C(1000000)
/* Looks at once; further ones wait. Each may hold a process' whole snapshot. */
#define MAX_LOOKS 32
/* From SIGTERM to SIGKILL, as timeout(1) users set -k. */
#define KILL_AFTER_MS 2000
/* Who outlives that many is another user's, or stuck in the kernel. */
#define MAX_KILLS 5
/* That who was just let go may take to be gone, before it is an orphan. */
#define SETTLE_MS 100

/* One process that waits for its answer. */
struct job {
	struct job *next;      /* waiting, or done */
	struct job *next_held; /* all that wait for their answer */
	struct watch *w;
	size_t slot; /* at the guardian's */
	struct catch_thread thread;
	struct catch_exit first;
	struct program_key key;
	struct gate_process *found; /* by the thread */
};

struct watch {
	const struct watch_options *opt;
	struct look_options look; /* of opt, with the sampler */
	struct watch_result *r;
	struct catch catch;
	struct guardian guardian; /* pid 0: none */
	struct trace trace;	  /* instead of the two, by ptrace */
	struct live *live;	  /* NULL: none is wanted */
	struct programs *programs;
	int signals, wake; /* signalfd, eventfd */
	struct job *held, *waiting, **waiting_tail;
	size_t n_running;
	pthread_mutex_t lock; /* of done */
	struct job *done;
	struct gate_process **tail;
	bool reaped; /* the command */
	bool empty;  /* nobody has the filter any more */
	int kills;   /* rounds of SIGKILL */
	int64_t timeout_ns, kill_ns, settle_ns; /* INT64_MAX: never */
};

static void *look_thread(void *arg)
{
	struct job *job = arg;
	struct watch *w = job->w;
	uint64_t one = 1;

	job->found = look_at_exit(&w->look, w->catch.listener, &job->thread,
				  &job->first);
	catch_let_go(w->catch.listener, job->first.id);
	guardian_strike(&w->guardian, job->slot);
	pthread_mutex_lock(&w->lock);
	job->next = w->done;
	w->done = job;
	pthread_mutex_unlock(&w->lock);
	if (write(w->wake, &one, sizeof(one)) < 0)
		log_debug("ctl", "eventfd: %s", strerror(errno));
	return NULL;
}

static void lose(struct watch *w, enum gap_kind kind, const char *text)
{
	gaps_add(&w->r->gaps, kind, 1, "%s", text);
}

/* Without memory or threads the answer is what it always is. */
static void give_up(struct watch *w, const struct catch_exit *e)
{
	catch_let_go(w->catch.listener, e->id);
	lose(w, GAP_LIMIT,
	     "processes that exited unseen, for want of memory or threads");
}

static bool start(struct watch *w, struct job *job)
{
	pthread_attr_t attr;
	pthread_t thread;

	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	int rc = pthread_create(&thread, &attr, look_thread, job);
	pthread_attr_destroy(&attr);
	if (rc)
		return false;
	w->n_running++;
	return true;
}

static void unhold(struct watch *w, const struct job *job)
{
	struct job **at = &w->held;

	while (*at && *at != job)
		at = &(*at)->next_held;
	if (*at)
		*at = job->next_held;
}

static void start_waiting(struct watch *w)
{
	while (w->waiting && w->n_running < MAX_LOOKS) {
		struct job *job = w->waiting;

		w->waiting = job->next;
		if (!w->waiting)
			w->waiting_tail = &w->waiting;
		if (start(w, job))
			continue;
		give_up(w, &job->first);
		guardian_strike(&w->guardian, job->slot);
		unhold(w, job);
		free(job);
	}
}

/*
 * Two threads of one process may call exit_group. The answer to the first ends
 * the second, which must not have one of its own: that would end the first in
 * the middle of the look.
 */
static bool is_held(const struct watch *w, pid_t pid)
{
	for (const struct job *job = w->held; job; job = job->next_held)
		if (job->thread.pid == pid &&
		    catch_valid(w->catch.listener, job->first.id))
			return true;
	return false;
}

static void enqueue(struct watch *w, const struct catch_exit *e,
		    const struct catch_thread *thread,
		    const struct program_key *key)
{
	struct job *job = malloc(sizeof(*job));
	size_t slot = guardian_hold(&w->guardian, e->id);

	if (!job || slot == GUARDIAN_NO_SLOT) {
		give_up(w, e);
		if (slot != GUARDIAN_NO_SLOT)
			guardian_strike(&w->guardian, slot);
		free(job);
		return;
	}
	*job = (struct job){ .w = w,
			     .slot = slot,
			     .thread = *thread,
			     .first = *e,
			     .key = *key };
	job->next_held = w->held;
	w->held = job;
	*w->waiting_tail = job;
	w->waiting_tail = &job->next;
	start_waiting(w);
}

/* As it exits, of Go's own tools: it may have left its tests out. */
static void on_toolchain(struct watch *w, const struct catch_exit *e)
{
	pid_t pid = e->status ? 0 : gotest_may_be_cached(e->tid);

	w->r->toolchain++;
	if (pid)
		gotest_note(w->r, pid, tree_cmdline(pid, w->r->arena));
}

/* Does it cost a look? All others are let go at once. */
static void on_exit_of(struct watch *w, const struct catch_exit *e)
{
	struct program_key key;
	struct catch_thread thread;
	enum program_kind kind = PROGRAM_NEW;

	w->r->exits++;
	if (!e->tid)
		lose(w, GAP_UNSUPPORTED,
		     "processes in a pid namespace that is not below this one");
	else if (!w->r->timed_out && !program_key(e->tid, &key))
		kind = programs_kind(w->programs, e->tid, &key);
	else
		kind = PROGRAM_FOREIGN;
	w->r->foreign += kind == PROGRAM_FOREIGN;
	if (kind == PROGRAM_TOOLCHAIN)
		on_toolchain(w, e);
	if (!e->tid || kind == PROGRAM_FOREIGN || kind == PROGRAM_TOOLCHAIN ||
	    !catch_thread(e->tid, &thread)) {
		catch_let_go(w->catch.listener, e->id);
		return;
	}
	if (!is_held(w, thread.pid))
		enqueue(w, e, &thread, &key);
}

static void on_listener(struct watch *w, short revents)
{
	struct catch_exit e;

	if (revents & POLLIN) {
		if (catch_next(w->catch.listener, &w->guardian.memory->notice,
			       &e))
			return;
		on_exit_of(w, &e);
	} else if (revents & (POLLHUP | POLLERR)) {
		w->empty = true;
	}
}

static void keep(struct watch *w, struct job *job)
{
	struct gate_process *p = job->found;
	enum program_kind kind = PROGRAM_GO;

	if (!p) {
		lose(w, GAP_LIMIT,
		     "processes that exited unseen, for want of "
		     "memory or threads");
		return;
	}
	if (p->outcome == GATE_FOREIGN)
		kind = PROGRAM_FOREIGN, w->r->foreign++;
	else if (p->outcome == GATE_COPY)
		kind = PROGRAM_NEW;
	else if (p->outcome == GATE_TOOLCHAIN)
		kind = PROGRAM_TOOLCHAIN, w->r->toolchain++;
	else if (p->outcome == GATE_FAILED)
		w->r->failed++;
	if (p->outcome != GATE_KILLED && p->outcome != GATE_NOT_READ)
		programs_put(w->programs, &job->key, kind);
	if (p->may_be_cached && !p->status)
		gotest_note(w->r, p->pid, p->cmdline);
	if (kind != PROGRAM_GO) {
		gate_process_destroy(p);
		return;
	}
	*w->tail = p;
	w->tail = &p->next;
}

static void on_wake(struct watch *w)
{
	uint64_t n;

	if (read(w->wake, &n, sizeof(n)) < 0)
		return;
	pthread_mutex_lock(&w->lock);
	struct job *done = TAKE(w->done);
	pthread_mutex_unlock(&w->lock);
	while (done) {
		struct job *job = done;

		done = job->next;
		w->n_running--;
		unhold(w, job);
		keep(w, job);
		free(job);
	}
	start_waiting(w);
}

static void note_end(struct watch *w, int status)
{
	w->reaped = true;
	w->r->wait_status = status;
	w->settle_ns = clock_mono_ns() + SETTLE_MS * NS_PER_MS;
}

static void reap(struct watch *w)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid == w->guardian.pid) {
			w->guardian.pid = 0;
			log_debug("ctl", "the guardian has ended");
		}
		if (pid != w->catch.pid)
			continue;
		note_end(w, status);
	}
}

/* Right here: only the thread that traces may let it go. */
static void look_traced(struct watch *w, const struct trace_exit *e)
{
	const struct catch_exit as = { .tid = e->tid, .status = e->status };
	struct look_options opt = w->look;
	struct program_key key;
	struct catch_thread thread;

	opt.grace_ms = 0;
	w->r->exits++;
	enum program_kind kind =
		w->r->timed_out || program_key(e->tid, &key)
			? PROGRAM_FOREIGN
			: programs_kind(w->programs, e->tid, &key);
	w->r->foreign += kind == PROGRAM_FOREIGN;
	if (kind == PROGRAM_TOOLCHAIN)
		on_toolchain(w, &as);
	if (kind == PROGRAM_FOREIGN || kind == PROGRAM_TOOLCHAIN ||
	    !catch_thread(e->tid, &thread))
		return;
	struct job job = { .key = key,
			   .found = look_at_exit(&opt, -1, &thread, &as) };
	keep(w, &job);
}

static void reap_traced(struct watch *w)
{
	struct trace_exit e;
	enum trace_result rc;

	while ((rc = trace_next(&w->trace, &e)) != TRACE_NOTHING) {
		if (rc == TRACE_EXIT) {
			look_traced(w, &e);
			trace_let_go(&w->trace, e.tid);
		}
		if (rc == TRACE_ENDED && e.tid == w->catch.pid)
			note_end(w, e.wait_status);
		if (rc == TRACE_EMPTY) {
			w->empty = true;
			return;
		}
	}
}

/* The terminal's go to the whole group: the command has it already. */
static void on_signal(struct watch *w)
{
	struct signalfd_siginfo s;

	if (read(w->signals, &s, sizeof(s)) != sizeof(s))
		return;
	if (s.ssi_signo == SIGCHLD && w->opt->how == GATE_BY_PTRACE)
		reap_traced(w);
	else if (s.ssi_signo == SIGCHLD)
		reap(w);
	else if (w->live && (int)s.ssi_signo == w->opt->live.signal)
		live_now(w->live);
	else if (s.ssi_code <= 0 && (pid_t)s.ssi_pid != w->catch.pid &&
		 !w->reaped)
		kill(w->catch.pid, (int)s.ssi_signo);
}

/* What is it stuck on? Before anything is killed. */
static void report_hang(struct watch *w)
{
	struct tree_member *v;
	size_t n;
	struct gate_process **tail = &w->r->hung;
	AUTO_ERROR struct error *err =
		tree_list(w->guardian.pid, w->r->arena, &v, &n);

	for (size_t i = 0; !err && i < n; i++) {
		struct gate_process *p = look_at_hang(&w->look, v[i].pid);

		if (!p)
			continue;
		*tail = p;
		tail = &p->next;
	}
}

static void end_all(struct watch *w)
{
	tree_signal(w->guardian.pid, SIGTERM);
	w->kill_ns = clock_mono_ns() + KILL_AFTER_MS * NS_PER_MS;
}

static void on_timeout(struct watch *w)
{
	w->timeout_ns = INT64_MAX;
	w->r->timed_out = true;
	report_hang(w);
	end_all(w);
}

/* The command has ended, and who is still there is no straggler. */
static void on_orphans(struct watch *w)
{
	w->settle_ns = INT64_MAX;
	if (w->opt->orphans == ORPHANS_WAIT || w->r->timed_out)
		return;
	AUTO_ERROR struct error *err = tree_list(
		w->guardian.pid, w->r->arena, &w->r->orphans, &w->r->n_orphans);
	if (err) {
		w->r->n_orphans = 0;
		lose(w, GAP_LIMIT, "processes that outlived the command");
	}
	if (w->opt->orphans != ORPHANS_KILL || !w->r->n_orphans)
		return;
	w->r->orphans_killed = true;
	end_all(w);
}

static void on_clock(struct watch *w)
{
	int64_t now = clock_mono_ns();

	if (now >= w->timeout_ns)
		on_timeout(w);
	if (now >= w->kill_ns) {
		tree_signal(w->guardian.pid, SIGKILL);
		w->kill_ns = ++w->kills < MAX_KILLS
				     ? now + KILL_AFTER_MS * NS_PER_MS
				     : INT64_MAX;
	}
	if (now >= w->settle_ns && !w->n_running && !w->waiting)
		on_orphans(w);
}

static bool finished(const struct watch *w)
{
	if (w->n_running || w->waiting)
		return false;
	if (w->kills == MAX_KILLS)
		return true;
	if (!w->reaped)
		return false;
	if (w->empty)
		return true;
	return w->settle_ns == INT64_MAX && !w->r->timed_out &&
	       w->kill_ns == INT64_MAX && w->opt->orphans != ORPHANS_WAIT;
}

static int next_ms(const struct watch *w)
{
	int64_t next = w->timeout_ns;

	if (w->kill_ns < next)
		next = w->kill_ns;
	if (w->settle_ns < next && !w->n_running && !w->waiting)
		next = w->settle_ns;
	if (next == INT64_MAX)
		return -1;
	int64_t left = (next - clock_mono_ns() + NS_PER_MS - 1) / NS_PER_MS;
	return left < 0 ? 0 : left > INT32_MAX ? INT32_MAX : (int)left;
}

static void loop(struct watch *w)
{
	while (!finished(w)) {
		struct pollfd v[] = {
			{ w->empty ? -1 : w->catch.listener, POLLIN, 0 },
			{ w->signals, POLLIN, 0 },
			{ w->wake, POLLIN, 0 },
		};

		if (poll(v, 3, next_ms(w)) < 0 && errno != EINTR)
			return;
		if (v[0].revents)
			on_listener(w, v[0].revents);
		if (v[1].revents)
			on_signal(w);
		if (v[2].revents)
			on_wake(w);
		on_clock(w);
	}
}

static struct error *open_fds(struct watch *w, const sigset_t *set)
{
	w->signals = signalfd(-1, set, SFD_CLOEXEC | SFD_NONBLOCK);
	w->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (w->signals < 0 || w->wake < 0)
		return error_os(errno, "cannot wait for signals");
	w->programs = programs_create();
	return w->programs ? NULL : &error_nomem;
}

/* To be passed on, or to be waited for. Others do what they always do. */
static void set_of_signals(sigset_t *set)
{
	static const int v[] = { SIGCHLD, SIGINT,  SIGTERM, SIGHUP,  SIGQUIT,
				 SIGUSR1, SIGUSR2, SIGALRM, SIGCONT, SIGWINCH };

	sigemptyset(set);
	for (size_t i = 0; i < sizeof(v) / sizeof(v[0]); i++)
		sigaddset(set, v[i]);
}

/* A child that could not be put under the filter is there all the same. */
static void forget_child(const struct watch *w)
{
	while (w->catch.pid > 0 && waitpid(w->catch.pid, NULL, 0) < 0 &&
	       errno == EINTR)
		;
}

static struct error *start_traced(struct watch *w, const char *const *argv,
				  const sigset_t *mask)
{
	struct error *err = trace_start(argv, mask, &w->trace);

	w->catch.pid = w->trace.pid;
	w->r->exec_errno = w->trace.exec_errno;
	/* What it did until now raised SIGCHLD, or did before we listened. */
	if (!err)
		reap_traced(w);
	else if (w->trace.pid > 0)
		kill(w->trace.pid, SIGKILL);
	return err;
}

static struct error *start_all(struct watch *w, const char *const *argv,
			       const sigset_t *mask)
{
	if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0)
		return error_os(errno, "cannot become a subreaper");
	if (w->opt->how == GATE_BY_PTRACE)
		return start_traced(w, argv, mask);
	struct error *err = catch_start(argv, mask, &w->catch);
	if (err) {
		forget_child(w);
		return err;
	}
	w->r->no_new_privs = w->catch.no_new_privs;
	err = guardian_create(w->catch.listener, &w->guardian);
	if (!err) {
		catch_release(&w->catch);
		w->r->exec_errno = w->catch.exec_errno;
		return NULL;
	}
	close(w->catch.to_child);
	/* Nobody would answer if we were killed: better not at all. */
	kill(w->catch.pid, SIGKILL);
	forget_child(w);
	return err;
}

/* The command runs already: what cannot be looked at is a gap. */
static void start_live(struct watch *w)
{
	if (!live_wanted(&w->opt->live))
		return;
	AUTO_ERROR struct error *err =
		live_start(&w->opt->live, &w->look, w->guardian.pid, &w->live);
	if (err)
		lose(w, GAP_LIMIT, error_text(err));
}

static struct error *run(struct watch *w, const char *const *argv)
{
	sigset_t set, mask;

	set_of_signals(&set);
	sigprocmask(SIG_BLOCK, &set, &mask);
	struct error *err = open_fds(w, &set);
	if (!err)
		err = start_all(w, argv, &mask);
	if (!err) {
		if (w->opt->timeout_ms >= 0)
			w->timeout_ns = clock_mono_ns() +
					w->opt->timeout_ms * NS_PER_MS;
		w->look.sampler = sampler_start(w->guardian.pid);
		start_live(w);
		loop(w);
		live_finish(w->live, w->r);
		w->r->cached = gotest_judge(w->r);
		sampler_stop(w->look.sampler);
		trace_deinit(&w->trace);
		if (w->guardian.pid)
			guardian_release(&w->guardian, w->empty);
	}
	programs_destroy(w->programs);
	if (w->catch.listener >= 0)
		close(w->catch.listener);
	if (w->signals >= 0)
		close(w->signals);
	if (w->wake >= 0)
		close(w->wake);
	sigprocmask(SIG_SETMASK, &mask, NULL);
	return err;
}

struct error *watch_run(const char *const *argv,
			const struct watch_options *opt,
			struct watch_result **ret)
{
	AUTO_WATCH struct watch_result *r = watch_result_create();
	struct watch w = {
		.opt = opt,
		.look = opt->look,
		.catch = { .listener = -1, .to_child = -1 },
		.signals = -1,
		.wake = -1,
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.timeout_ns = INT64_MAX,
		.kill_ns = INT64_MAX,
		.settle_ns = INT64_MAX,
	};

	if (!r)
		return &error_nomem;
	w.r = r;
	w.tail = &r->processes;
	w.waiting_tail = &w.waiting;
	struct error *err = run(&w, argv);
	if (!err)
		*ret = TAKE(r);
	return err;
}
