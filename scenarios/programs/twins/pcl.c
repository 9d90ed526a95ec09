/* SPDX-License-Identifier: Apache-2.0 */

/** Coroutines of Davide Libenzi's PCL, which switches by ucontext. */

#include <err.h>
#include <errno.h>
#include <pcl.h>
#include <sys/socket.h>

#include "scenarios/programs/twins/twin.h"

#define STACK_BYTES (64 << 10)

static TWIN_NAMED ssize_t co_recv(const struct twin_conn *c, char *buf,
				  size_t size)
{
	ssize_t n;

	while ((n = recv(c->fd, buf, size, 0)) < 0 && errno == EAGAIN)
		co_resume();
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

static void reader(void *arg)
{
	wait_reply(arg);
}

int main(int argc, char **argv)
{
	coroutine_t v[TWIN_MAX];

	if (co_thread_init())
		errx(1, "co_thread_init");
	twin_open(argc, argv);
	twin_nonblocking();
	twin_say_truth("wait_reply", "read", false);
	for (size_t i = 0; i < twin_n; i++) {
		v[i] = co_create(reader, &twin_conns[i], NULL, STACK_BYTES);
		if (!v[i])
			errx(1, "co_create");
		co_call(v[i]);
	}
	for (;;)
		co_call(v[twin_poll() - twin_conns]);
}
