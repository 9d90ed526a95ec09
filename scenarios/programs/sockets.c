/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A victim where no goroutine matters: one connection to the target, one to
 * its healthy twin, with the options that the arguments say; it waits for
 * either to end. What it knows, and the options that the kernel has at that
 * moment, it says as JSON lines, as scenarios/programs/victim does.
 *
 *	sockets --target ADDR:PORT --healthy ADDR:PORT
 *		[--keepalive IDLE,INTERVAL,COUNT] [--user-timeout MS]
 *
 * Commands on standard input: "options" says the options of the target again;
 * "write N" sends N bytes to it.
 */

#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <getopt.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_WRITE 65536

static int keep[3]; /* idle, interval, count; idle 0: off */
static int user_timeout_ms;
static const char *ends[2]; /* target, healthy */
static const char *const roles[2] = { "target", "healthy" };

static void set(int fd, int level, int name, int value)
{
	if (setsockopt(fd, level, name, &value, sizeof(value)))
		err(1, "setsockopt");
}

static int get(int fd, int level, int name)
{
	int value = 0;
	socklen_t len = sizeof(value);

	if (getsockopt(fd, level, name, &value, &len))
		err(1, "getsockopt");
	return value;
}

static int dial(const char *end)
{
	const struct addrinfo hints = { .ai_socktype = SOCK_STREAM,
					.ai_flags = AI_NUMERICHOST };
	char host[128];
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
	int fd = socket(ai->ai_family, SOCK_STREAM, 0);
	if (fd < 0 || connect(fd, ai->ai_addr, ai->ai_addrlen))
		err(1, "%s", end);
	freeaddrinfo(ai);
	return fd;
}

static void set_options(int fd)
{
	if (keep[0]) {
		set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
		set(fd, IPPROTO_TCP, TCP_KEEPIDLE, keep[0]);
		set(fd, IPPROTO_TCP, TCP_KEEPINTVL, keep[1]);
		set(fd, IPPROTO_TCP, TCP_KEEPCNT, keep[2]);
	}
	if (user_timeout_ms)
		set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, user_timeout_ms);
	set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
}

static void say_local(int fd)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	char host[64], port[16];

	if (getsockname(fd, (struct sockaddr *)&ss, &len) ||
	    getnameinfo((struct sockaddr *)&ss, len, host, sizeof(host), port,
			sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV))
		err(1, "getsockname");
	printf(ss.ss_family == AF_INET6 ? "\"[%s]:%s\"" : "\"%s:%s\"", host,
	       port);
}

static void say_options(int fd)
{
	printf("{\"reuseaddr\":%d,\"keepalive\":%d,\"keepidle\":%d,"
	       "\"keepintvl\":%d,\"keepcnt\":%d,\"user_timeout\":%d}",
	       get(fd, SOL_SOCKET, SO_REUSEADDR),
	       get(fd, SOL_SOCKET, SO_KEEPALIVE),
	       get(fd, IPPROTO_TCP, TCP_KEEPIDLE),
	       get(fd, IPPROTO_TCP, TCP_KEEPINTVL),
	       get(fd, IPPROTO_TCP, TCP_KEEPCNT),
	       get(fd, IPPROTO_TCP, TCP_USER_TIMEOUT));
}

static void say_truth(const int fds[2])
{
	printf("{\"pid\":%d,\"connections\":[", getpid());
	for (int i = 0; i < 2; i++) {
		printf("%s{\"role\":\"%s\",\"local\":", i ? "," : "", roles[i]);
		say_local(fds[i]);
		printf(",\"remote\":\"%s\",\"fd\":%d,\"goroutine\":null,"
		       "\"blocked\":\"none\"}",
		       ends[i], fds[i]);
	}
	printf("],\"options\":");
	say_options(fds[0]);
	printf("}\n");
	fflush(stdout);
}

static void command(int target, const char *line)
{
	static char zeros[MAX_WRITE];
	int n;

	if (!strncmp(line, "options", 7)) {
		printf("{\"event\":\"options\",\"options\":");
		say_options(target);
		printf("}\n");
	} else if (sscanf(line, "write %d", &n) == 1 && n > 0 &&
		   n <= MAX_WRITE) {
		if (send(target, zeros, (size_t)n, MSG_NOSIGNAL) < 0)
			warn("send");
		printf("{\"event\":\"written\"}\n");
	}
	fflush(stdout);
}

static const char *errno_word(int e)
{
	const char *name = strerrorname_np(e);

	return name ? name : "unknown";
}

static void on_readable(struct pollfd *p, const char *role)
{
	char buf[4096];
	ssize_t n = recv(p->fd, buf, sizeof(buf), MSG_DONTWAIT);

	if (n > 0 || (n < 0 && errno == EAGAIN))
		return;
	printf("{\"event\":\"returned\",\"role\":\"%s\",\"error\":\"%s\"}\n",
	       role, n ? errno_word(errno) : "EOF");
	fflush(stdout);
	p->fd = -1;
}

static void parse(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "target", required_argument, NULL, 't' },
		{ "healthy", required_argument, NULL, 'h' },
		{ "keepalive", required_argument, NULL, 'k' },
		{ "user-timeout", required_argument, NULL, 'u' },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (c == 't')
			ends[0] = optarg;
		else if (c == 'h')
			ends[1] = optarg;
		else if (c == 'u')
			user_timeout_ms = atoi(optarg);
		else if (c != 'k' || sscanf(optarg, "%d,%d,%d", &keep[0],
					    &keep[1], &keep[2]) != 3)
			exit(64);
	}
	if (!ends[0] || !ends[1])
		errx(64, "needs --target and --healthy");
}

int main(int argc, char **argv)
{
	int fds[2];

	parse(argc, argv);
	for (int i = 0; i < 2; i++) {
		fds[i] = dial(ends[i]);
		set_options(fds[i]);
	}
	say_truth(fds);
	struct pollfd p[3] = { { .fd = 0, .events = POLLIN },
			       { .fd = fds[0], .events = POLLIN },
			       { .fd = fds[1], .events = POLLIN } };
	for (;;) {
		char line[128];

		if (poll(p, 3, -1) < 0 && errno != EINTR)
			err(1, "poll");
		if (p[0].revents) {
			ssize_t n = read(0, line, sizeof(line) - 1);
			if (n <= 0)
				return 0;
			line[n] = '\0';
			command(fds[0], line);
		}
		for (int i = 1; i < 3; i++)
			if (p[i].revents)
				on_readable(&p[i], roles[i - 1]);
	}
}
