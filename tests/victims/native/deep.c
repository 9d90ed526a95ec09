/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A program with deep stacks of many kinds, which tells the truth about them:
 * before it blocks, it prints the return addresses that backtrace(3), the
 * unwinder of its own compiler's library, has.
 *
 * usage: deep MODE
 *   plain    17 functions
 *   recurse  3,000 functions
 *   alloca   with stack taken at run time
 *   align    with a realigned stack
 *   signal   in a signal handler
 *   altstack in a signal handler on a stack of its own
 *   assembly called by a function without call frame information
 *   callback called by qsort(3) of the C library
 *   overrun  the return addresses are overwritten
 *   coroutine  in a coroutine that is parked by swapcontext(3), whose
 *            ucontext_t is at the address that is printed first
 *   reload A B  in a function of A, and after a byte of input, when A was
 *            unloaded, in one of B
 *   step     calls many things for ever
 */

#define _GNU_SOURCE
#include <alloca.h>
#include <dlfcn.h>
#include <execinfo.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline, noclone))
#define DEPTH 17

static volatile int sink;

/* From the caller's caller on: the caller goes on to its next call. */
NOINLINE static void tell(void)
{
	void *pcs[128];
	int n = backtrace(pcs, 128);

	for (int i = 2; i < n; i++)
		printf("%lx%s", (unsigned long)pcs[i], i + 1 < n ? " " : "");
	printf("\n");
	fflush(stdout);
}

NOINLINE static void wait_for_end(void)
{
	char c;

	while (read(0, &c, 1) > 0)
		;
	sink++;
}

NOINLINE static void block(void)
{
	tell();
	wait_for_end();
	sink++;
}

static void (*leaf)(void) = block;

NOINLINE static int deep(int n)
{
	if (n > 0)
		sink += deep(n - 1) + n;
	else
		leaf();
	return sink;
}

NOINLINE static int with_alloca(int n)
{
	char *p = alloca((size_t)n * 100 + 1);

	memset(p, n, (size_t)n * 100 + 1);
	if (n > 0)
		sink += with_alloca(n - 1) + p[n];
	else
		deep(3);
	return p[0];
}

NOINLINE static int with_align(int n)
{
	char a[256] __attribute__((aligned(128)));
	char *p = alloca((size_t)n * 24 + 8);

	memset(a, n, sizeof(a));
	memset(p, n, (size_t)n * 24 + 8);
	if (n > 0)
		sink += with_align(n - 1) + a[n] + p[n];
	else
		deep(3);
	return a[0];
}

static void on_signal(int sig)
{
	(void)sig;
	deep(2);
	sink++;
}

NOINLINE static void in_handler(int flags)
{
	static char stack[1 << 16];
	stack_t ss = { .ss_sp = stack, .ss_size = sizeof(stack) };
	struct sigaction sa = { .sa_handler = on_signal, .sa_flags = flags };

	sigaltstack(&ss, NULL);
	sigaction(SIGUSR1, &sa, NULL);
	raise(SIGUSR1);
	sink++;
}

/* No .cfi at all, as hand-written context switches often are. */
void bare(void (*f)(void));
__asm__(".text\n.globl bare\n.type bare, @function\nbare:\n"
	"	push %rbx\n	call *%rdi\n	pop %rbx\n	ret\n"
	".size bare, .-bare\n");

static void from_bare(void)
{
	deep(3);
	sink++;
}

static int compare(const void *a, const void *b)
{
	static int once;

	if (leaf == block && !once++)
		deep(3);
	return *(const char *)a - *(const char *)b;
}

NOINLINE static void callback(void)
{
	char text[] = "qsort";

	qsort(text, 5, 1, compare);
	sink += text[0];
}

NOINLINE static void overrun(void)
{
	void **frame = __builtin_frame_address(0);

	// where they are differs by compiler flags: all that may be
	for (int i = 0; i < 6; i++)
		frame[i] = (void *)0x4141414141414141;
	printf("\n");
	fflush(stdout);
	wait_for_end();
}

static ucontext_t outside, inside;

NOINLINE static void park(void)
{
	tell();
	swapcontext(&inside, &outside);
	sink++;
}

static void body(void)
{
	leaf = park;
	deep(DEPTH - 2);
	sink++;
}

NOINLINE static void coroutine(void)
{
	static char stack[1 << 16];

	printf("%lx ", (unsigned long)&inside);
	getcontext(&inside);
	inside.uc_stack.ss_sp = stack;
	inside.uc_stack.ss_size = sizeof(stack);
	makecontext(&inside, body, 0);
	swapcontext(&outside, &inside);
	wait_for_end();
}

NOINLINE static void wait_for_byte(void)
{
	char c;

	if (read(0, &c, 1) != 1)
		exit(0);
	sink++;
}

NOINLINE static void load(const char *path)
{
	void *handle = dlopen(path, RTLD_NOW);
	void (*entry)(void (*f)(void)) = NULL;

	if (handle)
		*(void **)&entry = dlsym(handle, "entry");
	if (!entry)
		exit(3);
	entry(wait_for_byte);
	dlclose(handle);
}

NOINLINE static void reload(char **paths)
{
	printf("%lx\n", (unsigned long)wait_for_byte);
	fflush(stdout);
	wait_for_byte();
	load(paths[0]);
	load(paths[1]);
}

static void nothing(void)
{
	sink++;
}

static void on_tick(int sig)
{
	(void)sig;
	sink++;
}

NOINLINE static void step(void)
{
	char text[64];

	leaf = nothing;
	signal(SIGUSR2, on_tick);
	printf("step\n");
	fflush(stdout);
	for (int i = 0;; i++) {
		struct timespec ts;

		deep(3);
		clock_gettime(CLOCK_MONOTONIC, &ts);
		with_alloca(2);
		with_align(2);
		callback();
		snprintf(text, sizeof(text), "%d %s", i, "x");
		sink += (int)strlen(text) + atoi(text);
		free(malloc((size_t)(i % 100) * 64));
		raise(SIGUSR2);
	}
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "plain";
	void *warm[1];

	// loads libgcc_s
	backtrace(warm, 1);
	if (!strcmp(mode, "plain"))
		deep(DEPTH - 2);
	else if (!strcmp(mode, "recurse"))
		deep(3000);
	else if (!strcmp(mode, "alloca"))
		with_alloca(5);
	else if (!strcmp(mode, "align"))
		with_align(5);
	else if (!strcmp(mode, "signal"))
		in_handler(0);
	else if (!strcmp(mode, "altstack"))
		in_handler(SA_ONSTACK);
	else if (!strcmp(mode, "assembly"))
		bare(from_bare);
	else if (!strcmp(mode, "callback"))
		callback();
	else if (!strcmp(mode, "overrun"))
		overrun();
	else if (!strcmp(mode, "coroutine"))
		coroutine();
	else if (!strcmp(mode, "reload") && argc > 3)
		reload(argv + 2);
	else if (!strcmp(mode, "step"))
		step();
	else
		return 2;
	return 0;
}
