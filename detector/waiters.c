/* SPDX-License-Identifier: Apache-2.0 */
#include "detector/waiters.h"

#include <stdlib.h>

#include "detector/correlate.h"

struct entry {
	const struct task *first;
	size_t count;
	int fd;
};

struct waiters {
	struct entry *v;
};

static void index_fds(struct waiters *w, const struct survey *s)
{
	for (size_t i = 0; i < s->sockets->n; i++)
		w->v[i].fd = -1;
	for (size_t i = 0; i < s->fds.n; i++) {
		const struct process_fd *fd = &s->fds.v[i];
		const struct tcp_socket *socket =
			fd->kind == PROCESS_FD_SOCKET && fd->inode
				? tcp_snapshot_find(s->sockets, fd->inode)
				: NULL;

		if (socket && w->v[socket - s->sockets->v].fd < 0)
			w->v[socket - s->sockets->v].fd = fd->fd;
	}
}

static void index_tasks(struct waiters *w, const struct survey *s,
			const struct task_snapshot *snap)
{
	for (size_t i = 0; i < snap->n; i++) {
		const struct task *task = &snap->tasks[i];
		const struct tcp_socket *socket =
			correlate_socket(task, &s->fds, s->sockets);
		struct entry *e;

		if (!socket)
			continue;
		e = &w->v[socket - s->sockets->v];
		e->count++;
		if (!e->first)
			e->first = task;
	}
}

struct waiters *waiters_create(const struct survey *survey)
{
	struct waiters *w = calloc(1, sizeof(*w));
	size_t n = survey->sockets ? survey->sockets->n : 0;

	if (!w)
		return NULL;
	w->v = calloc(n + 1, sizeof(*w->v));
	if (!w->v) {
		free(w);
		return NULL;
	}
	if (survey->sockets) {
		index_fds(w, survey);
		for (size_t i = 0; i < survey->n_sets; i++)
			index_tasks(w, survey, survey->sets[i].snapshot);
	}
	return w;
}

void waiters_destroy(struct waiters *waiters)
{
	if (!waiters)
		return;
	free(waiters->v);
	free(waiters);
}

const struct task *waiters_of(const struct waiters *w, size_t i)
{
	return w->v[i].first;
}

size_t waiters_count(const struct waiters *w, size_t i)
{
	return w->v[i].count;
}

int waiters_fd(const struct waiters *w, size_t i)
{
	return w->v[i].fd;
}
