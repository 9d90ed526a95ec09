/* SPDX-License-Identifier: Apache-2.0 */
#include "scenarios/run/compare.h"
#include "tests/unit/unit.h"

#define TARGET "10.0.0.1:5", "10.0.0.2:7000"
#define HEALTHY "10.0.1.1:6", "10.0.1.2:7000"

static struct truth_conn conns[] = {
	{ false, TARGET, "main.waitReply", "read", "", -1 },
	{ true, HEALTHY, "main.waitReply", "read", "", -1 },
};
static const struct truth truth = { .v = conns, .n = 2, .options = "" };

static const struct scenario silent = {
	.before = SAYS_SILENT,
	.after = SAYS_UNREACHABLE,
	.never = SAYS_HALF_OPEN | SAYS_ALIVE,
	.like_healthy = true,
	.findings = -1,
	.finding = "stranded-reader",
	.grade = "possible",
};

static struct seen seen_two(struct seen_conn v[2], uint32_t target,
			    uint32_t healthy)
{
	v[0] = (struct seen_conn){
		TARGET, "established", target, true, "w", -1
	};
	v[1] = (struct seen_conn){ HEALTHY, "established", healthy,
				   true,    "w",	   -1 };
	return (struct seen){ .conns = v, .n_conns = 2 };
}

static void assert_outcome(const struct result *r, enum outcome outcome,
			   const char *part)
{
	if (r->outcome != outcome || !strstr(r->why, part))
		fail_msg("outcome %d (%s), should be %d (...%s...)", r->outcome,
			 r->why, outcome, part);
}

static const struct {
	uint32_t target, healthy;
	bool after;
	enum outcome outcome;
	const char *why;
} verdicts[] = {
	{ SAYS_SILENT, SAYS_SILENT, false, OUTCOME_RIGHT, "" },
	{ SAYS_UNREACHABLE, SAYS_ALIVE, true, OUTCOME_RIGHT, "" },
	{ SAYS_UNKNOWN, SAYS_UNKNOWN, false, OUTCOME_WRONG,
	  "before: 10.0.0.2:7000 is 'unknown' and should be silent" },
	{ SAYS_SILENT, SAYS_ALIVE, false, OUTCOME_WRONG,
	  "judged 'silent' where that is 'alive'" },
	{ SAYS_ALIVE, SAYS_ALIVE, true, OUTCOME_WRONG,
	  "after the probe: must never say 'alive'" },
	{ SAYS_HALF_OPEN, SAYS_SILENT, false, OUTCOME_FALSE_ALARM,
	  "before: must never say 'half-open'" },
	{ SAYS_SILENT, SAYS_UNREACHABLE, false, OUTCOME_FALSE_ALARM,
	  "before: the healthy connection to 10.0.1.2:7000 is 'unreachable'" },
	{ SAYS_UNREACHABLE, SAYS_PATH_MTU, true, OUTCOME_FALSE_ALARM,
	  "after the probe: the healthy connection" },
	{ SAYS_UNREACHABLE, SAYS_SILENT, true, OUTCOME_WRONG,
	  "is still 'silent'" },
};

static void test_verdicts_are_compared_with_what_is_expected(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_OF(verdicts); i++) {
		struct seen_conn v[2];
		struct seen seen =
			seen_two(v, verdicts[i].target, verdicts[i].healthy);
		struct result r = { 0 };

		if (verdicts[i].after)
			compare_after(&silent, &truth, &seen, &r);
		else
			compare_before(&silent, &truth, &seen, &r);
		assert_outcome(&r, verdicts[i].outcome, verdicts[i].why);
		assert_int_equal(verdicts[i].after ? r.after : r.before,
				 verdicts[i].target);
	}
}

static void test_a_connection_that_is_not_listed_is_gone(void **state)
{
	struct scenario s = silent;
	struct seen_conn v[2];
	struct seen seen = seen_two(v, SAYS_SILENT, SAYS_SILENT);
	struct result r = { 0 };

	(void)state;
	v[0].local = "10.0.0.1:9";
	compare_before(&silent, &truth, &seen, &r);
	assert_outcome(&r, OUTCOME_WRONG, "is 'gone'");
	s.before = SAYS_GONE;
	s.like_healthy = false;
	r = (struct result){ 0 };
	compare_before(&s, &truth, &seen, &r);
	assert_outcome(&r, OUTCOME_RIGHT, "");
	v[1].remote = "10.0.1.2:1";
	compare_before(&s, &truth, &seen, &r);
	assert_outcome(&r, OUTCOME_FALSE_ALARM, "is 'gone'");
}

static void test_half_open_must_be_certain(void **state)
{
	struct scenario s = { .before = SAYS_HALF_OPEN };
	struct seen_conn v[2];
	struct seen seen = seen_two(v, SAYS_HALF_OPEN, SAYS_ALIVE);
	struct result r = { 0 };

	(void)state;
	compare_before(&s, &truth, &seen, &r);
	assert_outcome(&r, OUTCOME_RIGHT, "");
	v[0].certain = false;
	compare_before(&s, &truth, &seen, &r);
	assert_outcome(&r, OUTCOME_WRONG, "without being certain");
}

static void test_an_answer_that_comes_too_early_voids_the_scenario(void **state)
{
	struct scenario s = { .after = SAYS_ALIVE, .answer_after_ms = 900 };
	struct seen_conn v[2];
	struct seen seen = seen_two(v, SAYS_ALIVE, SAYS_ALIVE);
	struct result r = { 0 };

	(void)state;
	v[0].answered_ms = 900;
	v[1].answered_ms = 1;
	compare_after(&s, &truth, &seen, &r);
	assert_outcome(&r, OUTCOME_RIGHT, "");
	v[0].answered_ms = 3;
	compare_after(&s, &truth, &seen, &r);
	assert_outcome(&r, OUTCOME_WRONG, "answered after 3 ms");
}

/* --- findings --- */

static const struct {
	const char *kind, *grade, *functions;
	bool on_healthy;
	enum outcome outcome;
	const char *why;
} finding_rows[] = {
	{ "stranded-reader", "possible", "\nnet.Read\nmain.waitReply\n", false,
	  OUTCOME_RIGHT, "" },
	{ "stranded-reader", "likely", "\nmain.waitReply\n", false,
	  OUTCOME_WRONG, "is likely stranded-reader, should be possible" },
	{ "stranded-writer", "possible", "\nmain.waitReply\n", false,
	  OUTCOME_WRONG, "is possible stranded-writer" },
	{ "stranded-reader", "possible", "\nmain.waitReplyTo\n", false,
	  OUTCOME_WRONG, "does not name main.waitReply" },
	{ "stranded-reader", "proven", "\nmain.waitReply\n", true,
	  OUTCOME_FALSE_ALARM, "a proven finding on the healthy connection" },
};

static void test_findings_are_compared_with_what_is_expected(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_OF(finding_rows); i++) {
		bool healthy = finding_rows[i].on_healthy;
		struct seen_task tasks[] = {
			{ "1.1.1.1:1", "1.1.1.1:1", "", "", "", -1 },
			{ conns[healthy].local, conns[healthy].remote, "", "",
			  "", -1 },
		};
		struct seen_finding f = {
			.kind = finding_rows[i].kind,
			.grade = finding_rows[i].grade,
			.functions = finding_rows[i].functions,
			.tasks = tasks,
			.n = 2,
		};
		struct seen seen = { .findings = &f, .n_findings = 1 };
		struct result r = { 0 };

		compare_findings(&silent, &truth, &seen, &r);
		assert_outcome(&r, finding_rows[i].outcome,
			       finding_rows[i].why);
	}
}

static const struct {
	struct seen_task task;
	const char *runtime;
	int findings;
	enum outcome outcome;
	const char *why;
} task_rows[] = {
	{ { TARGET, "thread", "reader", "", 4 },
	  "thread",
	  1,
	  OUTCOME_RIGHT,
	  "" },
	{ { TARGET, "thread", "reader", "", 4 }, NULL, -1, OUTCOME_RIGHT, "" },
	{ { TARGET, "thread", "reader", "", 4 },
	  "coroutine",
	  1,
	  OUTCOME_WRONG,
	  "is of the runtime 'thread', should be 'coroutine'" },
	{ { TARGET, "", "reader", "", 4 },
	  "coroutine",
	  1,
	  OUTCOME_WRONG,
	  "is of the runtime ''" },
	{ { TARGET, "thread", "reader", "", 5 },
	  NULL,
	  1,
	  OUTCOME_WRONG,
	  "has fd 5, should have 4" },
	{ { TARGET, "thread", "reader", "", -1 },
	  NULL,
	  1,
	  OUTCOME_WRONG,
	  "has fd -1, should have 4" },
	{ { TARGET, "thread", "writer", "", 4 },
	  NULL,
	  1,
	  OUTCOME_WRONG,
	  "is named 'writer', should be 'reader'" },
	{ { TARGET, "thread", "reader", "epoll", 4 },
	  NULL,
	  1,
	  OUTCOME_WRONG,
	  "is held by 'epoll', and its program's wait is 'read'" },
	{ { TARGET, "thread", "reader", "", 4 },
	  NULL,
	  2,
	  OUTCOME_WRONG,
	  "1 findings, should be 2; the first is possible stranded-reader" },
};

static void test_who_waits_is_compared_with_the_victims_truth(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_OF(task_rows); i++) {
		struct seen_task task = task_rows[i].task;
		struct seen_finding f = { "stranded-reader", "possible", &task,
					  1, "\nf\n" };
		struct seen seen = { .findings = &f, .n_findings = 1 };
		struct scenario s = silent;
		struct truth_conn reader = { false,  TARGET,   "f",
					     "read", "reader", 4 };
		struct truth t = { .v = &reader, .n = 1 };
		struct result r = { 0 };

		s.runtime = task_rows[i].runtime;
		s.findings = task_rows[i].findings;
		compare_findings(&s, &t, &seen, &r);
		assert_outcome(&r, task_rows[i].outcome, task_rows[i].why);
	}
}

static void test_a_loop_must_be_named_with_its_dead_connection(void **state)
{
	struct seen_task task = { TARGET, "thread", "", "epoll", 4 };
	struct seen_finding f = { "dead-idle-connection", "proven", &task, 1,
				  "\nserve\n" };
	struct seen seen = { .findings = &f, .n_findings = 1 };
	struct scenario s = { .finding = f.kind,
			      .grade = f.grade,
			      .findings = 1 };
	struct truth_conn conn = { false, TARGET, "serve", "epoll", "", 4 };
	struct truth t = { .v = &conn, .n = 1 };
	struct result r = { 0 };

	(void)state;
	compare_findings(&s, &t, &seen, &r);
	assert_outcome(&r, OUTCOME_RIGHT, "");
	task.held_by = "";
	compare_findings(&s, &t, &seen, &r);
	assert_outcome(&r, OUTCOME_WRONG,
		       "is held by '', and its program's wait is 'epoll'");
}

static void test_any_finding_where_all_is_well_is_a_false_alarm(void **state)
{
	struct seen_task task = { "1.1.1.1:1", "1.1.1.1:2", "", "", "", -1 };
	struct seen_finding f = { "blocked-group", "possible", &task, 1, "\n" };
	struct seen seen = { .findings = &f, .n_findings = 1 };
	struct scenario s = { .findings = 0 };
	struct result r = { 0 };

	(void)state;
	compare_findings(&s, &truth, &seen, &r);
	assert_outcome(&r, OUTCOME_FALSE_ALARM,
		       "1 findings, should be 0; the first is possible "
		       "blocked-group on '1.1.1.1:2'");
	seen.n_findings = 0;
	r = (struct result){ 0 };
	compare_findings(&s, &truth, &seen, &r);
	assert_outcome(&r, OUTCOME_RIGHT, "");
}

static void
test_a_connection_that_nobody_waits_on_needs_no_function(void **state)
{
	struct seen_task task = { TARGET, "", "", "", -1 };
	struct seen_finding f = { "half-closed-held", "likely", &task, 1,
				  "\n" };
	struct seen seen = { .findings = &f, .n_findings = 1 };
	struct scenario s = { .finding = f.kind,
			      .grade = f.grade,
			      .findings = 1 };
	struct truth_conn nobody = { false, TARGET, "", "none", "", -1 };
	struct truth t = { .v = &nobody, .n = 1 };
	struct result r = { 0 };

	(void)state;
	compare_findings(&s, &t, &seen, &r);
	assert_outcome(&r, OUTCOME_RIGHT, "");
	compare_findings(&s, &truth, &seen, &r);
	assert_outcome(&r, OUTCOME_WRONG, "does not name main.waitReply");
}

static void test_a_finding_that_is_missing_is_wrong(void **state)
{
	struct seen seen = { 0 };
	struct result r = { 0 };
	struct scenario none = silent;

	(void)state;
	compare_findings(&silent, &truth, &seen, &r);
	assert_outcome(&r, OUTCOME_WRONG, "no finding on 10.0.0.2:7000");
	none.finding = NULL;
	r = (struct result){ 0 };
	compare_findings(&none, &truth, &seen, &r);
	assert_outcome(&r, OUTCOME_RIGHT, "");
}

static void test_the_worst_outcome_stays_with_its_reason(void **state)
{
	struct result r = { 0 };

	(void)state;
	compare_raise(&r, OUTCOME_WRONG, "first");
	compare_raise(&r, OUTCOME_WRONG, "second");
	assert_outcome(&r, OUTCOME_WRONG, "first");
	compare_raise(&r, OUTCOME_FALSE_ALARM, "third");
	compare_raise(&r, OUTCOME_WRONG, "fourth");
	assert_outcome(&r, OUTCOME_FALSE_ALARM, "third");
}

/* --- JSON --- */

static void test_truth_is_read(void **state)
{
	static const char line[] =
		"{\"pid\":7,\"connections\":[{\"role\":\"target\",\"local\":"
		"\"a\",\"remote\":\"b\",\"goroutine\":null,\"blocked\":"
		"\"read\"},{\"role\":\"healthy\",\"function\":\"f\",\"task\":"
		"\"n\",\"fd\":7}],\"options\":{\"z\":1,"
		"\"a\":2}}";
	AUTO_ARENA struct arena *arena = arena_create();
	struct truth t;
	struct truth_event e;

	(void)state;
	assert_ok(truth_parse(line, arena, &t));
	assert_int_equal(t.pid, 7);
	assert_int_equal(t.n, 2);
	assert_true(!t.v[0].healthy && t.v[1].healthy);
	assert_string_equal(t.v[0].local, "a");
	assert_string_equal(t.v[0].function, "");
	assert_string_equal(t.v[0].task, "");
	assert_int_equal(t.v[0].fd, -1);
	assert_string_equal(t.v[1].function, "f");
	assert_string_equal(t.v[1].task, "n");
	assert_int_equal(t.v[1].fd, 7);
	assert_string_equal(t.options, "{\"a\":2,\"z\":1}");
	assert_error(truth_parse("{\"pid\":7}", arena, &t), ERROR_CORRUPT,
		     "truth is not understood");
	assert_error(truth_parse("nonsense", arena, &t), ERROR_CORRUPT,
		     "truth is not understood: nonsense");
	assert_ok(truth_parse_event("{\"event\":\"returned\",\"role\":"
				    "\"healthy\",\"error\":\"EOF\"}",
				    arena, &e));
	assert_string_equal(e.event, "returned");
	assert_string_equal(e.error, "EOF");
	assert_true(e.healthy);
	assert_error(truth_parse_event("[]", arena, &e), ERROR_CORRUPT,
		     "line is not understood");
}

static void test_reports_are_read(void **state)
{
	static const char sockets[] =
		"{\"sockets\":[{\"local\":\"a\",\"remote\":\"b\",\"state\":"
		"\"established\",\"verdict\":\"silent\",\"certain\":false,"
		"\"evidence\":[{\"text\":\"why\"}],\"probe\":{\"answered_ms\":"
		"5}}]}";
	static const char check[] =
		"{\"findings\":[{\"kind\":\"k\",\"grade\":\"g\",\"runtime\":"
		"\"thread\",\"tasks\":[{\"local\":\"l\",\"remote\":\"r\","
		"\"name\":\"n\",\"fd\":5}],\"stack\":[{\"function\":"
		"\"f\"}],\"socket\":null,\"sockets\":[{\"local\":\"x\"}]},"
		"{\"tasks\":[],\"socket\":{\"local\":\"l\"},\"sockets\":[{"
		"\"local\":\"l\",\"fd\":1},{\"local\":\"m\",\"fd\":2,"
		"\"held_by\":{\"wait_kind\":\"epoll\",\"fd\":9}}]}]}";
	AUTO_ARENA struct arena *arena = arena_create();
	struct seen seen = { 0 };

	(void)state;
	assert_ok(seen_parse(sockets, strlen(sockets), arena, &seen));
	assert_ok(seen_parse(check, strlen(check), arena, &seen));
	assert_int_equal(seen.n_conns, 1);
	assert_int_equal(seen.conns[0].verdict, SAYS_SILENT);
	assert_string_equal(seen.conns[0].why, "why");
	assert_int_equal(seen.conns[0].answered_ms, 5);
	assert_int_equal(seen.n_findings, 2);
	assert_string_equal(seen.findings[0].tasks[0].remote, "r");
	assert_string_equal(seen.findings[0].tasks[0].runtime, "thread");
	assert_string_equal(seen.findings[0].tasks[0].name, "n");
	assert_int_equal(seen.findings[0].tasks[0].fd, 5);
	assert_int_equal(seen.findings[0].n, 1);
	assert_string_equal(seen.findings[0].functions, "\nf\n");
	// nobody waits: its connections
	assert_int_equal(seen.findings[1].n, 2);
	assert_string_equal(seen.findings[1].tasks[1].local, "m");
	assert_int_equal(seen.findings[1].tasks[1].fd, 2);
	assert_string_equal(seen.findings[1].tasks[1].held_by, "epoll");
	assert_error(seen_parse("{}", 2, arena, &seen), ERROR_CORRUPT,
		     "report is not understood");
	assert_error(seen_parse("{\"sockets\":[{\"verdict\":\"x\"}]}", 29,
				arena, &seen),
		     ERROR_CORRUPT, "a verdict that is not known");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			test_verdicts_are_compared_with_what_is_expected),
		cmocka_unit_test(test_a_connection_that_is_not_listed_is_gone),
		cmocka_unit_test(test_half_open_must_be_certain),
		cmocka_unit_test(
			test_an_answer_that_comes_too_early_voids_the_scenario),
		cmocka_unit_test(
			test_findings_are_compared_with_what_is_expected),
		cmocka_unit_test(
			test_who_waits_is_compared_with_the_victims_truth),
		cmocka_unit_test(
			test_a_loop_must_be_named_with_its_dead_connection),
		cmocka_unit_test(
			test_any_finding_where_all_is_well_is_a_false_alarm),
		cmocka_unit_test(
			test_a_connection_that_nobody_waits_on_needs_no_function),
		cmocka_unit_test(test_a_finding_that_is_missing_is_wrong),
		cmocka_unit_test(test_the_worst_outcome_stays_with_its_reason),
		cmocka_unit_test(test_truth_is_read),
		cmocka_unit_test(test_reports_are_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
