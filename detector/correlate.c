/* SPDX-License-Identifier: Apache-2.0 */
#include "detector/correlate.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "detector/advice.h"
#include "detector/group.h"
#include "detector/waiting.h"

struct walk {
	const struct correlate_input *in;
	const struct task_set *set; /* the one that is walked now */
	enum task_runtime runtime;  /* of that set */
	struct findings *findings;
	struct groups *groups;
	/* For each socket: 1 + enum task_runtime of who is parked on it, 0
	 * nobody. */
	uint8_t *waited;
	/* For each socket: the event loop that watches it, or NULL. */
	struct holder {
		const struct task *task;
		enum task_runtime runtime;
	} * held;
	size_t mark;	       /* next candidate: tasks and marks both ascend */
	int *fd_of;	       /* for each socket: one of its fds, or -1 */
	uint8_t listens[8192]; /* a bit for each port that we listen on */
	/* Counted here, told as gaps at the end. */
	struct unseen {
		uint64_t torn, no_fd, fd_missing, not_judged;
	} unseen; /* of that set */
};

struct task_mark *correlate_marks(const struct task_snapshot *snap,
				  struct arena *arena)
{
	struct task_mark *v = arena_array(arena, snap->n + 1, sizeof(*v));

	for (size_t i = 0; v && i < snap->n; i++) {
		const struct task *t = &snap->tasks[i];

		v[i] = (struct task_mark){
			.id = t->id,
			.handle = t->handle,
			.sp = t->sp,
			.pc = t->pc,
			.wait_since_mono_ns = t->wait_since_mono_ns,
			.runs = t->runs,
			.state = t->state,
			.fd = t->fd,
			.torn = t->torn,
		};
	}
	return v;
}

const struct tcp_socket *correlate_socket(const struct task *task,
					  const struct process_fds *fds,
					  const struct tcp_snapshot *sockets)
{
	return waiting_of(task, fds, sockets).socket;
}

static const struct task_mark *next_mark(struct walk *w, uint64_t id)
{
	const struct task_set *set = w->set;

	while (w->mark < set->n_marks && set->marks[w->mark].id < id)
		w->mark++;
	if (w->mark < set->n_marks && set->marks[w->mark].id == id)
		return &set->marks[w->mark];
	return NULL;
}

/* Not there any more is the clearest way of not being stuck. */
static enum task_motion motion_of(struct walk *w, const struct task *task)
{
	if (!w->set->marks)
		return MOTION_UNKNOWN;
	const struct task_mark *mark = next_mark(w, task->id);
	return mark ? task_motion(task, mark) : MOTION_MOVED;
}

static struct blocked_for interval(const struct walk *w,
				   const struct task *task,
				   const struct waiting *wait,
				   enum task_motion motion)
{
	return blocked_interval(&(struct blocked_input){
		.task = task,
		.wait = wait->wait,
		.socket = wait->socket,
		.now_mono_ns = w->in->limits.now_mono_ns,
		.observed_ms = motion == MOTION_STILL ? w->set->observed_ms : 0,
		.process_age_ms = w->in->process_age_ms,
	});
}

static struct error *add(struct walk *w, const struct judgement *j,
			 const struct finding_member *member, const char *extra)
{
	switch (j->what) {
	case JUDGED_FINE:
		return NULL;
	case JUDGED_ENDS:
		w->findings->deadline_soon++;
		return NULL;
	case JUDGED_YOUNG:
		w->findings->too_young++;
		return NULL;
	case JUDGED_UNKNOWN:
		w->unseen.not_judged++;
		return NULL;
	case JUDGED_FINDING:
		return groups_add(w->groups, j, member, extra);
	}
	return NULL;
}

static const struct verdict *verdict_of(const struct walk *w,
					enum wait_kind wait,
					const struct tcp_socket *s)
{
	size_t i = (size_t)(s - w->in->sockets->v);

	if (wait == WAIT_WRITE && w->in->writer_verdicts &&
	    w->in->writer_verdicts[i])
		return w->in->writer_verdicts[i];
	return &w->in->verdicts[i];
}

/*
 * Did the connection end between the looks? That wakes whoever waits on it:
 * who is parked at the same place again waits on another one.
 */
static bool has_ended(const struct tcp_socket *s)
{
	return s->second_state == TCP_VANISHED ||
	       (s->second_state == TCP_SAMPLED &&
		(s->second.state == TCP_STATE_CLOSE ||
		 s->second.state == TCP_STATE_TIME_WAIT));
}

/*
 * The task as it is judged: a poll for one connection is a read of it, and the
 * time-out of a call a deadline, unless the program does not mind it.
 */
static struct task judged_as(const struct task *task,
			     const struct waiting *wait,
			     const struct deadline *deadline, bool repeats)
{
	struct task as = *task;

	as.wait = wait->wait;
	as.read_deadline = as.write_deadline = *deadline;
	if (repeats)
		as.read_deadline.state = as.write_deadline.state =
			DEADLINE_NONE;
	return as;
}

/* What is not quite certain about the wait itself is not proven. */
static void lower(struct judgement *j, const struct task *task,
		  const struct waiting *wait, bool repeats)
{
	if (j->what != JUDGED_FINDING)
		return;
	/* Something else may end the wait, or the program gives up. */
	if (j->grade == GRADE_POSSIBLE && (wait->others || repeats))
		j->what = JUDGED_FINE;
	if (j->grade == GRADE_PROVEN &&
	    (repeats || task->fd_proof == FD_LAST_IO))
		j->grade = GRADE_LIKELY;
}

static struct error *judge_on_socket(struct walk *w, const struct task *task,
				     const struct waiting *wait,
				     enum task_motion motion)
{
	const struct tcp_socket *s = wait->socket;
	int64_t now = w->in->limits.now_mono_ns;
	bool repeats = waiting_repeats(task, wait, motion == MOTION_AGAIN);
	struct finding_member m = {
		.task = task,
		.runtime = w->runtime,
		.socket = s,
		.verdict = verdict_of(w, wait->wait, s),
		.blocked = interval(w, task, wait, motion),
		.deadline = waiting_deadline(task, wait, now),
		.fd = wait->fd,
	};
	struct task as = judged_as(task, wait, &m.deadline, repeats);
	struct judgement j =
		judge_wait(&as, &m.blocked, s, m.verdict, &w->in->limits);

	lower(&j, task, wait, repeats);
	return add(w, &j, &m, "");
}

/*
 * A task that waits on an fd. Its fd was proven when the tasks were read, the
 * fd was looked up a little later. That is safe: closing an fd wakes whoever
 * waits on it, so a task that is still there still waits on the same one. (Not
 * so a thread in a system call, which goes on with the socket that it began
 * with; then the fd is another's, and the thread has not moved.)
 */
static struct error *judge_network(struct walk *w, const struct task *task,
				   const struct waiting *wait,
				   enum task_motion motion)
{
	const struct tcp_socket *s = wait->socket;

	if (task->fd_proof == FD_UNKNOWN && !s) {
		w->unseen.no_fd++;
		return NULL;
	}
	if (!s) {
		/* A pipe, a Unix socket: not ours. But listed it must be. */
		if (task->fd >= 0 && !process_fds_find(w->in->fds, task->fd))
			w->unseen.fd_missing++;
		return NULL;
	}
	uint8_t *waited = &w->waited[s - w->in->sockets->v];
	/* The thread polls for the coroutine that waits there. */
	if (*waited == 1 + TASK_COROUTINE && w->runtime == TASK_THREAD &&
	    task->wait == WAIT_POLL)
		return NULL;
	if (!*waited)
		*waited = (uint8_t)(1 + w->runtime);
	if (has_ended(s)) {
		w->findings->moved++;
		return NULL;
	}
	return judge_on_socket(w, task, wait, motion);
}

static struct error *judge_other(struct walk *w, const struct task *task,
				 enum task_motion motion)
{
	const struct waiting wait = { .wait = task->wait, .fd = -1 };
	struct finding_member m = {
		.task = task,
		.runtime = w->runtime,
		.blocked = interval(w, task, &wait, motion),
		.fd = -1,
	};
	struct judgement j =
		judge_group_member(task, &m.blocked, &w->in->limits);

	return add(w, &j, &m, "");
}

/* An event loop watches these; whether it moves or not. */
static void hold(struct walk *w, const struct task *task)
{
	for (uint32_t i = 0; w->held && i < task->n_fds; i++) {
		const struct tcp_socket *s = waiting_socket(
			task->fds[i].fd, w->in->fds, w->in->sockets);

		if (s && !w->held[s - w->in->sockets->v].task)
			w->held[s - w->in->sockets->v] = (struct holder){
				.task = task,
				.runtime = w->runtime,
			};
	}
}

static struct error *judge_task(struct walk *w, const struct task *task)
{
	enum task_motion motion = motion_of(w, task);

	if (task->system)
		return NULL;
	w->findings->tasks.of[w->runtime]++;
	if (task->torn) {
		/* Torn twice, or seen once: it may be anything. */
		w->unseen.torn += motion == MOTION_UNKNOWN ||
				  motion == MOTION_NEW;
		return NULL;
	}
	if (!task_is_blocked(task))
		return NULL;
	w->findings->blocked.of[w->runtime]++;
	struct waiting wait = waiting_of(task, w->in->fds, w->in->sockets);
	if (wait.loop) {
		hold(w, task);
		return NULL;
	}
	/* One whose calls return by their time-out runs, and is stuck. */
	if (motion == MOTION_MOVED ||
	    (motion == MOTION_AGAIN && !waiting_repeats(task, &wait, true))) {
		w->findings->moved++;
		return NULL;
	}
	if (task->leaked || (!task_waits_on_network(task) && !wait.socket))
		return judge_other(w, task, motion);
	return judge_network(w, task, &wait, motion);
}

/* Is there a listener on the same port? Then the peer called us. */
static bool accepted(const struct walk *w, const struct tcp_socket *s)
{
	return w->listens[s->local.port / 8] & (1 << s->local.port % 8);
}

/* What judge_socket() asks of all sockets, found once. */
static struct error *index_sockets(struct walk *w)
{
	const struct process_fds *fds = w->in->fds;
	const struct tcp_snapshot *sockets = w->in->sockets;

	if (!sockets)
		return NULL;
	w->fd_of = arena_array(w->findings->arena, sockets->n + 1,
			       sizeof(*w->fd_of));
	w->held = arena_array(w->findings->arena, sockets->n + 1,
			      sizeof(*w->held));
	if (!w->fd_of || !w->held)
		return &error_nomem;
	for (size_t i = 0; i < sockets->n; i++) {
		uint16_t port = sockets->v[i].local.port;

		w->fd_of[i] = -1;
		if (sockets->v[i].first.state == TCP_STATE_LISTEN)
			w->listens[port / 8] |= (uint8_t)(1 << port % 8);
	}
	for (size_t i = 0; fds && i < fds->n; i++) {
		const struct tcp_socket *s =
			fds->v[i].kind == PROCESS_FD_SOCKET && fds->v[i].inode
				? tcp_snapshot_find(sockets, fds->v[i].inode)
				: NULL;

		if (s)
			w->fd_of[s - sockets->v] = fds->v[i].fd;
	}
	return NULL;
}

static struct error *judge_socket(struct walk *w, size_t i)
{
	const struct tcp_socket *s = &w->in->sockets->v[i];
	const struct verdict *v = &w->in->verdicts[i];
	struct judgement j = judge_idle(s, v, &w->in->limits);

	if (w->waited[i] || j.what != JUDGED_FINDING)
		return NULL;
	struct finding_member m = {
		.socket = s,
		.verdict = v,
		.blocked = { .at_most_ms = -1 },
		.fd = w->fd_of[i],
		.holder = w->held[i].task,
		.runtime = w->held[i].task ? w->held[i].runtime
			   : w->in->n_sets ? w->in->sets[0].snapshot->kind
					   : TASK_GO,
	};
	return add(w, &j, &m, accepted(w, s) ? "accepted" : "dialed");
}

static void tell(const struct walk *w, enum gap_kind kind, uint64_t n,
		 const char *what)
{
	if (n)
		gaps_add(&w->findings->gaps, kind, n, "%ss %s",
			 task_word(w->runtime), what);
}

static void tell_gaps(const struct walk *w)
{
	const struct unseen *u = &w->unseen;

	tell(w, GAP_INCONSISTENT, u->torn, "changed whenever they were read");
	tell(w, GAP_UNSUPPORTED, u->no_fd,
	     "wait on a connection that could not be told");
	tell(w, GAP_INCONSISTENT, u->fd_missing,
	     "wait on a file descriptor that is not in the list of the "
	     "process");
	tell(w, GAP_INCONSISTENT, u->not_judged,
	     "wait on a connection of which too little could be seen to judge "
	     "it");
}

static struct error *walk_set(struct walk *w, const struct task_set *set)
{
	const struct task_snapshot *snap = set->snapshot;
	struct error *err = NULL;

	w->set = set;
	w->runtime = snap->kind;
	w->mark = 0;
	w->unseen = (struct unseen){ 0 };
	for (size_t i = 0; i < snap->n && !err; i++)
		err = judge_task(w, &snap->tasks[i]);
	tell_gaps(w);
	return err;
}

static struct error *walk_all(struct walk *w)
{
	const struct correlate_input *in = w->in;
	struct error *err = index_sockets(w);

	for (size_t i = 0; i < in->n_sets && !err; i++)
		err = walk_set(w, &in->sets[i]);
	for (size_t i = 0; in->sockets && i < in->sockets->n && !err; i++)
		err = judge_socket(w, i);
	if (err)
		return err;
	return groups_finish(w->groups, in->limits.min_group, w->findings);
}

struct error *correlate(const struct correlate_input *in, struct findings **ret)
{
	AUTO_FINDINGS struct findings *findings = calloc(1, sizeof(*findings));
	AUTO_GROUPS struct groups *groups = NULL;
	AUTO_FREE uint8_t *waited =
		calloc(in->sockets ? in->sockets->n + 1 : 1, sizeof(*waited));

	if (!findings || !waited || !(findings->arena = arena_create()))
		return &error_nomem;
	findings->gaps.arena = findings->arena;
	struct error *err = groups_create(in->rules, &groups);
	if (err)
		return err;
	struct walk w = {
		.in = in,
		.findings = findings,
		.groups = groups,
		.waited = waited,
	};
	err = walk_all(&w);
	if (err)
		return err;
	for (size_t i = 0; i < findings->n; i++)
		advise(&findings->v[i]);
	*ret = TAKE(findings);
	return NULL;
}
