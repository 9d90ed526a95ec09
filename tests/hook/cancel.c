/* SPDX-License-Identifier: Apache-2.0 */

/* Threads that are cancelled while they wait, and say so as they unwind. */
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

static int fds[2], listener;

static void say(void *what)
{
	printf("%s: cancelled\n", (const char *)what);
}

static void wait_in(int how)
{
	struct pollfd p = { .fd = fds[0], .events = POLLIN };
	char c;

	if (how == 0)
		recv(fds[0], &c, 1, 0);
	else if (how == 1)
		poll(&p, 1, -1);
	else if (how == 2)
		accept(listener, NULL, NULL);
	else if (read(fds[0], &c, 1) == 1)
		puts("read something");
}

static void *body(void *arg)
{
	static const char *const names[] = { "recv", "poll", "accept", "read" };
	int how = (int)(long)arg;

	pthread_cleanup_push(say, (void *)names[how]);
	wait_in(how);
	pthread_cleanup_pop(0);
	return NULL;
}

int main(void)
{
	listener = socket(AF_INET, SOCK_STREAM, 0);
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds) || listen(listener, 1))
		return 1;
	for (long how = 0; how < 4; how++) {
		pthread_t thread;
		void *result;

		if (pthread_create(&thread, NULL, body, (void *)how))
			return 1;
		usleep(20000);
		pthread_cancel(thread);
		pthread_join(thread, &result);
		if (result != PTHREAD_CANCELED)
			return 1;
	}
	return 0;
}
