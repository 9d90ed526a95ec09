/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DETECTOR_GATE_CATCH_H
#define DETECTOR_GATE_CATCH_H

/**
 * Catching every process below a command just before it exits.
 *
 * The command is started under a seccomp filter that asks us about exit_group
 * and allows all else (seccomp(2), seccomp_unotify(2)). The filter is inherited
 * by every descendant through fork and execve, and all of them report to one
 * listener. The thread that calls exit_group sleeps in the kernel until it is
 * answered, the other threads run on. Nothing is traced, and the only answer
 * that is ever given is to carry on.
 *
 * SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (Linux 5.19) is required: without it
 * each of the signals by which Go preempts breaks the wait off.
 *
 * Not caught: deaths by signal, and threads that end by exit (not exit_group).
 */

#include <linux/seccomp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

/** A command that runs under the filter. */
struct catch
{
	pid_t pid;	   /* our child */
	int listener;	   /* close-on-exec */
	bool no_new_privs; /* setuid programs below it gain nothing */
	int exec_errno;	   /* it could not be run: why; 0: it runs */
	int to_child;	   /* where it waits, until catch_release(); or -1 */
};

/**
 * Fork who will be @argv (found as execvp(3) does), under the filter, with the
 * signal mask @mask and the limits that we were started with. It waits for
 * catch_release(), and is killed when we end before. To be called while no
 * other thread runs.
 *
 * Fails: ERROR_UNSUPPORTED (kernel, or a listener is installed already above us),
 * ERROR_DENIED, ERROR_OS; the text has the remedy.
 */
struct error *catch_start(const char *const *argv, const sigset_t *mask,
			  struct catch *ret);

/**
 * Now that whoever may have to answer for us is there, let the command begin.
 * One that cannot be run is no failure: see exec_errno. Closes to_child.
 */
void catch_release(struct catch *c);

/** Someone who wants to exit. */
struct catch_exit {
	uint64_t id;	/* of the notification */
	pid_t tid;	/* the thread that called; 0: in a pid namespace that
			   is not below ours */
	uint8_t status; /* what the process exits with */
};

/** A notification as the kernel writes it; a newer one's may be longer. */
union catch_notice {
	struct seccomp_notif n;
	char room[512];
};

/**
 * Take one notification. The kernel itself writes it to @notice, so that one
 * who shares that memory knows of it even if we are killed before the call has
 * returned. Returns: 0; -EAGAIN (who asked is gone meanwhile, or a signal
 * came), or another -errno.
 */
int catch_next(int listener, union catch_notice *notice, struct catch_exit *ret)
	__attribute__((warn_unused_result));

/** Is @id still waiting: does its thread id still mean the same thread? */
bool catch_valid(int listener, uint64_t id);

/** Let it exit. Who is gone meanwhile needs no answer. */
void catch_let_go(int listener, uint64_t id);

/** What /proc/TID/status says of a thread that wants to exit. */
struct catch_thread {
	pid_t pid;    /* its process */
	pid_t ns_tid; /* its id in its own pid namespace, as it knows it */
	int threads;  /* of the process */
};

/** Returns: false when it is gone. */
bool catch_thread(pid_t tid, struct catch_thread *ret);

#endif
