/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_HOOKS_THREAD_STOP_H
#define RUNTIME_HOOKS_THREAD_STOP_H

/**
 * Stop one thread for as long as it takes to read its registers and its stack:
 * PTRACE_SEIZE, PTRACE_INTERRUPT, read, PTRACE_DETACH. When we die meanwhile
 * the kernel lets it go (exit_ptrace, kernel/ptrace.c). Only where the user
 * asked for it: system calls of some kinds end with EINTR (syscalls.h).
 */

#include "base/process.h"
#include "runtime-hooks/native/native.h"

/**
 * @param copy where the stack goes, @copy_len its size; *len_ret what was read
 *        from the stack pointer on.
 * @param stopped_ns_ret for how long it was stopped.
 * Returns: 0; -EBUSY (another tracer has it), -EPERM, -ESRCH, -EOPNOTSUPP (not
 * x86-64), -ETIMEDOUT (it does not stop: state D; it will not, later on).
 */
int thread_stop(const struct process *p, pid_t tid, struct native_regs *regs,
		void *copy, size_t copy_len, size_t *len_ret,
		int64_t *stopped_ns_ret) __attribute__((warn_unused_result));

#endif
