/* SPDX-License-Identifier: Apache-2.0 */

/*
 * usage: ownswitch N
 *
 * N coroutines with a switch of their own, in assembly, on stacks that mmap()
 * gave: nothing that could be hooked. Each asks its socket once and gives way.
 * Prints the fds. After a line of input every socket but the first is written
 * to, and all ask again, upon which only the first still waits; after another
 * it closes its socket, and after the last all stacks are unmapped.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define STACK_BYTES (64 * 1024)

void own_switch(void **save, void *to);
__asm__(".text\n.type own_switch, @function\nown_switch:\n"
	"push %rbp\npush %rbx\npush %r12\npush %r13\npush %r14\npush %r15\n"
	"mov %rsp, (%rdi)\nmov %rsi, %rsp\n"
	"pop %r15\npop %r14\npop %r13\npop %r12\npop %rbx\npop %rbp\n"
	"ret\n.size own_switch, . - own_switch\n");

struct coroutine {
	char *stack;
	void *sp;
	int fd, peer;
	int closes;
};

static struct coroutine *running;
static void *scheduler;

static void give_way(void)
{
	own_switch(&running->sp, scheduler);
}

static __attribute__((noinline)) int ask(int fd)
{
	char c;
	int got = (int)recv(fd, &c, 1, MSG_DONTWAIT);

	if (got < 0 && errno != EAGAIN)
		abort();
	return got;
}

static void body(void)
{
	for (;;) {
		if (running->closes)
			close(running->fd);
		else
			ask(running->fd);
		give_way();
	}
}

static void resume(struct coroutine *c)
{
	running = c;
	own_switch(&scheduler, c->sp);
}

static void make(struct coroutine *c)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
		exit(1);
	c->fd = pair[0];
	c->peer = pair[1];
	c->stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (c->stack == MAP_FAILED)
		exit(1);
	uintptr_t *top = (uintptr_t *)(c->stack + STACK_BYTES) - 2;
	*top = (uintptr_t)body;
	c->sp = top - 6;
}

static void next(void)
{
	int c;

	fflush(stdout);
	do {
		c = getchar();
		if (c == EOF)
			exit(1);
	} while (c != '\n');
}

int main(int argc, char **argv)
{
	int n = argc > 1 ? atoi(argv[1]) : 10;
	struct coroutine *all = calloc((size_t)n, sizeof(*all));

	printf("[");
	for (int i = 0; i < n; i++) {
		make(&all[i]);
		resume(&all[i]);
		printf("%s%d", i ? ", " : "", all[i].fd);
	}
	printf("]\n");
	next();
	for (int i = 0; i < n; i++) {
		if (i && send(all[i].peer, "x", 1, 0) != 1)
			return 1;
		resume(&all[i]);
	}
	printf("\"asked again\"\n");
	next();
	all[0].closes = 1;
	resume(&all[0]);
	printf("\"closed\"\n");
	next();
	for (int i = 0; i < n; i++)
		munmap(all[i].stack, STACK_BYTES);
	printf("\"gone\"\n");
	next();
	return 0;
}
