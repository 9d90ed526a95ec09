/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The other end of a scenario's connections: accepts on a port of any IPv6
 * address, dual stack, or calls, and then does what its options say. It says
 * "ready" on its standard output once the port is open, or all calls are made.
 * It never closes a connection by itself.
 *
 *	--port N            7000
 *	--reply             answer each line with "ok"
 *	--http              answer each empty line with an HTTP response
 *	--keepalive SECONDS probe the other end when it was idle that long
 *	--trickle MS        send a byte that often
 *	--no-read           leave everything in the receive queue
 *	--half-close        on the first line: say goodbye, go on reading
 *	--connect ADDR      call instead of accepting
 *	--count N           so many calls (1)
 *	--say TEXT          send it on each connection made; \r and \n are known
 */

#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <getopt.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_CONNS 1024
/* Small, so that a writer stands still after little. */
#define NO_READ_BUFFER 16384

static const char http_reply[] = "HTTP/1.1 200 OK\r\n"
				 "Content-Length: 2\r\n\r\nok";

static struct {
	const char *port, *connect_to;
	char say[512];
	int count, keepalive_s, trickle_ms;
	bool reply, http, no_read, half_close;
} opt = { .port = "7000", .count = 1 };

static struct pollfd conns[MAX_CONNS + 1]; /* the first is the listener */
static size_t n_conns = 1;
static char last_byte[MAX_CONNS + 1]; /* of the line before, for --http */

static void set(int fd, int level, int name, int value)
{
	if (setsockopt(fd, level, name, &value, sizeof(value)))
		err(1, "setsockopt");
}

/* What cannot be sent is lost: the connection may well be dead. */
static void say(int fd, const char *text, size_t len)
{
	if (send(fd, text, len, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		warn("send");
}

static void add(int fd)
{
	if (n_conns > MAX_CONNS)
		errx(1, "more than %d connections", MAX_CONNS);
	if (opt.keepalive_s) {
		set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
		set(fd, IPPROTO_TCP, TCP_KEEPIDLE, opt.keepalive_s);
		set(fd, IPPROTO_TCP, TCP_KEEPINTVL, opt.keepalive_s);
	}
	if (*opt.say)
		say(fd, opt.say, strlen(opt.say));
	conns[n_conns++] = (struct pollfd){
		.fd = fd,
		.events = opt.no_read ? 0 : POLLIN,
	};
}

static void on_line(size_t i)
{
	if (opt.reply)
		say(conns[i].fd, "ok\n", 3);
	if (opt.half_close)
		shutdown(conns[i].fd, SHUT_WR);
}

static void on_byte(size_t i, char c)
{
	if (c == '\n' && last_byte[i] == '\n' && opt.http)
		say(conns[i].fd, http_reply, sizeof(http_reply) - 1);
	if (c == '\n')
		on_line(i);
	if (c != '\r')
		last_byte[i] = c;
}

static void on_readable(size_t i)
{
	char buf[4096];
	ssize_t n = recv(conns[i].fd, buf, sizeof(buf), MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		conns[i].fd = -1 - conns[i].fd; /* held, not looked at */
		return;
	}
	for (ssize_t k = 0; k < n; k++)
		on_byte(i, buf[k]);
}

static int listen_any(void)
{
	struct sockaddr_in6 any = {
		.sin6_family = AF_INET6,
		.sin6_port = htons((uint16_t)atoi(opt.port)),
	};
	int fd = socket(AF_INET6, SOCK_STREAM, 0);

	if (fd < 0)
		err(1, "socket");
	set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0);
	if (opt.no_read)
		set(fd, SOL_SOCKET, SO_RCVBUF, NO_READ_BUFFER);
	if (bind(fd, (struct sockaddr *)&any, sizeof(any)) || listen(fd, 1024))
		err(1, "port %s", opt.port);
	return fd;
}

static int call(void)
{
	const struct addrinfo hints = { .ai_socktype = SOCK_STREAM,
					.ai_flags = AI_NUMERICHOST };
	struct addrinfo *ai;
	int rc = getaddrinfo(opt.connect_to, opt.port, &hints, &ai);

	if (rc)
		errx(1, "%s: %s", opt.connect_to, gai_strerror(rc));
	int fd = socket(ai->ai_family, SOCK_STREAM, 0);
	if (fd < 0 || connect(fd, ai->ai_addr, ai->ai_addrlen))
		err(1, "%s port %s", opt.connect_to, opt.port);
	freeaddrinfo(ai);
	return fd;
}

/* "\r" and "\n" as they are written in a scenario's file. */
static void set_say(const char *arg)
{
	char *to = opt.say, *end = opt.say + sizeof(opt.say) - 1;

	for (; *arg && to < end; arg++) {
		char next = arg[0] == '\\' ? arg[1] : '\0';
		if (next == 'r' || next == 'n' || next == 's')
			arg++;
		*to++ = next == 'r'   ? '\r'
			: next == 'n' ? '\n'
			: next == 's' ? ' '
				      : *arg;
	}
	*to = '\0';
}

static const struct option longs[] = {
	{ "port", required_argument, NULL, 'p' },
	{ "reply", no_argument, NULL, 'r' },
	{ "http", no_argument, NULL, 'h' },
	{ "keepalive", required_argument, NULL, 'k' },
	{ "trickle", required_argument, NULL, 't' },
	{ "no-read", no_argument, NULL, 'n' },
	{ "half-close", no_argument, NULL, 'f' },
	{ "connect", required_argument, NULL, 'c' },
	{ "count", required_argument, NULL, 'i' },
	{ "say", required_argument, NULL, 's' },
	{ NULL, 0, NULL, 0 },
};

static void set_option(int c)
{
	switch (c) {
	case 'p':
		opt.port = optarg;
		break;
	case 'r':
		opt.reply = true;
		break;
	case 'h':
		opt.http = true;
		break;
	case 'k':
		opt.keepalive_s = atoi(optarg);
		break;
	case 't':
		opt.trickle_ms = atoi(optarg);
		break;
	case 'n':
		opt.no_read = true;
		break;
	case 'f':
		opt.half_close = true;
		break;
	case 'c':
		opt.connect_to = optarg;
		break;
	case 'i':
		opt.count = atoi(optarg);
		break;
	case 's':
		set_say(optarg);
		break;
	default:
		exit(64);
	}
}

static void serve(void)
{
	int rc = poll(conns, n_conns, opt.trickle_ms ? opt.trickle_ms : -1);

	if (rc < 0 && errno != EINTR)
		err(1, "poll");
	for (size_t i = 1; i < n_conns && opt.trickle_ms && !rc; i++)
		if (conns[i].fd >= 0)
			say(conns[i].fd, ".", 1);
	for (size_t i = 1; i < n_conns; i++)
		if (conns[i].revents & (POLLIN | POLLHUP | POLLERR))
			on_readable(i);
	if (conns[0].revents & POLLIN) {
		int fd = accept(conns[0].fd, NULL, NULL);
		if (fd >= 0)
			add(fd);
	}
}

int main(int argc, char **argv)
{
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1)
		set_option(c);
	conns[0] = (struct pollfd){ .fd = -1, .events = POLLIN };
	if (!opt.connect_to)
		conns[0].fd = listen_any();
	for (int i = 0; opt.connect_to && i < opt.count; i++)
		add(call());
	if (printf("ready\n") < 0 || fflush(stdout))
		err(1, "stdout");
	for (;;)
		serve();
}
