/* SPDX-License-Identifier: Apache-2.0 */

/** All connections in one poll(2) without a time-out. */

#include <errno.h>
#include <sys/socket.h>

#include "scenarios/programs/twins/twin.h"

static void on_readable(struct twin_conn *c)
{
	char buf[4096];
	ssize_t n = recv(c->fd, buf, sizeof(buf), 0);

	if (n == 0 || (n < 0 && errno != EAGAIN))
		twin_returned(c, n);
}

int main(int argc, char **argv)
{
	twin_open(argc, argv);
	twin_nonblocking();
	twin_say_truth("twin_poll", "poll", false);
	for (;;)
		on_readable(twin_poll());
}
