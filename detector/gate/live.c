/* SPDX-License-Identifier: Apache-2.0 */
#include "detector/gate/live.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/process.h"
#include "detector/gate/catch.h"
#include "detector/gate/growth.h"
#include "detector/gate/program.h"
#include "detector/gate/quiet.h"

#define NS_PER_MS INT64_C(1000000)
#define MAX_RECORDS 10000
/* Looks at once: each is mostly the second between its two samples. */
#define MAX_AT_ONCE 16

/* A process that goes on. */
struct record {
	struct record *next;
	pid_t pid;
	uint64_t start_ticks;
	struct program_key key; /* another after execve(2) */
	struct arena *arena;
	struct growth growth;
	struct quiet quiet;
	struct gate_process *last; /* its latest look; NULL: none */
	/* While it is looked at: by a thread, and what came of it. */
	struct live *live;
	pthread_t thread;
	bool due, again; /* now; and what was seen before does not count */
	struct gate_process *found;
};

struct live {
	const struct live_options *opt;
	const struct look_options *look;
	pid_t but;
	pthread_t thread;
	pthread_mutex_t lock; /* of the next four */
	pthread_cond_t wake;
	bool stop;
	uint64_t asked; /* signals that came */
	/* The thread's own from here on. */
	uint64_t answered;
	int64_t next_ns; /* of --every */
	struct programs *programs;
	struct record *records;
	size_t n_records;
	uint64_t lost; /* processes beyond the limits */
};

bool live_wanted(const struct live_options *opt)
{
	return opt->every_ms >= 0 || opt->quiet_ms >= 0 || opt->signal;
}

static enum growth_rule rule_of(const struct live_options *opt)
{
	return opt->every_ms >= 0 && opt->quiet_ms < 0 ? GROWTH_BUSY
						       : GROWTH_QUIET;
}

static void destroy(struct record *r)
{
	if (r->last)
		gate_process_destroy(r->last);
	quiet_end(&r->quiet);
	arena_destroy(r->arena);
	free(r);
}

/* --- who is there --- */

static bool same_key(const struct program_key *a, const struct program_key *b)
{
	return a->dev == b->dev && a->ino == b->ino && a->size == b->size &&
	       a->mtime_ns == b->mtime_ns && a->ctime_ns == b->ctime_ns;
}

static struct record *find(struct live *l, const struct process *p,
			   const struct program_key *key)
{
	for (struct record *r = l->records; r; r = r->next)
		if (r->pid == p->pid && r->start_ticks == p->start_ticks &&
		    same_key(&r->key, key))
			return r;
	return NULL;
}

static struct record *add(struct live *l, const struct process *p,
			  const struct program_key *key)
{
	struct record *r = l->n_records < MAX_RECORDS ? calloc(1, sizeof(*r))
						      : NULL;

	if (r)
		r->arena = arena_create();
	if (!r || !r->arena) {
		free(r);
		l->lost++;
		return NULL;
	}
	r->pid = p->pid;
	r->start_ticks = p->start_ticks;
	r->key = *key;
	r->live = l;
	growth_init(&r->growth, r->arena);
	r->next = l->records;
	l->records = r;
	l->n_records++;
	return r;
}

/* Is there anything to be looked at, by its file? */
static bool is_program(struct live *l, pid_t pid, const struct program_key *key)
{
	struct program_info info;
	enum program_kind kind = programs_kind(l->programs, pid, key);

	if (kind == PROGRAM_NEW && program_info(pid, &info))
		kind = program_is_toolchain(&info) ? PROGRAM_TOOLCHAIN
						   : PROGRAM_GO;
	programs_put(l->programs, key, kind);
	return kind == PROGRAM_NEW || kind == PROGRAM_GO;
}

static struct record *record_of(struct live *l, pid_t pid)
{
	AUTO_PROCESS struct process *p = NULL;
	struct program_key key;

	if (program_key(pid, &key) || !is_program(l, pid, &key))
		return NULL;
	AUTO_ERROR struct error *err = process_open(pid, &p);
	if (err)
		return NULL; /* it ended, or will be denied at its exit, too */
	struct record *r = find(l, p, &key);
	return r ? r : add(l, p, &key);
}

/* --- looks --- */

static void *look_thread(void *arg)
{
	struct record *r = arg;

	r->found = look_at_running(r->live->look, r->pid);
	return NULL;
}

static void keep(struct live *l, struct record *r)
{
	struct gate_process *p = TAKE(r->found);
	AUTO_ERROR struct error *err = NULL;

	if (!p) {
		l->lost++;
		return;
	}
	/* another's pid meanwhile, or its end: what was seen before stands */
	if (p->outcome == GATE_KILLED || p->outcome == GATE_COPY ||
	    (p->start_ticks && p->start_ticks != r->start_ticks)) {
		gate_process_destroy(p);
		return;
	}
	if (p->outcome == GATE_FOREIGN || p->outcome == GATE_TOOLCHAIN)
		programs_put(l->programs, &r->key, PROGRAM_FOREIGN);
	if (r->again)
		growth_init(&r->growth, r->arena);
	if (p->outcome == GATE_JUDGED)
		err = growth_add(&r->growth, p);
	if (err)
		l->lost++;
	if (r->last)
		gate_process_destroy(r->last);
	r->last = p;
	log_debug("ctl", "look %zu at process %d: %zu leaks", r->growth.n_looks,
		  (int)r->pid, p->n_leaks);
}

static void look_at_some(struct live *l, struct record **v, size_t n)
{
	bool started[MAX_AT_ONCE];

	for (size_t i = 0; i < n; i++)
		started[i] =
			!pthread_create(&v[i]->thread, NULL, look_thread, v[i]);
	for (size_t i = 0; i < n; i++) {
		if (started[i])
			pthread_join(v[i]->thread, NULL);
		keep(l, v[i]);
		v[i]->due = v[i]->again = false;
	}
}

static void look_at_due(struct live *l)
{
	struct record *v[MAX_AT_ONCE];
	size_t n = 0;

	for (struct record *r = l->records; r; r = r->next) {
		if (r->due)
			v[n++] = r;
		if (n == MAX_AT_ONCE) {
			look_at_some(l, v, n);
			n = 0;
		}
	}
	look_at_some(l, v, n);
}

/* Is it time to look at @r? */
static void decide(struct live *l, struct record *r, bool now, bool tick)
{
	enum quiet_answer answer = QUIET_NEVER;

	if (l->opt->quiet_ms >= 0)
		answer = quiet_ask(&r->quiet, r->pid, l->opt->quiet_ms);
	r->due = now || (tick && l->opt->quiet_ms < 0) ||
		 answer == QUIET_SINCE || answer == QUIET_UNTOUCHED ||
		 (tick && answer == QUIET_STILL);
	r->again = answer == QUIET_UNTOUCHED && !now;
}

static void round_of(struct live *l, bool now, bool tick)
{
	AUTO_ARENA struct arena *arena = arena_create();
	struct tree_member *v;
	size_t n;

	AUTO_ERROR struct error *err = arena ? tree_list(l->but, arena, &v, &n)
					     : &error_nomem;
	if (err) {
		l->lost++;
		return;
	}
	for (size_t i = 0; i < n; i++) {
		struct record *r = record_of(l, v[i].pid);

		if (r)
			decide(l, r, now, tick);
	}
	look_at_due(l);
}

static int64_t next_round(const struct live *l)
{
	int64_t quiet = INT64_MAX;

	if (l->opt->quiet_ms >= 0)
		quiet = clock_mono_ns() +
			quiet_pause_ms(l->opt->quiet_ms) * NS_PER_MS;
	return quiet < l->next_ns ? quiet : l->next_ns;
}

/* Returns: false when it is over. */
static bool wait_for_round(struct live *l, bool *now)
{
	int64_t until = next_round(l);
	const struct timespec at = { .tv_sec = until / 1000000000,
				     .tv_nsec = until % 1000000000 };

	pthread_mutex_lock(&l->lock);
	while (!l->stop && l->asked == l->answered && clock_mono_ns() < until) {
		if (until == INT64_MAX)
			pthread_cond_wait(&l->wake, &l->lock);
		else
			pthread_cond_timedwait(&l->wake, &l->lock, &at);
	}
	*now = l->asked != l->answered;
	l->answered = l->asked;
	bool stop = l->stop;
	pthread_mutex_unlock(&l->lock);
	return !stop;
}

static void *live_thread(void *arg)
{
	struct live *l = arg;
	bool now;

	while (wait_for_round(l, &now)) {
		bool tick = clock_mono_ns() >= l->next_ns;

		if (tick)
			l->next_ns =
				clock_mono_ns() + l->opt->every_ms * NS_PER_MS;
		round_of(l, now, tick);
	}
	return NULL;
}

struct error *live_start(const struct live_options *opt,
			 const struct look_options *look, pid_t but,
			 struct live **ret)
{
	struct live *l = calloc(1, sizeof(*l));
	pthread_condattr_t attr;

	if (!l)
		return &error_nomem;
	*l = (struct live){ .opt = opt,
			    .look = look,
			    .but = but,
			    .lock = PTHREAD_MUTEX_INITIALIZER,
			    .next_ns = INT64_MAX };
	if (opt->every_ms >= 0)
		l->next_ns = clock_mono_ns() + opt->every_ms * NS_PER_MS;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&l->wake, &attr);
	pthread_condattr_destroy(&attr);
	l->programs = programs_create();
	int rc = l->programs ? pthread_create(&l->thread, NULL, live_thread, l)
			     : ENOMEM;
	if (!rc) {
		*ret = l;
		return NULL;
	}
	programs_destroy(l->programs);
	free(l);
	return error_os(rc, "cannot look at what runs");
}

void live_now(struct live *l)
{
	pthread_mutex_lock(&l->lock);
	l->asked++;
	pthread_cond_signal(&l->wake);
	pthread_mutex_unlock(&l->lock);
}

/* --- the end --- */

static bool judged_at_exit(const struct watch_result *r,
			   const struct record *record)
{
	for (const struct gate_process *p = r->processes; p; p = p->next)
		if (p->pid == record->pid && !p->looks &&
		    p->start_ticks == record->start_ticks &&
		    p->outcome == GATE_JUDGED)
			return true;
	return false;
}

static void judge(const struct live *l, struct record *r)
{
	struct gate_process *p = r->last;
	enum growth_rule rule = rule_of(l->opt);
	size_t n = r->growth.n_looks;

	p->looks = n;
	if (p->outcome != GATE_JUDGED)
		return;
	growth_apply(&r->growth, rule, p);
	if (growth_enough(&r->growth, rule))
		return;
	gaps_add(&p->gaps, GAP_LIMIT, 1,
		 "what becomes more: it was looked at %zu time%s while it ran, "
		 "and %d are needed to tell; %s",
		 n, n == 1 ? "" : "s",
		 rule == GROWTH_BUSY ? GROWTH_MIN_LOOKS : 2,
		 rule == GROWTH_BUSY ? "look more often, or let it run longer"
				     : "look before the work, and after it");
}

/* It served, and was never found quiet. */
static struct gate_process *never_quiet(const struct record *r)
{
	struct gate_process *p = gate_process_create(r->pid);

	if (!p)
		return NULL;
	p->start_ticks = r->start_ticks;
	p->outcome = GATE_NOT_READ;
	p->cmdline = p->runtime = "?";
	p->why = arena_printf(p->arena,
			      "it was never quiet for so long: %s; a shorter "
			      "--quiet-after, or --at-signal",
			      *r->quiet.busy ? r->quiet.busy
					     : "data came and went");
	return p;
}

static void hand_over(struct live *l, struct record *record,
		      struct watch_result *r)
{
	struct gate_process **tail = &r->processes;

	if (judged_at_exit(r, record))
		return;
	if (!record->last && record->quiet.listens)
		record->last = never_quiet(record);
	else if (record->last)
		judge(l, record);
	/* with nothing to read, there is nothing to say */
	if (!record->last || record->last->outcome == GATE_FOREIGN ||
	    record->last->outcome == GATE_TOOLCHAIN)
		return;
	while (*tail)
		tail = &(*tail)->next;
	*tail = TAKE(record->last);
}

static void say_lost(const struct live *l, struct watch_result *r)
{
	if (l->lost)
		gaps_add(&r->gaps, GAP_LIMIT, l->lost,
			 "looks at what ran, for want of memory or threads");
	if (l->opt->signal && !l->asked)
		gaps_add(&r->gaps, GAP_LIMIT, 1,
			 "what runs: no SIG%s came, so that nothing was looked "
			 "at; send it before the work, and after it",
			 sigabbrev_np(l->opt->signal));
}

void live_finish(struct live *l, struct watch_result *r)
{
	if (!l)
		return;
	pthread_mutex_lock(&l->lock);
	l->stop = true;
	pthread_cond_signal(&l->wake);
	pthread_mutex_unlock(&l->lock);
	pthread_join(l->thread, NULL);
	while (l->records) {
		struct record *record = l->records;

		l->records = record->next;
		hand_over(l, record, r);
		destroy(record);
	}
	say_lost(l, r);
	programs_destroy(l->programs);
	pthread_cond_destroy(&l->wake);
	free(l);
}

/* --- one process, once --- */

static struct error *wait_for_quiet(pid_t pid, const struct watch_options *opt)
{
	int64_t quiet_ms = opt->live.quiet_ms;
	int64_t limit_ms = opt->timeout_ms >= 0 ? opt->timeout_ms
						: LIVE_WAIT_QUIET_MS;
	int64_t until = clock_mono_ns() + limit_ms * NS_PER_MS;
	AUTO_QUIET struct quiet quiet = { 0 };

	while (quiet_ms >= 0) {
		enum quiet_answer a = quiet_ask(&quiet, pid, quiet_ms);

		if (a == QUIET_NEVER)
			return error_new(ERROR_ABSENT,
					 "process %d listens on no TCP port "
					 "that can be seen; look at it without "
					 "--quiet-after",
					 (int)pid);
		/* untouched for the whole time, not at the first question */
		if (a == QUIET_SINCE || (a == QUIET_UNTOUCHED && quiet.looked))
			break;
		if (clock_mono_ns() > until)
			return error_new(
				ERROR_INCONSISTENT,
				"process %d was not quiet within %lld ms: %s",
				(int)pid, (long long)limit_ms,
				*quiet.busy ? quiet.busy
					    : "data came and went");
		clock_sleep_until(clock_mono_ns() +
				  quiet_pause_ms(quiet_ms) * NS_PER_MS);
	}
	return NULL;
}

static struct error *as_error(const struct gate_process *p)
{
	switch (p->outcome) {
	case GATE_JUDGED:
		return NULL;
	case GATE_KILLED:
		return error_new(ERROR_GONE, "process %d: %s", (int)p->pid,
				 p->why);
	case GATE_NOT_READ:
		return error_new(ERROR_UNSUPPORTED, "%s", p->why);
	case GATE_FOREIGN:
	case GATE_COPY:
	case GATE_TOOLCHAIN:
	case GATE_FAILED:
		break;
	}
	return error_new(ERROR_ABSENT,
			 "process %d has no goroutines or coroutines that can "
			 "be read; 'stranded check' judges its threads and "
			 "connections",
			 (int)p->pid);
}

struct error *live_once(pid_t pid, const struct watch_options *opt,
			struct watch_result **ret)
{
	AUTO_WATCH struct watch_result *r = watch_result_create();
	struct error *err = r ? wait_for_quiet(pid, opt) : &error_nomem;

	if (err)
		return err;
	r->processes = look_at_running(&opt->look, pid);
	err = r->processes ? as_error(r->processes) : &error_nomem;
	if (!err)
		*ret = TAKE(r);
	return err;
}
