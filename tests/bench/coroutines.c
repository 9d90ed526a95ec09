/* SPDX-License-Identifier: Apache-2.0 */

/**
 * How long it takes to read parked coroutines from outside:
 *
 *   coroutines table N ROUNDS     N lines of the table, no stacks
 *   coroutines stacks N ROUNDS    N coroutines of 12 frames, with their stacks
 *
 * Prints one line per round: milliseconds, how many, and the most memory that
 * the reader has had so far (KiB).
 */

#include <err.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "runtime-hooks/coroutine/coroutine.h"
#include "runtime-hooks/coroutine/include/stranded/hook.h"

#define STACK_BYTES (16 << 10)
#define DEPTH 10

void own_switch(void **save, void *to);
__asm__(".text\n.type own_switch, @function\nown_switch:\n"
	"push %rbp\npush %rbx\npush %r12\npush %r13\npush %r14\npush %r15\n"
	"mov %rsp, (%rdi)\nmov %rsi, %rsp\n"
	"pop %r15\npop %r14\npop %r13\npop %r12\npop %rbx\npop %rbp\n"
	"ret\n.size own_switch, . - own_switch\n");

static void *scheduler;
static struct stranded_task *running;

static __attribute__((noinline)) void wait_here(struct stranded_task *task)
{
	void *sp;

	stranded_park(task, STRANDED_READ, 3);
	own_switch(&sp, scheduler);
	stranded_unpark(task);
}

static __attribute__((noinline)) int deeper(int n)
{
	volatile int room[8] = { n };

	if (n)
		return deeper(n - 1) + room[0];
	wait_here(running);
	return room[0];
}

static void body(void)
{
	deeper(DEPTH);
	abort();
}

static void make(void)
{
	char *stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uintptr_t *top = (uintptr_t *)(stack + STACK_BYTES);

	if (stack == MAP_FAILED)
		err(1, "mmap");
	top[-2] = (uintptr_t)body;
	running = stranded_task_create(NULL, body, top);
	stranded_unpark(running);
	own_switch(&scheduler, top - 8);
}

static pid_t start(bool stacks, long n)
{
	int ready[2];
	pid_t pid;
	char c;

	if (pipe(ready))
		err(1, "pipe");
	pid = fork();
	if (pid < 0)
		err(1, "fork");
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (long i = 0; i < n; i++)
			if (stacks)
				make();
			else
				stranded_park(
					stranded_task_create(NULL, body, NULL),
					STRANDED_READ, (int)(i % 1000));
		if (write(ready[1], "x", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	if (read(ready[0], &c, 1) != 1)
		err(1, "the child has failed");
	close(ready[0]);
	close(ready[1]);
	return pid;
}

static struct error *measure(pid_t pid, bool stacks, long rounds)
{
	const struct runtime_options opt = { .stacks = stacks };
	struct process *p;
	struct rusage usage;
	void *ctx;
	struct error *e = process_open(pid, &p);

	if (!e)
		e = runtime_coroutine.attach(p, &ctx);
	for (long i = 0; !e && i < rounds; i++) {
		int64_t begin = clock_mono_ns();
		struct task_snapshot *snap;

		e = runtime_coroutine.snapshot(ctx, &opt, &snap);
		if (e)
			break;
		getrusage(RUSAGE_SELF, &usage);
		printf("%.3f %zu %ld\n", (clock_mono_ns() - begin) / 1e6,
		       snap->n, usage.ru_maxrss);
		for (size_t k = 0; stacks && k < snap->n; k++)
			if (!snap->tasks[k].stack ||
			    snap->tasks[k].stack->incomplete)
				errx(1, "a stack is missing");
		task_snapshot_destroy(snap);
	}
	return e;
}

int main(int argc, char **argv)
{
	struct error *e;
	bool stacks;
	pid_t pid;

	if (argc != 4)
		return 64;
	stacks = !strcmp(argv[1], "stacks");
	pid = start(stacks, atol(argv[2]));
	e = measure(pid, stacks, atol(argv[3]));
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	if (e)
		errx(1, "%s", error_text(e));
	return 0;
}
