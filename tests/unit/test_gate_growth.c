/* SPDX-License-Identifier: Apache-2.0 */
#include "detector/gate/growth.h"
#include "tests/unit/unit.h"

static void test_what_is_more_than_before(void **state UNUSED)
{
	static const struct {
		uint32_t v[12];
		size_t n;
		enum growth_rule rule;
		uint64_t more, before;
	} rows[] = {
		{ { 3, 7 }, 2, GROWTH_QUIET, 4, 3 },
		{ { 3, 9, 3 }, 3, GROWTH_QUIET, 0, 3 },
		{ { 3, 1 }, 2, GROWTH_QUIET, 0, 3 },
		{ { 0, 0, 0, 0, 5 }, 5, GROWTH_QUIET, 5, 0 },
		/* one more each time */
		{ { 1, 2, 3, 4, 5, 6, 7, 8 }, 8, GROWTH_BUSY, 0, 4 },
		{ { 1, 2, 3, 4, 6, 7, 8, 9 }, 8, GROWTH_BUSY, 2, 4 },
		/* a burst, a plateau, and what comes and goes */
		{ { 0, 90, 1, 2, 9, 9, 9, 9 }, 8, GROWTH_BUSY, 0, 90 },
		{ { 0, 9, 9, 9, 9, 9, 9, 9 }, 8, GROWTH_BUSY, 0, 9 },
		{ { 4, 0, 4, 0, 9, 9, 0, 9 }, 8, GROWTH_BUSY, 0, 4 },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint64_t before, more = growth_more(rows[i].v, rows[i].n,
						    rows[i].rule, &before);

		assert_int_equal(more, rows[i].more);
		assert_int_equal(before, rows[i].before);
	}
}

static void add(struct gate_process *p, const char *fingerprint, size_t count)
{
	struct leak *l = &p->leaks[p->n_leaks++];

	*l = (struct leak){ .count = count };
	snprintf(l->fingerprint, sizeof(l->fingerprint), "%s", fingerprint);
}

static struct gate_process *one(size_t a, size_t b)
{
	struct gate_process *p = gate_process_create(1);

	assert_non_null(p);
	p->leaks = arena_array(p->arena, 8, sizeof(*p->leaks));
	assert_non_null(p->leaks);
	if (a)
		add(p, "aaaaaaaaaaaaaaaa", a);
	if (b)
		add(p, "bbbbbbbbbbbbbbbb", b);
	return p;
}

static void test_what_is_alike_is_counted_together(void **state UNUSED)
{
	AUTO_ARENA struct arena *arena = arena_create();
	struct gate_process *p = one(3, 2);
	struct growth g;

	growth_init(&g, arena);
	assert_ok(growth_add(&g, p));
	gate_process_destroy(p);
	p = one(4, 2);
	add(p, "aaaaaaaaaaaaaaaa", 6); /* another stack, the same site */
	add(p, "cccccccccccccccc", 1); /* was not there */
	assert_ok(growth_add(&g, p));
	growth_apply(&g, GROWTH_QUIET, p);
	assert_int_equal(p->n_leaks, 3);
	assert_int_equal(p->leaks[0].count + p->leaks[1].count, 7);
	assert_int_equal(p->leaks[0].before, 3);
	assert_string_equal(p->leaks[2].fingerprint, "cccccccccccccccc");
	gate_process_destroy(p);
}

static void test_what_is_dead_counts_however_long(void **state UNUSED)
{
	AUTO_ARENA struct arena *arena = arena_create();
	struct gate_process *p = one(3, 2);
	struct growth g;

	growth_init(&g, arena);
	p->leaks[1].dead = true;
	assert_ok(growth_add(&g, p));
	growth_apply(&g, GROWTH_QUIET, p);
	assert_int_equal(p->n_leaks, 1);
	assert_string_equal(p->leaks[0].fingerprint, "bbbbbbbbbbbbbbbb");
	assert_int_equal(p->leaks[0].count, 2);
	gate_process_destroy(p);
}

static void test_the_first_look_is_kept_however_many_come(void **state UNUSED)
{
	AUTO_ARENA struct arena *arena = arena_create();
	struct growth g;

	growth_init(&g, arena);
	for (size_t i = 0; i < 10 * GROWTH_LOOKS; i++) {
		struct gate_process *p = one(i + 1, 5);

		assert_ok(growth_add(&g, p));
		assert_true(g.n_looks <= GROWTH_LOOKS);
		assert_int_equal(g.rows[0].v[0], 1);
		assert_int_equal(g.rows[0].v[g.n_looks - 1], i + 1);
		assert_int_equal(g.rows[1].v[0], 5);
		gate_process_destroy(p);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_more_than_before),
		cmocka_unit_test(test_what_is_alike_is_counted_together),
		cmocka_unit_test(test_what_is_dead_counts_however_long),
		cmocka_unit_test(test_the_first_look_is_kept_however_many_come),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
