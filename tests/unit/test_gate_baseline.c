/* SPDX-License-Identifier: Apache-2.0 */
#include "detector/gate/baseline.h"
#include "tests/unit/unit.h"

#define A "aaaaaaaaaaaaaaaa"
#define B "bbbbbbbbbbbbbbbb"
#define FILE_OF(leaks) "{\"schema\": 1, \"leaks\": [" leaks "]}"
#define ENTRY(fingerprint, more)                                               \
	"{\"fingerprint\": \"" fingerprint "\"" more "}"
#define COUNTED(count) FILE_OF(ENTRY(A, ", \"count\": " count))

static struct error *parse(const char *text, struct gate_baseline **ret)
{
	return baseline_parse("base.json", text, strlen(text), ret);
}

static void test_a_broken_count_is_an_error(void **state UNUSED)
{
	static const char *const counts[] = {
		"-1",	 "0",	"4294967296", "9223372036854775807",
		"\"3\"", "3.0", "null",	      "true",
		"[3]",	 "{}",
	};

	for (size_t i = 0; i < N_OF(counts); i++) {
		struct gate_baseline *b = NULL;
		char text[256];

		snprintf(text, sizeof(text), COUNTED("%s"), counts[i]);
		assert_error(parse(text, &b), ERROR_USAGE,
			     "leak 1 has a \"count\" that is no number");
		assert_null(b);
	}
}

/* More than 64 bits are no number of JSON's that can be read. */
static void test_a_huge_count_is_an_error(void **state UNUSED)
{
	struct gate_baseline *b = NULL;

	assert_error(parse(COUNTED("99999999999999999999"), &b), ERROR_USAGE,
		     "base.json:1:");
	assert_null(b);
}

/* What is left of @count leaks of kind A. */
static size_t left_of(const char *text, size_t count)
{
	AUTO_BASELINE struct gate_baseline *b = NULL;
	struct leak leak = { .count = count, .fingerprint = A };
	struct gate_process p = { .leaks = &leak, .n_leaks = 1 };

	assert_ok(parse(text, &b));
	baseline_apply(b, &p);
	assert_int_equal(baseline_gone(b), 0);
	return leak.known ? 0 : leak.count;
}

static void test_what_is_more_than_is_known(void **state UNUSED)
{
	static const char *const twice[] = {
		FILE_OF(ENTRY(A, ", \"count\": 2") "," ENTRY(A,
							     ", \"count\": 3")),
		FILE_OF(ENTRY(A, ", \"count\": 3") "," ENTRY(A,
							     ", \"count\": 2")),
	};

	assert_int_equal(left_of(COUNTED("3"), 1), 0);
	assert_int_equal(left_of(COUNTED("3"), 3), 0);
	assert_int_equal(left_of(COUNTED("3"), 4), 1);
	assert_int_equal(left_of(COUNTED("4294967295"), 4294967295), 0);
	/* without one, however many there are */
	assert_int_equal(left_of(FILE_OF(ENTRY(A, "")), 1000000), 0);
	/* what stands there twice */
	for (size_t i = 0; i < N_OF(twice); i++) {
		assert_int_equal(left_of(twice[i], 5), 0);
		assert_int_equal(left_of(twice[i], 7), 2);
	}
	assert_int_equal(
		left_of(FILE_OF(ENTRY(A, ", \"count\": 2") "," ENTRY(A, "")),
			9),
		0);
}

static void test_what_is_gone(void **state UNUSED)
{
	AUTO_BASELINE struct gate_baseline *b = NULL;
	struct leak leak = { .count = 1, .fingerprint = A };
	struct gate_process p = { .leaks = &leak, .n_leaks = 1 };

	assert_ok(parse(FILE_OF(ENTRY(B, "") "," ENTRY(A, "") "," ENTRY(B, "")),
			&b));
	assert_int_equal(b->n, 2);
	assert_int_equal(baseline_gone(b), 2);
	baseline_apply(b, &p);
	assert_true(leak.known);
	assert_int_equal(baseline_gone(b), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_broken_count_is_an_error),
		cmocka_unit_test(test_a_huge_count_is_an_error),
		cmocka_unit_test(test_what_is_more_than_is_known),
		cmocka_unit_test(test_what_is_gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
