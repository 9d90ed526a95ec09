/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sys/syscall.h>

#include "base/process.h"
#include "base/process_priv.h"

#define NOBODY 65534
#define SOMEBODY 65533

static void test_the_denial_names_its_cause_and_a_remedy(void **state)
{
	static const struct {
		struct process_denial why;
		const char *part;
	} rows[] = {
		{ { .our_uid = 5, .target_uid = 0, .yama = 1 },
		  "it belongs to uid 0 and we are uid 5; run as that user or "
		  "as root, or grant CAP_SYS_PTRACE" },
		{ { .our_uid = 5, .target_uid = 5, .yama = 1 },
		  "kernel.yama.ptrace_scope is 1 " },
		{ { .our_uid = 5, .target_uid = 5, .yama = 2 },
		  "kernel.yama.ptrace_scope is 2 " },
		{ { .cap_ptrace = true, .yama = 3 }, "by a reboot only" },
		{ { .our_uid = 5,
		    .target_uid = 5,
		    .yama = 1,
		    .non_dumpable = true },
		  "it is not dumpable" },
		{ { .our_uid = 5,
		    .target_uid = 5,
		    .yama = -1,
		    .more_caps = true },
		  "it has capabilities that we lack; " },
		{ { .our_uid = 0, .target_uid = 7, .yama = -1 },
		  "we are root, but without CAP_SYS_PTRACE; grant it (in a "
		  "container: --cap-add=SYS_PTRACE)" },
		{ { .cap_ptrace = true, .other_userns = true, .yama = -1 },
		  "another user namespace, where our CAP_SYS_PTRACE does not "
		  "count" },
		{ { .cap_ptrace = true, .yama = 0 },
		  "refused in spite of CAP_SYS_PTRACE, so by a security "
		  "module" },
		{ { .our_uid = 5, .target_uid = 5, .yama = 0 },
		  "it is ours, so a security module" },
	};
	char text[256];

	(void)state;
	for (size_t i = 0; i < N_OF(rows); i++) {
		process_denial_text(&rows[i].why, text, sizeof(text));
		if (!strstr(text, rows[i].part))
			fail_msg("'%s' lacks '%s'", text, rows[i].part);
		assert_non_null(strchr(text, ';'));
		assert_true(strlen(text) < sizeof(text) - 1);
	}
}

static void become(uid_t uid)
{
	if (setgroups(0, NULL) || setresgid(uid, uid, uid) ||
	    setresuid(uid, uid, uid))
		_exit(40);
	// a change of user makes us non-dumpable until told otherwise
	prctl(PR_SET_DUMPABLE, 1);
}

static void as_nobody(void *arg)
{
	become(NOBODY);
	if (arg)
		prctl(PR_SET_DUMPABLE, 0);
}

/* Writes what reading @pid's memory is answered with, "" for success. */
static int try_read(pid_t pid)
{
	struct error *err;
	struct process *p;
	char c;
	int rc;

	err = process_open(pid, &p);
	if (err) {
		fprintf(stderr, "open: %s: %s\n",
			error_code_name(error_code(err)), error_text(err));
	} else {
		rc = process_read(p, (raddr_t)(uintptr_t)&p, &c, 1);
		if (rc) {
			err = process_error(p, -rc, "memory of");
			fprintf(stderr, "read: %s: %s\n",
				error_code_name(error_code(err)),
				error_text(err));
		} else {
			fprintf(stderr, "success\n");
		}
		process_close(p);
	}
	error_free(err);
	return 0;
}

struct attempt {
	pid_t pid;
	uid_t uid;
	bool drop_cap;
	int fd;
};

static void drop_cap_ptrace(void)
{
	struct __user_cap_header_struct head = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct data[2];

	if (syscall(SYS_capget, &head, data))
		_exit(41);
	data[0].effective &= ~(1u << CAP_SYS_PTRACE);
	data[0].permitted &= ~(1u << CAP_SYS_PTRACE);
	data[0].inheritable &= ~(1u << CAP_SYS_PTRACE);
	if (syscall(SYS_capset, &head, data))
		_exit(42);
}

static int run_attempt(void *arg)
{
	const struct attempt *attempt = arg;

	dup2(attempt->fd, 2);
	if (attempt->uid)
		become(attempt->uid);
	if (attempt->drop_cap)
		drop_cap_ptrace();
	return try_read(attempt->pid);
}

static void assert_answer(pid_t pid, uid_t uid, bool drop_cap,
			  const char *prefix, const char *part)
{
	char text[1024] = "";
	struct attempt attempt = { pid, uid, drop_cap, -1 };
	int out[2];

	assert_int_equal(pipe(out), 0);
	attempt.fd = out[1];
	in_child(run_attempt, &attempt);
	close(out[1]);
	assert_true(read(out[0], text, sizeof(text) - 1) > 0);
	close(out[0]);
	if (strncmp(text, prefix, strlen(prefix)) || !strstr(text, part))
		fail_msg("'%s' is not '%s...%s'", text, prefix, part);
}

static void test_another_users_process_is_denied_by_owner(void **state)
{
	pid_t pid;

	(void)state;
	NEEDS("root", geteuid() == 0);
	pid = child_start(as_nobody, NULL);
	assert_answer(pid, SOMEBODY, false, "open: denied: ",
		      "it belongs to uid 65534 and we are uid 65533; ");
	assert_answer(pid, 0, false, "success", "");
	child_end(pid);
}

static void test_a_non_dumpable_process_is_called_so(void **state)
{
	pid_t pid;

	(void)state;
	NEEDS("root", geteuid() == 0);
	pid = child_start(as_nobody, (void *)1);
	assert_answer(pid, NOBODY, false,
		      "open: denied: ", "it is not dumpable");
	child_end(pid);
}

static void test_root_without_the_capability_is_told_which(void **state)
{
	pid_t pid;

	(void)state;
	NEEDS("root", geteuid() == 0);
	pid = child_start(as_nobody, NULL);
	assert_answer(pid, 0, true, "open: denied: ",
		      "we are root, but without CAP_SYS_PTRACE; ");
	child_end(pid);
}

static void test_capabilities_that_we_lack_are_the_cause(void **state)
{
	pid_t pid;

	(void)state;
	NEEDS("root", geteuid() == 0);
	// the target is root with everything, we are root's uid with nothing
	pid = child_start(NULL, NULL);
	assert_answer(pid, 0, true, "open: denied: ", "CAP_SYS_PTRACE");
	child_end(pid);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_denial_names_its_cause_and_a_remedy),
		cmocka_unit_test(test_another_users_process_is_denied_by_owner),
		cmocka_unit_test(test_a_non_dumpable_process_is_called_so),
		cmocka_unit_test(
			test_root_without_the_capability_is_told_which),
		cmocka_unit_test(test_capabilities_that_we_lack_are_the_cause),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
