/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What the runtime's dump prints and leaves out. Expected values are those of
 * runtime/traceback.go of the version in each row.
 */

#include "tests/unit/unit.h"

#include "runtime-hooks/go/traceback.h"

static void test_names_print_as_their_version_prints_them(void **state)
{
	static const struct {
		int minor;
		const char *name, *printed;
	} rows[] = {
		{ 27, "main.main", "main.main" },
		{ 17, "runtime.gopanic", "panic" },
		{ 20, "main.f[go.shape.int]", "main.f[go.shape.int]" },
		{ 21, "main.f[go.shape.int]", "main.f[...]" },
		{ 26, "main.(*l[go.shape.[]int]).m.func1",
		  "main.(*l[...]).m.func1" },
		{ 27, "main.(*l[a]).m[b]", "main.(*l[...]).m[...]" },
		{ 27, "main.(*l[a[b]]).m[c[d]].func1",
		  "main.(*l[...]).m[...].func1" },
		{ 27, "main.f[a[b]]", "main.f[...]" },
		{ 0, "main.f[a]", "main.f[...]" },
		{ 27, "main.f]a[", "main.f]a[" },
		{ 27, "main.f[a]b]", "main.f[...]" },
		{ 27, "main.f[a[]b]]c]", "main.f[a[]b]]c]" },
		{ 27, "main.f[[[[a]", "main.f[[[[a]" },
	};

	(void)state;
	for (size_t i = 0; i < N_OF(rows); i++) {
		char buf[64];

		go_print_name(rows[i].name, rows[i].minor, buf, sizeof(buf));
		assert_string_equal(buf, rows[i].printed);
	}
}

static void test_before_1_27_one_pair_of_brackets_spans_all(void **state)
{
	char buf[64];

	(void)state;
	// from the first '[' to the last ']'
	go_print_name("main.(*l[a]).m[b]", 26, buf, sizeof(buf));
	assert_string_equal(buf, "main.(*l[...]");
}

static void test_a_name_longer_than_the_buffer_is_cut(void **state)
{
	char buf[8];

	(void)state;
	assert_int_equal(go_print_name("main.function", 27, buf, sizeof(buf)),
			 13);
	assert_string_equal(buf, "main.fu");
}

static void test_frames_are_shown_as_the_runtime_shows_them(void **state)
{
	static const struct {
		const char *name;
		enum go_role role;
		int minor;
		bool first;
		enum go_role callee;
		bool shown;
	} rows[] = {
		{ "main.f", GO_ROLE_NONE, 27, true, GO_ROLE_NONE, true },
		{ "runtime.gopark", GO_ROLE_NONE, 27, true, GO_ROLE_NONE,
		  false },
		{ "runtime.goexit", GO_ROLE_NONE, 17, false, GO_ROLE_NONE,
		  false },
		{ "runtime.GC", GO_ROLE_NONE, 17, false, GO_ROLE_NONE, true },
		{ "runtime/debug.Stack", GO_ROLE_NONE, 27, false, GO_ROLE_NONE,
		  true },
		{ "internal/runtime/maps.newMap", GO_ROLE_NONE, 27, false,
		  GO_ROLE_NONE, true },
		{ "nodot", GO_ROLE_NONE, 27, false, GO_ROLE_NONE, false },
		// exported methods count since 1.23
		{ "runtime.(*Frames).Next", GO_ROLE_NONE, 22, false,
		  GO_ROLE_NONE, false },
		{ "runtime.(*Frames).Next", GO_ROLE_NONE, 23, false,
		  GO_ROLE_NONE, true },
		{ "runtime.(*mheap).Next", GO_ROLE_NONE, 23, false,
		  GO_ROLE_NONE, false },
		{ "runtime.Frames.next", GO_ROLE_NONE, 23, false, GO_ROLE_NONE,
		  false },
		// wrappers, unless they panicked
		{ "main.(*T).M", GO_ROLE_WRAPPER, 27, false, GO_ROLE_NONE,
		  false },
		{ "main.(*T).M", GO_ROLE_WRAPPER, 27, false, GO_ROLE_PANICWRAP,
		  true },
		{ "main.(*T).M", GO_ROLE_WRAPPER, 27, false, GO_ROLE_GOPANIC,
		  true },
		// panic in the middle only
		{ "runtime.gopanic", GO_ROLE_GOPANIC, 17, false, GO_ROLE_NONE,
		  true },
		{ "runtime.gopanic", GO_ROLE_GOPANIC, 17, true, GO_ROLE_NONE,
		  false },
		{ "runtime.runCleanups", GO_ROLE_CLEANUPS, 25, false,
		  GO_ROLE_NONE, true },
		{ "runtime.runCleanups", GO_ROLE_CLEANUPS, 24, false,
		  GO_ROLE_NONE, false },
	};

	(void)state;
	for (size_t i = 0; i < N_OF(rows); i++)
		if (go_frame_shown(rows[i].name, rows[i].role, rows[i].minor,
				   rows[i].first,
				   rows[i].callee) != rows[i].shown)
			fail_msg("%s of 1.%d (row %zu)", rows[i].name,
				 rows[i].minor, i);
}

static void test_a_signal_leaves_no_return_address(void **state)
{
	(void)state;
	assert_true(go_role_is_trap(go_role_of("runtime.sigpanic"), 17));
	// until 1.20 only sigpanic was known to
	assert_false(go_role_is_trap(go_role_of("runtime.asyncPreempt"), 20));
	assert_true(go_role_is_trap(go_role_of("runtime.asyncPreempt"), 21));
	assert_true(go_role_is_trap(go_role_of("runtime.debugCallV2"), 0));
	assert_false(go_role_is_trap(go_role_of("main.sigpanic"), 27));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names_print_as_their_version_prints_them),
		cmocka_unit_test(
			test_before_1_27_one_pair_of_brackets_spans_all),
		cmocka_unit_test(test_a_name_longer_than_the_buffer_is_cut),
		cmocka_unit_test(
			test_frames_are_shown_as_the_runtime_shows_them),
		cmocka_unit_test(test_a_signal_leaves_no_return_address),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
