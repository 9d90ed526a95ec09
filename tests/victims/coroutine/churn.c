/* SPDX-License-Identifier: Apache-2.0 */

/*
 * usage: churn N LIVES TRUTH
 *
 * N coroutines with a switch of their own, which tell the hook by
 * stranded/hook.h. Each has two places where it parks, in turn: a chain of
 * calls that the letters of a word name, and an fd. A line of the file TRUTH
 * says so before it is created:
 *
 *	NAME START FD CHAIN FD CHAIN
 *
 * so that name, fd and stack of a parked one must belong together whenever it
 * is looked at. At each resumption one of LIVES ends for another to begin; 0:
 * none ever does.
 *
 * Lines on standard input: "stop" makes it stand still and print for each of
 * its coroutines
 *
 *	NAME FD
 *
 * and "." at last; "go" lets it go on; "fork" makes a child that does nothing,
 * and prints its pid. It ends with its input.
 */
#include <err.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "stranded/hook.h"

#define STACK_BYTES (16 << 10)
#define FDS 512
#define NAMED __attribute__((noinline, noclone))
#define FRAME() __asm__ volatile("" ::: "memory") /* no tail call */

void own_switch(void **save, void *to);
__asm__(".text\n.type own_switch, @function\nown_switch:\n"
	"push %rbp\npush %rbx\npush %r12\npush %r13\npush %r14\npush %r15\n"
	"mov %rsp, (%rdi)\nmov %rsi, %rsp\n"
	"pop %r15\npop %r14\npop %r13\npop %r12\npop %rbx\npop %rbp\n"
	"ret\n.size own_switch, . - own_switch\n");

struct co {
	struct stranded_task *task;
	void *sp;
	char *stack;
	char name[24];
	int fd[2];
	char chain[2][8];
	uint32_t turn;
};

static struct co *running, *all;
static void *scheduler;
static int fds[FDS], truth;
static uint64_t serial, seed = 42;

static uint32_t any(uint32_t n)
{
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(seed >> 33) % n;
}

static NAMED void wait_here(struct co *c)
{
	stranded_park(c->task, STRANDED_READ, c->fd[c->turn & 1]);
	own_switch(&c->sp, scheduler);
	stranded_unpark(c->task);
	FRAME();
}

static void step(struct co *c, const char *chain);

#define DOWN(letter)                                                           \
	static NAMED void down_##letter(struct co *c, const char *chain)       \
	{                                                                      \
		volatile char room[16 + 64 * (#letter[0] - 'a')];              \
                                                                               \
		room[0] = *chain;                                              \
		step(c, chain + 1);                                            \
		room[1] = room[0];                                             \
		FRAME();                                                       \
	}
DOWN(a)
DOWN(b)
DOWN(c)
DOWN(d)

static NAMED void step(struct co *c, const char *chain)
{
	static void (*const down[])(
		struct co *, const char *) = { down_a, down_b, down_c, down_d };

	if (*chain)
		down[*chain - 'a'](c, chain);
	else
		wait_here(c);
	FRAME();
}

static NAMED void body(void)
{
	for (;;) {
		step(running, running->chain[running->turn & 1]);
		running->turn++;
	}
}

static void choose_chain(char chain[8])
{
	uint32_t n = 1 + any(6);

	memset(chain, 0, 8);
	for (uint32_t i = 0; i < n; i++)
		chain[i] = (char)('a' + any(4));
}

static void resume(struct co *c)
{
	running = c;
	own_switch(&scheduler, c->sp);
}

static void begin(struct co *c)
{
	char line[128];

	snprintf(c->name, sizeof(c->name), "co-%llu",
		 (unsigned long long)serial++);
	c->turn = 0;
	for (int i = 0; i < 2; i++) {
		c->fd[i] = fds[any(FDS / 2) * 2 + (uint32_t)i];
		choose_chain(c->chain[i]);
	}
	int n = snprintf(line, sizeof(line), "%s body %d %s %d %s\n", c->name,
			 c->fd[0], c->chain[0], c->fd[1], c->chain[1]);
	if (write(truth, line, (size_t)n) != n)
		err(1, "truth");
	uintptr_t *top = (uintptr_t *)(c->stack + STACK_BYTES);
	top[-1] = 0; /* where body would return to: the end */
	top[-2] = (uintptr_t)body;
	c->sp = top - 8;
	c->task = stranded_task_create(c->name, body, c->stack + STACK_BYTES);
	stranded_unpark(c->task);
	resume(c);
}

static void make(struct co *c)
{
	c->stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (c->stack == MAP_FAILED)
		err(1, "mmap");
	begin(c);
}

static void run_some(uint32_t n, uint32_t lives)
{
	for (int i = 0; i < 200; i++) {
		struct co *c = &all[any(n)];

		if (lives && !any(lives)) {
			stranded_task_end(c->task);
			begin(c);
		} else {
			resume(c);
		}
	}
}

static void tell(uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		printf("%s %d\n", all[i].name, all[i].fd[all[i].turn & 1]);
	printf(".\n");
	fflush(stdout);
}

static void make_child(void)
{
	pid_t pid = fork();

	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	printf("%d\n", (int)pid);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	uint32_t n = argc == 4 ? (uint32_t)atoi(argv[1]) : 0;
	struct pollfd in = { .fd = 0, .events = POLLIN };
	char line[16];
	int moves = 1;

	if (!n)
		return 64;
	truth = open(argv[3], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	all = calloc(n, sizeof(*all));
	if (truth < 0 || !all)
		err(1, "%s", argv[3]);
	stranded_tick();
	for (int i = 0; i < FDS; i++)
		fds[i] = eventfd(0, EFD_CLOEXEC);
	for (uint32_t i = 0; i < n; i++)
		make(&all[i]);
	printf("ready\n");
	fflush(stdout);
	for (;;) {
		if (poll(&in, 1, moves ? 1 : -1) > 0) {
			if (!fgets(line, sizeof(line), stdin))
				return 0;
			if (!strcmp(line, "fork\n"))
				make_child();
			else if (!strcmp(line, "stop\n"))
				tell(n);
			moves = !strcmp(line, "go\n");
		}
		stranded_tick();
		if (moves)
			run_some(n, (uint32_t)atoi(argv[2]));
	}
}
