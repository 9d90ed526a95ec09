/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_HOOKS_INTERN_H
#define RUNTIME_HOOKS_INTERN_H

/**
 * A hash table from 64-bit keys to pointers, for what is interned: a key may
 * stand for several values, told apart by the caller. Grows, never shrinks;
 * nothing is removed.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct intern_slot {
	uint64_t key;
	void *value; /* NULL: free */
};

struct intern_table {
	struct intern_slot *slots;
	size_t n, cap; /* cap: a power of two, or 0 */
};

static inline uint64_t intern_mix(uint64_t x)
{
	// The finalizer of splitmix64 (Steele, Lea, Flood 2014).
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return x ^ (x >> 31);
}

/**
 * The next value of @key. *at is UINT64_MAX before the first call and is where
 * to go on in the next; NULL: no more.
 */
static inline void *intern_next(const struct intern_table *t, uint64_t key,
				uint64_t *at)
{
	uint64_t mask = t->cap - 1;
	uint64_t i = *at == UINT64_MAX ? intern_mix(key) : *at + 1;

	if (!t->cap)
		return NULL;
	for (;; i++) {
		const struct intern_slot *slot = &t->slots[i & mask];

		if (!slot->value)
			return NULL;
		if (slot->key == key) {
			*at = i & mask;
			return slot->value;
		}
	}
}

/** The only value of @key, or NULL. */
static inline void *intern_get(const struct intern_table *t, uint64_t key)
{
	uint64_t at = UINT64_MAX;

	return intern_next(t, key, &at);
}

/** Add a value. Returns false when out of memory. */
bool intern_add(struct intern_table *t, uint64_t key, void *value);
void intern_free(struct intern_table *t);

/** A hash of any bytes; not against adversaries who choose them. */
uint64_t intern_hash(const void *bytes, size_t len);

#endif
