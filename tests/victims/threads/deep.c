/* SPDX-License-Identifier: Apache-2.0 */

/* usage: deep N    N threads, each 17 frames deep in recv(). Says "ready". */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static int quiet[2];

static __attribute__((noinline)) long deeper(int n)
{
	char c;

	if (!n)
		return recv(quiet[0], &c, 1, 0);
	return deeper(n - 1) + n;
}

static void *thread(void *arg)
{
	return (void *)deeper((int)(long)arg);
}

int main(int argc, char **argv)
{
	int n = argc > 1 ? atoi(argv[1]) : 1;
	pthread_attr_t attr;
	pthread_t t;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, quiet))
		return 1;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 64 * 1024);
	for (int i = 0; i < n; i++)
		if (pthread_create(&t, &attr, thread, (void *)14L))
			return 1;
	usleep(300000);
	puts("ready");
	fflush(stdout);
	return getchar() == EOF ? 0 : 1;
}
