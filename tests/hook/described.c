/* SPDX-License-Identifier: Apache-2.0 */

/*
 * usage: described N
 *
 * A program that tells stranded of its coroutines itself, by stranded/hook.h:
 * two switches that no hook can see. Half of the N are switched by setjmp(3)
 * and longjmp(3), half by six lines of assembly. Prints {"fds", "created",
 * "ended"}; one more of each kind has ended.
 *
 *	described lines N
 *
 * N lines of the table without coroutines behind them; prints also how many KiB
 * of memory each thousand of them take, {"kib"}.
 */
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <ucontext.h>
#include <unistd.h>

#include "runtime-hooks/coroutine/include/stranded/hook.h"

#define STACK_BYTES (64 * 1024)

struct coroutine {
	struct stranded_task *task;
	jmp_buf here;
	void *sp;
	char *stack;
	int fd;
	int ended;
};

static jmp_buf back;
static void *back_sp;

/* One: longjmp. Its stack comes from makecontext(), once. */

static void jump_away(struct coroutine *c)
{
	stranded_park(c->task, STRANDED_READ, c->fd);
	if (!_setjmp(c->here))
		_longjmp(back, 1);
	stranded_unpark(c->task);
}

static void jump_to(struct coroutine *c)
{
	if (!_setjmp(back))
		_longjmp(c->here, 1);
}

static __attribute__((noinline)) void serve_by_jumps(struct coroutine *c)
{
	for (;;)
		jump_away(c);
}

static void begin_by_jumps(unsigned hi, unsigned lo)
{
	struct coroutine *c = (void *)((uintptr_t)hi << 32 | lo);

	stranded_unpark(c->task);
	if (c->fd >= 0)
		serve_by_jumps(c);
	stranded_task_end(c->task);
	_longjmp(back, 1);
}

/* Two: assembly. */

void own_switch(void **save, void *to);
__asm__(".text\n.type own_switch, @function\nown_switch:\n"
	"push %rbp\npush %rbx\npush %r12\npush %r13\npush %r14\npush %r15\n"
	"mov %rsp, (%rdi)\nmov %rsi, %rsp\n"
	"pop %r15\npop %r14\npop %r13\npop %r12\npop %rbx\npop %rbp\n"
	"ret\n.size own_switch, . - own_switch\n");

static struct coroutine *running;

static __attribute__((noinline)) void serve_by_hand(struct coroutine *c)
{
	for (;;) {
		stranded_park(c->task, STRANDED_READ, c->fd);
		own_switch(&c->sp, back_sp);
		stranded_unpark(c->task);
	}
}

static void begin_by_hand(void)
{
	struct coroutine *c = running;

	stranded_unpark(c->task);
	if (c->fd >= 0)
		serve_by_hand(c);
	stranded_task_end(c->task);
	own_switch(&c->sp, back_sp);
}

static void resume_by_hand(struct coroutine *c)
{
	running = c;
	own_switch(&back_sp, c->sp);
}

static void make_by_hand(struct coroutine *c)
{
	void **top = (void **)(c->stack + STACK_BYTES);

	*--top = NULL;
	*--top = (void *)begin_by_hand;
	c->sp = top - 6;
	memset(c->sp, 0, 6 * sizeof(void *));
}

static void make_by_jumps(struct coroutine *c)
{
	ucontext_t uc;

	getcontext(&uc);
	uc.uc_stack.ss_sp = c->stack;
	uc.uc_stack.ss_size = STACK_BYTES;
	uc.uc_link = NULL;
	makecontext(&uc, (void (*)(void))begin_by_jumps, 2,
		    (unsigned)((uintptr_t)c >> 32), (unsigned)(uintptr_t)c);
	if (!_setjmp(back))
		setcontext(&uc);
}

static void make(struct coroutine *c, int by_hand, int fd)
{
	c->fd = fd;
	c->stack = malloc(STACK_BYTES);
	c->task = stranded_task_create(by_hand ? "by hand" : "by jumps",
				       by_hand ? begin_by_hand
					       : (void (*)(void))begin_by_jumps,
				       c->stack + STACK_BYTES);
	if (by_hand) {
		make_by_hand(c);
		resume_by_hand(c);
	} else {
		make_by_jumps(c);
	}
}

static long resident_kib(void)
{
	long pages = 0;
	FILE *f = fopen("/proc/self/statm", "r");

	if (!f || fscanf(f, "%*d %ld", &pages) != 1)
		abort();
	fclose(f);
	return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static void lines(int n)
{
	long before = resident_kib();

	for (int i = 0; i < n; i++) {
		struct stranded_task *t =
			stranded_task_create(NULL, NULL, NULL);

		stranded_unpark(t);
		stranded_park(t, STRANDED_CHAN_RECV, -1);
	}
	printf("{\"created\": %d, \"kib\": %ld}\n", n,
	       (resident_kib() - before));
}

int main(int argc, char **argv)
{
	if (argc > 2 && !strcmp(argv[1], "lines")) {
		lines(atoi(argv[2]));
	} else {
		int n = argc > 1 ? atoi(argv[1]) : 10;
		struct coroutine *all = calloc((size_t)n + 2, sizeof(*all));

		printf("{\"fds\": [");
		for (int i = 0; i < n; i++) {
			int s[2];

			if (socketpair(AF_UNIX, SOCK_STREAM, 0, s))
				return 1;
			make(&all[i], i % 2, s[0]);
			printf("%s%d", i ? ", " : "", s[0]);
		}
		for (int i = n; i < n + 2; i++)
			make(&all[i], i % 2, -1);
		/* once more, to where they stand for good */
		for (int i = 0; i < n; i++) {
			if (i % 2)
				resume_by_hand(&all[i]);
			else
				jump_to(&all[i]);
		}
		printf("], \"created\": %d, \"ended\": 2}\n", n + 2);
	}
	fflush(stdout);
	while (getchar() != EOF)
		;
	return 0;
}
