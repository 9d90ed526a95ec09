/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/detect.h"

/* What a row expects: no finding, or a kind with a grade. */
enum expect { FINE, PROVEN, LIKELY, POSSIBLE, ENDS, YOUNG, UNKNOWN };

static enum expect outcome(const struct judgement *j)
{
	switch (j->what) {
	case JUDGED_FINE:
		return FINE;
	case JUDGED_ENDS:
		return ENDS;
	case JUDGED_YOUNG:
		return YOUNG;
	case JUDGED_UNKNOWN:
		return UNKNOWN;
	case JUDGED_FINDING:
		break;
	}
	switch (j->grade) {
	case GRADE_PROVEN:
		return PROVEN;
	case GRADE_LIKELY:
		return LIKELY;
	case GRADE_POSSIBLE:
		return POSSIBLE;
	}
	return FINE;
}

#define AGE_SHORT 1000
#define AGE_LONG (3 * 3600 * 1000)

static const struct {
	const char *what;
	enum wait_kind wait;
	enum verdict_kind verdict;
	bool certain;
	enum tcp_state tcp;
	int64_t at_most_ms;
	bool keepalive;
	enum deadline_state deadline;
	int64_t due_in_ms;
	enum expect expect;
	enum finding_kind kind;
} waits[] = {
	{ "half-open is proven at any age", WAIT_READ, VERDICT_HALF_OPEN, true,
	  TCP_STATE_ESTABLISHED, AGE_SHORT, false, DEADLINE_NONE, 0, PROVEN,
	  FINDING_STRANDED_READER },
	{ "also with keepalive on", WAIT_READ, VERDICT_HALF_OPEN, true,
	  TCP_STATE_ESTABLISHED, AGE_SHORT, true, DEADLINE_NONE, 0, PROVEN,
	  FINDING_STRANDED_READER },
	{ "half-open without certainty is likely", WAIT_READ, VERDICT_HALF_OPEN,
	  false, TCP_STATE_ESTABLISHED, AGE_SHORT, false, DEADLINE_NONE, 0,
	  LIKELY, FINDING_STRANDED_READER },
	{ "a writer on it is a stranded writer", WAIT_WRITE, VERDICT_HALF_OPEN,
	  true, TCP_STATE_ESTABLISHED, AGE_SHORT, false, DEADLINE_NONE, 0,
	  PROVEN, FINDING_STRANDED_WRITER },
	{ "a lost address is proven", WAIT_READ, VERDICT_LOCAL_CAUSE, true,
	  TCP_STATE_ESTABLISHED, AGE_SHORT, false, DEADLINE_NONE, 0, PROVEN,
	  FINDING_STRANDED_READER },
	{ "unreachable is never more than likely", WAIT_READ,
	  VERDICT_UNREACHABLE, true, TCP_STATE_ESTABLISHED, AGE_SHORT, true,
	  DEADLINE_NONE, 0, LIKELY, FINDING_STRANDED_READER },
	{ "a handshake nobody answers", WAIT_CONNECT, VERDICT_UNREACHABLE,
	  false, TCP_STATE_SYN_SENT, AGE_SHORT, false, DEADLINE_NONE, 0, LIKELY,
	  FINDING_STRANDED_CONNECT },
	{ "Go waits for a handshake as a writer", WAIT_WRITE,
	  VERDICT_UNREACHABLE, false, TCP_STATE_SYN_SENT, AGE_SHORT, false,
	  DEADLINE_NONE, 0, LIKELY, FINDING_STRANDED_CONNECT },
	{ "a deadline soon ends it", WAIT_READ, VERDICT_HALF_OPEN, true,
	  TCP_STATE_ESTABLISHED, AGE_SHORT, false, DEADLINE_SET, 30000, ENDS,
	  0 },
	{ "a deadline tomorrow does not", WAIT_READ, VERDICT_HALF_OPEN, true,
	  TCP_STATE_ESTABLISHED, AGE_SHORT, false, DEADLINE_SET, 86400000,
	  PROVEN, FINDING_STRANDED_READER },
	{ "an unknown deadline is none", WAIT_READ, VERDICT_HALF_OPEN, true,
	  TCP_STATE_ESTABLISHED, AGE_SHORT, false, DEADLINE_UNKNOWN, 0, PROVEN,
	  FINDING_STRANDED_READER },
	{ "long silence without keepalive is possible", WAIT_READ,
	  VERDICT_SILENT, false, TCP_STATE_ESTABLISHED, AGE_LONG, false,
	  DEADLINE_NONE, 0, POSSIBLE, FINDING_STRANDED_READER },
	{ "unknown age may be long", WAIT_READ, VERDICT_SILENT, false,
	  TCP_STATE_ESTABLISHED, -1, false, DEADLINE_NONE, 0, POSSIBLE,
	  FINDING_STRANDED_READER },
	{ "short silence is none yet", WAIT_READ, VERDICT_SILENT, false,
	  TCP_STATE_ESTABLISHED, AGE_SHORT, false, DEADLINE_NONE, 0, YOUNG, 0 },
	{ "keepalive will find out", WAIT_READ, VERDICT_SILENT, false,
	  TCP_STATE_ESTABLISHED, AGE_LONG, true, DEADLINE_NONE, 0, FINE, 0 },
	{ "so will a deadline", WAIT_READ, VERDICT_SILENT, false,
	  TCP_STATE_ESTABLISHED, AGE_LONG, false, DEADLINE_SET, 30000, FINE,
	  0 },
	{ "alive for hours is fine", WAIT_READ, VERDICT_ALIVE, true,
	  TCP_STATE_ESTABLISHED, AGE_LONG, false, DEADLINE_NONE, 0, FINE, 0 },
	{ "a listener waits", WAIT_ACCEPT, VERDICT_LISTENING, true,
	  TCP_STATE_LISTEN, AGE_LONG, false, DEADLINE_NONE, 0, FINE, 0 },
	{ "not seen well enough is no all-clear", WAIT_READ, VERDICT_UNKNOWN,
	  false, TCP_STATE_ESTABLISHED, AGE_SHORT, false, DEADLINE_NONE, 0,
	  UNKNOWN, 0 },
	{ "a reader held on CLOSE_WAIT", WAIT_READ, VERDICT_HALF_CLOSED, true,
	  TCP_STATE_CLOSE_WAIT, AGE_SHORT, false, DEADLINE_NONE, 0, PROVEN,
	  FINDING_HALF_CLOSED_HELD },
	{ "our own half-close waits for the rest", WAIT_READ,
	  VERDICT_HALF_CLOSED, true, TCP_STATE_FIN_WAIT2, AGE_SHORT, false,
	  DEADLINE_NONE, 0, YOUNG, 0 },
	{ "but not for hours", WAIT_READ, VERDICT_HALF_CLOSED, true,
	  TCP_STATE_FIN_WAIT2, AGE_LONG, false, DEADLINE_NONE, 0, POSSIBLE,
	  FINDING_HALF_CLOSED_HELD },
	{ "a peer that does not read", WAIT_WRITE, VERDICT_PEER_NOT_READING,
	  true, TCP_STATE_ESTABLISHED, AGE_SHORT, true, DEADLINE_NONE, 0,
	  LIKELY, FINDING_STRANDED_WRITER },
	{ "is no reader's trouble", WAIT_READ, VERDICT_PEER_NOT_READING, true,
	  TCP_STATE_ESTABLISHED, AGE_LONG, true, DEADLINE_NONE, 0, FINE, 0 },
	{ "a young handshake", WAIT_CONNECT, VERDICT_CONNECTING, false,
	  TCP_STATE_SYN_SENT, AGE_SHORT, false, DEADLINE_NONE, 0, FINE, 0 },
};

static void test_waits_by_verdict(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_OF(waits); i++) {
		AUTO_WORLD struct world *w = world_create();
		struct tcp_socket *s =
			add_socket(w, 9, waits[i].verdict, waits[i].certain);
		struct task *t = add_task(w, waits[i].wait, 9);
		struct blocked_for b = { .at_most_ms = waits[i].at_most_ms };
		const struct deadline d = {
			.state = waits[i].deadline,
			.at_mono_ns =
				(DETECT_NOW_MS + waits[i].due_in_ms) * 1000000,
		};

		t->read_deadline = t->write_deadline = d;
		s->first.state = s->second.state = waits[i].tcp;
		s->options.keepalive = waits[i].keepalive;
		struct judgement j =
			judge_wait(t, &b, s, &w->verdicts[0], &w->limits);
		if (outcome(&j) != waits[i].expect)
			fail_msg("%s: got %d, expected %d", waits[i].what,
				 outcome(&j), waits[i].expect);
		if (j.what == JUDGED_FINDING && j.kind != waits[i].kind)
			fail_msg("%s: got %s", waits[i].what,
				 finding_kind_name(j.kind));
	}
}

static void test_min_blocked_applies_to_all_grades_when_given(void **state)
{
	AUTO_WORLD struct world *w = world_create();
	struct tcp_socket *s = add_socket(w, 9, VERDICT_HALF_OPEN, true);
	struct task *t = add_task(w, WAIT_READ, 9);
	struct blocked_for b = { .at_least_ms = 10, .at_most_ms = 20000 };

	(void)state;
	w->limits.min_blocked_ms = 20000;
	struct judgement j = judge_wait(t, &b, s, &w->verdicts[0], &w->limits);
	assert_int_equal(j.what, JUDGED_FINDING);
	w->limits.min_blocked_ms = 20001;
	j = judge_wait(t, &b, s, &w->verdicts[0], &w->limits);
	assert_int_equal(j.what, JUDGED_YOUNG);
	w->verdicts[0].kind = VERDICT_SILENT;
	w->limits.min_blocked_ms = 0;
	j = judge_wait(t, &b, s, &w->verdicts[0], &w->limits);
	assert_int_equal(j.grade, GRADE_POSSIBLE);
	assert_int_equal(j.what, JUDGED_FINDING);
}

static void test_the_same_unread_data_twice_is_a_reader_not_woken(void **state)
{
	AUTO_WORLD struct world *w = world_create();
	struct tcp_socket *s = add_socket(w, 9, VERDICT_DATA_WAITING, true);
	struct task *t = add_task(w, WAIT_READ, 9);
	struct blocked_for b = { .at_least_ms = 1000, .at_most_ms = -1 };

	(void)state;
	s->first.rqueue = s->second.rqueue = 12;
	struct judgement j = judge_wait(t, &b, s, &w->verdicts[0], &w->limits);
	assert_int_equal(outcome(&j), LIKELY);
	s->second.info.bytes_received++; /* other bytes: it does read */
	j = judge_wait(t, &b, s, &w->verdicts[0], &w->limits);
	assert_int_equal(outcome(&j), FINE);
	s->second.info.bytes_received--;
	s->second_state = TCP_NOT_SAMPLED;
	j = judge_wait(t, &b, s, &w->verdicts[0], &w->limits);
	assert_int_equal(outcome(&j), FINE);
}

static void test_a_writer_whose_data_is_taken_is_not_stuck(void **state)
{
	AUTO_WORLD struct world *w = world_create();
	struct tcp_socket *s = add_socket(w, 9, VERDICT_PEER_NOT_READING, true);
	struct task *t = add_task(w, WAIT_WRITE, 9);
	struct blocked_for b = { .at_least_ms = 1000, .at_most_ms = -1 };

	(void)state;
	s->second.info.bytes_acked = s->first.info.bytes_acked + 1448;
	struct judgement j = judge_wait(t, &b, s, &w->verdicts[0], &w->limits);
	assert_int_equal(outcome(&j), FINE);
}

static void test_syns_without_answer_are_likely_after_the_third(void **state)
{
	AUTO_WORLD struct world *w = world_create();
	struct tcp_socket *s = add_socket(w, 9, VERDICT_CONNECTING, false);
	struct task *t = add_task(w, WAIT_CONNECT, 9);
	struct blocked_for b = { .at_most_ms = -1 };

	(void)state;
	s->first.state = s->second.state = TCP_STATE_SYN_SENT;
	s->second.info.retransmits = 2;
	struct judgement j = judge_wait(t, &b, s, &w->verdicts[0], &w->limits);
	assert_int_equal(outcome(&j), FINE);
	s->second.info.retransmits = 3;
	j = judge_wait(t, &b, s, &w->verdicts[0], &w->limits);
	assert_int_equal(outcome(&j), LIKELY);
	assert_int_equal(j.kind, FINDING_STRANDED_CONNECT);
}

static void test_keepalive_is_told_by_the_timer_without_options(void **state)
{
	AUTO_WORLD struct world *w = world_create();
	struct tcp_socket *s = add_socket(w, 9, VERDICT_SILENT, false);

	(void)state;
	assert_int_equal(socket_keepalive(s), KEEPALIVE_OFF);
	s->options.known = false;
	assert_int_equal(socket_keepalive(s), KEEPALIVE_OFF);
	s->second.timer = TCP_TIMER_KEEPALIVE;
	assert_int_equal(socket_keepalive(s), KEEPALIVE_ON);
	s->second.timer = TCP_TIMER_RETRANSMIT;
	assert_int_equal(socket_keepalive(s), KEEPALIVE_UNKNOWN);
}

static const struct {
	const char *what;
	enum verdict_kind verdict;
	enum tcp_state tcp;
	uint32_t last_ack_ms;
	enum expect expect;
	enum finding_kind kind;
} idles[] = {
	{ "half-open in a pool", VERDICT_HALF_OPEN, TCP_STATE_ESTABLISHED, 9000,
	  PROVEN, FINDING_DEAD_IDLE },
	{ "unreachable in a pool", VERDICT_UNREACHABLE, TCP_STATE_ESTABLISHED,
	  9000, LIKELY, FINDING_DEAD_IDLE },
	{ "silent in a pool", VERDICT_SILENT, TCP_STATE_ESTABLISHED, 9000000,
	  FINE, 0 },
	{ "alive in a pool", VERDICT_ALIVE, TCP_STATE_ESTABLISHED, 9000000,
	  FINE, 0 },
	{ "a handler that just outlives its client", VERDICT_HALF_CLOSED,
	  TCP_STATE_CLOSE_WAIT, 9000, FINE, 0 },
	{ "a forgotten connection", VERDICT_HALF_CLOSED, TCP_STATE_CLOSE_WAIT,
	  11000, LIKELY, FINDING_HALF_CLOSED_HELD },
	{ "a handshake with a timer", VERDICT_UNREACHABLE, TCP_STATE_SYN_SENT,
	  0, FINE, 0 },
};

static void test_connections_that_nobody_waits_on(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_OF(idles); i++) {
		AUTO_WORLD struct world *w = world_create();
		struct tcp_socket *s = add_socket(w, 9, idles[i].verdict, true);

		s->first.state = s->second.state = idles[i].tcp;
		s->second.info.last_ack_recv_ms = idles[i].last_ack_ms;
		struct judgement j = judge_idle(s, &w->verdicts[0], &w->limits);
		if (outcome(&j) != idles[i].expect ||
		    (j.what == JUDGED_FINDING && j.kind != idles[i].kind))
			fail_msg("%s", idles[i].what);
	}
}

static void
test_group_members_need_a_long_wait_or_the_runtimes_proof(void **state)
{
	struct judge_limits limits = { .min_blocked_ms = -1 };
	struct blocked_for b = { .at_least_ms = 299999, .at_most_ms = -1 };
	struct task t = { .wait = WAIT_CHAN_SEND, .state = TASK_WAITING };

	(void)state;
	struct judgement j = judge_group_member(&t, &b, &limits);
	assert_int_equal(outcome(&j), FINE);
	b.at_least_ms = 300000;
	j = judge_group_member(&t, &b, &limits);
	assert_int_equal(outcome(&j), POSSIBLE);
	t.wait = WAIT_CHAN_RECV; /* an idle worker looks the same */
	j = judge_group_member(&t, &b, &limits);
	assert_int_equal(outcome(&j), FINE);
	t.leaked = true;
	b.at_least_ms = 0;
	j = judge_group_member(&t, &b, &limits);
	assert_int_equal(outcome(&j), PROVEN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_waits_by_verdict),
		cmocka_unit_test(
			test_min_blocked_applies_to_all_grades_when_given),
		cmocka_unit_test(
			test_the_same_unread_data_twice_is_a_reader_not_woken),
		cmocka_unit_test(
			test_a_writer_whose_data_is_taken_is_not_stuck),
		cmocka_unit_test(
			test_syns_without_answer_are_likely_after_the_third),
		cmocka_unit_test(
			test_keepalive_is_told_by_the_timer_without_options),
		cmocka_unit_test(test_connections_that_nobody_waits_on),
		cmocka_unit_test(
			test_group_members_need_a_long_wait_or_the_runtimes_proof),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
