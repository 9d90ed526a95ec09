/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime-hooks/go/order.h"

#include <stdlib.h>

struct id_place {
	uint64_t id;
	uint32_t place;
};

#define DIGIT_BITS 11
#define DIGITS (1u << DIGIT_BITS)

/* By one digit, from @a to @b; keeps the order of equal ones. */
static void radix_pass(const struct id_place *a, struct id_place *b, size_t n,
		       unsigned shift)
{
	uint32_t at[DIGITS] = { 0 }, sum = 0;

	for (size_t i = 0; i < n; i++)
		at[a[i].id >> shift & (DIGITS - 1)]++;
	for (size_t d = 0; d < DIGITS; d++) {
		uint32_t count = at[d];

		at[d] = sum;
		sum += count;
	}
	for (size_t i = 0; i < n; i++)
		b[at[a[i].id >> shift & (DIGITS - 1)]++] = a[i];
}

/* Put tasks where @order says, each moved once, along the cycles. */
static void permute(struct task *t, struct id_place *order, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct task first = t[i];
		size_t to = i;

		if (order[i].place == i)
			continue;
		while (order[to].place != i) {
			size_t from = order[to].place;

			t[to] = t[from];
			order[to].place = (uint32_t)to;
			to = from;
		}
		t[to] = first;
		order[to].place = (uint32_t)to;
	}
}

static bool sort_by_id(struct task *t, size_t n)
{
	struct id_place *a = calloc(n, sizeof(*a)), *b = calloc(n, sizeof(*b));
	uint64_t all = 0;

	if (!a || !b) {
		free(a);
		free(b);
		return false;
	}
	for (size_t i = 0; i < n; i++) {
		a[i] = (struct id_place){ .id = t[i].id, .place = (uint32_t)i };
		all |= t[i].id;
	}
	for (unsigned shift = 0; shift < 64 && all >> shift;
	     shift += DIGIT_BITS) {
		struct id_place *swap = a;

		radix_pass(a, b, n, shift);
		a = b;
		b = swap;
	}
	permute(t, a, n);
	free(a);
	free(b);
	return true;
}

bool go_tasks_order(struct task_snapshot *snap, uint64_t *duplicates_ret)
{
	struct task *t = snap->tasks;
	size_t n = snap->n, kept = 0;
	bool sorted = true;

	*duplicates_ret = 0;
	for (size_t i = 1; i < n && sorted; i++)
		sorted = t[i - 1].id < t[i].id;
	if (sorted)
		return true;
	if (!sort_by_id(t, n))
		return false;
	for (size_t i = 0; i < n; i++) {
		if (kept && t[kept - 1].id == t[i].id) {
			++*duplicates_ret;
			continue;
		}
		if (kept != i)
			t[kept] = t[i];
		kept++;
	}
	snap->n = kept;
	return true;
}
