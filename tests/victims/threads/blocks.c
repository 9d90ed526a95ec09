/* SPDX-License-Identifier: Apache-2.0 */

/*
 * usage: blocks [blind|vfork]
 *
 * One thread in each kind of call that blocks, named after it. Prints what is
 * true of them as one JSON line, {"name": {"tid", "call", "fds"}}; on "status",
 * which of them have come back, and with what error: nobody may. With "blind"
 * each calls through assembly that nothing describes, so that its stack cannot
 * be had to its end. With "vfork" one more sits in vfork(2), in state D, and
 * its child in pause(2).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/futex.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

struct kind {
	const char *name, *call;
	long (*block)(struct kind *kind);
	int fds[3], n_fds;
	/* a stop shows as EINTR in these (signal(7)) */
	bool interrupted;
	atomic_int tid, returned, error;
};

static void must(bool ok, const char *what)
{
	if (!ok) {
		perror(what);
		exit(1);
	}
}

/* An end of a TCP connection of ours on which nothing comes. */
static int quiet(void)
{
	struct sockaddr_in to = { .sin_family = AF_INET };
	socklen_t len = sizeof(to);
	int l = socket(AF_INET, SOCK_STREAM, 0);
	int c = socket(AF_INET, SOCK_STREAM, 0);

	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	must(!bind(l, (struct sockaddr *)&to, sizeof(to)) && !listen(l, 1) &&
		     !getsockname(l, (struct sockaddr *)&to, &len) &&
		     !connect(c, (struct sockaddr *)&to, sizeof(to)) &&
		     accept(l, NULL, NULL) >= 0,
	     "connection");
	close(l);
	return c;
}

static long in_read(struct kind *k)
{
	char c;

	return read(k->fds[0], &c, 1);
}

static long in_recv(struct kind *k)
{
	char c;

	return recv(k->fds[0], &c, 1, 0);
}

static long in_recvmsg(struct kind *k)
{
	char c;
	struct iovec iov = { &c, 1 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };

	return recvmsg(k->fds[0], &m, 0);
}

static long in_timed_recv(struct kind *k)
{
	struct timeval t = { .tv_sec = 3600 };
	char c;

	must(!setsockopt(k->fds[0], SOL_SOCKET, SO_RCVTIMEO, &t, sizeof(t)),
	     "SO_RCVTIMEO");
	return recv(k->fds[0], &c, 1, 0);
}

static long in_accept(struct kind *k)
{
	return accept(k->fds[0], NULL, NULL);
}

static long in_write(struct kind *k)
{
	static char buf[65536];

	while (write(k->fds[0], buf, sizeof(buf)) > 0)
		;
	return -1;
}

static long in_poll(struct kind *k)
{
	struct pollfd p[2] = { { k->fds[0], POLLIN, 0 },
			       { k->fds[1], POLLIN | POLLPRI, 0 } };

	return poll(p, 2, -1);
}

static long in_ppoll(struct kind *k)
{
	struct pollfd p = { k->fds[0], POLLIN, 0 };

	return ppoll(&p, 1, NULL, NULL);
}

static long in_select(struct kind *k)
{
	fd_set set;

	FD_ZERO(&set);
	FD_SET(k->fds[0], &set);
	FD_SET(k->fds[1], &set);
	return select(1024, &set, NULL, NULL, NULL);
}

static long in_epoll(struct kind *k)
{
	struct epoll_event e;

	return epoll_wait(k->fds[0], &e, 1, -1);
}

static long in_futex(struct kind *k)
{
	(void)k;
	static pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;

	pthread_mutex_lock(&m);
	return pthread_mutex_lock(&m);
}

static long in_sleep(struct kind *k)
{
	struct timespec t = { .tv_sec = 3600 };

	(void)k;
	return nanosleep(&t, NULL);
}

static long in_vfork(struct kind *k)
{
	(void)k;
	pid_t child = vfork();

	if (!child) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		pause();
		_exit(0);
	}
	return child;
}

/* An absolute time, as glibc's timed waits have it. */
static long in_timed_futex(struct kind *k)
{
	static pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
	static pthread_cond_t c = PTHREAD_COND_INITIALIZER;
	struct timespec t;

	(void)k;
	clock_gettime(CLOCK_REALTIME, &t);
	t.tv_sec += 3600;
	pthread_mutex_lock(&m);
	return pthread_cond_timedwait(&c, &m, &t);
}

static long in_pause(struct kind *k)
{
	(void)k;
	return pause();
}

static struct kind kinds[] = {
	{ .name = "read", .call = "read", .block = in_read },
	{ .name = "recv", .call = "recvfrom", .block = in_recv },
	{ .name = "recvmsg", .call = "recvmsg", .block = in_recvmsg },
	{ .name = "timedrecv",
	  .call = "recvfrom",
	  .block = in_timed_recv,
	  .interrupted = true },
	{ .name = "accept", .call = "accept", .block = in_accept },
	{ .name = "write", .call = "write", .block = in_write },
	{ .name = "poll", .call = "poll", .block = in_poll, .n_fds = 2 },
	{ .name = "ppoll", .call = "ppoll", .block = in_ppoll },
	{ .name = "select",
	  .call = "pselect6",
	  .block = in_select,
	  .n_fds = 2 },
	{ .name = "epoll",
	  .call = "epoll_wait",
	  .block = in_epoll,
	  .interrupted = true },
	{ .name = "futex", .call = "futex", .block = in_futex },
	{ .name = "sleep", .call = "clock_nanosleep", .block = in_sleep },
	{ .name = "timedfutex", .call = "futex", .block = in_timed_futex },
	{ .name = "pause", .call = "pause", .block = in_pause },
	{ .name = "vfork", .call = "vfork", .block = in_vfork },
};
static size_t n_kinds = sizeof(kinds) / sizeof(kinds[0]) - 1;

static void give_fds(struct kind *k)
{
	k->n_fds = k->n_fds ? k->n_fds : 1;
	for (int i = 0; i < k->n_fds; i++)
		k->fds[i] = quiet();
	if (k->block == in_accept) {
		k->fds[0] = socket(AF_INET, SOCK_STREAM, 0);
		must(!listen(k->fds[0], 1), "listen");
	}
	if (k->block == in_epoll) {
		struct epoll_event e = { .events = EPOLLIN };

		/* the epoll instance comes first, then what it watches */
		k->fds[1] = k->fds[0];
		k->fds[2] = quiet();
		k->fds[0] = epoll_create1(0);
		k->n_fds = 3;
		must(!epoll_ctl(k->fds[0], EPOLL_CTL_ADD, k->fds[1], &e) &&
			     !epoll_ctl(k->fds[0], EPOLL_CTL_ADD, k->fds[2],
					&e),
		     "epoll_ctl");
	}
	if (k->block == in_futex || k->block == in_sleep ||
	    k->block == in_pause || k->block == in_timed_futex ||
	    k->block == in_vfork)
		k->n_fds = 0;
}

/* No call frame information, and a frame of a size that is not in the code. */
long blind_call(struct kind *k, long (*f)(struct kind *k));
__asm__(".text\n.type blind_call, @function\nblind_call:\n"
	"push %r12\nmov %rsp, %r12\nsub $40, %rsp\nand $-64, %rsp\n"
	"call *%rsi\n"
	"mov %r12, %rsp\npop %r12\nret\n.size blind_call, . - blind_call\n");

static bool blind;

static __attribute__((noinline)) void stuck_in(struct kind *k)
{
	long ret = blind ? blind_call(k, k->block) : k->block(k);

	k->error = ret < 0 ? errno : 0;
	k->returned = 1;
}

static void *thread(void *arg)
{
	struct kind *k = arg;

	prctl(PR_SET_NAME, k->name);
	k->tid = (int)syscall(SYS_gettid);
	stuck_in(k);
	pause();
	return NULL;
}

static void say_truth(void)
{
	printf("{");
	for (size_t i = 0; i < n_kinds; i++) {
		const struct kind *k = &kinds[i];

		printf("%s\"%s\": {\"tid\": %d, \"call\": \"%s\", "
		       "\"interrupted\": %s, \"fds\": [",
		       i ? ", " : "", k->name, k->tid, k->call,
		       k->interrupted ? "true" : "false");
		for (int f = 0; f < k->n_fds; f++)
			printf("%s%d", f ? ", " : "", k->fds[f]);
		printf("]}");
	}
	printf("}\n");
	fflush(stdout);
}

int main(int argc, char **argv)
{
	char line[64];

	blind = argc > 1;
	n_kinds += argc > 1 && !strcmp(argv[1], "vfork");

	for (size_t i = 0; i < n_kinds; i++) {
		pthread_t t;

		give_fds(&kinds[i]);
		must(!pthread_create(&t, NULL, thread, &kinds[i]), "thread");
		while (!kinds[i].tid)
			usleep(1000);
	}
	/* on their way into the call */
	usleep(300000);
	say_truth();
	while (fgets(line, sizeof(line), stdin)) {
		bool first = true;

		printf("{");
		for (size_t i = 0; i < n_kinds; i++) {
			if (!kinds[i].returned)
				continue;
			printf("%s\"%s\": %d", first ? "" : ", ", kinds[i].name,
			       kinds[i].error);
			first = false;
		}
		printf("}\n");
		fflush(stdout);
	}
	return 0;
}
