/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime-hooks/go/wait.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

/* Words of a stack's top that are looked through when no frame says more. */
#define SEARCH_BYTES 1024
#define SEARCH_MAX 4096 /* frame sizes are the target's words too */
#define POLL_BYTES 512

static bool on_stack(const struct go_wait_on *on, raddr_t addr)
{
	return addr >= on->view->sp && addr < on->view->hi;
}

struct poll_record {
	int fd;
	bool writes;
	struct deadline read, write;
};

static bool decode_poll(const struct go_layout *l, raddr_t g, const uint8_t *b,
			size_t len, struct poll_record *ret)
{
	uint64_t fd = go_word(b + l->poll_fd);

	ret->writes = go_word(b + l->poll_wg) == g;
	if (!ret->writes && go_word(b + l->poll_rg) != g)
		return false;
	if (fd > INT_MAX)
		return false;
	ret->fd = (int)fd;
	ret->read = ret->write = (struct deadline){ DEADLINE_UNKNOWN, 0 };
	if (l->poll_rd && l->poll_wd + 8u <= len) {
		ret->read =
			go_layout_deadline((int64_t)go_word(b + l->poll_rd));
		ret->write =
			go_layout_deadline((int64_t)go_word(b + l->poll_wd));
	}
	return true;
}

/* Is @pd the pollDesc on which the goroutine waits? */
static bool is_poll(struct go_wait *w, const struct go_wait_on *on, raddr_t pd,
		    struct poll_record *ret)
{
	const struct go_layout *l = w->layout;
	size_t len = l->poll_wd ? l->poll_wd + 8u : l->poll_wg + 8u;
	uint8_t b[POLL_BYTES];

	if (!go_live_plausible(pd) || on_stack(on, pd) || len > sizeof(b))
		return false;
	if (!go_live_peek(w->mem, pd, b, len) ||
	    !decode_poll(l, on->g, b, len, ret))
		return false;
	*on->known = pd;
	return true;
}

/* The same with the cache passed by: it may be older than the wait. */
static bool is_poll_now(struct go_wait *w, const struct go_wait_on *on,
			raddr_t pd, struct poll_record *ret)
{
	const struct go_layout *l = w->layout;
	size_t len = l->poll_wd ? l->poll_wd + 8u : l->poll_wg + 8u;
	uint8_t b[POLL_BYTES];

	return go_live_plausible(pd) && len <= sizeof(b) &&
	       go_live_read(w->mem, pd, b, len) &&
	       decode_poll(l, on->g, b, len, ret);
}

/*
 * Sysfd of the poll.FD that owns @pd: {fdmu 16 bytes, Sysfd int, ..., pd
 * pollDesc{runtimeCtx}} (internal/poll/fd_unix.go).
 */
static int find_sysfd(struct go_wait *w, const struct go_wait_on *on,
		      raddr_t pd)
{
	uint64_t fd = 0;
	uint8_t b[72];

	if (!on->shape || !on->shape->fd_arg ||
	    !go_stack_word(w->unwinder, on->view, on->shape->fd_arg, &fd) ||
	    !go_live_plausible(fd) || !go_live_peek(w->mem, fd, b, sizeof(b)))
		return -1;
	for (size_t o = 24; o + 8 <= sizeof(b); o += 8)
		if (go_word(b + o) == pd && go_word(b + 16) <= INT_MAX)
			return (int)go_word(b + 16);
	return -1;
}

static bool try_poll(struct go_wait *w, const struct go_wait_on *on,
		     uint64_t off, struct poll_record *ret)
{
	bool write = on->shape && (on->shape->io == WAIT_WRITE ||
				   on->shape->io == WAIT_CONNECT);
	uint64_t pd;

	if (!go_stack_word(w->unwinder, on->view, off, &pd))
		return false;
	if (!w->layout->poll_rg &&
	    (!go_live_plausible(pd) || on_stack(on, pd) ||
	     !go_layout_learn_poll(w->layout, on->g, pd, write,
				   find_sysfd(w, on, pd))))
		return false;
	return is_poll(w, on, pd, ret);
}

static bool find_poll(struct go_wait *w, const struct go_wait_on *on,
		      struct poll_record *ret)
{
	struct go_shape *shape = on->shape;
	uint64_t end = SEARCH_BYTES, pd;

	if (w->layout->poll_rg && *on->known && is_poll(w, on, *on->known, ret))
		return true;
	if (shape && shape->poll_arg && try_poll(w, on, shape->poll_arg, ret))
		return true;
	if (shape && shape->found_at && try_poll(w, on, shape->found_at, ret))
		return true;
	if (shape && shape->poll_end && shape->poll_end < SEARCH_MAX)
		end = shape->poll_end;
	for (uint64_t off = 0; off < end; off += 8) {
		if (!try_poll(w, on, off, ret))
			continue;
		if (shape)
			shape->found_at = (uint32_t)off;
		return true;
	}
	return w->layout->poll_rg && shape && shape->poll_arg &&
	       go_stack_word(w->unwinder, on->view, shape->poll_arg, &pd) &&
	       is_poll_now(w, on, pd, ret);
}

bool go_wait_poll(struct go_wait *w, const struct go_wait_on *on,
		  struct task *task)
{
	struct poll_record rec;

	task->wait = on->shape && on->shape->io ? on->shape->io : WAIT_READ;
	if (!on->fds)
		return true;
	if (!find_poll(w, on, &rec))
		return false;
	w->layout->poll_confirmed++;
	task->fd = rec.fd;
	task->fd_proof = FD_PROVEN;
	task->read_deadline = rec.read;
	task->write_deadline = rec.write;
	if (rec.writes && task->wait != WAIT_CONNECT)
		task->wait = WAIT_WRITE;
	if (!rec.writes && task->wait != WAIT_ACCEPT)
		task->wait = WAIT_READ;
	return true;
}

static enum wait_kind plain_kind(enum go_reason_class class)
{
	switch (class) {
	case GO_REASON_IO:
		return WAIT_READ;
	case GO_REASON_CHAN_RECV:
		return WAIT_CHAN_RECV;
	case GO_REASON_CHAN_SEND:
		return WAIT_CHAN_SEND;
	case GO_REASON_SELECT:
		return WAIT_SELECT;
	case GO_REASON_FOREVER:
		return WAIT_FOREVER;
	case GO_REASON_SEMA:
		return WAIT_SEMAPHORE;
	case GO_REASON_COND:
		return WAIT_COND;
	case GO_REASON_SLEEP:
		return WAIT_SLEEP;
	case GO_REASON_RUNTIME:
		return WAIT_RUNTIME;
	case GO_REASON_COROUTINE:
	case GO_REASON_OTHER:
		break;
	}
	return WAIT_OTHER;
}

void go_wait_guess(const struct go_wait_on *on, struct task *task)
{
	task->wait = plain_kind(on->class);
	if (on->class == GO_REASON_IO)
		task->fd_proof = FD_UNKNOWN;
}

bool go_wait_fill(struct go_wait *w, const struct go_wait_on *on,
		  struct task *task)
{
	go_wait_guess(on, task);
	switch (on->class) {
	case GO_REASON_IO:
		return go_wait_poll(w, on, task);
	case GO_REASON_CHAN_RECV:
	case GO_REASON_CHAN_SEND:
	case GO_REASON_SELECT:
		return !on->objects || go_wait_chan(w, on, task);
	case GO_REASON_SEMA:
	case GO_REASON_COND:
		return go_wait_sema(w, on, task);
	case GO_REASON_OTHER:
	case GO_REASON_FOREVER:
	case GO_REASON_SLEEP:
	case GO_REASON_RUNTIME:
	case GO_REASON_COROUTINE:
		break;
	}
	return true;
}

/* System calls of which the first argument is the fd that is waited on. */
static enum wait_kind syscall_kind(int64_t nr)
{
	switch (nr) {
	case SYS_read:
	case SYS_readv:
	case SYS_pread64:
	case SYS_preadv:
	case SYS_recvfrom:
	case SYS_recvmsg:
	case SYS_recvmmsg:
		return WAIT_READ;
	case SYS_write:
	case SYS_writev:
	case SYS_pwrite64:
	case SYS_pwritev:
	case SYS_sendto:
	case SYS_sendmsg:
	case SYS_sendmmsg:
		return WAIT_WRITE;
	case SYS_accept:
	case SYS_accept4:
		return WAIT_ACCEPT;
	case SYS_connect:
		return WAIT_CONNECT;
	default:
		return WAIT_SYSCALL;
	}
}

void go_wait_syscall(struct go_wait *w, struct task *task)
{
	struct process_syscall call;

	task->wait = WAIT_SYSCALL;
	task->fd_proof = FD_NONE;
	if (!task->tid || !w->sym->thread_syscall ||
	    w->sym->thread_syscall(w->sym->arg, task->tid, &call) < 0 ||
	    call.running || call.nr < 0)
		return;
	task->wait = syscall_kind(call.nr);
	if (task->wait == WAIT_SYSCALL || call.args[0] > INT_MAX)
		return;
	task->fd = (int)call.args[0];
	task->fd_proof = FD_SYSCALL;
}
