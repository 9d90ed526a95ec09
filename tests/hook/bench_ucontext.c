/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Nanoseconds of CPU time per swapcontext() between two coroutines, by the C
 * library's own and by the one that the program is linked to; then per
 * makecontext() of many new ones, and per first switch to each.
 *
 * Short rounds of both take turns in one thread, and the medians count: so that
 * they see the same machine, however busy that is.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <ucontext.h>

#define STACK_BYTES 16384
#define MANY 5000
#define ROUNDS 401
#define PER_ROUND 1000

typedef int (*swap_fn)(ucontext_t *from, const ucontext_t *to);

/** Two coroutines that hand over to each other. */
struct pair {
	swap_fn swap;
	ucontext_t a, b, back;
	double took[ROUNDS];
};

static struct pair plain, linked, *now_running;
static ucontext_t main_context, many[MANY];

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void ping(void)
{
	struct pair *p = now_running;

	for (;;) {
		for (int i = 0; i < PER_ROUND / 2; i++)
			p->swap(&p->a, &p->b);
		p->swap(&p->a, &p->back);
	}
}

static void pong(void)
{
	struct pair *p = now_running;

	for (;;)
		p->swap(&p->b, &p->a);
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

static void make_pair(struct pair *p, swap_fn swap)
{
	p->swap = swap;
	make(&p->a, ping);
	make(&p->b, pong);
}

static void run_round(struct pair *p, int round)
{
	double begin = now();

	now_running = p;
	p->swap(&p->back, &p->a);
	p->took[round] = (now() - begin) / PER_ROUND;
}

static int ascending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *v)
{
	qsort(v, ROUNDS, sizeof(*v), ascending);
	return v[ROUNDS / 2];
}

int main(void)
{
	void *libc = dlopen("libc.so.6", RTLD_NOW);
	swap_fn real = libc ? (swap_fn)dlsym(libc, "swapcontext") : NULL;

	if (!real)
		return 1;
	make_pair(&plain, real);
	make_pair(&linked, swapcontext);
	for (int i = 0; i < ROUNDS; i++) {
		run_round(i % 2 ? &plain : &linked, i);
		run_round(i % 2 ? &linked : &plain, i);
	}
	double begin = now();
	for (int i = 1; i < MANY; i++)
		make(&many[i], once);
	double made = now();
	for (int i = 1; i < MANY; i++)
		swapcontext(&main_context, &many[i]);
	double switched = now();
	printf("%.2f %.2f %.2f %.2f\n", median(plain.took), median(linked.took),
	       (made - begin) / MANY, (switched - made) / (2 * MANY));
	return 0;
}
