/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>

#include "base/cleanup.h"
#include "base/process.h"
#include "base/process_priv.h"

enum {
	FD_SOCKET = 100,
	FD_PIPE,
	FD_EPOLL,
	FD_EVENT,
	FD_FILE,
	FD_TIMER,
};

static void move(int from, int to)
{
	assert_int_equal(dup2(from, to), to);
	close(from);
}

static void open_all(void)
{
	int ends[2];

	move(socket(AF_INET, SOCK_STREAM, 0), FD_SOCKET);
	assert_int_equal(pipe(ends), 0);
	close(ends[1]);
	move(ends[0], FD_PIPE);
	move(epoll_create1(0), FD_EPOLL);
	move(eventfd(0, 0), FD_EVENT);
	move(open("/dev/null", O_RDONLY), FD_FILE);
	move(timerfd_create(CLOCK_MONOTONIC, 0), FD_TIMER);
}

static void close_all(void)
{
	for (int fd = FD_SOCKET; fd <= FD_TIMER; fd++)
		close(fd);
}

static uint64_t inode_of(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return st.st_ino;
}

static void test_each_kind_of_descriptor_is_known(void **state)
{
	static const struct {
		int fd;
		enum process_fd_kind kind;
		const char *text;
	} rows[] = {
		{ FD_SOCKET, PROCESS_FD_SOCKET, "socket:[" },
		{ FD_PIPE, PROCESS_FD_PIPE, "pipe:[" },
		{ FD_EPOLL, PROCESS_FD_EVENTPOLL, "anon_inode:[eventpoll]" },
		{ FD_EVENT, PROCESS_FD_EVENTFD, "anon_inode:[eventfd]" },
		{ FD_FILE, PROCESS_FD_FILE, "/dev/null" },
		{ FD_TIMER, PROCESS_FD_OTHER, "anon_inode:[timerfd]" },
	};
	AUTO_ARENA struct arena *arena = arena_create();
	AUTO_PROCESS struct process *p = NULL;
	struct process_fds fds;
	struct process_fd one;
	char text[256];
	pid_t pid;

	(void)state;
	open_all();
	pid = child_start(NULL, NULL);
	assert_ok(process_open(pid, &p));
	assert_ok(process_fds(p, arena, &fds));
	assert_int_equal(fds.unreadable, 0);
	for (size_t i = 0; i < N_OF(rows); i++) {
		const struct process_fd *fd =
			process_fds_find(&fds, rows[i].fd);
		bool has_inode = i < 2;

		assert_non_null(fd);
		assert_int_equal(fd->fd, rows[i].fd);
		assert_int_equal(fd->kind, rows[i].kind);
		assert_ptr_equal(strstr(fd->text, rows[i].text), fd->text);
		assert_int_equal(fd->inode,
				 has_inode ? inode_of(rows[i].fd) : 0);
		assert_ok(process_fd_link(p, rows[i].fd, &one, text,
					  sizeof(text)));
		assert_int_equal(one.kind, rows[i].kind);
		assert_int_equal(one.inode, fd->inode);
		assert_string_equal(one.text, fd->text);
	}
	assert_null(process_fds_find(&fds, 99));
	assert_null(process_fds_find(&fds, -1));
	assert_null(process_fds_find(&fds, 1 << 30));
	for (size_t i = 1; i < fds.n; i++)
		assert_true(fds.v[i].fd > fds.v[i - 1].fd);
	assert_error(process_fd_link(p, 99, &one, text, sizeof(text)),
		     ERROR_GONE, "has no file descriptor 99");
	child_end(pid);
	assert_error(process_fds(p, arena, &fds), ERROR_GONE, "has ended");
	assert_error(process_fd_link(p, FD_FILE, &one, text, sizeof(text)),
		     ERROR_GONE, "has ended");
	close_all();
}

static void test_a_duplicate_is_the_same_socket(void **state)
{
	AUTO_PROCESS struct process *p = NULL;
	uint64_t inode;
	pid_t pid;
	int fd;

	(void)state;
	open_all();
	inode = inode_of(FD_SOCKET);
	pid = child_start(NULL, NULL);
	close_all();
	assert_ok(process_open(pid, &p));
	fd = process_dup_fd(p, FD_SOCKET);
	assert_true(fd >= 0);
	assert_int_equal(inode_of(fd), inode);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	close(fd);
	assert_int_equal(process_dup_fd(p, 99), -EBADF);
	child_end(pid);
	assert_int_equal(process_dup_fd(p, FD_SOCKET), -ESRCH);
}

static void test_more_entries_than_the_limit_are_counted(void **state)
{
	AUTO_ARENA struct arena *arena = arena_create();
	AUTO_PROCESS struct process *p = NULL;
	size_t n, more;
	pid_t pid;
	int *v;

	(void)state;
	open_all();
	pid = child_start(NULL, NULL);
	close_all();
	assert_ok(process_open(pid, &p));
	assert_int_equal(
		process_numbers(p->procfd, "fd", 3, arena, &v, &n, &more), 0);
	assert_int_equal(n, 3);
	assert_true(more >= 3);
	child_end(pid);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_kind_of_descriptor_is_known),
		cmocka_unit_test(test_a_duplicate_is_the_same_socket),
		cmocka_unit_test(test_more_entries_than_the_limit_are_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
