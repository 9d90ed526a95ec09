/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_HOOKS_COROUTINE_LIVE_H
#define RUNTIME_HOOKS_COROUTINE_LIVE_H

/**
 * The memory of the target that changes while it is read: the table of
 * coroutines, their stacks. Nothing is kept. A function and its argument, so
 * that tests and fuzzers can put bytes of their own there.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/process.h"

/* Pieces per call: 1 us each with 32, 4 us with 1024 (process_vm_readv(2) of
 * Linux 6.18, stacks that are far apart). */
#define LIVE_PIECES 32

struct live {
	/* as process_read_batch() */
	int (*read)(void *arg, struct process_read_req *reqs, size_t n);
	void *arg;
	int error; /* -errno once nothing more can be read at all, else 0 */
};

/** Could @addr be that of something with @align bytes alignment? */
static inline bool live_plausible(raddr_t addr, uint32_t align)
{
	return addr >= 4096 && addr < (raddr_t)1 << 47 && addr % align == 0;
}

/** Read @len bytes at @addr, all or nothing. */
static inline bool live_read(struct live *mem, raddr_t addr, void *buf,
			     size_t len)
{
	struct process_read_req req = { .addr = addr,
					.buf = buf,
					.len = (uint32_t)len };

	if (mem->error || len > UINT32_MAX || addr + len < addr)
		return false;
	mem->error = mem->read(mem->arg, &req, 1);
	return !mem->error && req.ok;
}

/** Read @n pieces; each says whether it is there. */
static inline void live_pieces(struct live *mem, struct process_read_req *reqs,
			       size_t n)
{
	for (size_t i = 0; i < n; i += LIVE_PIECES) {
		size_t some = n - i < LIVE_PIECES ? n - i : LIVE_PIECES;

		for (size_t k = i; k < i + some; k++)
			reqs[k].ok = false;
		if (!mem->error)
			mem->error = mem->read(mem->arg, reqs + i, some);
	}
}

#endif
