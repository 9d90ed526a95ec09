/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_PAGECACHE_H
#define BASE_PAGECACHE_H

/**
 * The target's read-only tables through a small page cache.
 *
 * The pc tables of a Go program are tens of megabytes, and a snapshot needs a
 * few hundred of their pages. They are read from the target's memory, page by
 * page: what is there is what runs, relocated and unpacked, whether or not the
 * file was replaced, unlinked or cut short; a mapped file would raise SIGBUS
 * then. Nothing here is for memory that changes: pages are kept.
 *
 * A pagecache may also stand on plain bytes (tests, fuzzers). Not thread-safe.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/process.h"

#define PAGECACHE_PAGE 4096
#define PAGECACHE_PAGES 1024 /* 4 MiB; direct-mapped */

struct pagecache;

/** Reads @p, which must outlive it. NULL: out of memory. */
struct pagecache *pagecache_create(const struct process *p);
/** @bytes, which must outlive it, appear at @base. NULL: out of memory. */
struct pagecache *pagecache_create_bytes(const void *bytes, size_t len,
					 raddr_t base);
void pagecache_destroy(struct pagecache *mem);
/** The errno of the last read that failed, 0 when none did. */
int pagecache_errno(const struct pagecache *mem);

/** Read @len bytes at @addr. Returns: false when not all of it is there. */
bool pagecache_read(struct pagecache *mem, raddr_t addr, void *buf, size_t len)
	__attribute__((warn_unused_result));
/** As much of @len as there is up to the first hole. Returns: its length. */
size_t pagecache_read_some(struct pagecache *mem, raddr_t addr, void *buf,
			   size_t len) __attribute__((warn_unused_result));
/**
 * The same past the cache: for scans, which would only wipe it, and for what
 * may have changed.
 */
size_t pagecache_scan(struct pagecache *mem, raddr_t addr, void *buf,
		      size_t len) __attribute__((warn_unused_result));

/**
 * Call @seen for what is read from now on, also by scans: to record what a
 * program's tables must hold for a question to be answered. NULL: no more.
 */
void pagecache_trace(struct pagecache *mem,
		     void (*seen)(void *arg, raddr_t addr, const void *bytes,
				  size_t len),
		     void *arg);

static inline bool pagecache_u32(struct pagecache *mem, raddr_t addr,
				 uint32_t *ret)
{
	return pagecache_read(mem, addr, ret, sizeof(*ret));
}

static inline bool pagecache_u64(struct pagecache *mem, raddr_t addr,
				 uint64_t *ret)
{
	return pagecache_read(mem, addr, ret, sizeof(*ret));
}

static inline void pagecache_destroyp(struct pagecache **mem)
{
	pagecache_destroy(*mem);
}
#define AUTO_PAGECACHE __attribute__((cleanup(pagecache_destroyp)))

#endif
