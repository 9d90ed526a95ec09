/* SPDX-License-Identifier: Apache-2.0 */

/*
 * usage: pcls N
 *
 * N coroutines of PCL that ask a socket and give way, and one that has ended.
 * Prints {"fds", "created", "ended"}.
 */
#include <pcl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static void wait_for_data(void *arg)
{
	char c;

	for (;;) {
		recv((int)(long)arg, &c, 1, MSG_DONTWAIT);
		co_resume();
	}
}

static void end_at_once(void *arg)
{
	(void)arg;
}

int main(int argc, char **argv)
{
	int n = argc > 1 ? atoi(argv[1]) : 5;

	co_thread_init();
	printf("{\"pid\": %d, \"fds\": [", (int)getpid());
	for (int i = 0; i < n; i++) {
		int s[2];

		if (socketpair(AF_UNIX, SOCK_STREAM, 0, s))
			return 1;
		printf("%s%d", i ? ", " : "", s[0]);
		co_call(co_create(wait_for_data, (void *)(long)s[0], NULL,
				  65536));
	}
	co_call(co_create(end_at_once, NULL, NULL, 65536));
	printf("], \"created\": %d, \"ended\": 1}\n", n + 1);
	fflush(stdout);
	while (getchar() != EOF)
		;
	return 0;
}
