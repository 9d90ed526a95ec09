/* SPDX-License-Identifier: Apache-2.0 */
#include "detector/correlate.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "detector/advice.h"
#include "detector/group.h"

struct walk {
	const struct correlate_input *in;
	struct findings *findings;
	struct groups *groups;
	bool *waited;	       /* for each socket: a task is parked on it */
	size_t mark;	       /* next candidate: tasks and marks both ascend */
	int *fd_of;	       /* for each socket: one of its fds, or -1 */
	uint8_t listens[8192]; /* a bit for each port that we listen on */
	/* Counted here, told as gaps at the end. */
	uint64_t torn, no_fd, fd_missing, not_judged;
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
	const struct process_fd *fd =
		task->fd >= 0 && fds ? process_fds_find(fds, task->fd) : NULL;

	if (!fd || fd->kind != PROCESS_FD_SOCKET || !fd->inode || !sockets)
		return NULL;
	return tcp_snapshot_find(sockets, fd->inode);
}

static const struct task_mark *next_mark(struct walk *w, uint64_t id)
{
	while (w->mark < w->in->n_marks && w->in->marks[w->mark].id < id)
		w->mark++;
	if (w->mark < w->in->n_marks && w->in->marks[w->mark].id == id)
		return &w->in->marks[w->mark];
	return NULL;
}

/* Not there any more is the clearest way of not being stuck. */
static enum task_motion motion_of(struct walk *w, const struct task *task)
{
	if (!w->in->marks)
		return MOTION_UNKNOWN;
	const struct task_mark *mark = next_mark(w, task->id);
	return mark ? task_motion(task, mark) : MOTION_MOVED;
}

static bool may_be_stuck(const struct task *task)
{
	switch (task->state) {
	case TASK_WAITING:
	case TASK_LEAKED:
		return true;
	case TASK_SYSCALL:
		return task->fd_proof == FD_SYSCALL;
	case TASK_RUNNABLE:
	case TASK_RUNNING:
	case TASK_PREEMPTED:
	case TASK_COPYSTACK:
	case TASK_IDLE:
	case TASK_UNKNOWN:
		return false;
	}
	return false;
}

static struct blocked_for interval(const struct walk *w,
				   const struct task *task,
				   const struct tcp_socket *s,
				   enum task_motion motion)
{
	return blocked_interval(&(struct blocked_input){
		.task = task,
		.socket = s,
		.now_mono_ns = w->in->limits.now_mono_ns,
		.observed_ms = motion == MOTION_STILL ? w->in->observed_ms : 0,
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
		w->not_judged++;
		return NULL;
	case JUDGED_FINDING:
		return groups_add(w->groups, j, member, extra);
	}
	return NULL;
}

static const struct verdict *verdict_of(const struct walk *w,
					const struct task *task,
					const struct tcp_socket *s)
{
	size_t i = (size_t)(s - w->in->sockets->v);

	if (task->wait == WAIT_WRITE && w->in->writer_verdicts &&
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
 * A task that waits on an fd. Its fd was proven when the tasks were read, the
 * fd was looked up a little later. That is safe: closing an fd wakes whoever
 * waits on it, so a task that is still there still waits on the same one.
 */
static struct error *judge_network(struct walk *w, const struct task *task,
				   enum task_motion motion)
{
	const struct tcp_socket *s =
		correlate_socket(task, w->in->fds, w->in->sockets);

	if (task->fd_proof == FD_UNKNOWN) {
		w->no_fd++;
		return NULL;
	}
	if (!s) {
		/* A pipe, a Unix socket: not ours. But listed it must be. */
		if (task->fd >= 0 && !process_fds_find(w->in->fds, task->fd))
			w->fd_missing++;
		return NULL;
	}
	w->waited[s - w->in->sockets->v] = true;
	if (has_ended(s)) {
		w->findings->moved++;
		return NULL;
	}
	struct finding_member m = {
		.task = task,
		.socket = s,
		.verdict = verdict_of(w, task, s),
		.blocked = interval(w, task, s, motion),
		.fd = task->fd,
	};
	struct judgement j =
		judge_wait(task, &m.blocked, s, m.verdict, &w->in->limits);
	return add(w, &j, &m, "");
}

static struct error *judge_other(struct walk *w, const struct task *task,
				 enum task_motion motion)
{
	struct finding_member m = {
		.task = task,
		.blocked = interval(w, task, NULL, motion),
		.fd = -1,
	};
	struct judgement j =
		judge_group_member(task, &m.blocked, &w->in->limits);

	return add(w, &j, &m, "");
}

static struct error *judge_task(struct walk *w, const struct task *task)
{
	enum task_motion motion = motion_of(w, task);

	if (task->system)
		return NULL;
	w->findings->tasks++;
	if (task->torn) {
		/* Torn twice, or seen once: it may be anything. */
		w->torn += motion == MOTION_UNKNOWN || motion == MOTION_NEW;
		return NULL;
	}
	if (!may_be_stuck(task))
		return NULL;
	w->findings->blocked++;
	if (motion == MOTION_MOVED) {
		w->findings->moved++;
		return NULL;
	}
	if (task->leaked || !task_waits_on_network(task))
		return judge_other(w, task, motion);
	return judge_network(w, task, motion);
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
	if (!w->fd_of)
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
	};
	return add(w, &j, &m, accepted(w, s) ? "accepted" : "dialed");
}

static void tell_gaps(struct walk *w)
{
	struct gaps *gaps = &w->findings->gaps;

	if (w->torn)
		gaps_add(gaps, GAP_INCONSISTENT, w->torn,
			 "goroutines changed whenever they were read");
	if (w->no_fd)
		gaps_add(gaps, GAP_UNSUPPORTED, w->no_fd,
			 "goroutines wait on a connection that could not be "
			 "told");
	if (w->fd_missing)
		gaps_add(gaps, GAP_INCONSISTENT, w->fd_missing,
			 "goroutines wait on a file descriptor that is not in "
			 "the list of the process");
	if (w->not_judged)
		gaps_add(gaps, GAP_INCONSISTENT, w->not_judged,
			 "goroutines wait on a connection of which too little "
			 "could be seen to judge it");
}

static struct error *walk_all(struct walk *w)
{
	const struct correlate_input *in = w->in;
	struct error *err = index_sockets(w);

	for (size_t i = 0; in->tasks && i < in->tasks->n && !err; i++)
		err = judge_task(w, &in->tasks->tasks[i]);
	for (size_t i = 0; in->sockets && i < in->sockets->n && !err; i++)
		err = judge_socket(w, i);
	if (err)
		return err;
	tell_gaps(w);
	return groups_finish(w->groups, in->limits.min_group, w->findings);
}

struct error *correlate(const struct correlate_input *in, struct findings **ret)
{
	AUTO_FINDINGS struct findings *findings = calloc(1, sizeof(*findings));
	AUTO_GROUPS struct groups *groups = NULL;
	AUTO_FREE bool *waited =
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
