/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_HOOKS_GO_WAIT_H
#define RUNTIME_HOOKS_GO_WAIT_H

/**
 * What a goroutine waits on: fd and deadlines, channels, mutexes and their
 * kin, system calls, and the labels it carries.
 *
 * Each answer is proved by a pointer back to the goroutine (pollDesc.rg or
 * .wg, sudog.g, the channel's queue); an address alone, which a stale stack
 * slot may hold too, is never enough. Lists are bounded, cycles end.
 *
 * Facts: runtime/netpoll.go, sema.go, chan.go, select.go, runtime2.go and
 * sync/ of Go 1.17 to 1.27.
 */

#include "runtime-hooks/go/layout.h"
#include "runtime-hooks/go/unwind.h"

struct go_wait {
	struct go_live *mem;
	struct go_layout *layout;
	const struct go_symbols *sym;
	struct go_unwinder *unwinder;
	struct arena *arena; /* of the snapshot */
	bool first_round;    /* whoever fails is tried again */
	/* counted here, told once per snapshot */
	uint64_t fds_unknown, chans_unlearned, objects_unknown, labels_bad;
};

struct go_wait_on {
	raddr_t g;
	raddr_t waiting; /* g.waiting: the first sudog */
	const struct go_stack_view *view;
	struct go_shape *shape; /* NULL when the stack could not be unwound */
	enum go_reason_class class;
	bool fds, objects; /* what is asked for */
	raddr_t *known;	   /* in: where the record was last time; out: is */
};

/**
 * Fill in wait, fd, deadlines and objects of @task, which is parked.
 *
 * Returns: false when what was found contradicts itself, as it does while the
 * goroutine is being woken: read it again. @task is valid all the same.
 */
bool go_wait_fill(struct go_wait *w, const struct go_wait_on *on,
		  struct task *task);

/** The wait kind by the reason alone, when there is no stack to look at. */
void go_wait_guess(const struct go_wait_on *on, struct task *task);

/** The parts of go_wait_fill(); the same returns. */
bool go_wait_poll(struct go_wait *w, const struct go_wait_on *on,
		  struct task *task);
bool go_wait_chan(struct go_wait *w, const struct go_wait_on *on,
		  struct task *task);
bool go_wait_sema(struct go_wait *w, const struct go_wait_on *on,
		  struct task *task);

/** The wait of a goroutine whose thread @task->tid sits in a system call. */
void go_wait_syscall(struct go_wait *w, struct task *task);

/** Count the waiters of each object over all tasks of a snapshot. */
void go_wait_count(struct task *tasks, size_t n);

/**
 * Read the label set at @labels: a list since Go 1.24, a map before; which of
 * them it is shows in its shape. Ordered by key.
 *
 * Returns: false when it makes no sense. *n_ret may be 0.
 */
bool go_labels_read(struct go_live *mem, struct arena *arena, raddr_t labels,
		    int minor, const struct label **ret, uint16_t *n_ret);

#endif
