/* SPDX-License-Identifier: Apache-2.0 */
/* Stacks that end early, never end, or are none. */
#include "tests/unit/nativelab.h"

#define ROUNDS 20000

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
	for (size_t i = 0; i < N_OF(lab_flags); i++) {
		struct native_result r;
		struct native_regs regs;

		lab_build(&lab, "deep.c", lab_flags[i]);
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

static void test_a_stack_has_a_limit(void **state)
{
	struct native_result r;
	struct native_regs regs;
	struct lab lab;

	(void)state;
	lab_build(&lab, "deep.c", "-O1");
	lab_run(&lab, "recurse");
	lab_attach(&lab);
	assert_true(lab_wait_blocked(&lab, lab.pid));
	lab_stopped_regs(lab.pid, &regs);
	r = lab_both(&lab, "recurse", &regs);
	assert_int_equal(r.end, NATIVE_END_LIMIT);
	assert_int_equal(r.stack->n, TASK_MAX_FRAMES);
	assert_true(r.stack->truncated);
	assert_true(r.stack->incomplete);
	assert_true(r.read_beyond);
	assert_true(r.stack == lab_both(&lab, "recurse", &regs).stack);
	lab_end(&lab);
	lab_clean(&lab);
}

static void set(struct native_regs *regs, enum native_reg reg, uint64_t value)
{
	native_regs_set(regs, reg, value);
}

static void test_registers_may_be_nonsense(void **state)
{
	const struct native_copy none = { .base = 0 };
	struct native_regs regs = { .known = 0 }, good;
	struct native_result r;
	struct lab lab;

	(void)state;
	lab_build(&lab, "deep.c", "-O1");
	lab_run(&lab, "plain");
	lab_attach(&lab);
	assert_true(lab_wait_blocked(&lab, lab.pid));
	lab_stopped_regs(lab.pid, &good);
	assert_int_equal(
		native_unwind(lab.native, NATIVE_FAST, &regs, &none, &r),
		-EINVAL);
	// no code there: data, nothing, zero
	for (int i = 0; i < 3; i++) {
		regs = good;
		set(&regs, NATIVE_RIP,
		    i == 2 ? 0 : good.r[NATIVE_RSP] << i * 9);
		r = lab_both(&lab, "pc", &regs);
		assert_int_equal(r.stack->n, 0);
		assert_int_equal(r.stack->incomplete, i < 2);
	}
	// no stack there
	regs = good;
	set(&regs, NATIVE_RSP, 0x10);
	r = lab_both(&lab, "sp", &regs);
	assert_int_equal(r.end, NATIVE_END_UNREADABLE);
	assert_int_equal(r.stack->n, 1);
	regs = good;
	set(&regs, NATIVE_RSP, UINT64_MAX - 7);
	assert_int_equal(lab_both(&lab, "sp", &regs).stack->n, 1);
	set(&regs, NATIVE_RSP, good.r[NATIVE_RSP] + 1);
	assert_int_equal(lab_both(&lab, "sp", &regs).end, NATIVE_END_CORRUPT);
	lab_end(&lab);
	lab_clean(&lab);
}

/* Words that are return addresses, stack addresses, small or anything. */
static uint64_t random_word(struct lab *lab, const struct native_regs *regs)
{
	uint64_t any = (uint64_t)random() << 33 ^ (uint64_t)random();

	switch (random() % 4) {
	case 0:
		return lab->truth[(size_t)random() % lab->n_truth];
	case 1:
		return regs->r[NATIVE_RSP] + ((uint64_t)random() & 0x7f8);
	case 2:
		return (uint64_t)random() & 0xff;
	default:
		return any;
	}
}

static void test_stacks_may_be_nonsense(void **state)
{
	struct native_regs good, regs;
	uint64_t words[256];
	struct lab lab;

	(void)state;
	srandom(1);
	lab_build(&lab, "deep.c", "-O2 -fno-omit-frame-pointer");
	lab_run(&lab, "align");
	lab_attach(&lab);
	assert_true(lab_wait_blocked(&lab, lab.pid));
	lab_stopped_regs(lab.pid, &good);
	for (int i = 0; i < ROUNDS; i++) {
		struct native_copy copy = { .base = good.r[NATIVE_RSP],
					    .bytes = words,
					    .len = sizeof(words),
					    .hi = good.r[NATIVE_RSP] +
						  sizeof(words) };
		struct native_result fast, slow;

		regs = good;
		for (size_t j = 0; j < N_OF(words); j++)
			words[j] = random_word(&lab, &good);
		regs.r[NATIVE_RBP] = random_word(&lab, &good);
		regs.r[NATIVE_RIP] = lab.truth[(size_t)random() % lab.n_truth];
		regs.pc_is_return = random() & 1;
		assert_int_equal(native_unwind(lab.native, NATIVE_FAST, &regs,
					       &copy, &fast),
				 0);
		assert_int_equal(native_unwind(lab.native, NATIVE_LIBUNWIND,
					       &regs, &copy, &slow),
				 0);
		if (fast.stack->n == slow.stack->n)
			continue;
		lab_print("fast", &fast);
		lab_print("libunwind", &slow);
		fail_msg("round %d: the engines do not agree", i);
	}
	lab_end(&lab);
	lab_clean(&lab);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hand_written_assembly_ends_the_stack),
		cmocka_unit_test(test_an_overrun_stack_makes_up_no_frame),
		cmocka_unit_test(test_a_stack_has_a_limit),
		cmocka_unit_test(test_registers_may_be_nonsense),
		cmocka_unit_test(test_stacks_may_be_nonsense),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
