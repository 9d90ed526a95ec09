/* SPDX-License-Identifier: Apache-2.0 */
#include "detector/gate/catch.h"
#include "detector/gate/guardian.h"
#include "tests/unit/unit.h"

#include <errno.h>
#include <poll.h>

/*
 * The gate is killed as soon as the kernel has handed the notification out,
 * before it could do anything about it: that is what closing the pipe right
 * after the call is to the guardian.
 */
static void test_what_was_received_last_is_let_go(void **state UNUSED)
{
	static const char *const argv[] = { "true", NULL };
	struct catch c = { .listener = -1, .to_child = -1 };
	struct guardian g = { .pid = 0 };
	struct catch_exit e;
	sigset_t mask;
	int status = -1, tries = 0;

	sigemptyset(&mask);
	assert_ok(catch_start(argv, &mask, &c));
	assert_ok(guardian_create(c.listener, &g));
	catch_release(&c);
	assert_int_equal(c.exec_errno, 0);
	while (catch_next(c.listener, &g.memory->notice, &e) == -EAGAIN)
		assert_true(tries++ < 100);
	assert_int_equal(g.memory->notice.n.id, e.id);
	assert_true(catch_valid(c.listener, e.id));
	assert_int_equal(waitpid(c.pid, &status, WNOHANG), 0);
	guardian_release(&g, false);
	for (tries = 0; tries < 500 && waitpid(c.pid, &status, WNOHANG) == 0;
	     tries++)
		poll(NULL, 0, 10);
	if (tries == 500)
		child_end(c.pid);
	assert_int_equal(status, 0);
	close(c.listener);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_was_received_last_is_let_go),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
