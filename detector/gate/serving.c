/* SPDX-License-Identifier: Apache-2.0 */
#include "detector/gate/serving.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "base/fnv.h"
#include "detector/waiting.h"
#include "netwatch/netwatch.h"

/* Where connections are accepted; at any address: that is all zeros. */
struct place {
	uint64_t netns;
	struct endpoint at;
};

/* Ascending: servers have many connections, and some many listeners. */
struct places {
	struct place *v;
	size_t n;
};

static int compare_places(const void *a, const void *b)
{
	const struct place *x = a, *y = b;

	if (x->at.port != y->at.port)
		return x->at.port < y->at.port ? -1 : 1;
	if (x->netns != y->netns)
		return x->netns < y->netns ? -1 : 1;
	if (x->at.scope != y->at.scope)
		return x->at.scope < y->at.scope ? -1 : 1;
	if (x->at.family != y->at.family)
		return x->at.family < y->at.family ? -1 : 1;
	return memcmp(x->at.addr, y->at.addr,
		      x->at.family == AF_INET ? 4 : sizeof(x->at.addr));
}

static struct place place_of(const struct tcp_socket *s)
{
	return (struct place){ s->netns, endpoint_unmap(&s->local) };
}

static struct error *places_create(const struct tcp_snapshot *snap,
				   struct places *ret)
{
	size_t n = 0;

	for (size_t i = 0; i < snap->n; i++)
		n += tcp_socket_latest(&snap->v[i])->state == TCP_STATE_LISTEN;
	*ret = (struct places){ calloc(n + 1, sizeof(*ret->v)), 0 };
	if (!ret->v)
		return &error_nomem;
	for (size_t i = 0; ret->n < n; i++)
		if (tcp_socket_latest(&snap->v[i])->state == TCP_STATE_LISTEN)
			ret->v[ret->n++] = place_of(&snap->v[i]);
	qsort(ret->v, n, sizeof(*ret->v), compare_places);
	return NULL;
}

static void places_end(struct places *places)
{
	free(places->v);
}
#define AUTO_PLACES __attribute__((cleanup(places_end)))

static bool has(const struct places *places, const struct place *key)
{
	return bsearch(key, places->v, places->n, sizeof(*places->v),
		       compare_places);
}

/* Was @s accepted at one of them? What listens at [::] takes IPv4, too. */
static bool is_accepted(const struct places *places, const struct tcp_socket *s)
{
	struct place here = place_of(s);
	struct place any = {
		s->netns, { .family = here.at.family, .port = here.at.port }
	};
	struct place any6 = any;

	any6.at.family = AF_INET6;
	return has(places, &here) || has(places, &any) || has(places, &any6);
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
	       (first || info->last_data_recv_ms < info->last_data_sent_ms);
}

/* Every acknowledgement counts: a peer whose window is shut sends them, too. */
static bool is_connection_in_flight(const struct tcp_sample *s)
{
	bool known = s->info.known & TCP_INFO_BASE;
	bool came = !known || s->info.last_data_recv_ms <= SERVING_STUCK_MS;
	bool hears = !known || s->info.last_ack_recv_ms <= SERVING_STUCK_MS;

	return (came && (s->rqueue || is_unanswered(&s->info))) ||
	       (hears && s->wqueue);
}

static bool is_in_flight(const struct tcp_sample *s)
{
	if (s->state == TCP_STATE_LISTEN)
		return s->rqueue > 0;
	if (s->state == TCP_STATE_ESTABLISHED)
		return is_connection_in_flight(s);
	/* in all others the client has gone, or has been sent away */
	return s->state == TCP_STATE_SYN_RECV ||
	       s->state == TCP_STATE_NEW_SYN_RECV;
}

static uint64_t hash_of(const struct tcp_socket *s,
			const struct tcp_sample *sample)
{
	uint64_t hash = fnv_bytes(FNV_OFFSET, &s->cookie, sizeof(s->cookie));

	hash = fnv_bytes(hash, &sample->state, sizeof(sample->state));
	hash = fnv_bytes(hash, &sample->rqueue, sizeof(sample->rqueue));
	hash = fnv_bytes(hash, &sample->wqueue, sizeof(sample->wqueue));
	hash = fnv_bytes(hash, &sample->info.bytes_received,
			 sizeof(sample->info.bytes_received));
	return fnv_bytes(hash, &sample->info.bytes_acked,
			 sizeof(sample->info.bytes_acked));
}

struct error *serving_look(const struct tcp_snapshot *snap,
			   const struct tcp_snapshot *ended,
			   struct serving_state *ret)
{
	AUTO_PLACES struct places places = { 0 };
	struct error *err = places_create(snap, &places);

	if (err)
		return err;
	*ret = (struct serving_state){ 0 };
	for (size_t i = 0; ended && i < ended->n; i++)
		ret->ended += is_accepted(&places, &ended->v[i]);
	for (size_t i = 0; i < snap->n; i++) {
		const struct tcp_socket *s = &snap->v[i];
		const struct tcp_sample *sample = tcp_socket_latest(s);
		bool listens = sample->state == TCP_STATE_LISTEN;

		if (sample->state == TCP_STATE_TIME_WAIT ||
		    (!listens && !is_accepted(&places, s)))
			continue;
		ret->listeners += listens;
		ret->accepted += !listens;
		/* a sum: the order does not count */
		ret->signature += hash_of(s, sample);
		if (!is_in_flight(sample))
			continue;
		ret->example = ret->in_flight++ ? ret->example : s;
	}
	return NULL;
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
			       const struct verdict *verdicts,
			       const struct places *places)
{
	const struct waiting w = waiting_of(t, fds, sockets);

	return w.socket && w.wait == WAIT_READ &&
	       w.socket->first.state == TCP_STATE_ESTABLISHED &&
	       is_accepted(places, w.socket) &&
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
			starters[at] = true;
		else if (serves[i] && parent)
			gone[n++] = parent;
	}
	qsort(gone, n, sizeof(*gone), compare_ids);
	for (size_t i = 0; i < snap->n; i++)
		serves[i] |=
			serves_one(&snap->tasks[i]) &&
			(starters[i] || bsearch(&snap->tasks[i].parent_id, gone,
						n, sizeof(*gone), compare_ids));
	return NULL;
}

struct error *serving_tasks(const struct task_snapshot *snap,
			    const struct process_fds *fds,
			    const struct tcp_snapshot *sockets,
			    const struct verdict *verdicts, bool *serves)
{
	AUTO_PLACES struct places places = { 0 };

	memset(serves, 0, snap->n * sizeof(*serves));
	if (!sockets)
		return NULL;
	struct error *err = places_create(sockets, &places);
	if (err)
		return err;
	for (size_t i = 0; i < snap->n; i++)
		serves[i] = reads_next_request(&snap->tasks[i], fds, sockets,
					       verdicts, &places);
	return mark_company(snap, serves);
}
