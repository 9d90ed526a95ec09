/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime-hooks/intern.h"

#include <stdlib.h>
#include <string.h>

#include "base/fnv.h"

static void put(struct intern_slot *slots, size_t cap, uint64_t key,
		void *value)
{
	uint64_t i = intern_mix(key);

	while (slots[i & (cap - 1)].value)
		i++;
	slots[i & (cap - 1)] = (struct intern_slot){ key, value };
}

static bool grow(struct intern_table *t)
{
	size_t cap = t->cap ? t->cap * 2 : 1024;
	struct intern_slot *slots = calloc(cap, sizeof(*slots));

	if (!slots)
		return false;
	for (size_t i = 0; i < t->cap; i++)
		if (t->slots[i].value)
			put(slots, cap, t->slots[i].key, t->slots[i].value);
	free(t->slots);
	t->slots = slots;
	t->cap = cap;
	return true;
}

bool intern_add(struct intern_table *t, uint64_t key, void *value)
{
	// At most half full: probes stay short.
	if (t->n * 2 >= t->cap && !grow(t))
		return false;
	put(t->slots, t->cap, key, value);
	t->n++;
	return true;
}

void intern_free(struct intern_table *t)
{
	free(t->slots);
	memset(t, 0, sizeof(*t));
}

uint64_t intern_hash(const void *bytes, size_t len)
{
	const uint8_t *p = bytes;
	uint64_t h = len * 0x9e3779b97f4a7c15ull;

	for (; len >= 8; len -= 8, p += 8) {
		uint64_t w;

		memcpy(&w, p, 8);
		h = (h ^ w) * 0xff51afd7ed558ccdull;
		h ^= h >> 32;
	}
	return fnv_bytes(h, p, len);
}
