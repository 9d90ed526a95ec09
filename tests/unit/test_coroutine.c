/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <libgen.h>

#include "base/clock.h"
#include "base/process.h"
#include "runtime-hooks/coroutine/coroutine.h"
#include "runtime-hooks/coroutine/table.h"
#include "runtime-hooks/intern.h"
#include "runtime-hooks/native/native.h"

/*
 * A program that tells of each of its coroutines where it may be parked, and
 * is looked at while it stands still and while it does not: see
 * tests/victims/coroutine/churn.c. STRANDED_SOAK_S=60 has it looked at for as
 * long.
 */

/* What the victim said of one coroutine. */
struct said {
	char name[24];
	int fd[2];
	char chain[2][8];
};

/* Of the test that runs, for when it fails in the middle. */
static char last_dir[64];

static int clean_up(void **state)
{
	char command[128];

	(void)state;
	if (!*last_dir)
		return 0;
	snprintf(command, sizeof(command), "rm -rf %s", last_dir);
	*last_dir = '\0';
	return system(command);
}

struct victim {
	char dir[64], program[128], truth[128];
	pid_t pid;
	FILE *in, *out, *said;
	struct process *p;
	void *ctx;
	struct intern_table by_name;
	struct arena *arena;
	size_t n_said;
};

static uint64_t name_key(const char *name)
{
	return intern_hash(name, strlen(name));
}

/* libstranded-hook.a beside us, as it was built with us. */
static void build(struct victim *v, const char *how)
{
	char self[512], command[2048];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	assert_true(n > 0);
	self[n] = '\0';
	strcpy(v->dir, "/tmp/stranded-churn-XXXXXX");
	assert_non_null(mkdtemp(v->dir));
	strcpy(last_dir, v->dir);
	snprintf(v->program, sizeof(v->program), "%s/churn", v->dir);
	snprintf(v->truth, sizeof(v->truth), "%s/truth", v->dir);
	snprintf(command, sizeof(command),
		 "gcc %s -D_GNU_SOURCE -iquote runtime-hooks/coroutine/include "
		 "-o %s tests/victims/coroutine/churn.c "
		 "%s/libstranded-hook.a -pthread",
		 how, v->program, dirname(dirname(self)));
	assert_int_equal(system(command), 0);
}

static void expect_line(struct victim *v, const char *line)
{
	char got[64];

	assert_non_null(fgets(got, sizeof(got), v->out));
	assert_string_equal(got, line);
}

/* libstranded-hook.so beside us. */
static void preload(void)
{
	char self[512], path[600];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	self[n > 0 ? n : 0] = '\0';
	snprintf(path, sizeof(path), "%s/libstranded-hook.so",
		 dirname(dirname(self)));
	setenv("LD_PRELOAD", path, 1);
}

static void start(struct victim *v, const char *how, const char *n,
		  const char *lives, bool twice)
{
	int in[2], out[2];

	memset(v, 0, sizeof(*v));
	build(v, how);
	assert_int_equal(pipe2(in, O_CLOEXEC), 0);
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	v->pid = fork();
	assert_true(v->pid >= 0);
	if (!v->pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(in[0], 0);
		dup2(out[1], 1);
		if (twice)
			preload();
		execl(v->program, v->program, n, lives, v->truth, (char *)NULL);
		_exit(127);
	}
	close(in[0]);
	close(out[1]);
	v->in = fdopen(in[1], "w");
	v->out = fdopen(out[0], "r");
	expect_line(v, "ready\n");
	v->said = fopen(v->truth, "r");
	assert_non_null(v->said);
	v->arena = arena_create();
	assert_ok(process_open(v->pid, &v->p));
	assert_ok(runtime_coroutine.attach(v->p, &v->ctx));
}

static void finish(struct victim *v)
{
	runtime_coroutine.detach(v->ctx);
	process_close(v->p);
	fclose(v->in);
	fclose(v->out);
	fclose(v->said);
	child_end(v->pid);
	intern_free(&v->by_name);
	arena_destroy(v->arena);
	unlink(v->truth);
	unlink(v->program);
	rmdir(v->dir);
}

static void tell(struct victim *v, const char *line)
{
	fputs(line, v->in);
	fflush(v->in);
}

/* What has been written so far; a line may be cut by its end. */
static void read_said(struct victim *v)
{
	char line[160];

	clearerr(v->said);
	for (;;) {
		long at = ftell(v->said);
		struct said s;

		if (!fgets(line, sizeof(line), v->said) ||
		    !strchr(line, '\n')) {
			fseek(v->said, at, SEEK_SET);
			return;
		}
		assert_int_equal(sscanf(line, "%23s body %d %7s %d %7s", s.name,
					&s.fd[0], s.chain[0], &s.fd[1],
					s.chain[1]),
				 5);
		struct said *copy = arena_memdup(v->arena, &s, sizeof(s));
		assert_true(intern_add(&v->by_name, name_key(s.name), copy));
		v->n_said++;
	}
}

static const struct said *said_of(struct victim *v, const char *name)
{
	uint64_t at = UINT64_MAX;
	struct said *s;

	assert_non_null(name);
	while ((s = intern_next(&v->by_name, name_key(name), &at)))
		if (!strcmp(s->name, name))
			return s;
	return NULL;
}

/* The letters of the functions down_X on a stack, outermost first. */
static void chain_of(const struct stack *stack, char *chain, size_t size)
{
	size_t n = 0;

	for (uint32_t i = stack->n; i > 0; i--) {
		const char *name = stack->frames[i - 1]->function;

		if (!strncmp(name, "down_", 5) && n + 1 < size)
			chain[n++] = name[5];
	}
	chain[n] = '\0';
}

static void fail_stack(const struct task *t, const struct said *s)
{
	for (uint32_t i = 0; t->stack && i < t->stack->n; i++)
		print_message("  %s %s:%u\n", t->stack->frames[i]->function,
			      t->stack->frames[i]->file,
			      t->stack->frames[i]->line);
	fail_msg("%s fd %d; it said %d %s, %d %s", t->name, t->fd, s->fd[0],
		 s->chain[0], s->fd[1], s->chain[1]);
}

/* Name, fd and stack of a parked one belong together. */
static void check_parked(struct victim *v, const struct task *t)
{
	const struct said *s = said_of(v, t->name);
	const struct stack *stack = t->stack;
	char chain[16];
	int turn;

	if (!s)
		fail_msg("%s was never created", t->name);
	assert_int_equal(t->wait, WAIT_READ);
	assert_int_equal(t->fd_proof, FD_HOOK);
	turn = t->fd == s->fd[1];
	if (t->fd != s->fd[turn] || !stack)
		fail_stack(t, s);
	chain_of(stack, chain, sizeof(chain));
	if (strcmp(chain, s->chain[turn]) != 0 || stack->incomplete ||
	    strcmp(stack->frames[stack->n - 1]->function, "body") != 0)
		fail_stack(t, s);
	// wait_here, a step for each letter and one more, the letters, body
	size_t physical = 0;
	for (uint32_t i = 0; i < stack->n; i++) {
		physical += !stack->frames[i]->inlined;
		assert_false(stack->frames[i]->uncertain);
	}
	if (physical != 3 + 2 * strlen(chain))
		fail_stack(t, s);
	assert_string_equal(t->start->function, "body");
	assert_string_equal(t->created_by->function, "begin");
	// it told when it looked at the clock, not when it parked
	assert_int_equal(t->blocked.at_most_source, BLOCKED_WAITSINCE);
	assert_int_equal(t->blocked.at_least_ms, 0);
}

static struct task_snapshot *look(struct victim *v)
{
	struct task_snapshot *snap;

	assert_ok(
		runtime_coroutine.snapshot(v->ctx, &runtime_everything, &snap));
	read_said(v);
	return snap;
}

static size_t check_all(struct victim *v, const struct task_snapshot *snap)
{
	size_t parked = 0;

	for (size_t i = 0; i < snap->n; i++) {
		const struct task *t = &snap->tasks[i];

		if (i)
			assert_true(t[-1].id < t->id);
		if (t->torn || t->state != TASK_WAITING)
			continue;
		check_parked(v, t);
		parked++;
	}
	return parked;
}

/* The list that it prints is the list that we see. */
static void check_list(struct victim *v, const struct task_snapshot *snap)
{
	struct intern_table seen = { 0 };
	char line[64], name[24];
	size_t n = 0;
	int fd;

	for (size_t i = 0; i < snap->n; i++)
		assert_true(intern_add(&seen, name_key(snap->tasks[i].name),
				       &snap->tasks[i]));
	while (fgets(line, sizeof(line), v->out) && line[0] != '.') {
		assert_int_equal(sscanf(line, "%23s %d", name, &fd), 2);
		const struct task *t = intern_get(&seen, name_key(name));
		if (!t)
			fail_msg("%s is not seen", name);
		assert_string_equal(t->name, name);
		assert_int_equal(t->fd, fd);
		n++;
	}
	assert_int_equal(n, snap->n);
	intern_free(&seen);
}

/* The list may be longer than a pipe holds: it stands still, all the same. */
static void wait_still(struct victim *v)
{
	tell(v, "stop\n");
	usleep(200000);
}

static void check_still(const char *how)
{
	struct victim v;
	struct task_snapshot *snap;

	start(&v, how, "1000", "20", false);
	usleep(300000);
	wait_still(&v);
	snap = look(&v);
	assert_int_equal(snap->torn, 0);
	assert_int_equal(check_all(&v, snap), 1000);
	assert_true(v.n_said > 1000); // some have ended
	for (size_t i = 0; i < snap->n; i++)
		assert_in_range(snap->tasks[i].blocked.at_most_ms, 150, 60000);
	check_list(&v, snap);
	task_snapshot_destroy(snap);
	finish(&v);
}

static void test_all_as_it_says(void **state)
{
	(void)state;
	check_still("-O2 -g");
}

static void test_with_frame_pointers_and_no_optimization(void **state)
{
	(void)state;
	check_still("-O0 -g");
}

/* bp is in the line, and not in the task. */
static void unwind_by_libunwind(struct victim *v, struct native *native,
				const struct task *t)
{
	struct native_copy copy = { .base = t->sp };
	struct native_regs regs = { 0 };
	struct native_result ret;
	struct stranded_task line;

	assert_int_equal(process_read(v->p, t->handle, &line, sizeof(line)), 0);
	native_regs_set(&regs, NATIVE_RIP, line.pc);
	native_regs_set(&regs, NATIVE_RSP, line.sp);
	native_regs_set(&regs, NATIVE_RBP, line.bp);
	regs.pc_is_return = line.flags & HOOK_FLAG_PC_RETURN;
	assert_int_equal(
		native_unwind(native, NATIVE_LIBUNWIND, &regs, &copy, &ret), 0);
	assert_int_equal(ret.stack->n, t->stack->n);
	for (uint32_t i = 0; i < ret.stack->n; i++)
		assert_int_equal(ret.stack->frames[i]->pc,
				 t->stack->frames[i]->pc);
}

static void test_stacks_are_those_of_libunwind(void **state)
{
	struct task_snapshot *snap;
	struct native *native;
	struct victim v;

	(void)state;
	start(&v, "-O2 -g", "300", "20", false);
	usleep(100000);
	wait_still(&v);
	snap = look(&v);
	assert_int_equal(snap->n, 300);
	assert_ok(native_open(v.p, &native));
	for (size_t i = 0; i < snap->n; i++)
		unwind_by_libunwind(&v, native, &snap->tasks[i]);
	native_close(native);
	task_snapshot_destroy(snap);
	finish(&v);
}

static void check_sites(struct victim *v, size_t alive)
{
	AUTO_ARENA struct arena *arena = arena_create();
	struct task_site *sites;
	size_t n;

	assert_ok(runtime_coroutine.sites(v->ctx, arena, &sites, &n));
	assert_int_equal(n, 1);
	assert_string_equal(sites[0].frame->function, "begin");
	assert_int_equal(sites[0].created, v->n_said);
	assert_int_equal(sites[0].created - sites[0].ended, alive);
}

static void test_no_wrong_stack_while_all_move(void **state)
{
	const char *soak = getenv("STRANDED_SOAK_S");
	int64_t until =
		clock_mono_ns() + (soak ? atoi(soak) : 3) * INT64_C(1000000000);
	size_t looks = 0, parked = 0;
	int64_t longest = 0, all_ns = 0;
	uint64_t retried = 0, torn = 0;
	struct task_snapshot *snap;
	struct victim v;

	(void)state;
	start(&v, "-O2 -g", "10000", "50", false);
	while (clock_mono_ns() < until) {
		snap = look(&v);
		parked += check_all(&v, snap);
		retried += snap->torn_retried;
		torn += snap->torn;
		looks++;
		all_ns += snap->duration_ns;
		if (snap->duration_ns > longest)
			longest = snap->duration_ns;
		assert_in_range(snap->n, 9000, 10100);
		task_snapshot_destroy(snap);
	}
	print_message("%zu looks, %zu parked, %llu read again, %llu torn, %zu "
		      "created, %lld us each, %lld at most\n",
		      looks, parked, (unsigned long long)retried,
		      (unsigned long long)torn, v.n_said,
		      (long long)all_ns / 1000 / (long long)looks,
		      (long long)longest / 1000);
	assert_true(parked > looks * 9000);
	wait_still(&v);
	snap = look(&v);
	assert_int_equal(check_all(&v, snap), 10000);
	check_list(&v, snap);
	task_snapshot_destroy(snap);
	read_said(&v);
	check_sites(&v, 10000);
	finish(&v);
}

static void find_idle(void *arg, const char *text)
{
	*(bool *)arg |= !strcmp(text, "1 more copy of the hook, not in use");
}

/* Preloaded into a program that has it, it leaves the work to that one. */
static void test_two_copies_of_the_hook(void **state)
{
	struct task_snapshot *snap;
	bool found = false;
	struct victim v;

	(void)state;
	start(&v, "-O2 -g", "100", "20", true);
	runtime_coroutine.explain(v.ctx, find_idle, &found);
	assert_true(found);
	wait_still(&v);
	snap = look(&v);
	assert_int_equal(check_all(&v, snap), 100);
	check_list(&v, snap);
	task_snapshot_destroy(snap);
	finish(&v);
}

/* A child has a table of its own, with what was in its parent's. */
static void test_a_child_of_fork(void **state)
{
	struct task_snapshot *snap;
	struct process *p;
	char line[32];
	struct victim v;
	void *ctx;

	(void)state;
	start(&v, "-O2 -g", "100", "0", false);
	tell(&v, "fork\n");
	assert_non_null(fgets(line, sizeof(line), v.out));
	assert_ok(process_open(atoi(line), &p));
	assert_ok(runtime_coroutine.attach(p, &ctx));
	assert_ok(runtime_coroutine.snapshot(ctx, &runtime_everything, &snap));
	read_said(&v);
	assert_int_equal(check_all(&v, snap), 100);
	task_snapshot_destroy(snap);
	runtime_coroutine.detach(ctx);
	process_close(p);
	finish(&v);
}

static void test_a_program_without_a_hook(void **state)
{
	pid_t pid = child_start(NULL, NULL);
	struct process *p;
	void *ctx;

	(void)state;
	assert_ok(process_open(pid, &p));
	assert_error(runtime_coroutine.attach(p, &ctx), ERROR_ABSENT,
		     "no coroutine hook in this process; start it with "
		     "'stranded run'");
	process_close(p);
	child_end(pid);
}

static void test_a_program_that_ends(void **state)
{
	struct task_snapshot *snap = NULL;
	struct victim v;
	struct error *err;

	(void)state;
	start(&v, "-O2 -g", "10", "0", false);
	kill(v.pid, SIGKILL);
	usleep(100000);
	err = runtime_coroutine.snapshot(v.ctx, &runtime_everything, &snap);
	assert_null(snap);
	assert_error(err, ERROR_GONE, "");
	finish(&v);
}

#define T(f) cmocka_unit_test_teardown(f, clean_up)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_all_as_it_says),
		T(test_with_frame_pointers_and_no_optimization),
		T(test_stacks_are_those_of_libunwind),
		T(test_no_wrong_stack_while_all_move),
		T(test_two_copies_of_the_hook),
		T(test_a_child_of_fork),
		T(test_a_program_without_a_hook),
		T(test_a_program_that_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
