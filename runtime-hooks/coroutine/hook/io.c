/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The calls that a coroutine library makes before it parks: the file answers
 * that it would block, the library notes for whom, and switches. What is noted
 * here is the answer, in the slot of who asked; it is taken back by the next
 * call that gets another answer, and by the next switch to that coroutine. So
 * it stands only while the last thing before the park was this call.
 *
 * None of these allocates or changes errno, and each is a cancellation point
 * like the one that it stands for.
 */

#undef _FORTIFY_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "runtime-hooks/coroutine/hook/io.h"
#include "runtime-hooks/coroutine/hook/real.h"

#define EXPORT __attribute__((visibility("default")))

/* Exported by glibc for -D_FORTIFY_SOURCE; bits/unistd.h and others. */
ssize_t __read_chk(int fd, void *buf, size_t n, size_t size);
ssize_t __recv_chk(int fd, void *buf, size_t n, size_t size, int flags);
ssize_t __recvfrom_chk(int fd, void *buf, size_t n, size_t size, int flags,
		       __SOCKADDR_ARG addr, socklen_t *len);
int __poll_chk(struct pollfd *fds, nfds_t n, int timeout, size_t size);
int __ppoll_chk(struct pollfd *fds, nfds_t n, const struct timespec *timeout,
		const sigset_t *mask, size_t size);

static inline bool would_block(ssize_t result)
{
	return result < 0 &&
	       (errno == EAGAIN || errno == EINPROGRESS || errno == EALREADY);
}

/* One fd and its answer; @name, what it is called with, and with what. */
#define IO_CALL(type, name, op, params, args)                                  \
	EXPORT type name params                                                \
	{                                                                      \
		type result = REAL(name) args;                                 \
                                                                               \
		if (would_block(result))                                       \
			io_would_block(op, fd, IO_FRAME());                    \
		else                                                           \
			io_took(IO_FRAME());                                   \
		return result;                                                 \
	}

IO_CALL(ssize_t, read, STRANDED_READ, (int fd, void *buf, size_t n),
	(fd, buf, n))
IO_CALL(ssize_t, readv, STRANDED_READ, (int fd, const struct iovec *iov, int n),
	(fd, iov, n))
IO_CALL(ssize_t, preadv, STRANDED_READ,
	(int fd, const struct iovec *iov, int n, off_t at), (fd, iov, n, at))
IO_CALL(ssize_t, preadv64, STRANDED_READ,
	(int fd, const struct iovec *iov, int n, off64_t at), (fd, iov, n, at))
IO_CALL(ssize_t, preadv2, STRANDED_READ,
	(int fd, const struct iovec *iov, int n, off_t at, int flags),
	(fd, iov, n, at, flags))
IO_CALL(ssize_t, preadv64v2, STRANDED_READ,
	(int fd, const struct iovec *iov, int n, off64_t at, int flags),
	(fd, iov, n, at, flags))
IO_CALL(ssize_t, __read_chk, STRANDED_READ,
	(int fd, void *buf, size_t n, size_t size), (fd, buf, n, size))
IO_CALL(ssize_t, recv, STRANDED_READ, (int fd, void *buf, size_t n, int flags),
	(fd, buf, n, flags))
IO_CALL(ssize_t, __recv_chk, STRANDED_READ,
	(int fd, void *buf, size_t n, size_t size, int flags),
	(fd, buf, n, size, flags))
IO_CALL(ssize_t, recvfrom, STRANDED_READ,
	(int fd, void *buf, size_t n, int flags, __SOCKADDR_ARG addr,
	 socklen_t *len),
	(fd, buf, n, flags, addr, len))
IO_CALL(ssize_t, __recvfrom_chk, STRANDED_READ,
	(int fd, void *buf, size_t n, size_t size, int flags,
	 __SOCKADDR_ARG addr, socklen_t *len),
	(fd, buf, n, size, flags, addr, len))
IO_CALL(ssize_t, recvmsg, STRANDED_READ,
	(int fd, struct msghdr *msg, int flags), (fd, msg, flags))
IO_CALL(int, recvmmsg, STRANDED_READ,
	(int fd, struct mmsghdr *msgs, unsigned int n, int flags,
	 struct timespec *timeout),
	(fd, msgs, n, flags, timeout))
IO_CALL(ssize_t, write, STRANDED_WRITE, (int fd, const void *buf, size_t n),
	(fd, buf, n))
IO_CALL(ssize_t, writev, STRANDED_WRITE,
	(int fd, const struct iovec *iov, int n), (fd, iov, n))
IO_CALL(ssize_t, send, STRANDED_WRITE,
	(int fd, const void *buf, size_t n, int flags), (fd, buf, n, flags))
IO_CALL(ssize_t, sendto, STRANDED_WRITE,
	(int fd, const void *buf, size_t n, int flags,
	 __CONST_SOCKADDR_ARG addr, socklen_t len),
	(fd, buf, n, flags, addr, len))
IO_CALL(ssize_t, sendmsg, STRANDED_WRITE,
	(int fd, const struct msghdr *msg, int flags), (fd, msg, flags))
IO_CALL(int, sendmmsg, STRANDED_WRITE,
	(int fd, struct mmsghdr *msgs, unsigned int n, int flags),
	(fd, msgs, n, flags))
IO_CALL(int, accept, STRANDED_ACCEPT,
	(int fd, __SOCKADDR_ARG addr, socklen_t *len), (fd, addr, len))
IO_CALL(int, accept4, STRANDED_ACCEPT,
	(int fd, __SOCKADDR_ARG addr, socklen_t *len, int flags),
	(fd, addr, len, flags))
IO_CALL(int, connect, STRANDED_CONNECT,
	(int fd, __CONST_SOCKADDR_ARG addr, socklen_t len), (fd, addr, len))

EXPORT int close(int fd)
{
	io_closes(fd, IO_FRAME());
	return REAL(close)(fd);
}

/*
 * A look without waiting that found nothing, at one file: whoever looks so
 * parks next. One that waits holds up the thread itself, and /proc/TID/syscall
 * tells of that; one at many files is a scheduler's. Neither is an answer of
 * the file that a record stands for, and both leave it alone.
 */
static inline void looked(int fd, const struct io_frame *from)
{
	if (fd >= 0)
		io_would_block(STRANDED_POLL, fd, from);
}

/* The only file, when a call with these would not wait; else -1. */
static inline int polled(const struct pollfd *fds, nfds_t n, bool waits)
{
	return n == 1 && !waits ? fds[0].fd : -1;
}

static inline bool waits(const struct timespec *timeout)
{
	return !timeout || timeout->tv_sec || timeout->tv_nsec;
}

EXPORT int poll(struct pollfd *fds, nfds_t n, int timeout)
{
	int result = REAL(poll)(fds, n, timeout);

	if (!result)
		looked(polled(fds, n, timeout != 0), IO_FRAME());
	return result;
}

EXPORT int __poll_chk(struct pollfd *fds, nfds_t n, int timeout, size_t size)
{
	int result = REAL(__poll_chk)(fds, n, timeout, size);

	if (!result)
		looked(polled(fds, n, timeout != 0), IO_FRAME());
	return result;
}

EXPORT int ppoll(struct pollfd *fds, nfds_t n, const struct timespec *timeout,
		 const sigset_t *mask)
{
	int result = REAL(ppoll)(fds, n, timeout, mask);

	if (!result)
		looked(polled(fds, n, waits(timeout)), IO_FRAME());
	return result;
}

EXPORT int __ppoll_chk(struct pollfd *fds, nfds_t n,
		       const struct timespec *timeout, const sigset_t *mask,
		       size_t size)
{
	int result = REAL(__ppoll_chk)(fds, n, timeout, mask, size);

	if (!result)
		looked(polled(fds, n, waits(timeout)), IO_FRAME());
	return result;
}

/* Of a coroutine that looks at an epoll of its own; on a stack of which nothing
 * is known it is the library's loop. */
static inline void looked_at_all(int epoll, bool found_or_waits)
{
	if (!found_or_waits)
		hook_last_io(STRANDED_POLL, epoll);
}

EXPORT int epoll_wait(int fd, struct epoll_event *events, int n, int timeout)
{
	int result = REAL(epoll_wait)(fd, events, n, timeout);

	looked_at_all(fd, result || timeout);
	return result;
}

EXPORT int epoll_pwait(int fd, struct epoll_event *events, int n, int timeout,
		       const sigset_t *mask)
{
	int result = REAL(epoll_pwait)(fd, events, n, timeout, mask);

	looked_at_all(fd, result || timeout);
	return result;
}

EXPORT int epoll_pwait2(int fd, struct epoll_event *events, int n,
			const struct timespec *timeout, const sigset_t *mask)
{
	int result = REAL(epoll_pwait2)(fd, events, n, timeout, mask);

	looked_at_all(fd, result || waits(timeout));
	return result;
}

#define WORD_BITS (8 * (int)sizeof(fd_mask))

/*
 * The only file in the sets, or -1. Before the call: without a result it
 * leaves them empty. Sets may be longer than FD_SETSIZE; those are not looked
 * through.
 */
static int only_fd(int n, const fd_set *in, const fd_set *out,
		   const fd_set *exceptional)
{
	const fd_set *sets[] = { in, out, exceptional };
	int found = -1;

	if (n < 0 || n > FD_SETSIZE)
		return -1;
	for (int word = 0; word * WORD_BITS < n; word++) {
		unsigned long bits = 0;
		int left = n - word * WORD_BITS;

		for (int i = 0; i < 3; i++)
			if (sets[i])
				bits |= (unsigned long)__FDS_BITS(
					sets[i])[word];
		if (left < WORD_BITS)
			bits &= (1UL << left) - 1;
		if (!bits)
			continue;
		if (found >= 0 || (bits & (bits - 1)))
			return -1;
		found = word * WORD_BITS + __builtin_ctzl(bits);
	}
	return found;
}

EXPORT int select(int n, fd_set *in, fd_set *out, fd_set *exceptional,
		  struct timeval *timeout)
{
	bool looks = timeout && !timeout->tv_sec && !timeout->tv_usec;
	int fd = looks ? only_fd(n, in, out, exceptional) : -1;
	int result = REAL(select)(n, in, out, exceptional, timeout);

	if (!result)
		looked(fd, IO_FRAME());
	return result;
}

EXPORT int pselect(int n, fd_set *in, fd_set *out, fd_set *exceptional,
		   const struct timespec *timeout, const sigset_t *mask)
{
	int fd = waits(timeout) ? -1 : only_fd(n, in, out, exceptional);
	int result = REAL(pselect)(n, in, out, exceptional, timeout, mask);

	if (!result)
		looked(fd, IO_FRAME());
	return result;
}

/* The names that glibc and what was linked with it long ago use, too. */
#define IO_ALIAS(other, name)                                                  \
	EXPORT extern __typeof__(name) other __attribute__((alias(#name)));

IO_ALIAS(__read, read)
IO_ALIAS(__write, write)
IO_ALIAS(__connect, connect)
IO_ALIAS(__send, send)
IO_ALIAS(__poll, poll)
IO_ALIAS(__select, select)
