/* SPDX-License-Identifier: Apache-2.0 */

/*
 * usage: pths N
 *
 * N threads of GNU Pth in pth_recv(), one in pth_sleep(), and one that has
 * ended and is not joined. Prints {"fds", "created", "ended"}; without the
 * library's own scheduler, which the hook marks.
 */
#include <pth.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static void *wait_for_data(void *arg)
{
	char c;

	pth_recv((int)(long)arg, &c, 1, 0);
	return NULL;
}

static void *sleep_long(void *arg)
{
	pth_sleep(1000);
	return arg;
}

static void *end_at_once(void *arg)
{
	return arg;
}

int main(int argc, char **argv)
{
	int n = argc > 1 ? atoi(argv[1]) : 5;
	char line[64];

	pth_init();
	printf("{\"pid\": %d, \"fds\": [", (int)getpid());
	for (int i = 0; i < n; i++) {
		int s[2];

		if (socketpair(AF_UNIX, SOCK_STREAM, 0, s))
			return 1;
		printf("%s%d", i ? ", " : "", s[0]);
		pth_spawn(PTH_ATTR_DEFAULT, wait_for_data, (void *)(long)s[0]);
	}
	pth_spawn(PTH_ATTR_DEFAULT, sleep_long, NULL);
	pth_spawn(PTH_ATTR_DEFAULT, end_at_once, NULL);
	pth_yield(NULL);
	pth_yield(NULL);
	printf("], \"created\": %d, \"ended\": 1}\n", n + 2);
	fflush(stdout);
	while (pth_read(0, line, sizeof(line)) > 0)
		;
	return 0;
}
