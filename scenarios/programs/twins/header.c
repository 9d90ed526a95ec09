/* SPDX-License-Identifier: Apache-2.0 */

/** Coroutines of a header-only library, which tells the hook by itself. */

#include <err.h>
#include <errno.h>
#include <sys/socket.h>

#include "scenarios/programs/twins/tinyco.h"
#include "scenarios/programs/twins/twin.h"

static TWIN_NAMED ssize_t co_recv(const struct twin_conn *c, char *buf,
				  size_t size)
{
	ssize_t n;

	while ((n = recv(c->fd, buf, size, 0)) < 0 && errno == EAGAIN)
		tinyco_wait(c->fd);
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
	struct tinyco *v[TWIN_MAX];

	twin_open(argc, argv);
	twin_nonblocking();
	twin_say_truth("wait_reply", "read", true);
	for (size_t i = 0; i < twin_n; i++) {
		v[i] = tinyco_create(twin_conns[i].task, reader,
				     &twin_conns[i]);
		if (!v[i])
			err(1, "tinyco_create");
		tinyco_resume(v[i]);
	}
	for (;;)
		tinyco_resume(v[twin_poll() - twin_conns]);
}
