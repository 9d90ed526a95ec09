/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/syscall.h>

#include "runtime-hooks/thread/sets.h"
#include "runtime-hooks/thread/syscalls.h"
#include "tests/unit/unit.h"

/** Sets of file descriptors, of a process that is ourselves. */

static struct process *self;
static struct arena *arena;

static int set_up(void **state UNUSED)
{
	arena = arena_create();
	assert_ok(process_open(getpid(), &self));
	return 0;
}

static int tear_down(void **state UNUSED)
{
	process_close(self);
	arena_destroy(arena);
	return 0;
}

static void test_poll(void **state UNUSED)
{
	struct pollfd v[] = { { .fd = 7, .events = POLLIN },
			      { .fd = -3, .events = POLLIN },
			      { .fd = 0, .events = POLLOUT | POLLPRI } };
	struct wait_set set = { 0 };

	assert_int_equal(wait_set_poll(self, (raddr_t)v, 3, arena, &set), 0);
	assert_int_equal(set.n, 2);
	assert_int_equal(set.v[0].fd, 7);
	assert_int_equal(set.v[0].events, POLLIN);
	assert_int_equal(set.v[1].events, POLLOUT | POLLPRI);
	assert_false(set.cut);
	assert_int_equal(wait_set_poll(self, 0, 0, arena, &set), 0);
	assert_int_equal(set.n, 0);
}

static void test_a_poll_of_many_is_cut(void **state UNUSED)
{
	static struct pollfd v[TASK_MAX_WAIT_FDS + 1];
	struct wait_set set = { 0 };

	assert_int_equal(wait_set_poll(self, (raddr_t)v, N_OF(v), arena, &set),
			 0);
	assert_int_equal(set.n, TASK_MAX_WAIT_FDS);
	assert_true(set.cut);
	/* A count of nonsense is not believed, an address is not followed. */
	assert_int_equal(
		wait_set_poll(self, (raddr_t)v, UINT64_MAX, arena, &set), 0);
	assert_true(set.cut);
	assert_int_equal(wait_set_poll(self, 8, 3, arena, &set), -EFAULT);
	assert_int_equal(wait_set_poll(self, UINT64_MAX - 4, 3, arena, &set),
			 -EFAULT);
}

static void test_select(void **state UNUSED)
{
	struct wait_set set = { 0 };
	fd_set r, w;

	FD_ZERO(&r);
	FD_ZERO(&w);
	FD_SET(3, &r);
	FD_SET(70, &r);
	FD_SET(70, &w);
	FD_SET(100, &w); /* beyond n */
	assert_int_equal(
		wait_set_select(self, 71,
				(raddr_t[]){ (raddr_t)&r, (raddr_t)&w, 0 },
				arena, &set),
		0);
	assert_int_equal(set.n, 2);
	assert_int_equal(set.v[0].fd, 3);
	assert_int_equal(set.v[0].events, POLLIN);
	assert_int_equal(set.v[1].fd, 70);
	assert_int_equal(set.v[1].events, POLLIN | POLLOUT);
}

static void test_epoll(void **state UNUSED)
{
	int epfd = epoll_create1(EPOLL_CLOEXEC), fds[2];
	struct epoll_event e = { .events = EPOLLIN | EPOLLOUT };
	struct wait_set set = { 0 };

	assert_int_equal(pipe(fds), 0);
	assert_int_equal(epoll_ctl(epfd, EPOLL_CTL_ADD, fds[0], &e), 0);
	assert_int_equal(wait_set_epoll(self, epfd, arena, &set), 0);
	assert_int_equal(set.n, 1);
	assert_int_equal(set.v[0].fd, fds[0]);
	assert_int_equal(set.v[0].events & (EPOLLIN | EPOLLOUT),
			 EPOLLIN | EPOLLOUT);
	close(epfd);
	assert_int_equal(wait_set_epoll(self, epfd, arena, &set), -ENOENT);
	close(fds[0]);
	close(fds[1]);
}

static void test_epoll_text_of_any_kind(void **state UNUSED)
{
	struct wait_set set = { 0 };

	assert_int_equal(
		wait_set_epoll_parse("pos:\t0\ntfd: x\ntfd:\ntfd: -1 events: 1"
				     "\ntfd: 5 events: 19 data: 1\ntfd: 6",
				     arena, &set),
		0);
	assert_int_equal(set.n, 1);
	assert_int_equal(set.v[0].fd, 5);
	assert_int_equal(set.v[0].events, 0x19);
	assert_int_equal(wait_set_epoll_parse("", arena, &set), 0);
	assert_int_equal(set.n, 0);
}

static void test_system_calls(void **state UNUSED)
{
	assert_string_equal(syscall_kind(SYS_recvfrom)->name, "recvfrom");
	assert_int_equal(syscall_kind(SYS_recvfrom)->wait, WAIT_READ);
	assert_true(syscall_kind(SYS_recvfrom)->eintr_timeout);
	assert_true(syscall_kind(SYS_epoll_pwait)->eintr);
	assert_null(syscall_kind(SYS_getpid));
	assert_null(syscall_kind(-1));
	assert_null(syscall_kind(INT64_MAX));
}

#ifdef __x86_64__
static void test_a_restarted_call_is_told_by_its_code(void **state UNUSED)
{
	/* nop..., mov $nr,%eax, syscall */
	uint8_t code[SYSCALL_CODE];

	memset(code, 0x90, sizeof(code));
	assert_null(syscall_restarted(code));
	memcpy(code + SYSCALL_CODE - 7, "\xb8\x07\0\0\0\x0f\x05", 7);
	assert_int_equal(syscall_restarted(code)->nr, SYS_poll);
	/* Another instruction in between, as in glibc's clock_nanosleep. */
	memcpy(code + SYSCALL_CODE - 10, "\xb8\xe6\0\0\0\x48\x89\xd7\x0f\x05",
	       10);
	assert_int_equal(syscall_restarted(code)->nr, SYS_clock_nanosleep);
	/* A call that the kernel never restarts like that. */
	memset(code, 0x90, sizeof(code));
	memcpy(code + SYSCALL_CODE - 7, "\xb8\x00\0\0\0\x0f\x05", 7);
	assert_null(syscall_restarted(code));
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_poll),
		cmocka_unit_test(test_a_poll_of_many_is_cut),
		cmocka_unit_test(test_select),
		cmocka_unit_test(test_epoll),
		cmocka_unit_test(test_epoll_text_of_any_kind),
		cmocka_unit_test(test_system_calls),
#ifdef __x86_64__
		cmocka_unit_test(test_a_restarted_call_is_told_by_its_code),
#endif
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
