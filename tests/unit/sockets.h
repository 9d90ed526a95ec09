/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_SOCKETS_H
#define TESTS_UNIT_SOCKETS_H

/*
 * Real sockets for tests, and the truth about each from the very socket. As
 * root the tests run in a network namespace of their own.
 */

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdbool.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "netwatch/socket.h"
#include "tests/unit/unit.h"

static inline void lo_up(void)
{
	struct ifreq ifr = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	assert_true(fd >= 0);
	assert_int_equal(ioctl(fd, SIOCSIFFLAGS, &ifr), 0);
	close(fd);
}

/* cmocka group setup. */
static inline int own_netns(void **state UNUSED)
{
	if (geteuid() != 0 || unshare(CLONE_NEWNET) < 0)
		return 0;
	lo_up();
	return 0;
}

/* A namespace with lo up that the caller does not enter; -1 if not allowed. */
static inline int new_netns(void)
{
	int pipefd[2], fd = -1;
	char path[64], c;

	assert_int_equal(pipe(pipefd), 0);
	pid_t pid = fork();
	if (pid == 0) {
		bool ok = unshare(CLONE_NEWNET) == 0;

		if (ok)
			lo_up();
		if (write(pipefd[1], ok ? "y" : "n", 1) == 1)
			pause();
		_exit(0);
	}
	assert_int_equal(read(pipefd[0], &c, 1), 1);
	snprintf(path, sizeof(path), "/proc/%d/ns/net", pid);
	if (c == 'y')
		fd = open(path, O_RDONLY | O_CLOEXEC);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	close(pipefd[0]);
	close(pipefd[1]);
	return fd;
}

enum flavour { PLAIN4, PLAIN6, MAPPED };

static inline struct sockaddr_storage loopback(enum flavour f, uint16_t port)
{
	struct sockaddr_storage ss = { 0 };
	struct sockaddr_in *in = (void *)&ss;
	struct sockaddr_in6 *in6 = (void *)&ss;

	if (f == PLAIN4) {
		in->sin_family = AF_INET;
		in->sin_port = htons(port);
		in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		return ss;
	}
	in6->sin6_family = AF_INET6;
	in6->sin6_port = htons(port);
	inet_pton(AF_INET6, f == PLAIN6 ? "::1" : "::ffff:127.0.0.1",
		  &in6->sin6_addr);
	return ss;
}

static inline int listen_on(const struct sockaddr_storage *ss, bool reuseport)
{
	int fd = socket(ss->ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

	assert_true(fd >= 0);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (reuseport)
		setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
	assert_int_equal(bind(fd, (const void *)ss, sizeof(*ss)), 0);
	assert_int_equal(listen(fd, 16), 0);
	return fd;
}

/* What the socket itself says. */
struct truth {
	struct endpoint local, remote;
	uint64_t inode, cookie;
};

static inline void truth_name(int fd, bool peer, struct endpoint *e)
{
	struct sockaddr_storage ss = { 0 };
	socklen_t len = sizeof(ss);

	int rc = peer ? getpeername(fd, (void *)&ss, &len)
		      : getsockname(fd, (void *)&ss, &len);
	if (rc < 0)
		return;
	e->family = ss.ss_family;
	if (ss.ss_family == AF_INET) {
		memcpy(e->addr, &((struct sockaddr_in *)&ss)->sin_addr, 4);
		e->port = ntohs(((struct sockaddr_in *)&ss)->sin_port);
	} else {
		struct sockaddr_in6 *in6 = (void *)&ss;

		memcpy(e->addr, &in6->sin6_addr, 16);
		e->port = ntohs(in6->sin6_port);
		e->scope = in6->sin6_scope_id;
	}
}

static inline struct truth truth_of(int fd)
{
	struct truth t = { 0 };
	socklen_t len = sizeof(t.cookie);
	struct stat st;

	truth_name(fd, false, &t.local);
	truth_name(fd, true, &t.remote);
	assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_COOKIE, &t.cookie, &len),
			 0);
	assert_int_equal(fstat(fd, &st), 0);
	t.inode = st.st_ino;
	return t;
}

/* A listener and both ends of one connection to it. */
struct pair {
	int listener, client, server;
};

static inline struct pair connect_pair(const struct sockaddr_storage *where)
{
	struct pair p = { .listener = listen_on(where, false) };
	struct sockaddr_storage at = { 0 };
	socklen_t len = sizeof(at);

	getsockname(p.listener, (void *)&at, &len);
	p.client = socket(at.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(p.client, (void *)&at, len), 0);
	p.server = accept4(p.listener, NULL, NULL, SOCK_CLOEXEC);
	assert_true(p.server >= 0);
	return p;
}

static inline struct pair make_pair(enum flavour f)
{
	struct sockaddr_storage where = loopback(f, 0);

	return connect_pair(&where);
}

static inline void close_pair(struct pair *p)
{
	close(p->listener);
	close(p->client);
	close(p->server);
}

static inline void abort_fd(int fd)
{
	struct linger hard = { .l_onoff = 1 };

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	close(fd);
}

#endif
