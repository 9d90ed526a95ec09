/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/detect.h"

#include "detector/survey.h"

static void test_readers_of_one_place_and_verdict_are_one_finding(void **state)
{
	AUTO_WORLD struct world *w = world_create();

	(void)state;
	for (int i = 0; i < 37; i++)
		add_reader(w, VERDICT_HALF_OPEN, true);
	AUTO_FINDINGS struct findings *f = world_judge(w);
	assert_int_equal(f->n, 1);
	assert_int_equal(f->v[0].kind, FINDING_STRANDED_READER);
	assert_int_equal(f->v[0].grade, GRADE_PROVEN);
	assert_int_equal(f->v[0].count, 37);
	assert_int_equal(f->v[0].sockets, 37);
	assert_int_equal(f->v[0].remotes, 1);
	assert_int_equal(f->v[0].keepalive, KEEPALIVE_OFF);
	assert_string_equal(f->v[0].created_by->function, "main.(*Pool).dial");
	assert_int_equal(task_counts_sum(&f->tasks), 37);
	assert_int_equal(task_counts_sum(&f->blocked), 37);
}

static void test_other_verdict_creator_or_stack_is_another_finding(void **state)
{
	static const char *const other[] = { "net.(*conn).Read",
					     "main.(*Other).loop", NULL };
	AUTO_WORLD struct world *w = world_create();

	(void)state;
	add_reader(w, VERDICT_HALF_OPEN, true);
	add_reader(w, VERDICT_UNREACHABLE, false);
	add_reader(w, VERDICT_HALF_OPEN, true)->created_by =
		make_frame(w, "main.other", "/src/app/other.go", 1);
	add_reader(w, VERDICT_HALF_OPEN, true)->stack =
		make_stack(w, 100, other);
	AUTO_FINDINGS struct findings *f = world_judge(w);
	assert_int_equal(f->n, 4);
	for (size_t i = 0; i + 1 < f->n; i++)
		assert_true(f->v[i].grade <= f->v[i + 1].grade);
	assert_int_equal(f->v[3].grade, GRADE_LIKELY);
}

/* Two lines of one function are one leak; the compiler moves lines. */
static void test_lines_do_not_split_a_finding(void **state)
{
	AUTO_WORLD struct world *w = world_create();

	(void)state;
	add_reader(w, VERDICT_HALF_OPEN, true);
	add_reader(w, VERDICT_HALF_OPEN, true)->stack =
		make_stack(w, 500, reader_functions);
	AUTO_FINDINGS struct findings *f = world_judge(w);
	assert_int_equal(f->n, 1);
	assert_int_equal(f->v[0].count, 2);
}

static void test_the_interval_of_a_finding_holds_all_members(void **state)
{
	AUTO_WORLD struct world *w = world_create();

	(void)state;
	add_reader(w, VERDICT_HALF_OPEN, true)->parked_before_mono_ns =
		(DETECT_NOW_MS - 5000000) * 1000000;
	w->sockets[0].second.info.last_data_recv_ms = 6000000;
	add_reader(w, VERDICT_HALF_OPEN, true)->parked_before_mono_ns =
		(DETECT_NOW_MS - 2000000) * 1000000;
	w->sockets[1].second.info.last_data_recv_ms = 9000000;
	AUTO_FINDINGS struct findings *f = world_judge(w);
	assert_int_equal(f->n, 1);
	assert_int_equal(f->v[0].blocked.at_least_ms, 2000000);
	assert_int_equal(f->v[0].blocked.at_least_source, BLOCKED_WAITSINCE);
	assert_int_equal(f->v[0].blocked.at_most_ms, 9000000);
	assert_int_equal(f->v[0].blocked.at_most_source, BLOCKED_LAST_DATA);
	/* The longest blocked comes first. */
	assert_int_equal(f->v[0].members[0].task->id, w->tasks[0].id);
}

static void test_healthy_program_has_no_findings_and_no_gaps(void **state)
{
	AUTO_WORLD struct world *w = world_create();

	(void)state;
	for (int i = 0; i < 1000; i++)
		add_reader(w, VERDICT_ALIVE, true);
	add_socket(w, 5000, VERDICT_LISTENING, true)->first.state =
		TCP_STATE_LISTEN;
	add_task(w, WAIT_ACCEPT, 5000);
	add_task(w, WAIT_SELECT, -1);
	add_task(w, WAIT_SLEEP, -1);
	for (int i = 0; i < 200; i++) /* idle workers */
		add_task(w, WAIT_CHAN_RECV, -1)->parked_before_mono_ns = 1;
	AUTO_FINDINGS struct findings *f = world_judge(w);
	assert_int_equal(f->n, 0);
	assert_int_equal(f->gaps.n, 0);
	assert_int_equal(task_counts_sum(&f->blocked), 1203);
}

static void test_who_moved_is_not_stuck(void **state)
{
	AUTO_WORLD struct world *w = world_create();
	struct task *t = add_reader(w, VERDICT_SILENT, false);
	struct task_mark *marks = correlate_marks(&w->snap, w->arena);

	(void)state;
	marks[0].sp = t->sp - 512;
	AUTO_FINDINGS struct findings *f = world_judge_marks(w, marks, 1);
	assert_int_equal(f->n, 0);
	assert_int_equal(f->moved, 1);
	/* Gone counts as moved. */
	AUTO_FINDINGS struct findings *g = world_judge_marks(w, marks, 0);
	assert_int_equal(g->n, 0);
	assert_int_equal(g->moved, 1);
	AUTO_FINDINGS struct findings *h = world_judge(w);
	assert_int_equal(h->n, 1);
}

/* A loop of reads with short deadlines on a dead connection moves all the
 * time; the connection is dead all the same, and nobody waits on it for good.
 */
static void test_a_dead_connection_is_found_without_its_reader(void **state)
{
	AUTO_WORLD struct world *w = world_create();
	struct task *t = add_reader(w, VERDICT_HALF_OPEN, true);
	struct task_mark *marks = correlate_marks(&w->snap, w->arena);

	(void)state;
	marks[0].sp = t->sp - 512;
	AUTO_FINDINGS struct findings *f = world_judge_marks(w, marks, 1);
	assert_int_equal(f->n, 1);
	assert_int_equal(f->v[0].kind, FINDING_DEAD_IDLE);
	assert_int_equal(f->v[0].grade, GRADE_PROVEN);
	assert_null(f->v[0].members[0].task);
	assert_int_equal(f->v[0].members[0].fd, t->fd);
}

static void test_pooled_dead_connections_group_by_direction(void **state)
{
	AUTO_WORLD struct world *w = world_create();

	(void)state;
	add_socket(w, 3, VERDICT_LISTENING, true)->first.state =
		TCP_STATE_LISTEN;
	w->sockets[0].local.port = 80;
	for (int i = 0; i < 3; i++) {
		struct tcp_socket *s =
			add_socket(w, 10 + i, VERDICT_HALF_OPEN, true);

		put_endpoint(&s->remote, (uint8_t)(7 + i), 50000);
		if (i < 2)
			s->local.port = 80;
	}
	AUTO_FINDINGS struct findings *f = world_judge(w);
	assert_int_equal(f->n, 2);
	assert_int_equal(f->v[0].count, 2);
	assert_int_equal(f->v[0].remotes, 2);
	assert_int_equal(f->v[1].count, 1);
	assert_string_not_equal(f->v[0].fingerprint, f->v[1].fingerprint);
}

static void test_what_cannot_be_judged_is_a_gap_that_matters(void **state)
{
	AUTO_WORLD struct world *w = world_create();

	(void)state;
	add_reader(w, VERDICT_UNKNOWN, false);
	AUTO_FINDINGS struct findings *f = world_judge(w);
	assert_int_equal(f->n, 0);
	assert_int_equal(f->gaps.n, 1);
	assert_true(gaps_matter(&f->gaps));
}

/* The end of a connection wakes its reader: it went on to another one. */
static void test_who_waited_on_a_connection_that_ended_has_moved(void **state)
{
	AUTO_WORLD struct world *w = world_create();

	(void)state;
	add_reader(w, VERDICT_UNKNOWN, false);
	add_reader(w, VERDICT_UNKNOWN, false);
	w->sockets[0].second_state = TCP_VANISHED;
	w->sockets[1].second.state = TCP_STATE_CLOSE;
	AUTO_FINDINGS struct findings *f = world_judge(w);
	assert_int_equal(f->n, 0);
	assert_int_equal(f->moved, 2);
	assert_int_equal(f->gaps.n, 0);
}

static void test_a_reader_whose_fd_is_not_known_is_a_gap(void **state)
{
	AUTO_WORLD struct world *w = world_create();
	struct task *t = add_task(w, WAIT_READ, -1);

	(void)state;
	t->fd_proof = FD_UNKNOWN;
	AUTO_FINDINGS struct findings *f = world_judge(w);
	assert_int_equal(f->n, 0);
	assert_true(gaps_matter(&f->gaps));
}

static void test_an_fd_that_is_not_listed_is_a_gap_a_pipe_is_none(void **state)
{
	AUTO_WORLD struct world *w = world_create();

	(void)state;
	w->fd[w->fds.n++] = (struct process_fd){
		.fd = 7, .kind = PROCESS_FD_PIPE, .inode = 5, .text = "pipe:[5]"
	};
	add_task(w, WAIT_READ, 7);
	AUTO_FINDINGS struct findings *f = world_judge(w);
	assert_int_equal(f->gaps.n, 0);
	add_task(w, WAIT_READ, 8);
	AUTO_FINDINGS struct findings *g = world_judge(w);
	assert_true(gaps_matter(&g->gaps));
}

static void test_torn_in_both_looks_is_a_gap_torn_once_is_motion(void **state)
{
	AUTO_WORLD struct world *w = world_create();
	struct task *t = add_reader(w, VERDICT_ALIVE, true);

	(void)state;
	t->torn = true;
	AUTO_FINDINGS struct findings *f = world_judge(w);
	assert_int_equal(f->gaps.n, 1);
	assert_true(gaps_matter(&f->gaps));
	struct task_mark *marks = correlate_marks(&w->snap, w->arena);
	marks[0].torn = false;
	AUTO_FINDINGS struct findings *g = world_judge_marks(w, marks, 1);
	assert_int_equal(g->gaps.n, 0);
}

static void test_a_read_system_call_counts_like_a_parked_read(void **state)
{
	AUTO_WORLD struct world *w = world_create();
	struct task *t = add_reader(w, VERDICT_HALF_OPEN, true);

	(void)state;
	t->state = TASK_SYSCALL;
	t->reason = "syscall";
	t->fd_proof = FD_SYSCALL;
	AUTO_FINDINGS struct findings *f = world_judge(w);
	assert_int_equal(f->n, 1);
	assert_int_equal(f->v[0].kind, FINDING_STRANDED_READER);
	/* Go's deadlines do not reach it. */
	assert_null(strstr(f->v[0].advice[0].text, "SetReadDeadline"));
	assert_non_null(strstr(f->v[0].advice[0].text, "SO_RCVTIMEO"));
}

static void test_running_and_system_tasks_are_never_findings(void **state)
{
	AUTO_WORLD struct world *w = world_create();

	(void)state;
	add_reader(w, VERDICT_SILENT, false)->state = TASK_RUNNING;
	add_reader(w, VERDICT_SILENT, false)->system = true;
	AUTO_FINDINGS struct findings *f = world_judge(w);
	assert_int_equal(f->n, 0);
	assert_int_equal(task_counts_sum(&f->tasks), 1);
}

static void test_groups_need_their_size_unless_proven(void **state)
{
	AUTO_WORLD struct world *w = world_create();

	(void)state;
	for (int i = 0; i < 99; i++)
		add_task(w, WAIT_CHAN_SEND, -1)->parked_before_mono_ns = 1;
	AUTO_FINDINGS struct findings *f = world_judge(w);
	assert_int_equal(f->n, 0);
	add_task(w, WAIT_CHAN_SEND, -1)->parked_before_mono_ns = 1;
	AUTO_FINDINGS struct findings *g = world_judge(w);
	assert_int_equal(g->n, 1);
	assert_int_equal(g->v[0].kind, FINDING_BLOCKED_GROUP);
	assert_int_equal(g->v[0].grade, GRADE_POSSIBLE);
	assert_int_equal(g->v[0].count, 100);
	w->snap.n = 1;
	w->tasks[0].leaked = true;
	AUTO_FINDINGS struct findings *h = world_judge(w);
	assert_int_equal(h->n, 1);
	assert_int_equal(h->v[0].grade, GRADE_PROVEN);
}

static void test_rules_hide_possible_findings_only(void **state)
{
	static const char rule[] = "[pool]\nreason = it is a pool\n"
				   "function = main.(*Pool).readReply\n";
	AUTO_WORLD struct world *w = world_create();

	(void)state;
	assert_ok(rules_add_text(w->rules, "t", rule, strlen(rule)));
	add_reader(w, VERDICT_SILENT, false);
	add_reader(w, VERDICT_UNREACHABLE, false);
	add_reader(w, VERDICT_HALF_OPEN, true);
	AUTO_FINDINGS struct findings *f = world_judge(w);
	assert_int_equal(f->n, 2);
	assert_int_equal(findings_count(f, GRADE_POSSIBLE), 0);
	assert_int_equal(f->n_benign, 1);
	assert_string_equal(f->benign[0].rule, "pool");
	assert_int_equal(f->benign[0].tasks, 1);
}

static void test_a_deadline_soon_is_told_but_no_finding(void **state)
{
	AUTO_WORLD struct world *w = world_create();
	struct task *t = add_reader(w, VERDICT_HALF_OPEN, true);

	(void)state;
	t->read_deadline = (struct deadline){ DEADLINE_SET, (DETECT_NOW_MS +
							     5000) * 1000000 };
	AUTO_FINDINGS struct findings *f = world_judge(w);
	assert_int_equal(f->n, 0);
	assert_int_equal(f->deadline_soon, 1);
}

/* Too early to tell is not the same as clean. */
static void test_a_short_wait_is_told_but_no_finding(void **state)
{
	AUTO_WORLD struct world *w = world_create();

	(void)state;
	add_reader(w, VERDICT_SILENT, false);
	w->limits.min_blocked_ms = 20000001; /* the process is younger */
	AUTO_FINDINGS struct findings *f = world_judge(w);
	assert_int_equal(f->n, 0);
	assert_int_equal(f->too_young, 1);
}

static void test_a_process_without_tasks_still_has_connections(void **state)
{
	AUTO_WORLD struct world *w = world_create();
	struct findings *f = NULL;

	(void)state;
	add_socket(w, 9, VERDICT_HALF_OPEN, true);
	const struct correlate_input in = {
		.fds = &w->fds,
		.sockets = &w->tcp,
		.verdicts = w->verdicts,
		.rules = w->rules,
		.limits = w->limits,
		.process_age_ms = -1,
	};
	assert_ok(correlate(&in, &f));
	assert_int_equal(f->n, 1);
	assert_int_equal(f->v[0].kind, FINDING_DEAD_IDLE);
	findings_destroy(f);
}

/* Unread data excuses a reader's wait, not a writer's on the same socket. */
static void test_a_writer_has_a_verdict_of_its_own(void **state)
{
	static const struct verdict dead = { .kind = VERDICT_HALF_OPEN,
					     .certain = true };
	const struct verdict *writers[] = { &dead };
	AUTO_WORLD struct world *w = world_create();
	struct findings *f = NULL;

	(void)state;
	add_reader(w, VERDICT_DATA_WAITING, true);
	add_task(w, WAIT_WRITE, 9);
	const struct task_set set = { .snapshot = &w->snap };
	const struct correlate_input in = {
		.sets = &set,
		.n_sets = 1,
		.fds = &w->fds,
		.sockets = &w->tcp,
		.verdicts = w->verdicts,
		.writer_verdicts = writers,
		.rules = w->rules,
		.limits = w->limits,
		.process_age_ms = -1,
	};
	assert_ok(correlate(&in, &f));
	assert_int_equal(f->n, 1);
	assert_int_equal(f->v[0].kind, FINDING_STRANDED_WRITER);
	assert_int_equal(f->v[0].verdict, VERDICT_HALF_OPEN);
	assert_int_equal(f->v[0].count, 1);
	findings_destroy(f);
}

static void test_advice_names_the_sites(void **state)
{
	AUTO_WORLD struct world *w = world_create();

	(void)state;
	add_reader(w, VERDICT_HALF_OPEN, true);
	AUTO_FINDINGS struct findings *f = world_judge(w);
	assert_int_equal(f->v[0].n_advice, 2);
	assert_string_equal(f->v[0].advice[0].site->function,
			    "main.(*Pool).readReply");
	assert_non_null(strstr(f->v[0].advice[0].text, "SetReadDeadline"));
	assert_string_equal(f->v[0].advice[1].site->function,
			    "main.(*Pool).dial");
	assert_non_null(strstr(f->v[0].advice[1].text, "KeepAlive"));
}

static void test_advice_for_a_server_names_its_timeouts(void **state)
{
	static const char *const server[] = { "net.(*conn).Read",
					      "net/http.(*connReader).Read",
					      "bufio.(*Reader).Peek",
					      "net/http.(*conn).serve", NULL };
	AUTO_WORLD struct world *w = world_create();
	struct task *t = add_reader(w, VERDICT_HALF_OPEN, true);

	(void)state;
	t->stack = make_stack(w, 1, server);
	t->created_by = make_frame(w, "net/http.(*Server).Serve", "s.go", 1);
	AUTO_FINDINGS struct findings *f = world_judge(w);
	assert_non_null(strstr(f->v[0].advice[0].text, "IdleTimeout"));
	assert_null(f->v[0].advice[0].site);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			test_readers_of_one_place_and_verdict_are_one_finding),
		cmocka_unit_test(
			test_other_verdict_creator_or_stack_is_another_finding),
		cmocka_unit_test(test_lines_do_not_split_a_finding),
		cmocka_unit_test(
			test_the_interval_of_a_finding_holds_all_members),
		cmocka_unit_test(
			test_healthy_program_has_no_findings_and_no_gaps),
		cmocka_unit_test(test_who_moved_is_not_stuck),
		cmocka_unit_test(
			test_a_dead_connection_is_found_without_its_reader),
		cmocka_unit_test(
			test_pooled_dead_connections_group_by_direction),
		cmocka_unit_test(
			test_what_cannot_be_judged_is_a_gap_that_matters),
		cmocka_unit_test(
			test_who_waited_on_a_connection_that_ended_has_moved),
		cmocka_unit_test(test_a_reader_whose_fd_is_not_known_is_a_gap),
		cmocka_unit_test(
			test_an_fd_that_is_not_listed_is_a_gap_a_pipe_is_none),
		cmocka_unit_test(
			test_torn_in_both_looks_is_a_gap_torn_once_is_motion),
		cmocka_unit_test(
			test_a_read_system_call_counts_like_a_parked_read),
		cmocka_unit_test(
			test_running_and_system_tasks_are_never_findings),
		cmocka_unit_test(test_groups_need_their_size_unless_proven),
		cmocka_unit_test(test_rules_hide_possible_findings_only),
		cmocka_unit_test(test_a_deadline_soon_is_told_but_no_finding),
		cmocka_unit_test(test_a_short_wait_is_told_but_no_finding),
		cmocka_unit_test(
			test_a_process_without_tasks_still_has_connections),
		cmocka_unit_test(test_a_writer_has_a_verdict_of_its_own),
		cmocka_unit_test(test_advice_names_the_sites),
		cmocka_unit_test(test_advice_for_a_server_names_its_timeouts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
