/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_HOOKS_THREAD_SYSCALLS_H
#define RUNTIME_HOOKS_THREAD_SYSCALLS_H

/**
 * What a system call is to a task that sits in it. Numbers are those of the
 * machine that this is built for (asm/unistd.h), so a 32-bit process on a
 * 64-bit kernel must not be looked up here.
 */

#include "runtime-hooks/task.h"

enum syscall_set {
	SET_NONE,
	SET_POLL,    /* poll(fds, n, timeout in ms) */
	SET_PPOLL,   /* ppoll(fds, n, struct timespec *) */
	SET_SELECT,  /* select(n, r, w, x, struct timeval *) */
	SET_PSELECT, /* pselect6(n, r, w, x, struct timespec *) */
	SET_EPOLL,   /* epoll_wait(epfd, events, n, timeout in ms) */
	SET_EPOLL2,  /* epoll_pwait2(epfd, events, n, struct timespec *) */
	SET_FUTEX,   /* futex(word, op, value, struct timespec *) */
};

struct syscall_kind {
	long nr;
	const char *name;
	enum wait_kind wait;
	enum syscall_set set;
	bool fd; /* the first argument is the fd it waits on */
	/* A stop (ptrace) ends it with EINTR, though there is no handler
	 * (signal(7), "Interruption of system calls ... by stop signals"). */
	bool eintr;
	/* The same, where the socket has a time-out (SO_RCVTIMEO). */
	bool eintr_timeout;
};

/** NULL: not one that we know to wait for anything. */
const struct syscall_kind *syscall_kind(int64_t nr);

/** Bytes of code in front of the pc that syscall_restarted() looks at. */
#define SYSCALL_CODE 24

/**
 * Which call restart_syscall(2) goes on with, by the number that the code loads
 * right before the system call: `mov $nr,%eax ... syscall`. Only those that the
 * kernel restarts so: poll, nanosleep, clock_nanosleep, futex. x86-64.
 *
 * Returns: NULL when the code does not tell.
 */
const struct syscall_kind *syscall_restarted(const uint8_t code[SYSCALL_CODE]);

#endif
