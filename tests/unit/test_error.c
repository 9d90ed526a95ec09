/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/unit.h"

#include <errno.h>

static void test_text_and_code_are_kept(void **state)
{
	struct error *err = error_new(ERROR_CORRUPT, "no %s in %d", "x", 7);

	(void)state;
	assert_int_equal(error_code(err), ERROR_CORRUPT);
	assert_string_equal(error_text(err), "no x in 7");
	error_free(err);
}

static void test_errno_gives_code_and_reason(void **state)
{
	static const struct {
		int errnum;
		enum error_code code;
		const char *text;
	} rows[] = {
		{ ESRCH, ERROR_GONE, "t: no such process" },
		{ EPERM, ERROR_DENIED, "t: operation not permitted" },
		{ EACCES, ERROR_DENIED, "t: permission denied" },
		{ EFAULT, ERROR_FAULT, "t: bad address" },
		{ EIO, ERROR_FAULT, "t: input/output error" },
		{ ENOMEM, ERROR_NOMEM, "t: cannot allocate memory" },
		{ ENOENT, ERROR_OS, "t: no such file or directory" },
		{ EXDEV, ERROR_OS, "t: invalid cross-device link" },
		{ ENOTSUP, ERROR_OS, "t: operation not supported" },
		{ 4095, ERROR_OS, "t: error number 4095" },
	};

	(void)state;
	for (size_t i = 0; i < N_OF(rows); i++) {
		struct error *err = error_os(rows[i].errnum, "%c", 't');

		assert_string_equal(error_text(err), rows[i].text);
		assert_int_equal(error_code(err), rows[i].code);
		error_free(err);
	}
}

static void test_wrap_puts_context_first_and_keeps_the_code(void **state)
{
	struct error *err = error_new(ERROR_GONE, "inner");

	(void)state;
	err = error_wrap(err, "outer %d", 1);
	err = error_wrap(err, "outermost");
	assert_int_equal(error_code(err), ERROR_GONE);
	assert_string_equal(error_text(err), "outermost: outer 1: inner");
	error_free(err);
}

static void test_wrapping_nomem_leaves_the_static_one_alone(void **state)
{
	struct error *err = error_wrap(&error_nomem, "maps");

	(void)state;
	assert_string_equal(error_text(err), "maps: out of memory");
	assert_int_equal(error_code(err), ERROR_NOMEM);
	error_free(err);
	assert_string_equal(error_text(&error_nomem), "out of memory");
	error_free(&error_nomem);
	error_free(NULL);
}

static void test_catch_swallows_its_code_only(void **state)
{
	struct error *err = error_new(ERROR_GONE, "x");

	(void)state;
	assert_false(error_catch(&err, ERROR_OS));
	assert_non_null(err);
	assert_true(error_catch(&err, ERROR_GONE));
	assert_null(err);
	assert_false(error_catch(&err, ERROR_GONE));
}

static void test_each_code_has_a_name_of_its_own(void **state)
{
	(void)state;
	for (int a = ERROR_NOMEM; a <= ERROR_USAGE; a++) {
		assert_string_not_equal(error_code_name(a), "?");
		for (int b = ERROR_NOMEM; b < a; b++)
			assert_string_not_equal(error_code_name(a),
						error_code_name(b));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_text_and_code_are_kept),
		cmocka_unit_test(test_errno_gives_code_and_reason),
		cmocka_unit_test(
			test_wrap_puts_context_first_and_keeps_the_code),
		cmocka_unit_test(
			test_wrapping_nomem_leaves_the_static_one_alone),
		cmocka_unit_test(test_catch_swallows_its_code_only),
		cmocka_unit_test(test_each_code_has_a_name_of_its_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
