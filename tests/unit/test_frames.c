/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/detect.h"

#include "detector/fingerprint.h"
#include "detector/frames.h"

static const struct {
	const char *function;
	enum frame_class class;
	size_t package;
} functions[] = {
	{ "runtime.gopark", FRAME_RUNTIME, 7 },
	{ "runtime/pprof.writeHeap", FRAME_RUNTIME, 13 },
	{ "internal/poll.(*FD).Read", FRAME_RUNTIME, 13 },
	{ "syscall.Read", FRAME_RUNTIME, 7 },
	{ "sync.(*Mutex).Lock", FRAME_RUNTIME, 4 },
	{ "net.(*conn).Read", FRAME_STANDARD, 3 },
	{ "net/http.(*conn).serve", FRAME_STANDARD, 8 },
	{ "crypto/tls.(*Conn).Read", FRAME_STANDARD, 10 },
	{ "vendor/golang.org/x/net/http2/hpack.Decode", FRAME_STANDARD, 35 },
	{ "main.main", FRAME_PROGRAM, 4 },
	{ "main.run[go.shape.struct { net/http.x int }]", FRAME_PROGRAM, 4 },
	{ "golang.org/x/net/http2.(*Framer).ReadFrame", FRAME_PROGRAM, 22 },
	{ "go.uber.org/zap.New", FRAME_PROGRAM, 15 },
	{ "netx.Dial", FRAME_PROGRAM, 4 },
	{ "network/pool.Get", FRAME_PROGRAM, 12 },
	{ "runtimex.Start", FRAME_PROGRAM, 8 },
	{ "gopkg.in/yaml%2ev3.Unmarshal", FRAME_PROGRAM, 18 },
	{ "github.com/lib/pq.(*conn).recv", FRAME_PROGRAM, 17 },
	{ "", FRAME_PROGRAM, 0 },
	{ "noDotAtAll", FRAME_PROGRAM, 10 },
};

static void test_functions_are_told_by_their_package(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_OF(functions); i++) {
		if (frame_classify(functions[i].function) != functions[i].class)
			fail_msg("class of %s", functions[i].function);
		if (frame_package_len(functions[i].function) !=
		    functions[i].package)
			fail_msg("package of %s", functions[i].function);
	}
}

static const struct {
	const char *function, *file, *shown;
} files[] = {
	{ "net.(*conn).Read", "/usr/lib/go-1.19/src/net/net.go", "net/net.go" },
	{ "net.(*conn).Read", "net/net.go", "net/net.go" },
	{ "main.main", "/home/me/src/api/main.go", "main.go" },
	{ "main.main", "./main.go", "main.go" },
	{ "example.com/api/store.Get", "/home/me/api/store/pool.go",
	  "store/pool.go" },
	{ "github.com/lib/pq.(*conn).recv",
	  "/root/go/pkg/mod/github.com/lib/pq@v1.10.9/conn.go",
	  "github.com/lib/pq@v1.10.9/conn.go" },
	{ "main.f", "?", "?" },
	{ "main.f", "", "" },
	{ "main.f", "/", "" },
};

static void test_files_are_shown_without_their_root(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_OF(files); i++) {
		const struct frame f = { .function = files[i].function,
					 .file = files[i].file };

		assert_string_equal(frame_short_file(&f), files[i].shown);
	}
}

static void test_folding_keeps_the_call_that_enters_each_package(void **state)
{
	AUTO_WORLD struct world *w = world_create();
	struct shown_frame v[FRAMES_SHOWN];
	struct stack *s = make_stack(w, 1, reader_functions);

	(void)state;
	assert_int_equal(stack_fold(s, v), 4);
	assert_string_equal(v[0].frame->function, "net.(*conn).Read");
	assert_string_equal(v[1].frame->function, "bufio.(*Reader).ReadSlice");
	assert_string_equal(v[2].frame->function, "main.(*Pool).readReply");
	assert_true(v[2].own);
	assert_string_equal(v[3].frame->function, "main.(*Pool).Get");
	assert_false(v[3].own);
}

static void test_folding_skips_wrappers_and_looks_behind_them(void **state)
{
	static const char *const functions_in[] = { "net.(*conn).Read",
						    "net.(*TCPConn).Read",
						    "main.get", NULL };
	AUTO_WORLD struct world *w = world_create();
	struct shown_frame v[FRAMES_SHOWN];
	struct stack *s = make_stack(w, 1, functions_in);

	(void)state;
	((struct frame *)s->frames[1])->hidden = true;
	assert_int_equal(stack_fold(s, v), 2);
	assert_string_equal(v[0].frame->function, "net.(*conn).Read");
}

static void test_deep_stacks_say_how_much_is_left_out(void **state)
{
	const char *deep[101] = { 0 };
	AUTO_WORLD struct world *w = world_create();
	struct shown_frame v[FRAMES_SHOWN];

	(void)state;
	for (size_t i = 0; i < 100; i++)
		deep[i] = "main.recurse";
	assert_int_equal(stack_fold(make_stack(w, 1, deep), v), FRAMES_SHOWN);
	assert_null(v[FRAMES_SHOWN - 1].frame);
	assert_int_equal(v[FRAMES_SHOWN - 1].skipped, 100 - FRAMES_SHOWN + 1);
}

static void test_templates_of_a_library_are_not_the_program(void **state)
{
	const struct frame frames[] = {
		{ .function = "boost::fibers::context::resume()",
		  .object = "libboost_fiber.so.1.74.0" },
		{ .function = "boost::fibers::condition_variable_any::wait<X>",
		  .object = "server",
		  .own = true,
		  .file = "/usr/include/boost/fiber/condition_variable.hpp" },
		{ .function = "reader_fiber(int)",
		  .object = "server",
		  .own = true,
		  .file = "/src/usr/include/server.cc" },
	};
	const struct frame *list[] = { &frames[0], &frames[1], &frames[2] };
	const struct stack stack = { .frames = list, .n = 3 };

	(void)state;
	assert_int_equal(frame_class(&frames[1]), FRAME_STANDARD);
	assert_int_equal(frame_class(&frames[2]), FRAME_PROGRAM);
	assert_ptr_equal(stack_own_frame(&stack), &frames[2]);
}

static void test_a_stack_of_the_runtime_alone_shows_its_top(void **state)
{
	static const char *const runtime[] = { "runtime.gopark",
					       "runtime.bgsweep", NULL };
	AUTO_WORLD struct world *w = world_create();
	struct shown_frame v[FRAMES_SHOWN];

	(void)state;
	assert_int_equal(stack_fold(make_stack(w, 1, runtime), v), 1);
	assert_int_equal(stack_fold(NULL, v), 0);
	assert_null(stack_own_frame(NULL));
}

static void
test_fingerprint_survives_lines_addresses_and_go_versions(void **state)
{
	static const char *const newer[] = {
		"internal/runtime/netpoll.wait", /* another runtime */
		"internal/poll.(*FD).ReadX",
		"net.(*netFD).Read",
		"net.(*conn).Read",
		"bufio.(*Reader).readLine",
		"main.(*Pool).readReply",
		"main.(*Pool).Get",
		NULL,
	};
	AUTO_WORLD struct world *w = world_create();
	struct frame *creator = make_frame(w, "main.dial", "a.go", 1);
	struct frame *moved = make_frame(w, "main.dial", "b.go", 99);
	char a[17], b[17];

	(void)state;
	fingerprint(FINDING_STRANDED_READER, make_stack(w, 1, reader_functions),
		    creator, "", a);
	fingerprint(FINDING_STRANDED_READER, make_stack(w, 700, newer), moved,
		    "", b);
	assert_string_equal(a, b);
	assert_int_equal(strlen(a), 16);
	assert_int_equal(strspn(a, "0123456789abcdef"), 16);
}

/* go f(x) makes main.run.gowrap1 in Go 1.22, main.run.func1 before. */
static void test_fingerprint_leaves_wrappers_out(void **state)
{
	static const char *const with[] = { "main.f", "main.run.gowrap1",
					    NULL };
	static const char *const without[] = { "main.f", NULL };
	AUTO_WORLD struct world *w = world_create();
	struct stack *s = make_stack(w, 1, with);
	char a[17], b[17];

	(void)state;
	((struct frame *)s->frames[1])->hidden = true;
	fingerprint(FINDING_BLOCKED_GROUP, s, NULL, "", a);
	fingerprint(FINDING_BLOCKED_GROUP, make_stack(w, 1, without), NULL, "",
		    b);
	assert_string_equal(a, b);
}

/* A baseline outlives this program's build: the value itself is a contract. */
static void test_fingerprint_is_fnv_1a_over_the_names(void **state)
{
	static const char hashed[] = "stranded-reader\0main.(*Pool).readReply\0"
				     "main.(*Pool).Get\0main.dial\0";
	AUTO_WORLD struct world *w = world_create();
	uint64_t hash = UINT64_C(14695981039346656037);
	char got[17], expected[17];

	(void)state;
	for (size_t i = 0; i < sizeof(hashed); i++)
		hash = (hash ^ (unsigned char)hashed[i]) *
		       UINT64_C(1099511628211);
	snprintf(expected, sizeof(expected), "%016llx",
		 (unsigned long long)hash);
	fingerprint(FINDING_STRANDED_READER, make_stack(w, 1, reader_functions),
		    make_frame(w, "main.dial", "a.go", 1), "", got);
	assert_string_equal(got, expected);
}

static void test_fingerprint_tells_kind_creator_and_functions(void **state)
{
	static const char *const other[] = { "net.(*conn).Read", "main.b",
					     NULL };
	AUTO_WORLD struct world *w = world_create();
	struct stack *s = make_stack(w, 1, reader_functions);
	struct frame *c = make_frame(w, "main.c", "a.go", 1);
	char v[5][17];

	(void)state;
	fingerprint(FINDING_STRANDED_READER, s, c, "", v[0]);
	fingerprint(FINDING_STRANDED_WRITER, s, c, "", v[1]);
	fingerprint(FINDING_STRANDED_READER, s, NULL, "", v[2]);
	fingerprint(FINDING_STRANDED_READER, make_stack(w, 1, other), c, "",
		    v[3]);
	fingerprint(FINDING_STRANDED_READER, s, c, "accepted", v[4]);
	for (size_t i = 0; i < 5; i++)
		for (size_t j = 0; j < i; j++)
			assert_string_not_equal(v[i], v[j]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_functions_are_told_by_their_package),
		cmocka_unit_test(test_files_are_shown_without_their_root),
		cmocka_unit_test(
			test_folding_keeps_the_call_that_enters_each_package),
		cmocka_unit_test(
			test_folding_skips_wrappers_and_looks_behind_them),
		cmocka_unit_test(test_deep_stacks_say_how_much_is_left_out),
		cmocka_unit_test(
			test_templates_of_a_library_are_not_the_program),
		cmocka_unit_test(
			test_a_stack_of_the_runtime_alone_shows_its_top),
		cmocka_unit_test(
			test_fingerprint_survives_lines_addresses_and_go_versions),
		cmocka_unit_test(test_fingerprint_leaves_wrappers_out),
		cmocka_unit_test(test_fingerprint_is_fnv_1a_over_the_names),
		cmocka_unit_test(
			test_fingerprint_tells_kind_creator_and_functions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
