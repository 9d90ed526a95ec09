/* SPDX-License-Identifier: Apache-2.0 */
#include "detector/gate/serving.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "base/fnv.h"
#include "detector/waiting.h"
#include "netwatch/netwatch.h"

static bool is_any(const struct endpoint *e)
{
	static const uint8_t zero[16];
	struct endpoint plain = endpoint_unmap(e);

	return !memcmp(plain.addr, zero, plain.family == AF_INET ? 4 : 16);
}

static bool accepts(const struct tcp_socket *listener,
		    const struct tcp_socket *s)
{
	if (listener->first.state != TCP_STATE_LISTEN ||
	    listener->local.port != s->local.port ||
	    listener->netns != s->netns)
		return false;
	struct endpoint at = endpoint_unmap(&listener->local);
	struct endpoint on = endpoint_unmap(&s->local);

	return is_any(&at) || endpoint_equal(&at, &on);
}

bool serving_accepted(const struct tcp_snapshot *snap,
		      const struct tcp_socket *s)
{
	if (s->first.state == TCP_STATE_LISTEN)
		return false;
	for (size_t i = 0; i < snap->n; i++)
		if (accepts(&snap->v[i], s))
			return true;
	return false;
}

/*
 * TCP knows when data came last, and when it went. Both are counted from the
 * connection's begin, in jiffies: a first request that came within the same
 * one is told by the segments.
 */
static bool is_unanswered(const struct tcp_info_fields *info)
{
	bool first = (info->known & TCP_INFO_DATASEGS) && info->data_segs_in &&
		     !info->data_segs_out;

	return (info->known & TCP_INFO_BASE) &&
	       info->last_data_recv_ms < SERVING_STUCK_MS &&
	       (first || info->last_data_recv_ms < info->last_data_sent_ms);
}

static bool is_in_flight(const struct tcp_sample *s)
{
	if (s->state == TCP_STATE_LISTEN)
		return s->rqueue > 0;
	if (s->state == TCP_STATE_ESTABLISHED)
		return s->rqueue || s->wqueue || is_unanswered(&s->info);
	/* in all others the client has gone, or has been sent away */
	return s->state == TCP_STATE_SYN_RECV ||
	       s->state == TCP_STATE_NEW_SYN_RECV;
}

static uint64_t hash_of(const struct tcp_socket *s,
			const struct tcp_sample *sample)
{
	uint64_t hash = fnv_bytes(FNV_OFFSET, &s->cookie, sizeof(s->cookie));

	hash = fnv_bytes(hash, &sample->state, sizeof(sample->state));
	hash = fnv_bytes(hash, &sample->info.bytes_received,
			 sizeof(sample->info.bytes_received));
	return fnv_bytes(hash, &sample->info.bytes_acked,
			 sizeof(sample->info.bytes_acked));
}

void serving_look(const struct tcp_snapshot *snap, struct serving_state *ret)
{
	*ret = (struct serving_state){ 0 };
	for (size_t i = 0; i < snap->n; i++) {
		const struct tcp_socket *s = &snap->v[i];
		const struct tcp_sample *sample = tcp_socket_latest(s);
		bool listens = sample->state == TCP_STATE_LISTEN;

		if (sample->state == TCP_STATE_TIME_WAIT ||
		    (!listens && !serving_accepted(snap, s)))
			continue;
		ret->listeners += listens;
		ret->accepted += !listens;
		/* a sum: the order does not count */
		ret->signature += hash_of(s, sample);
		if (!is_in_flight(sample))
			continue;
		ret->example = ret->in_flight++ ? ret->example : s;
	}
}

static bool is_dead(const struct verdict *v)
{
	return v && v->certain &&
	       (v->kind == VERDICT_HALF_OPEN ||
		v->kind == VERDICT_LOCAL_CAUSE ||
		v->kind == VERDICT_UNREACHABLE);
}

static bool reads_next_request(const struct task *t,
			       const struct process_fds *fds,
			       const struct tcp_snapshot *sockets,
			       const struct verdict *verdicts)
{
	const struct waiting w = waiting_of(t, fds, sockets);

	return w.socket && w.wait == WAIT_READ &&
	       w.socket->first.state == TCP_STATE_ESTABLISHED &&
	       serving_accepted(sockets, w.socket) &&
	       !is_dead(verdicts ? &verdicts[w.socket - sockets->v] : NULL);
}

/* Who accepts, or began the program, serves everyone and no one. */
static bool serves_one(const struct task *t)
{
	return t->id != 1 && t->wait != WAIT_ACCEPT;
}

static size_t index_of(const struct task_snapshot *snap, uint64_t id)
{
	const struct task *t = id ? task_snapshot_find(snap, id) : NULL;

	return t ? (size_t)(t - snap->tasks) : SIZE_MAX;
}

static int compare_ids(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* Those that came with a reader: who started it, or, when that one is gone,
 * whatever else it had started. */
static struct error *mark_company(const struct task_snapshot *snap,
				  bool *serves)
{
	AUTO_FREE bool *starters = calloc(snap->n + 1, sizeof(*starters));
	AUTO_FREE uint64_t *gone = calloc(snap->n + 1, sizeof(*gone));
	size_t n = 0;

	if (!starters || !gone)
		return &error_nomem;
	for (size_t i = 0; i < snap->n; i++) {
		uint64_t parent = snap->tasks[i].parent_id;
		size_t at = serves[i] ? index_of(snap, parent) : SIZE_MAX;

		if (at != SIZE_MAX)
			starters[at] = serves_one(&snap->tasks[at]);
		else if (serves[i] && parent)
			gone[n++] = parent;
	}
	qsort(gone, n, sizeof(*gone), compare_ids);
	for (size_t i = 0; i < snap->n; i++)
		serves[i] |= starters[i] ||
			     bsearch(&snap->tasks[i].parent_id, gone, n,
				     sizeof(*gone), compare_ids);
	return NULL;
}

struct error *serving_tasks(const struct task_snapshot *snap,
			    const struct process_fds *fds,
			    const struct tcp_snapshot *sockets,
			    const struct verdict *verdicts, bool *serves)
{
	memset(serves, 0, snap->n * sizeof(*serves));
	if (!sockets)
		return NULL;
	for (size_t i = 0; i < snap->n; i++)
		serves[i] = reads_next_request(&snap->tasks[i], fds, sockets,
					       verdicts);
	return mark_company(snap, serves);
}
