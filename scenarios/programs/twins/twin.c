/* SPDX-License-Identifier: Apache-2.0 */
#include "scenarios/programs/twins/twin.h"

#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define REQUEST_BYTES 64

struct twin_conn twin_conns[TWIN_MAX];
size_t twin_n;
static bool no_names;

static int dial(const char *end)
{
	const struct addrinfo hints = { .ai_socktype = SOCK_STREAM,
					.ai_flags = AI_NUMERICHOST };
	char host[128], request[REQUEST_BYTES];
	struct addrinfo *ai;
	const char *colon = strrchr(end, ':');

	if (!colon || (size_t)(colon - end) >= sizeof(host))
		errx(64, "'%s' is no ADDR:PORT", end);
	int skip = *end == '[';
	snprintf(host, sizeof(host), "%.*s", (int)(colon - end) - 2 * skip,
		 end + skip);
	int rc = getaddrinfo(host, colon + 1, &hints, &ai);
	if (rc)
		errx(1, "%s: %s", end, gai_strerror(rc));
	int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, ai->ai_addr, ai->ai_addrlen))
		err(1, "%s", end);
	freeaddrinfo(ai);
	memset(request, 'x', sizeof(request) - 1);
	request[sizeof(request) - 1] = '\n';
	if (send(fd, request, sizeof(request), MSG_NOSIGNAL) < 0)
		err(1, "send to %s", end);
	return fd;
}

void twin_open(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "target", required_argument, NULL, 't' },
		{ "healthy", required_argument, NULL, 'h' },
		{ "n", required_argument, NULL, 'n' },
		{ "no-names", no_argument, NULL, 'x' },
		{ NULL, 0, NULL, 0 },
	};
	static const char *const roles[2] = { "target", "healthy" };
	const char *ends[2] = { NULL, NULL };
	int c, n = 1;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (c == 't' || c == 'h')
			ends[c == 'h'] = optarg;
		else if (c == 'n')
			n = atoi(optarg);
		else if (c == 'x')
			no_names = true;
		else
			exit(64);
	}
	if (!ends[0] || !ends[1] || n < 1 || 2 * n > TWIN_MAX)
		errx(64, "needs --target and --healthy, and --n up to %d",
		     TWIN_MAX / 2);
	for (twin_n = 0; twin_n < 2 * (size_t)n; twin_n++) {
		struct twin_conn *conn = &twin_conns[twin_n];

		conn->role = roles[twin_n % 2];
		conn->fd = dial(ends[twin_n % 2]);
		snprintf(conn->task, sizeof(conn->task), "%s-%d", conn->role,
			 (int)(twin_n / 2));
	}
}

void twin_nonblocking(void)
{
	for (size_t i = 0; i < twin_n; i++)
		if (fcntl(twin_conns[i].fd, F_SETFL, O_NONBLOCK))
			err(1, "fcntl");
}

static void say_end(const char *key, const struct sockaddr_storage *ss,
		    socklen_t len)
{
	char host[NI_MAXHOST], port[NI_MAXSERV];
	bool v6 = ss->ss_family == AF_INET6;

	if (getnameinfo((const struct sockaddr *)ss, len, host, sizeof(host),
			port, sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV))
		errx(1, "getnameinfo");
	printf(",\"%s\":\"%s%s%s:%s\"", key, v6 ? "[" : "", host, v6 ? "]" : "",
	       port);
}

static void say_conn(const struct twin_conn *c)
{
	struct sockaddr_storage ss = { 0 };
	socklen_t len = sizeof(ss);

	printf("{\"role\":\"%s\",\"fd\":%d", c->role, c->fd);
	if (getsockname(c->fd, (struct sockaddr *)&ss, &len))
		err(1, "getsockname");
	say_end("local", &ss, len);
	len = sizeof(ss);
	if (getpeername(c->fd, (struct sockaddr *)&ss, &len))
		err(1, "getpeername");
	say_end("remote", &ss, len);
}

void twin_say_truth(const char *function, const char *blocked, bool named)
{
	printf("{\"pid\":%d,\"connections\":[", getpid());
	for (size_t i = 0; i < twin_n; i++) {
		printf("%s", i ? "," : "");
		say_conn(&twin_conns[i]);
		if (named)
			printf(",\"task\":\"%s\"", twin_conns[i].task);
		printf(",\"function\":\"%s\",\"blocked\":\"%s\"}",
		       no_names ? "" : function, blocked);
	}
	printf("]}\n");
	fflush(stdout);
}

void twin_returned(struct twin_conn *c, ssize_t n)
{
	const char *name = n ? strerrorname_np(errno) : "EOF";

	// One write: victims have several threads.
	printf("{\"event\":\"returned\",\"role\":\"%s\",\"error\":\"%s\"}\n",
	       c->role, name ? name : "unknown");
	fflush(stdout);
	c->fd = -1;
}

struct twin_conn *twin_poll(void)
{
	struct pollfd p[TWIN_MAX];

	for (;;) {
		for (size_t i = 0; i < twin_n; i++)
			p[i] = (struct pollfd){ .fd = twin_conns[i].fd,
						.events = POLLIN };
		if (poll(p, twin_n, -1) < 0 && errno != EINTR)
			err(1, "poll");
		for (size_t i = 0; i < twin_n; i++)
			if (p[i].revents)
				return &twin_conns[i];
	}
}
