/* SPDX-License-Identifier: Apache-2.0 */
#include "detector/waiting.h"

#include <poll.h>

/* So many time-outs without a byte, and the program does not mind them. */
#define REPEATED_TIMEOUTS 3

#define READ_EVENTS (POLLIN | POLLRDNORM | POLLPRI | POLLRDBAND | POLLRDHUP)
#define WRITE_EVENTS (POLLOUT | POLLWRNORM | POLLWRBAND)

const struct tcp_socket *waiting_socket(int fd, const struct process_fds *fds,
					const struct tcp_snapshot *sockets)
{
	const struct process_fd *f = fd >= 0 && fds ? process_fds_find(fds, fd)
						    : NULL;

	if (!f || f->kind != PROCESS_FD_SOCKET || !f->inode || !sockets)
		return NULL;
	return tcp_snapshot_find(sockets, f->inode);
}

/* poll, select and their kin. */
static struct waiting of_poll(const struct task *task,
			      const struct process_fds *fds,
			      const struct tcp_snapshot *sockets)
{
	struct waiting w = { .fd = -1, .wait = task->wait };
	bool loop = task->fds_cut;

	for (uint32_t i = 0; i < task->n_fds; i++) {
		const struct wait_fd *f = &task->fds[i];
		const struct tcp_socket *s =
			waiting_socket(f->fd, fds, sockets);

		if (!s) {
			w.others |= f->fd >= 0;
			continue;
		}
		loop |= s->first.state == TCP_STATE_LISTEN ||
			(w.socket && w.socket != s);
		w.socket = s;
		w.fd = f->fd;
		w.wait = (f->events & WRITE_EVENTS) &&
					 !(f->events & READ_EVENTS)
				 ? WAIT_WRITE
				 : WAIT_READ;
	}
	if (loop)
		return (struct waiting){ .fd = -1,
					 .wait = task->wait,
					 .loop = true };
	return w;
}

struct waiting waiting_of(const struct task *task,
			  const struct process_fds *fds,
			  const struct tcp_snapshot *sockets)
{
	if (task->wait == WAIT_EPOLL && task->fd_proof != FD_LAST_IO)
		return (struct waiting){ .fd = -1,
					 .wait = task->wait,
					 .loop = true };
	if (task->wait == WAIT_POLL && task->n_fds)
		return of_poll(task, fds, sockets);

	struct waiting w = {
		.socket = waiting_socket(task->fd, fds, sockets),
		.fd = task->fd,
		.wait = task->wait,
	};
	/* A library that polls for one fd, and the hook knows for which. */
	if (w.socket && (task->wait == WAIT_POLL || task->wait == WAIT_EPOLL))
		w.wait = WAIT_READ;
	return w;
}

static const struct deadline *own_deadline(const struct task *task,
					   enum wait_kind wait)
{
	return wait == WAIT_WRITE || wait == WAIT_CONNECT
		       ? &task->write_deadline
		       : &task->read_deadline;
}

/* The time-out of the call in milliseconds: -1 none, -2 not known. */
static int64_t timeout_of(const struct task *task, const struct waiting *w)
{
	const struct tcp_options *o = w->socket ? &w->socket->options : NULL;

	switch (task->wait) {
	case WAIT_POLL:
	case WAIT_EPOLL:
	case WAIT_IO_URING:
	case WAIT_FUTEX:
		return task->timeout_ms;
	case WAIT_READ:
	case WAIT_ACCEPT:
		if (!o || !o->known)
			return -2;
		return o->recv_timeout_ms ? (int64_t)o->recv_timeout_ms : -1;
	case WAIT_WRITE:
	case WAIT_CONNECT:
		if (!o || !o->known)
			return -2;
		return o->send_timeout_ms ? (int64_t)o->send_timeout_ms : -1;
	case WAIT_NONE:
	case WAIT_CHAN_SEND:
	case WAIT_CHAN_RECV:
	case WAIT_SELECT:
	case WAIT_FOREVER:
	case WAIT_MUTEX:
	case WAIT_RWMUTEX:
	case WAIT_WAITGROUP:
	case WAIT_COND:
	case WAIT_SEMAPHORE:
	case WAIT_SLEEP:
	case WAIT_SYSCALL:
	case WAIT_RUNTIME:
	case WAIT_OTHER:
		break;
	}
	return -2;
}

struct deadline waiting_deadline(const struct task *task,
				 const struct waiting *waiting,
				 int64_t now_mono_ns)
{
	const struct deadline *own = own_deadline(task, waiting->wait);
	struct deadline ret = { 0 };
	int64_t timeout;

	/* A coroutine's own, which no system call bounds. */
	if (task->fd_proof != FD_SYSCALL && task->wait != WAIT_POLL)
		return *own;
	timeout = timeout_of(task, waiting);
	if (timeout == -2)
		return *own;
	if (timeout < 0 && own->state == DEADLINE_UNKNOWN) {
		ret.state = DEADLINE_NONE;
		return ret;
	}
	if (timeout < 0)
		return *own;
	/* Far beyond an hour is none, and does not fit. */
	if (timeout > INT64_C(1000) * 86400 * 365)
		timeout = INT64_C(1000) * 86400 * 365;
	ret.state = DEADLINE_SET;
	ret.at_mono_ns = now_mono_ns + timeout * 1000000;
	return ret;
}

bool waiting_repeats(const struct task *task, const struct waiting *waiting,
		     bool again)
{
	int64_t timeout = timeout_of(task, waiting);
	const struct tcp_sample *s;

	if (timeout < 0 || !waiting->socket)
		return false;
	if (again)
		return true;
	s = tcp_socket_latest(waiting->socket);
	return (s->info.known & TCP_INFO_BASE) &&
	       s->info.last_data_recv_ms > REPEATED_TIMEOUTS * timeout + 1000 &&
	       s->info.last_data_sent_ms > REPEATED_TIMEOUTS * timeout + 1000;
}
