/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/verdict_rows.h"

/* Facts that contradict one another, races, and what is missing. */
static const struct row contradictions[] = {
	{ "the peer's data does not arrive here",
	  { IDLE },
	  .peer = { FOUND(ESTABLISHED), .peer_timer = TCP_TIMER_RETRANSMIT,
		    .peer_retrans = 6 },
	  .want = VERDICT_UNREACHABLE,
	  .certain = false,
	  .says = "its end has resent 6 times" },
	{ "the peer's data does not arrive here, for a short time yet",
	  { IDLE },
	  .peer = { FOUND(ESTABLISHED), .peer_timer = TCP_TIMER_RETRANSMIT,
		    .peer_retrans = 3 },
	  .want = VERDICT_SILENT,
	  .says = "its end has resent 3 times" },
	{ "the peer had to resend, and is heard",
	  { IDLE },
	  .more_segs = 1,
	  .peer = { FOUND(ESTABLISHED), .peer_timer = TCP_TIMER_RETRANSMIT,
		    .peer_retrans = 6 },
	  .want = VERDICT_ALIVE,
	  .certain = true },
	{ "the peer's keepalive probes do not arrive here",
	  { IDLE },
	  .peer = { FOUND(ESTABLISHED), .peer_timer = TCP_TIMER_KEEPALIVE,
		    .peer_retrans = 2 },
	  .want = VERDICT_UNREACHABLE,
	  .certain = false,
	  .says = "its end has probed 2 times" },
	{ "the peer's keepalive is well",
	  { IDLE },
	  .peer = { FOUND(ESTABLISHED), .peer_timer = TCP_TIMER_KEEPALIVE },
	  .want = VERDICT_ALIVE,
	  .certain = true },
	{ "absent, but segments arrive",
	  { IDLE },
	  .more_segs = 1,
	  .peer = { ABSENT_TWICE },
	  .want = VERDICT_ALIVE,
	  .certain = false },
	{ "absent, one sample",
	  { IDLE },
	  .quick = true,
	  .peer = { ABSENT_TWICE },
	  .want = VERDICT_SILENT,
	  .says = "one look at the peer is no proof" },
	{ "absent, one look",
	  { IDLE },
	  .peer = { ABSENT_TWICE, .times = 1 },
	  .want = VERDICT_SILENT },
	{ "absent, both looks before the second sample",
	  { IDLE },
	  .peer = { ABSENT_TWICE, .at_wall_ms = WALL + 999 },
	  .want = VERDICT_SILENT },
	{ "absent, both looks after the second sample",
	  { IDLE },
	  .peer = { ABSENT_TWICE, .first_wall_ms = WALL + 1001,
		    .at_wall_ms = WALL + 2001 },
	  .want = VERDICT_SILENT },
	{ "absent, looks too close",
	  { IDLE },
	  .peer = { ABSENT_TWICE, .first_wall_ms = WALL + 900 },
	  .want = VERDICT_SILENT },
	{ "absent, closing just now",
	  { IDLE },
	  .b = { IDLE, .state = TCP_STATE_CLOSE_WAIT },
	  .peer = { ABSENT_TWICE },
	  .want = VERDICT_HALF_CLOSED,
	  .certain = true },
	{ "absent, we are FIN_WAIT1",
	  { IDLE, .state = TCP_STATE_FIN_WAIT1 },
	  .peer = { ABSENT_TWICE },
	  .want = VERDICT_SILENT },
	{ "absent, we are FIN_WAIT2",
	  { IDLE, .state = TCP_STATE_FIN_WAIT2 },
	  .peer = { ABSENT_TWICE },
	  .want = VERDICT_HALF_OPEN,
	  .certain = true },
	{ "absent, was FIN_WAIT1 at first",
	  { IDLE, .state = TCP_STATE_FIN_WAIT1 },
	  .b = { IDLE, .state = TCP_STATE_FIN_WAIT2, .lar = 11000,
		 .ldr = 11000 },
	  .peer = { ABSENT_TWICE },
	  .want = VERDICT_HALF_CLOSED,
	  .certain = true },
	{ "absent, unread data",
	  { IDLE, .rq = 5 },
	  .peer = { ABSENT_TWICE },
	  .want = VERDICT_DATA_WAITING,
	  .certain = true },
	{ "absent, unread data, a writer waits",
	  { IDLE, .rq = 5 },
	  .peer = { ABSENT_TWICE },
	  .for_writer = true,
	  .want = VERDICT_HALF_OPEN,
	  .certain = true },
	{ "absent, keepalive on",
	  { IDLE, .timer = TCP_TIMER_KEEPALIVE, .expires = 5000 },
	  .options = { GO_KEEPALIVE },
	  .peer = { ABSENT_TWICE },
	  .want = VERDICT_HALF_OPEN,
	  .certain = true,
	  .gives_up = 5000 + 9 * 15000 },
	{ "ambiguous",
	  { IDLE },
	  .peer = { .lookup = PEER_AMBIGUOUS,
		    .times = 2,
		    .why = "x",
		    .first_wall_ms = WALL + 10,
		    .at_wall_ms = WALL + 1010 },
	  .want = VERDICT_SILENT },
	{ "found, nothing else",
	  { IDLE },
	  .quick = true,
	  .peer = { FOUND(ESTABLISHED) },
	  .want = VERDICT_ALIVE,
	  .certain = true },
	{ "found, but no route any more",
	  { IDLE },
	  .path = { .route_present = FACT_NO },
	  .peer = { FOUND(ESTABLISHED) },
	  .want = VERDICT_LOCAL_CAUSE,
	  .certain = true },
	{ "found, it has said goodbye",
	  { IDLE },
	  .peer = { FOUND(FIN_WAIT1) },
	  .want = VERDICT_UNREACHABLE,
	  .says = "its FIN does not arrive here" },
	{ "found in LAST_ACK",
	  { IDLE },
	  .peer = { FOUND(LAST_ACK) },
	  .want = VERDICT_UNREACHABLE },
	{ "found, goodbye perhaps on its way",
	  { IDLE },
	  .quick = true,
	  .peer = { FOUND(FIN_WAIT1) },
	  .want = VERDICT_SILENT },
	{ "found, its goodbye waits behind our full queue",
	  { IDLE, .rq = 9 },
	  .peer = { FOUND(FIN_WAIT1) },
	  .for_writer = true,
	  .want = VERDICT_SILENT },
	{ "found, it has not accepted",
	  { IDLE },
	  .peer = { FOUND(SYN_RECV) },
	  .want = VERDICT_CONNECTING },
	{ "segments arrive, address gone",
	  { IDLE },
	  .more_segs = 1,
	  .path = { .address_present = FACT_NO },
	  .want = VERDICT_ALIVE,
	  .certain = false },
	{ "segments arrive in CLOSE_WAIT",
	  { IDLE, .state = TCP_STATE_CLOSE_WAIT },
	  .more_segs = 3,
	  .want = VERDICT_HALF_CLOSED,
	  .certain = true,
	  .says = "segs_in 1 -> 4" },
	{ "segments arrive in FIN_WAIT2",
	  { IDLE, .state = TCP_STATE_FIN_WAIT2 },
	  .more_segs = 1,
	  .want = VERDICT_ALIVE,
	  .certain = true },
	{ "segs_in wraps",
	  { IDLE, .si = UINT32_MAX },
	  .more_segs = 3,
	  .want = VERDICT_ALIVE,
	  .certain = true,
	  .says = "segs_in 4294967295 -> 2" },
	{ "segs_in falls",
	  { IDLE, .si = 5 },
	  .b = { IDLE, .si = 4, .lar = 11000, .ldr = 11000 },
	  .want = VERDICT_SILENT,
	  .says = "makes no sense" },
	{ "our keepalive fails, the peer's arrive",
	  { IDLE, .timer = TCP_TIMER_KEEPALIVE, .retrans = 3, .lar = 60000,
	    .ldr = 60000, .expires = 9000 },
	  .more_segs = 1,
	  .options = { GO_KEEPALIVE },
	  .want = VERDICT_UNREACHABLE,
	  .gives_up = 9000 + 6 * 15000 },
	{ "one keepalive unanswered",
	  { IDLE, .timer = TCP_TIMER_KEEPALIVE, .retrans = 1, .lar = 16000,
	    .ldr = 16000, .expires = 9000 },
	  .options = { GO_KEEPALIVE },
	  .want = VERDICT_SILENT,
	  .says = "1 keepalive probe is unanswered so far" },
	{ "keepalive fails, settings unread",
	  { IDLE, .timer = TCP_TIMER_KEEPALIVE, .retrans = 2, .lar = 46000,
	    .ldr = 46000 },
	  .options = { .error = 1 },
	  .want = VERDICT_UNREACHABLE,
	  .gives_up = -1,
	  .says = "settings could not be read" },
	{ "keepalive fails, user timeout decides",
	  { IDLE, .timer = TCP_TIMER_KEEPALIVE, .retrans = 2, .lar = 45000,
	    .ldr = 45000, .expires = 1000 },
	  .quick = true,
	  .options = { GO_KEEPALIVE, .user_timeout_ms = 50000 },
	  .want = VERDICT_UNREACHABLE,
	  .gives_up = 1000 + 15000 },
	{ "keepalive on, user timeout already past",
	  { IDLE, .timer = TCP_TIMER_KEEPALIVE, .lar = 9600, .ldr = 9600,
	    .expires = 5400 },
	  .quick = true,
	  .options = { GO_KEEPALIVE, .user_timeout_ms = 5000 },
	  .want = VERDICT_SILENT,
	  .gives_up = 5400 + 15000 },
	{ "in flight, 5 resends after a long silence",
	  { IDLE, .timer = TCP_TIMER_RETRANSMIT, .rtx = 5, .retrans = 5,
	    .bo = 5, .unacked = 1, .lar = 60000, .ldr = 60000 },
	  .want = VERDICT_SILENT },
	{ "in flight with user timeout",
	  { IDLE, .timer = TCP_TIMER_RETRANSMIT, .rtx = 6, .retrans = 6,
	    .bo = 6, .rto_ms = 12800, .unacked = 1, .lar = 14000, .ldr = 14000,
	    .expires = 12000 },
	  .quick = true,
	  .options = { .known = true, .user_timeout_ms = 20000 },
	  .want = VERDICT_UNREACHABLE,
	  .gives_up = 20000 - (2 * 12800 - 200 - 12000) },
	{ "in flight, neighbour failed too",
	  { IDLE, .timer = TCP_TIMER_RETRANSMIT, .rtx = 7, .retrans = 7,
	    .bo = 7, .lar = 30000, .ldr = 30000, .unacked = 1 },
	  .path = { .neighbour_failed = FACT_YES,
		    .neighbour_age_ms = -1,
		    .next_hop = "10.0.0.254",
		    .device = "eth0" },
	  .want = VERDICT_LOCAL_CAUSE,
	  .certain = true,
	  .says = "next hop 10.0.0.254 on eth0" },
	{ "in flight one way: the peer is heard",
	  { IDLE, .timer = TCP_TIMER_RETRANSMIT, .rtx = 8, .retrans = 8,
	    .bo = 8, .lar = 30000, .ldr = 30000, .unacked = 1, .wq = 100 },
	  .more_segs = 1,
	  .want = VERDICT_UNREACHABLE,
	  .says = "the peer is heard" },
	{ "window smaller than a segment",
	  { IDLE, .timer = TCP_TIMER_PERSIST, .wnd = 500, .wq = 9000, .bo = 2,
	    .lar = 500 },
	  .want = VERDICT_SILENT },
	{ "data waits",
	  { IDLE, .rq = 4096 },
	  .want = VERDICT_DATA_WAITING,
	  .certain = true,
	  .says = "4096 bytes can be read here" },
	{ "data came just now",
	  { IDLE },
	  .b = { IDLE, .rq = 10, .si = 2, .lar = 100, .ldr = 100 },
	  .want = VERDICT_ALIVE,
	  .certain = true },
	{ "both ends write and do not read",
	  { IDLE, .rq = 4096, .wnd = 0, .timer = TCP_TIMER_PERSIST, .wq = 9999,
	    .lar = 100 },
	  .want = VERDICT_DATA_WAITING,
	  .certain = true,
	  .says = "the peer does not read either" },
	{ "the same for the writer",
	  { IDLE, .rq = 4096, .wnd = 0, .timer = TCP_TIMER_PERSIST, .wq = 9999,
	    .bo = 4, .lar = 100 },
	  .for_writer = true,
	  .want = VERDICT_PEER_NOT_READING,
	  .certain = true },
	{ "CLOSE_WAIT, end not read",
	  { IDLE, .state = TCP_STATE_CLOSE_WAIT, .rq = 1 },
	  .want = VERDICT_HALF_CLOSED,
	  .certain = true,
	  .says = "has not read the end of the stream" },
	{ "CLOSE_WAIT, peer long gone",
	  { IDLE, .state = TCP_STATE_CLOSE_WAIT },
	  .peer = { ABSENT_TWICE },
	  .want = VERDICT_HALF_CLOSED,
	  .certain = true },
	{ "listener",
	  { .state = TCP_STATE_LISTEN, .rq = 2, .wq = 128 },
	  .quick = true,
	  .want = VERDICT_LISTENING,
	  .certain = true,
	  .says = "2 connections wait to be accepted (room for 128)" },
	{ "SYN just sent",
	  { .state = TCP_STATE_SYN_SENT,
	    .timer = TCP_TIMER_RETRANSMIT,
	    .unacked = 1 },
	  .want = VERDICT_CONNECTING,
	  .certain = true },
	{ "SYN unanswered",
	  { .state = TCP_STATE_SYN_SENT,
	    .retrans = 4,
	    .timer = TCP_TIMER_RETRANSMIT,
	    .rtx = 4,
	    .expires = 9000 },
	  .want = VERDICT_UNREACHABLE,
	  .says = "resent 4 times" },
	{ "SYN without a route",
	  { .state = TCP_STATE_SYN_SENT,
	    .retrans = 4,
	    .timer = TCP_TIMER_RETRANSMIT },
	  .path = { .route_present = FACT_NO },
	  .want = VERDICT_LOCAL_CAUSE,
	  .certain = true },
	{ "closed", { .state = TCP_STATE_CLOSE }, .want = VERDICT_UNKNOWN },
	{ "keepalive unknown, one sample",
	  { IDLE },
	  .quick = true,
	  .want = VERDICT_SILENT,
	  .says = "one sample only" },
};

static void test_contradictions_and_gaps(void **state UNUSED)
{
	judge_rows(contradictions, N_OF(contradictions));
}

static void test_no_row_is_half_open_without_an_absent_peer(void **state UNUSED)
{
	for (size_t i = 0; i < N_OF(contradictions); i++)
		only_absent_is_half_open(&contradictions[i]);
}

static struct verdict judge_with(struct tcp_socket *s, struct arena *arena)
{
	struct verdict v;

	assert_ok(verdict_judge(s, NULL, arena, &v));
	return v;
}

static void test_second_sample_that_is_missing(void **state UNUSED)
{
	static const struct row idle = { .name = "idle", .a = { IDLE } };
	struct arena *arena = arena_create();
	struct tcp_socket s;

	fill(&s, &idle);
	s.second_state = TCP_VANISHED;
	struct verdict v = judge_with(&s, arena);
	assert_int_equal(v.kind, VERDICT_UNKNOWN);
	assert_true(says(&v, "ended while it was looked at"));
	s.second_state = TCP_SAMPLE_FAILED;
	v = judge_with(&s, arena);
	assert_int_equal(v.kind, VERDICT_SILENT);
	assert_true(says(&v, "the second sample failed"));
	arena_destroy(arena);
}

static void test_kernel_that_does_not_count_segments(void **state UNUSED)
{
	static const struct row idle = {
		.name = "idle",
		.a = { IDLE, .lar = 5000, .ldr = 900000 },
	};
	struct arena *arena = arena_create();
	struct tcp_socket s;

	fill(&s, &idle);
	s.first.info.known = s.second.info.known = TCP_INFO_BASE;
	s.second.info.segs_in = 77; // not sent by that kernel: not read
	struct verdict v = judge_with(&s, arena);
	assert_int_equal(v.kind, VERDICT_SILENT);
	assert_true(says(&v, "does not count segments"));
	// An ack of 300 ms ago came after the first sample.
	s.second.info.last_ack_recv_ms = 300;
	v = judge_with(&s, arena);
	assert_int_equal(v.kind, VERDICT_ALIVE);
	// Without tcp_info and without a second sample nothing is known.
	s.first.info.known = 0;
	s.second_state = TCP_NOT_SAMPLED;
	v = judge_with(&s, arena);
	assert_int_equal(v.kind, VERDICT_UNKNOWN);
	arena_destroy(arena);
}

static void test_names_are_those_of_the_report(void **state UNUSED)
{
	assert_string_equal(verdict_name(VERDICT_HALF_OPEN), "half-open");
	assert_string_equal(verdict_name(VERDICT_PEER_NOT_READING),
			    "peer-not-reading");
	assert_string_equal(evidence_kind_name(EVIDENCE_PEER_NETNS),
			    "peer-netns-lookup");
	for (int i = 0; i <= VERDICT_CONNECTING; i++)
		for (int k = 0; k < i; k++)
			assert_string_not_equal(
				verdict_name((enum verdict_kind)i),
				verdict_name((enum verdict_kind)k));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_contradictions_and_gaps),
		cmocka_unit_test(
			test_no_row_is_half_open_without_an_absent_peer),
		cmocka_unit_test(test_second_sample_that_is_missing),
		cmocka_unit_test(test_kernel_that_does_not_count_segments),
		cmocka_unit_test(test_names_are_those_of_the_report),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
