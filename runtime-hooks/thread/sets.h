/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_HOOKS_THREAD_SETS_H
#define RUNTIME_HOOKS_THREAD_SETS_H

/**
 * What a poll, select or epoll set watches. The first two lie in the target's
 * memory, the last is told by the kernel (fdinfo). Everything is bounded by
 * TASK_MAX_WAIT_FDS; what was cut is marked.
 */

#include "base/arena.h"
#include "base/process.h"
#include "runtime-hooks/task.h"

struct wait_set {
	struct wait_fd *v; /* in the arena */
	uint32_t n;
	bool cut;
};

/**
 * poll(2): @n struct pollfd at @addr; negative fds are left out, as the kernel
 * does. Returns: 0, -EFAULT and other -errno of reading, -ENOMEM.
 */
int wait_set_poll(const struct process *p, raddr_t addr, uint64_t n,
		  struct arena *arena, struct wait_set *ret)
	__attribute__((warn_unused_result));
/** select(2): bit sets of @n bits; 0 for one that is not given. */
int wait_set_select(const struct process *p, uint64_t n, const raddr_t sets[3],
		    struct arena *arena, struct wait_set *ret)
	__attribute__((warn_unused_result));
/**
 * The text of /proc/PID/fdinfo/EPFD of an epoll fd: lines "tfd: 5 events: 19
 * data: ..." (ep_show_fdinfo, fs/eventpoll.c, Linux 6.18). Any bytes are fine;
 * lines that are not understood are left out. Returns: 0, -ENOMEM.
 */
int wait_set_epoll_parse(const char *text, struct arena *arena,
			 struct wait_set *ret)
	__attribute__((warn_unused_result));
/**
 * The same of the target's @epfd. The kernel holds the set's mutex while it
 * writes each page of the text: not a thing to do often.
 */
int wait_set_epoll(const struct process *p, int epfd, struct arena *arena,
		   struct wait_set *ret) __attribute__((warn_unused_result));

#endif
