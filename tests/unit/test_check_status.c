/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/detect.h"

#include "detector/cmd.h"

/* The status of a survey of @w with the gap @kind (-1: none). */
static int status(struct world *w, int kind, bool tasks)
{
	AUTO_FINDINGS struct findings *f = world_judge(w);
	struct survey s = { .sets = { { .snapshot = &w->snap } },
			    .n_sets = tasks,
			    .gaps = { .arena = w->arena } };

	if (kind >= 0)
		gaps_add(&s.gaps, (enum gap_kind)kind, 1, "a gap");
	gaps_merge(&s.gaps, &f->gaps);
	return check_status(&s, f);
}

static void test_all_seen_and_nothing_found_is_0(void **state)
{
	AUTO_WORLD struct world *w = world_create();

	(void)state;
	add_reader(w, VERDICT_ALIVE, true);
	assert_int_equal(status(w, -1, true), 0);
}

static void test_a_finding_is_1_with_gaps_and_without(void **state)
{
	AUTO_WORLD struct world *w = world_create();

	(void)state;
	add_reader(w, VERDICT_HALF_OPEN, true);
	assert_int_equal(status(w, -1, true), 1);
	assert_int_equal(status(w, GAP_DENIED, true), 1);
}

static void test_no_tasks_and_nothing_found_is_2(void **state)
{
	AUTO_WORLD struct world *w = world_create();

	(void)state;
	assert_int_equal(status(w, -1, false), 2);
	/* A dead connection of a program that is not Go is a finding. */
	add_socket(w, 9, VERDICT_HALF_OPEN, true);
	assert_int_equal(status(w, -1, false), 1);
}

static const struct {
	enum gap_kind kind;
	int status;
} gap_statuses[] = {
	{ GAP_RUNNING, 0 },	 { GAP_TORN, 0 },	 { GAP_GONE, 0 },
	{ GAP_DENIED, 3 },	 { GAP_UNSUPPORTED, 3 }, { GAP_CORRUPT, 3 },
	{ GAP_INCONSISTENT, 3 }, { GAP_LIMIT, 3 },
};

static void test_gaps_are_3_unless_they_hide_nothing_stuck(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_OF(gap_statuses); i++) {
		AUTO_WORLD struct world *w = world_create();

		if (status(w, (int)gap_statuses[i].kind, true) !=
		    gap_statuses[i].status)
			fail_msg("%s", gap_kind_name(gap_statuses[i].kind));
	}
}

static void test_a_reader_that_cannot_be_judged_is_3(void **state)
{
	AUTO_WORLD struct world *w = world_create();

	(void)state;
	add_reader(w, VERDICT_UNKNOWN, false);
	assert_int_equal(status(w, -1, true), 3);
}

/* Torn in one look is motion; torn in both may be anything. */
static void test_a_goroutine_torn_in_both_looks_is_3(void **state)
{
	AUTO_WORLD struct world *w = world_create();

	(void)state;
	add_reader(w, VERDICT_ALIVE, true)->torn = true;
	assert_int_equal(status(w, GAP_TORN, true), 3);
}

static void test_several_processes_join_to_the_worst(void **state)
{
	(void)state;
	assert_int_equal(check_join_status(0, 0), 0);
	assert_int_equal(check_join_status(0, 3), 3);
	assert_int_equal(check_join_status(3, 0), 3);
	assert_int_equal(check_join_status(0, 2), 3);
	assert_int_equal(check_join_status(3, 1), 1);
	assert_int_equal(check_join_status(1, 2), 1);
}

/* Connections after a probe, each with what is said of it. */
static const struct {
	const char *name;
	struct {
		enum verdict_kind kind;
		bool named, listener;
	} of[3];
	int status;
	size_t n;
} probes[] = {
	{ "no connection", { { .listener = true } }, 0, 1 },
	{ "all alive",
	  { { .kind = VERDICT_ALIVE }, { .kind = VERDICT_ALIVE } },
	  0,
	  2 },
	{ "the peer said goodbye", { { .kind = VERDICT_HALF_CLOSED } }, 0, 1 },
	{ "one is dead",
	  { { .kind = VERDICT_ALIVE }, { .kind = VERDICT_HALF_OPEN } },
	  1,
	  2 },
	{ "dead, before what is not known",
	  { { .kind = VERDICT_UNREACHABLE }, { .kind = VERDICT_SILENT } },
	  1,
	  2 },
	{ "not known of one",
	  { { .kind = VERDICT_SILENT }, { .kind = VERDICT_ALIVE } },
	  3,
	  2 },
	{ "ended meanwhile", { { .kind = VERDICT_UNKNOWN } }, 3, 1 },
	{ "only the named one counts",
	  { { .kind = VERDICT_ALIVE, .named = true },
	    { .kind = VERDICT_HALF_OPEN } },
	  0,
	  2 },
	{ "and it does",
	  { { .kind = VERDICT_ALIVE },
	    { .kind = VERDICT_LOCAL_CAUSE, .named = true } },
	  1,
	  2 },
};

static void test_status_of_probe(void **state)
{
	static const struct probe_facts facts = { .result = PROBE_ANSWERED };

	(void)state;
	for (size_t i = 0; i < N_OF(probes); i++) {
		struct tcp_socket sockets[3] = { 0 };
		struct tcp_snapshot snap = { .v = sockets };
		struct survey_probe_of of[3] = { 0 };
		struct verdict verdicts[3] = { 0 };
		struct survey s = { .sockets = &snap,
				    .probes = of,
				    .verdicts = verdicts };

		for (size_t k = 0; k < probes[i].n; k++) {
			of[k].facts = probes[i].of[k].listener ? NULL : &facts;
			of[k].named = probes[i].of[k].named;
			verdicts[k].kind = probes[i].of[k].kind;
			snap.n++;
		}
		if (probe_status(&s) != probes[i].status)
			fail_msg("%s: is %d", probes[i].name, probe_status(&s));
	}
	struct survey nothing = { 0 };
	assert_int_equal(probe_status(&nothing), 2);
}

/* CLOSE_WAIT keeps its verdict, and yet nobody is there any more. */
static void test_status_of_a_close_wait_that_nobody_answers(void **state)
{
	static const struct probe_facts facts = { .result = PROBE_SILENCE,
						  .method = PROBE_BY_KEEPALIVE,
						  .sent = 3,
						  .waited_ms = 14000 };
	struct tcp_socket socket = { 0 };
	struct tcp_snapshot snap = { .v = &socket, .n = 1 };
	struct survey_probe_of of = { .facts = &facts };
	struct verdict verdict = { .kind = VERDICT_HALF_CLOSED };
	struct survey s = { .sockets = &snap,
			    .probes = &of,
			    .verdicts = &verdict };

	(void)state;
	assert_int_equal(probe_status(&s), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_seen_and_nothing_found_is_0),
		cmocka_unit_test(test_a_finding_is_1_with_gaps_and_without),
		cmocka_unit_test(test_no_tasks_and_nothing_found_is_2),
		cmocka_unit_test(
			test_gaps_are_3_unless_they_hide_nothing_stuck),
		cmocka_unit_test(test_a_reader_that_cannot_be_judged_is_3),
		cmocka_unit_test(test_a_goroutine_torn_in_both_looks_is_3),
		cmocka_unit_test(test_several_processes_join_to_the_worst),
		cmocka_unit_test(test_status_of_probe),
		cmocka_unit_test(
			test_status_of_a_close_wait_that_nobody_answers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
