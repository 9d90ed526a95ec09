/* SPDX-License-Identifier: Apache-2.0 */
#include <poll.h>

#include "detector/frames.h"
#include "detector/waiting.h"
#include "tests/unit/detect.h"

/** Threads, event loops and several sets of tasks: waiting and correlate. */

static const char *const native_functions[] = { "recv", "read_reply", "main",
						NULL };

static struct stack *native_stack(struct world *w)
{
	struct stack *s = make_stack(w, 10, native_functions);

	for (uint32_t i = 0; i < s->n; i++) {
		struct frame *f = (struct frame *)s->frames[i];

		f->object = i ? "app" : "libc.so.6";
		f->own = i;
		f->runtime = !i;
	}
	return s;
}

/* A thread in a system call that waits for @fd, or for what is in its set. */
static struct task *add_thread(struct world *w, enum wait_kind wait, int fd)
{
	struct task *t = add_task(w, wait, fd);

	w->snap.kind = TASK_THREAD;
	w->snap.runtime = "threads";
	t->tid = (pid_t)t->id;
	t->fd_proof = FD_SYSCALL;
	t->reason = wait_kind_name(wait);
	t->name = "worker";
	t->timeout_ms = -1;
	t->runs = 7;
	t->read_deadline.state = t->write_deadline.state = DEADLINE_UNKNOWN;
	t->created_by = NULL;
	t->stack = native_stack(w);
	return t;
}

static void watch_fds(struct world *w, struct task *t, const int *fds, size_t n,
		      uint32_t events)
{
	struct wait_fd *v = arena_array(w->arena, n, sizeof(*v));

	for (size_t i = 0; i < n; i++)
		v[i] = (struct wait_fd){ fds[i], events };
	t->fds = v;
	t->n_fds = (uint32_t)n;
}

static struct finding *only(struct findings *f)
{
	assert_int_equal(f->n, 1);
	return &f->v[0];
}

static void test_a_thread_in_recv_on_a_dead_connection(void **state UNUSED)
{
	AUTO_WORLD struct world *w = world_create();

	add_socket(w, 9, VERDICT_HALF_OPEN, true);
	add_thread(w, WAIT_READ, 9);
	AUTO_FINDINGS struct findings *f = world_judge(w);
	assert_int_equal(only(f)->kind, FINDING_STRANDED_READER);
	assert_int_equal(f->v[0].grade, GRADE_PROVEN);
	assert_int_equal(f->v[0].runtime, TASK_THREAD);
	assert_int_equal(f->v[0].members[0].deadline.state, DEADLINE_NONE);
	assert_int_equal(f->blocked.of[TASK_THREAD], 1);
	assert_non_null(strstr(f->v[0].advice[0].text, "SO_RCVTIMEO"));
	assert_string_equal(f->v[0].advice[0].site->function, "read_reply");
}

static void test_a_socket_time_out_is_a_deadline(void **state UNUSED)
{
	AUTO_WORLD struct world *w = world_create();
	struct tcp_socket *s = add_socket(w, 9, VERDICT_HALF_OPEN, true);

	s->first.info.last_data_recv_ms = s->second.info.last_data_recv_ms = 50;
	s->options.recv_timeout_ms = 30000;
	add_thread(w, WAIT_READ, 9);
	AUTO_FINDINGS struct findings *f = world_judge(w);
	assert_int_equal(f->n, 0);
	assert_int_equal(f->deadline_soon, 1);
}

static void test_a_time_out_that_is_not_minded_ends_nothing(void **state UNUSED)
{
	AUTO_WORLD struct world *w = world_create();
	struct tcp_socket *s = add_socket(w, 9, VERDICT_HALF_OPEN, true);

	/* 11000 s without a byte, in calls of 30 s. */
	s->options.recv_timeout_ms = 30000;
	s->first.info.last_data_sent_ms = s->second.info.last_data_sent_ms =
		11000000;
	add_thread(w, WAIT_READ, 9);
	AUTO_FINDINGS struct findings *f = world_judge(w);
	assert_int_equal(only(f)->kind, FINDING_STRANDED_READER);
	assert_int_equal(f->v[0].grade, GRADE_LIKELY);
}

static void test_a_poll_of_one_connection_is_a_read_of_it(void **state UNUSED)
{
	static const int fds[] = { 0, 9 }; /* a terminal, a connection */
	AUTO_WORLD struct world *w = world_create();

	add_socket(w, 9, VERDICT_HALF_OPEN, true);
	watch_fds(w, add_thread(w, WAIT_POLL, -1), fds, 2, POLLIN);
	AUTO_FINDINGS struct findings *f = world_judge(w);
	assert_int_equal(only(f)->kind, FINDING_STRANDED_READER);
	assert_int_equal(f->v[0].members[0].fd, 9);
	assert_non_null(strstr(f->v[0].advice[0].text, "poll(2)"));
}

static void test_a_poll_for_room_is_a_write(void **state UNUSED)
{
	static const int fds[] = { 9 };
	AUTO_WORLD struct world *w = world_create();

	add_socket(w, 9, VERDICT_HALF_OPEN, true);
	watch_fds(w, add_thread(w, WAIT_POLL, 9), fds, 1, POLLOUT);
	AUTO_FINDINGS struct findings *f = world_judge(w);
	assert_int_equal(only(f)->kind, FINDING_STRANDED_WRITER);
}

/* What else is in the set may wake it: nothing says that it waits for ever. */
static void test_a_silent_poll_with_others_is_no_finding(void **state UNUSED)
{
	static const int fds[] = { 0, 9 };
	AUTO_WORLD struct world *w = world_create();

	add_socket(w, 9, VERDICT_SILENT, false);
	struct task *t = add_thread(w, WAIT_POLL, -1);
	watch_fds(w, t, fds, 2, POLLIN);
	AUTO_FINDINGS struct findings *f = world_judge(w);
	assert_int_equal(f->n, 0);
	t->fds++;
	t->n_fds = 1;
	AUTO_FINDINGS struct findings *g = world_judge(w);
	assert_int_equal(only(g)->grade, GRADE_POSSIBLE);
}

static void test_poll_again_and_again_is_stuck(void **state UNUSED)
{
	static const int fds[] = { 9 };
	AUTO_WORLD struct world *w = world_create();

	struct tcp_socket *s = add_socket(w, 9, VERDICT_HALF_OPEN, true);
	s->first.info.last_data_recv_ms = s->second.info.last_data_recv_ms =
		900;
	struct task *t = add_thread(w, WAIT_POLL, 9);
	watch_fds(w, t, fds, 1, POLLIN);
	t->timeout_ms = 500;
	struct task_mark *marks = correlate_marks(&w->snap, w->arena);
	AUTO_FINDINGS struct findings *once = world_judge_marks(w, marks, 1);
	assert_int_equal(once->n, 0);
	assert_int_equal(once->deadline_soon, 1);
	marks[0].runs += 2;
	AUTO_FINDINGS struct findings *f = world_judge_marks(w, marks, 1);
	assert_int_equal(only(f)->grade, GRADE_LIKELY);
	assert_int_equal(f->v[0].blocked.at_least_ms, 0);
	/* Without a time-out it was woken by something: it is not stuck. The
	 * connection is dead all the same. */
	t->timeout_ms = -1;
	AUTO_FINDINGS struct findings *g = world_judge_marks(w, marks, 1);
	assert_int_equal(only(g)->kind, FINDING_DEAD_IDLE);
	assert_int_equal(g->moved, 1);
}

static void test_an_event_loop_holds_its_dead(enum wait_kind wait, int epfd)
{
	static const int fds[] = { 9, 10 };
	AUTO_WORLD struct world *w = world_create();

	add_socket(w, 9, VERDICT_ALIVE, true);
	add_socket(w, 10, VERDICT_HALF_OPEN, true);
	struct task *t = add_thread(w, wait, epfd);
	watch_fds(w, t, fds, 2, POLLIN);
	struct task_mark *marks = correlate_marks(&w->snap, w->arena);
	marks[0].runs++; /* it is busy, and holds them nevertheless */
	AUTO_FINDINGS struct findings *f = world_judge_marks(w, marks, 1);
	assert_int_equal(only(f)->kind, FINDING_DEAD_IDLE);
	assert_int_equal(f->v[0].grade, GRADE_PROVEN);
	assert_int_equal(f->v[0].runtime, TASK_THREAD);
	assert_ptr_equal(f->v[0].members[0].holder, t);
	assert_int_equal(f->v[0].members[0].fd, 10);
	assert_ptr_equal(f->v[0].stack, t->stack);
}

static void test_event_loops(void **state UNUSED)
{
	test_an_event_loop_holds_its_dead(WAIT_POLL, -1);
	test_an_event_loop_holds_its_dead(WAIT_EPOLL, 5);
}

/* With a listener in the set it is a server, whose only client may be dead. */
static void test_one_client_beside_a_listener_is_held(void **state UNUSED)
{
	static const int fds[] = { 9, 10 };
	AUTO_WORLD struct world *w = world_create();

	struct tcp_socket *s = add_socket(w, 9, VERDICT_LISTENING, true);
	s->first.state = s->second.state = TCP_STATE_LISTEN;
	add_socket(w, 10, VERDICT_HALF_OPEN, true);
	watch_fds(w, add_thread(w, WAIT_POLL, -1), fds, 2, POLLIN);
	AUTO_FINDINGS struct findings *f = world_judge(w);
	assert_int_equal(only(f)->kind, FINDING_DEAD_IDLE);
	assert_non_null(f->v[0].members[0].holder);
}

static void test_the_last_io_is_likely_at_best(void **state UNUSED)
{
	AUTO_WORLD struct world *w = world_create();

	add_socket(w, 9, VERDICT_HALF_OPEN, true);
	add_thread(w, WAIT_READ, 9)->fd_proof = FD_LAST_IO;
	AUTO_FINDINGS struct findings *f = world_judge(w);
	assert_int_equal(only(f)->grade, GRADE_LIKELY);
}

/* One connection, a coroutine that reads it, the thread that polls for it. */
static void
test_who_polls_for_a_coroutine_is_not_told_again(void **state UNUSED)
{
	static const int fds[] = { 9 };
	AUTO_WORLD struct world *w = world_create();
	struct findings *f = NULL;

	add_socket(w, 9, VERDICT_HALF_OPEN, true);
	add_thread(w, WAIT_READ, 9)->fd_proof = FD_HOOK;
	watch_fds(w, add_thread(w, WAIT_POLL, 9), fds, 1, POLLIN);
	struct task_snapshot co = w->snap, threads = w->snap;
	co.kind = TASK_COROUTINE;
	co.n = threads.n = 1;
	threads.tasks++;
	const struct task_set sets[] = { { .snapshot = &co },
					 { .snapshot = &threads } };
	const struct correlate_input in = {
		.sets = sets,
		.n_sets = 2,
		.fds = &w->fds,
		.sockets = &w->tcp,
		.verdicts = w->verdicts,
		.rules = w->rules,
		.limits = w->limits,
		.process_age_ms = -1,
	};
	assert_ok(correlate(&in, &f));
	assert_int_equal(only(f)->runtime, TASK_COROUTINE);
	assert_int_equal(task_counts_sum(&f->tasks), 2);
	findings_destroy(f);
}

static void test_a_name_counts_without_its_offset(void **state UNUSED)
{
	struct frame a = { .function = "libpq.so.5+0x1a2b",
			   .object = "libpq.so.5" };
	struct frame go = { .function = "main.f+0x1" };

	assert_int_equal(frame_stable_len(&a), strlen("libpq.so.5"));
	assert_int_equal(frame_stable_len(&go), strlen("main.f+0x1"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_thread_in_recv_on_a_dead_connection),
		cmocka_unit_test(test_a_socket_time_out_is_a_deadline),
		cmocka_unit_test(
			test_a_time_out_that_is_not_minded_ends_nothing),
		cmocka_unit_test(test_a_poll_of_one_connection_is_a_read_of_it),
		cmocka_unit_test(test_a_poll_for_room_is_a_write),
		cmocka_unit_test(test_a_silent_poll_with_others_is_no_finding),
		cmocka_unit_test(test_poll_again_and_again_is_stuck),
		cmocka_unit_test(test_event_loops),
		cmocka_unit_test(test_one_client_beside_a_listener_is_held),
		cmocka_unit_test(test_the_last_io_is_likely_at_best),
		cmocka_unit_test(
			test_who_polls_for_a_coroutine_is_not_told_again),
		cmocka_unit_test(test_a_name_counts_without_its_offset),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
