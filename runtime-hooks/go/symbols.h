/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_HOOKS_GO_SYMBOLS_H
#define RUNTIME_HOOKS_GO_SYMBOLS_H

/**
 * What the live half needs of the static half (image.h), as a table of
 * functions, so that tests and fuzzers can run it over memory of their own.
 * Each does what its namesake in image.h says.
 */

#include "runtime-hooks/go/image.h"

struct go_symbols {
	void *arg;
	bool (*func)(void *arg, raddr_t pc, struct go_func *ret);
	bool (*is_entry)(void *arg, raddr_t pc);
	bool (*func_by_name)(void *arg, const char *name, struct go_func *ret);
	bool (*frame_size)(void *arg, raddr_t pc, bool is_return,
			   uint32_t *delta_ret);
	const struct stack *(*stack)(void *arg, const raddr_t *pcs, size_t n,
				     bool first_is_return, bool incomplete,
				     bool truncated);
	const struct frame *(*creator)(void *arg, raddr_t gopc);
	const struct frame *(*start)(void *arg, raddr_t startpc);
	const char *(*type_name)(void *arg, raddr_t type);
	/** What a thread of the target does: process_thread_syscall(). */
	int (*thread_syscall)(void *arg, pid_t tid,
			      struct process_syscall *ret);
};

#endif
