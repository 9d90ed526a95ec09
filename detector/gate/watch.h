/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DETECTOR_GATE_WATCH_H
#define DETECTOR_GATE_WATCH_H

/**
 * Runs a command with everything below it under the gate, from its start to its
 * end. One thread answers; each process that costs a look is looked at by a
 * thread of its own, so that no compiler waits for it.
 *
 * The terminal, the process group, standard input and output, the environment
 * and the working directory are the command's own, as without the gate. Signals
 * sent to the gate alone are passed on; those of the terminal reach the whole
 * process group anyway.
 */

#include "base/error.h"
#include "detector/gate/gotest.h"
#include "detector/gate/leak.h"
#include "detector/gate/look.h"
#include "detector/gate/options.h"
#include "detector/gate/tree.h"

/** Looks at what goes on; see live.h. */
struct live_options {
	int64_t every_ms; /* -1: none */
	int64_t quiet_ms; /* when it has been quiet for so long; -1: none */
	int signal;	  /* when we are sent it, which is not passed on; 0 */
};

struct watch_options {
	struct look_options look;
	int64_t timeout_ms; /* of the command; -1: none */
	enum gate_orphans orphans;
	enum gate_how how;
	struct live_options live;
};

struct watch_result {
	struct arena *arena;
	int exec_errno;	 /* the command could not be run */
	int wait_status; /* of the command, as waitpid(2) gives it */
	bool timed_out;
	bool no_new_privs;
	/* Those with a runtime that we read, in the order in which they ended,
	 * and what hung when the time was over. */
	struct gate_process *processes, *hung;
	struct tree_member *orphans;
	size_t n_orphans;
	bool orphans_killed;
	uint64_t exits;	    /* all that were caught */
	uint64_t foreign;   /* of these: of no runtime that we read */
	uint64_t toolchain; /* Go's own commands */
	uint64_t failed;    /* exited with a failure: not judged */
	struct gotest *gotests;
	size_t cached; /* of these: may have left out a part of their tests */
	struct gaps gaps; /* what was not seen of the whole */
};

/**
 * Fails when the command could not be put under the gate, and then it was not
 * run: see catch_start().
 */
struct error *watch_run(const char *const *argv,
			const struct watch_options *opt,
			struct watch_result **ret);
/** An empty one; NULL when out of memory. */
struct watch_result *watch_result_create(void);
void watch_result_destroy(struct watch_result *r);

static inline void watch_result_destroyp(struct watch_result **r)
{
	watch_result_destroy(*r);
}
#define AUTO_WATCH __attribute__((cleanup(watch_result_destroyp)))

#endif
