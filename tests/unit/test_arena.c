/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/unit.h"

#include "base/arena.h"

static void test_pieces_are_zeroed_aligned_and_apart(void **state)
{
	enum { N = 5000 };
	AUTO_ARENA struct arena *arena = arena_create();
	static unsigned char *p[N];

	(void)state;
	for (size_t i = 0; i < N; i++) {
		size_t size = i % 257;

		p[i] = arena_alloc(arena, size);
		assert_non_null(p[i]);
		assert_int_equal((uintptr_t)p[i] % 16, 0);
		for (size_t k = 0; k < size; k++)
			assert_int_equal(p[i][k], 0);
		memset(p[i], (int)(i % 251) + 1, size);
	}
	for (size_t i = 0; i < N; i++) {
		for (size_t k = 0; k < i % 257; k++)
			assert_int_equal(p[i][k], i % 251 + 1);
	}
}

static void test_a_large_piece_does_not_end_the_chunk_in_use(void **state)
{
	AUTO_ARENA struct arena *arena = arena_create();
	size_t before;

	(void)state;
	arena_alloc(arena, 100);
	assert_non_null(arena_alloc(arena, 1 << 20));
	before = arena_bytes(arena);
	arena_alloc(arena, 100);
#ifndef __SANITIZE_ADDRESS__
	assert_int_equal(arena_bytes(arena), before);
#endif
	assert_true(before >= (1 << 20) + 100);
	assert_true(before < (1 << 20) + (128 << 10));
}

static void test_absurd_sizes_are_refused(void **state)
{
	AUTO_ARENA struct arena *arena = arena_create();

	(void)state;
	assert_null(arena_alloc(arena, SIZE_MAX));
	assert_null(arena_alloc(arena, SIZE_MAX - 15));
	assert_null(arena_alloc(arena, SIZE_MAX / 2));
	assert_null(arena_array(arena, SIZE_MAX / 2, 3));
	assert_null(arena_array(arena, (size_t)1 << 33, (size_t)1 << 33));
	assert_non_null(arena_array(arena, 0, 8));
	assert_int_equal(arena_bytes(arena) > 1 << 20, 0);
}

static void test_strings_are_copied_and_end(void **state)
{
	AUTO_ARENA struct arena *arena = arena_create();
	char raw[4] = { 'a', 'b', 'c', 'd' };

	(void)state;
	assert_string_equal(arena_strndup(arena, raw, 3), "abc");
	assert_string_equal(arena_strndup(arena, raw, sizeof(raw)), "abcd");
	assert_string_equal(arena_strndup(arena, "ab", 100), "ab");
	assert_string_equal(arena_strdup(arena, ""), "");
	assert_memory_equal(arena_memdup(arena, raw, 4), raw, 4);
	assert_string_equal(arena_printf(arena, "%d-%s", 42, "x"), "42-x");
	assert_int_equal(strlen(arena_printf(arena, "%070000d", 1)), 70000);
}

static void test_destroying_nothing_is_fine(void **state)
{
	(void)state;
	arena_destroy(NULL);
	arena_destroy(arena_create());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pieces_are_zeroed_aligned_and_apart),
		cmocka_unit_test(
			test_a_large_piece_does_not_end_the_chunk_in_use),
		cmocka_unit_test(test_absurd_sizes_are_refused),
		cmocka_unit_test(test_strings_are_copied_and_end),
		cmocka_unit_test(test_destroying_nothing_is_fine),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
