/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_HOOKS_COROUTINE_COROUTINE_H
#define RUNTIME_HOOKS_COROUTINE_COROUTINE_H

/**
 * Coroutines of C and C++ programs: the task source "coroutine". It reads the
 * table that the hook keeps inside of the program (libstranded-hook), and the
 * queues of the State Threads library, which needs no hook. Nothing is
 * stopped, nothing is written.
 *
 * Parts, each of which says in its header what it knows:
 *   root    where the tables are, and whether they hold together
 *   lines   one pass over a table: read, unwind, recheck
 *   ctask   a line as a task
 *   tsc     when it parked, by the time stamp counter
 *   st      State Threads
 *
 * Tables are looked for when it is attached: a copy of the hook that comes by
 * dlopen(3) later is found at the next attach.
 */

#include "runtime-hooks/runtime.h"

extern const struct runtime_source runtime_coroutine;

#endif
