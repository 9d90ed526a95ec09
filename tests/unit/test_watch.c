/* SPDX-License-Identifier: Apache-2.0 */
#include "detector/watch.h"
#include "tests/unit/unit.h"

/** Tasks that come and go, and what is said of the places that make them. */

static const struct frame leaky = { .function = "main.leak",
				    .file = "main.go",
				    .line = 7 };
/* The same line, inlined somewhere else. */
static const struct frame leaky_too = {
	.pc = 99, .function = "main.leak", .file = "main.go", .line = 7
};
static const struct frame tidy = { .function = "main.serve",
				   .file = "main.go",
				   .line = 30 };

static void look(struct watch *w, int64_t now_ms, int quarter,
		 struct task *tasks, size_t n)
{
	const struct task_snapshot snap = { .tasks = tasks,
					    .n = n,
					    .kind = TASK_GO };

	watch_begin_look(w, now_ms);
	assert_ok(watch_tasks(w, &snap, false));
	watch_end_look(w, quarter);
}

static const struct watch_site *site(const struct watch *w,
				     const struct frame *f)
{
	for (size_t i = 0; i < w->n; i++)
		if (w->v[i].frame &&
		    !strcmp(w->v[i].frame->function, f->function))
			return &w->v[i];
	fail_msg("no site %s", f->function);
	return NULL;
}

static void test_a_site_that_only_creates_grows(void **state UNUSED)
{
	AUTO_WATCH struct watch *w = NULL;
	struct task v[64] = { { .id = 1 } };
	size_t n = 1;

	assert_ok(watch_create(&w));
	for (int i = 0; i <= 8; i++) {
		/* One that stays, and one that is replaced each time. */
		v[n++] = (struct task){ .id = 100 + 2 * (uint64_t)i,
					.created_by = i % 2 ? &leaky
							    : &leaky_too };
		struct task now[64];
		memcpy(now, v, n * sizeof(*v));
		now[n] = (struct task){ .id = 101 + 2 * (uint64_t)i,
					.created_by = &tidy };
		look(w, i * 1000, i % 2 ? -1 : i / 2, now, n + 1);
	}
	watch_finish(w);
	assert_int_equal(w->n, 3);
	const struct watch_site *s = site(w, &leaky);
	assert_true(s->grows);
	assert_int_equal(s->created, 8);
	assert_int_equal(s->ended, 0);
	assert_int_equal(s->alive, 9);
	assert_int_equal(s->alive_first, 1);
	assert_int_equal(s->oldest_id, 100);
	assert_int_equal(s->oldest_ms, 8000);
	s = site(w, &tidy);
	assert_false(s->grows);
	assert_int_equal(s->created, 8);
	assert_int_equal(s->ended, 8);
	assert_int_equal(s->alive, 1);
	assert_int_equal(s->oldest_ms, 0);
	assert_int_equal(watch_growing(w), 1);
	assert_ptr_equal(site(w, &leaky), &w->v[0]);
	/* All ids were seen. */
	assert_int_equal(w->created_at_most, 16);
	assert_int_equal(w->unseen_at_most, 0);
}

static void test_what_nobody_saw_is_counted_by_ids(void **state UNUSED)
{
	AUTO_WATCH struct watch *w = NULL;
	struct task a[] = { { .id = 10, .created_by = &tidy } };
	struct task b[] = { { .id = 10, .created_by = &tidy },
			    { .id = 500, .created_by = &tidy } };

	assert_ok(watch_create(&w));
	look(w, 0, 0, a, 1);
	look(w, 1000, 4, b, 2);
	watch_finish(w);
	assert_int_equal(site(w, &tidy)->created, 1);
	assert_int_equal(w->unseen_at_most, 489);
}

static void test_a_burst_that_stays_does_not_grow(void **state UNUSED)
{
	AUTO_WATCH struct watch *w = NULL;
	struct task v[32] = { 0 };

	assert_ok(watch_create(&w));
	for (size_t i = 0; i < 32; i++)
		v[i] = (struct task){ .id = i + 1, .created_by = &leaky };
	look(w, 0, 0, v, 1);
	for (int q = 1; q <= 4; q++)
		look(w, q * 1000, q, v, 32);
	watch_finish(w);
	assert_int_equal(site(w, &leaky)->created, 31);
	assert_false(site(w, &leaky)->grows);
}

static void test_counters_miss_nothing(void **state UNUSED)
{
	AUTO_WATCH struct watch *w = NULL;

	assert_ok(watch_create(&w));
	for (int i = 0; i <= 4; i++) {
		/* Two counters of one line, and one that ends all it makes. */
		const struct task_site v[] = {
			{ &leaky, 100 + 10 * (uint64_t)i, 90 },
			{ &leaky_too, 5, 0 },
			{ &tidy, 1000 * (uint64_t)i, 1000 * (uint64_t)i },
		};

		watch_begin_look(w, i * 1000);
		assert_ok(watch_counts(w, TASK_COROUTINE, v, 3));
		watch_end_look(w, i);
	}
	watch_finish(w);
	assert_int_equal(w->n, 2);
	assert_int_equal(site(w, &leaky)->created, 40);
	assert_int_equal(site(w, &leaky)->ended, 0);
	assert_int_equal(site(w, &leaky)->alive, 55);
	assert_int_equal(site(w, &leaky)->alive_first, 15);
	assert_true(site(w, &leaky)->grows);
	assert_int_equal(site(w, &tidy)->created, 4000);
	assert_int_equal(site(w, &tidy)->ended, 4000);
	assert_int_equal(site(w, &tidy)->alive, 0);
	assert_false(site(w, &tidy)->grows);
}

static void test_too_many_sites_are_told(void **state UNUSED)
{
	AUTO_WATCH struct watch *w = NULL;
	size_t n = WATCH_MAX_SITES + 5;
	struct task *v = calloc(n, sizeof(*v));
	struct frame *f = calloc(n, sizeof(*f));

	assert_ok(watch_create(&w));
	for (size_t i = 0; i < n; i++) {
		f[i] = (struct frame){ .function = "f",
				       .file = "f.go",
				       .line = (uint32_t)i + 1 };
		v[i] = (struct task){ .id = i + 1, .created_by = &f[i] };
	}
	look(w, 0, 0, v, n);
	look(w, 1000, 4, v, 1);
	watch_finish(w);
	assert_int_equal(w->n, WATCH_MAX_SITES);
	assert_int_equal(w->gaps.n, 1);
	assert_int_equal(w->gaps.v[0].count, 5 * 1);
	free(v);
	free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_site_that_only_creates_grows),
		cmocka_unit_test(test_what_nobody_saw_is_counted_by_ids),
		cmocka_unit_test(test_a_burst_that_stays_does_not_grow),
		cmocka_unit_test(test_counters_miss_nothing),
		cmocka_unit_test(test_too_many_sites_are_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
