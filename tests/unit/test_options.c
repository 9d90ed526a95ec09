/* SPDX-License-Identifier: Apache-2.0 */
#include "netwatch/options.h"

#include <netinet/tcp.h>
#include <sys/un.h>

#include "base/cleanup.h"
#include "netwatch/netns.h"
#include "tests/unit/sockets.h"
#include "tests/unit/unit.h"

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

static int open_self(void **state)
{
	struct process *self = NULL;
	struct error *err = process_open(getpid(), &self);

	*state = self;
	error_free(err);
	return self ? 0 : -1;
}

static int close_self(void **state)
{
	process_close(*state);
	return 0;
}

/* As much of a tcp_socket as identity needs. */
static struct tcp_socket identity_of(int fd)
{
	struct truth t = truth_of(fd);

	return (struct tcp_socket){ .inode = t.inode, .cookie = t.cookie };
}

static void set(int fd, int level, int name, int value)
{
	assert_int_equal(setsockopt(fd, level, name, &value, sizeof(value)), 0);
}

static int get(int fd, int level, int name)
{
	int value = -1;
	socklen_t len = sizeof(value);

	assert_int_equal(getsockopt(fd, level, name, &value, &len), 0);
	return value;
}

static void test_settings_are_those_that_were_made(void **state)
{
	struct pair p = make_pair(PLAIN6);
	struct tcp_socket s = identity_of(p.client);
	struct tcp_options o;

	assert_int_equal(tcp_options_read(*state, p.client, &s, &o), 0);
	assert_true(o.known);
	assert_null(tcp_options_why(&o));
	assert_false(o.keepalive);
	assert_int_equal(o.keepidle_s,
			 get(p.client, IPPROTO_TCP, TCP_KEEPIDLE));
	assert_int_equal(o.user_timeout_ms, 0);
	set(p.client, SOL_SOCKET, SO_KEEPALIVE, 1);
	set(p.client, IPPROTO_TCP, TCP_KEEPIDLE, 15);
	set(p.client, IPPROTO_TCP, TCP_KEEPINTVL, 16);
	set(p.client, IPPROTO_TCP, TCP_KEEPCNT, 9);
	set(p.client, IPPROTO_TCP, TCP_USER_TIMEOUT, 20000);
	assert_int_equal(tcp_options_read(*state, p.client, &s, &o), 0);
	assert_true(o.keepalive);
	assert_int_equal(o.keepidle_s, 15);
	assert_int_equal(o.keepintvl_s, 16);
	assert_int_equal(o.keepcnt, 9);
	assert_int_equal(o.user_timeout_ms, 20000);
	assert_false(o.is_mptcp);
	close_pair(&p);
}

static void test_number_that_is_another_socket_now_is_not_known(void **state)
{
	struct pair p = make_pair(PLAIN4);
	struct tcp_socket s = identity_of(p.server);
	struct tcp_options o;

	assert_int_equal(tcp_options_read(*state, p.client, &s, &o), -ESTALE);
	assert_false(o.known);
	assert_int_equal(o.error, ESTALE);
	assert_string_equal(tcp_options_why(&o),
			    "the program closed it meanwhile");
	close_pair(&p);
	assert_int_equal(tcp_options_read(*state, p.client, &s, &o), -EBADF);
	assert_string_equal(tcp_options_why(&o),
			    "the program closed it meanwhile");
	AUTO_CLOSE int file = open("/dev/null", O_RDONLY);
	assert_int_equal(tcp_options_read(*state, file, &s, &o), -ENOTSOCK);
}

static int read_as_nobody(void *arg)
{
	struct process **p = arg;
	struct tcp_socket s = { .inode = 1, .cookie = 1 };
	struct tcp_options o;

	if (setuid(65534) < 0)
		return 1;
	if (tcp_options_read(*p, 0, &s, &o) != -EPERM || o.known ||
	    o.error != EPERM)
		return 2;
	return strstr(tcp_options_why(&o), "not permitted") ? 0 : 3;
}

static void test_refusal_is_told_from_off(void **state)
{
	NEEDS("root", geteuid() == 0);
	in_child(read_as_nobody, state);
}

/* Reading it would take from the program the error that it is due. */
static void test_pending_error_of_the_socket_stays(void **state)
{
	struct sockaddr_storage nobody = loopback(PLAIN4, 1);
	AUTO_CLOSE int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	struct tcp_options o;
	struct socket_probe probe;

	assert_int_equal(connect(fd, (void *)&nobody, sizeof(nobody)), -1);
	assert_int_equal(errno, EINPROGRESS);
	struct tcp_socket s = identity_of(fd);
	assert_int_equal(tcp_options_read(*state, fd, &s, &o), 0);
	assert_int_equal(socket_probe(*state, fd, &probe), 0);
	close(probe.netns_fd);
	assert_int_equal(get(fd, SOL_SOCKET, SO_ERROR), ECONNREFUSED);
}

static size_t open_fds(struct process *p)
{
	AUTO_ARENA struct arena *arena = arena_create();
	struct process_fds fds;

	assert_ok(process_fds(p, arena, &fds));
	return fds.n;
}

static void test_no_duplicate_stays_open(void **state)
{
	struct pair p = make_pair(PLAIN4);
	struct tcp_socket good = identity_of(p.client);
	struct tcp_socket bad = identity_of(p.server);
	size_t before = open_fds(*state);
	struct tcp_options o;
	struct socket_probe probe;

	tcp_options_read(*state, p.client, &good, &o);
	tcp_options_read(*state, p.client, &bad, &o);
	assert_int_equal(socket_probe(*state, p.client, &probe), 0);
	if (probe.netns_fd >= 0)
		close(probe.netns_fd);
	assert_int_equal(open_fds(*state), before);
	close_pair(&p);
}

static void test_kind_is_known_without_a_duplicate(void **state)
{
	struct pair p = make_pair(PLAIN6);
	const struct {
		int fd;
		enum socket_kind kind;
	} cases[] = {
		{ p.client, SOCKET_TCP },
		{ p.server, SOCKET_TCP },
		{ p.listener, SOCKET_TCP },
		{ socket(AF_INET, SOCK_STREAM, 0), SOCKET_TCP },
		{ socket(AF_INET, SOCK_STREAM, IPPROTO_MPTCP), SOCKET_TCP },
		{ socket(AF_INET, SOCK_DGRAM, 0), SOCKET_NOT_TCP },
		{ socket(AF_INET6, SOCK_DGRAM, 0), SOCKET_NOT_TCP },
		{ socket(AF_UNIX, SOCK_STREAM, 0), SOCKET_NOT_TCP },
		{ socket(AF_NETLINK, SOCK_RAW, 0), SOCKET_NOT_TCP },
		{ open("/dev/null", O_RDONLY), SOCKET_UNKNOWN },
	};

	for (size_t i = 0; i < N_OF(cases); i++) {
		struct socket_probe probe;

		if (cases[i].fd < 0)
			continue; // a kernel without MPTCP
		assert_int_equal(socket_kind_by_name(*state, cases[i].fd),
				 cases[i].kind);
		assert_int_equal(socket_probe(*state, cases[i].fd, &probe), 0);
		assert_int_equal(probe.kind, cases[i].kind);
		if (probe.netns_fd >= 0)
			close(probe.netns_fd);
		close(cases[i].fd);
	}
	assert_int_equal(socket_kind_by_name(*state, cases[0].fd),
			 SOCKET_UNKNOWN);
}

static void test_probe_tells_what_the_socket_tells(void **state)
{
	struct pair p = make_pair(MAPPED);
	struct truth t = truth_of(p.client);
	struct socket_probe probe;

	assert_int_equal(socket_probe(*state, p.client, &probe), 0);
	assert_true(endpoint_equal(&probe.local, &t.local));
	assert_true(endpoint_equal(&probe.remote, &t.remote));
	assert_int_equal(probe.cookie, t.cookie);
	assert_int_equal(probe.inode, t.inode);
	assert_int_equal(probe.state, TCP_STATE_ESTABLISHED);
	if (probe.netns_fd >= 0) {
		assert_int_equal(probe.netns, netns_own());
		close(probe.netns_fd);
	} else {
		assert_int_equal(probe.netns_error, EPERM);
	}
	close_pair(&p);
}

#define WITH_SELF(test)                                                        \
	cmocka_unit_test_setup_teardown(test, open_self, close_self)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_SELF(test_settings_are_those_that_were_made),
		WITH_SELF(test_number_that_is_another_socket_now_is_not_known),
		WITH_SELF(test_refusal_is_told_from_off),
		WITH_SELF(test_pending_error_of_the_socket_stays),
		WITH_SELF(test_no_duplicate_stays_open),
		WITH_SELF(test_kind_is_known_without_a_duplicate),
		WITH_SELF(test_probe_tells_what_the_socket_tells),
	};

	return cmocka_run_group_tests(tests, own_netns, NULL);
}
