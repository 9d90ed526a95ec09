/* SPDX-License-Identifier: Apache-2.0 */
#include "netwatch/heal.h"

#include <errno.h>
#include <linux/capability.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <sys/un.h>

#include "base/cleanup.h"
#include "netwatch/options.h"
#include "tests/unit/netlab.h"

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

/*
 * Two machines, a and b, and connections between them. The target is this very
 * process; its reader is a thread of its own.
 */

static int lab_setup(void **state)
{
	struct process *self = NULL;

	if (geteuid() == 0) {
		lab_netns("ab");
		lab_pair('a', "10.9.0.1/24", 'b', "10.9.0.2/24");
		sh("ip -n @a addr add fd09::1/64 dev tob nodad");
		sh("ip -n @b addr add fd09::2/64 dev toa nodad");
	}
	struct error *err = process_open(getpid(), &self);
	*state = self;
	error_free(err);
	return self ? 0 : -1;
}

static int lab_end(void **state)
{
	process_close(*state);
	return lab_teardown(NULL);
}

struct reader {
	pthread_t thread;
	int fd;
	ssize_t got;
	int errnum;
	int64_t woken_ns;
};

static void *read_it(void *arg)
{
	struct reader *r = arg;
	char c;

	r->got = read(r->fd, &c, 1);
	r->errnum = errno;
	r->woken_ns = clock_mono_ns();
	return NULL;
}

/* Start it, and wait until it sits in read(2). */
static void reader_start(struct reader *r, int fd)
{
	*r = (struct reader){ .fd = fd };
	assert_int_equal(pthread_create(&r->thread, NULL, read_it, r), 0);
	clock_sleep_until(clock_mono_ns() + 30000000);
	assert_int_equal(r->woken_ns, 0);
}

/* It must come back, at once. */
static void reader_end(struct reader *r)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 5;
	assert_int_equal(pthread_timedjoin_np(r->thread, NULL, &until), 0);
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

/* Both ends still work: a byte there and a byte back. */
static void assert_alive(const struct conn *c)
{
	char byte = 0;

	assert_int_equal(write(c->client, "x", 1), 1);
	assert_int_equal(read(c->server, &byte, 1), 1);
	assert_int_equal(write(c->server, "y", 1), 1);
	assert_int_equal(read(c->client, &byte, 1), 1);
	assert_int_equal(byte, 'y');
}

static struct error *destroy(const struct process *p, int fd, char ns,
			     const struct tcp_socket *s)
{
	AUTO_CLOSE int netns = lab_fd(ns);

	return tcp_destroy(p, fd, netns, s);
}

static void test_destroy_wakes_the_reader_with_an_error(void **state)
{
	static const struct {
		int family;
		const char *addr;
	} ways[] = { { AF_INET, "10.9.0.2" },
		     { AF_INET6, "fd09::2" },
		     { AF_INET6, "::ffff:10.9.0.2" } };
	struct reader r;

	lab_needs();
	for (size_t i = 0; i < N_OF(ways); i++) {
		struct conn c = lab_connect('a', 'b', ways[i].family,
					    ways[i].addr, 7000 + (int)i,
					    AF_INET6, 7000 + (int)i);

		reader_start(&r, c.client);
		int64_t begin = clock_mono_ns();
		assert_ok(destroy(*state, c.client, 'a', &c.s));
		reader_end(&r);
		assert_int_equal(r.got, -1);
		assert_int_equal(r.errnum, ECONNABORTED);
		assert_true(r.woken_ns - begin < 1000000000);
		/* What is gone is gone, and said so. */
		assert_error(destroy(*state, c.client, 'a', &c.s), ERROR_GONE,
			     "has ended by itself");
		lab_close(&c);
	}
}

static void test_eof_wakes_the_reader_and_keeps_the_writer(void **state)
{
	struct reader r;
	char byte;

	lab_needs();
	struct conn c = lab_tcp('a', 'b', "10.9.0.2", 7000);
	reader_start(&r, c.client);
	assert_ok(tcp_eof(*state, c.client, &c.s));
	reader_end(&r);
	assert_int_equal(r.got, 0);
	/* The peer learns nothing, and who writes still can. */
	assert_int_equal(write(c.client, "x", 1), 1);
	assert_int_equal(read(c.server, &byte, 1), 1);
	struct tcp_socket now = lab_sample('a', c.client);
	assert_int_equal(now.first.state, TCP_STATE_ESTABLISHED);
	lab_close(&c);
}

static const struct tcp_keepalive some = { .idle_s = 7,
					   .intvl_s = 3,
					   .cnt = 4 };

/* All that changes something, on what is not what was meant. */
static void assert_all_refused(const struct process *p, int fd,
			       const struct tcp_socket *s, enum error_code code,
			       const char *part)
{
	assert_error(destroy(p, fd, 'a', s), code, part);
	assert_error(tcp_eof(p, fd, s), code, part);
	assert_error(tcp_arm_keepalive(p, fd, s, &some, NULL), code, part);
}

static void test_fd_of_another_connection_is_not_touched(void **state)
{
	lab_needs();
	struct conn one = lab_tcp('a', 'b', "10.9.0.2", 7000);
	struct conn two = lab_tcp('a', 'b', "10.9.0.2", 7001);

	assert_all_refused(*state, two.client, &one.s, ERROR_GONE,
			   "is another connection now");
	assert_alive(&one);
	assert_alive(&two);
	assert_int_equal(get(two.client, SOL_SOCKET, SO_KEEPALIVE), 0);
	lab_close(&one);
	lab_close(&two);
}

/* The addresses come back, the cookie does not. */
static void test_same_addresses_with_another_cookie_are_safe(void **state)
{
	lab_needs();
	struct conn c = lab_tcp('a', 'b', "10.9.0.2", 7000);
	struct tcp_socket earlier = c.s;

	earlier.cookie += 1000000;
	assert_all_refused(*state, c.client, &earlier, ERROR_GONE,
			   "is another connection now");
	/* And the kernel's own check, behind ours. */
	earlier.cookie = UINT64_MAX;
	assert_all_refused(*state, c.client, &earlier, ERROR_GONE,
			   "is another connection now");
	assert_alive(&c);
	lab_close(&c);
}

static void test_closed_fd_is_refused(void **state)
{
	lab_needs();
	struct conn c = lab_tcp('a', 'b', "10.9.0.2", 7000);
	struct tcp_socket s = c.s;
	int fd = c.client;

	lab_close(&c);
	assert_all_refused(*state, fd, &s, ERROR_GONE, "is not open any more");
}

static void test_what_is_no_tcp_connection_is_refused(void **state)
{
	lab_needs();
	AUTO_CLOSE int file = open("/dev/null", O_RDONLY);
	AUTO_CLOSE int local = socket(AF_UNIX, SOCK_STREAM, 0);
	AUTO_CLOSE int udp = socket(AF_INET, SOCK_DGRAM, 0);
	const int fds[] = { file, local, udp };
	struct conn c = lab_tcp('a', 'b', "10.9.0.2", 7000);

	for (size_t i = 0; i < N_OF(fds); i++)
		assert_all_refused(*state, fds[i], &c.s, ERROR_UNSUPPORTED,
				   "is no TCP connection");
	/* SHUT_RD would make a listener deaf (inet_shutdown, net/ipv4). */
	struct tcp_socket s = c.s;
	s.first.state = TCP_STATE_LISTEN;
	assert_all_refused(*state, c.listener, &s, ERROR_UNSUPPORTED,
			   "it is a listener");
	s.first.state = TCP_STATE_CLOSE;
	assert_all_refused(*state, c.client, &s, ERROR_UNSUPPORTED,
			   "it is not connected");
	assert_alive(&c);
	lab_close(&c);
}

static void test_unknown_namespace_is_refused(void **state)
{
	lab_needs();
	struct conn c = lab_tcp('a', 'b', "10.9.0.2", 7000);

	assert_error(tcp_destroy(*state, c.client, -1, &c.s), ERROR_UNSUPPORTED,
		     "namespace that it lives in is not known");
	/* In the wrong one there is no such connection, and no other ends. */
	assert_error(destroy(*state, c.client, 'b', &c.s), ERROR_GONE,
		     "has ended by itself");
	assert_alive(&c);
	lab_close(&c);
}

static int drop_net_admin(void)
{
	struct __user_cap_header_struct head = { _LINUX_CAPABILITY_VERSION_3,
						 0 };
	struct __user_cap_data_struct data[2];

	if (syscall(SYS_capget, &head, data) < 0)
		return -1;
	data[0].effective &= ~(1u << CAP_NET_ADMIN);
	data[0].permitted &= ~(1u << CAP_NET_ADMIN);
	return (int)syscall(SYS_capset, &head, data);
}

static bool is_error(struct error *err, enum error_code code, const char *part)
{
	bool ok = err && error_code(err) == code &&
		  strstr(error_text(err), part);

	error_free(err);
	return ok;
}

static int ask_as_nobody(void *arg UNUSED)
{
	if (setuid(65534) < 0)
		return 1;
	return tcp_destroy_supported() ? 2 : 0;
}

/* Whoever asks, and whatever connections there are. */
static void test_asking_whether_it_can_ends_nothing(void **state UNUSED)
{
	lab_needs();
	struct conn c = lab_tcp('a', 'b', "10.9.0.2", 7000);

	assert_int_equal(tcp_destroy_supported(), 0);
	in_child(ask_as_nobody, NULL);
	assert_alive(&c);
	lab_close(&c);
}

struct attempt {
	struct conn *c;
	int netns;
};

static int without_net_admin(void *arg)
{
	const struct attempt *attempt = arg;
	const struct conn *c = attempt->c;
	AUTO_PROCESS struct process *self = NULL;
	char byte;

	if (process_open(getpid(), &self) || drop_net_admin())
		return 1;
	if (!is_error(tcp_destroy(self, c->client, attempt->netns, &c->s),
		      ERROR_DENIED, "CAP_NET_ADMIN"))
		return 2;
	/* Untouched; and what needs no capability still works. */
	if (write(c->client, "x", 1) != 1 || read(c->server, &byte, 1) != 1)
		return 3;
	if (tcp_arm_keepalive(self, c->client, &c->s, &some, NULL) ||
	    tcp_eof(self, c->client, &c->s))
		return 4;
	return read(c->client, &byte, 1) ? 5 : 0;
}

static void test_destroy_without_the_capability_is_denied(void **state UNUSED)
{
	lab_needs();
	struct conn c = lab_tcp('a', 'b', "10.9.0.2", 7000);

	struct attempt attempt = { &c, lab_fd('a') };
	in_child(without_net_admin, &attempt);
	close(attempt.netns);
	lab_close(&c);
}

static struct error *make_mptcp(void *arg)
{
	struct lab_socket *s = arg;

	s->fd = socket(s->family, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_MPTCP);
	return NULL;
}

static int mptcp_socket(char ns)
{
	AUTO_CLOSE int netns = lab_fd(ns);
	struct lab_socket s = { .family = AF_INET, .fd = -1 };

	assert_ok(netns_run(netns, make_mptcp, &s));
	return s.fd;
}

static void test_mptcp_reader_is_freed_by_eof_only(void **state)
{
	struct sockaddr_storage at;
	struct reader r;

	lab_needs();
	struct conn c = { .listener = mptcp_socket('b'),
			  .client = mptcp_socket('a') };
	NEEDS("a kernel with MPTCP", c.listener >= 0 && c.client >= 0);
	socklen_t len = lab_address(AF_INET, "10.9.0.2", 7000, &at);
	set(c.listener, SOL_SOCKET, SO_REUSEADDR, 1);
	assert_int_equal(bind(c.listener, (void *)&at, len), 0);
	assert_int_equal(listen(c.listener, 5), 0);
	assert_int_equal(connect(c.client, (void *)&at, len), 0);
	c.server = accept(c.listener, NULL, NULL);
	c.s = lab_sample('a', c.client);
	assert_error(destroy(*state, c.client, 'a', &c.s), ERROR_UNSUPPORTED,
		     "MPTCP");
	assert_alive(&c);
	reader_start(&r, c.client);
	assert_ok(tcp_eof(*state, c.client, &c.s));
	reader_end(&r);
	assert_int_equal(r.got, 0);
	lab_close(&c);
}

static void test_keepalive_is_armed_and_read_back(void **state)
{
	struct tcp_options now;

	lab_needs();
	struct conn c = lab_tcp('a', 'b', "10.9.0.2", 7000);
	assert_ok(tcp_arm_keepalive(*state, c.client, &c.s, &some, &now));
	assert_int_equal(get(c.client, SOL_SOCKET, SO_KEEPALIVE), 1);
	assert_int_equal(get(c.client, IPPROTO_TCP, TCP_KEEPIDLE), 7);
	assert_int_equal(get(c.client, IPPROTO_TCP, TCP_KEEPINTVL), 3);
	assert_int_equal(get(c.client, IPPROTO_TCP, TCP_KEEPCNT), 4);
	assert_true(now.known && now.keepalive);
	assert_int_equal(now.keepidle_s, 7);
	/* The kernel's own view: the timer runs. */
	struct tcp_socket s = lab_sample('a', c.client);
	assert_int_equal(s.first.timer, TCP_TIMER_KEEPALIVE);
	assert_in_range(s.first.expires_ms, 1, 7000);
	assert_alive(&c);
	lab_close(&c);
}

static void test_refused_setting_leaves_all_as_it_was(void **state)
{
	static const struct tcp_keepalive bad[] = {
		{ .idle_s = 7, .intvl_s = 3, .cnt = TCP_KEEPALIVE_MAX_CNT + 1 },
		{ .idle_s = 7, .intvl_s = TCP_KEEPALIVE_MAX_S + 1, .cnt = 4 },
		{ .idle_s = TCP_KEEPALIVE_MAX_S + 1, .intvl_s = 3, .cnt = 4 },
		{ .idle_s = 0, .intvl_s = 3, .cnt = 4 },
	};

	lab_needs();
	struct conn c = lab_tcp('a', 'b', "10.9.0.2", 7000);
	set(c.client, IPPROTO_TCP, TCP_KEEPCNT, 5);
	set(c.client, IPPROTO_TCP, TCP_KEEPINTVL, 6);
	set(c.client, IPPROTO_TCP, TCP_KEEPIDLE, 8);
	for (size_t i = 0; i < N_OF(bad); i++) {
		assert_error(tcp_arm_keepalive(*state, c.client, &c.s, &bad[i],
					       NULL),
			     ERROR_UNSUPPORTED, "nothing was changed");
		assert_int_equal(get(c.client, SOL_SOCKET, SO_KEEPALIVE), 0);
		assert_int_equal(get(c.client, IPPROTO_TCP, TCP_KEEPCNT), 5);
		assert_int_equal(get(c.client, IPPROTO_TCP, TCP_KEEPINTVL), 6);
		assert_int_equal(get(c.client, IPPROTO_TCP, TCP_KEEPIDLE), 8);
	}
	const struct tcp_keepalive most = { TCP_KEEPALIVE_MAX_S,
					    TCP_KEEPALIVE_MAX_S,
					    TCP_KEEPALIVE_MAX_CNT };
	assert_ok(tcp_arm_keepalive(*state, c.client, &c.s, &most, NULL));
	lab_close(&c);
}

static size_t open_fds(const struct process *p)
{
	AUTO_ARENA struct arena *arena = arena_create();
	struct process_fds fds;

	assert_ok(process_fds(p, arena, &fds));
	return fds.n;
}

/* One left open would hold back the FIN of the program's own close(). */
static void test_no_duplicate_stays_open(void **state)
{
	lab_needs();
	struct conn one = lab_tcp('a', 'b', "10.9.0.2", 7000);
	struct conn two = lab_tcp('a', 'b', "10.9.0.2", 7001);
	size_t before = open_fds(*state);

	assert_all_refused(*state, two.client, &one.s, ERROR_GONE, "another");
	assert_ok(tcp_arm_keepalive(*state, one.client, &one.s, &some, NULL));
	assert_ok(tcp_eof(*state, one.client, &one.s));
	assert_ok(destroy(*state, one.client, 'a', &one.s));
	assert_int_equal(open_fds(*state), before);
	lab_close(&one);
	lab_close(&two);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_destroy_wakes_the_reader_with_an_error),
		cmocka_unit_test(
			test_eof_wakes_the_reader_and_keeps_the_writer),
		cmocka_unit_test(test_fd_of_another_connection_is_not_touched),
		cmocka_unit_test(
			test_same_addresses_with_another_cookie_are_safe),
		cmocka_unit_test(test_closed_fd_is_refused),
		cmocka_unit_test(test_what_is_no_tcp_connection_is_refused),
		cmocka_unit_test(test_unknown_namespace_is_refused),
		cmocka_unit_test(test_asking_whether_it_can_ends_nothing),
		cmocka_unit_test(test_destroy_without_the_capability_is_denied),
		cmocka_unit_test(test_mptcp_reader_is_freed_by_eof_only),
		cmocka_unit_test(test_keepalive_is_armed_and_read_back),
		cmocka_unit_test(test_refused_setting_leaves_all_as_it_was),
		cmocka_unit_test(test_no_duplicate_stays_open),
	};

	return cmocka_run_group_tests(tests, lab_setup, lab_end);
}
