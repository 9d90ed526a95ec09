/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/unit.h"

#include "tests/unit/testname_world.h"

static struct tests_world w; /* 64 KB */
static char name[GO_TEST_NAME_MAX];

static void begin(unsigned shape)
{
	assert_true(tests_init(&w, &tests_shapes[shape]));
}

static void finish(void)
{
	go_live_deinit(&w.live);
}

/* TestPool/redial, on the stack between words that are no T. */
static raddr_t redial(raddr_t *top_ret)
{
	raddr_t root = tests_t(&w, 0, ""), top = tests_t(&w, root, "TestPool");
	raddr_t t = tests_t(&w, top, "TestPool/redial");

	tests_stack(&w, 0, 0x401020); // goexit
	tests_stack(&w, 3, TESTS_BASE + 0x40);
	tests_stack(&w, 9, t);
	*top_ret = top;
	return t;
}

static bool found(void)
{
	return tests_name(&w, GO_TEST_T, name);
}

static void test_the_name_is_found_in_each_version(void **state UNUSED)
{
	for (unsigned i = 0; i < TESTS_SHAPES; i++) {
		raddr_t top;

		for (int known = 0; known < 2; known++) {
			begin(i);
			redial(&top);
			w.names.minor = known ? w.shape->minor : 0;
			assert_true(found());
			assert_string_equal(name, "TestPool/redial");
			assert_int_equal(w.names.parent, w.shape->parent);
			assert_int_equal(w.names.name, w.shape->title);
			/* and again, by what was learned */
			assert_true(found());
			assert_string_equal(name, "TestPool/redial");
			tests_stack(&w, 9, top);
			assert_true(found());
			assert_string_equal(name, "TestPool");
			finish();
		}
	}
}

static void test_the_first_t_from_the_top_is_the_own_one(void **state UNUSED)
{
	raddr_t top, t;

	begin(4);
	t = redial(&top);
	tests_stack(&w, 20, tests_t(&w, t, "TestPool/redial/below"));
	assert_true(found());
	assert_string_equal(name, "TestPool/redial");
	finish();
}

static void test_below_the_stack_pointer_is_nothing(void **state UNUSED)
{
	raddr_t top;

	begin(4);
	redial(&top);
	assert_false(go_testname_read(&w.names, GO_TEST_T, TESTS_LO, TESTS_HI,
				      TESTS_HI - 9 * 8, name));
	/* one that runs has none that is known */
	assert_true(go_testname_read(&w.names, GO_TEST_T, TESTS_LO, TESTS_HI, 0,
				     name));
	finish();
}

static void test_benchmarks_have_no_runner(void **state UNUSED)
{
	raddr_t root, b;

	begin(5);
	root = tests_t(&w, 0, "main");
	b = tests_t(&w, root, "BenchmarkPool");
	tests_put(&w, b + w.shape->parent - 24, 0);
	tests_put(&w, b + w.shape->parent - 16, 0);
	tests_stack(&w, 9, b);
	assert_false(found());
	assert_true(tests_name(&w, GO_TEST_B, name));
	assert_string_equal(name, "BenchmarkPool");
	finish();
}

/* What t.Run was given may hold a "/"; a bubble has its parent's name. */
static void test_levels_are_no_slashes(void **state UNUSED)
{
	raddr_t top, t;

	begin(5);
	redial(&top);
	t = tests_t(&w, top, "TestPool/a_b/\xc3\xbc");
	tests_stack(&w, 9, t);
	assert_true(found());
	assert_string_equal(name, "TestPool/a_b/\xc3\xbc");
	tests_stack(&w, 9, tests_t(&w, t, "TestPool/a_b/\xc3\xbc"));
	assert_true(found());
	assert_string_equal(name, "TestPool/a_b/\xc3\xbc");
	finish();
}

static void test_what_is_no_test_is_refused(void **state UNUSED)
{
	static const char *const names[] = {
		"TestPool/re\ndial",
		"TestPool/\x1b[31m",
		"TestPool/\xff",
		"TestPoolredial",
		"TestOther/redial",
		"redial",
		"",
	};
	raddr_t top;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		begin(4);
		redial(&top);
		tests_stack(&w, 9, tests_t(&w, top, names[i]));
		assert_false(found());
		finish();
	}
	begin(4);
	raddr_t root = tests_t(&w, 0, "");
	tests_stack(&w, 9, tests_t(&w, root, "main.run"));
	assert_false(found());
	finish();
}

static void test_broken_chains_are_refused(void **state UNUSED)
{
	/* of the subtest's T: offset from `parent`, value */
	static const uint64_t rows[][2] = {
		{ 0, 0 },		  /* no parent, and not the root */
		{ 0, TESTS_BASE - 4096 }, /* one that cannot be read */
		{ 0, TESTS_BASE + 0x7ff1 } /* one that is none */,
		{ 8, 3 }, /* a level that it has not */
		{ 8, 1 },
		{ 8, 1u << 20 },
		{ 72, TESTS_BASE - 4096 }, /* a name that cannot be read */
		{ 80, 1u << 30 },
		{ 80, GO_TEST_NAME_MAX },
		{ 80, 0 },
	};
	raddr_t top, t;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		for (int learned = 0; learned < 2; learned++) {
			begin(4);
			t = redial(&top);
			assert_true(!learned || found());
			tests_put(&w, t + w.shape->parent + rows[i][0],
				  rows[i][1]);
			assert_false(found());
			finish();
		}
	}
	/* its own parent: as deep as the level says, and no further */
	begin(4);
	t = redial(&top);
	tests_put(&w, t + w.shape->parent, t);
	assert_false(found());
	assert_true(w.reads < 1000);
	finish();
}

static void test_a_stack_that_makes_no_sense_is_not_read(void **state UNUSED)
{
	static const raddr_t rows[][3] = {
		{ 0, 0, 0 },
		{ TESTS_HI, TESTS_LO, 0 },
		{ TESTS_LO, TESTS_HI + 4, 0 },
		{ TESTS_LO, 1ULL << 60, 0 },
		{ TESTS_LO, TESTS_HI, TESTS_HI },
		{ TESTS_LO, TESTS_HI, TESTS_LO - 8 },
		{ TESTS_LO, TESTS_HI, TESTS_HI - 4 },
	};
	raddr_t top;

	begin(4);
	redial(&top);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_false(go_testname_read(&w.names, GO_TEST_T, rows[i][0],
					      rows[i][1], rows[i][2], name));
	assert_int_equal(w.reads, 0);
	finish();
}

static void test_who_runs_a_test(void **state UNUSED)
{
	static const struct {
		const char *start;
		enum go_test_role role;
	} rows[] = {
		{ "testing.tRunner", GO_TEST_T },
		{ "testing.(*T).Run.gowrap1", GO_TEST_T },
		{ "testing.(*T).Run.func1", GO_TEST_T },
		{ "testing.(*T).Run\xc2\xb7"
		  "dwrap\xc2\xb7"
		  "21",
		  GO_TEST_T },
		{ "testing.(*F).Fuzz.func1.gowrap1", GO_TEST_T },
		{ "testing.(*B).run1.func1", GO_TEST_B },
		{ "testing.(*B).doBench.gowrap1", GO_TEST_B },
		{ "testing.runFuzzTests.gowrap1", GO_TEST_B },
		{ "testing.(*M).startAlarm.func1", GO_TEST_NONE },
		{ "example.com/testing.tRunner", GO_TEST_NONE },
		{ "main.main", GO_TEST_NONE },
		{ NULL, GO_TEST_NONE },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_int_equal(go_test_role(rows[i].start), rows[i].role);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_name_is_found_in_each_version),
		cmocka_unit_test(test_the_first_t_from_the_top_is_the_own_one),
		cmocka_unit_test(test_below_the_stack_pointer_is_nothing),
		cmocka_unit_test(test_benchmarks_have_no_runner),
		cmocka_unit_test(test_levels_are_no_slashes),
		cmocka_unit_test(test_what_is_no_test_is_refused),
		cmocka_unit_test(test_broken_chains_are_refused),
		cmocka_unit_test(test_a_stack_that_makes_no_sense_is_not_read),
		cmocka_unit_test(test_who_runs_a_test),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
