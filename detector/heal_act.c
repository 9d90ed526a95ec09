/* SPDX-License-Identifier: Apache-2.0 */
#include "detector/heal.h"

#include "base/clock.h"
#include "base/log.h"
#include "detector/frames.h"
#include "detector/correlate.h"
#include "netwatch/heal.h"
#include "netwatch/sockdiag.h"

/* Between two looks at those that were let go: short first, then longer. */
#define PAUSE_MIN_NS INT64_C(10000000)
#define PAUSE_MAX_NS INT64_C(200000000)

/* Looks once more before it acts; one namespace after the other. */
struct acting {
	struct heal *heal;
	struct sockdiag *diag; /* of the namespace below, or NULL */
	uint64_t netns;
	int netns_fd;
};

static struct error *enter(struct acting *a, uint64_t netns)
{
	if (a->diag && a->netns == netns)
		return NULL;
	sockdiag_close(a->diag);
	a->diag = NULL;
	a->netns = netns;
	a->netns_fd = netwatch_netns_fd(a->heal->survey->netwatch, netns);
	if (a->netns_fd < 0)
		return error_new(
			ERROR_UNSUPPORTED,
			"the network namespace that it lives in is not "
			"known");
	return sockdiag_open(a->netns_fd, NULL, &a->diag);
}

/*
 * The verdict is of a moment ago, and of many connections: has this one
 * received something since?
 */
static struct error *check_quiet(struct acting *a, const struct tcp_socket *s)
{
	const struct tcp_sample *last = tcp_socket_latest(s);
	struct tcp_socket now;
	struct error *err = sockdiag_lookup(a->diag, &s->local, &s->remote,
					    s->ifindex, s->cookie, &now);

	if (err && error_code(err) == ERROR_GONE) {
		error_free(err);
		return error_new(ERROR_GONE, "the connection has ended by "
					     "itself; nothing was done");
	}
	if (err)
		return err;
	if ((last->info.known & now.first.info.known & TCP_INFO_SEGS) &&
	    now.first.info.segs_in != last->info.segs_in)
		return error_new(ERROR_INCONSISTENT,
				 "a segment has arrived meanwhile: its peer is "
				 "alive; nothing was done");
	return NULL;
}

static struct error *act_on(struct acting *a, struct heal_item *item)
{
	const struct process *p = a->heal->survey->process;
	struct error *err = NULL;

	if (a->heal->how == HEAL_ARM)
		return tcp_arm_keepalive(p, item->fd, item->socket,
					 &a->heal->keepalive, &item->armed);
	err = enter(a, item->socket->netns);
	if (!err && !a->heal->force)
		err = check_quiet(a, item->socket);
	if (err)
		return err;
	if (a->heal->how == HEAL_EOF)
		return tcp_eof(p, item->fd, item->socket);
	return tcp_destroy(p, item->fd, a->netns_fd, item->socket);
}

/* What the kernel's answer makes of the item. */
static struct error *take_result(struct heal *h, struct heal_item *item,
				 struct error *err)
{
	if (!err) {
		item->result = HEAL_DONE;
		return NULL;
	}
	if (error_code(err) == ERROR_NOMEM)
		return err;
	item->result = error_code(err) == ERROR_GONE ? HEAL_ENDED : HEAL_FAILED;
	item->why = arena_strdup(h->arena, error_text(err));
	error_free(err);
	return item->why ? NULL : &error_nomem;
}

struct error *heal_act(struct heal *heal)
{
	struct acting a = { .heal = heal, .netns_fd = -1 };
	struct error *err = NULL;

	heal->acted_mono_ns = clock_mono_ns();
	for (size_t i = 0; i < heal->n && !err; i++) {
		struct heal_item *item = &heal->v[i];

		if (item->result == HEAL_PLANNED)
			err = take_result(heal, item, act_on(&a, item));
	}
	sockdiag_close(a.diag);
	return err;
}

/* Is the fd that it waited on another socket's by now, or closed? */
static bool fd_changed(const struct heal *h, const struct heal_item *item,
		       const struct task *task)
{
	struct process_fd now;
	char text[64];
	struct error *err = process_fd_link(h->survey->process, task->fd, &now,
					    text, sizeof(text));

	if (err) {
		bool gone = error_code(err) == ERROR_GONE;

		error_free(err);
		return gone;
	}
	return now.kind != PROCESS_FD_SOCKET ||
	       now.inode != item->socket->inode;
}

static const struct frame *place(const struct task *task)
{
	const struct frame *own = stack_own_frame(task->stack);

	if (own || !task->stack || !task->stack->n)
		return own;
	return task->stack->frames[0];
}

static void look_at(const struct heal *h, const struct heal_item *item,
		    struct heal_task *t, const struct task_snapshot *now,
		    const struct task_mark *marks)
{
	const struct task *task = task_snapshot_find(now, t->task->id);

	t->at = NULL;
	if (!task) {
		t->fate = FATE_GONE;
		return;
	}
	switch (task_motion(t->task, &marks[task - now->tasks])) {
	case MOTION_STILL:
	case MOTION_AGAIN:
		/* It may read at the same place, from the next connection. */
		t->fate = t->task->fd >= 0 && fd_changed(h, item, t->task)
				  ? FATE_MOVED
				  : FATE_STILL;
		break;
	case MOTION_MOVED:
		t->fate = FATE_MOVED;
		break;
	case MOTION_NEW:
	case MOTION_UNKNOWN:
		t->fate = FATE_UNKNOWN;
		return;
	}
	if (t->fate == FATE_MOVED)
		t->at = place(task);
}

static struct error *look_at_all(struct heal *h, enum task_runtime runtime,
				 const struct task_snapshot *now)
{
	AUTO_ARENA struct arena *arena = arena_create();
	const struct task_mark *marks = arena ? correlate_marks(now, arena)
					      : NULL;

	if (!marks)
		return &error_nomem;
	for (size_t i = 0; i < h->n; i++) {
		struct heal_item *item = &h->v[i];

		if (!heal_watches(h, item))
			continue;
		for (size_t t = 0; t < item->n_tasks; t++)
			if (item->tasks[t].runtime == runtime &&
			    item->tasks[t].fate != FATE_GONE)
				look_at(h, item, &item->tasks[t], now, marks);
	}
	return NULL;
}

/* Does anyone of that kind wait on what was healed? */
static bool concerns(const struct heal *h, enum task_runtime runtime)
{
	for (size_t i = 0; i < h->n; i++)
		for (size_t t = 0; t < h->v[i].n_tasks; t++)
			if (h->v[i].tasks[t].runtime == runtime)
				return true;
	return false;
}

/* One look at the tasks of one source. Returns its error, as it came. */
static struct error *look(struct heal *h, const struct task_set *set)
{
	static const struct runtime_options light = { .stacks = true,
						      .fds = true };
	struct task_snapshot *now = NULL;
	struct error *err = set->source->snapshot(set->context, &light, &now);

	if (!err)
		err = look_at_all(h, now->kind, now);
	task_snapshot_destroy(now);
	return err;
}

static struct error *look_all(struct heal *h)
{
	const struct survey *s = h->survey;
	struct error *err = NULL;

	for (size_t i = 0; i < s->n_sets && !err; i++)
		if (concerns(h, s->sets[i].snapshot->kind))
			err = look(h, &s->sets[i]);
	return err;
}

static bool some_left(const struct heal *h)
{
	return heal_fates(h, FATE_STILL) || heal_fates(h, FATE_UNKNOWN);
}

struct error *heal_watch(struct heal *heal)
{
	int64_t pause = PAUSE_MIN_NS;
	int64_t end = clock_mono_ns() + HEAL_WATCH_MS * INT64_C(1000000);
	struct error *err = NULL;

	if (!heal->survey->n_sets)
		return NULL;
	while (some_left(heal) && clock_mono_ns() < end) {
		clock_sleep_until(clock_mono_ns() + pause);
		pause = pause * 2 < PAUSE_MAX_NS ? pause * 2 : PAUSE_MAX_NS;
		err = look_all(heal);
		if (err && error_code(err) == ERROR_NOMEM)
			return err;
		if (err)
			log_debug("ctl", "after healing: %s", error_text(err));
		error_free(err);
		if (!process_alive(heal->survey->process)) {
			heal->process_ended = true;
			break;
		}
	}
	if (heal->acted_mono_ns)
		heal->watched_ms =
			(clock_mono_ns() - heal->acted_mono_ns) / 1000000;
	return NULL;
}
