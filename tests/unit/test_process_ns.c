/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/unit.h"

#include <errno.h>
#include <linux/sched.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "base/process.h"

/* fork() with the pid chosen; needs root. Returns as fork(). */
static pid_t fork_as(pid_t pid)
{
	struct clone_args args = {
		.exit_signal = SIGCHLD,
		.set_tid = (uintptr_t)&pid,
		.set_tid_size = 1,
	};

	return (pid_t)syscall(SYS_clone3, &args, sizeof(args));
}

static void sleep_for_ever(void)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;)
		pause();
}

static pid_t free_pid(void)
{
	for (pid_t pid = 29000; pid > 1000; pid--) {
		if (kill(pid, 0) && errno == ESRCH)
			return pid;
	}
	return 0;
}

static void test_a_reused_pid_is_another_process(void **state)
{
	AUTO_PROCESS struct process *p = NULL;
	AUTO_PROCESS struct process *q = NULL;
	struct process_syscall sc;
	char *text = NULL;
	pid_t pid;

	(void)state;
	NEEDS("root", geteuid() == 0);
	pid = child_start(NULL, NULL);
	assert_ok(process_open(pid, &p));
	child_end(pid);
	if (!fork_as(pid))
		sleep_for_ever();
	assert_int_equal(kill(pid, 0), 0);
	assert_false(process_alive(p));
	assert_int_equal(process_slurp(p, "status", 1 << 20, &text), -ESRCH);
	assert_int_equal(process_thread_syscall(p, pid, &sc), -ESRCH);
	assert_int_equal(process_dup_fd(p, 0), -ESRCH);
	assert_error(process_error(p, EFAULT, "memory of"), ERROR_GONE,
		     "has ended");
	assert_ok(process_open(pid, &q));
	assert_true(process_alive(q));
	child_end(pid);
}

static int open_in_new_pidns(void *arg)
{
	struct process *p;
	struct error *err;
	pid_t pid;
	int status;

	(void)arg;
	if (unshare(CLONE_NEWPID))
		return 10;
	pid = fork();
	if (!pid) {
		err = process_open(1, &p);
		if (!err)
			_exit(11);
		_exit(error_code(err) == ERROR_UNSUPPORTED &&
				      strstr(error_text(err),
					     "/proc belongs to another pid "
					     "namespace")
			      ? 0
			      : 12);
	}
	waitpid(pid, &status, 0);
	return status ? 13 : 0;
}

static void test_a_foreign_proc_is_refused(void **state)
{
	(void)state;
	NEEDS("root", geteuid() == 0);
	in_child(open_in_new_pidns, NULL);
}

static void new_pidns_with_inner(void *arg)
{
	pid_t *inner = arg;

	if (unshare(CLONE_NEWPID))
		_exit(1);
	if (!fork()) {
		// the namespace's first process; its end ends the others
		pid_t pid = fork_as(*inner);

		if (!pid)
			sleep_for_ever();
		*inner = -pid;
		sleep_for_ever();
	}
	while (*(volatile pid_t *)inner > 0)
		usleep(1000);
}

static void test_a_pid_of_a_container_is_translated(void **state)
{
	AUTO_PROCESS struct process *p = NULL;
	struct process *q;
	struct error *err;
	pid_t *inner, pid, outer = 0, number;
	const char *at;

	(void)state;
	NEEDS("root", geteuid() == 0);
	inner = mmap(NULL, sizeof(*inner), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	number = free_pid();
	*inner = number;
	pid = child_start(new_pidns_with_inner, inner);
	err = process_open(number, &q);
	assert_non_null(err);
	assert_int_equal(error_code(err), ERROR_GONE);
	at = strstr(error_text(err),
		    "has that number in its own pid namespace");
	if (!at ||
	    sscanf(error_text(err), "no process %*d; process %d", &outer) != 1)
		fail_msg("%s", error_text(err));
	error_free(err);
	assert_ok(process_open(outer, &p));
	assert_string_equal(p->comm, "test_process_ns");
	child_end(pid);
	munmap(inner, sizeof(*inner));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_reused_pid_is_another_process),
		cmocka_unit_test(test_a_foreign_proc_is_refused),
		cmocka_unit_test(test_a_pid_of_a_container_is_translated),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
