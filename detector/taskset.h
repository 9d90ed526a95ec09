/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DETECTOR_TASKSET_H
#define DETECTOR_TASKSET_H

/**
 * The tasks of one source in one process, looked at once or twice. A process
 * may have several sets: goroutines and the threads of a C library, coroutines
 * and the threads that carry them.
 */

#include "detector/blocked.h"
#include "runtime-hooks/runtime.h"

struct task_set {
	const struct runtime_source *source; /* NULL: made by a test */
	void *context;
	struct task_snapshot *snapshot; /* the first look, with stacks */
	/** The second look, ascending by id. NULL: there was none. */
	struct task_mark *marks;
	size_t n_marks;
	/** Time between the two looks; 0 without a second one. */
	int64_t observed_ms;
};

/** Where @task was in the second look; NULL: not there, or no second look. */
const struct task_mark *task_set_mark(const struct task_set *set, uint64_t id);

/** "goroutine", "coroutine", "thread". */
const char *task_word(enum task_runtime runtime);

/** Which kinds of tasks a number counts. */
struct task_counts {
	uint64_t of[TASK_THREAD + 1]; /* enum task_runtime */
};

uint64_t task_counts_sum(const struct task_counts *counts);

/**
 * Does @task wait, in a way that may be for ever? Parked, or in a blocking
 * system call of which it is known what it waits for.
 */
bool task_is_blocked(const struct task *task);

/** Release snapshot and source. */
void task_set_deinit(struct task_set *set);

#endif
