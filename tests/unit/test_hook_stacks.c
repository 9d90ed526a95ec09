/* SPDX-License-Identifier: Apache-2.0 */
/** Which mapping a stack pointer is in: the index of the hook. */
#include "runtime-hooks/coroutine/hook/stacks.h"

#include <pthread.h>

#include "tests/unit/unit.h"

/* The hook is no part of the library that tests are linked with. */
#include "runtime-hooks/coroutine/hook/stacks.c"

#define BASE ((uintptr_t)0x7f1200000000)
#define KIB ((size_t)1024)

static uint64_t ended[8];
static size_t n_ended;

static void note_end(uint64_t owner)
{
	if (n_ended < 8)
		ended[n_ended] = owner;
	n_ended++;
}

static void test_a_pointer_is_found_where_its_mapping_is(void **state)
{
	(void)state;
	/* neighbours in one piece of 64 KiB, and one across several */
	stacks_add(BASE, 16 * KIB);
	stacks_add(BASE + 16 * KIB, 16 * KIB);
	stacks_add(BASE + 32 * KIB, 200 * KIB);
	assert_int_equal(stacks_find(BASE)->lo, BASE);
	assert_int_equal(stacks_find(BASE + 16 * KIB - 1)->lo, BASE);
	assert_int_equal(stacks_find(BASE + 16 * KIB)->lo, BASE + 16 * KIB);
	assert_int_equal(stacks_find(BASE + 231 * KIB)->lo, BASE + 32 * KIB);
	assert_null(stacks_find(BASE + 232 * KIB));
	assert_null(stacks_find(BASE - 1));
	assert_null(stacks_find(UINTPTR_MAX));
	assert_null(stacks_find(0));
	stacks_remove(BASE, 232 * KIB, note_end);
	assert_null(stacks_find(BASE));
	assert_null(stacks_find(BASE + 100 * KIB));
	assert_int_equal(n_ended, 0);
}

static void test_only_what_may_be_a_stack_is_remembered(void **state)
{
	(void)state;
	stacks_add(BASE, STACKS_MAX_BYTES + 1);
	stacks_add(BASE, 0);
	stacks_add((uintptr_t)1 << 47, 64 * KIB);
	stacks_add(UINTPTR_MAX - 10, 64 * KIB);
	assert_int_equal(stacks_count, 0);
	stacks_add(BASE, STACKS_MAX_BYTES);
	assert_non_null(stacks_find(BASE + STACKS_MAX_BYTES - 1));
	stacks_remove(BASE, STACKS_MAX_BYTES, note_end);
	assert_int_equal(stacks_count, 0);
}

static void test_the_owner_of_what_is_unmapped_is_told(void **state)
{
	(void)state;
	n_ended = 0;
	stacks_add(BASE, 64 * KIB);
	stacks_find(BASE + 1)->owner = 77;
	stacks_add(BASE + 64 * KIB, 64 * KIB);
	/* the part above stays mapped, and so does its neighbour's */
	stacks_remove(BASE + 4 * KIB, 4 * KIB, note_end);
	assert_non_null(stacks_find(BASE + 1));
	stacks_remove(BASE, 4 * KIB, note_end);
	assert_int_equal(n_ended, 1);
	assert_int_equal(ended[0], 77);
	assert_non_null(stacks_find(BASE + 65 * KIB));
	stacks_remove(BASE, 128 * KIB, note_end);
	assert_int_equal(stacks_count, 0);
	/* and the place is given out again, to nobody */
	stacks_add(BASE, 64 * KIB);
	assert_int_equal(stacks_find(BASE)->owner, 0);
	stacks_remove(BASE, 64 * KIB, note_end);
	assert_int_equal(n_ended, 1);
}

static void test_when_it_is_full_the_rest_is_not_known(void **state)
{
	size_t known = 0;

	(void)state;
	for (size_t i = 0; i < STACKS_MAX + 10; i++)
		stacks_add(BASE + i * 128 * KIB, 72 * KIB);
	for (size_t i = 0; i < STACKS_MAX + 10; i++)
		known += !!stacks_find(BASE + i * 128 * KIB + 70 * KIB);
	/* a few may find no place near where they hash to */
	assert_in_range(known, STACKS_MAX * 99 / 100, STACKS_MAX);
	for (size_t i = 0; i < STACKS_MAX + 10; i++)
		stacks_remove(BASE + i * 128 * KIB, 72 * KIB, note_end);
	assert_int_equal(stacks_count, 0);
}

/* Maps, is found in, and unmaps its own, while others do the same. */
static void *churn(void *arg)
{
	uintptr_t mine = BASE + (uintptr_t)arg * 40 * KIB;

	for (uint64_t turn = 1; turn <= 20000; turn++) {
		stacks_add(mine, 40 * KIB);
		struct stack_range *r = stacks_find(mine + 39 * KIB);
		if (!r || r->lo != mine || r->owner)
			return (void *)turn;
		r->owner = turn;
		if (stacks_find(mine)->owner != turn)
			return (void *)turn;
		r->owner = 0;
		stacks_remove(mine, 40 * KIB, note_end);
		if (stacks_find(mine))
			return (void *)turn;
	}
	return NULL;
}

static void test_threads_do_not_lose_each_others(void **state)
{
	pthread_t threads[4];

	(void)state;
	n_ended = 0;
	for (uintptr_t i = 0; i < 4; i++)
		assert_int_equal(
			pthread_create(&threads[i], NULL, churn, (void *)i), 0);
	for (int i = 0; i < 4; i++) {
		void *lost;

		pthread_join(threads[i], &lost);
		assert_null(lost);
	}
	assert_int_equal(n_ended, 0);
	assert_int_equal(stacks_count, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_pointer_is_found_where_its_mapping_is),
		cmocka_unit_test(test_only_what_may_be_a_stack_is_remembered),
		cmocka_unit_test(test_the_owner_of_what_is_unmapped_is_told),
		cmocka_unit_test(test_when_it_is_full_the_rest_is_not_known),
		cmocka_unit_test(test_threads_do_not_lose_each_others),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
