/* SPDX-License-Identifier: Apache-2.0 */
#include "detector/gate/goroutines.h"
#include "detector/gate/lineage.h"
#include "detector/gate/policy.h"
#include "detector/gate/program.h"
#include "detector/gate/tree.h"
#include "tests/unit/unit.h"

#include <errno.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

static void test_the_test_that_a_function_belongs_to(void **state UNUSED)
{
	static const char *const rows[][2] = {
		{ "example.com/x.TestPool", "TestPool" },
		{ "example.com/x.TestPool.func1.2", "TestPool" },
		{ "example.com/x.Test", "Test" },
		{ "example.com/x.Test_under", "Test_under" },
		{ "example.com/x.TestPool.gowrap1", "TestPool" },
		{ "example.com/x.TestPool\xc2\xb7"
		  "dwrap\xc2\xb7"
		  "1",
		  "TestPool" },
		{ "gopkg.in/yaml%2ev3.FuzzX[...]", "FuzzX" },
		{ "example.com/x.BenchmarkA.func1", "BenchmarkA" },
		{ "example.com/x.ExampleB", "ExampleB" },
		/* what go test does not run */
		{ "example.com/x.Testing", "" },
		{ "example.com/x.Testimony.func1", "" },
		{ "example.com/x.(*Suite).TestPool", "" },
		{ "example.com/TestPool.run", "" },
		{ "x", "" },
		{ "", "" },
	};
	char buf[32];

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		leak_test_name(rows[i][0], buf, sizeof(buf));
		assert_string_equal(buf, rows[i][1]);
	}
	leak_test_name("x.TestWithANameThatIsLongerThanTheBuffer", buf, 8);
	assert_string_equal(buf, "");
}

static void test_import_paths_are_unescaped(void **state UNUSED)
{
	char buf[64];

	leak_package_name("gopkg.in/yaml%2ev3.(*parser).run", buf, sizeof(buf));
	assert_string_equal(buf, "gopkg.in/yaml.v3");
	leak_package_name("main.main", buf, sizeof(buf));
	assert_string_equal(buf, "main");
	leak_package_name("a%zz/b.f", buf, sizeof(buf));
	assert_string_equal(buf, "a%zz/b");
}

#define FRAME(f)                                                               \
	{                                                                      \
		.function = (f), .file = "x.go", .line = 1, .own = true        \
	}
#define FOREIGN(f)                                                             \
	{                                                                      \
		.function = (f), .file = "x.go", .line = 1                     \
	}

static const char *fingerprint_of(struct leak_frame *frames, size_t n,
				  const char *creator, const char *package)
{
	static struct leak leak;

	leak = (struct leak){ .frames = frames,
			      .n_frames = n,
			      .package = package,
			      .has_creator = true,
			      .creator = FRAME(creator) };
	leak.creator.own = strncmp(creator, "os/", 3) != 0;
	leak_fingerprint(&leak);
	return leak.fingerprint;
}

static void test_fingerprint_is_of_the_outermost_calls(void **state UNUSED)
{
	struct leak_frame here[] = { FOREIGN("net.(*conn).Read"), FRAME("x.a"),
				     FRAME("x.b"), FRAME("x.c"),
				     FRAME("x.run") };
	struct leak_frame there[] = { FRAME("x.other"), FRAME("x.b"),
				      FRAME("x.c"), FRAME("x.run") };
	struct leak_frame wrapped[] = { FRAME("x.other"), FRAME("x.b"),
					FRAME("x.c"), FRAME("x.run"),
					FRAME("x.start.gowrap1") };
	char first[GATE_FINGERPRINT];

	snprintf(first, sizeof(first), "%s",
		 fingerprint_of(here, 5, "x.start", "x"));
	assert_int_equal(strlen(first), 16);
	/* another call of the same loop; moved to other lines */
	there[1].line = 77;
	assert_string_equal(first, fingerprint_of(there, 4, "x.start", "x"));
	/* as another Go version names the go statement's wrapper */
	assert_string_equal(first, fingerprint_of(wrapped, 5, "x.start", "x"));
	assert_string_not_equal(first, fingerprint_of(here, 5, "x.begin", "x"));
	there[3].function = "x.walk";
	assert_string_not_equal(first,
				fingerprint_of(there, 4, "x.start", "x"));
}

static void test_fingerprint_without_own_code(void **state UNUSED)
{
	struct leak_frame old[] = { FOREIGN("io.Copy"),
				    FOREIGN("os/exec.(*Cmd).Start.func1") };
	struct leak_frame new[] = { FOREIGN("os.(*File).WriteTo"),
				    FOREIGN("os/exec.(*Cmd).Start.func2") };
	char first[GATE_FINGERPRINT];

	snprintf(first, sizeof(first), "%s",
		 fingerprint_of(old, 2, "os/exec.(*Cmd).Start", "x"));
	assert_string_equal(
		first, fingerprint_of(new, 2, "os/exec.(*Cmd).Start", "x"));
	/* other tests leave open what looks the same */
	assert_string_not_equal(
		first, fingerprint_of(old, 2, "os/exec.(*Cmd).Start", "y"));
}

/* --- goleak's rule --- */

static struct frame frame_of(const char *function)
{
	return (struct frame){ .function = function, .file = "?" };
}

static bool counts(const char *top, const char *start, enum task_state state_,
		   const char *reason, pid_t tid)
{
	struct frame f = frame_of(top), s = frame_of(start);
	const struct frame *frames[] = { &f };
	struct stack stack = { .n = 1, .frames = frames };
	struct task task = { .id = 18,
			     .reason = reason,
			     .state = state_,
			     .tid = tid,
			     .stack = &stack,
			     .start = &s };

	return goroutine_counts(&task, 77);
}

static void test_which_goroutines_count(void **state UNUSED)
{
	const enum task_state w = TASK_WAITING;

	assert_true(counts("x.f", "x.f", w, "chan receive", 0));
	assert_true(counts("x.f", "x.f", TASK_RUNNABLE, "", 0));
	assert_true(counts("x.f", "x.f", TASK_RUNNING, "", 78));
	/* who calls exit */
	assert_false(counts("x.f", "x.f", TASK_RUNNING, "", 77));
	assert_false(counts("x.f", "runtime.main", w, "chan receive", 0));
	assert_false(counts("testing.(*T).Run", "testing.tRunner", w,
			    "chan receive", 0));
	assert_true(
		counts("testing.(*T).Run", "testing.tRunner", w, "select", 0));
	assert_false(counts("testing.(*T).Parallel", "testing.tRunner", w,
			    "chan receive", 0));
	assert_false(counts("os/signal.signal_recv", "os/signal.loop",
			    TASK_SYSCALL, "", 5));
	assert_false(counts("runtime.goexit", "x.f", TASK_SYSCALL, "", 5));
	/* preempted on its last steps; and before its first */
	assert_false(counts("runtime.goexit1", "x.f", TASK_RUNNABLE, "", 0));
	assert_true(counts("x.f", "x.f", TASK_RUNNABLE, "", 0));
	assert_false(counts("runtime.ReadTrace", "x.f", w, "trace reader", 0));
	assert_false(counts("runtime.gopark", "runtime.ensureSigM.func1", w,
			    "select", 0));
}

static bool starved(enum task_state state_, const char *reason,
		    enum task_state others)
{
	struct task tasks[] = {
		{ .id = 1, .state = TASK_RUNNING, .tid = 77, .reason = "" },
		{ .id = 3, .state = state_, .reason = reason, .system = true },
		{ .id = 18, .state = others, .tid = 78, .reason = "" },
	};
	struct task_snapshot snap = { .kind = TASK_GO, .tasks = tasks, .n = 3 };

	return goroutines_starved(&snap, 77);
}

static void test_whether_others_could_run(void **state UNUSED)
{
	const enum task_state w = TASK_WAITING;

	assert_true(starved(w, "GC worker (idle)", TASK_RUNNABLE));
	assert_false(starved(w, "GC worker (idle)", TASK_RUNNING));
	/* a collector runs none of the program's */
	assert_true(starved(TASK_RUNNING, "", TASK_RUNNABLE));
	assert_false(starved(w, "GC worker (idle)", w));
	assert_true(starved(w, "GC mark termination", w));
	assert_true(starved(w, "stopping the world", TASK_RUNNABLE));
}

/* --- whose test --- */

static void test_the_test_of_an_ancestor_that_has_ended(void **state UNUSED)
{
	struct lineage *l = lineage_create();

	assert_non_null(l);
	assert_null(lineage_test(l, 7));
	/* 7 runs TestA, and started 8, which started 9; 20 is nobody's */
	lineage_put(l, 7, 1);
	lineage_put(l, 8, 7);
	lineage_put(l, 9, 8);
	lineage_put(l, 20, 19);
	assert_null(lineage_test(l, 9));
	lineage_name(l, 7, "TestA", false);
	assert_string_equal(lineage_test(l, 9), "TestA");
	assert_int_equal(lineage_state(l, 7), LINEAGE_KNOWN);
	lineage_name(l, 7, "TestA/b", true);
	assert_string_equal(lineage_test(l, 9), "TestA/b");
	assert_int_equal(lineage_state(l, 7), LINEAGE_NAMED);
	assert_int_equal(lineage_state(l, 6), LINEAGE_NEW);
	assert_null(lineage_test(l, 20));
	assert_null(lineage_test(l, 0));
	/* a circle, which a hostile memory may say */
	lineage_put(l, 30, 31);
	lineage_put(l, 31, 30);
	assert_null(lineage_test(l, 30));
	for (uint64_t i = 100; i < 100 + 2 * LINEAGE_MAX; i++)
		lineage_put(l, i, i - 1);
	assert_string_equal(lineage_test(l, 9), "TestA/b");
	assert_int_equal(lineage_state(l, 100 + LINEAGE_MAX), LINEAGE_NEW);
	lineage_destroy(l);
}

static bool sample(void *arg, uint64_t goid, char *buf, size_t size)
{
	if (goid == 17)
		snprintf(buf, size, "%s", (const char *)arg);
	return goid == 17;
}

/* Of a goroutine that @function created, whose parent 17 has ended. */
static const char *test_of(const char *function, const char *sampled)
{
	static char buf[64];
	struct frame f = { .function = "x.(*pool).run", .file = "pool.go" };
	struct frame creator = { .function = function, .file = "x_test.go" };
	const struct frame *frames[] = { &f };
	struct stack stack = { .n = 1, .frames = frames };
	struct task task = { .id = 18,
			     .parent_id = 17,
			     .reason = "select",
			     .state = TASK_WAITING,
			     .stack = &stack,
			     .created_by = &creator };
	struct task_snapshot snap = { .kind = TASK_GO, .tasks = &task, .n = 1 };
	const struct goroutine_tests tests = { sample, (void *)sampled };
	const struct goroutines_hooks hooks = { sampled ? &tests : NULL, NULL,
						NULL, NULL };
	struct gate_process *p = gate_process_create(1);

	assert_non_null(p);
	assert_ok(goroutines_collect(&snap, 77, &hooks, p));
	assert_int_equal(p->n_leaks, 1);
	snprintf(buf, sizeof(buf), "%s",
		 p->leaks[0].test ? p->leaks[0].test : "");
	gate_process_destroy(p);
	return buf;
}

static void test_what_was_sampled_and_what_functions_say(void **state UNUSED)
{
	assert_string_equal(test_of("x.TestPool.func1", "TestPool/redial"),
			    "TestPool/redial");
	assert_string_equal(test_of("x.dial", "TestPool/redial"),
			    "TestPool/redial");
	assert_string_equal(test_of("x.TestPool.func1", NULL), "TestPool");
	assert_string_equal(test_of("x.dial", NULL), "");
	/* where they contradict each other */
	assert_string_equal(test_of("x.TestPool.func1", "TestOther/redial"),
			    "TestPool");
	assert_string_equal(test_of("x.TestPool.func1", "TestPooled"),
			    "TestPool");
}

/* As the kernel has them; the two ways to find who is below. */
static void test_children_of_all_threads(void **state UNUSED)
{
	struct arena *arena = arena_create();
	struct tree_member *v;
	pid_t children[8];
	size_t n;
	pid_t pid = fork();

	if (!pid) {
		pause();
		_exit(0);
	}
	assert_true(pid > 0);
	assert_non_null(arena);
	assert_int_equal(tree_children(getpid(), children, 8), 1);
	assert_int_equal(children[0], pid);
	assert_int_equal(tree_children(getpid(), children, 0), 0);
	assert_int_equal(tree_children(pid, children, 8), 0);
	assert_ok(tree_list(0, arena, &v, &n));
	assert_int_equal(n, 1);
	assert_int_equal(v[0].pid, pid);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	arena_destroy(arena);
}

/* --- programs --- */

static void test_build_info_of_any_bytes(void **state UNUSED)
{
	char block[256] = "\xff Go buildinf:\x08\x02";
	struct program_info info;
	size_t n = 32;

	block[n++] = 3;
	memcpy(block + n, "go1", 3);
	n += 3;
	const char *text = "0123456789abcdefpath\tcmd/go\nmod\tcmd\t(devel)\n"
			   "0123456789abcdef";
	block[n++] = (char)strlen(text);
	memcpy(block + n, text, strlen(text));
	size_t whole = n + strlen(text);
	assert_true(program_info_parse(block, whole, &info));
	assert_string_equal(info.path, "cmd/go");
	assert_string_equal(info.module, "cmd");
	assert_true(program_is_toolchain(&info));
	for (size_t len = 0; len < whole; len++)
		assert_false(program_info_parse(block, len, &info));
	memset(block + 32, 0xff, sizeof(block) - 32);
	assert_false(program_info_parse(block, sizeof(block), &info));
}

static void test_a_package_by_its_folder(void **state UNUSED)
{
	char dir[] = "/tmp/stranded-test-XXXXXX", path[64];
	char package[PROGRAM_PATH_MAX];

	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/go.mod", dir);
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	fputs("// x\nmodule \"example.com/m\" // y\n\ngo 1.19\n", f);
	fclose(f);
	assert_true(program_package_of(dir, package));
	assert_string_equal(package, "example.com/m");
	char below[64];
	snprintf(below, sizeof(below), "%s/a/b", dir);
	assert_true(program_package_of(below, package));
	assert_string_equal(package, "example.com/m/a/b");
	unlink(path);
	rmdir(dir);
	assert_false(program_package_of("/nonexistent", package));
	assert_false(program_package_of("relative", package));
}

static void test_programs_are_told_by_their_file(void **state UNUSED)
{
	struct program_key self, again, other = { 0 };
	struct programs *programs = programs_create();

	assert_int_equal(program_key(getpid(), &self), 0);
	assert_int_equal(program_key(getpid(), &again), 0);
	assert_memory_equal(&self, &again, sizeof(self));
	assert_int_equal(programs_find(programs, &self), PROGRAM_NEW);
	programs_put(programs, &self, PROGRAM_FOREIGN);
	for (uint64_t i = 1; i < 1000; i++) {
		other.ino = i;
		programs_put(programs, &other, PROGRAM_GO);
	}
	assert_int_equal(programs_find(programs, &self), PROGRAM_FOREIGN);
	other.ino = 500;
	assert_int_equal(programs_find(programs, &other), PROGRAM_GO);
	other.mtime_ns = 1;
	assert_int_equal(programs_find(programs, &other), PROGRAM_NEW);
	programs_destroy(programs);
	assert_false(program_may_have_tasks(getpid()));
	assert_int_equal(program_key(-1, &other), -ENOENT);
}

/* What a text report says of where, "in x/tests", is what a rule may say. */
static void test_a_rule_for_a_package(void **state UNUSED)
{
	static const struct {
		const char *glob;
		bool ignored;
	} rows[] = { { "x/tests", true },
		     { "x/pool", true },
		     { "x/*", true },
		     { "x", false } };

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct leak leak = { .package = "x/pool", .count = 1 };
		struct gate_process process = { .package = "x/tests",
						.leaks = &leak,
						.n_leaks = 1 };
		struct gate_policy *policy = NULL;
		char text[64];
		int n = snprintf(text, sizeof(text),
				 "[r]\nreason = y\npackage = %s\n",
				 rows[i].glob);

		assert_null(gate_policy_parse("p", text, (size_t)n,
					      "2026-01-01", &policy));
		gate_policy_apply(policy, &process);
		assert_int_equal(leak.ignored != NULL, rows[i].ignored);
		gate_policy_destroy(policy);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_test_that_a_function_belongs_to),
		cmocka_unit_test(test_import_paths_are_unescaped),
		cmocka_unit_test(test_fingerprint_is_of_the_outermost_calls),
		cmocka_unit_test(test_fingerprint_without_own_code),
		cmocka_unit_test(test_which_goroutines_count),
		cmocka_unit_test(test_whether_others_could_run),
		cmocka_unit_test(test_the_test_of_an_ancestor_that_has_ended),
		cmocka_unit_test(test_what_was_sampled_and_what_functions_say),
		cmocka_unit_test(test_children_of_all_threads),
		cmocka_unit_test(test_build_info_of_any_bytes),
		cmocka_unit_test(test_a_package_by_its_folder),
		cmocka_unit_test(test_programs_are_told_by_their_file),
		cmocka_unit_test(test_a_rule_for_a_package),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
