/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/unit.h"

#include "tests/unit/go_world.h"

static void test_every_shape_is_found_without_its_version(void **state)
{
	(void)state;
	for (size_t i = 0; i < WORLD_SHAPES; i++) {
		const struct world_shape *s = &world_shapes[i];
		struct world w;

		world_init(&w, s);
		w.layout.minor = 0;
		world_usual(&w, 20);
		assert_ok(world_find(&w));
		assert_int_equal(w.layout.allgs, w.allgs);
		assert_int_equal(w.layout.g_status, s->status);
		assert_int_equal(w.layout.g_goid, s->status + 8);
		assert_int_equal(w.layout.g_syscallsp, s->syscallsp);
		assert_true(w.layout.g_syscallsp_sure);
		assert_int_equal(w.layout.g_gopc, s->gopc);
		assert_int_equal(w.layout.g_startpc, s->gopc + 16);
		assert_int_equal(w.layout.g_parent,
				 s->parent ? s->gopc - 8 : 0);
		assert_int_equal(w.layout.n_reasons, WORLD_REASONS);
		assert_string_equal(w.layout.reasons[R_IO].text, "IO wait");
		world_deinit(&w);
	}
}

static void test_a_slice_of_other_things_is_not_allgs(void **state)
{
	struct world w;
	raddr_t decoy;

	(void)state;
	world_init(&w, &world_shapes[2]);
	world_usual(&w, 30);
	// longer than allgs, and its first element is a g: no other is
	decoy = world_alloc(&w, 100 * 8);
	world_put(&w, decoy, w.gs[0]);
	world_put(&w, WORLD_DATA + 0x40, decoy);
	world_put(&w, WORLD_DATA + 0x48, 100);
	world_put(&w, WORLD_DATA + 0x50, 100);
	assert_ok(world_find(&w));
	assert_int_equal(w.layout.allgs, w.allgs);
	world_deinit(&w);
}

static void test_a_copy_of_allgs_without_allgptr_loses(void **state)
{
	struct world w;
	raddr_t copy;

	(void)state;
	world_init(&w, &world_shapes[2]);
	world_usual(&w, 10);
	copy = world_alloc(&w, 20 * 8);
	for (int i = 0; i < 20; i++)
		world_put(&w, copy + i * 8, w.gs[i % 10]);
	world_put(&w, WORLD_DATA + 0x40, copy);
	world_put(&w, WORLD_DATA + 0x48, 20);
	world_put(&w, WORLD_DATA + 0x50, 20);
	assert_ok(world_find(&w));
	assert_int_equal(w.layout.allgs, w.allgs);
	assert_int_equal(w.layout.allgs_candidates, 2);
	world_deinit(&w);
}

static void test_no_goroutines_is_an_error_that_says_so(void **state)
{
	struct world w;

	(void)state;
	world_init(&w, &world_shapes[2]);
	assert_error(world_find(&w), ERROR_CORRUPT, "no list of goroutines");
	world_deinit(&w);
}

static void end_it(struct world *w, raddr_t addr UNUSED, size_t len UNUSED)
{
	w->ended = true;
}

/* With more that could be a list than are looked at together. */
static void test_a_program_that_ends_while_it_is_searched(void **state UNUSED)
{
	struct world w;

	world_init(&w, &world_shapes[2]);
	for (raddr_t at = 0; at < WORLD_DATA_BYTES; at += 8)
		world_put(&w, WORLD_DATA + at, 0x1000);
	w.on_read = end_it;
	assert_error(world_find(&w), ERROR_GONE, "memory of the program");
	assert_int_equal(w.reads, 1);
	world_deinit(&w);
}

static void test_a_library_has_no_main_goroutine(void **state)
{
	struct world w;

	(void)state;
	world_init(&w, &world_shapes[5]);
	for (int i = 0; i < 5; i++)
		WORLD_GO(&w, F_WORKER, R_SLEEP, F_GOPARK, F_WORKER);
	world_put(&w, w.gs[0] + w.shape->status + 8, 20);
	assert_ok(world_find(&w));
	assert_int_equal(w.layout.g_status, w.shape->status);
	assert_int_equal(w.layout.g_gopc, w.shape->gopc);
	world_deinit(&w);
}

static void test_fields_that_make_no_sense_are_refused(void **state)
{
	struct world w;

	(void)state;
	world_init(&w, &world_shapes[2]);
	world_usual(&w, 10);
	for (size_t i = 0; i < w.n_gs; i++)
		world_status(&w, w.gs[i], 77, 0);
	assert_error(world_find(&w), ERROR_CORRUPT, "status and id");
	for (size_t i = 0; i < w.n_gs; i++)
		world_put(&w, w.gs[i] + w.shape->gopc + 16, 12345);
	w.layout = (struct go_layout){ .mem = &w.live,
				       .sym = &w.sym,
				       .arena = w.arena };
	assert_error(world_find(&w), ERROR_CORRUPT, "start functions");
	world_deinit(&w);
}

static void test_a_length_beyond_the_capacity_is_refused(void **state)
{
	raddr_t array;
	struct world w;
	size_t n;

	(void)state;
	world_init(&w, &world_shapes[2]);
	world_usual(&w, 3);
	assert_ok(world_find(&w));
	assert_true(go_layout_allgs(&w.layout, &array, &n));
	assert_int_equal(n, 4);
	world_put(&w, w.allgs + 8, WORLD_MAX_GS + 1);
	assert_false(go_layout_allgs(&w.layout, &array, &n));
	world_put(&w, w.allgs + 16, UINT64_MAX);
	assert_false(go_layout_allgs(&w.layout, &array, &n));
	world_deinit(&w);
}

static void test_channels_are_learned_from_one_receiver(void **state)
{
	(void)state;
	for (size_t i = 0; i < WORLD_SHAPES; i++) {
		struct world w;
		raddr_t c, g;

		world_init(&w, &world_shapes[i]);
		world_usual(&w, 3);
		c = world_chan(&w, 0, 0);
		// a busy neighbour of the queue must not be taken for it
		world_put(&w, c + w.shape->recvq - 8, 9);
		g = world_receiver(&w, c, i & 1);
		assert_ok(world_find(&w));
		assert_true(go_layout_learn_chan(
			&w.layout, g, world_get(&w, g + w.shape->gopc + 32),
			i & 1, false));
		assert_int_equal(w.layout.sudog_c, w.shape->sudog_c);
		assert_int_equal(w.layout.sudog_tracked, w.shape->pair);
		assert_int_equal(w.layout.hchan_recvq, w.shape->recvq);
		world_deinit(&w);
	}
}

static void test_the_middle_of_a_queue_teaches_nothing(void **state)
{
	raddr_t c, g[3];
	struct world w;

	(void)state;
	world_init(&w, &world_shapes[2]);
	world_usual(&w, 3);
	c = world_chan(&w, 0, 0);
	for (int i = 0; i < 3; i++)
		g[i] = world_receiver(&w, c, false);
	assert_ok(world_find(&w));
	for (int i = 1; i >= 0; i--)
		assert_int_equal(
			go_layout_learn_chan(
				&w.layout, g[i],
				world_get(&w, g[i] + w.shape->gopc + 32), false,
				false),
			i == 0);
	assert_int_equal(w.layout.hchan_recvq, 56);
	world_deinit(&w);
}

static void test_anothers_sudog_teaches_nothing(void **state)
{
	struct world w;
	raddr_t g;

	(void)state;
	world_init(&w, &world_shapes[2]);
	world_usual(&w, 3);
	g = world_receiver(&w, world_chan(&w, 0, 0), false);
	assert_ok(world_find(&w));
	assert_false(go_layout_learn_chan(&w.layout, w.gs[0],
					  world_get(&w, g + w.shape->gopc + 32),
					  false, false));
	assert_int_equal(w.layout.sudog_c, 0);
	world_deinit(&w);
}

static void test_poll_descriptors_are_learned_from_one_wait(void **state)
{
	(void)state;
	for (size_t i = 0; i < 2 * WORLD_SHAPES; i++) {
		const struct world_shape *s = &world_shapes[i / 2];
		bool write = i & 1;
		struct world w;
		raddr_t g, pd;

		world_init(&w, s);
		world_usual(&w, 3);
		g = world_poller(&w, 9, write, &pd);
		assert_ok(world_find(&w));
		assert_true(go_layout_learn_poll(&w.layout, g, pd, write, 9));
		assert_int_equal(w.layout.poll_fd, s->poll_fd);
		assert_int_equal(w.layout.poll_rg, s->poll_rg);
		assert_int_equal(w.layout.poll_wg, s->poll_wg);
		assert_int_equal(w.layout.poll_rd, s->poll_rd);
		assert_int_equal(w.layout.poll_wd, s->poll_wd);
		assert_true(w.layout.poll_fd_proved);
		world_deinit(&w);
	}
}

static void test_what_does_not_name_itself_is_no_poll_descriptor(void **state)
{
	struct world w;
	raddr_t g, pd;

	(void)state;
	world_init(&w, &world_shapes[2]);
	world_usual(&w, 3);
	g = world_poller(&w, 9, false, &pd);
	assert_ok(world_find(&w));
	world_put(&w, pd + w.shape->poll_self, 0);
	assert_false(go_layout_learn_poll(&w.layout, g, pd, false, 9));
	assert_int_equal(w.layout.poll_rg, 0);
	world_deinit(&w);
}

static void test_deadlines_mean_what_netpoll_writes(void **state)
{
	(void)state;
	assert_int_equal(go_layout_deadline(0).state, DEADLINE_NONE);
	assert_int_equal(go_layout_deadline(-1).state, DEADLINE_EXPIRED);
	assert_int_equal(go_layout_deadline(INT64_MIN).state, DEADLINE_EXPIRED);
	assert_int_equal(go_layout_deadline(77).state, DEADLINE_SET);
	assert_int_equal(go_layout_deadline(77).at_mono_ns, 77);
	assert_int_equal(go_layout_deadline(INT64_MAX).state, DEADLINE_SET);
	assert_true(go_layout_deadline(INT64_MAX).at_mono_ns > 0);
}

static void test_reasons_are_told_apart_by_their_words(void **state)
{
	(void)state;
	assert_int_equal(go_reason_classify("IO wait"), GO_REASON_IO);
	assert_int_equal(go_reason_classify("chan receive"),
			 GO_REASON_CHAN_RECV);
	assert_int_equal(go_reason_classify("chan receive (nil chan)"),
			 GO_REASON_FOREVER);
	assert_int_equal(go_reason_classify("chan receive (durable)"),
			 GO_REASON_CHAN_RECV);
	assert_int_equal(go_reason_classify("select"), GO_REASON_SELECT);
	assert_int_equal(go_reason_classify("select (no cases)"),
			 GO_REASON_FOREVER);
	assert_int_equal(go_reason_classify("sync.RWMutex.RLock"),
			 GO_REASON_SEMA);
	assert_int_equal(go_reason_classify("sync.Cond.Wait"), GO_REASON_COND);
	assert_int_equal(go_reason_classify("GC worker (idle)"),
			 GO_REASON_RUNTIME);
	assert_int_equal(go_reason_classify("something new"), GO_REASON_OTHER);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_shape_is_found_without_its_version),
		cmocka_unit_test(test_a_slice_of_other_things_is_not_allgs),
		cmocka_unit_test(test_a_copy_of_allgs_without_allgptr_loses),
		cmocka_unit_test(test_no_goroutines_is_an_error_that_says_so),
		cmocka_unit_test(test_a_program_that_ends_while_it_is_searched),
		cmocka_unit_test(test_a_library_has_no_main_goroutine),
		cmocka_unit_test(test_fields_that_make_no_sense_are_refused),
		cmocka_unit_test(test_a_length_beyond_the_capacity_is_refused),
		cmocka_unit_test(test_channels_are_learned_from_one_receiver),
		cmocka_unit_test(test_the_middle_of_a_queue_teaches_nothing),
		cmocka_unit_test(test_anothers_sudog_teaches_nothing),
		cmocka_unit_test(
			test_poll_descriptors_are_learned_from_one_wait),
		cmocka_unit_test(
			test_what_does_not_name_itself_is_no_poll_descriptor),
		cmocka_unit_test(test_deadlines_mean_what_netpoll_writes),
		cmocka_unit_test(test_reasons_are_told_apart_by_their_words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
