/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/unit.h"

#include "base/gap.h"

static uint64_t total(const struct gaps *gaps)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < gaps->n; i++)
		sum += gaps->v[i].count;
	return sum;
}

static void test_equal_gaps_are_one_with_a_count(void **state)
{
	AUTO_ARENA struct arena *arena = arena_create();
	struct gaps gaps = { .arena = arena };

	(void)state;
	gaps_add(&gaps, GAP_RUNNING, 2, "running");
	gaps_add(&gaps, GAP_RUNNING, 3, "%s", "running");
	gaps_add(&gaps, GAP_TORN, 1, "running");
	assert_int_equal(gaps.n, 2);
	assert_int_equal(gaps.v[0].count, 5);
	assert_string_equal(gaps.v[0].text, "running");
	assert_int_equal(gaps.v[1].kind, GAP_TORN);
}

static void test_too_many_kinds_of_text_lose_no_count(void **state)
{
	AUTO_ARENA struct arena *arena = arena_create();
	struct gaps gaps = { .arena = arena };

	(void)state;
	for (int i = 0; i < 1000; i++)
		gaps_add(&gaps, GAP_CORRUPT, 1, "address %d", i);
	assert_int_equal(gaps.n, GAPS_MAX);
	assert_int_equal(total(&gaps), 1000);
	// also of a kind that was not there before
	gaps_add(&gaps, GAP_DENIED, 7, "x");
	assert_int_equal(total(&gaps), 1007);
	assert_int_equal(gaps.v[gaps.n - 1].kind, GAP_DENIED);
	gaps_add(&gaps, GAP_DENIED, 1, "y");
	assert_int_equal(gaps.n, GAPS_MAX + 1);
	assert_int_equal(total(&gaps), 1008);
}

static void test_counts_do_not_wrap(void **state)
{
	AUTO_ARENA struct arena *arena = arena_create();
	struct gaps gaps = { .arena = arena };

	(void)state;
	gaps_add(&gaps, GAP_LIMIT, UINT64_MAX, "x");
	gaps_add(&gaps, GAP_LIMIT, 2, "x");
	assert_true(gaps.v[0].count == UINT64_MAX);
}

static void test_merge_adds_up_and_copies(void **state)
{
	AUTO_ARENA struct arena *arena = arena_create();
	struct arena *other = arena_create();
	struct gaps to = { .arena = arena }, from = { .arena = other };

	(void)state;
	gaps_add(&to, GAP_GONE, 1, "a");
	gaps_add(&from, GAP_GONE, 2, "a");
	gaps_add(&from, GAP_GONE, 4, "b");
	gaps_merge(&to, &from);
	arena_destroy(other);
	assert_int_equal(to.n, 2);
	assert_int_equal(to.v[0].count, 3);
	assert_string_equal(to.v[1].text, "b");
	assert_int_equal(to.v[1].count, 4);
}

static void test_each_kind_has_a_name(void **state)
{
	(void)state;
	for (int i = GAP_RUNNING; i <= GAP_LIMIT; i++)
		assert_string_not_equal(gap_kind_name(i), "?");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_equal_gaps_are_one_with_a_count),
		cmocka_unit_test(test_too_many_kinds_of_text_lose_no_count),
		cmocka_unit_test(test_counts_do_not_wrap),
		cmocka_unit_test(test_merge_adds_up_and_copies),
		cmocka_unit_test(test_each_kind_has_a_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
