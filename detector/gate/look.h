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
#include "detector/gate/sampler.h"
#include "detector/policy.h"
#include "detector/survey.h"

struct look_options {
	int64_t grace_ms;
	bool quick;		     /* connections: one sample */
	const struct policy *policy; /* that connections must meet; NULL none */
	struct survey_probing probing; /* of who goes on; nobody at its exit */
	struct sampler *sampler;       /* of the names of tests; NULL none */
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

/**
 * Look at a process that goes on: what counts as at an exit, and was there in
 * two looks a second apart, but not what is there for a client that is still
 * connected (serving.h). Takes two seconds, with probes their time too.
 *
 * The leaks are all of them: what is new among them is for growth.h, or for a
 * baseline, to say.
 *
 * Returns: as look_at_exit(). GATE_FOREIGN and GATE_COPY: nothing to be read.
 */
struct gate_process *look_at_running(const struct look_options *opt, pid_t pid);

/** Fill in what /proc and its file say of @process, toolchain or not. */
void look_describe(const struct process *process, struct gate_process *p);
/** Of whom the sampler is asked, after look_describe(). */
struct sampled look_sampled(const struct look_options *opt,
			    const struct gate_process *p);
/** Turn @err (taken over, may be NULL) into an outcome, and fill up the rest. */
void look_end(struct gate_process *p, struct error *err);

#endif
