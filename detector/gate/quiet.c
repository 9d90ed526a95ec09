/* SPDX-License-Identifier: Apache-2.0 */
#include "detector/gate/quiet.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"
#include "detector/gate/serving.h"
#include "detector/survey.h"
#include "netwatch/destroyed.h"

#define NS_PER_MS INT64_C(1000000)
#define LONGEST_PAUSE_MS 1000
#define SHORTEST_PAUSE_MS 50

int64_t quiet_pause_ms(int64_t quiet_ms)
{
	int64_t ms = quiet_ms / 4;

	return ms < SHORTEST_PAUSE_MS  ? SHORTEST_PAUSE_MS
	       : ms > LONGEST_PAUSE_MS ? LONGEST_PAUSE_MS
				       : ms;
}

static void note_busy(struct quiet *q, const struct serving_state *state)
{
	char local[ENDPOINT_TEXT_MAX], remote[ENDPOINT_TEXT_MAX];
	const struct tcp_socket *s = state->example;

	endpoint_format(&s->local, local);
	endpoint_format(&s->remote, remote);
	if (tcp_socket_latest(s)->state == TCP_STATE_LISTEN)
		snprintf(q->busy, sizeof(q->busy),
			 "connections waited to be accepted at %s", local);
	else
		snprintf(q->busy, sizeof(q->busy),
			 "a request from %s to %s was in flight", remote,
			 local);
}

enum quiet_answer quiet_judge(struct quiet *q,
			      const struct serving_state *state, int64_t now_ns,
			      int64_t quiet_ms)
{
	bool changed = !q->seen || q->signature != state->signature;
	bool first = !q->listens && state->listeners;

	q->listens |= state->listeners > 0;
	if (!q->listens)
		return QUIET_NEVER;
	/* who waits to be accepted may be gone at the next question */
	q->touched |= state->accepted || state->in_flight || state->ended ||
		      state->missed;
	q->seen = true;
	q->signature = state->signature;
	/* what was missed need not have been here: it is no reason to begin
	 * again, but one to look again */
	if (changed || state->ended || state->in_flight ||
	    (state->missed && q->looked)) {
		q->since_ns = now_ns;
		q->looked = false;
	}
	if (state->in_flight) {
		note_busy(q, state);
		return QUIET_NOT;
	}
	if (first && !q->touched)
		return QUIET_UNTOUCHED;
	if (now_ns - q->since_ns < quiet_ms * NS_PER_MS)
		return QUIET_NOT;
	if (q->looked)
		return QUIET_STILL;
	q->looked = true;
	return q->touched ? QUIET_SINCE : QUIET_UNTOUCHED;
}

/* --- who came and went between two questions --- */

void quiet_end(struct quiet *q)
{
	destroyed_close(q->ends);
	q->ends = NULL;
}

static void listen_to_ends(struct quiet *q, const struct survey *s)
{
	const struct tcp_snapshot *snap = s->sockets;
	size_t i = 0;

	while (i < snap->n && snap->v[i].first.state != TCP_STATE_LISTEN)
		i++;
	if (q->ends || q->deaf || i == snap->n)
		return;
	q->ends_netns = snap->v[i].netns;
	AUTO_ERROR struct error *err = destroyed_open(
		netwatch_netns_fd(s->netwatch, q->ends_netns), &q->ends);
	q->deaf = err;
	if (err)
		log_debug("ctl", "%s", error_text(err));
}

struct heard {
	struct tcp_snapshot *ended;
	uint64_t netns;
	bool missed;
};

static void hear(void *arg, const struct tcp_socket *freed)
{
	struct heard *h = arg;
	struct tcp_socket *s = tcp_snapshot_add(h->ended);

	h->missed |= !s;
	if (!s)
		return;
	*s = *freed;
	s->netns = h->netns;
}

static struct error *look(struct quiet *q, const struct survey *s,
			  struct serving_state *ret)
{
	AUTO_SOCKETS struct tcp_snapshot *ended = tcp_snapshot_create();
	struct heard h = { ended, q->ends_netns, false };

	if (!ended)
		return &error_nomem;
	h.missed |= !destroyed_hear(q->ends, hear, &h);
	listen_to_ends(q, s);
	struct error *err = serving_look(s->sockets, ended, ret);
	ret->missed = h.missed;
	return err;
}

enum quiet_answer quiet_ask(struct quiet *q, pid_t pid, int64_t quiet_ms)
{
	static const struct survey_options light = { .quick = true,
						     .no_tasks = true };
	AUTO_SURVEY struct survey *s = NULL;
	struct serving_state state;
	AUTO_ERROR struct error *err = survey_take(pid, &light, &s);

	if (!err && s->sockets)
		err = look(q, s, &state);
	if (err || !s->sockets)
		return QUIET_NEVER;
	return quiet_judge(q, &state, clock_mono_ns(), quiet_ms);
}
