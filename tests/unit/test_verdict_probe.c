/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/verdict_rows.h"

/* What a probe makes of a connection of which nothing told before. */

#define AT(r)                                                                  \
	.result = PROBE_##r, .known_wall_ms = WALL + 9000,                     \
	.at_wall_ms = { WALL + 1000, WALL + 2000, WALL + 6000 },               \
	.window_ms = 15000, .state = TCP_STATE_ESTABLISHED, .answered_ms = -1
#define WINDOW(r) .method = PROBE_BY_WINDOW, AT(r)
#define KEEPALIVE(r) .method = PROBE_BY_KEEPALIVE, AT(r)

static const struct row rows[] = {
	{ "1 answered",
	  { IDLE },
	  .probe = { WINDOW(ANSWERED), .sent = 1, .answered_ms = 1,
		     .segs_out = 1, .segs_in = 1 },
	  .want = VERDICT_ALIVE,
	  .certain = true,
	  .says = "a segment arrived 1 ms after the first" },
	{ "26 answered late, out of a full queue",
	  { IDLE },
	  .probe = { WINDOW(ANSWERED), .sent = 2, .answered_ms = 3900,
		     .segs_out = 2, .segs_in = 1 },
	  .want = VERDICT_ALIVE,
	  .certain = true,
	  .says = "3.9 s after the first" },
	{ "11 reset",
	  { IDLE },
	  .probe = { WINDOW(RST), .sent = 1, .answered_ms = 1,
		     .state = TCP_STATE_CLOSE },
	  .want = VERDICT_HALF_OPEN,
	  .certain = true,
	  .says = "or a firewall says so in its name" },
	{ "11c reset behind the shield",
	  { IDLE },
	  .probe = { WINDOW(RST), .sent = 1, .answered_ms = 40,
		     .shielded = true },
	  .want = VERDICT_HALF_OPEN,
	  .certain = true,
	  .says = "kept from the program" },
	{ "reset, unread data",
	  { IDLE, .rq = 10 },
	  .probe = { WINDOW(RST), .sent = 1, .answered_ms = 1 },
	  .want = VERDICT_HALF_OPEN,
	  .certain = true },
	{ "6 silence",
	  { IDLE },
	  .probe = { WINDOW(SILENCE), .sent = 3, .segs_out = 3,
		     .waited_ms = 15000 },
	  .want = VERDICT_UNREACHABLE,
	  .says = "3 window probes of ours got no answer within 15.0 s" },
	{ "9 silence, and the next hop is gone",
	  { IDLE },
	  .probe = { WINDOW(SILENCE), .sent = 3, .waited_ms = 15000,
		     .next_hop_failed = FACT_YES, .next_hop = "10.0.0.254" },
	  .want = VERDICT_UNREACHABLE,
	  .says = "the next hop 10.0.0.254 does not answer either" },
	{ "silence, the very peer is on this link",
	  { IDLE },
	  .probe = { WINDOW(SILENCE), .sent = 3, .waited_ms = 15000,
		     .next_hop_failed = FACT_YES },
	  .want = VERDICT_UNREACHABLE,
	  .says = "(the peer itself)" },
	{ "silence for a moment less than it takes",
	  { IDLE },
	  .probe = { WINDOW(SILENCE), .sent = 3, .waited_ms = 9999 },
	  .want = VERDICT_SILENT,
	  .says = "with a longer --window" },
	{ "two window probes are not enough",
	  { IDLE },
	  .probe = { WINDOW(SILENCE), .sent = 2, .waited_ms = 15000 },
	  .want = VERDICT_SILENT,
	  .says = "2 window probes of ours got no answer" },
	{ "two of keepalive are",
	  { IDLE },
	  .probe = { KEEPALIVE(SILENCE), .sent = 2, .waited_ms = 12000 },
	  .want = VERDICT_UNREACHABLE,
	  .says = "2 keepalive probes" },
	{ "one of keepalive is not",
	  { IDLE },
	  .probe = { KEEPALIVE(SILENCE), .sent = 1, .waited_ms = 15000 },
	  .want = VERDICT_SILENT },
	{ "the program sent meanwhile",
	  { IDLE },
	  .probe = { WINDOW(SILENCE), .sent = 1, .waited_ms = 15000,
		     .why = "the program sent data meanwhile" },
	  .want = VERDICT_SILENT,
	  .says = "no further probe was sent: the program sent" },
	{ "19 CLOSE_WAIT, and somebody is there",
	  { IDLE, .state = TCP_STATE_CLOSE_WAIT },
	  .probe = { KEEPALIVE(ANSWERED), .sent = 1, .answered_ms = 1,
		     .state = TCP_STATE_CLOSE_WAIT },
	  .want = VERDICT_HALF_CLOSED,
	  .certain = true,
	  .says = "was answered" },
	{ "CLOSE_WAIT, and nobody is",
	  { IDLE, .state = TCP_STATE_CLOSE_WAIT },
	  .probe = { KEEPALIVE(SILENCE), .sent = 3, .waited_ms = 14000,
		     .state = TCP_STATE_CLOSE_WAIT },
	  .want = VERDICT_HALF_CLOSED,
	  .certain = true,
	  .says = "got no answer" },
	{ "20 FIN_WAIT2, and nobody is there",
	  { IDLE, .state = TCP_STATE_FIN_WAIT2 },
	  .probe = { KEEPALIVE(SILENCE), .sent = 3, .waited_ms = 14000,
		     .state = TCP_STATE_FIN_WAIT2 },
	  .want = VERDICT_UNREACHABLE,
	  .says = "FIN_WAIT2" },
	{ "the answer was a FIN",
	  { IDLE },
	  .probe = { WINDOW(ANSWERED), .sent = 1, .answered_ms = 1,
		     .state = TCP_STATE_CLOSE_WAIT },
	  .want = VERDICT_HALF_CLOSED,
	  .certain = true,
	  .says = "still holds the connection" },
	{ "the program closed it",
	  { IDLE },
	  .probe = { WINDOW(GONE), .sent = 1, .why = "it let go" },
	  .want = VERDICT_UNKNOWN,
	  .says = "ended while it was probed: it let go" },
	{ "refused",
	  { IDLE },
	  .probe = { .result = PROBE_REFUSED,
		     .known_wall_ms = WALL + 1,
		     .why = "TCP_USER_TIMEOUT is set" },
	  .want = VERDICT_SILENT,
	  .says = "not probed: TCP_USER_TIMEOUT is set" },
	{ "a recording that makes no sense: not asked for, and sent",
	  { IDLE, .state = TCP_STATE_FIN_WAIT1 },
	  .probe = { .sent = 3 },
	  .want = VERDICT_SILENT,
	  .says = "only a probe" },
	{ "refused, and the resends tell",
	  { IDLE, .timer = TCP_TIMER_RETRANSMIT, .wq = 100, .unacked = 1,
	    .rtx = 7, .bo = 7 },
	  .probe = { .result = PROBE_REFUSED,
		     .known_wall_ms = WALL + 1,
		     .why = "data is in flight" },
	  .want = VERDICT_UNREACHABLE,
	  .says = "not probed: data is in flight" },
	{ "refused, and the peer is absent",
	  { IDLE },
	  .peer = { ABSENT_TWICE },
	  .probe = { .result = PROBE_REFUSED, .known_wall_ms = WALL + 1 },
	  .want = VERDICT_HALF_OPEN,
	  .certain = true },
	{ "answered by somebody, and the peer is absent",
	  { IDLE },
	  .peer = { ABSENT_TWICE },
	  .probe = { WINDOW(ANSWERED), .sent = 1, .answered_ms = 1 },
	  .want = VERDICT_ALIVE,
	  .certain = false },
	{ "an old FAILED neighbour that answers",
	  { IDLE },
	  .path = { .neighbour_failed = FACT_YES, .neighbour_age_ms = -1 },
	  .probe = { WINDOW(ANSWERED), .sent = 1, .answered_ms = 1 },
	  .want = VERDICT_ALIVE,
	  .certain = true },
	{ "keepalive of the program's, and three probes of ours, unanswered",
	  { IDLE, .timer = TCP_TIMER_KEEPALIVE, .retrans = 1, .expires = 100 },
	  .options = { GO_KEEPALIVE },
	  .probe = { WINDOW(SILENCE), .sent = 3, .waited_ms = 15000 },
	  .want = VERDICT_UNREACHABLE,
	  .says = "the kernel ends the connection in" },
};

static void test_verdicts_by_probe(void **state UNUSED)
{
	judge_rows(rows, N_OF(rows));
}

/* Whatever was seen before: silence is never certain, never half-open. */
static void test_silence_is_no_proof(void **state UNUSED)
{
	struct arena *arena = arena_create();

	for (size_t i = 0; i < N_OF(rows); i++) {
		struct net_facts f = { .path = rows[i].path,
				       .probe = { WINDOW(SILENCE), .sent = 3,
						  .waited_ms = 60000 } };
		struct tcp_socket s;
		struct verdict v;

		fill(&s, &rows[i]);
		assert_ok(verdict_judge(&s, &f, arena, &v));
		assert_int_equal(v.kind, VERDICT_UNREACHABLE);
		assert_false(v.certain);
	}
	arena_destroy(arena);
}

static void test_names_are_those_of_the_json(void **state UNUSED)
{
	assert_string_equal(probe_method_name(PROBE_BY_NOTHING), "none");
	assert_string_equal(probe_method_name(PROBE_BY_WINDOW), "window");
	assert_string_equal(probe_method_name(PROBE_BY_KEEPALIVE), "keepalive");
	assert_string_equal(probe_result_name(PROBE_ANSWERED), "answered");
	assert_string_equal(probe_result_name(PROBE_RST), "rst");
	assert_string_equal(probe_result_name(PROBE_SILENCE), "silence");
	assert_string_equal(probe_result_name(PROBE_REFUSED), "refused");
	assert_string_equal(probe_result_name(PROBE_GONE), "gone");
	assert_string_equal(evidence_kind_name(EVIDENCE_PROBE), "probe");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_verdicts_by_probe),
		cmocka_unit_test(test_silence_is_no_proof),
		cmocka_unit_test(test_names_are_those_of_the_json),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
