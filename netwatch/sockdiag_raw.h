/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NETWATCH_SOCKDIAG_RAW_H
#define NETWATCH_SOCKDIAG_RAW_H

/**
 * The raw messages of a dump until it is known to be whole. Only then they are
 * recorded, put in order and parsed, so an interrupted try leaves no trace, and
 * what is sorted is a key for each and not what it becomes. For sockdiag.c.
 */

#include <stddef.h>
#include <stdint.h>

/** A message, as it came, and when. */
struct raw_message {
	int64_t mono_ns, wall_ms;
	uint32_t len;
	unsigned char data[];
};

struct raw_key {
	uint32_t inode;
	size_t at; /* offset in data */
};

struct raw_store {
	unsigned char *data;
	size_t len, cap;
	struct raw_key *keys;
	size_t n, cap_keys;
};

/** Returns: 0 or -ENOMEM. */
int raw_store_add(struct raw_store *raw, uint32_t inode, int64_t mono_ns,
		  int64_t wall_ms, const void *data, uint32_t len)
	__attribute__((warn_unused_result));
/** Order by inode. Returns: 0 or -ENOMEM. */
int raw_store_sort(struct raw_store *raw) __attribute__((warn_unused_result));
/** The @i-th message; it moves when one is added. */
const struct raw_message *raw_store_get(const struct raw_store *raw, size_t i);
/** Forget all messages; a small buffer is kept for the next ones. */
void raw_store_clear(struct raw_store *raw);
void raw_store_deinit(struct raw_store *raw);

#endif
