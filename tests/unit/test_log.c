/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/unit.h"

#include <errno.h>

#include "base/log.h"

static char lines[4096];
static int n_calls;

static void sink(const char *line, size_t len)
{
	size_t have = strlen(lines);

	assert_true(have + len < sizeof(lines));
	memcpy(lines + have, line, len);
	lines[have + len] = '\0';
	n_calls++;
}

static int setup(void **state)
{
	(void)state;
	lines[0] = '\0';
	n_calls = 0;
	log_set_sink(sink);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	log_set_sink(NULL);
	return 0;
}

static void test_a_line_is_one_write_and_escaped(void **state)
{
	(void)state;
	log_error("bad name '%s'", "\x1b]0;x\x07\ny");
	assert_string_equal(lines, "stranded: bad name '\\x1b]0;x\\x07\\ny'\n");
	assert_int_equal(n_calls, 1);
}

static void test_debug_is_off_until_its_token_is_on(void **state)
{
	(void)state;
	log_debug("go", "one");
	assert_string_equal(lines, "");
	log_enable("net,go");
	assert_true(log_enabled("go"));
	assert_true(log_enabled("net"));
	assert_false(log_enabled("elf"));
	log_debug("go", "n %d", 5);
	log_debug("elf", "two");
	assert_string_equal(lines, "stranded: go: n 5\n");
}

static void test_a_part_of_a_token_is_no_token(void **state)
{
	(void)state;
	log_enable("m,memory,,");
	assert_false(log_enabled("mem"));
	log_enable("mem");
	assert_true(log_enabled("mem"));
}

static void test_all_turns_each_on(void **state)
{
	(void)state;
	assert_false(log_enabled("ctl"));
	log_enable("all");
	assert_true(log_enabled("ctl"));
}

static void test_errno_survives(void **state)
{
	(void)state;
	errno = EXDEV;
	log_error("x");
	assert_int_equal(errno, EXDEV);
}

static int env_child(void *arg)
{
	(void)arg;
	setenv("STRANDED_DEBUG", "corr", 1);
	return log_enabled("corr") && !log_enabled("elf") ? 0 : 1;
}

static void test_the_environment_turns_a_token_on(void **state)
{
	(void)state;
	in_child(env_child, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		// first: the environment is read once
		cmocka_unit_test(test_the_environment_turns_a_token_on),
		cmocka_unit_test_setup_teardown(
			test_a_line_is_one_write_and_escaped, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_debug_is_off_until_its_token_is_on, setup,
			teardown),
		cmocka_unit_test_setup_teardown(
			test_a_part_of_a_token_is_no_token, setup, teardown),
		cmocka_unit_test_setup_teardown(test_all_turns_each_on, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_errno_survives, setup,
						teardown),
	};

	unsetenv("STRANDED_DEBUG");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
