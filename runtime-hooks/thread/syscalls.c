/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime-hooks/thread/syscalls.h"

#include <string.h>
#include <sys/syscall.h>

#ifndef SYS_epoll_pwait2
#define SYS_epoll_pwait2 441
#endif
#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif

#define CALL(n, w) SYS_##n, #n, w
#define IO(n, w)                                                               \
	{                                                                      \
		CALL(n, w), .fd = true                                         \
	}
#define SOCKET_IO(n, w)                                                        \
	{                                                                      \
		CALL(n, w), .fd = true, .eintr_timeout = true                  \
	}

#define OTHER(n, w)                                                            \
	{                                                                      \
		CALL(n, w), .set = SET_NONE                                    \
	}

static const struct syscall_kind kinds[] = {
	SOCKET_IO(read, WAIT_READ),
	SOCKET_IO(readv, WAIT_READ),
	IO(pread64, WAIT_READ),
	IO(preadv, WAIT_READ),
	IO(preadv2, WAIT_READ),
	SOCKET_IO(recvfrom, WAIT_READ),
	SOCKET_IO(recvmsg, WAIT_READ),
	SOCKET_IO(recvmmsg, WAIT_READ),
	SOCKET_IO(write, WAIT_WRITE),
	SOCKET_IO(writev, WAIT_WRITE),
	IO(pwrite64, WAIT_WRITE),
	IO(pwritev, WAIT_WRITE),
	IO(pwritev2, WAIT_WRITE),
	SOCKET_IO(sendto, WAIT_WRITE),
	SOCKET_IO(sendmsg, WAIT_WRITE),
	SOCKET_IO(sendmmsg, WAIT_WRITE),
	IO(sendfile, WAIT_WRITE),
	SOCKET_IO(accept, WAIT_ACCEPT),
	SOCKET_IO(accept4, WAIT_ACCEPT),
	SOCKET_IO(connect, WAIT_CONNECT),
	{ CALL(ppoll, WAIT_POLL), .set = SET_PPOLL },
	{ CALL(pselect6, WAIT_POLL), .set = SET_PSELECT },
#ifdef SYS_poll
	{ CALL(poll, WAIT_POLL), .set = SET_POLL },
	{ CALL(select, WAIT_POLL), .set = SET_SELECT },
	{ CALL(epoll_wait, WAIT_EPOLL), .set = SET_EPOLL, .fd = true,
	  .eintr = true },
	OTHER(pause, WAIT_SYSCALL),
#endif
	{ CALL(epoll_pwait, WAIT_EPOLL), .set = SET_EPOLL, .fd = true,
	  .eintr = true },
	{ CALL(epoll_pwait2, WAIT_EPOLL), .set = SET_EPOLL2, .fd = true,
	  .eintr = true },
	{ CALL(io_uring_enter, WAIT_IO_URING), .fd = true, .eintr = true },
	{ CALL(futex, WAIT_FUTEX), .set = SET_FUTEX },
	OTHER(futex_waitv, WAIT_FUTEX),
	OTHER(splice, WAIT_SYSCALL), /* of which of its two files? */
	OTHER(nanosleep, WAIT_SLEEP),
	OTHER(clock_nanosleep, WAIT_SLEEP),
	OTHER(wait4, WAIT_SYSCALL),
	OTHER(waitid, WAIT_SYSCALL),
	OTHER(rt_sigsuspend, WAIT_SYSCALL),
	{ CALL(rt_sigtimedwait, WAIT_SYSCALL), .eintr = true },
	{ CALL(semop, WAIT_SYSCALL), .eintr = true },
	{ CALL(semtimedop, WAIT_SYSCALL), .eintr = true },
	OTHER(msgrcv, WAIT_SYSCALL),
	OTHER(msgsnd, WAIT_SYSCALL),
	OTHER(flock, WAIT_SYSCALL),
	OTHER(fcntl, WAIT_SYSCALL),
	OTHER(fsync, WAIT_SYSCALL),
	OTHER(fdatasync, WAIT_SYSCALL),
	{ CALL(io_getevents, WAIT_SYSCALL), .eintr = true },
	/* What it was is not told: a sleep, poll or futex with a time-out that
	 * a signal or stop interrupted. */
	OTHER(restart_syscall, WAIT_SYSCALL),
};

const struct syscall_kind *syscall_kind(int64_t nr)
{
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (kinds[i].nr == nr)
			return &kinds[i];
	return NULL;
}

const struct syscall_kind *syscall_restarted(const uint8_t code[SYSCALL_CODE])
{
#ifdef __x86_64__
	static const uint8_t syscall[] = { 0x0f, 0x05 };
	static const long restarted[] = { SYS_poll, SYS_nanosleep,
					  SYS_clock_nanosleep, SYS_futex };
	const size_t end = SYSCALL_CODE - sizeof(syscall);

	if (memcmp(code + end, syscall, sizeof(syscall)) != 0)
		return NULL;
	/* The last one that loads eax counts. */
	for (size_t i = end - 4; i-- > 0;) {
		int32_t nr;

		if (code[i] != 0xb8)
			continue;
		memcpy(&nr, code + i + 1, sizeof(nr));
		for (size_t k = 0; k < sizeof(restarted) / sizeof(restarted[0]);
		     k++)
			if (restarted[k] == nr)
				return syscall_kind(nr);
	}
#else
	(void)code;
#endif
	return NULL;
}
