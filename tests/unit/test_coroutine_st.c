/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/unit.h"

#include <fcntl.h>

#include "base/clock.h"
#include "base/process.h"
#include "runtime-hooks/coroutine/coroutine.h"

/*
 * State Threads, looked at from outside: tests/victims/coroutine/states.c says
 * of each of its threads what it waits for.
 */

#define MAX_PAIRS 256

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
	char dir[64], program[128];
	pid_t pid;
	FILE *out;
	struct process *p;
	void *ctx;
	struct {
		char kind[16];
		int fd;
	} one[16];
	int pair[MAX_PAIRS][2];
	size_t n_ones, n_pairs;
};

static void start_on_pipe(struct victim *v, const char *n)
{
	int out[2];

	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	v->pid = fork();
	assert_true(v->pid >= 0);
	if (!v->pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(out[1], 1);
		execl(v->program, v->program, n, (char *)NULL);
		_exit(127);
	}
	close(out[1]);
	v->out = fdopen(out[0], "r");
}

static void read_truth(struct victim *v)
{
	char line[64];

	while (fgets(line, sizeof(line), v->out) && line[0] != '.') {
		int *pair = v->pair[v->n_pairs];

		if (sscanf(line, "pair %d %d", &pair[0], &pair[1]) == 2)
			v->n_pairs++;
		else if (sscanf(line, "%15s %d", v->one[v->n_ones].kind,
				&v->one[v->n_ones].fd) == 2)
			v->n_ones++;
	}
}

static void start(struct victim *v, const char *n, const char *how)
{
	char command[512];

	NEEDS("libst-dev", !access("/usr/include/st.h", R_OK));
	memset(v, 0, sizeof(*v));
	strcpy(v->dir, "/tmp/stranded-states-XXXXXX");
	assert_non_null(mkdtemp(v->dir));
	strcpy(last_dir, v->dir);
	snprintf(v->program, sizeof(v->program), "%s/states", v->dir);
	snprintf(command, sizeof(command),
		 "gcc %s -D_GNU_SOURCE -o %s tests/victims/coroutine/states.c "
		 "-l:libst.a -Wl,-z,noexecstack",
		 how, v->program);
	assert_int_equal(system(command), 0);
	start_on_pipe(v, n);
	read_truth(v);
	usleep(100000);
	assert_ok(process_open(v->pid, &v->p));
}

static void finish(struct victim *v)
{
	if (v->ctx)
		runtime_coroutine.detach(v->ctx);
	process_close(v->p);
	fclose(v->out);
	child_end(v->pid);
	unlink(v->program);
	rmdir(v->dir);
}

static struct task_snapshot *look(struct victim *v)
{
	struct task_snapshot *snap;

	assert_ok(
		runtime_coroutine.snapshot(v->ctx, &runtime_everything, &snap));
	return snap;
}

static bool has_frame(const struct stack *stack, const char *function)
{
	for (uint32_t i = 0; stack && i < stack->n; i++)
		if (!strcmp(stack->frames[i]->function, function))
			return true;
	return false;
}

static int fd_of(const struct victim *v, const char *kind)
{
	for (size_t i = 0; i < v->n_ones; i++)
		if (!strcmp(v->one[i].kind, kind))
			return v->one[i].fd;
	fail_msg("it said nothing of '%s'", kind);
	return -1;
}

/* The thread whose stack has @function. */
static const struct task *in_function(const struct task_snapshot *snap,
				      const char *function)
{
	for (size_t i = 0; i < snap->n; i++)
		if (has_frame(snap->tasks[i].stack, function))
			return &snap->tasks[i];
	fail_msg("no thread is in %s", function);
	return NULL;
}

static void check_one(const struct victim *v, const struct task_snapshot *snap,
		      const char *kind, const char *function,
		      enum wait_kind wait)
{
	const struct task *t = in_function(snap, function);

	assert_int_equal(t->state, TASK_WAITING);
	assert_int_equal(t->wait, wait);
	assert_int_equal(t->fd, fd_of(v, kind));
	assert_int_equal(t->fd_proof, t->fd < 0 ? FD_NONE : FD_PROVEN);
	assert_string_equal(t->start->function, function);
	assert_false(t->stack->incomplete);
	assert_false(t->system);
	// the first frame that is not the library's
	for (uint32_t i = 0; i < t->stack->n; i++)
		if (!t->stack->frames[i]->runtime) {
			assert_string_equal(t->stack->frames[i]->function,
					    function);
			break;
		}
}

static void test_each_kind_of_wait(void **state)
{
	struct task_snapshot *snap;
	const struct task *t;
	struct victim v;

	(void)state;
	start(&v, "0", "-O2");
	assert_ok(runtime_coroutine.attach(v.p, &v.ctx));
	assert_string_equal(runtime_coroutine.version(v.ctx),
			    "State Threads 1.9");
	snap = look(&v);
	assert_int_equal(snap->torn, 0);
	assert_int_equal(snap->gaps.n, 0);
	check_one(&v, snap, "read", "only_reads", WAIT_READ);
	check_one(&v, snap, "write", "only_writes", WAIT_WRITE);
	check_one(&v, snap, "accept", "only_accepts", WAIT_ACCEPT);
	check_one(&v, snap, "timed", "reads_for_an_hour", WAIT_READ);
	check_one(&v, snap, "sleep", "only_sleeps", WAIT_SLEEP);
	t = in_function(snap, "only_reads");
	assert_int_equal(t->read_deadline.state, DEADLINE_NONE);
	t = in_function(snap, "reads_for_an_hour");
	assert_int_equal(t->read_deadline.state, DEADLINE_SET);
	assert_in_range(t->read_deadline.at_mono_ns,
			clock_mono_ns() + 3590 * INT64_C(1000000000),
			clock_mono_ns() + 3600 * INT64_C(1000000000));
	assert_non_null(in_function(snap, "main")); // it sleeps, too
	assert_int_equal(snap->n, 6); // and not the one in the condition
	task_snapshot_destroy(snap);
	finish(&v);
}

static bool is_of(const struct victim *v, int fd, int which)
{
	for (size_t i = 0; i < v->n_pairs; i++)
		if (v->pair[i][which] == fd)
			return true;
	return false;
}

static size_t check_turns(const struct victim *v,
			  const struct task_snapshot *snap)
{
	size_t checked = 0;

	for (size_t i = 0; i < snap->n; i++) {
		const struct task *t = &snap->tasks[i];
		bool even = is_of(v, t->fd, 0), odd = is_of(v, t->fd, 1);

		if (t->torn || t->state != TASK_WAITING || (!even && !odd))
			continue;
		assert_non_null(t->stack);
		if (has_frame(t->stack, "via_even") != even ||
		    has_frame(t->stack, "via_odd") != odd ||
		    !has_frame(t->stack, "takes_turns") || t->stack->incomplete)
			fail_msg("fd %d: the stack is another's", t->fd);
		checked++;
	}
	return checked;
}

static void test_no_wrong_stack_while_they_move(void **state)
{
	const char *soak = getenv("STRANDED_SOAK_S");
	int64_t until =
		clock_mono_ns() + (soak ? atoi(soak) : 2) * INT64_C(1000000000);
	size_t looks = 0, checked = 0;
	uint64_t torn = 0;
	struct victim v;

	(void)state;
	start(&v, "100", "-O2 -g");
	assert_int_equal(v.n_pairs, 100);
	assert_ok(runtime_coroutine.attach(v.p, &v.ctx));
	while (clock_mono_ns() < until) {
		struct task_snapshot *snap = look(&v);

		checked += check_turns(&v, snap);
		torn += snap->torn;
		looks++;
		task_snapshot_destroy(snap);
	}
	print_message("%zu looks, %zu parked, %llu torn\n", looks, checked,
		      (unsigned long long)torn);
	assert_true(looks > 10 && checked > looks);
	finish(&v);
}

static void test_without_symbols_it_is_not_seen(void **state)
{
	struct victim v;

	(void)state;
	start(&v, "0", "-O2 -s");
	assert_error(runtime_coroutine.attach(v.p, &v.ctx), ERROR_ABSENT,
		     "stranded run");
	v.ctx = NULL;
	finish(&v);
}

#define T(f) cmocka_unit_test_teardown(f, clean_up)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_each_kind_of_wait),
		T(test_no_wrong_stack_while_they_move),
		T(test_without_symbols_it_is_not_seen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
