/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/unit.h"

#include "tests/unit/go_world.h"

static struct task_snapshot *take(struct world *w)
{
	struct task_snapshot *snap;
	struct error *err;

	if (!w->layout.allgs)
		assert_ok(world_find(w));
	snap = world_snapshot(w, &err);
	assert_ok(err);
	return snap;
}

static void begin(struct world *w, unsigned shape)
{
	world_init(w, &world_shapes[shape]);
	world_usual(w, 3);
}

static void finish(struct world *w, struct task_snapshot *snap)
{
	task_snapshot_destroy(snap);
	world_deinit(w);
}

/* The task of the g at @handle. */
static const struct task *of(const struct task_snapshot *snap, raddr_t handle)
{
	for (size_t i = 0; i < snap->n; i++)
		if (snap->tasks[i].handle == handle)
			return &snap->tasks[i];
	fail_msg("no such goroutine");
	return NULL;
}

static void test_a_reader_names_its_fd_and_deadlines(void **state)
{
	(void)state;
	for (unsigned i = 0; i < WORLD_SHAPES; i++) {
		struct task_snapshot *snap;
		const struct task *t;
		struct world w;
		raddr_t g, pd;

		begin(&w, i);
		g = world_poller(&w, 9, false, &pd);
		world_put(&w, pd + w.shape->poll_rd, 123456789);
		world_put(&w, pd + w.shape->poll_wd, (uint64_t)-1);
		snap = take(&w);
		t = of(snap, g);
		assert_int_equal(t->wait, WAIT_READ);
		assert_int_equal(t->fd_proof, FD_PROVEN);
		assert_int_equal(t->fd, 9);
		assert_int_equal(t->read_deadline.state, DEADLINE_SET);
		assert_int_equal(t->read_deadline.at_mono_ns, 123456789);
		assert_int_equal(t->write_deadline.state, DEADLINE_EXPIRED);
		assert_int_equal(snap->gaps.n, 0);
		finish(&w, snap);
	}
}

static void test_a_writer_is_told_from_a_reader(void **state)
{
	(void)state;
	for (unsigned i = 0; i < WORLD_SHAPES; i++) {
		struct task_snapshot *snap;
		struct world w;
		raddr_t r, g, pd;

		begin(&w, i);
		g = world_poller(&w, 9, true, &pd);
		r = world_poller(&w, 10, false, &pd);
		snap = take(&w);
		assert_int_equal(of(snap, g)->wait, WAIT_WRITE);
		assert_int_equal(of(snap, g)->fd, 9);
		assert_int_equal(of(snap, r)->wait, WAIT_READ);
		assert_int_equal(of(snap, r)->fd, 10);
		finish(&w, snap);
	}
}

static void
test_a_descriptor_that_names_another_goroutine_proves_nothing(void **state)
{
	struct task_snapshot *snap;
	const struct task *t;
	struct world w;
	raddr_t g, pd;

	(void)state;
	begin(&w, 2);
	world_poller(&w, 8, false, &pd);
	g = world_poller(&w, 9, false, &pd);
	world_put(&w, pd + w.shape->poll_rg, w.gs[0]);
	snap = take(&w);
	t = of(snap, g);
	assert_int_equal(t->wait, WAIT_READ);
	assert_int_equal(t->fd_proof, FD_UNKNOWN);
	assert_int_equal(t->fd, -1);
	assert_true(t->partial);
	assert_int_equal(snap->gaps.n, 1);
	assert_int_equal(snap->gaps.v[0].kind, GAP_UNSUPPORTED);
	assert_non_null(strstr(snap->gaps.v[0].text, "fd that was not found"));
	finish(&w, snap);
}

static void test_an_fd_that_is_no_number_of_a_file_is_not_one(void **state)
{
	struct task_snapshot *snap;
	struct world w;
	raddr_t g, pd;

	(void)state;
	begin(&w, 2);
	world_poller(&w, 8, false, &pd);
	g = world_poller(&w, 9, false, &pd);
	world_put(&w, pd + w.shape->poll_fd, 1ULL << 32);
	snap = take(&w);
	assert_int_equal(of(snap, g)->fd, -1);
	assert_int_equal(of(snap, g)->fd_proof, FD_UNKNOWN);
	finish(&w, snap);
}

static void
test_a_descriptor_is_found_where_no_argument_was_spilled(void **state)
{
	struct task_snapshot *snap;
	struct world w;
	raddr_t g, pd;

	(void)state;
	begin(&w, 2);
	g = world_poller(&w, 9, false, &pd);
	world_put(&w, world_slot(&w, g, 2, 0), 0);
	world_put(&w, world_slot(&w, g, 3, 2), pd);
	snap = take(&w);
	assert_int_equal(of(snap, g)->fd, 9);
	finish(&w, snap);
}

static void test_a_channel_is_described(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2 * WORLD_SHAPES; i++) {
		const struct wait_object *o;
		struct task_snapshot *snap;
		const struct task *t;
		bool send = i & 1;
		raddr_t c, g[3];
		struct world w;

		begin(&w, i / 2);
		c = world_chan(&w, send ? 4 : 0, 4);
		for (int k = 0; k < 3; k++)
			g[k] = world_receiver(&w, c, send);
		snap = take(&w);
		for (int k = 0; k < 3; k++) {
			t = of(snap, g[k]);
			assert_int_equal(t->wait, send ? WAIT_CHAN_SEND
						       : WAIT_CHAN_RECV);
			assert_int_equal(t->n_objects, 1);
			o = t->objects;
			assert_int_equal(o->kind, OBJECT_CHAN);
			assert_int_equal(o->addr, c);
			assert_int_equal(o->send, send);
			assert_false(o->closed);
			assert_true(o->counts_known);
			assert_int_equal(o->length, send ? 4 : 0);
			assert_int_equal(o->capacity, 4);
			assert_int_equal(o->waiters, 3);
			assert_string_equal(o->element_type, "main.payload");
		}
		finish(&w, snap);
	}
}

/* A goroutine in a select that receives from @a and sends to @b. */
static raddr_t selector(struct world *w, raddr_t a, raddr_t b)
{
	raddr_t g = WORLD_GO(w, F_WORKER, R_SELECT, F_GOPARK, F_WORKER);
	raddr_t first = world_sudog(w, g, a, false);
	raddr_t second = world_sudog(w, g, b, true);

	world_put(w, first + w->shape->sudog_c - 16, second);
	world_waiting(w, g, first);
	return g;
}

static void test_a_select_lists_its_cases_with_directions(void **state)
{
	(void)state;
	for (unsigned i = 0; i < WORLD_SHAPES; i++) {
		struct task_snapshot *snap;
		const struct task *t;
		raddr_t a, b, g;
		struct world w;

		begin(&w, i);
		a = world_chan(&w, 0, 0);
		b = world_chan(&w, 0, 0);
		g = selector(&w, a, b);
		snap = take(&w);
		t = of(snap, g);
		assert_int_equal(t->wait, WAIT_SELECT);
		assert_int_equal(t->n_objects, 2);
		assert_int_equal(t->objects[0].addr, a);
		assert_false(t->objects[0].send);
		assert_int_equal(t->objects[1].addr, b);
		assert_true(t->objects[1].send);
		assert_int_equal(snap->gaps.n, 0);
		finish(&w, snap);
	}
}

static void test_a_select_that_goes_in_circles_ends(void **state)
{
	struct task_snapshot *snap;
	raddr_t a, b, g, first;
	struct world w;

	(void)state;
	begin(&w, 2);
	a = world_chan(&w, 0, 0);
	b = world_chan(&w, 0, 0);
	g = selector(&w, a, b);
	first = world_get(&w, g + w.shape->gopc + 32);
	world_put(&w,
		  world_get(&w, first + w.shape->sudog_c - 16) +
			  w.shape->sudog_c - 16,
		  first);
	snap = take(&w);
	assert_int_equal(of(snap, g)->n_objects, TASK_MAX_OBJECTS);
	finish(&w, snap);
}

static void test_a_waiter_that_its_channel_forgot_is_being_woken(void **state)
{
	struct task_snapshot *snap;
	raddr_t c, g, other;
	struct world w;

	(void)state;
	begin(&w, 2);
	other = world_receiver(&w, world_chan(&w, 0, 0), false);
	c = world_chan(&w, 0, 0);
	g = world_receiver(&w, c, false);
	world_put(&w, c + w.shape->recvq, 0);
	world_put(&w, c + w.shape->recvq + 8, 0);
	snap = take(&w);
	assert_int_equal(of(snap, g)->n_objects, 0);
	assert_true(of(snap, g)->partial);
	assert_int_equal(of(snap, other)->n_objects, 1);
	finish(&w, snap);
}

/* A goroutine in Mutex.Lock on the mutex at @mutex. */
static raddr_t locker(struct world *w, raddr_t mutex, raddr_t *sudog_ret)
{
	raddr_t g = WORLD_GO(w, F_WORKER, R_MUTEX, F_GOPARK, F_SEMACQUIRE,
			     F_LOCKSLOW, F_WORKER);
	raddr_t s = world_sudog(w, g, 0, false);

	world_put(w, s + 24, mutex + 4);
	if (w->shape->pair) {
		world_put(w, s + 32, mutex + 4);
		world_waiting(w, g, s);
	} else {
		world_put(w, world_slot(w, g, 1, 3), s);
	}
	*sudog_ret = s;
	return g;
}

static void test_a_mutex_is_named_by_its_address(void **state)
{
	(void)state;
	for (unsigned i = 0; i < WORLD_SHAPES; i++) {
		struct task_snapshot *snap;
		raddr_t g[2], mutex, s;
		struct world w;

		begin(&w, i);
		mutex = world_alloc(&w, 8);
		g[0] = locker(&w, mutex, &s);
		g[1] = locker(&w, mutex, &s);
		snap = take(&w);
		for (int k = 0; k < 2; k++) {
			const struct task *t = of(snap, g[k]);

			assert_int_equal(t->wait, WAIT_MUTEX);
			assert_int_equal(t->n_objects, 1);
			assert_int_equal(t->objects[0].kind, OBJECT_MUTEX);
			assert_int_equal(t->objects[0].addr, mutex);
			assert_int_equal(t->objects[0].waiters, 2);
		}
		finish(&w, snap);
	}
}

static void test_a_stale_sudog_on_the_stack_is_passed_over(void **state)
{
	struct task_snapshot *snap;
	raddr_t g, mutex, s, stale;
	struct world w;

	(void)state;
	begin(&w, 2);
	mutex = world_alloc(&w, 8);
	g = locker(&w, mutex, &s);
	stale = world_sudog(&w, g, 0, false); // released: no element
	world_put(&w, world_slot(&w, g, 0, 2), stale);
	snap = take(&w);
	assert_int_equal(of(snap, g)->objects[0].addr, mutex);
	task_snapshot_destroy(snap);
	world_put(&w, s, w.gs[0]); // and then taken by another goroutine
	snap = take(&w);
	assert_int_equal(of(snap, g)->n_objects, 0);
	assert_true(of(snap, g)->partial);
	finish(&w, snap);
}

static void test_a_cond_is_found_by_the_list_it_holds(void **state)
{
	struct task_snapshot *snap;
	raddr_t g, cond, s;
	struct world w;

	(void)state;
	begin(&w, 2);
	g = WORLD_GO(&w, F_WORKER, R_COND, F_GOPARK, F_NOTIFYWAIT, F_COND_WAIT,
		     F_WORKER);
	s = world_sudog(&w, g, 0, false);
	cond = world_alloc(&w, 64);
	world_put(&w, cond + 16, 1); // one has come, none was notified
	world_put(&w, cond + 16 + 16, s);
	world_put(&w, cond + 16 + 24, s);
	world_put(&w, world_slot(&w, g, 1, 3), s);
	world_put(&w, world_slot(&w, g, 2, 4), cond);
	snap = take(&w);
	assert_int_equal(of(snap, g)->wait, WAIT_COND);
	assert_int_equal(of(snap, g)->n_objects, 1);
	assert_int_equal(of(snap, g)->objects[0].kind, OBJECT_COND);
	assert_int_equal(of(snap, g)->objects[0].addr, cond);
	task_snapshot_destroy(snap);
	world_put(&w, cond + 16, 1ULL << 32 | 1); // and was notified since
	snap = take(&w);
	assert_int_equal(of(snap, g)->n_objects, 0);
	finish(&w, snap);
}

static raddr_t label_list(struct world *w, uint64_t len, uint64_t cap)
{
	raddr_t at = world_alloc(w, 24), v = world_alloc(w, 4 * 32);

	world_put(w, at, v);
	world_put(w, at + 8, len);
	world_put(w, at + 16, cap);
	world_put_string(w, v, "tenant");
	world_put_string(w, v + 16, "blue");
	world_put_string(w, v + 32, "path");
	world_put_string(w, v + 48, "/x");
	return at;
}

static raddr_t label_map(struct world *w, uint64_t count)
{
	raddr_t at = world_alloc(w, 8), map = world_alloc(w, 48);
	raddr_t bucket = world_alloc(w, 272);

	world_put(w, at, map);
	world_put(w, map, count);
	world_put(w, map + 16, bucket);
	*world_at(w, bucket + 2) = 77; // tophash of the slots in use
	*world_at(w, bucket + 5) = 5;
	*world_at(w, bucket + 6) = 4; // empty
	world_put_string(w, bucket + 8 + 2 * 16, "tenant");
	world_put_string(w, bucket + 136 + 2 * 16, "blue");
	world_put_string(w, bucket + 8 + 5 * 16, "path");
	world_put_string(w, bucket + 136 + 5 * 16, "/x");
	return at;
}

static bool read_labels(struct world *w, raddr_t at, int minor,
			const struct label **v, uint16_t *n)
{
	go_live_forget(&w->live); // it was written to since
	return go_labels_read(&w->live, w->arena, at, minor, v, n);
}

static void test_labels_are_a_list_or_a_map(void **state)
{
	const struct label *v;
	struct world w;
	uint16_t n;

	(void)state;
	begin(&w, 2);
	for (int minor = 0; minor < 30; minor += 29) {
		for (int map = 0; map < 2; map++) {
			raddr_t at = map ? label_map(&w, 2)
					 : label_list(&w, 2, 4);

			assert_true(read_labels(&w, at, minor, &v, &n));
			assert_int_equal(n, 2);
			assert_string_equal(v[0].key, "path");
			assert_string_equal(v[0].value, "/x");
			assert_string_equal(v[1].key, "tenant");
			assert_string_equal(v[1].value, "blue");
		}
	}
	world_deinit(&w);
}

static void test_labels_that_make_no_sense_are_refused(void **state)
{
	const struct label *v;
	struct world w;
	uint16_t n;

	(void)state;
	begin(&w, 2);
	assert_false(read_labels(&w, 1, 0, &v, &n));
	assert_false(read_labels(&w, label_list(&w, 5, 4), 0, &v, &n));
	assert_false(read_labels(&w, label_list(&w, 1ULL << 40, 1ULL << 41), 24,
				 &v, &n));
	// a map that says it holds more than it does
	assert_false(read_labels(&w, label_map(&w, 3), 22, &v, &n));
	world_deinit(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_reader_names_its_fd_and_deadlines),
		cmocka_unit_test(test_a_writer_is_told_from_a_reader),
		cmocka_unit_test(
			test_a_descriptor_that_names_another_goroutine_proves_nothing),
		cmocka_unit_test(
			test_an_fd_that_is_no_number_of_a_file_is_not_one),
		cmocka_unit_test(
			test_a_descriptor_is_found_where_no_argument_was_spilled),
		cmocka_unit_test(test_a_channel_is_described),
		cmocka_unit_test(test_a_select_lists_its_cases_with_directions),
		cmocka_unit_test(test_a_select_that_goes_in_circles_ends),
		cmocka_unit_test(
			test_a_waiter_that_its_channel_forgot_is_being_woken),
		cmocka_unit_test(test_a_mutex_is_named_by_its_address),
		cmocka_unit_test(
			test_a_stale_sudog_on_the_stack_is_passed_over),
		cmocka_unit_test(test_a_cond_is_found_by_the_list_it_holds),
		cmocka_unit_test(test_labels_are_a_list_or_a_map),
		cmocka_unit_test(test_labels_that_make_no_sense_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
