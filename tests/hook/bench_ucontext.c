/* SPDX-License-Identifier: Apache-2.0 */

/* Nanoseconds per swapcontext() between two coroutines, and for the first
 * switch to each of many new ones. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <ucontext.h>

#define STACK_BYTES 16384
#define MANY 5000

static ucontext_t main_context, a, b, many[MANY];
static const int rounds = 200000;

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void ping(void)
{
	for (int i = 0; i < rounds; i++)
		swapcontext(&a, &b);
	swapcontext(&a, &main_context);
}

static void pong(void)
{
	for (;;)
		swapcontext(&b, &a);
}

static void once(void)
{
	swapcontext(&many[0], &main_context);
}

static void make(ucontext_t *uc, void (*func)(void))
{
	getcontext(uc);
	uc->uc_stack.ss_sp = calloc(1, STACK_BYTES);
	uc->uc_stack.ss_size = STACK_BYTES;
	makecontext(uc, func, 0);
}

int main(void)
{
	make(&a, ping);
	make(&b, pong);
	double begin = now();
	swapcontext(&main_context, &a);
	double middle = now();
	for (int i = 1; i < MANY; i++)
		make(&many[i], once);
	double made = now();
	for (int i = 1; i < MANY; i++)
		swapcontext(&main_context, &many[i]);
	printf("%.2f %.2f %.2f\n", (middle - begin) / (2 * rounds),
	       (made - middle) / MANY, (now() - made) / (2 * MANY));
	return 0;
}
