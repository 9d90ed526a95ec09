/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_HOOKS_GO_LIVE_H
#define RUNTIME_HOOKS_GO_LIVE_H

/**
 * The target's memory as the live half of the Go reader sees it: direct reads,
 * many records at once, and a cache of pages for the small objects that lie
 * side by side (sudogs, channels, poll descriptors).
 *
 * The bytes come through one function, so that tests and fuzzers can serve
 * their own. A cached page is as old as the last go_live_forget(): whoever
 * looks at live objects calls that first, and proves what it found by a
 * pointer back (pollDesc.rg == g), never by the address alone.
 */

#include "base/process.h"

/** As process_read_batch(); @arg is what go_live_init() was given. */
typedef int go_read_fn(void *arg, struct process_read_req *reqs, size_t n);

struct go_page;

struct go_live {
	go_read_fn *read;
	void *arg;
	struct go_page *pages;
	uint32_t now; /* pages of another generation are stale */
	int error;    /* -ESRCH, -EPERM: nothing more can be read at all */
};

/** Returns 0 or -ENOMEM. */
int go_live_init(struct go_live *mem, go_read_fn *read, void *arg);
void go_live_deinit(struct go_live *mem);

/** Could this be the address of an object: aligned, user half, not small? */
static inline bool go_live_plausible(raddr_t addr)
{
	return addr >= 0x1000 && addr < 1ULL << 47 && !(addr & 7);
}

/** Read exactly @len bytes, now. */
bool go_live_read(struct go_live *mem, raddr_t addr, void *buf, size_t len);
/** Read exactly @len bytes through the page cache. */
bool go_live_peek(struct go_live *mem, raddr_t addr, void *buf, size_t len);
/** A word through the page cache; false and 0 when it cannot be read. */
bool go_live_word(struct go_live *mem, raddr_t addr, uint64_t *ret);
/** Everything cached is stale from now on. */
void go_live_forget(struct go_live *mem);

/**
 * Read @len bytes at each of @n addresses into @buf. Neighbours (the
 * allocator puts records of one kind side by side) are read in one piece,
 * which costs a fifth.
 *
 * @param buf at least go_live_gather_size(n, len) bytes.
 * @param at out: where each record is in @buf; NULL when not readable.
 */
void go_live_gather(struct go_live *mem, const raddr_t *addrs, size_t n,
		    size_t len, uint8_t *buf, const uint8_t **at);
size_t go_live_gather_size(size_t n, size_t len);

/** The most that one go_live_gather() takes. */
#define GO_GATHER_MAX 1024

/** A 64-bit word of foreign bytes at any alignment. */
static inline uint64_t go_word(const void *bytes)
{
	uint64_t v;

	__builtin_memcpy(&v, bytes, sizeof(v));
	return v;
}

static inline uint32_t go_half(const void *bytes)
{
	uint32_t v;

	__builtin_memcpy(&v, bytes, sizeof(v));
	return v;
}

#endif
