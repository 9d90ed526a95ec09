/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime-hooks/thread/sets.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

/* A line of the text has about 60 bytes. */
#define FDINFO_MAX (8u << 20)

static int set_alloc(struct arena *arena, size_t n, struct wait_set *ret)
{
	ret->v = arena_array(arena, n + 1, sizeof(*ret->v));
	ret->n = 0;
	return ret->v ? 0 : -ENOMEM;
}

int wait_set_poll(const struct process *p, raddr_t addr, uint64_t n,
		  struct arena *arena, struct wait_set *ret)
{
	uint64_t shown = n < TASK_MAX_WAIT_FDS ? n : TASK_MAX_WAIT_FDS;
	struct pollfd *v = arena_array(arena, shown + 1, sizeof(*v));
	int rc = v ? set_alloc(arena, shown, ret) : -ENOMEM;

	if (!rc && shown)
		rc = process_read(p, addr, v, shown * sizeof(*v));
	if (rc)
		return rc;
	for (uint64_t i = 0; i < shown; i++)
		if (v[i].fd >= 0)
			ret->v[ret->n++] = (struct wait_fd){
				.fd = v[i].fd,
				.events = (uint16_t)v[i].events,
			};
	ret->cut = shown < n;
	return 0;
}

int wait_set_select(const struct process *p, uint64_t n, const raddr_t sets[3],
		    struct arena *arena, struct wait_set *ret)
{
	static const uint32_t events[3] = { POLLIN, POLLOUT, POLLPRI };
	uint64_t shown = n < TASK_MAX_WAIT_FDS ? n : TASK_MAX_WAIT_FDS;
	unsigned long bits[3][TASK_MAX_WAIT_FDS / (8 * sizeof(long))] = { 0 };
	const size_t per = 8 * sizeof(long);
	int rc = set_alloc(arena, shown, ret);

	for (int s = 0; s < 3 && !rc; s++)
		if (sets[s])
			rc = process_read(p, sets[s], bits[s],
					  (shown + per - 1) / per *
						  sizeof(long));
	if (rc)
		return rc;
	for (uint64_t fd = 0; fd < shown; fd++) {
		uint32_t mask = 0;

		for (int s = 0; s < 3; s++)
			if (bits[s][fd / per] >> fd % per & 1)
				mask |= events[s];
		if (mask)
			ret->v[ret->n++] = (struct wait_fd){ (int)fd, mask };
	}
	ret->cut = shown < n;
	return 0;
}

int wait_set_epoll_parse(const char *text, struct arena *arena,
			 struct wait_set *ret)
{
	int rc = set_alloc(arena, TASK_MAX_WAIT_FDS, ret);

	while (!rc && (text = strstr(text, "tfd:"))) {
		unsigned int events;
		int fd;

		text += 4;
		if (sscanf(text, " %d events: %x", &fd, &events) != 2 || fd < 0)
			continue;
		if (ret->n == TASK_MAX_WAIT_FDS) {
			ret->cut = true;
			break;
		}
		ret->v[ret->n++] = (struct wait_fd){ fd, events };
	}
	return rc;
}

int wait_set_epoll(const struct process *p, int epfd, struct arena *arena,
		   struct wait_set *ret)
{
	AUTO_FREE char *text = NULL;
	char name[32];

	snprintf(name, sizeof(name), "fdinfo/%d", epfd);
	ssize_t len = process_slurp(p, name, FDINFO_MAX, &text);
	if (len == -E2BIG) {
		/* More than 100,000 fds: that it is a set is known. */
		ret->cut = true;
		return 0;
	}
	if (len < 0)
		return (int)len;
	return wait_set_epoll_parse(text, arena, ret);
}
