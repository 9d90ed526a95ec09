/* SPDX-License-Identifier: Apache-2.0 */

/** A thread for each connection, which blocks in recv(2). */

#include <err.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include "scenarios/programs/twins/twin.h"

/* Where it is stranded. */
static TWIN_NAMED void wait_reply(struct twin_conn *c)
{
	char buf[4096];
	ssize_t n;

	do {
		n = recv(c->fd, buf, sizeof(buf), 0);
	} while (n > 0);
	twin_returned(c, n);
}

static void *reader(void *arg)
{
	wait_reply(arg);
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t thread;

	twin_open(argc, argv);
	for (size_t i = 0; i < twin_n; i++) {
		if (pthread_create(&thread, NULL, reader, &twin_conns[i]))
			errx(1, "pthread_create");
		pthread_setname_np(thread, twin_conns[i].task);
	}
	twin_say_truth("wait_reply", "read", true);
	for (;;)
		pause();
}
