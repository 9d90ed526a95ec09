/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/nativelab.h"

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <ucontext.h>

#include "base/arena.h"

/* Modes whose stacks can be told to their outermost function. */
static const char *const whole_modes[] = {
	"plain", "alloca", "align", "signal", "altstack", "callback",
};

/* The frames in the end of @r must be what the victim printed. */
static void assert_truth(const struct lab *lab, const char *what,
			 const struct native_result *r)
{
	uint64_t pcs[LAB_MAX_PCS];
	size_t n = lab_pcs(r->stack, pcs, LAB_MAX_PCS);

	assert_true(lab->n_truth > 5);
	if (n > lab->n_truth && !memcmp(pcs + n - lab->n_truth, lab->truth,
					lab->n_truth * sizeof(pcs[0])))
		return;
	lab_print(what, r);
	fail_msg("%s is not what backtrace(3) has: %s", what, lab->line);
}

static void check_mode(struct lab *lab, const char *mode, const char *how)
{
	struct native_regs regs;
	struct native_result r;
	char what[128];

	snprintf(what, sizeof(what), "%s, %s", mode, how);
	lab_run(lab, mode);
	lab_attach(lab);
	assert_true(lab_wait_blocked(lab, lab->pid));
	lab_stopped_regs(lab->pid, &regs);
	r = lab_both(lab, what, &regs);
	if (r.end != NATIVE_END_OUTERMOST || r.uncertain) {
		lab_print(what, &r);
		fail_msg("%s ends early", what);
	}
	assert_false(r.stack->incomplete);
	assert_truth(lab, what, &r);
	lab_end(lab);
}

static void test_both_engines_give_what_backtrace_has(void **state)
{
	struct lab lab;

	(void)state;
	for (size_t i = 0; i < N_OF(lab_flags); i++) {
		lab_build(&lab, "deep.c", lab_flags[i]);
		for (size_t j = 0; j < N_OF(whole_modes); j++)
			check_mode(&lab, whole_modes[j], lab_flags[i]);
		lab_clean(&lab);
	}
}

/*
 * What of @part is certain must be the begin of @all. Returns: how many frames
 * that are.
 */
static size_t assert_begin(const char *what, const struct native_result *part,
			   const struct native_result *all)
{
	uint64_t have[LAB_MAX_PCS], want[LAB_MAX_PCS];
	size_t n = lab_pcs(all->stack, want, LAB_MAX_PCS), certain = 0;

	lab_pcs(part->stack, have, LAB_MAX_PCS);
	for (uint32_t i = 0; i < part->stack->n; i++)
		if (!part->stack->frames[i]->inlined)
			certain += !part->stack->frames[i]->uncertain;
	if (certain <= n && !memcmp(have, want, certain * sizeof(have[0])))
		return certain;
	lab_print("pc and stack pointer", part);
	lab_print("all registers", all);
	fail_msg("%s: a wrong frame", what);
	return 0;
}

/*
 * With no more than pc and stack pointer, frames may be missing or be marked.
 * What is neither must be right.
 */
static void check_without_stop(struct lab *lab, const char *mode,
			       const char *how)
{
	struct native_result part, all;
	struct native_regs regs;
	size_t certain;

	lab_run(lab, mode);
	lab_attach(lab);
	assert_true(lab_wait_blocked(lab, lab->pid));
	lab_stopped_regs(lab->pid, &regs);
	all = lab_unwind(lab, NATIVE_LIBUNWIND, &regs);
	assert_true(lab_wait_blocked(lab, lab->pid));
	lab_blocked_regs(lab, lab->pid, &regs);
	part = lab_unwind(lab, NATIVE_FAST, &regs);
	certain = assert_begin(mode, &part, &all);
	print_message("%s, %s: %zu frames certain%s\n", mode, how, certain,
		      part.end == NATIVE_END_OUTERMOST ? ", whole" : "");
	assert_true(certain >= 2);
	lab_end(lab);
}

static void test_no_frame_is_wrong_without_a_stop(void **state)
{
	struct lab lab;

	(void)state;
	for (size_t i = 0; i < N_OF(lab_flags); i++) {
		lab_build(&lab, "deep.c", lab_flags[i]);
		for (size_t j = 0; j < N_OF(whole_modes); j++)
			check_without_stop(&lab, whole_modes[j], lab_flags[i]);
		lab_clean(&lab);
	}
}

#define STEPS 30000

/* The next instruction, also through the signals that the victim raises. */
static void single_step(pid_t pid, int *sig)
{
	int status;

	assert_int_equal(ptrace(PTRACE_SINGLESTEP, pid, 0, *sig), 0);
	assert_int_equal(waitpid(pid, &status, __WALL), pid);
	assert_true(WIFSTOPPED(status));
	*sig = WSTOPSIG(status) == SIGTRAP ? 0 : WSTOPSIG(status);
}

/* What the steps must have come through, or they show little. */
static const struct {
	const char *function, *object;
} waypoints[] = {
	{ "on_tick", "deep" },	   { "with_align", "deep" },
	{ "with_alloca", "deep" }, { NULL, "[vdso]" },
	{ "qsort", NULL },	   { "malloc", NULL },
	{ "snprintf", NULL },	   { "compare", "deep" },
};

static void note_waypoints(const struct native_result *r, size_t *seen)
{
	for (uint32_t i = 0; i < r->stack->n; i++)
		for (size_t j = 0; j < N_OF(waypoints); j++) {
			const struct frame *f = r->stack->frames[i];

			if ((!waypoints[j].function ||
			     !strcmp(f->function, waypoints[j].function)) &&
			    (!waypoints[j].object ||
			     !strcmp(f->object, waypoints[j].object)))
				seen[j]++;
		}
}

/* Returns how many stacks were had whole by pc and stack pointer alone. */
static size_t check_steps(struct lab *lab)
{
	size_t whole = 0, whole_part = 0, seen[N_OF(waypoints)] = { 0 };
	int sig = 0;

	lab_stop(lab->pid);
	for (int i = 0; i < STEPS; i++) {
		struct user_regs_struct raw;
		struct native_regs regs;
		struct native_result all, part;

		single_step(lab->pid, &sig);
		assert_int_equal(ptrace(PTRACE_GETREGS, lab->pid, 0, &raw), 0);
		lab_take(&raw, &regs);
		all = lab_both(lab, "single step", &regs);
		note_waypoints(&all, seen);
		whole += all.end == NATIVE_END_OUTERMOST;
		regs.known = 1u << NATIVE_RIP | 1u << NATIVE_RSP;
		part = lab_unwind(lab, NATIVE_FAST, &regs);
		assert_begin("single step", &part, &all);
		whole_part += part.end == NATIVE_END_OUTERMOST &&
			      !part.uncertain;
	}
	print_message("%zu of %d stacks whole\n", whole, STEPS);
	for (size_t i = 0; i < N_OF(waypoints); i++)
		if (!seen[i])
			fail_msg("no step was in %s of %s",
				 waypoints[i].function ?: "anything",
				 waypoints[i].object ?: "any object");
	// what is not: instructions that the C library describes wrongly
	assert_true(whole > STEPS * 99 / 100);
	return whole_part;
}

static void test_both_engines_agree_at_every_instruction(void **state)
{
	static const char *const how[] = {
		"-O2 -Wl,-z,lazy",
		"-O2 -fno-omit-frame-pointer",
		"-O0",
	};

	(void)state;
	for (size_t i = 0; i < N_OF(how); i++) {
		struct lab lab;

		lab_build(&lab, "deep.c", how[i]);
		lab_run(&lab, "step");
		lab_attach(&lab);
		print_message("%s: %zu whole without other registers\n", how[i],
			      check_steps(&lab));
		lab_end(&lab);
		lab_clean(&lab);
	}
}

/* Where jump_fcontext saves them: jump_x86_64_sysv_elf_gas.S of Boost 1.74. */
static void fcontext_regs(struct lab *lab, struct native_regs *regs)
{
	static const struct {
		unsigned int at;
		enum native_reg to;
	} saved[] = {
		{ 0x08, NATIVE_R12 }, { 0x10, NATIVE_R13 },
		{ 0x18, NATIVE_R14 }, { 0x20, NATIVE_R15 },
		{ 0x28, NATIVE_RBX }, { 0x30, NATIVE_RBP },
		{ 0x38, NATIVE_RIP },
	};

	memset(regs, 0, sizeof(*regs));
	regs->pc_is_return = true;
	for (size_t i = 0; i < N_OF(saved); i++) {
		uint64_t word;

		assert_int_equal(process_read(lab->p,
					      lab->truth[0] + saved[i].at,
					      &word, sizeof(word)),
				 0);
		native_regs_set(regs, saved[i].to, word);
	}
	native_regs_set(regs, NATIVE_RSP, lab->truth[0] + 0x40);
}

static void test_a_coroutine_of_boost_is_unwound_to_its_start(void **state)
{
	const char *how[] = { "-O2 -lboost_context", "-O0 -lboost_context" };
	uint64_t pcs[LAB_MAX_PCS];

	(void)state;
	NEEDS("libboost-context-dev",
	      !access("/usr/include/boost/context/detail/fcontext.hpp", R_OK));
	for (size_t i = 0; i < N_OF(how); i++) {
		struct native_result r;
		struct native_regs regs;
		struct lab lab;
		size_t n;

		lab_build(&lab, "fcontext.cc", how[i]);
		lab_run(&lab, "");
		lab_attach(&lab);
		assert_true(lab_wait_blocked(&lab, lab.pid));
		fcontext_regs(&lab, &regs);
		r = lab_both(&lab, "fcontext", &regs);
		n = lab_pcs(r.stack, pcs, LAB_MAX_PCS);
		assert_int_equal(r.end, NATIVE_END_OUTERMOST);
		// the first is in park, after another call than backtrace's
		if (n != lab.n_truth || memcmp(pcs + 1, lab.truth + 1,
					       (n - 1) * sizeof(pcs[0])) != 0) {
			lab_print("fcontext", &r);
			fail_msg("%s", lab.line);
		}
		lab_end(&lab);
		lab_clean(&lab);
	}
}

/* Registers of a coroutine that swapcontext(3) parked. */
static void parked_regs(struct lab *lab, struct native_regs *regs)
{
	static const struct {
		int from;
		enum native_reg to;
	} saved[] = {
		{ REG_RBX, NATIVE_RBX }, { REG_RBP, NATIVE_RBP },
		{ REG_R12, NATIVE_R12 }, { REG_R13, NATIVE_R13 },
		{ REG_R14, NATIVE_R14 }, { REG_R15, NATIVE_R15 },
		{ REG_RSP, NATIVE_RSP }, { REG_RIP, NATIVE_RIP },
	};
	ucontext_t uc;

	assert_int_equal(process_read(lab->p, lab->truth[0], &uc, sizeof(uc)),
			 0);
	memset(regs, 0, sizeof(*regs));
	regs->pc_is_return = true;
	for (size_t i = 0; i < N_OF(saved); i++)
		native_regs_set(regs, saved[i].to,
				(uint64_t)uc.uc_mcontext.gregs[saved[i].from]);
}

static void test_a_parked_coroutine_is_unwound_to_its_start(void **state)
{
	struct lab lab;

	(void)state;
	for (size_t i = 0; i < N_OF(lab_flags); i++) {
		struct native_result r;
		struct native_regs regs;

		lab_build(&lab, "deep.c", lab_flags[i]);
		lab_run(&lab, "coroutine");
		lab_attach(&lab);
		assert_true(lab_wait_blocked(&lab, lab.pid));
		parked_regs(&lab, &regs);
		// past the address that was printed first
		memmove(lab.truth, lab.truth + 1,
			--lab.n_truth * sizeof(lab.truth[0]));
		r = lab_both(&lab, "coroutine", &regs);
		assert_int_equal(r.end, NATIVE_END_OUTERMOST);
		assert_truth(&lab, "coroutine", &r);
		lab_end(&lab);
		lab_clean(&lab);
	}
}

/* A listener that accepts no one: clients wait for what never comes. */
static int silent_port(int *fd_ret)
{
	struct sockaddr_in at = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(listen(fd, 5), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
	*fd_ret = fd;
	return ntohs(at.sin_port);
}

static const char java_source[] =
	"public class Wait { public static void main(String[] a) throws "
	"Exception { new Thread(() -> { synchronized (Wait.class) { try { "
	"Wait.class.wait(); } catch (Exception e) { } } }).start(); "
	"new java.net.Socket(\"127.0.0.1\", Integer.parseInt(a[0]))"
	".getInputStream().read(); } }";

/* Programs as they are installed; %p is the port. */
static const struct {
	const char *name;
	const char *argv[8];
} programs[] = {
	{ "python3",
	  { "-c",
	    "import socket, sys, threading\n"
	    "s = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n"
	    "threading.Thread(target=s.recv, args=(1,), daemon=True).start()\n"
	    "s.recv(1)",
	    "%p" } },
	{ "redis-cli", { "-p", "%p", "subscribe", "x" } },
	{ "psql", { "host=127.0.0.1 port=%p sslmode=disable", "-c", "" } },
	{ "curl", { "-sS", "http://127.0.0.1:%p/" } },
	{ "java", { "-Xmx64m", "%j", "%p" } },
};

/* @from with %p and %j replaced. */
static char *expand(const char *from, int port, const char *java)
{
	const char *at = strchr(from, '%');
	char *to;

	if (!at)
		return strdup(from);
	if (at[1] == 'j')
		return strdup(java);
	if (asprintf(&to, "%.*s%d%s", (int)(at - from), from, port, at + 2) < 0)
		fail();
	return to;
}

static void start_program(struct lab *lab, size_t i, int port, const char *java)
{
	char *argv[10] = { strdup(programs[i].name) };

	memset(lab, 0, sizeof(*lab));
	for (size_t j = 0; j < 8 && programs[i].argv[j]; j++)
		argv[j + 1] = expand(programs[i].argv[j], port, java);
	lab_start(lab, argv, false);
	for (size_t j = 0; argv[j]; j++)
		free(argv[j]);
}

/* Until it has connected: a socket of its own in a call that waits. */
static void wait_connected(struct lab *lab, int listener)
{
	struct pollfd p = { .fd = listener, .events = POLLIN };

	assert_int_equal(poll(&p, 1, 30000), 1);
	usleep(500000);
	assert_ok(process_open(lab->pid, &lab->p));
	assert_ok(native_open(lab->p, &lab->native));
}

/*
 * Stopped while it is compared, since threads of Java wake up now and then.
 * Returns whether pc and stack pointer alone give the whole stack.
 */
static bool check_thread(struct lab *lab, const char *name, pid_t tid)
{
	struct user_regs_struct raw;
	struct native_regs regs;
	struct native_result all, part;

	lab_stop(tid);
	assert_int_equal(ptrace(PTRACE_GETREGS, tid, 0, &raw), 0);
	lab_take(&raw, &regs);
	all = lab_both(lab, name, &regs);
	regs.known = 1u << NATIVE_RIP | 1u << NATIVE_RSP;
	part = lab_unwind(lab, NATIVE_FAST, &regs);
	assert_int_equal(ptrace(PTRACE_DETACH, tid, 0, 0), 0);
	assert_begin(name, &part, &all);
	return part.end == all.end;
}

static void check_program(size_t i, const char *java)
{
	AUTO_ARENA struct arena *arena = arena_create();
	size_t n, whole = 0;
	struct lab lab;
	pid_t *tids;
	int listener;

	start_program(&lab, i, silent_port(&listener), java);
	wait_connected(&lab, listener);
	assert_ok(process_threads(lab.p, arena, &tids, &n));
	for (size_t j = 0; j < n; j++)
		whole += check_thread(&lab, programs[i].name, tids[j]);
	print_message("%s: %zu of %zu threads as well without a stop\n",
		      programs[i].name, whole, n);
	assert_true(whole > 0);
	lab_end(&lab);
	close(listener);
}

static void test_stacks_of_installed_programs(void **state)
{
	char java[] = "/tmp/stranded-native-XXXXXX.java";
	int fd = mkstemps(java, 5);

	(void)state;
	assert_true(write(fd, java_source, sizeof(java_source) - 1) > 0);
	close(fd);
	for (size_t i = 0; i < N_OF(programs); i++) {
		char command[128];

		snprintf(command, sizeof(command),
			 "command -v %s >/dev/null 2>&1", programs[i].name);
		NEEDS(programs[i].name, !system(command));
		check_program(i, java);
	}
	unlink(java);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_both_engines_give_what_backtrace_has),
		cmocka_unit_test(test_no_frame_is_wrong_without_a_stop),
		cmocka_unit_test(test_both_engines_agree_at_every_instruction),
		cmocka_unit_test(
			test_a_parked_coroutine_is_unwound_to_its_start),
		cmocka_unit_test(
			test_a_coroutine_of_boost_is_unwound_to_its_start),
		cmocka_unit_test(test_stacks_of_installed_programs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
