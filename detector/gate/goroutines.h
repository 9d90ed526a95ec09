/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DETECTOR_GATE_GOROUTINES_H
#define DETECTOR_GATE_GOROUTINES_H

/**
 * Which goroutines count as left behind, by the rule that users of goleak know
 * (go.uber.org/goleak v1.3, options.go: every one but the runtime's own, the
 * main one, who runs the tests, the signal loop, the tracer), and the leaks
 * that these make. Pure.
 */

#include "base/error.h"
#include "detector/gate/leak.h"
#include "runtime-hooks/go/testname.h"
#include "runtime-hooks/task.h"

/** @exiting: the thread that calls exit_group; whose goroutine runs there. */
bool goroutine_counts(const struct task *task, pid_t exiting);

/** How many of @snap count. */
size_t goroutines_left(const struct task_snapshot *snap, pid_t exiting);

/**
 * Could run, and nobody lets them: the thread that exits keeps its P, and that
 * is the only one, or a garbage collection waits for it, and all for that.
 */
bool goroutines_starved(const struct task_snapshot *snap, pid_t exiting);

/**
 * Which test a goroutine runs, or the nearest of its ancestors that is known
 * to, from before (sampler.h). @buf holds GO_TEST_NAME_MAX bytes.
 */
struct goroutine_tests {
	bool (*name)(void *arg, uint64_t goid, char *buf, size_t size);
	void *arg;
};

/** What others say of tasks; each may be NULL. */
struct goroutines_hooks {
	/** NULL: the functions on stacks alone tell the test. */
	const struct goroutine_tests *tests;
	/** Does @task not count, whatever it does? */
	bool (*skips)(void *arg, const struct task *task);
	/** Fill in connection and verdict of a new leak from its first task. */
	void (*decorate)(void *arg, const struct task *task, struct leak *leak);
	void *arg;
};

/**
 * Add the leaks among @snap to @p: those that are alike become one. Fails:
 * ERROR_NOMEM.
 *
 * @param exiting 0: the process goes on.
 */
struct error *goroutines_collect(const struct task_snapshot *snap,
				 pid_t exiting,
				 const struct goroutines_hooks *hooks,
				 struct gate_process *p);

/** All of @snap but the runtime's own, for what hangs. Fails: ERROR_NOMEM. */
struct error *goroutines_collect_all(const struct task_snapshot *snap,
				     const struct goroutine_tests *tests,
				     struct gate_process *p);

#endif
