/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DETECTOR_WAITING_H
#define DETECTOR_WAITING_H

/**
 * On which connection does a task wait, and in which way? Simple for a read;
 * a poll or select with one connection in its set is a read (or write) of it;
 * with several, or with a listener, and for every epoll set, it is an event
 * loop: no wait for one connection, but one that holds all of them. Pure.
 */

#include "base/process.h"
#include "netwatch/socket.h"
#include "runtime-hooks/task.h"

struct waiting {
	const struct tcp_socket *socket; /* NULL: none, not TCP, not seen */
	int fd;				 /* that of the socket; -1 none */
	/* What it amounts to: WAIT_READ or WAIT_WRITE of a poll, else the
	 * task's own. */
	enum wait_kind wait;
	bool others; /* of a poll: something else may wake it, too */
	bool loop;   /* an event loop: socket is NULL, see task.fds */
};

struct waiting waiting_of(const struct task *task,
			  const struct process_fds *fds,
			  const struct tcp_snapshot *sockets);

/** The connection that @fd is; NULL: not TCP, or not seen. */
const struct tcp_socket *waiting_socket(int fd, const struct process_fds *fds,
					const struct tcp_snapshot *sockets);

/**
 * When the call returns by itself, at the latest: the task's own deadline, the
 * time-out of a poll, or SO_RCVTIMEO and SO_SNDTIMEO (socket(7)) of a socket
 * that a thread blocks on. A call that began at an unknown time ends no later
 * than its time-out from @now_mono_ns on.
 */
struct deadline waiting_deadline(const struct task *task,
				 const struct waiting *waiting,
				 int64_t now_mono_ns);

/**
 * Has the program made this call, with its time-out, again and again, while
 * nothing was sent or received? Then the time-out ends nothing.
 *
 * @param again it ran between two looks, and was found in the same call.
 */
bool waiting_repeats(const struct task *task, const struct waiting *waiting,
		     bool again);

#endif
