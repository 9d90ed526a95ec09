/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCENARIOS_PROGRAMS_TWINS_TINYCO_H
#define SCENARIOS_PROGRAMS_TWINS_TINYCO_H

/**
 * A coroutine library of one header, in the shape of minicoro and libaco: a
 * switch in assembly that becomes part of the program, so that nothing can be
 * preloaded in front of it. x86-64, System V ABI, section 3.2.1: rbx, rbp and
 * r12 to r15 belong to the caller.
 *
 * The lines with stranded_ in them are the whole adapter to the hook.
 */

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <stranded/hook.h>

#define TINYCO_STACK (64 << 10)

struct tinyco {
	void *sp; /* while it is parked */
	struct tinyco *caller;
	void (*start)(void *arg);
	void *arg;
	char *stack;
	bool ended;
	struct stranded_task *task; /* how stranded knows it */
};

static struct tinyco tinyco_main, *tinyco_running = &tinyco_main;

/* Save what the caller may keep, exchange the stacks, restore. */
__attribute__((naked, noinline)) static void
tinyco_swap(__attribute__((unused)) void **save,
	    __attribute__((unused)) void *to)
{
	__asm__("pushq %rbp\n\tpushq %rbx\n\tpushq %r12\n\t"
		"pushq %r13\n\tpushq %r14\n\tpushq %r15\n\t"
		"movq %rsp, (%rdi)\n\tmovq %rsi, %rsp\n\t"
		"popq %r15\n\tpopq %r14\n\tpopq %r13\n\t"
		"popq %r12\n\tpopq %rbx\n\tpopq %rbp\n\tret");
}

static void tinyco_switch(struct tinyco *to)
{
	struct tinyco *from = tinyco_running;

	tinyco_running = to;
	stranded_task_switch(to->task);
	tinyco_swap(&from->sp, to->sp);
}

/* Go on with @co until it yields or ends. */
static inline void tinyco_resume(struct tinyco *co)
{
	co->caller = tinyco_running;
	tinyco_switch(co);
}

/* Let others run until @fd is readable. */
static inline void tinyco_wait(int fd)
{
	struct tinyco *co = tinyco_running;

	stranded_park(co->task, STRANDED_READ, fd);
	tinyco_switch(co->caller);
	stranded_unpark(co->task);
}

static void tinyco_entry(void)
{
	struct tinyco *co = tinyco_running;

	stranded_unpark(co->task);
	co->start(co->arg);
	stranded_task_end(co->task);
	co->ended = true;
	co->task = NULL;
	tinyco_switch(co->caller);
	abort();
}

static inline struct tinyco *tinyco_create(const char *name,
					   void (*start)(void *), void *arg)
{
	struct tinyco *co = calloc(1, sizeof(*co));
	char *stack = mmap(NULL, TINYCO_STACK, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (!co || stack == MAP_FAILED)
		return NULL;
	// Six registers, where to go, and a return address of 0: the end.
	uintptr_t *top = (uintptr_t *)(stack + TINYCO_STACK);
	top[-2] = (uintptr_t)tinyco_entry;
	*co = (struct tinyco){
		.sp = top - 8,
		.start = start,
		.arg = arg,
		.stack = stack,
		.task = stranded_task_create(name, (void (*)(void))start, top),
	};
	return co;
}

#endif
