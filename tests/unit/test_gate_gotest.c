/* SPDX-License-Identifier: Apache-2.0 */
#include "detector/gate/gotest.h"

#include "detector/gate/watch.h"
#include "tests/unit/unit.h"

/* By blanks, which become NULs, as /proc/PID/cmdline has it. */
static bool cacheable(const char *words)
{
	char args[256];
	size_t len = strlen(words) + 1;

	assert_true(len <= sizeof(args));
	memcpy(args, words, len);
	for (size_t i = 0; i < len; i++)
		args[i] = args[i] == ' ' ? '\0' : args[i];
	return gotest_is_cacheable(args, len);
}

/* By "go help test" and what go test then really does. */
static void test_which_runs_may_be_remembered(void **state UNUSED)
{
	assert_true(cacheable("go test ./..."));
	assert_true(cacheable("/usr/local/go/bin/go test -v ./a ./b"));
	assert_true(cacheable("go test -run TestCount ./..."));
	assert_true(cacheable("go -C dir test ./..."));
	assert_true(cacheable("go test -cover ./..."));
	assert_true(cacheable("go test example.com/x -args -count=1"));

	assert_false(cacheable("go test -count=1 ./..."));
	assert_false(cacheable("go test -count 1 ./..."));
	assert_false(cacheable("go test --count=3 ./..."));
	assert_false(cacheable("go test ./... -test.count=1"));
	assert_false(cacheable("go test -c ./..."));
	assert_false(cacheable("go test -n ./..."));
	assert_false(cacheable("go test -exec sudo ./..."));
}

static void test_without_a_package_nothing_is_remembered(void **state UNUSED)
{
	assert_false(cacheable("go test"));
	assert_false(cacheable("go test -v -race"));
}

static void test_what_is_no_go_test(void **state UNUSED)
{
	assert_false(cacheable("go vet ./..."));
	assert_false(cacheable("go build test ./..."));
	assert_false(cacheable("gofmt test ./..."));
	assert_false(cacheable("go"));
	assert_false(cacheable(""));
	assert_false(gotest_is_cacheable("", 0));
	/* cut short, or changed by the process itself: no NUL at the end */
	assert_false(gotest_is_cacheable("go\0test\0./...", 13));
	assert_false(gotest_is_cacheable("go\0test\0./...", 3));
}

/* Of two, one has started a test binary; the other has not. */
static void test_who_started_no_test_is_a_gap(void **state UNUSED)
{
	AUTO_WATCH struct watch_result *r = watch_result_create();

	assert_non_null(r);
	gotest_note(r, 100, "go test ./a");
	gotest_note(r, 200, "go test ./b");
	r->processes = gate_process_create(101);
	assert_non_null(r->processes);
	r->processes->parent = 100;
	r->processes->is_test = true;
	assert_int_equal(gotest_judge(r), 1);
	assert_int_equal(r->gaps.n, 1);
	assert_non_null(strstr(r->gaps.v[0].text, "'go test ./b'"));
}

static void test_a_server_that_it_started_is_no_test(void **state UNUSED)
{
	AUTO_WATCH struct watch_result *r = watch_result_create();

	assert_non_null(r);
	gotest_note(r, 100, "go test ./a");
	r->processes = gate_process_create(101);
	assert_non_null(r->processes);
	r->processes->parent = 100;
	assert_int_equal(gotest_judge(r), 0);
	assert_int_equal(r->gaps.n, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_which_runs_may_be_remembered),
		cmocka_unit_test(test_without_a_package_nothing_is_remembered),
		cmocka_unit_test(test_what_is_no_go_test),
		cmocka_unit_test(test_who_started_no_test_is_a_gap),
		cmocka_unit_test(test_a_server_that_it_started_is_no_test),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
