/* SPDX-License-Identifier: Apache-2.0 */

/**
 * A thread for each way to block, each in a function of its own name. Prints
 * one line of JSON that tells of each what the kernel and we should find, then
 * counts the calls that returned, which none should, and prints their number
 * for each line that it reads.
 */

#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define NAMED __attribute__((noinline, noclone))
#define KINDS(X)                                                               \
	X(read)                                                                \
	X(recv)                                                                \
	X(recv_timeout)                                                        \
	X(write)                                                               \
	X(accept)                                                              \
	X(poll)                                                                \
	X(poll_two)                                                            \
	X(ppoll)                                                               \
	X(select)                                                              \
	X(epoll)                                                               \
	X(futex)                                                               \
	X(sleep)

#define ENUM(name) KIND_##name,
enum { KINDS(ENUM) N_KINDS };

static int port, listener, other_listener, pipe_fds[2];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static atomic_int returned, interrupted;

/* What a thread has to say of itself. */
static struct truth {
	int fd, others[3], n_others;
	pid_t tid;
	atomic_bool ready;
} truths[N_KINDS];

static int dial(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET,
				 .sin_port = htons((uint16_t)port) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof(a)))
		err(1, "connect");
	return fd;
}

static void ready(int kind, int fd)
{
	truths[kind].fd = fd;
	truths[kind].tid = (pid_t)syscall(SYS_gettid);
	truths[kind].ready = true;
}

/* After a call that should not have returned. */
static void came_back(void)
{
	if (errno == EINTR)
		interrupted++;
	returned++;
}

static NAMED void in_read(void)
{
	char b[16];
	int fd = dial();

	ready(KIND_read, fd);
	while (read(fd, b, sizeof(b)) < 0)
		came_back();
}

static NAMED void in_recv(void)
{
	char b[16];
	int fd = dial();

	ready(KIND_recv, fd);
	while (recv(fd, b, sizeof(b), 0) < 0)
		came_back();
}

/* A stop ends this one with EINTR, though it is no signal of ours. */
static NAMED void in_recv_timeout(void)
{
	struct timeval tv = { .tv_sec = 3600 };
	char b[16];
	int fd = dial();

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	ready(KIND_recv_timeout, fd);
	while (recv(fd, b, sizeof(b), 0) < 0)
		came_back();
}

static NAMED void in_write(void)
{
	static char b[1 << 20];
	int fd = dial();

	ready(KIND_write, fd);
	while (write(fd, b, sizeof(b)) > 0)
		;
	came_back();
}

static NAMED void in_accept(void)
{
	ready(KIND_accept, other_listener);
	while (accept(other_listener, NULL, NULL) < 0)
		came_back();
}

static NAMED void in_poll(void)
{
	struct pollfd p = { .fd = dial(), .events = POLLIN };

	ready(KIND_poll, p.fd);
	while (poll(&p, 1, -1) < 0)
		came_back();
}

static NAMED void in_poll_two(void)
{
	struct pollfd p[3] = { { .fd = dial(), .events = POLLIN },
			       { .fd = -1, .events = POLLIN },
			       { .fd = dial(), .events = POLLIN } };

	truths[KIND_poll_two].others[0] = p[0].fd;
	truths[KIND_poll_two].others[1] = p[2].fd;
	truths[KIND_poll_two].n_others = 2;
	ready(KIND_poll_two, -1);
	while (poll(p, 3, -1) < 0)
		came_back();
}

static NAMED void in_ppoll(void)
{
	struct timespec ts = { .tv_sec = 7200 };
	struct pollfd p = { .fd = dial(), .events = POLLIN };

	ready(KIND_ppoll, p.fd);
	while (ppoll(&p, 1, &ts, NULL) < 0)
		came_back();
}

static NAMED void in_select(void)
{
	int fd = dial();
	fd_set set;

	ready(KIND_select, fd);
	for (;;) {
		FD_ZERO(&set);
		FD_SET(fd, &set);
		if (select(fd + 1, &set, NULL, NULL, NULL) >= 0)
			return;
		came_back();
	}
}

static NAMED void in_epoll(void)
{
	int epfd = epoll_create1(EPOLL_CLOEXEC);
	struct truth *t = &truths[KIND_epoll];
	struct epoll_event out;

	for (t->n_others = 0; t->n_others < 3; t->n_others++) {
		struct epoll_event e = { .events = EPOLLIN };

		t->others[t->n_others] = dial();
		epoll_ctl(epfd, EPOLL_CTL_ADD, t->others[t->n_others], &e);
	}
	ready(KIND_epoll, epfd);
	while (epoll_wait(epfd, &out, 1, -1) < 0)
		came_back();
}

static NAMED void in_futex(void)
{
	ready(KIND_futex, -1);
	pthread_mutex_lock(&lock);
	came_back();
}

static NAMED void in_sleep(void)
{
	ready(KIND_sleep, -1);
	while (sleep(100000))
		came_back();
}

#define START(name)                                                            \
	static void *start_##name(void *arg)                                   \
	{                                                                      \
		pthread_setname_np(pthread_self(), "in_" #name);               \
		in_##name();                                                   \
		return arg;                                                    \
	}
KINDS(START)

#define ROW(name) { "in_" #name, start_##name },
static const struct {
	const char *name;
	void *(*start)(void *);
} kinds[] = { KINDS(ROW) };

static int listen_somewhere(int *port_ret)
{
	struct sockaddr_in a = { .sin_family = AF_INET };
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) ||
	    listen(fd, 64) || getsockname(fd, (struct sockaddr *)&a, &len))
		err(1, "listen");
	*port_ret = ntohs(a.sin_port);
	return fd;
}

static void say_truth(void)
{
	printf("{\"pid\":%d,\"threads\":[", (int)getpid());
	for (int i = 0; i < N_KINDS; i++) {
		const struct truth *t = &truths[i];

		printf("%s{\"tid\":%d,\"function\":\"%s\",\"fd\":%d,\"fds\":[",
		       i ? "," : "", (int)t->tid, kinds[i].name, t->fd);
		for (int k = 0; k < t->n_others; k++)
			printf("%s%d", k ? "," : "", t->others[k]);
		printf("]}");
	}
	printf("]}\n");
	fflush(stdout);
}

int main(void)
{
	char line[64];
	int unused;

	listener = listen_somewhere(&port);
	other_listener = listen_somewhere(&unused);
	if (pipe(pipe_fds))
		err(1, "pipe");
	pthread_mutex_lock(&lock);
	for (int i = 0; i < N_KINDS; i++) {
		pthread_t t;

		if (pthread_create(&t, NULL, kinds[i].start, NULL))
			errx(1, "pthread_create");
		while (!truths[i].ready)
			usleep(1000);
	}
	usleep(200000);
	say_truth();
	while (fgets(line, sizeof(line), stdin)) {
		printf("{\"returned\":%d,\"interrupted\":%d}\n", returned,
		       interrupted);
		fflush(stdout);
	}
	return 0;
}
