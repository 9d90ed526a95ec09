/* SPDX-License-Identifier: Apache-2.0 */
#include "detector/survey.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "detector/correlate.h"
#include "detector/survey_probe.h"
#include "detector/waiting.h"

bool gap_matters(enum gap_kind kind)
{
	switch (kind) {
	case GAP_RUNNING: /* not blocked, by definition */
	case GAP_TORN:	  /* moved while it was read; correlate tells more */
	case GAP_GONE:	  /* what is gone waits for nothing */
		return false;
	case GAP_DENIED:
	case GAP_UNSUPPORTED:
	case GAP_CORRUPT:
	case GAP_INCONSISTENT:
	case GAP_LIMIT:
		return true;
	}
	return true;
}

bool gaps_matter(const struct gaps *gaps)
{
	for (size_t i = 0; i < gaps->n; i++)
		if (gap_matters(gaps->v[i].kind))
			return true;
	return false;
}

static enum gap_kind gap_of_error(const struct error *err)
{
	switch (error_code(err)) {
	case ERROR_GONE:
		return GAP_GONE;
	case ERROR_DENIED:
		return GAP_DENIED;
	case ERROR_UNSUPPORTED:
	case ERROR_ABSENT:
		return GAP_UNSUPPORTED;
	case ERROR_INCONSISTENT:
		return GAP_INCONSISTENT;
	case ERROR_CORRUPT:
	case ERROR_FAULT:
		return GAP_CORRUPT;
	case ERROR_NOMEM:
	case ERROR_OS:
	case ERROR_USAGE:
		return GAP_LIMIT;
	}
	return GAP_LIMIT;
}

/* Turn a failure of one part into a gap; out of memory stays a failure. */
static struct error *as_gap(struct survey *s, struct error *err)
{
	if (!err || error_code(err) == ERROR_NOMEM)
		return err;
	if (error_code(err) == ERROR_GONE && !process_alive(s->process))
		s->gone = true;
	gaps_add(&s->gaps, gap_of_error(err), 1, "%s", error_text(err));
	error_free(err);
	return NULL;
}

/*
 * Not a program of a runtime that we read: the connections can be looked at
 * all the same, so this is kept for the report.
 */
static struct error *as_no_runtime(struct survey *s, struct error *err)
{
	if (!err || error_code(err) == ERROR_NOMEM)
		return err;
	if (error_code(err) == ERROR_GONE)
		s->gone = true;
	error_free(s->no_runtime);
	s->no_runtime = err;
	return NULL;
}

/* What threads are asked about: which of them carry a goroutine. */
struct carriers {
	const struct task_set *set; /* Go's; NULL: the process has no Go */
	pid_t *tids;		    /* ascending */
	size_t n;
};

static int by_tid(const void *a, const void *b)
{
	pid_t x = *(const pid_t *)a, y = *(const pid_t *)b;

	return x < y ? -1 : x > y;
}

static struct error *find_carriers(const struct survey *s, struct carriers *ret)
{
	for (size_t i = 0; i < s->n_sets && !ret->set; i++)
		if (s->sets[i].source->owns_pc)
			ret->set = &s->sets[i];
	const struct task_snapshot *snap = ret->set ? ret->set->snapshot : NULL;
	for (size_t i = 0; snap && i < snap->n; i++)
		ret->n += snap->tasks[i].tid != 0;
	ret->tids = arena_array(s->arena, ret->n + 1, sizeof(*ret->tids));
	if (!ret->tids)
		return &error_nomem;
	ret->n = 0;
	for (size_t i = 0; snap && i < snap->n; i++)
		if (snap->tasks[i].tid)
			ret->tids[ret->n++] = snap->tasks[i].tid;
	qsort(ret->tids, ret->n, sizeof(*ret->tids), by_tid);
	return NULL;
}

/*
 * The runtime's threads wait in its own code, by system calls without a
 * library; all others of a Go program are those of a C library. One that runs
 * may be either, and is not blocked.
 */
static bool is_taken(void *arg, pid_t tid, raddr_t pc)
{
	const struct carriers *c = arg;

	return !pc || bsearch(&tid, c->tids, c->n, sizeof(tid), by_tid) ||
	       c->set->source->owns_pc(c->set->context, pc);
}

/* One source's first look. What it cannot read is a reason, not a failure. */
static struct error *take_set(struct survey *s, struct task_set *set,
			      const struct survey_options *opt)
{
	bool threads = set->source->kind == TASK_THREAD;
	struct runtime_options ro = runtime_everything;
	struct carriers c = { 0 };

	ro.stacks = opt->stacks;
	ro.stop = opt->stop;
	ro.force = opt->force;
	if (threads && opt->threads == THREADS_OTHER) {
		struct error *err = find_carriers(s, &c);

		if (err)
			return err;
		ro.taken = c.set ? is_taken : NULL;
		ro.taken_arg = &c;
	}
	struct error *err =
		set->source->snapshot(set->context, &ro, &set->snapshot);
	if (!err) {
		s->stopped_ms += set->snapshot->stopped_ns / 1000000;
		return NULL;
	}
	return threads && s->n_sets ? as_gap(s, err) : as_no_runtime(s, err);
}

/* Attach all, look once, and keep those that could be looked at. */
static struct error *take_tasks(struct survey *s,
				const struct survey_options *opt)
{
	struct runtime_attached v[RUNTIME_MAX_SOURCES];
	struct error *why = NULL;
	size_t n = 0;

	if (opt->no_tasks || !s->process)
		return NULL;
	struct error *err = runtime_attach_all(s->process, v, &n, &why);
	s->no_runtime = why;
	err = as_no_runtime(s, err);
	for (size_t i = 0; i < n; i++) {
		struct task_set set = { .source = v[i].source,
					.context = v[i].context };

		if (!err && (opt->threads != THREADS_NONE ||
			     set.source->kind != TASK_THREAD))
			err = take_set(s, &set, opt);
		if (set.snapshot)
			s->sets[s->n_sets++] = set;
		else
			task_set_deinit(&set);
	}
	return err;
}

static struct error *take_sockets(struct survey *s,
				  const struct survey_options *opt)
{
	if (opt->no_sockets)
		return NULL;
	struct error *err = NULL;
	if (s->process)
		err = as_gap(s, process_fds(s->process, s->arena, &s->fds));
	if (err)
		return err;
	if (s->fds.unreadable)
		gaps_add(&s->gaps, GAP_GONE, s->fds.unreadable,
			 "file descriptors closed while they were listed");
	err = netwatch_open(s->process, &opt->net, &s->netwatch);
	if (err)
		return err;
	return as_gap(s, netwatch_take(s->netwatch, &s->fds, &s->sockets));
}

/* What is judged: everything but listeners. */
static struct tcp_socket **suspects(struct survey *s, size_t *n_ret)
{
	struct tcp_socket **v = arena_array(s->arena, s->sockets->n + 1,
					    sizeof(struct tcp_socket *));
	size_t n = 0;

	for (size_t i = 0; v && i < s->sockets->n; i++)
		if (s->sockets->v[i].first.state != TCP_STATE_LISTEN)
			v[n++] = &s->sockets->v[i];
	*n_ret = n;
	return v;
}

/* @examined_ns: when the peers had been looked at, which takes long on a host
 * of many namespaces, or of much else to do; 0: they were not. */
static void wait_for_second(const struct survey *s, int64_t examined_ns)
{
	int64_t from = s->started_mono_ns;

	for (size_t i = 0; i < s->n_sets; i++) {
		const struct task_snapshot *snap = s->sets[i].snapshot;

		if (snap->taken_mono_ns + snap->duration_ns > from)
			from = snap->taken_mono_ns + snap->duration_ns;
	}
	for (size_t i = 0; s->sockets && i < s->sockets->n; i++)
		if (s->sockets->v[i].first.at_mono_ns > from)
			from = s->sockets->v[i].first.at_mono_ns;
	/* A recording's times may be of another boot. */
	int64_t now = clock_mono_ns();
	if (from > now)
		from = now;
	int64_t until = from + SURVEY_WAIT_MS * INT64_C(1000000);
	int64_t apart = examined_ns + SURVEY_LOOKS_MS * INT64_C(1000000);
	clock_sleep_until(examined_ns && apart > until ? apart : until);
}

/*
 * Where is everyone now? Go's stacks that did not change are not read again,
 * and without them there would be no sp and pc to compare; the others tell
 * these two at once.
 */
static struct error *look_again(struct survey *s, struct task_set *set)
{
	const struct runtime_options light = {
		.stacks = set->source->kind == TASK_GO,
		.fds = true,
	};
	AUTO_TASKS struct task_snapshot *again = NULL;

	if (s->gone || !set->snapshot->n)
		return NULL;
	struct error *err = set->source->snapshot(set->context, &light, &again);
	if (err)
		return as_gap(s, err);
	set->marks = correlate_marks(again, s->arena);
	if (!set->marks)
		return &error_nomem;
	set->n_marks = again->n;
	set->observed_ms =
		(again->taken_mono_ns - set->snapshot->taken_mono_ns) / 1000000;
	return NULL;
}

static struct error *look_again_all(struct survey *s)
{
	struct error *err = NULL;

	for (size_t i = 0; i < s->n_sets && !err; i++)
		err = look_again(s, &s->sets[i]);
	return err;
}

/* Mark the sockets that a parked task waits to write to. */
static void find_writers(const struct survey *s,
			 const struct task_snapshot *snap, bool *writers)
{
	for (size_t i = 0; i < snap->n; i++) {
		struct waiting w;

		if (snap->tasks[i].wait != WAIT_WRITE &&
		    snap->tasks[i].wait != WAIT_POLL)
			continue;
		w = waiting_of(&snap->tasks[i], &s->fds, s->sockets);
		if (w.socket && w.wait == WAIT_WRITE)
			writers[w.socket - s->sockets->v] = true;
	}
}

/* What is to be said of one connection, to readers and to writers. */
static struct error *judge_one(struct survey *s, size_t i,
			       const struct net_facts *facts, bool writer)
{
	const struct tcp_socket *socket = &s->sockets->v[i];
	struct net_facts for_writer = *facts;
	struct error *err =
		verdict_judge(socket, facts, s->arena, &s->verdicts[i]);

	if (err || !writer)
		return err;
	struct verdict *v = arena_alloc(s->arena, sizeof(*v));
	if (!v)
		return &error_nomem;
	for_writer.for_writer = true;
	s->writer_verdicts[i] = v;
	return verdict_judge(socket, &for_writer, s->arena, v);
}

static struct error *judge_all(struct survey *s, struct tcp_socket **v,
			       const struct net_facts *facts, size_t n)
{
	static const struct net_facts no_facts;
	size_t n_sockets = s->sockets->n;
	bool *writers = arena_array(s->arena, n_sockets + 1, sizeof(*writers));
	struct error *err = NULL;

	s->verdicts =
		arena_array(s->arena, n_sockets + 1, sizeof(*s->verdicts));
	s->writer_verdicts = arena_array(s->arena, n_sockets + 1,
					 sizeof(*s->writer_verdicts));
	if (!writers || !s->verdicts || !s->writer_verdicts)
		return &error_nomem;
	for (size_t i = 0; i < s->n_sets; i++)
		find_writers(s, s->sets[i].snapshot, writers);
	for (size_t i = 0, j = 0; i < n_sockets && !err; i++) {
		bool suspect = j < n && v[j] == &s->sockets->v[i];

		err = judge_one(s, i, suspect ? &facts[j] : &no_facts,
				writers[i]);
		j += suspect;
	}
	return err;
}

/* Second samples, and a second look at each peer that was not there. */
static struct error *resample(struct survey *s,
			      const struct survey_options *opt,
			      struct tcp_socket **v, size_t n,
			      struct net_facts *facts)
{
	struct error *err = as_gap(s, netwatch_resample(s->netwatch, v, n));

	if (err || !opt->examine)
		return err;
	return netwatch_recheck(s->netwatch, v, n, s->arena, facts);
}

/* A peer that we had no descriptor or memory to look for is not "silent". */
static void count_limited(struct survey *s, const struct net_facts *facts,
			  size_t n)
{
	size_t limited = 0;

	for (size_t i = 0; i < n; i++)
		limited += facts[i].peer.limited;
	if (limited)
		gaps_add(&s->gaps, GAP_LIMIT, limited,
			 "connections whose peer could not be looked for on "
			 "this host, for want of open files or memory; raise "
			 "the limit of open files (ulimit -n)");
}

static struct error *probe_and_judge(struct survey *s,
				     const struct survey_options *opt,
				     struct tcp_socket **v,
				     struct net_facts *facts, size_t n)
{
	struct error *err = survey_probe(s, opt, v, facts, n);

	return err ? err : judge_all(s, v, facts, n);
}

/* Examine, wait, sample and look again, judge. */
static struct error *second_half(struct survey *s,
				 const struct survey_options *opt)
{
	struct tcp_socket **v = NULL;
	struct net_facts *facts = NULL;
	int64_t examined_ns = 0;
	size_t n = 0;
	struct error *err = NULL;

	if (s->sockets) {
		v = suspects(s, &n);
		facts = arena_array(s->arena, n + 1, sizeof(*facts));
		if (!v || !facts)
			return &error_nomem;
		if (opt->examine)
			err = netwatch_examine(s->netwatch, &s->fds, v, n,
					       s->arena, facts);
		if (err)
			return err;
		if (opt->examine && n)
			examined_ns = clock_mono_ns();
	}
	if (!opt->quick && (n || s->n_sets)) {
		/* A recording has its second sample already. */
		if (s->n_sets || !opt->net.replay_from)
			wait_for_second(s, examined_ns);
		if (n)
			err = resample(s, opt, v, n, facts);
		if (!err)
			err = look_again_all(s);
		if (err)
			return err;
	}
	if (facts)
		count_limited(s, facts, n);
	s->now_mono_ns = clock_mono_ns();
	s->now_wall_ms = clock_wall_ms();
	if (!s->sockets)
		return NULL;
	err = judge_all(s, v, facts, n);
	if (!err && opt->probing.wanted)
		err = probe_and_judge(s, opt, v, facts, n);
	return err;
}

static void close_books(struct survey *s, const struct survey_options *opt)
{
	if (s->process && !process_alive(s->process))
		s->gone = true;
	if (s->gone)
		gaps_add(&s->gaps, GAP_INCONSISTENT, 1,
			 "the process ended while it was looked at");
	/* Whoever asked for connections has been given all of them; and the
	 * threads of a program without another runtime are all it has. */
	if (s->no_runtime && opt->stacks &&
	    !(s->n_sets && error_code(s->no_runtime) == ERROR_ABSENT))
		gaps_add(&s->gaps, gap_of_error(s->no_runtime), 1, "%s",
			 error_text(s->no_runtime));
	for (size_t i = 0; i < s->n_sets; i++)
		gaps_merge(&s->gaps, &s->sets[i].snapshot->gaps);
	if (s->sockets) {
		gaps_merge(&s->gaps, &s->sockets->gaps);
		if (!s->sockets->consistent && !gaps_matter(&s->sockets->gaps))
			gaps_add(&s->gaps, GAP_INCONSISTENT, 1,
				 "the kernel's list of connections changed "
				 "while it was read");
	}
	s->process_age_ms = -1;
	if (s->process && s->process->start_wall_ms > 0 &&
	    s->now_wall_ms > s->process->start_wall_ms)
		s->process_age_ms = s->now_wall_ms - s->process->start_wall_ms;
	s->duration_ms = (clock_mono_ns() - s->started_mono_ns) / 1000000;
}

static bool lacks(const struct survey *s, enum survey_need need)
{
	return (need == NEED_TASKS && !s->n_sets) ||
	       (need == NEED_RUNTIME && !survey_runtime(s));
}

static struct error *fill(struct survey *s, pid_t pid,
			  const struct survey_options *opt)
{
	s->arena = arena_create();
	if (!s->arena)
		return &error_nomem;
	s->gaps.arena = s->arena;
	s->started_mono_ns = clock_mono_ns();
	struct error *err = pid ? process_open(pid, &s->process) : NULL;
	if (!err)
		err = take_tasks(s, opt);
	if (!err && lacks(s, opt->need))
		err = TAKE(s->no_runtime);
	if (!err)
		err = take_sockets(s, opt);
	if (!err)
		err = survey_probe_check(s, opt);
	if (!err)
		err = second_half(s, opt);
	if (err)
		return err;
	if (s->netwatch)
		err = as_gap(s, netwatch_finish(s->netwatch));
	if (err)
		return err;
	close_books(s, opt);
	log_debug("ctl", "surveyed pid %d in %lld ms", (int)pid,
		  (long long)s->duration_ms);
	return NULL;
}

struct error *survey_take(pid_t pid, const struct survey_options *opt,
			  struct survey **ret)
{
	AUTO_SURVEY struct survey *s = calloc(1, sizeof(*s));

	if (!s)
		return &error_nomem;
	struct error *err = fill(s, pid, opt);
	if (err)
		return err;
	/* Gone before anything was read: there is nothing to report on. */
	if (s->gone && !s->n_sets && (!s->sockets || !s->sockets->n))
		return error_new(ERROR_GONE,
				 "process %d ended before it could be read",
				 (int)pid);
	*ret = TAKE(s);
	return NULL;
}

const struct task_snapshot *survey_runtime(const struct survey *survey)
{
	for (size_t i = 0; i < survey->n_sets; i++)
		if (survey->sets[i].snapshot->kind != TASK_THREAD)
			return survey->sets[i].snapshot;
	return NULL;
}

const struct task_set *survey_set(const struct survey *survey,
				  enum task_runtime kind)
{
	for (size_t i = 0; i < survey->n_sets; i++)
		if (survey->sets[i].snapshot->kind == kind)
			return &survey->sets[i];
	return NULL;
}

const struct task_set *survey_set_of(const struct survey *survey,
				     const struct task *task)
{
	for (size_t i = 0; i < survey->n_sets; i++) {
		const struct task_snapshot *snap = survey->sets[i].snapshot;

		if (task >= snap->tasks && task < snap->tasks + snap->n)
			return &survey->sets[i];
	}
	return NULL;
}

void survey_destroy(struct survey *survey)
{
	if (!survey)
		return;
	tcp_snapshot_destroy(survey->sockets);
	netwatch_close(survey->netwatch);
	for (size_t i = 0; i < survey->n_sets; i++)
		task_set_deinit(&survey->sets[i]);
	error_free(survey->no_runtime);
	process_close(survey->process);
	arena_destroy(survey->arena);
	free(survey);
}
