/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/unit.h"

#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "base/clock.h"
#include "base/process.h"

enum { N_THREADS = 5 };

struct shared {
	pid_t reader;
	int fds[2];
	char buf[77];
};

static struct shared *shared;

static void *read_for_ever(void *arg)
{
	(void)arg;
	shared->reader = (pid_t)syscall(SYS_gettid);
	return syscall(SYS_read, shared->fds[0], shared->buf,
		       sizeof(shared->buf))
		       ? NULL
		       : NULL;
}

static void *spin(void *arg)
{
	(void)arg;
	for (;;)
		__asm__ volatile("" ::: "memory");
	return NULL;
}

static void *wait_for_ever(void *arg)
{
	(void)arg;
	for (;;)
		pause();
	return NULL;
}

static void start_threads(void *arg)
{
	pthread_t thread;

	(void)arg;
	pthread_create(&thread, NULL, read_for_ever, NULL);
	for (int i = 0; i < N_THREADS - 2; i++)
		pthread_create(&thread, NULL, wait_for_ever, NULL);
}

static void start_spinner(void *arg)
{
	pthread_t thread;

	(void)arg;
	pthread_create(&thread, NULL, spin, NULL);
}

static bool in_syscall(const struct process *p, pid_t tid, long nr,
		       struct process_syscall *sc)
{
	for (int i = 0; i < 500; i++) {
		assert_int_equal(process_thread_syscall(p, tid, sc), 0);
		if (!sc->running && sc->nr == nr)
			return true;
		clock_sleep_until(clock_mono_ns() + 10000000);
	}
	return false;
}

static void test_the_arguments_of_a_blocked_read_are_seen(void **state)
{
	AUTO_ARENA struct arena *arena = arena_create();
	AUTO_PROCESS struct process *p = NULL;
	struct process_syscall sc;
	pid_t pid, *tids;
	size_t n, at = 0;

	(void)state;
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_int_equal(pipe(shared->fds), 0);
	pid = child_start(start_threads, NULL);
	assert_ok(process_open(pid, &p));
	for (int i = 0; i < 500 && !shared->reader; i++)
		clock_sleep_until(clock_mono_ns() + 10000000);
	assert_ok(process_threads(p, arena, &tids, &n));
	assert_int_equal(n, N_THREADS);
	for (size_t i = 0; i < n; i++) {
		assert_true(!i || tids[i] > tids[i - 1]);
		at += tids[i] == shared->reader;
	}
	assert_int_equal(at, 1);
	assert_true(in_syscall(p, shared->reader, SYS_read, &sc));
	assert_int_equal(sc.args[0], shared->fds[0]);
	assert_int_equal(sc.args[1], (uintptr_t)shared->buf);
	assert_int_equal(sc.args[2], sizeof(shared->buf));
	assert_true(sc.sp && sc.pc);
	assert_int_equal(process_thread_syscall(p, getpid(), &sc), -ESRCH);
	child_end(pid);
	assert_int_equal(process_thread_syscall(p, pid, &sc), -ESRCH);
	assert_error(process_threads(p, arena, &tids, &n), ERROR_GONE,
		     "has ended");
	close(shared->fds[0]);
	close(shared->fds[1]);
	munmap(shared, sizeof(*shared));
}

static void test_a_spinning_thread_is_running(void **state)
{
	AUTO_ARENA struct arena *arena = arena_create();
	AUTO_PROCESS struct process *p = NULL;
	pid_t pid = child_start(start_spinner, NULL);
	struct process_syscall sc = { 0 };
	pid_t *tids;
	size_t n;

	(void)state;
	assert_ok(process_open(pid, &p));
	assert_ok(process_threads(p, arena, &tids, &n));
	assert_int_equal(n, 2);
	for (int i = 0; i < 500 && !sc.running; i++) {
		assert_int_equal(process_thread_syscall(p, tids[1], &sc), 0);
		clock_sleep_until(clock_mono_ns() + 1000000);
	}
	assert_true(sc.running);
	child_end(pid);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_arguments_of_a_blocked_read_are_seen),
		cmocka_unit_test(test_a_spinning_thread_is_running),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
