/* SPDX-License-Identifier: Apache-2.0 */
#include "netwatch/judge.h"

static void decide(struct judge *j, enum verdict_kind kind, bool certain)
{
	judge_decide(j, kind, certain);
}

static enum moved find_moved(const struct judge *j)
{
	if (!j->two)
		return MOVED_UNKNOWN;
	const struct tcp_sample *a = &j->s->first, *b = &j->s->second;
	if (judge_knows(a, TCP_INFO_SEGS) && judge_knows(b, TCP_INFO_SEGS)) {
		// The counter wraps; half its range in a second is a lie.
		uint32_t diff = b->info.segs_in - a->info.segs_in;
		if (diff > INT32_MAX)
			return MOVED_UNKNOWN;
		return diff ? MOVED_YES : MOVED_NO;
	}
	if (judge_knows(a, TCP_INFO_BYTES) && judge_knows(b, TCP_INFO_BYTES) &&
	    b->info.bytes_received > a->info.bytes_received)
		return MOVED_YES;
	if (judge_knows(b, TCP_INFO_BASE) &&
	    (int64_t)judge_quiet_ms(b) + SLACK_MS < j->elapsed_ms)
		return MOVED_YES;
	// Keepalives of the peer raise segs_in alone: without it, no "no".
	return MOVED_UNKNOWN;
}

/* --- states that need no procedure --- */

static void judge_gone(struct judge *j)
{
	decide(j, VERDICT_UNKNOWN, false);
	judge_say(
		j, EVIDENCE_STATE, j->s->first.at_wall_ms,
		"the connection ended while it was looked at: it was %s in the "
		"first sample and gone in the second",
		tcp_state_name(j->s->first.state));
}

static void judge_closed(struct judge *j)
{
	decide(j, VERDICT_UNKNOWN, false);
	judge_say(
		j, EVIDENCE_STATE, j->cur->at_wall_ms,
		j->cur->state == TCP_STATE_UNKNOWN
			? "the kernel's state of the socket is none that we know"
			: "the connection has ended (%s): the next call on it "
			  "returns at once",
		tcp_state_name(j->cur->state));
}

static void judge_listen(struct judge *j)
{
	decide(j, VERDICT_LISTENING, true);
	judge_say(
		j, EVIDENCE_QUEUE, j->cur->at_wall_ms,
		"a listener: %u connection%s wait to be accepted (room for %u)",
		j->cur->rqueue, j->cur->rqueue == 1 ? "" : "s", j->cur->wqueue);
}

/* A FAILED neighbour entry may be old: the host may be back, unasked. */
static bool local_is_certain(const struct judge *j)
{
	const struct path_facts *p = &j->facts->path;

	return p->address_present == FACT_NO || p->route_present == FACT_NO ||
	       p->carrier == FACT_NO;
}

static void judge_handshake(struct judge *j)
{
	uint8_t resends = j->cur->retrans;
	int64_t at = j->cur->at_wall_ms;

	if (j->cur->state != TCP_STATE_SYN_SENT) {
		decide(j, VERDICT_CONNECTING, true);
		judge_say(j, EVIDENCE_STATE, at,
			  "the handshake is not finished: the peer's last "
			  "acknowledgement is missing (resent %u times)",
			  resends);
		return;
	}
	decide(j, VERDICT_CONNECTING, true);
	if (judge_say_local(j))
		decide(j, VERDICT_LOCAL_CAUSE, local_is_certain(j));
	else if (resends >= SYN_RESENDS_MIN)
		decide(j, VERDICT_UNREACHABLE, false);
	if (resends)
		judge_say(
			j, EVIDENCE_RETRANSMIT, at,
			"the peer does not answer our SYN: resent %u time%s, the "
			"next in %s (host gone, packets dropped, or its queue of "
			"new connections full)",
			resends, resends == 1 ? "" : "s",
			judge_span(j->cur->expires_ms).text);
	else
		judge_say(j, EVIDENCE_STATE, at,
			  "the SYN was sent and no answer has come yet");
}

static void judge_close_wait(struct judge *j)
{
	int64_t at = j->cur->at_wall_ms;

	decide(j, VERDICT_HALF_CLOSED, true);
	judge_say(
		j, EVIDENCE_STATE, at,
		"the peer closed its side (CLOSE_WAIT), this program still holds "
		"the connection");
	// The FIN itself counts as one until the program has read to the end.
	if (j->cur->rqueue > 1)
		judge_say(j, EVIDENCE_QUEUE, at,
			  "%u byte%s before the end not read yet",
			  j->cur->rqueue - 1, judge_s(j->cur->rqueue - 1));
	else if (j->cur->rqueue == 1)
		judge_say(j, EVIDENCE_QUEUE, at,
			  "the program has not read the end of the stream yet");
	else
		judge_say(j, EVIDENCE_QUEUE, at,
			  "the program has read everything, also the end");
	judge_say_segments(j);
	judge_say_peer(j);
	judge_say_local(j);
}

/* --- connections --- */

/* Unread in every sample: data that just came, or just went, is no sign. */
static bool data_waits(const struct judge *j)
{
	return j->s->first.rqueue > 0 && j->cur->rqueue > 0;
}

static void judge_data_waiting(struct judge *j)
{
	decide(j, VERDICT_DATA_WAITING, true);
	judge_say(j, EVIDENCE_QUEUE, j->cur->at_wall_ms,
		  "%u byte%s can be read here: a reader of this connection is "
		  "not stuck on the network",
		  j->cur->rqueue, judge_s(j->cur->rqueue));
	if (j->cur->timer == TCP_TIMER_PERSIST &&
	    judge_knows(j->cur, TCP_INFO_SND_WND) && !j->cur->info.snd_wnd)
		judge_say(j, EVIDENCE_ZERO_WINDOW, j->cur->at_wall_ms,
			  "the peer does not read either: %u byte%s to be sent",
			  j->cur->wqueue, judge_s(j->cur->wqueue));
	judge_say_segments(j);
	judge_say_peer(j);
	judge_say_local(j);
}

/* See verdict_judge() in the header for the rule. */
static bool absence_is_proof(const struct judge *j)
{
	const struct peer_facts *p = &j->facts->peer;
	enum tcp_state state = j->cur->state;

	if (p->lookup != PEER_ABSENT || !j->two || j->moved == MOVED_YES)
		return false;
	if (state != j->s->first.state ||
	    (state != TCP_STATE_ESTABLISHED && state != TCP_STATE_FIN_WAIT2))
		return false;
	return p->times >= LOOKS_MIN && p->first_wall_ms > 0 &&
	       p->first_wall_ms <= j->s->second.at_wall_ms &&
	       p->at_wall_ms >= j->s->second.at_wall_ms &&
	       p->at_wall_ms - p->first_wall_ms >= LOOKS_APART_MS;
}

/* Do the resends go unanswered for long enough to say so? */
static bool resends_fail(const struct judge *j)
{
	const struct tcp_info_fields *i = &j->cur->info;

	return j->cur->timer == TCP_TIMER_RETRANSMIT &&
	       judge_knows(j->cur, TCP_INFO_BASE) &&
	       i->retransmits >= RESENDS_MIN;
}

/* Only small packets pass: likely, never certain, and only with both signs. */
static bool only_small_pass(const struct judge *j)
{
	const struct tcp_info_fields *a = &j->s->first.info;
	const struct tcp_info_fields *b = &j->cur->info;

	return j->moved == MOVED_YES && a->retransmits >= RESENDS_MIN &&
	       b->retransmits >= a->retransmits && b->snd_mss > SMALL_MSS &&
	       j->cur->wqueue >= b->snd_mss &&
	       a->bytes_acked == b->bytes_acked &&
	       (int64_t)b->last_ack_recv_ms <= j->elapsed_ms + SLACK_MS;
}

static bool judge_resends(struct judge *j)
{
	if (!resends_fail(j))
		return false;
	if (only_small_pass(j)) {
		decide(j, VERDICT_PATH_MTU, false);
		judge_say(
			j, EVIDENCE_RETRANSMIT, j->cur->at_wall_ms,
			"the peer answers, but packets of %u bytes never arrive: "
			"something on the path loses big packets (path MTU %u)",
			j->cur->info.snd_mss, j->cur->info.pmtu);
	} else if (j->moved != MOVED_YES &&
		   judge_quiet_ms(j->cur) <= UNANSWERED_MS) {
		return false;
	} else {
		decide(j, VERDICT_UNREACHABLE, false);
	}
	judge_say_resends(j);
	judge_say_segments(j);
	if (j->moved == MOVED_YES)
		judge_say(
			j, EVIDENCE_SEGMENTS, j->cur->at_wall_ms,
			"the peer is heard, but what we send is not acknowledged");
	else if (j->cur->wqueue >= j->cur->info.snd_mss &&
		 j->cur->info.snd_mss > SMALL_MSS)
		judge_say(
			j, EVIDENCE_MISSING, j->cur->at_wall_ms,
			"a probe would tell a dead path from one that loses only "
			"big packets");
	judge_say_peer(j);
	return true;
}

/* Two or more of our own keepalives have met no answer. */
static bool probes_fail(const struct judge *j)
{
	return j->cur->timer == TCP_TIMER_KEEPALIVE &&
	       j->cur->retrans >= PROBES_MIN;
}

/*
 * The peer's own keepalives raise segs_in but answer none of our probes, so
 * segments that arrive do not excuse probes that go unanswered.
 */
static bool judge_keepalive(struct judge *j)
{
	if (!probes_fail(j) || !judge_knows(j->cur, TCP_INFO_BASE) ||
	    judge_quiet_ms(j->cur) <= UNANSWERED_MS)
		return false;
	decide(j, VERDICT_UNREACHABLE, false);
	judge_say_keepalive(j);
	judge_say_segments(j);
	judge_say_peer(j);
	return true;
}

/*
 * Persist timer with a window that would let the next segment out: our own
 * sending fails. A window smaller than a segment is the peer's doing (silly
 * window avoidance), so it must be big enough for a segment or all there is.
 */
static bool output_fails(const struct judge *j, const struct tcp_sample *t)
{
	const struct tcp_info_fields *i = &t->info;

	return t->timer == TCP_TIMER_PERSIST && !i->unacked && t->wqueue &&
	       judge_knows(t, TCP_INFO_BASE | TCP_INFO_SND_WND) && i->snd_wnd &&
	       (i->snd_wnd >= t->wqueue ||
		(i->snd_mss && i->snd_wnd >= i->snd_mss)) &&
	       (j->two || t->retrans >= PROBES_MIN);
}

static bool judge_output(struct judge *j)
{
	if (!output_fails(j, j->cur) ||
	    (j->two && !output_fails(j, &j->s->first)))
		return false;
	decide(j, VERDICT_LOCAL_CAUSE, false);
	judge_say(
		j, EVIDENCE_LOCAL, j->cur->at_wall_ms,
		"%u byte%s cannot leave although the peer's window has room for %u: sending "
		"fails on this host (a firewall rule for output, routing, or no "
		"memory)",
		j->cur->wqueue, judge_s(j->cur->wqueue), j->cur->info.snd_wnd);
	judge_say_segments(j);
	return true;
}

/* tcp_probe0_when(): the time-out doubled with each probe, 120 s at most. */
static int64_t persist_interval_ms(const struct tcp_sample *t)
{
	int64_t rto = t->info.rto_us / 1000;

	if (rto < 200)
		rto = 200;
	for (int i = 0; i < t->info.backoff && rto < PERSIST_MAX_MS; i++)
		rto *= 2;
	return rto < PERSIST_MAX_MS ? rto : PERSIST_MAX_MS;
}

/* Judged by answers, never by back-off: it grows on a living peer too. */
static bool judge_zero_window(struct judge *j)
{
	if (j->cur->timer != TCP_TIMER_PERSIST ||
	    !judge_knows(j->cur, TCP_INFO_BASE))
		return false;
	bool known = judge_knows(j->cur, TCP_INFO_SND_WND);
	if (known && j->cur->info.snd_wnd && j->cur->retrans < PROBES_MIN)
		return false;
	int64_t quiet = judge_quiet_ms(j->cur);
	bool answers = j->moved == MOVED_YES ||
		       (j->cur->retrans < PROBES_MIN &&
			quiet <= 2 * persist_interval_ms(j->cur));
	if (j->moved != MOVED_YES && j->cur->retrans >= PROBES_MIN &&
	    quiet > UNANSWERED_MS)
		decide(j, VERDICT_UNREACHABLE, false);
	else
		decide(j, VERDICT_PEER_NOT_READING,
		       answers && known && !j->cur->info.snd_wnd);
	judge_say_zero_window(j, known && !j->cur->info.snd_wnd);
	judge_say_segments(j);
	judge_say_peer(j);
	return true;
}

/* The peer's end has finished, and we have not heard of it. */
static bool judge_peer_closed(struct judge *j)
{
	const struct peer_facts *p = &j->facts->peer;
	enum tcp_state st = p->peer_state;

	if (p->lookup != PEER_FOUND || j->cur->state != TCP_STATE_ESTABLISHED ||
	    j->moved == MOVED_YES || j->cur->rqueue)
		return false;
	if (st != TCP_STATE_FIN_WAIT1 && st != TCP_STATE_FIN_WAIT2 &&
	    st != TCP_STATE_LAST_ACK && st != TCP_STATE_CLOSING &&
	    st != TCP_STATE_TIME_WAIT)
		return false;
	// A FIN may be on its way: either time has passed, or it was resent.
	bool passed = j->two && p->first_wall_ms > 0 &&
		      j->s->second.at_wall_ms - p->first_wall_ms >=
			      LOOKS_APART_MS;
	if (!passed && p->peer_retrans < RESENDS_EARLY)
		return false;
	decide(j, VERDICT_UNREACHABLE, false);
	judge_say_peer(j);
	judge_say(
		j, EVIDENCE_STATE, p->at_wall_ms,
		"the peer said goodbye, but its FIN does not arrive here (resent "
		"%u times)",
		p->peer_retrans);
	judge_say_segments(j);
	return true;
}

/*
 * The peer's end is there, but nothing of what it sends arrives: its own
 * counter of resends, or of keepalive probes, says so.
 */
static bool judge_peer_unheard(struct judge *j)
{
	const struct peer_facts *p = &j->facts->peer;
	bool probes = p->peer_timer == TCP_TIMER_KEEPALIVE;

	if (p->lookup != PEER_FOUND || p->peer_state != TCP_STATE_ESTABLISHED ||
	    j->cur->state != TCP_STATE_ESTABLISHED || j->moved == MOVED_YES)
		return false;
	if (!(p->peer_timer == TCP_TIMER_RETRANSMIT &&
	      p->peer_retrans >= RESENDS_EARLY) &&
	    !(probes && p->peer_retrans >= PROBES_MIN))
		return false;
	if ((probes || p->peer_retrans >= RESENDS_MIN) &&
	    judge_knows(j->cur, TCP_INFO_BASE) &&
	    judge_quiet_ms(j->cur) > UNANSWERED_MS)
		decide(j, VERDICT_UNREACHABLE, false);
	else
		decide(j, VERDICT_SILENT, false);
	judge_say_peer(j);
	judge_say(j, EVIDENCE_STATE, p->at_wall_ms,
		  "what the peer sends is not answered from here: its end has "
		  "%s %u times",
		  probes ? "probed" : "resent", p->peer_retrans);
	judge_say_segments(j);
	return true;
}

static bool judge_alive(struct judge *j)
{
	// That the peer has it does not say that packets get through.
	bool found = j->facts->peer.lookup == PEER_FOUND &&
		     j->facts->peer.peer_state == TCP_STATE_ESTABLISHED &&
		     j->cur->state == TCP_STATE_ESTABLISHED && !probes_fail(j);

	if (j->moved != MOVED_YES && !found)
		return false;
	judge_say_segments(j);
	judge_say_peer(j);
	bool contradicted = judge_say_local(j) ||
			    j->facts->peer.lookup == PEER_ABSENT;
	decide(j, VERDICT_ALIVE, !contradicted);
	return true;
}

/* --- silence: what would tell --- */

static void judge_silent(struct judge *j)
{
	if (j->cur->state == TCP_STATE_FIN_WAIT2) {
		decide(j, VERDICT_HALF_CLOSED, true);
		judge_say(
			j, EVIDENCE_STATE, j->cur->at_wall_ms,
			"this program shut down writing (FIN_WAIT2), the peer has "
			"not closed its side");
	} else if (!j->cur->info.known && !j->two) {
		decide(j, VERDICT_UNKNOWN, false);
		judge_say(j, EVIDENCE_STATE, j->cur->at_wall_ms,
			  "the kernel gave the state (%s) and no details",
			  tcp_state_name(j->cur->state));
	} else {
		decide(j, VERDICT_SILENT, false);
	}
	judge_say_segments(j);
	judge_say_peer(j);
	if (j->facts->peer.lookup == PEER_FOUND &&
	    j->facts->peer.peer_state == TCP_STATE_SYN_RECV) {
		decide(j, VERDICT_CONNECTING, false);
		judge_say(j, EVIDENCE_STATE, j->facts->peer.at_wall_ms,
			  "the peer has not accepted the connection yet");
	}
	judge_say_resends_early(j);
	judge_say_keepalive_early(j);
	judge_say_missing(j);
}

static void judge_half_open(struct judge *j)
{
	decide(j, VERDICT_HALF_OPEN, true);
	judge_say_peer(j);
	judge_say_segments(j);
	if (data_waits(j))
		judge_say(j, EVIDENCE_QUEUE, j->cur->at_wall_ms,
			  "%u byte%s that came before not read yet",
			  j->cur->rqueue, judge_s(j->cur->rqueue));
	if (j->cur->timer == TCP_TIMER_KEEPALIVE ||
	    j->cur->timer == TCP_TIMER_OFF)
		judge_say_keepalive_setting(j);
}

static bool judge_local(struct judge *j)
{
	// A segment that just came in is stronger than what routing says.
	if (j->moved == MOVED_YES || !judge_say_local(j))
		return false;
	bool keepalive = j->cur->timer == TCP_TIMER_KEEPALIVE &&
			 j->cur->retrans >= PROBES_MIN;
	decide(j, VERDICT_LOCAL_CAUSE,
	       local_is_certain(j) || resends_fail(j) || keepalive);
	if (resends_fail(j))
		judge_say_resends(j);
	else if (keepalive)
		judge_say_keepalive(j);
	judge_say_segments(j);
	judge_say_peer(j);
	return true;
}

static void judge_connection(struct judge *j)
{
	if (data_waits(j) && !j->facts->for_writer)
		judge_data_waiting(j);
	else if (absence_is_proof(j))
		judge_half_open(j);
	else if (!judge_local(j) && !judge_resends(j) && !judge_keepalive(j) &&
		 !judge_output(j) && !judge_zero_window(j) &&
		 !judge_peer_closed(j) && !judge_peer_unheard(j) &&
		 !judge_alive(j))
		judge_silent(j);
}

static void judge_state(struct judge *j)
{
	if (j->s->second_state == TCP_VANISHED) {
		judge_gone(j);
		return;
	}
	switch (j->cur->state) {
	case TCP_STATE_LISTEN:
		judge_listen(j);
		break;
	case TCP_STATE_SYN_SENT:
	case TCP_STATE_SYN_RECV:
	case TCP_STATE_NEW_SYN_RECV:
		judge_handshake(j);
		break;
	case TCP_STATE_CLOSE_WAIT:
		judge_close_wait(j);
		break;
	case TCP_STATE_ESTABLISHED:
	case TCP_STATE_FIN_WAIT1:
	case TCP_STATE_FIN_WAIT2:
	case TCP_STATE_LAST_ACK:
	case TCP_STATE_CLOSING:
		judge_connection(j);
		break;
	case TCP_STATE_UNKNOWN:
	case TCP_STATE_TIME_WAIT:
	case TCP_STATE_CLOSE:
	default:
		judge_closed(j);
		break;
	}
}

struct error *verdict_judge(const struct tcp_socket *s,
			    const struct net_facts *facts, struct arena *arena,
			    struct verdict *ret)
{
	static const struct net_facts nothing = {
		.path.neighbour_age_ms = -1,
	};
	struct verdict v = { .kind = VERDICT_UNKNOWN,
			     .kernel_gives_up_ms = -1 };
	struct judge j = {
		.s = s,
		.facts = facts ? facts : &nothing,
		.two = s->second_state == TCP_SAMPLED,
		.arena = arena,
		.v = &v,
	};

	j.cur = j.two ? &s->second : &s->first;
	if (j.two)
		j.elapsed_ms =
			(s->second.at_mono_ns - s->first.at_mono_ns) / 1000000;
	j.moved = find_moved(&j);
	v.kernel_gives_up_ms = judge_gives_up(&j);
	if (!judge_probe(&j)) {
		// what was tried comes first, why nothing was tried last
		if (judge_was_probed(&j))
			judge_say_probe(&j);
		judge_state(&j);
		if (!judge_was_probed(&j))
			judge_say_probe(&j);
	}
	if (j.nomem)
		return &error_nomem;
	*ret = v;
	return NULL;
}

const char *verdict_name(enum verdict_kind kind)
{
	switch (kind) {
	case VERDICT_HALF_OPEN:
		return "half-open";
	case VERDICT_UNREACHABLE:
		return "unreachable";
	case VERDICT_LOCAL_CAUSE:
		return "local-cause";
	case VERDICT_HALF_CLOSED:
		return "half-closed";
	case VERDICT_PEER_NOT_READING:
		return "peer-not-reading";
	case VERDICT_PATH_MTU:
		return "path-mtu";
	case VERDICT_DATA_WAITING:
		return "data-waiting";
	case VERDICT_ALIVE:
		return "alive";
	case VERDICT_SILENT:
		return "silent";
	case VERDICT_UNKNOWN:
		return "unknown";
	case VERDICT_LISTENING:
		return "listening";
	case VERDICT_CONNECTING:
		return "connecting";
	}
	return "unknown";
}

const char *evidence_kind_name(enum evidence_kind kind)
{
	switch (kind) {
	case EVIDENCE_PEER_NETNS:
		return "peer-netns-lookup";
	case EVIDENCE_SEGMENTS:
		return "segments";
	case EVIDENCE_RETRANSMIT:
		return "retransmissions";
	case EVIDENCE_KEEPALIVE:
		return "keepalive";
	case EVIDENCE_ZERO_WINDOW:
		return "zero-window";
	case EVIDENCE_LOCAL:
		return "local-path";
	case EVIDENCE_STATE:
		return "state";
	case EVIDENCE_QUEUE:
		return "queue";
	case EVIDENCE_IDLE:
		return "idle";
	case EVIDENCE_MISSING:
		return "missing";
	case EVIDENCE_PROBE:
		return "probe";
	}
	return "unknown";
}
