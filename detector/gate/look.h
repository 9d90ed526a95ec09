/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DETECTOR_GATE_LOOK_H
#define DETECTOR_GATE_LOOK_H

/**
 * The look at one process that is about to exit: time of grace for goroutines
 * that are only slow to end, a snapshot, its connections, and what of it all
 * counts.
 */

#include "base/error.h"
#include "detector/gate/catch.h"
#include "detector/gate/leak.h"
#include "detector/policy.h"

struct look_options {
	int64_t grace_ms;
	bool quick;		     /* connections: one sample */
	const struct policy *policy; /* that connections must meet; NULL none */
};

/**
 * Look at the process of @thread, whose exit @e waits. It is not let go here.
 *
 * @param listener of the notification; -1: caught by ptrace, without grace.
 *
 * Returns: what was found, also when that is nothing; NULL when out of memory.
 * Safe to be called from several threads, for different processes.
 */
struct gate_process *look_at_exit(const struct look_options *opt, int listener,
				  const struct catch_thread *thread,
				  const struct catch_exit *e);

/**
 * Look at a process that goes on: every goroutine counts, also those that run
 * the tests and the main one. For what hangs.
 */
struct gate_process *look_at_hang(const struct look_options *opt, pid_t pid);

#endif
