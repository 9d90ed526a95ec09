/* SPDX-License-Identifier: Apache-2.0 */

/* Nanoseconds per recv() that would block, and per read() that does not. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

int main(void)
{
	const int n = 300000;
	int pair[2], zero = open("/dev/zero", O_RDONLY);
	char c;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) || zero < 0)
		return 1;
	double begin = now();
	for (int i = 0; i < n; i++)
		if (recv(pair[0], &c, 1, MSG_DONTWAIT) >= 0)
			return 1;
	double middle = now();
	for (int i = 0; i < n; i++)
		if (read(zero, &c, 1) != 1)
			return 1;
	printf("%.1f %.1f\n", (middle - begin) / n, (now() - middle) / n);
	return 0;
}
