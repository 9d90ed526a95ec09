/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/nativelab.h"

#include <ucontext.h>

static const char *const flags[] = {
	"-O0 -g",
	"-O2 -g",
	"-O2 -fno-omit-frame-pointer",
	"-O2 -fomit-frame-pointer -fno-pie -no-pie",
	"-O3 -fcf-protection=full",
	"-O2 -static",
};

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
	for (size_t i = 0; i < N_OF(flags); i++) {
		lab_build(&lab, "deep.c", flags[i]);
		for (size_t j = 0; j < N_OF(whole_modes); j++)
			check_mode(&lab, whole_modes[j], flags[i]);
		lab_clean(&lab);
	}
}

/*
 * With no more than pc and stack pointer, frames may be missing or be marked.
 * What is neither must be right.
 */
static void check_without_stop(struct lab *lab, const char *mode,
			       const char *how)
{
	uint64_t have[LAB_MAX_PCS], want[LAB_MAX_PCS];
	struct native_result part, all;
	struct native_regs regs;
	size_t n, certain = 0;

	lab_run(lab, mode);
	lab_attach(lab);
	assert_true(lab_wait_blocked(lab, lab->pid));
	lab_stopped_regs(lab->pid, &regs);
	all = lab_unwind(lab, NATIVE_LIBUNWIND, &regs);
	assert_true(lab_wait_blocked(lab, lab->pid));
	lab_blocked_regs(lab, lab->pid, &regs);
	part = lab_unwind(lab, NATIVE_FAST, &regs);
	n = lab_pcs(all.stack, want, LAB_MAX_PCS);
	assert_true(lab_pcs(part.stack, have, LAB_MAX_PCS) <= n);
	for (uint32_t i = 0; i < part.stack->n; i++)
		if (!part.stack->frames[i]->inlined)
			certain += !part.stack->frames[i]->uncertain;
	if (memcmp(have, want, certain * sizeof(have[0])) != 0) {
		lab_print("without a stop", &part);
		lab_print("truth", &all);
		fail_msg("%s, %s: a wrong frame", mode, how);
	}
	print_message("%s, %s: %zu of %zu frames certain%s\n", mode, how,
		      certain, n,
		      part.end == NATIVE_END_OUTERMOST ? ", whole" : "");
	assert_true(certain >= 2);
	lab_end(lab);
}

static void test_no_frame_is_wrong_without_a_stop(void **state)
{
	struct lab lab;

	(void)state;
	for (size_t i = 0; i < N_OF(flags); i++) {
		lab_build(&lab, "deep.c", flags[i]);
		for (size_t j = 0; j < N_OF(whole_modes); j++)
			check_without_stop(&lab, whole_modes[j], flags[i]);
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

static void test_both_engines_agree_at_every_instruction(void **state)
{
	struct user_regs_struct raw;
	struct native_regs regs;
	size_t whole = 0;
	struct lab lab;
	int sig = 0;

	(void)state;
	lab_build(&lab, "deep.c", "-O2 -Wl,-z,lazy");
	lab_run(&lab, "step");
	lab_attach(&lab);
	lab_stop(lab.pid);
	for (int i = 0; i < STEPS; i++) {
		struct native_result r;

		single_step(lab.pid, &sig);
		assert_int_equal(ptrace(PTRACE_GETREGS, lab.pid, 0, &raw), 0);
		lab_take(&raw, &regs);
		r = lab_both(&lab, "single step", &regs);
		whole += r.end == NATIVE_END_OUTERMOST;
	}
	print_message("%zu of %d stacks whole\n", whole, STEPS);
	// what is not: instructions that the C library describes wrongly
	assert_true(whole > STEPS * 99 / 100);
	lab_end(&lab);
	lab_clean(&lab);
}

static void test_hand_written_assembly_ends_the_stack(void **state)
{
	struct native_result r;
	struct native_regs regs;
	struct lab lab;

	(void)state;
	lab_build(&lab, "deep.c", "-O2");
	lab_run(&lab, "assembly");
	lab_attach(&lab);
	assert_true(lab_wait_blocked(&lab, lab.pid));
	lab_stopped_regs(lab.pid, &regs);
	r = lab_both(&lab, "assembly", &regs);
	assert_int_equal(r.end, NATIVE_END_NO_CFI);
	assert_true(r.stack->incomplete);
	assert_string_equal(r.stack->frames[r.stack->n - 1]->function, "bare");
	lab_end(&lab);
	lab_clean(&lab);
}

static void test_an_overrun_stack_makes_up_no_frame(void **state)
{
	struct lab lab;

	(void)state;
	for (size_t i = 0; i < N_OF(flags); i++) {
		struct native_result r;
		struct native_regs regs;

		lab_build(&lab, "deep.c", flags[i]);
		lab_run(&lab, "overrun");
		lab_attach(&lab);
		assert_true(lab_wait_blocked(&lab, lab.pid));
		lab_stopped_regs(lab.pid, &regs);
		r = lab_both(&lab, "overrun", &regs);
		assert_true(r.stack->incomplete);
		assert_in_range(r.stack->n, 2, 3);
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
	for (size_t i = 0; i < N_OF(flags); i++) {
		struct native_result r;
		struct native_regs regs;

		lab_build(&lab, "deep.c", flags[i]);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_both_engines_give_what_backtrace_has),
		cmocka_unit_test(test_no_frame_is_wrong_without_a_stop),
		cmocka_unit_test(test_both_engines_agree_at_every_instruction),
		cmocka_unit_test(test_hand_written_assembly_ends_the_stack),
		cmocka_unit_test(test_an_overrun_stack_makes_up_no_frame),
		cmocka_unit_test(
			test_a_parked_coroutine_is_unwound_to_its_start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
