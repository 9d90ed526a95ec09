/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime-hooks/go/wait.h"

#include <stdlib.h>
#include <string.h>

#define LABEL_TEXT_MAX 4096
/* Slots of a map that are looked at; 64 labels need 16 buckets of 8. */
#define MAP_SLOTS_MAX 1024

/*
 * Since Go 1.24 g.labels points to a list, {pointer, length, capacity} of
 * {key, value string} (runtime/pprof/label.go), before to a
 * map[string]string: hmap {count int, flags u8, B u8, noverflow u16, hash0
 * u32, buckets, oldbuckets} with buckets of {tophash [8]u8, keys [8]string,
 * values [8]string, overflow} (runtime/map.go of 1.17 to 1.23).
 */
#define BUCKET_BYTES (8 + 8 * 16 + 8 * 16 + 8)
#define TOPHASH_MIN 5 /* less marks an empty or a moved slot */

static const char *read_text(struct go_live *mem, struct arena *arena,
			     const uint8_t *header)
{
	uint64_t at = go_word(header), len = go_word(header + 8);
	char text[LABEL_TEXT_MAX];

	if (!len)
		return "";
	// a string starts anywhere, no alignment
	if (len > sizeof(text) || at < 0x1000 || at >> 47 ||
	    !go_live_peek(mem, at, text, len))
		return NULL;
	return arena_strndup(arena, text, len);
}

struct label_set {
	struct label v[TASK_MAX_LABELS];
	size_t n;
};

static bool add(struct go_live *mem, struct arena *arena, struct label_set *set,
		const uint8_t *key, const uint8_t *value)
{
	struct label *l = &set->v[set->n];

	if (set->n == TASK_MAX_LABELS)
		return false;
	l->key = read_text(mem, arena, key);
	l->value = read_text(mem, arena, value);
	if (!l->key || !l->value)
		return false;
	set->n++;
	return true;
}

/* @empty: nothing with a pointer to it is a list too, and no map. */
static bool read_list(struct go_live *mem, struct arena *arena, raddr_t labels,
		      bool empty, struct label_set *set)
{
	uint64_t head[3];

	set->n = 0;
	if (!go_live_peek(mem, labels, head, sizeof(head)) ||
	    head[1] > head[2] || head[2] > 4 * TASK_MAX_LABELS)
		return false;
	if (!head[1])
		return !head[0] || empty;
	if (!go_live_plausible(head[0]))
		return false;
	for (uint64_t i = 0; i < head[1] && i < TASK_MAX_LABELS; i++) {
		uint8_t pair[32];

		if (!go_live_peek(mem, head[0] + i * 32, pair, sizeof(pair)) ||
		    !add(mem, arena, set, pair, pair + 16))
			return false;
	}
	return true;
}

/* One bucket and what overflowed from it. */
static bool read_bucket(struct go_live *mem, struct arena *arena, raddr_t at,
			struct label_set *set, size_t *slots)
{
	while (at) {
		uint8_t b[BUCKET_BYTES];

		if (!go_live_plausible(at) || *slots > MAP_SLOTS_MAX ||
		    !go_live_peek(mem, at, b, sizeof(b)))
			return false;
		*slots += 8;
		for (size_t i = 0; i < 8; i++)
			if (b[i] >= TOPHASH_MIN &&
			    !add(mem, arena, set, b + 8 + i * 16,
				 b + 8 + 128 + i * 16))
				return false;
		at = go_word(b + BUCKET_BYTES - 8);
	}
	return true;
}

static bool read_map(struct go_live *mem, struct arena *arena, raddr_t labels,
		     struct label_set *set)
{
	uint8_t head[32];
	size_t slots = 0;
	uint64_t map;

	set->n = 0;
	if (!go_live_word(mem, labels, &map) || !go_live_plausible(map) ||
	    !go_live_peek(mem, map, head, sizeof(head)) ||
	    go_word(head) > TASK_MAX_LABELS || head[9] > 6)
		return false;
	if (!go_word(head))
		return true;
	for (size_t i = 0; i < (size_t)1 << head[9]; i++)
		if (!read_bucket(mem, arena,
				 go_word(head + 16) + i * BUCKET_BYTES, set,
				 &slots))
			return false;
	return set->n == go_word(head);
}

static int compare(const void *a, const void *b)
{
	const struct label *x = a, *y = b;

	return strcmp(x->key, y->key);
}

bool go_labels_read(struct go_live *mem, struct arena *arena, raddr_t labels,
		    int minor, const struct label **ret, uint16_t *n_ret)
{
	bool list_first = !minor || minor >= 24;
	struct label_set set;
	bool ok;

	*ret = NULL;
	*n_ret = 0;
	if (!go_live_plausible(labels))
		return false;
	if (list_first)
		ok = read_list(mem, arena, labels, false, &set) ||
		     read_map(mem, arena, labels, &set) ||
		     (minor && read_list(mem, arena, labels, true, &set));
	else
		ok = read_map(mem, arena, labels, &set) ||
		     read_list(mem, arena, labels, false, &set);
	if (!ok)
		return false;
	if (!set.n)
		return true;
	qsort(set.v, set.n, sizeof(set.v[0]), compare);
	*ret = arena_memdup(arena, set.v, set.n * sizeof(set.v[0]));
	*n_ret = *ret ? (uint16_t)set.n : 0;
	return *ret;
}
