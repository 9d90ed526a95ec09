/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_UNIT_H
#define TESTS_UNIT_UNIT_H

/** What all unit tests share: cmocka, and children to look at from outside. */

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"

#define UNUSED __attribute__((unused))

/** Skip, or fail where nothing may be skipped (STRANDED_TEST_STRICT=1). */
#define NEEDS(what, condition)                                                 \
	do {                                                                   \
		if (condition)                                                 \
			break;                                                 \
		if (getenv("STRANDED_TEST_STRICT"))                            \
			fail_msg("needs %s", what);                            \
		print_message("needs %s\n", what);                             \
		skip();                                                        \
	} while (0)

/** Fails unless @err has @code and a text with @part in it; frees it. */
static inline void assert_error(struct error *err, enum error_code code,
				const char *part)
{
	char text[1024];
	enum error_code got;

	assert_non_null(err);
	got = error_code(err);
	snprintf(text, sizeof(text), "%s", error_text(err));
	error_free(err);
	if (got != code || !strstr(text, part))
		fail_msg("error is '%s: %s', should be '%s: ...%s...'",
			 error_code_name(got), text, error_code_name(code),
			 part);
}

/** Fails with the text of @err unless that is NULL. */
static inline void assert_ok(struct error *err)
{
	if (err)
		fail_msg("%s", error_text(err));
}

/**
 * Fork a child that runs @setup(@arg), says that it is ready and waits to be
 * killed. It dies with the test.
 */
static inline pid_t child_start(void (*setup)(void *arg), void *arg)
{
	int ready[2];
	pid_t pid;
	char c;

	assert_int_equal(pipe(ready), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(ready[0]);
		if (setup)
			setup(arg);
		/* not closed: a list of descriptors that is being read stays */
		if (write(ready[1], "x", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &c, 1), 1);
	close(ready[0]);
	return pid;
}

static inline void child_end(pid_t pid)
{
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/** Run @body(@arg) in a child; fails unless it returns 0. For what changes
 * the whole process: users, limits. The child must not use cmocka.
 */
static inline void in_child(int (*body)(void *arg), void *arg)
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (!pid) {
		int rc = body(arg);

		fflush(NULL);
		_exit(rc);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		fail_msg("child ended with wait status 0x%x", (unsigned)status);
}

#define N_OF(a) (sizeof(a) / sizeof((a)[0]))

#endif
