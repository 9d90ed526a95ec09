/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "netwatch/judge.h"

/*
 * What our own probes met. The connection was idle when they were sent and was
 * watched until the answer, so an answer outweighs what was seen before.
 */

void judge_decide(struct judge *j, enum verdict_kind kind, bool certain)
{
	j->v->kind = kind;
	j->v->certain = certain;
}

bool verdict_probe_failed(const struct probe_facts *p)
{
	uint32_t enough = p->method == PROBE_BY_KEEPALIVE ? PROBES_MIN
							  : OUR_PROBES_MIN;

	return p->result == PROBE_SILENCE && p->sent >= enough &&
	       p->waited_ms >= UNANSWERED_MS;
}

bool verdict_probe_decides(const struct probe_facts *p)
{
	switch (p->result) {
	case PROBE_ANSWERED:
	case PROBE_RST:
	case PROBE_GONE:
		return true;
	case PROBE_SILENCE:
		return verdict_probe_failed(p);
	case PROBE_NOT_ASKED:
	case PROBE_REFUSED:
		break;
	}
	return false;
}

static const char *method(const struct probe_facts *p)
{
	return p->method == PROBE_BY_KEEPALIVE ? "keepalive probe"
					       : "window probe";
}

static void say_rst(struct judge *j)
{
	const struct probe_facts *p = &j->facts->probe;

	judge_say(j, EVIDENCE_PROBE, p->known_wall_ms,
		  "a %s was answered by a reset (RST) %s after the first: the "
		  "peer has no such connection, or a firewall says so in its "
		  "name; either way it is dead",
		  method(p), judge_span(p->answered_ms).text);
	judge_say(j, EVIDENCE_PROBE, p->known_wall_ms,
		  p->shielded ? "the reset was kept from the program: it still "
				"waits, and only what it sends will tell it"
			      : "the program has been told by it (ECONNRESET)");
}

static void say_silence(struct judge *j)
{
	const struct probe_facts *p = &j->facts->probe;

	judge_say(j, EVIDENCE_PROBE, p->known_wall_ms,
		  "%u %s%s of ours got no answer within %s (segs_out +%u, "
		  "segs_in +%u)",
		  p->sent, method(p), judge_s(p->sent),
		  judge_span(p->waited_ms).text, p->segs_out, p->segs_in);
	if (p->next_hop_failed == FACT_YES)
		judge_say(j, EVIDENCE_PROBE, p->known_wall_ms,
			  "the next hop %s does not answer either (neighbour "
			  "FAILED after the probes)",
			  p->next_hop ? p->next_hop : "(the peer itself)");
	if (p->why)
		judge_say(j, EVIDENCE_PROBE, p->known_wall_ms,
			  "no further probe was sent: %s", p->why);
	else if (!verdict_probe_failed(p))
		judge_say(j, EVIDENCE_MISSING, p->known_wall_ms,
			  "it is called unreachable after %d probes and %s; "
			  "probe with a longer --window",
			  p->method == PROBE_BY_KEEPALIVE ? PROBES_MIN
							  : OUR_PROBES_MIN,
			  judge_span(UNANSWERED_MS).text);
}

static void say_answered(struct judge *j)
{
	const struct probe_facts *p = &j->facts->probe;

	if (p->sent)
		judge_say(j, EVIDENCE_PROBE, p->known_wall_ms,
			  "a %s of ours was answered: a segment arrived %s "
			  "after the first (segs_out +%u, segs_in +%u)",
			  method(p), judge_span(p->answered_ms).text,
			  p->segs_out, p->segs_in);
	else
		judge_say(j, EVIDENCE_PROBE, p->known_wall_ms,
			  "a segment arrived before a probe was sent (segs_in "
			  "+%u)",
			  p->segs_in);
}

void judge_say_probe(struct judge *j)
{
	const struct probe_facts *p = &j->facts->probe;

	switch (p->result) {
	case PROBE_NOT_ASKED:
		break;
	case PROBE_REFUSED:
		judge_say(j, EVIDENCE_PROBE, p->known_wall_ms, "not probed: %s",
			  p->why ? p->why : "it may not be");
		break;
	case PROBE_ANSWERED:
		say_answered(j);
		break;
	case PROBE_RST:
		say_rst(j);
		break;
	case PROBE_SILENCE:
		say_silence(j);
		break;
	case PROBE_GONE:
		judge_say(j, EVIDENCE_PROBE, p->known_wall_ms,
			  "the connection ended while it was probed: %s",
			  p->why ? p->why : "it is not known how");
		break;
	}
}

/* In these the peer's goodbye, or ours, stays what there is to say. */
static bool is_half_closed(enum tcp_state state)
{
	return state == TCP_STATE_CLOSE_WAIT || state == TCP_STATE_FIN_WAIT2;
}

static void say_half_closed(struct judge *j, enum tcp_state state)
{
	judge_say(j, EVIDENCE_STATE, j->facts->probe.known_wall_ms,
		  state == TCP_STATE_CLOSE_WAIT
			  ? "the peer closed its side (CLOSE_WAIT), this "
			    "program still holds the connection"
			  : "this program shut down writing (FIN_WAIT2), the "
			    "peer has not closed its side");
}

static void judge_answered(struct judge *j)
{
	const struct probe_facts *p = &j->facts->probe;

	if (is_half_closed(p->state))
		judge_decide(j, VERDICT_HALF_CLOSED, true);
	else
		// somebody answers for a peer that is not there: a proxy?
		judge_decide(j, VERDICT_ALIVE,
			     j->facts->peer.lookup != PEER_ABSENT);
	judge_say_probe(j);
	if (is_half_closed(p->state))
		say_half_closed(j, p->state);
}

/*
 * CLOSE_WAIT stays half-closed: that the program must let go is certain, and
 * that nobody answers any more is not what it waits for.
 */
static void judge_unanswered(struct judge *j)
{
	bool close_wait = j->facts->probe.state == TCP_STATE_CLOSE_WAIT;

	judge_decide(j, close_wait ? VERDICT_HALF_CLOSED : VERDICT_UNREACHABLE,
		     close_wait);
	judge_say_probe(j);
	if (is_half_closed(j->facts->probe.state))
		say_half_closed(j, j->facts->probe.state);
}

bool judge_probe(struct judge *j)
{
	const struct probe_facts *p = &j->facts->probe;

	if (!verdict_probe_decides(p))
		return false;
	switch (p->result) {
	case PROBE_RST:
		judge_decide(j, VERDICT_HALF_OPEN, true);
		judge_say_probe(j);
		break;
	case PROBE_ANSWERED:
		judge_answered(j);
		break;
	case PROBE_SILENCE:
		judge_unanswered(j);
		break;
	case PROBE_GONE:
	case PROBE_NOT_ASKED:
	case PROBE_REFUSED:
		judge_decide(j, VERDICT_UNKNOWN, false);
		judge_say_probe(j);
		return true;
	}
	judge_say_segments(j);
	judge_say_peer(j);
	judge_say_local(j);
	if (p->result != PROBE_ANSWERED)
		judge_say_keepalive_setting(j);
	return true;
}

const char *probe_method_name(enum probe_method method)
{
	switch (method) {
	case PROBE_BY_NOTHING:
		return "none";
	case PROBE_BY_WINDOW:
		return "window";
	case PROBE_BY_KEEPALIVE:
		return "keepalive";
	}
	return "none";
}

const char *probe_result_name(enum probe_result result)
{
	switch (result) {
	case PROBE_NOT_ASKED:
		return "not-asked";
	case PROBE_REFUSED:
		return "refused";
	case PROBE_ANSWERED:
		return "answered";
	case PROBE_RST:
		return "rst";
	case PROBE_SILENCE:
		return "silence";
	case PROBE_GONE:
		return "gone";
	}
	return "unknown";
}
