/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_FNV_H
#define BASE_FNV_H

/**
 * FNV-1a of Fowler, Noll and Vo, 64 bit: stable, so that it can stand in a
 * file, and tiny. Not for keys that somebody gains from making collide.
 */

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/** What a hash begins with. */
#define FNV_OFFSET UINT64_C(0xcbf29ce484222325)

static inline uint64_t fnv_bytes(uint64_t hash, const void *bytes, size_t len)
{
	const unsigned char *p = bytes;

	for (size_t i = 0; i < len; i++)
		hash = (hash ^ p[i]) * UINT64_C(0x100000001b3);
	return hash;
}

/** With its NUL: "ab","c" is not "a","bc". */
static inline uint64_t fnv_text(uint64_t hash, const char *s)
{
	return fnv_bytes(hash, s, strlen(s) + 1);
}

#endif
