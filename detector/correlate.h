/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DETECTOR_CORRELATE_H
#define DETECTOR_CORRELATE_H

/**
 * Tasks x connections x verdicts -> findings. The one place that knows both
 * runtime-hooks and netwatch. Pure: no system call, no clock; the same input
 * gives the same findings.
 */

#include "base/error.h"
#include "base/process.h"
#include "detector/blocked.h"
#include "detector/finding.h"
#include "detector/judge.h"
#include "detector/rules.h"
#include "detector/taskset.h"

struct correlate_input {
	/** The tasks of each source; n_sets 0: none that we read. */
	const struct task_set *sets;
	size_t n_sets;
	const struct process_fds *fds;
	const struct tcp_snapshot *sockets;
	const struct verdict *verdicts; /* one for each of sockets->v */
	/**
	 * NULL, or one for each of sockets->v: the verdict for who waits to
	 * write there, or NULL where nobody does.
	 */
	const struct verdict *const *writer_verdicts;
	const struct rules *rules;
	struct judge_limits limits;
	int64_t process_age_ms; /* -1 not known */
};

/**
 * Fails: ERROR_NOMEM only. The findings point into @in's snapshots, rules and
 * verdicts.
 */
struct error *correlate(const struct correlate_input *in,
			struct findings **ret);

/** The marks of a snapshot, in @arena. Returns NULL when out of memory. */
struct task_mark *correlate_marks(const struct task_snapshot *snap,
				  struct arena *arena);

/**
 * The socket that @task waits on; NULL: none, or not TCP, or not seen; or
 * several, in an event loop. See waiting.h.
 */
const struct tcp_socket *correlate_socket(const struct task *task,
					  const struct process_fds *fds,
					  const struct tcp_snapshot *sockets);

#endif
