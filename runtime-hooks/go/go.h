/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_HOOKS_GO_GO_H
#define RUNTIME_HOOKS_GO_GO_H

/**
 * The goroutines of an unmodified, running Go program: the task source "go".
 *
 * Parts, each of which says in its header what it knows:
 *   image      what is static: version, module data, pc tables, frames
 *   layout     where the fields of g, sudog, hchan, pollDesc ... are, found
 *              by calibration on the live process and checked by invariants
 *   goroutine  one pass over all g's: read, unwind, recheck
 *   wait       what a parked one waits on: fd, deadline, channel, mutex
 *   testname   the name of the test that one of package testing runs
 */

#include "runtime-hooks/go/testname.h"
#include "runtime-hooks/runtime.h"

extern const struct runtime_source runtime_go;

/**
 * The name of the test that @task runs, now.
 *
 * @param ctx of runtime_go.attach(). @param task of its latest snapshot,
 * which needs no stacks.
 * @param parked_ret it was parked, so that nothing on its stack is left over;
 * else ask again.
 * Returns: false when @task runs no test, has ended, or the name cannot be
 * told (yet: it begins with the first instructions of the test).
 */
bool go_test_name(void *ctx, const struct task *task, bool *parked_ret,
		  char buf[GO_TEST_NAME_MAX]);

#endif
