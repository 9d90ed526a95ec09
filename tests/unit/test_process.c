/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/clock.h"
#include "base/process.h"
#include "base/process_priv.h"

static void wait_until(bool (*there)(pid_t), pid_t pid)
{
	for (int i = 0; i < 1000 && !there(pid); i++)
		clock_sleep_until(clock_mono_ns() + 10000000);
	assert_true(there(pid));
}

static void test_a_child_is_described_as_it_is(void **state)
{
	int64_t before = clock_wall_ms();
	AUTO_PROCESS struct process *p = NULL;
	pid_t pid = child_start(NULL, NULL);
	char exe[4096] = "";
	struct stat st;

	(void)state;
	assert_ok(process_open(pid, &p));
	assert_int_equal(p->pid, pid);
	assert_true(readlink("/proc/self/exe", exe, sizeof(exe) - 1) > 0);
	assert_string_equal(p->exe, exe);
	assert_false(p->exe_deleted);
	assert_non_null(strstr(p->cmdline, "test_process"));
	assert_string_equal(p->comm, "test_process");
	assert_int_equal(p->uid, getuid());
	assert_int_equal(stat("/proc/self/ns/net", &st), 0);
	assert_int_equal(p->netns, st.st_ino);
	assert_int_equal(stat("/proc/self/ns/pid", &st), 0);
	assert_int_equal(p->pidns, st.st_ino);
	// the kernel counts in 10 ms
	assert_in_range(p->start_wall_ms, before - 50, clock_wall_ms() + 50);
	assert_true(process_alive(p));
	child_end(pid);
	assert_false(process_alive(p));
}

static void test_there_is_no_such_process(void **state)
{
	struct process *p = (void *)1;
	pid_t pid = child_start(NULL, NULL);

	(void)state;
	child_end(pid);
	assert_error(process_open(pid, &p), ERROR_GONE, "no process ");
	assert_error(process_open(0, &p), ERROR_USAGE, "0 is no process id");
	assert_error(process_open(-5, &p), ERROR_USAGE, "-5 is no process id");
	assert_error(process_open(1 << 30, &p), ERROR_GONE, "no process ");
	assert_ptr_equal(p, (void *)1);
}

static bool is_zombie(pid_t pid)
{
	char name[64], text[512] = "";
	FILE *f;

	snprintf(name, sizeof(name), "/proc/%d/stat", pid);
	f = fopen(name, "r");
	if (!f)
		return false;
	if (!fgets(text, sizeof(text), f))
		text[0] = '\0';
	fclose(f);
	return strstr(text, ") Z ");
}

static void test_without_fds_nobody_is_hidden_or_has_ended(void **state)
{
	pid_t pid = child_start(NULL, NULL);
	AUTO_PROCESS struct process *held = NULL;
	struct process *p;
	struct rlimit was, none;

	(void)state;
	assert_ok(process_open(pid, &held));
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
	none = (struct rlimit){ .rlim_cur = 3, .rlim_max = was.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	bool alive = process_alive(held);
	struct error *err = process_open(pid, &p);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &was), 0);
	assert_true(alive);
	assert_error(err, ERROR_OS, "too many open files");
	child_end(pid);
	assert_false(process_alive(held));
}

static void test_a_zombie_is_called_one(void **state)
{
	pid_t pid = child_start(NULL, NULL);
	AUTO_PROCESS struct process *held = NULL;
	struct process *p;

	(void)state;
	assert_ok(process_open(pid, &held));
	kill(pid, SIGKILL);
	wait_until(is_zombie, pid);
	assert_error(process_open(pid, &p), ERROR_GONE, "is a zombie");
	assert_false(process_alive(held));
	assert_error(process_error(held, EFAULT, "memory of"), ERROR_GONE,
		     "has ended");
	child_end(pid);
	assert_error(process_error(held, ESRCH, "memory of"), ERROR_GONE,
		     "has ended");
}

static pid_t helper_tid;

static void *helper_thread(void *arg)
{
	(void)arg;
	__atomic_store_n(&helper_tid, (pid_t)syscall(SYS_gettid),
			 __ATOMIC_SEQ_CST);
	for (;;)
		pause();
	return NULL;
}

static void start_thread(void *arg)
{
	pthread_t thread;

	(void)arg;
	pthread_create(&thread, NULL, helper_thread, NULL);
	while (!__atomic_load_n(&helper_tid, __ATOMIC_SEQ_CST))
		sched_yield();
}

static void test_a_thread_id_names_its_process(void **state)
{
	AUTO_ARENA struct arena *arena = arena_create();
	AUTO_PROCESS struct process *p = NULL;
	pid_t pid = child_start(start_thread, NULL);
	struct process *q;
	char text[64];
	pid_t *tids;
	size_t n;

	(void)state;
	assert_ok(process_open(pid, &p));
	assert_ok(process_threads(p, arena, &tids, &n));
	assert_int_equal(n, 2);
	assert_int_equal(tids[0], pid);
	snprintf(text, sizeof(text), "%d is a thread of process %d; give that",
		 tids[1], pid);
	assert_error(process_open(tids[1], &q), ERROR_USAGE, text);
	child_end(pid);
}

static void *exit_first(void *arg)
{
	(void)arg;
	for (;;)
		pause();
	return NULL;
}

static void test_a_process_without_its_first_thread_is_refused(void **state)
{
	struct process *p;
	pid_t pid = fork();

	(void)state;
	if (!pid) {
		pthread_t thread;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		pthread_create(&thread, NULL, exit_first, NULL);
		syscall(SYS_exit, 0);
	}
	wait_until(is_zombie, pid);
	assert_error(process_open(pid, &p), ERROR_UNSUPPORTED,
		     "the first thread of process ");
	child_end(pid);
}

static void test_a_kernel_thread_is_unsupported(void **state)
{
	struct process *p;

	(void)state;
	NEEDS("the host's pid namespace", !access("/proc/2/comm", R_OK));
	assert_error(process_open(2, &p), ERROR_UNSUPPORTED,
		     "(kthreadd) is a kernel thread");
}

static void test_execve_of_the_same_file_is_noticed(void **state)
{
	AUTO_PROCESS struct process *p = NULL;
	int go[2], done[2];
	pid_t pid;
	char c;

	(void)state;
	assert_int_equal(pipe2(go, 0), 0);
	assert_int_equal(pipe2(done, O_CLOEXEC), 0);
	pid = fork();
	if (!pid) {
		dup2(go[0], 0);
		dup2(open("/dev/null", O_WRONLY), 1);
		close(go[1]);
		if (read(0, &c, 1) == 1)
			execl("/proc/self/exe", "again", "--sleep", NULL);
		_exit(1);
	}
	close(done[1]);
	assert_ok(process_open(pid, &p));
	assert_true(process_alive(p));
	assert_int_equal(write(go[1], "x", 1), 1);
	// the close-on-exec end of the child goes away at the execve
	assert_int_equal(read(done[0], &c, 1), 0);
	assert_false(process_alive(p));
	assert_error(process_error(p, EFAULT, "memory of"), ERROR_GONE,
		     "by execve; try again");
	close(go[0]);
	close(go[1]);
	close(done[0]);
	child_end(pid);
}

static void test_find_names_comm_and_executable(void **state)
{
	AUTO_ARENA struct arena *arena = arena_create();
	pid_t pid = child_start(NULL, NULL);
	pid_t *pids;
	size_t n, at = 0;

	(void)state;
	// the child has our name; we do not list ourselves
	assert_ok(process_find("test_process", arena, &pids, &n));
	for (size_t i = 0; i < n; i++) {
		at += pids[i] == pid;
		assert_int_not_equal(pids[i], getpid());
		assert_true(!i || pids[i] > pids[i - 1]);
	}
	assert_int_equal(at, 1);
	assert_ok(process_find("no such name at all", arena, &pids, &n));
	assert_int_equal(n, 0);
	assert_ok(process_find(NULL, arena, &pids, &n));
	at = 0;
	for (size_t i = 0; i < n; i++)
		at += pids[i] == pid;
	assert_int_equal(at, 1);
	child_end(pid);
}

static void rename_self(void *arg)
{
	prctl(PR_SET_NAME, arg);
}

static void test_a_hostile_name_hides_nothing(void **state)
{
	static char name[] = ") Z 1 (\n\x1b[2J";
	AUTO_PROCESS struct process *p = NULL;
	pid_t pid = child_start(rename_self, name);

	(void)state;
	assert_ok(process_open(pid, &p));
	assert_string_equal(p->comm, name);
	child_end(pid);
}

static void test_stat_text_is_parsed_or_refused(void **state)
{
	struct process_stat st;

	(void)state;
	assert_int_equal(
		process_stat_parse(
			"7 (a) b) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 "
			"3 0 1234 1000 20 184 1 1 140724 0 0\n",
			&st),
		0);
	assert_string_equal(st.comm, "a) b");
	assert_int_equal(st.state, 'S');
	assert_int_equal(st.ppid, 1);
	assert_int_equal(st.flags, 4194560);
	assert_int_equal(st.n_threads, 3);
	assert_int_equal(st.start_ticks, 1234);
	assert_int_equal(st.stack_start, 140724);
	assert_int_equal(process_stat_parse("", &st), -EPROTO);
	assert_int_equal(process_stat_parse(")(", &st), -EPROTO);
	assert_int_equal(process_stat_parse("7 (a) S 1 7", &st), -EPROTO);
	assert_int_equal(process_stat_parse("7 (a)", &st), -EPROTO);
}

static void test_slurp_refuses_too_much(void **state)
{
	AUTO_PROCESS struct process *p = NULL;
	pid_t pid = child_start(NULL, NULL);
	char *text = NULL;

	(void)state;
	assert_ok(process_open(pid, &p));
	assert_int_equal(process_slurp(p, "status", 10, &text), -E2BIG);
	assert_int_equal(process_slurp(p, "no-such", 10, &text), -ENOENT);
	assert_null(text);
	assert_true(process_slurp(p, "status", 1 << 20, &text) > 100);
	assert_int_equal(strncmp(text, "Name:\ttest_process\n", 19), 0);
	free(text);
	child_end(pid);
}

static void copy_ourselves(const char *to)
{
	char cmd[256];

	snprintf(cmd, sizeof(cmd), "cp /proc/%d/exe '%s'", getpid(), to);
	assert_int_equal(system(cmd), 0);
}

static void test_a_deleted_executable_is_told_from_a_strange_name(void **state)
{
	static const struct {
		const char *name;
		bool remove;
	} rows[] = {
		{ "plain", true },
		{ "odd (deleted)", false },
		{ "odd (deleted)", true },
	};
	char dir[] = "/tmp/test_process.XXXXXX", path[64];

	(void)state;
	assert_non_null(mkdtemp(dir));
	for (size_t i = 0; i < N_OF(rows); i++) {
		AUTO_PROCESS struct process *p = NULL;
		int out[2];
		pid_t pid;
		char c;

		snprintf(path, sizeof(path), "%s/%s", dir, rows[i].name);
		copy_ourselves(path);
		assert_int_equal(pipe(out), 0);
		pid = fork();
		if (!pid) {
			dup2(out[1], 1);
			execl(path, path, "--sleep", NULL);
			_exit(1);
		}
		close(out[1]);
		assert_int_equal(read(out[0], &c, 1), 1);
		close(out[0]);
		if (rows[i].remove)
			unlink(path);
		assert_ok(process_open(pid, &p));
		assert_string_equal(p->exe, path);
		assert_int_equal(p->exe_deleted, rows[i].remove);
		child_end(pid);
		unlink(path);
	}
	rmdir(dir);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_child_is_described_as_it_is),
		cmocka_unit_test(test_there_is_no_such_process),
		cmocka_unit_test(
			test_without_fds_nobody_is_hidden_or_has_ended),
		cmocka_unit_test(test_a_zombie_is_called_one),
		cmocka_unit_test(test_a_thread_id_names_its_process),
		cmocka_unit_test(
			test_a_process_without_its_first_thread_is_refused),
		cmocka_unit_test(test_a_kernel_thread_is_unsupported),
		cmocka_unit_test(test_execve_of_the_same_file_is_noticed),
		cmocka_unit_test(test_find_names_comm_and_executable),
		cmocka_unit_test(test_a_hostile_name_hides_nothing),
		cmocka_unit_test(test_stat_text_is_parsed_or_refused),
		cmocka_unit_test(test_slurp_refuses_too_much),
		cmocka_unit_test(
			test_a_deleted_executable_is_told_from_a_strange_name),
	};

	// what the tests execute
	if (argc > 1 && !strcmp(argv[1], "--sleep")) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (write(1, "x", 1) != 1)
			return 1;
		for (;;)
			pause();
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
