/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_HOOKS_COROUTINE_HOOK_IO_H
#define RUNTIME_HOOKS_COROUTINE_HOOK_IO_H
#include <stdbool.h>
#include <stdint.h>
enum hook_op {
	HOOK_OP_NONE,
	HOOK_OP_READ,
	HOOK_OP_WRITE,
	HOOK_OP_ACCEPT,
	HOOK_OP_CONNECT,
	HOOK_OP_POLL
};
static inline void io_would_block(enum hook_op op, int fd)
{
	(void)op;
	(void)fd;
}
static inline void io_took(int fd)
{
	(void)fd;
}
static inline void io_scanned(enum hook_op op, int fd)
{
	(void)op;
	(void)fd;
}
#endif
