/* SPDX-License-Identifier: Apache-2.0 */

/** All connections in one epoll set, as servers have them. */

#include <err.h>
#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "scenarios/programs/twins/twin.h"

static int set;

static void watch(struct twin_conn *c)
{
	struct epoll_event e = { .events = EPOLLIN | EPOLLRDHUP,
				 .data.ptr = c };

	if (epoll_ctl(set, EPOLL_CTL_ADD, c->fd, &e))
		err(1, "epoll_ctl");
}

static void on_readable(struct twin_conn *c)
{
	char buf[4096];
	ssize_t n = recv(c->fd, buf, sizeof(buf), 0);

	if (n > 0 || (n < 0 && errno == EAGAIN))
		return;
	epoll_ctl(set, EPOLL_CTL_DEL, c->fd, NULL);
	twin_returned(c, n);
}

/* Where all of them wait at once. */
static TWIN_NAMED void serve(void)
{
	struct epoll_event e[16];

	for (;;) {
		int n = epoll_wait(set, e, 16, -1);
		if (n < 0 && errno != EINTR)
			err(1, "epoll_wait");
		for (int i = 0; i < n; i++)
			on_readable(e[i].data.ptr);
	}
}

int main(int argc, char **argv)
{
	twin_open(argc, argv);
	twin_nonblocking();
	set = epoll_create1(EPOLL_CLOEXEC);
	if (set < 0)
		err(1, "epoll_create1");
	for (size_t i = 0; i < twin_n; i++)
		watch(&twin_conns[i]);
	twin_say_truth("serve", "epoll", false);
	serve();
}
