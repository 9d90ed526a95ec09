/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/unit.h"

#include "tests/unit/go_world.h"

static struct task_snapshot *take(struct world *w)
{
	struct error *err;
	struct task_snapshot *snap = world_snapshot(w, &err);

	assert_ok(err);
	return snap;
}

static void begin(struct world *w, unsigned shape)
{
	world_init(w, &world_shapes[shape]);
	world_usual(w, 3);
}

static uint64_t gap_count(const struct task_snapshot *snap, enum gap_kind kind,
			  const char *part)
{
	for (size_t i = 0; i < snap->gaps.n; i++)
		if (snap->gaps.v[i].kind == kind &&
		    strstr(snap->gaps.v[i].text, part))
			return snap->gaps.v[i].count;
	return 0;
}

static void assert_frames(const struct task *t, const int *frames, size_t n)
{
	assert_non_null(t->stack);
	assert_int_equal(t->stack->n, n + 1);
	for (size_t i = 0; i < n; i++)
		assert_string_equal(t->stack->frames[i]->function,
				    world_names[frames[i]]);
	assert_string_equal(t->stack->frames[n]->function, "runtime.goexit");
}

static void test_a_parked_goroutine_is_read_whole(void **state)
{
	const int frames[] = { F_GOPARK, F_CHANRECV, F_WORKER };
	const struct task *t;
	struct task_snapshot *snap;
	struct world w;
	raddr_t g;

	(void)state;
	begin(&w, 2);
	g = WORLD_GO(&w, F_WORKER, R_SLEEP, F_GOPARK, F_CHANRECV, F_WORKER);
	assert_ok(world_find(&w));
	snap = take(&w);
	assert_int_equal(snap->n, 5);
	assert_int_equal(snap->gaps.n, 0);
	t = task_snapshot_find(snap, 5);
	assert_non_null(t);
	assert_int_equal(t->state, TASK_WAITING);
	assert_int_equal(t->wait, WAIT_SLEEP);
	assert_string_equal(t->reason, "sleep");
	assert_int_equal(t->parent_id, 1);
	assert_int_equal(t->handle, g);
	assert_int_equal(t->fd, -1);
	assert_int_equal(t->fd_proof, FD_NONE);
	assert_string_equal(t->start->function, "main.worker");
	assert_string_equal(t->created_by->function, "main.main");
	assert_frames(t, frames, 3);
	assert_false(t->system || t->torn || t->partial || t->leaked);
	assert_true(snap->tasks[1].system);
	assert_false(snap->tasks[0].system);
	assert_null(snap->tasks[0].created_by);
	task_snapshot_destroy(snap);
	world_deinit(&w);
}

struct state_row {
	unsigned status;
	enum task_state state;
	const char *reason;
	bool stack, scan;
};

static void test_states_are_worded_as_the_runtime_does(void **state)
{
	static const struct state_row rows[] = {
		{ GO_RUNNABLE, TASK_RUNNABLE, "runnable", true, false },
		{ GO_RUNNING, TASK_RUNNING, "running", false, false },
		{ GO_SYSCALL, TASK_SYSCALL, "syscall", true, false },
		{ GO_WAITING, TASK_WAITING, "sleep", true, false },
		{ GO_WAITING | GO_STATUS_SCAN, TASK_WAITING, "sleep", true,
		  true },
		{ GO_COPYSTACK, TASK_COPYSTACK, "copystack", false, false },
		{ GO_PREEMPTED, TASK_PREEMPTED, "preempted", true, false },
		{ GO_LEAKED, TASK_LEAKED, "sleep", true, false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct task_snapshot *snap;
		const struct task *t;
		struct world w;
		raddr_t g;

		begin(&w, 5);
		g = WORLD_GO(&w, F_WORKER, R_SLEEP, F_GOPARK, F_WORKER);
		assert_ok(world_find(&w));
		world_status(&w, g, rows[i].status, R_SLEEP);
		snap = take(&w);
		t = task_snapshot_find(snap, 5);
		assert_int_equal(t->state, rows[i].state);
		assert_string_equal(t->reason, rows[i].reason);
		assert_int_equal(t->stack != NULL, rows[i].stack);
		assert_int_equal(t->scan_bit, rows[i].scan);
		assert_int_equal(t->leaked, rows[i].state == TASK_LEAKED);
		assert_int_equal(gap_count(snap, GAP_RUNNING, "running"),
				 rows[i].state == TASK_RUNNING);
		task_snapshot_destroy(snap);
		world_deinit(&w);
	}
}

static void test_dead_goroutines_are_left_out(void **state)
{
	struct task_snapshot *snap;
	struct world w;

	(void)state;
	begin(&w, 5);
	assert_ok(world_find(&w));
	world_status(&w, w.gs[1], GO_DEAD, 0);
	world_status(&w, w.gs[2], GO_DEADEXTRA, 0);
	snap = take(&w);
	assert_int_equal(snap->n, 2);
	assert_null(task_snapshot_find(snap, 2));
	assert_null(task_snapshot_find(snap, 3));
	assert_int_equal(snap->gaps.n, 0);
	task_snapshot_destroy(snap);
	world_deinit(&w);
}

static void test_tasks_come_in_the_order_of_their_ids(void **state)
{
	static const uint64_t ids[] = {
		1, 900000, 17, 1ULL << 33, 5, 6, 2, 4000
	};
	struct task_snapshot *snap;
	struct world w;

	(void)state;
	begin(&w, 2);
	for (int i = 0; i < 4; i++)
		WORLD_GO(&w, F_WORKER, R_SLEEP, F_GOPARK, F_WORKER);
	for (size_t i = 0; i < 8; i++)
		world_put(&w, w.gs[i] + w.shape->status + 8, ids[i]);
	assert_ok(world_find(&w));
	snap = take(&w);
	assert_int_equal(snap->n, 8);
	for (size_t i = 1; i < 8; i++)
		assert_true(snap->tasks[i - 1].id < snap->tasks[i].id);
	for (size_t i = 0; i < 8; i++)
		assert_int_equal(task_snapshot_find(snap, ids[i])->handle,
				 w.gs[i]);
	task_snapshot_destroy(snap);
	world_deinit(&w);
}

/* While its stack is read, the goroutine w->watch goes on: @budget times. */
static void moves_on(struct world *w, raddr_t addr, size_t len)
{
	raddr_t sp = world_get(w, w->watch + GO_G_SP);
	uint8_t *turns = world_at(w, w->watch + w->shape->status + 50);

	if (addr > sp || addr + len <= sp || w->budget <= 0)
		return;
	w->budget--;
	++*turns; // trackingSeq
}

static void test_a_goroutine_that_moved_on_is_read_again(void **state)
{
	const int frames[] = { F_GOPARK, F_WORKER };
	struct task_snapshot *snap;
	const struct task *t;
	struct world w;

	(void)state;
	begin(&w, 2);
	w.watch = WORLD_GO(&w, F_WORKER, R_SLEEP, F_GOPARK, F_WORKER);
	assert_ok(world_find(&w));
	w.on_read = moves_on;
	w.budget = GO_RETRIES;
	snap = take(&w);
	t = task_snapshot_find(snap, 5);
	assert_false(t->torn);
	assert_frames(t, frames, 2);
	assert_int_equal(snap->torn_retried, 1);
	assert_int_equal(snap->torn, 0);
	assert_int_equal(snap->gaps.n, 0);
	task_snapshot_destroy(snap);
	world_deinit(&w);
}

static void test_one_that_never_holds_still_is_marked_torn(void **state)
{
	struct task_snapshot *snap;
	const struct task *t;
	struct world w;

	(void)state;
	begin(&w, 2);
	w.watch = WORLD_GO(&w, F_WORKER, R_SLEEP, F_GOPARK, F_WORKER);
	assert_ok(world_find(&w));
	w.on_read = moves_on;
	w.budget = GO_RETRIES + 1;
	snap = take(&w);
	t = task_snapshot_find(snap, 5);
	assert_true(t->torn);
	assert_null(t->stack);
	assert_int_equal(snap->torn, 1);
	assert_int_equal(gap_count(snap, GAP_TORN, "changed"), 1);
	task_snapshot_destroy(snap);
	world_deinit(&w);
}

static void test_a_stack_that_ends_nowhere_is_incomplete(void **state)
{
	struct task_snapshot *snap;
	const struct task *t;
	struct world w;
	raddr_t g;

	(void)state;
	begin(&w, 2);
	g = WORLD_GO(&w, F_WORKER, R_SLEEP, F_GOPARK, F_CHANRECV, F_WORKER);
	assert_ok(world_find(&w));
	world_put(&w, world_slot(&w, g, 1, 7), 0xdead);
	snap = take(&w);
	t = task_snapshot_find(snap, 5);
	assert_true(t->partial && t->stack->incomplete);
	assert_int_equal(t->stack->n, 2);
	assert_int_equal(gap_count(snap, GAP_CORRUPT, "outermost"), 1);
	task_snapshot_destroy(snap);
	world_deinit(&w);
}

static void test_a_stack_pointer_outside_the_stack_is_corrupt(void **state)
{
	static const uint64_t sps[] = { 0,
					8,
					WORLD_BASE,
					UINT64_MAX - 7,
					WORLD_BASE + WORLD_BYTES,
					1ULL << 47 };

	(void)state;
	for (size_t i = 0; i < sizeof(sps) / sizeof(sps[0]); i++) {
		struct task_snapshot *snap;
		const struct task *t;
		struct world w;
		raddr_t g;

		begin(&w, 2);
		g = WORLD_GO(&w, F_WORKER, R_SLEEP, F_GOPARK, F_WORKER);
		assert_ok(world_find(&w));
		world_put(&w, g + GO_G_SP, sps[i]);
		snap = take(&w);
		t = task_snapshot_find(snap, 5);
		assert_non_null(t);
		assert_null(t->stack);
		assert_true(t->partial);
		assert_int_equal(gap_count(snap, GAP_CORRUPT, "record"), 1);
		task_snapshot_destroy(snap);
		world_deinit(&w);
	}
}

static void test_a_list_that_repeats_itself_yields_each_once(void **state)
{
	struct task_snapshot *snap;
	struct world w;

	(void)state;
	begin(&w, 2);
	assert_ok(world_find(&w));
	for (int i = 4; i < WORLD_MAX_GS; i++)
		world_put(&w, w.array + i * 8, w.gs[i % 4]);
	world_put(&w, w.allgs + 8, WORLD_MAX_GS);
	snap = take(&w);
	assert_int_equal(snap->n, 4);
	assert_int_equal(gap_count(snap, GAP_CORRUPT, "twice"),
			 WORLD_MAX_GS - 4);
	task_snapshot_destroy(snap);
	world_deinit(&w);
}

static void test_entries_that_are_no_goroutines_are_counted(void **state)
{
	struct task_snapshot *snap;
	struct world w;

	(void)state;
	begin(&w, 2);
	assert_ok(world_find(&w));
	world_put(&w, w.array + 4 * 8, 0);
	world_put(&w, w.array + 5 * 8, w.array); // the list itself
	world_put(&w, w.array + 6 * 8, WORLD_BASE + WORLD_BYTES);
	world_put(&w, w.allgs + 8, 7);
	snap = take(&w);
	assert_int_equal(snap->n, 4);
	assert_int_equal(gap_count(snap, GAP_CORRUPT, "record"), 3);
	task_snapshot_destroy(snap);
	world_deinit(&w);
}

static void test_a_list_of_impossible_length_is_an_error(void **state)
{
	struct error *err;
	struct world w;

	(void)state;
	begin(&w, 2);
	assert_ok(world_find(&w));
	world_put(&w, w.allgs + 8, 1ULL << 40);
	world_put(&w, w.allgs + 16, 1ULL << 40);
	assert_null(world_snapshot(&w, &err));
	assert_error(err, ERROR_CORRUPT, "makes no sense");
	world_deinit(&w);
}

/* The process ends when the stack of the goroutine w->watch is read. */
static void ends(struct world *w, raddr_t addr, size_t len)
{
	raddr_t sp = world_get(w, w->watch + GO_G_SP);

	w->ended = w->ended || (addr <= sp && addr + len > sp);
}

static void test_what_was_not_read_before_the_end_is_counted(void **state)
{
	struct task_snapshot *snap;
	struct error *err;
	struct world w;

	(void)state;
	begin(&w, 2);
	for (int i = 0; i < 1500; i++)
		WORLD_GO(&w, F_WORKER, R_SLEEP, F_WORKER);
	assert_ok(world_find(&w));
	w.watch = w.gs[1300]; // of the second batch
	w.on_read = ends;
	snap = take(&w);
	assert_int_equal(snap->n + gap_count(snap, GAP_GONE, "not read"), 1504);
	assert_true(gap_count(snap, GAP_GONE, "not read") > 0);
	assert_int_equal(snap->gaps.n, 1);
	task_snapshot_destroy(snap);
	assert_null(world_snapshot(&w, &err));
	assert_error(err, ERROR_GONE, "cannot read");
	world_deinit(&w);
}

static void test_a_deep_stack_is_cut_and_says_so(void **state)
{
	struct task_snapshot *snap;
	const struct task *t;
	struct world w;
	raddr_t g, stack, hi;

	(void)state;
	begin(&w, 2);
	g = WORLD_GO(&w, F_WORKER, R_SLEEP, F_GOPARK, F_WORKER);
	assert_ok(world_find(&w));
	// 70 KB, more than is read at first
	stack = world_alloc(&w, (TASK_MAX_FRAMES + 100) * WORLD_FRAME);
	hi = stack + (TASK_MAX_FRAMES + 100) * WORLD_FRAME;
	world_put(&w, g + GO_G_STACK_LO, stack);
	world_put(&w, g + GO_G_STACK_HI, hi);
	world_put(&w, g + GO_G_SP, stack);
	for (raddr_t at = stack; at < hi; at += WORLD_FRAME)
		world_put(&w, at + WORLD_FRAME - 8, world_pc(F_WORKER));
	snap = take(&w);
	t = task_snapshot_find(snap, 5);
	assert_int_equal(t->stack->n, TASK_MAX_FRAMES);
	assert_true(t->stack->truncated);
	assert_false(t->stack->incomplete || t->partial || t->torn);
	task_snapshot_destroy(snap);
	world_deinit(&w);
}

static uint64_t stack_reads(struct world *w, struct task_snapshot **snap)
{
	uint64_t before = w->bytes_read;

	*snap = take(w);
	return w->bytes_read - before;
}

static void test_what_a_gc_saw_parked_is_not_read_again(void **state)
{
	const int frames[] = { F_GOPARK, F_WORKER },
		  other[] = { F_GOPARK, F_OTHER_WORKER };
	struct task_snapshot *first, *second, *third;
	uint64_t cost1, cost2;
	struct world w;
	raddr_t g;

	(void)state;
	begin(&w, 2);
	g = WORLD_GO(&w, F_WORKER, R_SLEEP, F_GOPARK, F_WORKER);
	for (size_t i = 0; i < w.n_gs; i++)
		world_put(&w, w.gs[i] + w.shape->status + 24, 1000);
	assert_ok(world_find(&w));
	cost1 = stack_reads(&w, &first);
	cost2 = stack_reads(&w, &second);
	assert_true(cost2 < cost1);
	assert_ptr_equal(task_snapshot_find(first, 5)->stack,
			 task_snapshot_find(second, 5)->stack);
	task_snapshot_destroy(second);

	// it ran, and parked at the same depth for another caller
	world_park(&w, g, other, 2);
	second = take(&w);
	assert_frames(task_snapshot_find(second, 5), frames, 2);
	world_put(&w, g + w.shape->status + 24, 0);
	third = take(&w);
	assert_frames(task_snapshot_find(third, 5), other, 2);
	task_snapshot_destroy(third);
	world_put(&w, g + w.shape->status + 24, 2000);
	world_park(&w, g, frames, 2);
	third = take(&w);
	assert_frames(task_snapshot_find(third, 5), frames, 2);
	task_snapshot_destroy(third);
	task_snapshot_destroy(second);
	task_snapshot_destroy(first);
	world_deinit(&w);
}

static void test_how_long_it_waits_comes_from_the_gc_or_from_us(void **state)
{
	struct task_snapshot *snap;
	const struct task *t;
	struct world w;
	raddr_t g;

	(void)state;
	begin(&w, 2);
	g = WORLD_GO(&w, F_WORKER, R_SLEEP, F_GOPARK, F_WORKER);
	WORLD_GO(&w, F_WORKER, R_SLEEP, F_GOPARK, F_WORKER);
	// a mark is the end of the collection before the one that made it, so
	// only a later one says by when the first was parked
	world_put(&w, g + w.shape->status + 24,
		  (uint64_t)(clock_mono_ns() - 900000000));
	g = WORLD_GO(&w, F_WORKER, R_SLEEP, F_GOPARK, F_WORKER);
	world_put(&w, g + w.shape->status + 24,
		  (uint64_t)(clock_mono_ns() - 500000000));
	assert_ok(world_find(&w));
	snap = take(&w);
	t = task_snapshot_find(snap, 5);
	assert_in_range(t->blocked.at_least_ms, 499, 5000);
	assert_int_equal(t->blocked.at_least_source, BLOCKED_WAITSINCE);
	assert_int_equal(t->blocked.at_most_ms, 1000);
	assert_int_equal(t->blocked.at_most_source, BLOCKED_PROCESS);
	t = task_snapshot_find(snap, 6);
	assert_int_equal(t->blocked.at_least_ms, 0);
	assert_int_equal(t->blocked.at_least_source, BLOCKED_UNKNOWN);
	t = task_snapshot_find(snap, 7);
	assert_int_equal(t->blocked.at_least_ms, 0);
	task_snapshot_destroy(snap);
	world_deinit(&w);
}

static void test_a_locked_goroutine_names_its_thread(void **state)
{
	(void)state;
	for (size_t i = 0; i < WORLD_SHAPES; i++) {
		struct task_snapshot *snap;
		const struct task *t;
		raddr_t g, m, g0;
		struct world w;

		begin(&w, (unsigned)i);
		g = WORLD_GO(&w, F_WORKER, R_SLEEP, F_GOPARK, F_WORKER);
		m = world_alloc(&w, 256);
		g0 = world_alloc(&w, 448);
		world_put(&w, m, g0);
		world_put(&w, g0 + GO_G_M, m);
		world_put(&w, m + w.shape->procid, 4242);
		world_put(&w,
			  g + w.shape->gopc -
				  (w.shape->minor >= 26	  ? 80
				   : w.shape->minor >= 21 ? 72
							  : 64),
			  m);
		assert_ok(world_find(&w));
		snap = take(&w);
		t = task_snapshot_find(snap, 5);
		assert_true(t->locked_to_thread);
		assert_int_equal(t->tid, 4242);
		assert_false(task_snapshot_find(snap, 4)->locked_to_thread);
		task_snapshot_destroy(snap);
		world_deinit(&w);
	}
}

static void test_a_system_call_names_its_fd(void **state)
{
	struct task_snapshot *snap;
	const struct task *t;
	raddr_t g, m, g0;
	struct world w;

	(void)state;
	begin(&w, 5);
	g = WORLD_GO(&w, F_WORKER, R_ZERO, F_WORKER);
	m = world_alloc(&w, 256);
	g0 = world_alloc(&w, 448);
	world_put(&w, m, g0);
	world_put(&w, g0 + GO_G_M, m);
	world_put(&w, m + w.shape->procid, 4242);
	world_put(&w, g + GO_G_M, m);
	assert_ok(world_find(&w));
	world_status(&w, g, GO_SYSCALL, 0);
	// sched is of the park before, syscallsp and pc are what holds
	world_put(&w, g + w.shape->syscallsp, world_get(&w, g + GO_G_SP));
	world_put(&w, g + w.shape->syscallsp + 8, world_pc(F_FD_READ));
	world_put(&w, g + GO_G_PC, 0);
	snap = take(&w);
	t = task_snapshot_find(snap, 5);
	assert_int_equal(t->state, TASK_SYSCALL);
	assert_int_equal(t->wait, WAIT_READ);
	assert_int_equal(t->fd_proof, FD_SYSCALL);
	assert_int_equal(t->fd, 7);
	assert_int_equal(t->tid, 4242);
	assert_string_equal(t->stack->frames[0]->function,
			    world_names[F_FD_READ]);
	task_snapshot_destroy(snap);
	world_deinit(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_parked_goroutine_is_read_whole),
		cmocka_unit_test(test_states_are_worded_as_the_runtime_does),
		cmocka_unit_test(test_dead_goroutines_are_left_out),
		cmocka_unit_test(test_tasks_come_in_the_order_of_their_ids),
		cmocka_unit_test(test_a_goroutine_that_moved_on_is_read_again),
		cmocka_unit_test(
			test_one_that_never_holds_still_is_marked_torn),
		cmocka_unit_test(test_a_stack_that_ends_nowhere_is_incomplete),
		cmocka_unit_test(
			test_a_stack_pointer_outside_the_stack_is_corrupt),
		cmocka_unit_test(
			test_a_list_that_repeats_itself_yields_each_once),
		cmocka_unit_test(
			test_entries_that_are_no_goroutines_are_counted),
		cmocka_unit_test(test_a_list_of_impossible_length_is_an_error),
		cmocka_unit_test(
			test_what_was_not_read_before_the_end_is_counted),
		cmocka_unit_test(test_a_deep_stack_is_cut_and_says_so),
		cmocka_unit_test(test_what_a_gc_saw_parked_is_not_read_again),
		cmocka_unit_test(
			test_how_long_it_waits_comes_from_the_gc_or_from_us),
		cmocka_unit_test(test_a_locked_goroutine_names_its_thread),
		cmocka_unit_test(test_a_system_call_names_its_fd),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
