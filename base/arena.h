/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

/**
 * An arena: memory that is given out piece by piece and freed at once.
 *
 * Each snapshot owns one; all strings and arrays inside it come from there, so
 * that one arena_destroy() frees a whole snapshot. Grows by chunks (64 KiB, or
 * the size asked for when larger); never moves what it gave out. Not
 * thread-safe. Memory is zeroed, aligned to 16 bytes.
 */

#include <stddef.h>
#include <stdint.h>

struct arena;

/** Returns NULL when out of memory. */
struct arena *arena_create(void);
void arena_destroy(struct arena *arena);

/** @size zeroed bytes, or NULL when out of memory or @size is absurd. */
void *arena_alloc(struct arena *arena, size_t size);
/** @n elements of @size bytes; NULL too when the product overflows. */
void *arena_array(struct arena *arena, size_t n, size_t size);
void *arena_memdup(struct arena *arena, const void *data, size_t size);
char *arena_strdup(struct arena *arena, const char *s);
/** At most @max bytes of @s, which need not end in a NUL. */
char *arena_strndup(struct arena *arena, const char *s, size_t max);
char *arena_printf(struct arena *arena, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/** Bytes given out so far, including what chunks waste. */
size_t arena_bytes(const struct arena *arena);

static inline void arena_destroyp(struct arena **arena)
{
	arena_destroy(*arena);
}
#define AUTO_ARENA __attribute__((cleanup(arena_destroyp)))

#endif
