/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DETECTOR_BLOCKED_H
#define DETECTOR_BLOCKED_H

/**
 * For how long has a task been blocked? Never a number, always an interval
 * [at least, at most] and how each end is known. Pure.
 */

#include "netwatch/socket.h"
#include "runtime-hooks/task.h"

/** Where a task was in the second look, kept when that snapshot is gone. */
struct task_mark {
	uint64_t id;
	raddr_t handle, sp, pc;
	int64_t wait_since_mono_ns;
	uint64_t runs;
	enum task_state state;
	int fd; /* -1: none, or not known */
	bool torn;
};

enum task_motion {
	MOTION_UNKNOWN, /* there was one look only */
	MOTION_STILL,	/* same place, same wait in both */
	MOTION_AGAIN,	/* ran in between, and waits in the same way, there */
	MOTION_MOVED,	/* ran in between: not stuck */
	MOTION_NEW,	/* could not be read whole in the second look */
};

/**
 * Compare @task, of the first look, with its @mark of the second.
 *
 * Still means: same record, stack pointer, pc, state and fd, and the runtime's
 * own mark of the wait's begin did not change, nor the count of its runs.
 */
enum task_motion task_motion(const struct task *task,
			     const struct task_mark *mark);

struct blocked_input {
	const struct task *task;
	/* What its wait amounts to: a poll for one connection is a read. */
	enum wait_kind wait;
	const struct tcp_socket *socket; /* it waits on; NULL none */
	int64_t now_mono_ns;
	int64_t observed_ms;	/* time between two looks, when still; else 0 */
	int64_t process_age_ms; /* -1 not known */
};

/**
 * at_least: the runtime's mark or what we observed, whichever is longer;
 * at_most: last data received on the socket (readers only) or the age of the
 * process, whichever is shorter. at_least never exceeds at_most.
 */
struct blocked_for blocked_interval(const struct blocked_input *in);

/** Could it have been blocked for @ms? True also when nothing is known. */
static inline bool blocked_maybe(const struct blocked_for *blocked, int64_t ms)
{
	return blocked->at_most_ms < 0 || blocked->at_most_ms >= ms;
}

#endif
