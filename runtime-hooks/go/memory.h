/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_HOOKS_GO_MEMORY_H
#define RUNTIME_HOOKS_GO_MEMORY_H

/**
 * The target's read-only tables through a small page cache.
 *
 * The pc tables of a Go program are tens of megabytes, and a snapshot needs a
 * few hundred of their pages. They are read from the target's memory, page by
 * page: what is there is what runs, relocated and unpacked, whether or not the
 * file was replaced, unlinked or cut short; a mapped file would raise SIGBUS
 * then. Nothing here is for memory that changes: pages are kept.
 *
 * A go_memory may also stand on plain bytes (tests, fuzzers). Not thread-safe.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/process.h"

#define GO_MEMORY_PAGE 4096
#define GO_MEMORY_PAGES 1024 /* 4 MiB; direct-mapped */

struct go_memory;

/** Reads @p, which must outlive it. NULL: out of memory. */
struct go_memory *go_memory_create(const struct process *p);
/** @bytes, which must outlive it, appear at @base. NULL: out of memory. */
struct go_memory *go_memory_create_bytes(const void *bytes, size_t len,
					 raddr_t base);
void go_memory_destroy(struct go_memory *mem);
/** The errno of the last read that failed, 0 when none did. */
int go_memory_errno(const struct go_memory *mem);

/** Read @len bytes at @addr. Returns: false when not all of it is there. */
bool go_memory_read(struct go_memory *mem, raddr_t addr, void *buf, size_t len)
	__attribute__((warn_unused_result));
/** As much of @len as there is up to the first hole. Returns: its length. */
size_t go_memory_read_some(struct go_memory *mem, raddr_t addr, void *buf,
			   size_t len) __attribute__((warn_unused_result));
/**
 * The same past the cache: for scans, which would only wipe it, and for what
 * may have changed.
 */
size_t go_memory_scan(struct go_memory *mem, raddr_t addr, void *buf,
		      size_t len) __attribute__((warn_unused_result));

/**
 * Call @seen for what is read from now on, also by scans: to record what a
 * program's tables must hold for a question to be answered. NULL: no more.
 */
void go_memory_trace(struct go_memory *mem,
		     void (*seen)(void *arg, raddr_t addr, const void *bytes,
				  size_t len),
		     void *arg);

static inline bool go_memory_u32(struct go_memory *mem, raddr_t addr,
				 uint32_t *ret)
{
	return go_memory_read(mem, addr, ret, sizeof(*ret));
}

static inline bool go_memory_u64(struct go_memory *mem, raddr_t addr,
				 uint64_t *ret)
{
	return go_memory_read(mem, addr, ret, sizeof(*ret));
}

static inline void go_memory_destroyp(struct go_memory **mem)
{
	go_memory_destroy(*mem);
}
#define AUTO_GO_MEMORY __attribute__((cleanup(go_memory_destroyp)))

#endif
