/* SPDX-License-Identifier: Apache-2.0 */
#include "base/arena.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef __has_feature
#if __has_feature(address_sanitizer)
#define ARENA_EACH_ALONE 1
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#define ARENA_EACH_ALONE 1
#endif

#define ARENA_ALIGN 16
#define ARENA_CHUNK ((size_t)64 << 10)
/* A piece above this gets a chunk of its own, so that little is wasted. */
#define ARENA_LARGE (ARENA_CHUNK / 4)
/* No value of ours is a quarter of the address space: a broken length. */
#define ARENA_ABSURD (SIZE_MAX / 4)

struct chunk {
	struct chunk *next;
	size_t size; /* of data */
	size_t used;
	_Alignas(ARENA_ALIGN) unsigned char data[];
};

struct arena {
	struct chunk *chunks; /* small pieces come from the first one */
	size_t bytes;
};

struct arena *arena_create(void)
{
	return calloc(1, sizeof(struct arena));
}

void arena_destroy(struct arena *arena)
{
	struct chunk *chunk, *next;

	if (!arena)
		return;
	for (chunk = arena->chunks; chunk; chunk = next) {
		next = chunk->next;
		free(chunk);
	}
	free(arena);
}

static struct chunk *chunk_create(struct arena *arena, size_t size)
{
	struct chunk *chunk = calloc(1, sizeof(*chunk) + size);

	if (!chunk)
		return NULL;
	chunk->size = size;
	arena->bytes += sizeof(*chunk) + size;
	return chunk;
}

/* A chunk for one piece, behind the first, which stays the one in use. */
static void *alloc_alone(struct arena *arena, size_t size)
{
	struct chunk *chunk = chunk_create(arena, size);

	if (!chunk)
		return NULL;
	chunk->used = size;
	if (arena->chunks) {
		chunk->next = arena->chunks->next;
		arena->chunks->next = chunk;
	} else {
		arena->chunks = chunk;
	}
	return chunk->data;
}

void *arena_alloc(struct arena *arena, size_t size)
{
	struct chunk *chunk = arena->chunks;
	void *p;

	if (size > ARENA_ABSURD)
		return NULL;
#ifdef ARENA_EACH_ALONE
	// the sanitizer then sees each piece's bounds
	return alloc_alone(arena, size ? size : 1);
#endif
	size = (size + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1);
	if (size > ARENA_LARGE)
		return alloc_alone(arena, size);
	if (!chunk || chunk->size - chunk->used < size) {
		chunk = chunk_create(arena, ARENA_CHUNK);
		if (!chunk)
			return NULL;
		chunk->next = arena->chunks;
		arena->chunks = chunk;
	}
	p = chunk->data + chunk->used;
	chunk->used += size;
	return p;
}

void *arena_array(struct arena *arena, size_t n, size_t size)
{
	size_t bytes;

	if (__builtin_mul_overflow(n, size, &bytes))
		return NULL;
	return arena_alloc(arena, bytes);
}

void *arena_memdup(struct arena *arena, const void *data, size_t size)
{
	void *p = arena_alloc(arena, size);

	if (p && size)
		memcpy(p, data, size);
	return p;
}

char *arena_strndup(struct arena *arena, const char *s, size_t max)
{
	size_t len = strnlen(s, max);
	char *p = arena_alloc(arena, len + 1);

	if (p)
		memcpy(p, s, len); // zeroed: the NUL is there
	return p;
}

char *arena_strdup(struct arena *arena, const char *s)
{
	return arena_strndup(arena, s, strlen(s));
}

char *arena_printf(struct arena *arena, const char *fmt, ...)
{
	va_list ap;
	char *p;
	int len;

	va_start(ap, fmt);
	len = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (len < 0)
		return NULL;
	p = arena_alloc(arena, (size_t)len + 1);
	if (!p)
		return NULL;
	va_start(ap, fmt);
	vsnprintf(p, (size_t)len + 1, fmt, ap);
	va_end(ap);
	return p;
}

size_t arena_bytes(const struct arena *arena)
{
	return arena->bytes;
}
