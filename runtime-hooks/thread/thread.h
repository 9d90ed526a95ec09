/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_HOOKS_THREAD_THREAD_H
#define RUNTIME_HOOKS_THREAD_THREAD_H

/**
 * The threads of any process: the task source "thread". What each blocks in
 * comes from /proc/PID/task/TID/syscall, its stack from one copy of its memory
 * and call frame information; nothing is stopped, unless runtime_options.stop
 * asks for it.
 *
 * A thread that ran while it was read (schedstat counts its time slices) is
 * read again, at most three times, and then marked torn.
 */

#include "runtime-hooks/runtime.h"

extern const struct runtime_source runtime_thread;

#endif
