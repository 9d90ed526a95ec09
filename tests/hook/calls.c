/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Every call that the hook stands in front of, where it fails and where it
 * would block: prints its result and errno. The same with the hook and without.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

ssize_t __read(int fd, void *buf, size_t n);
ssize_t __write(int fd, const void *buf, size_t n);
int __poll(struct pollfd *fds, nfds_t n, int timeout);
ssize_t __read_chk(int fd, void *buf, size_t n, size_t size);
ssize_t __recv_chk(int fd, void *buf, size_t n, size_t size, int flags);

#define SAY(call)                                                              \
	do {                                                                   \
		errno = 0;                                                     \
		long result = (long)(call);                                    \
		printf("%s = %ld, %s\n", #call, result, strerror(errno));      \
	} while (0)

static void ask(int fd)
{
	char buf[8] = "";
	struct iovec iov = { buf, sizeof(buf) };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct mmsghdr msgs = { .msg_hdr = msg };
	struct sockaddr_storage addr = { .ss_family = AF_UNIX };
	socklen_t len = sizeof(addr);

	SAY(read(fd, buf, sizeof(buf)));
	SAY(__read(fd, buf, sizeof(buf)));
	SAY(__read_chk(fd, buf, sizeof(buf), sizeof(buf)));
	SAY(readv(fd, &iov, 1));
	SAY(preadv(fd, &iov, 1, 0));
	SAY(preadv64(fd, &iov, 1, 0));
	SAY(preadv2(fd, &iov, 1, -1, 0));
	SAY(preadv64v2(fd, &iov, 1, -1, 0));
	SAY(recv(fd, buf, sizeof(buf), 0));
	SAY(__recv_chk(fd, buf, sizeof(buf), sizeof(buf), 0));
	SAY(recvfrom(fd, buf, sizeof(buf), 0, (struct sockaddr *)&addr, &len));
	SAY(recvmsg(fd, &msg, 0));
	SAY(recvmmsg(fd, &msgs, 1, 0, NULL));
	SAY(accept(fd, NULL, NULL));
	SAY(accept4(fd, NULL, NULL, SOCK_CLOEXEC));
	SAY(connect(fd, (struct sockaddr *)&addr, sizeof(addr)));
}

static void tell(int fd)
{
	static char much[1 << 20];
	struct iovec iov = { much, sizeof(much) };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct mmsghdr msgs = { .msg_hdr = msg };

	SAY(write(fd, much, sizeof(much)));
	SAY(write(fd, much, sizeof(much)));
	SAY(__write(fd, much, sizeof(much)));
	SAY(writev(fd, &iov, 1));
	SAY(send(fd, much, sizeof(much), MSG_NOSIGNAL));
	SAY(sendto(fd, much, sizeof(much), MSG_NOSIGNAL, NULL, 0));
	SAY(sendmsg(fd, &msg, MSG_NOSIGNAL));
	SAY(sendmmsg(fd, &msgs, 1, MSG_NOSIGNAL));
}

static void look(int fd, int n, int ms)
{
	struct timespec t = { 0, ms * 1000000L };
	struct timeval v = { 0, ms * 1000L };
	struct pollfd fds = { .fd = fd, .events = POLLIN };
	struct epoll_event event;
	fd_set set;

	SAY(poll(&fds, 1, ms));
	SAY(poll(NULL, 0, ms));
	SAY(__poll(&fds, 1, ms));
	SAY(ppoll(&fds, 1, &t, NULL));
	FD_ZERO(&set);
	if (fd >= 0)
		FD_SET(fd, &set);
	SAY(select(n, &set, NULL, NULL, &v));
	FD_ZERO(&set);
	if (fd >= 0)
		FD_SET(fd, &set);
	SAY(pselect(n, &set, NULL, NULL, &t, NULL));
	int epoll = fd < 0 ? -1 : epoll_create1(0);
	SAY(epoll_wait(epoll, &event, 1, ms));
	SAY(epoll_pwait(epoll, &event, 1, ms, NULL));
	SAY(epoll_pwait2(epoll, &event, 1, &t, NULL));
}

int main(void)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair))
		return 1;
	ask(-1);
	ask(pair[0]);
	tell(-1);
	tell(pair[1]);
	if (read(pair[0], &pair, 1) != 1)
		return 1;
	look(-1, -1, 0);
	look(0, 1, 0);
	look(pair[1], pair[1] + 1, 1);
	return 0;
}
