/* SPDX-License-Identifier: Apache-2.0 */
/* Verdicts on real connections: what the kernel does is the truth. */
#include <errno.h>
#include <poll.h>

#include "netwatch/path.h"
#include "netwatch/verdict.h"
#include "tests/unit/netlab.h"

static void wait_ms(int64_t ms)
{
	clock_sleep_until(clock_mono_ns() + ms * 1000000);
}

static void read_options(int fd, struct tcp_options *o)
{
	int v[4], timeout, on;
	static const int names[] = { TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT };
	socklen_t len = sizeof(int);

	getsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, &len);
	for (int i = 0; i < 3; i++)
		getsockopt(fd, IPPROTO_TCP, names[i], &v[i], &len);
	getsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout, &len);
	*o = (struct tcp_options){
		.known = true,
		.keepalive = on,
		.keepidle_s = (uint32_t)v[0],
		.keepintvl_s = (uint32_t)v[1],
		.keepcnt = (uint32_t)v[2],
		.user_timeout_ms = (uint32_t)timeout,
	};
}

/* One look by one sample. */
static struct verdict judge_now(struct arena *arena, char ns, int fd)
{
	struct tcp_socket s = lab_sample(ns, fd);
	struct verdict v;

	read_options(fd, &s.options);
	assert_ok(verdict_judge(&s, NULL, arena, &v));
	return v;
}

/* The whole procedure: examine, wait, second sample, second look. */
static struct verdict judge_fully(struct arena *arena, char ns, int fd,
				  void (*meanwhile)(void))
{
	struct tcp_socket s = lab_sample(ns, fd), *v[] = { &s };
	struct looked l = lab_look(ns, &s);
	struct verdict ret;

	read_options(fd, &s.options);
	assert_ok(path_examine(&l.ns, 1, v, 1, arena, &l.facts));
	if (meanwhile)
		meanwhile();
	wait_ms(600);
	struct tcp_socket again = lab_sample(ns, fd);
	assert_true(again.cookie == s.cookie);
	s.second = again.first;
	s.second_state = TCP_SAMPLED;
	assert_ok(peer_recheck(l.peer, v, 1, l.arena, &l.facts));
	assert_ok(verdict_judge(&s, &l.facts, arena, &ret));
	for (uint32_t i = 0; i < ret.n_evidence; i++) {
		char *copy = arena_strdup(arena, ret.evidence[i].text);
		assert_non_null(copy);
		ret.evidence[i].text = copy;
		print_message("    %s\n", copy);
	}
	looked_end(&l);
	return ret;
}

static bool says(const struct verdict *v, const char *part)
{
	for (uint32_t i = 0; i < v->n_evidence; i++)
		if (strstr(v->evidence[i].text, part))
			return true;
	return false;
}

static void lab_direct(void)
{
	lab_needs();
	lab_netns("ab");
	lab_pair('a', "10.1.0.1/24", 'b', "10.1.0.2/24");
}

/* From now on nothing reaches b, and a does not learn of it. */
static void cut(void)
{
	nft("b", "table ip cut { chain c { type filter hook prerouting "
		 "priority -500; drop; }; }");
}

static void link_down(void)
{
	sh("ip -n @b link set toa down");
}

static void test_vanished_peer_is_half_open_its_twin_alive(void **state UNUSED)
{
	lab_direct();
	struct arena *arena = arena_create();
	struct conn dead = lab_tcp('a', 'b', "10.1.0.2", 7001);
	struct conn twin = lab_tcp('a', 'b', "10.1.0.2", 7002);

	lab_vanish(dead.server);
	struct verdict v = judge_fully(arena, 'a', dead.client, NULL);
	assert_int_equal(v.kind, VERDICT_HALF_OPEN);
	assert_true(v.certain);
	assert_true(says(&v, "has no such connection"));
	assert_true(says(&v, "looked 2 times, 0 packets sent"));
	assert_true(says(&v, "keepalive is off"));
	v = judge_fully(arena, 'a', twin.client, NULL);
	assert_int_equal(v.kind, VERDICT_ALIVE);
	assert_true(v.certain);
	// Not even for a link that goes down in between.
	v = judge_fully(arena, 'a', dead.client, link_down);
	assert_int_not_equal(v.kind, VERDICT_HALF_OPEN);
	arena_destroy(arena);
	close(dead.client);
	close(dead.listener);
	lab_close(&twin);
}

static void set_tcp(int fd, int name, int value)
{
	assert_int_equal(
		setsockopt(fd, IPPROTO_TCP, name, &value, sizeof(value)), 0);
}

static void set_keepalive(int fd, int idle, int intvl, int cnt)
{
	int on = 1;

	set_tcp(fd, TCP_KEEPIDLE, idle);
	set_tcp(fd, TCP_KEEPINTVL, intvl);
	set_tcp(fd, TCP_KEEPCNT, cnt);
	assert_int_equal(
		setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on)), 0);
}

/* A connection whose end is foretold by one look, then awaited. */
struct ending {
	const char *name;
	struct conn c;
	int64_t foretold_ms, ended_ms; /* from the look; -1 not yet */
};

static void await_ends(struct ending *e, size_t n)
{
	int64_t from = clock_mono_ns(), now = 0;
	struct pollfd p[8];

	assert_true(n <= N_OF(p));
	for (size_t left = n; left && now < 15000;) {
		for (size_t i = 0; i < n; i++) {
			bool ended = e[i].ended_ms >= 0;
			p[i] = (struct pollfd){
				.fd = ended ? -1 : e[i].c.client,
				.events = POLLIN,
			};
		}
		assert_true(poll(p, n, 15000) >= 0);
		now = (clock_mono_ns() - from) / 1000000;
		for (size_t i = 0; i < n; i++)
			if (p[i].revents) {
				e[i].ended_ms = now;
				left--;
			}
	}
}

static void test_end_is_foretold(void **state UNUSED)
{
	struct ending e[] = {
		{ .name = "keepalive" },
		{ .name = "keepalive, user timeout overrides the count" },
		{ .name = "data in flight, user timeout" },
	};
	struct arena *arena = arena_create();

	lab_direct();
	for (size_t i = 0; i < N_OF(e); i++)
		e[i].c = lab_tcp('a', 'b', "10.1.0.2", 7001 + (int)i);
	set_keepalive(e[0].c.client, 1, 1, 3);
	set_keepalive(e[1].c.client, 1, 1, 100);
	set_tcp(e[1].c.client, TCP_USER_TIMEOUT, 3500);
	set_tcp(e[2].c.client, TCP_USER_TIMEOUT, 4000);
	cut();
	assert_int_equal(send(e[2].c.client, "x", 1, 0), 1);
	wait_ms(1500);
	for (size_t i = 0; i < N_OF(e); i++) {
		struct verdict v = judge_now(arena, 'a', e[i].c.client);
		e[i].foretold_ms = v.kernel_gives_up_ms;
		e[i].ended_ms = -1;
	}
	await_ends(e, N_OF(e));
	for (size_t i = 0; i < N_OF(e); i++) {
		int64_t late = e[i].ended_ms - e[i].foretold_ms;
		print_message("    %s: foretold %lld ms, was %lld ms\n",
			      e[i].name, (long long)e[i].foretold_ms,
			      (long long)e[i].ended_ms);
		assert_true(e[i].foretold_ms > 0 && e[i].ended_ms > 0);
		assert_true(late > -300 && late < 800);
		lab_close(&e[i].c);
	}
	arena_destroy(arena);
}

static void test_half_closed_end_read_and_not_read(void **state UNUSED)
{
	lab_direct();
	struct arena *arena = arena_create();
	struct conn c = lab_tcp('a', 'b', "10.1.0.2", 7001);
	char buf[8];

	close(c.server);
	wait_ms(50);
	struct verdict v = judge_now(arena, 'a', c.client);
	assert_int_equal(v.kind, VERDICT_HALF_CLOSED);
	assert_true(says(&v, "has not read the end"));
	assert_int_equal(recv(c.client, buf, sizeof(buf), 0), 0);
	v = judge_now(arena, 'a', c.client);
	assert_int_equal(v.kind, VERDICT_HALF_CLOSED);
	assert_true(says(&v, "has read everything"));
	arena_destroy(arena);
	close(c.client);
	close(c.listener);
}

static void fill_up(int fd)
{
	static char block[65536];

	for (int i = 0; i < 1000; i++)
		if (send(fd, block, sizeof(block), MSG_DONTWAIT) < 0 && i > 100)
			break;
}

static void test_peer_that_does_not_read(void **state UNUSED)
{
	lab_direct();
	struct arena *arena = arena_create();
	struct conn c = lab_tcp('a', 'b', "10.1.0.2", 7001);

	fill_up(c.client);
	wait_ms(200);
	fill_up(c.client);
	wait_ms(700);
	struct verdict v = judge_fully(arena, 'a', c.client, NULL);
	assert_int_equal(v.kind, VERDICT_PEER_NOT_READING);
	assert_true(v.certain);
	// Its own end has data to read.
	v = judge_fully(arena, 'b', c.server, NULL);
	assert_int_equal(v.kind, VERDICT_DATA_WAITING);
	arena_destroy(arena);
	lab_close(&c);
}

static void test_output_that_fails_here_is_a_local_cause(void **state UNUSED)
{
	lab_direct();
	struct arena *arena = arena_create();
	struct conn c = lab_tcp('a', 'b', "10.1.0.2", 7001);

	nft("a", "table ip t { chain c { type filter hook output priority 0; "
		 "drop; }; }");
	assert_int_equal(send(c.client, "x", 1, 0), 1);
	wait_ms(700);
	struct verdict v = judge_fully(arena, 'a', c.client, NULL);
	assert_int_equal(v.kind, VERDICT_LOCAL_CAUSE);
	assert_true(says(&v, "sending fails on this host"));
	arena_destroy(arena);
	lab_close(&c);
}

static void test_goodbye_that_does_not_arrive(void **state UNUSED)
{
	lab_direct();
	struct arena *arena = arena_create();
	struct conn c = lab_tcp('a', 'b', "10.1.0.2", 7001);

	nft("a", "table ip t { chain c { type filter hook input priority 0; "
		 "drop; }; }");
	close(c.server);
	struct verdict v = judge_fully(arena, 'a', c.client, NULL);
	assert_int_equal(v.kind, VERDICT_UNREACHABLE);
	assert_true(says(&v, "its FIN does not arrive"));
	arena_destroy(arena);
	close(c.client);
	close(c.listener);
}

#define LAB(f) cmocka_unit_test_teardown(f, lab_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		LAB(test_vanished_peer_is_half_open_its_twin_alive),
		LAB(test_end_is_foretold),
		LAB(test_half_closed_end_read_and_not_read),
		LAB(test_peer_that_does_not_read),
		LAB(test_output_that_fails_here_is_a_local_cause),
		LAB(test_goodbye_that_does_not_arrive),
	};

	return cmocka_run_group_tests(tests, NULL, lab_teardown);
}
