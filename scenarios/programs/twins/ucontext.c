/* SPDX-License-Identifier: Apache-2.0 */

/** Coroutines on makecontext(3): a scheduler of thirty lines, as many have. */

#include <err.h>
#include <errno.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <ucontext.h>
#include <unistd.h>

#include "scenarios/programs/twins/twin.h"

#define STACK_BYTES (64 << 10)

static ucontext_t scheduler, contexts[TWIN_MAX];

static TWIN_NAMED ssize_t co_recv(const struct twin_conn *c, char *buf,
				  size_t size)
{
	ssize_t n;

	while ((n = recv(c->fd, buf, size, 0)) < 0 && errno == EAGAIN)
		if (swapcontext(&contexts[c - twin_conns], &scheduler))
			err(1, "swapcontext");
	return n;
}

/* Where it is stranded. */
static TWIN_NAMED void wait_reply(struct twin_conn *c)
{
	char buf[4096];
	ssize_t n;

	do {
		n = co_recv(c, buf, sizeof(buf));
	} while (n > 0);
	twin_returned(c, n);
}

static void reader(int i)
{
	wait_reply(&twin_conns[i]);
}

static void start(int i)
{
	ucontext_t *u = &contexts[i];

	if (getcontext(u))
		err(1, "getcontext");
	u->uc_stack.ss_size = STACK_BYTES;
	u->uc_stack.ss_sp = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (u->uc_stack.ss_sp == MAP_FAILED)
		err(1, "mmap");
	u->uc_link = &scheduler;
	makecontext(u, (void (*)(void))reader, 1, i);
	if (swapcontext(&scheduler, u))
		err(1, "swapcontext");
}

int main(int argc, char **argv)
{
	twin_open(argc, argv);
	twin_nonblocking();
	twin_say_truth("wait_reply", "read", false);
	for (size_t i = 0; i < twin_n; i++)
		start((int)i);
	for (;;)
		if (swapcontext(&scheduler,
				&contexts[twin_poll() - twin_conns]))
			err(1, "swapcontext");
}
