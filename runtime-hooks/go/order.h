/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_HOOKS_GO_ORDER_H
#define RUNTIME_HOOKS_GO_ORDER_H

#include "runtime-hooks/task.h"

/**
 * Put the tasks of @snap in ascending order of their ids, each once: the list
 * of a hostile program may repeat itself. The list of goroutines is nearly in
 * that order, and tasks are big, so it is done by radix over the ids alone.
 *
 * Returns: false when out of memory; *duplicates_ret is how many were dropped.
 */
bool go_tasks_order(struct task_snapshot *snap, uint64_t *duplicates_ret);

#endif
