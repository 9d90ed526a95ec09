/* SPDX-License-Identifier: Apache-2.0 */

/**
 * Threads of the State Threads library, linked statically as servers do: no
 * switch of it can be hooked, its queues are read from outside.
 */

#include <err.h>
#include <st.h>

#include "scenarios/programs/twins/twin.h"

#define STACK_BYTES (64 << 10)

/* Where it is stranded. */
static TWIN_NAMED void wait_reply(struct twin_conn *c, st_netfd_t fd)
{
	char buf[4096];
	ssize_t n;

	do {
		n = st_read(fd, buf, sizeof(buf), ST_UTIME_NO_TIMEOUT);
	} while (n > 0);
	twin_returned(c, n);
}

static void *reader(void *arg)
{
	struct twin_conn *c = arg;
	st_netfd_t fd = st_netfd_open_socket(c->fd);

	if (!fd)
		err(1, "st_netfd_open_socket");
	wait_reply(c, fd);
	return NULL;
}

int main(int argc, char **argv)
{
	st_thread_t v[TWIN_MAX];

	if (st_init())
		err(1, "st_init");
	twin_open(argc, argv);
	twin_say_truth("wait_reply", "read", false);
	for (size_t i = 0; i < twin_n; i++) {
		v[i] = st_thread_create(reader, &twin_conns[i], 1, STACK_BYTES);
		if (!v[i])
			err(1, "st_thread_create");
	}
	for (size_t i = 0; i < twin_n; i++)
		st_thread_join(v[i], NULL);
	st_sleep(-1);
}
