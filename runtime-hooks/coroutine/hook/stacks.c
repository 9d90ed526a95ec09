/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime-hooks/coroutine/hook/stacks.h"

/*
 * An index of 64 KiB pieces of the address space, hashed, with linear probing:
 * each piece that a mapping touches has an entry {piece, number of the
 * mapping}. Usual stacks touch two or three, and a piece is touched by few, so
 * that a look-up sees a handful of entries however many stacks there are.
 */
#define PIECE_SHIFT 16
#define INDEX_BITS 19
#define INDEX_SIZE (1u << INDEX_BITS)
#define MAX_PROBES 64u
/* Longer than the longest, and a few pieces for what begins before. */
#define MAX_PIECES 64u

#define EMPTY 0u
#define REMOVED 1u /* probing goes on */

static struct stack_range ranges[STACKS_MAX];
static uint32_t next_free[STACKS_MAX]; /* number + 1 */
/* {count of changes, number + 1}: a list whose head may not look the same
 * again after other threads took and gave back (ABA) */
static uint64_t free_head;
static uint32_t used; /* never given out so far: from here on */
static uint64_t index_[INDEX_SIZE];
uint32_t stacks_count;

#define LOAD(x) __atomic_load_n(&(x), __ATOMIC_ACQUIRE)
#define CAS(x, old, new)                                                       \
	__atomic_compare_exchange_n(&(x), &(old), new, false,                  \
				    __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)

static uint32_t hash(uint32_t piece)
{
	return (piece * 2654435769u) >> (32 - INDEX_BITS);
}

static uint64_t entry_of(uint32_t piece, uint32_t number)
{
	return (uint64_t)piece << 32 | (number + 2);
}

/* A number, or STACKS_MAX when there is none. */
static uint32_t take(void)
{
	uint64_t head = LOAD(free_head);

	while ((uint32_t)head) {
		uint32_t number = (uint32_t)head - 1;
		uint64_t next =
			((head >> 32) + 1) << 32 |
			__atomic_load_n(&next_free[number], __ATOMIC_RELAXED);
		if (CAS(free_head, head, next))
			return number;
	}
	uint32_t number = LOAD(used);
	while (number < STACKS_MAX)
		if (CAS(used, number, number + 1))
			return number;
	return STACKS_MAX;
}

static void give_back(uint32_t number)
{
	uint64_t head = LOAD(free_head), mine;

	do {
		__atomic_store_n(&next_free[number], (uint32_t)head,
				 __ATOMIC_RELAXED);
		mine = ((head >> 32) + 1) << 32 | (number + 1);
	} while (!CAS(free_head, head, mine));
}

static bool put(uint32_t piece, uint32_t number)
{
	uint32_t at = hash(piece);

	for (uint32_t i = 0; i < MAX_PROBES; i++) {
		uint64_t *place = &index_[(at + i) % INDEX_SIZE];
		uint64_t old = LOAD(*place);

		while (old == EMPTY || old == REMOVED)
			if (CAS(*place, old, entry_of(piece, number)))
				return true;
	}
	return false;
}

static void take_out(uint32_t piece, uint32_t number)
{
	uint32_t at = hash(piece);

	for (uint32_t i = 0; i < MAX_PROBES; i++) {
		uint64_t *place = &index_[(at + i) % INDEX_SIZE];
		uint64_t old = LOAD(*place);

		if (old == EMPTY)
			return;
		if (old == entry_of(piece, number)) {
			__atomic_store_n(place, REMOVED, __ATOMIC_RELEASE);
			return;
		}
	}
}

static void forget(uint32_t number)
{
	struct stack_range *r = &ranges[number];
	uintptr_t last = (r->hi - 1) >> PIECE_SHIFT;

	for (uintptr_t p = r->lo >> PIECE_SHIFT; p <= last; p++)
		take_out((uint32_t)p, number);
	__atomic_store_n(&r->hi, 0, __ATOMIC_RELAXED);
	give_back(number);
	__atomic_sub_fetch(&stacks_count, 1, __ATOMIC_RELAXED);
}

void stacks_add(uintptr_t lo, size_t size)
{
	/* 47 bits of address, as user space has them on x86-64 */
	if (!size || size > STACKS_MAX_BYTES || lo >> 47 || (lo + size) >> 47)
		return;
	uint32_t number = take();
	if (number == STACKS_MAX)
		return;
	struct stack_range *r = &ranges[number];
	__atomic_store_n(&r->lo, lo, __ATOMIC_RELAXED);
	__atomic_store_n(&r->hi, lo + size, __ATOMIC_RELAXED);
	__atomic_store_n(&r->owner, 0, __ATOMIC_RELAXED);
	__atomic_add_fetch(&stacks_count, 1, __ATOMIC_RELAXED);
	uintptr_t last = (lo + size - 1) >> PIECE_SHIFT;
	for (uintptr_t p = lo >> PIECE_SHIFT; p <= last; p++) {
		if (!put((uint32_t)p, number)) {
			forget(number);
			return;
		}
	}
}

void stacks_remove(uintptr_t lo, size_t size, void (*ended)(uint64_t owner))
{
	if (!stacks_any() || !size || lo >> 47 || (lo + size - 1) >> 47)
		return;
	uintptr_t first = lo >> PIECE_SHIFT;
	uintptr_t last = (lo + size - 1) >> PIECE_SHIFT;

	/* What is longer is no stack, and if it holds some, they are found
	 * by who maps the same addresses anew. */
	if (last - first >= MAX_PIECES)
		last = first + MAX_PIECES - 1;
	for (uintptr_t p = first; p <= last; p++) {
		for (uint32_t i = 0; i < MAX_PROBES; i++) {
			uint64_t e = LOAD(
				index_[(hash((uint32_t)p) + i) % INDEX_SIZE]);

			if (e == EMPTY)
				break;
			if (e >> 32 != p)
				continue;
			uint32_t number = (uint32_t)e - 2;
			struct stack_range *r = &ranges[number];
			uintptr_t begin =
				__atomic_load_n(&r->lo, __ATOMIC_RELAXED);
			if (begin < lo || begin >= lo + size)
				continue;
			if (r->owner)
				ended(r->owner);
			forget(number);
		}
	}
}

/* That of another may be given back and out again meanwhile: its ends belong
 * together when the lower one is the same before and after. */
static bool contains(const struct stack_range *r, uintptr_t sp)
{
	uintptr_t lo = LOAD(r->lo);
	uintptr_t hi = LOAD(r->hi);

	return sp >= lo && sp < hi && LOAD(r->lo) == lo;
}

struct stack_range *stacks_find(uintptr_t sp)
{
	uint32_t piece = (uint32_t)(sp >> PIECE_SHIFT);

	if (!stacks_any() || sp >> 47)
		return NULL;
	for (uint32_t i = 0; i < MAX_PROBES; i++) {
		uint64_t e = LOAD(index_[(hash(piece) + i) % INDEX_SIZE]);

		if (e == EMPTY)
			return NULL;
		if (e >> 32 != piece)
			continue;
		struct stack_range *r = &ranges[(uint32_t)e - 2];
		if (contains(r, sp))
			return r;
	}
	return NULL;
}
