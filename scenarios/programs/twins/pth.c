/* SPDX-License-Identifier: Apache-2.0 */

/** Threads of GNU Pth: they block in pth_recv(3), the process in select(2). */

#include <err.h>
#include <pth.h>

#include "scenarios/programs/twins/twin.h"

/* Where it is stranded. */
static TWIN_NAMED void wait_reply(struct twin_conn *c)
{
	char buf[4096];
	ssize_t n;

	do {
		n = pth_recv(c->fd, buf, sizeof(buf), 0);
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
	pth_t v[TWIN_MAX];

	if (!pth_init())
		err(1, "pth_init");
	twin_open(argc, argv);
	twin_say_truth("wait_reply", "read", false);
	for (size_t i = 0; i < twin_n; i++) {
		pth_attr_t attr = pth_attr_new();

		pth_attr_set(attr, PTH_ATTR_NAME, twin_conns[i].task);
		v[i] = pth_spawn(attr, reader, &twin_conns[i]);
		if (!v[i])
			err(1, "pth_spawn");
		pth_attr_destroy(attr);
	}
	for (size_t i = 0; i < twin_n; i++)
		pth_join(v[i], NULL);
	pth_sleep(1 << 20);
}
