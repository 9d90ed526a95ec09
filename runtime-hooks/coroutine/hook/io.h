/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_HOOKS_COROUTINE_HOOK_IO_H
#define RUNTIME_HOOKS_COROUTINE_HOOK_IO_H

/**
 * Where the answer of a file is noted: in the line of the coroutine that runs,
 * or, when none is known to run here, in that of the stack (hooks/stacks.h).
 * Nothing here changes errno.
 */

#include <stdbool.h>

#include "runtime-hooks/coroutine/hook/hook_priv.h"
#include "runtime-hooks/coroutine/hook/stacks.h"

/** The frame of the call that the program made: its rbp, pc and so its sp. */
struct io_frame {
	uint64_t bp, pc;
	uint64_t stack[]; /* of the caller, from its stack pointer on */
};

/* The frame of the function that this is written in, which keeps rbp. */
#define IO_FRAME() ((const struct io_frame *)__builtin_frame_address(0))

/** The same for who is no known coroutine. */
void seen_would_block(enum stranded_op op, int fd, const struct io_frame *from)
	__attribute__((visibility("hidden")));
void seen_took(const struct io_frame *from)
	__attribute__((visibility("hidden")));
void seen_closes(int fd, const struct io_frame *from)
	__attribute__((visibility("hidden")));

/** @fd has answered @op that it would block. */
static inline void io_would_block(enum stranded_op op, int fd,
				  const struct io_frame *from)
{
	if (hook_self.task)
		hook_last_io(op, fd);
	else if (stacks_any())
		seen_would_block(op, fd, from);
}

/** A file has answered something else: what stood there is no more. */
static inline void io_took(const struct io_frame *from)
{
	if (hook_self.task)
		hook_last_io(STRANDED_OTHER, -1);
	else if (stacks_any())
		seen_took(from);
}

/** Who closes a file does not wait for it, and its number becomes another's. */
static inline void io_closes(int fd, const struct io_frame *from)
{
	if (hook_self.task) {
		if (hook_self.task->fd == fd)
			hook_last_io(STRANDED_OTHER, -1);
	} else if (stacks_any()) {
		seen_closes(fd, from);
	}
}

#endif
