/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Nanoseconds per switch of six registers in assembly, without and with the
 * calls of stranded/hook.h around it: a park and an unpark each.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "runtime-hooks/coroutine/include/stranded/hook.h"

#define STACK_BYTES 65536

void own_switch(void **save, void *to);
__asm__(".text\n.type own_switch, @function\nown_switch:\n"
	"push %rbp\npush %rbx\npush %r12\npush %r13\npush %r14\npush %r15\n"
	"mov %rsp, (%rdi)\nmov %rsi, %rsp\n"
	"pop %r15\npop %r14\npop %r13\npop %r12\npop %rbx\npop %rbp\n"
	"pop %rdx\njmp *%rdx\n.size own_switch, . - own_switch\n");

static void *main_sp, *plain_sp, *told_sp;
static struct stranded_task *task;
static const int rounds = 3000000;

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void plain(void)
{
	for (;;)
		own_switch(&plain_sp, main_sp);
}

static void told(void)
{
	for (;;) {
		stranded_park(task, STRANDED_READ, 7);
		own_switch(&told_sp, main_sp);
		stranded_unpark(task);
	}
}

static void *make(void (*func)(void))
{
	void **top = (void **)((char *)calloc(1, STACK_BYTES) + STACK_BYTES);

	*--top = NULL;
	*--top = (void *)func;
	return top - 6;
}

int main(void)
{
	double took[2] = { 0, 0 };

	plain_sp = make(plain);
	told_sp = make(told);
	task = stranded_task_create("bench", told, NULL);
	/* turns, so that both see the same machine */
	for (int part = 0; part < 20; part++) {
		void **sp = part % 2 ? &told_sp : &plain_sp;
		double begin = now();

		for (int i = 0; i < rounds / 10; i++)
			own_switch(&main_sp, *sp);
		took[part % 2] += now() - begin;
	}
	/* a round is there and back; a pair of calls is in each */
	printf("%.2f %.2f\n", took[0] / rounds, took[1] / rounds);
	return 0;
}
