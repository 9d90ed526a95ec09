/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <pthread.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "detector/gate/quiet.h"
#include "detector/gate/serving.h"
#include "netwatch/netwatch.h"
#include "tests/unit/unit.h"

#define MS INT64_C(1000000)
#define QUIET_MS 2000
#define BEGIN (1000 * MS)

/* A server's listener, and as many of its clients. */
static struct serving_state idle(size_t accepted)
{
	return (struct serving_state){ .listeners = 1,
				       .accepted = accepted,
				       .signature = 77 + accepted };
}

static struct tcp_socket example(enum tcp_state state)
{
	struct tcp_socket s = { .first.state = state,
				.second_state = TCP_NOT_SAMPLED };

	assert_true(endpoint_parse("10.0.0.1:80", &s.local));
	assert_true(endpoint_parse("10.0.0.2:40000", &s.remote));
	return s;
}

static struct serving_state busy(const struct tcp_socket *s)
{
	struct serving_state state = idle(1);

	state.in_flight = 1;
	state.example = s;
	return state;
}

static void judge(struct quiet *q, const struct serving_state *state,
		  int64_t at_ms, enum quiet_answer expected)
{
	enum quiet_answer got =
		quiet_judge(q, state, BEGIN + at_ms * MS, QUIET_MS);

	if (got != expected)
		fail_msg("at %lld ms: %d, not %d", (long long)at_ms, got,
			 expected);
}

static void test_what_never_listened(void **state UNUSED)
{
	struct serving_state none = { 0 }, some = idle(0);
	struct quiet q = { 0 };

	judge(&q, &none, 0, QUIET_NEVER);
	judge(&q, &none, 10000, QUIET_NEVER);
	/* it listens late */
	judge(&q, &some, 20000, QUIET_UNTOUCHED);
	/* and no more: what it served is still to be looked at */
	none.signature = 1;
	judge(&q, &none, 20500, QUIET_NOT);
	judge(&q, &none, 22500, QUIET_UNTOUCHED);
}

static void test_untouched_at_once_and_after_the_whole_time(void **state UNUSED)
{
	struct serving_state s = idle(0);
	struct quiet q = { 0 };

	judge(&q, &s, 0, QUIET_UNTOUCHED);
	judge(&q, &s, 500, QUIET_NOT);
	judge(&q, &s, 1999, QUIET_NOT);
	judge(&q, &s, 2000, QUIET_UNTOUCHED);
	judge(&q, &s, 2500, QUIET_STILL);
	judge(&q, &s, 3600000, QUIET_STILL);
}

static void test_who_is_connected_has_touched_it(void **state UNUSED)
{
	struct serving_state s = idle(1), later = idle(0);
	struct quiet q = { 0 };

	judge(&q, &s, 0, QUIET_NOT);
	judge(&q, &s, 1999, QUIET_NOT);
	judge(&q, &s, 2000, QUIET_SINCE);
	judge(&q, &s, 2001, QUIET_STILL);
	/* also when they have gone */
	judge(&q, &later, 3000, QUIET_NOT);
	judge(&q, &later, 5000, QUIET_SINCE);
}

static void test_a_byte_begins_the_time_anew(void **state UNUSED)
{
	struct serving_state s = idle(1);
	struct quiet q = { 0 };

	judge(&q, &s, 0, QUIET_NOT);
	s.signature++;
	judge(&q, &s, 1900, QUIET_NOT);
	judge(&q, &s, 3899, QUIET_NOT);
	judge(&q, &s, 3900, QUIET_SINCE);
	judge(&q, &s, 3950, QUIET_STILL);
	s.signature++;
	judge(&q, &s, 4000, QUIET_NOT);
	judge(&q, &s, 6000, QUIET_SINCE);
}

static void test_what_is_in_flight_is_waited_for_and_named(void **state UNUSED)
{
	struct tcp_socket request = example(TCP_STATE_ESTABLISHED);
	struct serving_state s = busy(&request), done = idle(1);
	struct quiet q = { 0 };

	judge(&q, &s, 0, QUIET_NOT);
	judge(&q, &s, 60000, QUIET_NOT); /* however silent */
	assert_string_equal(q.busy, "a request from 10.0.0.2:40000 to "
				    "10.0.0.1:80 was in flight");
	/* the time counts from when it was last seen in flight */
	judge(&q, &done, 61999, QUIET_NOT);
	judge(&q, &done, 62000, QUIET_SINCE);
}

static void test_who_waits_to_be_accepted_has_touched_it(void **state UNUSED)
{
	struct tcp_socket listener = example(TCP_STATE_LISTEN);
	struct serving_state s = busy(&listener), gone = idle(0);
	struct quiet q = { 0 };

	s.accepted = 0;
	s.signature = gone.signature;
	judge(&q, &s, 0, QUIET_NOT);
	assert_string_equal(q.busy, "connections waited to be accepted at "
				    "10.0.0.1:80");
	/* it was accepted, left something, and went between two questions */
	judge(&q, &gone, 1000, QUIET_NOT);
	judge(&q, &gone, 2000, QUIET_SINCE);
}

static void test_who_came_and_went_between_two_questions(void **state UNUSED)
{
	struct serving_state s = idle(0);
	struct quiet q = { 0 };

	judge(&q, &s, 0, QUIET_UNTOUCHED);
	judge(&q, &s, 2000, QUIET_UNTOUCHED);
	s.ended = 1;
	judge(&q, &s, 2500, QUIET_NOT);
	s.ended = 0;
	judge(&q, &s, 4499, QUIET_NOT);
	judge(&q, &s, 4500, QUIET_SINCE);
	judge(&q, &s, 4600, QUIET_STILL);
}

/* On a host that closes thousands some are missed, all the time. */
static void test_who_may_have_been_missed(void **state UNUSED)
{
	struct serving_state s = idle(0);
	struct quiet q = { 0 };

	judge(&q, &s, 0, QUIET_UNTOUCHED);
	s.missed = true;
	judge(&q, &s, 1000, QUIET_NOT);
	judge(&q, &s, 2000, QUIET_SINCE); /* no base any more */
	judge(&q, &s, 2500, QUIET_NOT);
	judge(&q, &s, 3500, QUIET_NOT);
	judge(&q, &s, 4500, QUIET_SINCE);
}

static void test_the_pause_between_two_questions(void **state UNUSED)
{
	assert_int_equal(quiet_pause_ms(0), 50);
	assert_int_equal(quiet_pause_ms(200), 50);
	assert_int_equal(quiet_pause_ms(400), 100);
	assert_int_equal(quiet_pause_ms(2000), 500);
	assert_int_equal(quiet_pause_ms(4000), 1000);
	assert_int_equal(quiet_pause_ms(INT64_C(86400000)), 1000);
}

/* --- of a process --- */

static void *serve(void *arg)
{
	for (;;) {
		int fd = accept(*(int *)arg, NULL, NULL);

		if (fd >= 0)
			close(fd);
	}
	return NULL;
}

static void serve_in_child(void *arg)
{
	static int listener;
	pthread_t thread;

	listener = *(int *)arg;
	if (pthread_create(&thread, NULL, serve, &listener))
		_exit(1);
}

static void come_and_go(const struct sockaddr_in *to)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	char c;

	assert_int_equal(connect(fd, (const void *)to, sizeof(*to)), 0);
	assert_int_equal(read(fd, &c, 1), 0);
	close(fd);
}

/* Asks until it is another answer than @but, for up to 10 s. */
static enum quiet_answer ask_until(struct quiet *q, pid_t pid,
				   enum quiet_answer but)
{
	int64_t until = clock_mono_ns() + 10000 * MS;
	enum quiet_answer got;

	do {
		got = quiet_ask(q, pid, 200);
		clock_sleep_until(clock_mono_ns() + 20 * MS);
	} while (got == but && clock_mono_ns() < until);
	return got;
}

static void test_a_server_that_was_touched_for_a_moment(void **state UNUSED)
{
	struct sockaddr_in at = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(at);
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	AUTO_QUIET struct quiet q = { 0 };

	assert_int_equal(bind(listener, (void *)&at, len), 0);
	assert_int_equal(listen(listener, 5), 0);
	assert_int_equal(getsockname(listener, (void *)&at, &len), 0);
	pid_t pid = child_start(serve_in_child, &listener);

	close(listener);
	assert_int_equal(quiet_ask(&q, pid, 200), QUIET_UNTOUCHED);
	assert_int_equal(ask_until(&q, pid, QUIET_NOT), QUIET_UNTOUCHED);
	assert_int_equal(quiet_ask(&q, pid, 200), QUIET_STILL);
	come_and_go(&at);
	assert_int_equal(ask_until(&q, pid, QUIET_STILL), QUIET_NOT);
	assert_int_equal(ask_until(&q, pid, QUIET_NOT), QUIET_SINCE);
	assert_int_equal(quiet_ask(&q, pid, 200), QUIET_STILL);
	child_end(pid);
	assert_int_equal(quiet_ask(&q, pid, 200), QUIET_NEVER);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_never_listened),
		cmocka_unit_test(
			test_untouched_at_once_and_after_the_whole_time),
		cmocka_unit_test(test_who_is_connected_has_touched_it),
		cmocka_unit_test(test_a_byte_begins_the_time_anew),
		cmocka_unit_test(
			test_what_is_in_flight_is_waited_for_and_named),
		cmocka_unit_test(test_who_waits_to_be_accepted_has_touched_it),
		cmocka_unit_test(test_who_came_and_went_between_two_questions),
		cmocka_unit_test(test_who_may_have_been_missed),
		cmocka_unit_test(test_the_pause_between_two_questions),
		cmocka_unit_test(test_a_server_that_was_touched_for_a_moment),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
