/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/detect.h"

#define MS INT64_C(1000000)

static struct blocked_for interval(const struct task *t,
				   const struct tcp_socket *s, int64_t observed,
				   int64_t age)
{
	return blocked_interval(&(struct blocked_input){
		.task = t,
		.wait = t->wait,
		.socket = s,
		.now_mono_ns = DETECT_NOW_MS * MS,
		.observed_ms = observed,
		.process_age_ms = age,
	});
}

static void test_nothing_known_is_zero_to_unknown(void **state)
{
	struct task t = { .wait = WAIT_SELECT };
	struct blocked_for b = interval(&t, NULL, 0, -1);

	(void)state;
	assert_int_equal(b.at_least_ms, 0);
	assert_int_equal(b.at_least_source, BLOCKED_UNKNOWN);
	assert_int_equal(b.at_most_ms, -1);
	assert_true(blocked_maybe(&b, 1 << 30));
}

static void test_lower_end_is_the_longer_of_mark_and_observation(void **state)
{
	struct task t = { .wait = WAIT_SELECT };

	(void)state;
	t.parked_before_mono_ns = (DETECT_NOW_MS - 500) * MS;
	struct blocked_for b = interval(&t, NULL, 1000, 20000);
	assert_int_equal(b.at_least_ms, 1000);
	assert_int_equal(b.at_least_source, BLOCKED_OBSERVED);
	t.parked_before_mono_ns = (DETECT_NOW_MS - 9000) * MS;
	b = interval(&t, NULL, 1000, 20000);
	assert_int_equal(b.at_least_ms, 9000);
	assert_int_equal(b.at_least_source, BLOCKED_WAITSINCE);
	assert_int_equal(b.at_most_ms, 20000);
	assert_int_equal(b.at_most_source, BLOCKED_PROCESS);
}

static void test_a_mark_in_the_future_is_no_mark(void **state)
{
	struct task t = { .wait = WAIT_SELECT,
			  .parked_before_mono_ns = (DETECT_NOW_MS + 5) * MS };

	(void)state;
	assert_int_equal(interval(&t, NULL, 0, -1).at_least_ms, 0);
}

static void test_last_data_bounds_a_reader_but_no_writer(void **state)
{
	AUTO_WORLD struct world *w = world_create();
	struct tcp_socket *s = add_socket(w, 9, VERDICT_SILENT, false);
	struct task *t = add_task(w, WAIT_READ, 9);

	(void)state;
	s->second.info.last_data_recv_ms = 7000;
	struct blocked_for b = interval(t, s, 0, 20000);
	assert_int_equal(b.at_most_ms, 7000);
	assert_int_equal(b.at_most_source, BLOCKED_LAST_DATA);
	t->wait = WAIT_WRITE;
	b = interval(t, s, 0, 20000);
	assert_int_equal(b.at_most_ms, 20000);
}

/* Data in the queue came after the reader slept, or it would have woken. */
static void test_unread_data_bounds_nothing(void **state)
{
	AUTO_WORLD struct world *w = world_create();
	struct tcp_socket *s = add_socket(w, 9, VERDICT_DATA_WAITING, true);
	struct task *t = add_task(w, WAIT_READ, 9);

	(void)state;
	s->second.info.last_data_recv_ms = 3;
	s->second.rqueue = 10;
	assert_int_equal(interval(t, s, 1000, 20000).at_most_ms, 20000);
}

static void test_a_socket_without_tcp_info_bounds_nothing(void **state)
{
	AUTO_WORLD struct world *w = world_create();
	struct tcp_socket *s = add_socket(w, 9, VERDICT_SILENT, false);
	struct task *t = add_task(w, WAIT_READ, 9);

	(void)state;
	s->second.info = (struct tcp_info_fields){ 0 };
	assert_int_equal(interval(t, s, 0, 20000).at_most_ms, 20000);
}

static void test_time_since_the_sample_counts(void **state)
{
	AUTO_WORLD struct world *w = world_create();
	struct tcp_socket *s = add_socket(w, 9, VERDICT_SILENT, false);
	struct task *t = add_task(w, WAIT_READ, 9);

	(void)state;
	s->second.info.last_data_recv_ms = 7000;
	s->second.at_mono_ns -= 250 * MS;
	assert_int_equal(interval(t, s, 0, -1).at_most_ms, 7250);
}

static void test_the_ends_never_cross(void **state)
{
	AUTO_WORLD struct world *w = world_create();
	struct tcp_socket *s = add_socket(w, 9, VERDICT_SILENT, false);
	struct task *t = add_task(w, WAIT_READ, 9);

	(void)state;
	s->second.info.last_data_recv_ms = 400;
	struct blocked_for b = interval(t, s, 1000, -1);
	assert_int_equal(b.at_least_ms, 400);
	assert_int_equal(b.at_most_ms, 400);
}

static const struct {
	const char *what;
	int64_t since_first, since_second;
	uint64_t handle, sp, pc;
	enum task_state state;
	bool torn;
	enum task_motion expected;
} motions[] = {
	{ "same", 0, 0, 1, 2, 3, TASK_WAITING, false, MOTION_STILL },
	{ "a GC marked it meanwhile", 0, 77, 1, 2, 3, TASK_WAITING, false,
	  MOTION_STILL },
	{ "it ran: the mark is new", 70, 77, 1, 2, 3, TASK_WAITING, false,
	  MOTION_MOVED },
	{ "it ran: the mark is gone", 70, 0, 1, 2, 3, TASK_WAITING, false,
	  MOTION_MOVED },
	{ "the mark holds", 70, 70, 1, 2, 3, TASK_WAITING, false,
	  MOTION_STILL },
	{ "another g of that id", 0, 0, 9, 2, 3, TASK_WAITING, false,
	  MOTION_MOVED },
	{ "deeper", 0, 0, 1, 9, 3, TASK_WAITING, false, MOTION_MOVED },
	{ "elsewhere", 0, 0, 1, 2, 9, TASK_WAITING, false, MOTION_MOVED },
	{ "running", 0, 0, 1, 2, 3, TASK_RUNNING, false, MOTION_MOVED },
	{ "torn", 0, 0, 1, 2, 3, TASK_WAITING, true, MOTION_NEW },
};

static void test_motion_by_what_differs(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_OF(motions); i++) {
		struct task t = {
			.handle = 1,
			.sp = 2,
			.pc = 3,
			.state = TASK_WAITING,
			.wait_since_mono_ns = motions[i].since_first,
		};
		struct task_mark m = {
			.handle = motions[i].handle,
			.sp = motions[i].sp,
			.pc = motions[i].pc,
			.state = motions[i].state,
			.torn = motions[i].torn,
			.wait_since_mono_ns = motions[i].since_second,
		};

		if (task_motion(&t, &m) != motions[i].expected)
			fail_msg("%s", motions[i].what);
	}
}

static void test_another_fd_at_the_same_place_is_motion(void **state)
{
	struct task t = { .handle = 1, .state = TASK_WAITING, .fd = 7 };
	struct task_mark m = { .handle = 1, .state = TASK_WAITING, .fd = 8 };

	(void)state;
	assert_int_equal(task_motion(&t, &m), MOTION_MOVED);
	m.fd = 7;
	assert_int_equal(task_motion(&t, &m), MOTION_STILL);
	m.fd = -1; /* not known is no sign of motion */
	assert_int_equal(task_motion(&t, &m), MOTION_STILL);
}

static void test_a_count_of_runs_outdoes_a_clock(void **state)
{
	struct task t = { .handle = 1,
			  .state = TASK_WAITING,
			  .fd = -1,
			  .runs = 4,
			  .wait_since_mono_ns = 1000000000 };
	struct task_mark m = { .handle = 1,
			       .state = TASK_WAITING,
			       .fd = -1,
			       .runs = 4,
			       .wait_since_mono_ns = 1000000040 };

	(void)state;
	assert_int_equal(task_motion(&t, &m), MOTION_STILL);
	m.runs = 6; /* it ran, and parked again */
	assert_int_equal(task_motion(&t, &m), MOTION_MOVED);
	m.runs = 0; /* not known the first time */
	assert_int_equal(task_motion(&t, &m), MOTION_MOVED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing_known_is_zero_to_unknown),
		cmocka_unit_test(
			test_lower_end_is_the_longer_of_mark_and_observation),
		cmocka_unit_test(test_a_mark_in_the_future_is_no_mark),
		cmocka_unit_test(test_last_data_bounds_a_reader_but_no_writer),
		cmocka_unit_test(test_unread_data_bounds_nothing),
		cmocka_unit_test(test_a_socket_without_tcp_info_bounds_nothing),
		cmocka_unit_test(test_time_since_the_sample_counts),
		cmocka_unit_test(test_the_ends_never_cross),
		cmocka_unit_test(test_motion_by_what_differs),
		cmocka_unit_test(test_another_fd_at_the_same_place_is_motion),
		cmocka_unit_test(test_a_count_of_runs_outdoes_a_clock),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
