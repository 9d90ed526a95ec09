/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stdio.h>

#include "netwatch/judge.h"

struct span judge_span(int64_t ms)
{
	struct span ret;

	clock_format_duration(ms, ret.text);
	return ret;
}

void judge_say(struct judge *j, enum evidence_kind kind, int64_t at_wall_ms,
	       const char *fmt, ...)
{
	if (j->v->n_evidence == VERDICT_MAX_EVIDENCE)
		return;
	char text[512];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	char *copy = arena_strdup(j->arena, text);
	if (!copy) {
		j->nomem = true;
		return;
	}
	j->v->evidence[j->v->n_evidence++] = (struct evidence){
		.kind = kind,
		.text = copy,
		.at_wall_ms = at_wall_ms,
	};
}

/* Kernels before 4.2, or one sample: the ages are all there is. */
static void say_ages(struct judge *j)
{
	const struct tcp_info_fields *a = &j->s->first.info;
	const struct tcp_info_fields *b = &j->cur->info;
	int64_t at = j->cur->at_wall_ms;

	if (j->two && judge_knows(&j->s->first, TCP_INFO_BYTES) &&
	    judge_knows(j->cur, TCP_INFO_BYTES) &&
	    b->bytes_received > a->bytes_received)
		judge_say(j, EVIDENCE_SEGMENTS, at,
			  "data arrives: %llu -> %llu bytes over %s",
			  (unsigned long long)a->bytes_received,
			  (unsigned long long)b->bytes_received,
			  judge_span(j->elapsed_ms).text);
	if (judge_knows(j->cur, TCP_INFO_BASE))
		judge_say(j, j->two ? EVIDENCE_SEGMENTS : EVIDENCE_IDLE, at,
			  "the last data or ack came %s ago (%s)",
			  judge_span(judge_quiet_ms(j->cur)).text,
			  j->two ? "this kernel does not count segments"
				 : "one sample");
}

void judge_say_segments(struct judge *j)
{
	const struct tcp_info_fields *a = &j->s->first.info;
	const struct tcp_info_fields *b = &j->cur->info;
	int64_t at = j->cur->at_wall_ms;

	if (!j->two || !judge_knows(&j->s->first, TCP_INFO_SEGS) ||
	    !judge_knows(&j->s->second, TCP_INFO_SEGS)) {
		say_ages(j);
		return;
	}
	if (j->moved == MOVED_YES)
		judge_say(j, EVIDENCE_SEGMENTS, at,
			  "segments arrive: segs_in %u -> %u over %s",
			  a->segs_in, b->segs_in,
			  judge_span(j->elapsed_ms).text);
	else if (j->moved == MOVED_UNKNOWN)
		judge_say(
			j, EVIDENCE_SEGMENTS, at,
			"segs_in %u -> %u over %s makes no sense, so it is not "
			"used",
			a->segs_in, b->segs_in, judge_span(j->elapsed_ms).text);
	else
		judge_say(j, EVIDENCE_SEGMENTS, at,
			  "no data or ack for %s: segs_in %u -> %u over %s",
			  judge_span(judge_quiet_ms(j->cur)).text, a->segs_in,
			  b->segs_in, judge_span(j->elapsed_ms).text);
}

static const char *or_unknown(const char *text)
{
	return text ? text : "unknown";
}

void judge_say_peer(struct judge *j)
{
	const struct peer_facts *p = &j->facts->peer;
	const char *name = p->netns_name ? p->netns_name : "its namespace";

	switch (p->lookup) {
	case PEER_FOUND:
		judge_say(
			j, EVIDENCE_PEER_NETNS, p->at_wall_ms,
			"the peer's own socket is %s (%s%s%s; 0 packets sent)",
			tcp_state_name(p->peer_state), name,
			p->via ? ", via " : "", p->via ? p->via : "");
		break;
	case PEER_ABSENT:
		judge_say(
			j, EVIDENCE_PEER_NETNS, p->at_wall_ms,
			"the peer's namespace has no such connection (%s%s%s; "
			"looked %u time%s, 0 packets sent)",
			name, p->via ? ", via " : "", p->via ? p->via : "",
			p->times, p->times == 1 ? "" : "s");
		break;
	case PEER_AMBIGUOUS:
		judge_say(j, EVIDENCE_PEER_NETNS, p->at_wall_ms,
			  "the peer's end on this host proves nothing: %s",
			  or_unknown(p->why));
		break;
	case PEER_NOT_LOOKED:
	case PEER_NOT_ON_HOST:
		break;
	}
}

/* Returns whether something local stands in the way. */
bool judge_say_local(struct judge *j)
{
	const struct path_facts *p = &j->facts->path;
	char local[ENDPOINT_TEXT_MAX], remote[ENDPOINT_TEXT_MAX];
	uint32_t before = j->v->n_evidence;
	int64_t at = j->s->first.at_wall_ms;

	endpoint_format_addr(&j->s->local, local);
	endpoint_format_addr(&j->s->remote, remote);
	if (p->address_present == FACT_NO)
		judge_say(j, EVIDENCE_LOCAL, at,
			  "this host no longer has the address %s", local);
	else if (p->route_present == FACT_NO)
		judge_say(j, EVIDENCE_LOCAL, at,
			  "there is no route from %s to %s", local, remote);
	if (p->carrier == FACT_NO)
		judge_say(j, EVIDENCE_LOCAL, at, "the device %s has no carrier",
			  or_unknown(p->device));
	if (p->neighbour_failed == FACT_YES)
		judge_say(
			j, EVIDENCE_LOCAL, at,
			"the next hop %s on %s did not answer when last asked "
			"(neighbour FAILED%s%s)",
			p->next_hop ? p->next_hop : remote,
			or_unknown(p->device),
			p->neighbour_age_ms >= 0 ? " for " : "",
			p->neighbour_age_ms >= 0
				? judge_span(p->neighbour_age_ms).text
				: "");
	return j->v->n_evidence > before;
}

static const char *resent_state(const struct judge *j)
{
	return j->cur->state == TCP_STATE_FIN_WAIT1 ||
			       j->cur->state == TCP_STATE_LAST_ACK ||
			       j->cur->state == TCP_STATE_CLOSING
		       ? "our FIN"
		       : "data in flight";
}

void judge_say_resends(struct judge *j)
{
	const struct tcp_info_fields *i = &j->cur->info;
	int64_t at = j->cur->at_wall_ms;

	judge_say(
		j, EVIDENCE_RETRANSMIT, at,
		"%s is unanswered: %u resend%s, the next in %s, last data or ack "
		"%s ago",
		resent_state(j), i->retransmits, i->retransmits == 1 ? "" : "s",
		judge_span(j->cur->expires_ms).text,
		judge_span(judge_quiet_ms(j->cur)).text);
	if (i->retransmits >= RESENDS_MIN &&
	    i->retransmits >= i->backoff + RESENDS_EARLY)
		judge_say(
			j, EVIDENCE_RETRANSMIT, at,
			"%u resends but only %u back-offs: as when routers answer "
			"'destination unreachable' (RFC 6069)",
			i->retransmits, i->backoff);
	if (j->v->kernel_gives_up_ms >= 0)
		judge_say(
			j, EVIDENCE_RETRANSMIT, at,
			"the kernel ends it in about %s (TCP_USER_TIMEOUT %s)",
			judge_span(j->v->kernel_gives_up_ms).text,
			judge_span(j->s->options.user_timeout_ms).text);
	else
		judge_say(
			j, EVIDENCE_MISSING, at,
			"when the kernel gives up is not known (15 min or more "
			"with the default of tcp_retries2)");
}

void judge_say_resends_early(struct judge *j)
{
	if (j->cur->timer != TCP_TIMER_RETRANSMIT ||
	    j->cur->info.retransmits < RESENDS_EARLY)
		return;
	judge_say(j, EVIDENCE_RETRANSMIT, j->cur->at_wall_ms,
		  "%s is unanswered so far: %u resends, last data or ack %s "
		  "ago; it is called unreachable after %d and %s",
		  resent_state(j), j->cur->info.retransmits,
		  judge_span(judge_quiet_ms(j->cur)).text, RESENDS_MIN,
		  judge_span(UNANSWERED_MS).text);
}

void judge_say_keepalive_early(struct judge *j)
{
	if (j->cur->timer != TCP_TIMER_KEEPALIVE || !j->cur->retrans)
		return;
	judge_say(j, EVIDENCE_KEEPALIVE, j->cur->at_wall_ms,
		  "%u keepalive probe%s unanswered so far; it is called "
		  "unreachable after %d and %s",
		  j->cur->retrans, j->cur->retrans == 1 ? " is" : "s are",
		  PROBES_MIN, judge_span(UNANSWERED_MS).text);
}

void judge_say_keepalive(struct judge *j)
{
	const struct tcp_options *o = &j->s->options;
	int64_t at = j->cur->at_wall_ms;

	if (!o->known)
		judge_say(
			j, EVIDENCE_KEEPALIVE, at,
			"%u keepalive probes are unanswered, last data or ack %s "
			"ago",
			j->cur->retrans,
			judge_span(judge_quiet_ms(j->cur)).text);
	else
		judge_say(
			j, EVIDENCE_KEEPALIVE, at,
			"%u of %u keepalive probes are unanswered (one each %s), "
			"last data or ack %s ago",
			j->cur->retrans, o->keepcnt,
			judge_span((int64_t)o->keepintvl_s * 1000).text,
			judge_span(judge_quiet_ms(j->cur)).text);
	if (j->v->kernel_gives_up_ms >= 0)
		judge_say(
			j, EVIDENCE_KEEPALIVE, at,
			"the kernel ends the connection in %s if none is answered",
			judge_span(j->v->kernel_gives_up_ms).text);
	else
		judge_say(
			j, EVIDENCE_MISSING, at,
			"when the kernel gives up is not known: the keepalive "
			"settings could not be read");
}

void judge_say_zero_window(struct judge *j, bool known)
{
	judge_say(j, EVIDENCE_ZERO_WINDOW, j->cur->at_wall_ms,
		  "the peer %s its receive window: %u byte%s to be sent, %u "
		  "probe%s unanswered, last data or ack %s ago",
		  known ? "has closed" : "seems to have closed", j->cur->wqueue,
		  judge_s(j->cur->wqueue), j->cur->retrans,
		  j->cur->retrans == 1 ? "" : "s",
		  judge_span(judge_quiet_ms(j->cur)).text);
}

void judge_say_keepalive_setting(struct judge *j)
{
	int64_t at = j->cur->at_wall_ms;
	const struct tcp_options *o = &j->s->options;

	if (j->cur->timer == TCP_TIMER_KEEPALIVE) {
		if (j->v->kernel_gives_up_ms >= 0)
			judge_say(
				j, EVIDENCE_KEEPALIVE, at,
				"keepalive is on: if nothing answers, the kernel ends the connection in %s",
				judge_span(j->v->kernel_gives_up_ms).text);
		else
			judge_say(
				j, EVIDENCE_KEEPALIVE, at,
				"keepalive is on, the next probe is due in %s",
				judge_span(j->cur->expires_ms).text);
	} else if (j->cur->timer == TCP_TIMER_OFF ||
		   (o->known && !o->keepalive)) {
		judge_say(
			j, EVIDENCE_MISSING, at,
			"keepalive is off: the kernel will never find out by itself that a peer is gone");
	} else if (!o->known) {
		judge_say(
			j, EVIDENCE_MISSING, at,
			"whether keepalive is on is not known: its timer shows "
			"only when nothing is in flight, and the settings could "
			"not be read");
	}
}

void judge_say_missing(struct judge *j)
{
	const struct peer_facts *p = &j->facts->peer;
	int64_t at = j->cur->at_wall_ms;

	judge_say_keepalive_setting(j);
	if (j->s->second_state == TCP_NOT_SAMPLED)
		judge_say(
			j, EVIDENCE_MISSING, at,
			"one sample only: a second one, a second later, would show "
			"whether segments arrive");
	else if (j->s->second_state == TCP_SAMPLE_FAILED)
		judge_say(
			j, EVIDENCE_MISSING, at,
			"the second sample failed, so it is not known whether "
			"segments arrive");
	if (p->lookup == PEER_ABSENT)
		judge_say(
			j, EVIDENCE_MISSING, at,
			"one look at the peer is no proof (a connection may be "
			"just being closed); a second one after a second sample "
			"is");
	else if (p->lookup == PEER_NOT_ON_HOST)
		judge_say(j, EVIDENCE_MISSING, at,
			  "the peer's end cannot be looked at: %s",
			  p->why ? p->why : "it is not on this host");
	else if (p->lookup == PEER_NOT_LOOKED && p->why)
		judge_say(j, EVIDENCE_MISSING, at,
			  "the peer's end was not looked at: %s", p->why);
	if (j->facts->path.unknown_why)
		judge_say(j, EVIDENCE_MISSING, at,
			  "the local path is not fully known: %s",
			  j->facts->path.unknown_why);
	if (!judge_was_probed(j))
		judge_say(j, EVIDENCE_MISSING, at,
			  "only a probe, or data sent by either end, tells an "
			  "idle connection from a dead one");
}

static int64_t at_most(uint32_t value, int64_t max)
{
	return value < max ? value : max;
}

/*
 * tcp_keepalive_timer() (net/ipv4/tcp_timer.c, Linux 6.18): at each expiry the
 * connection ends when keepcnt probes are unanswered; with TCP_USER_TIMEOUT,
 * when one is and the time since the last segment has reached it instead.
 */
static int64_t keepalive_gives_up(const struct judge *j)
{
	const struct tcp_options *o = &j->s->options;
	int64_t intvl = at_most(o->keepintvl_s, 1000000) * 1000;
	int64_t cnt = at_most(o->keepcnt, 255);
	int64_t expires = j->cur->expires_ms;
	int64_t ticks = cnt > j->cur->retrans ? cnt - j->cur->retrans : 0;

	if (!o->known || !intvl)
		return -1;
	if (o->user_timeout_ms) {
		int64_t left = (int64_t)o->user_timeout_ms - expires -
			       (int64_t)judge_quiet_ms(j->cur);
		ticks = left > 0 ? (left + intvl - 1) / intvl : 0;
		if (!ticks && !j->cur->retrans)
			ticks = 1;
	}
	return expires + ticks * intvl;
}

/*
 * Data in flight ends by tcp_retries2 (15 resends by default, but a sysctl of
 * the namespace, and the sum depends on the round trip): not known. With
 * TCP_USER_TIMEOUT it is that time after the first transmission, which is
 * what the doubled time-outs add up to so far.
 */
static int64_t resend_gives_up(const struct judge *j)
{
	const struct tcp_info_fields *i = &j->cur->info;
	const struct tcp_options *o = &j->s->options;

	if (!o->known || !o->user_timeout_ms || i->backoff > 31 ||
	    i->retransmits != i->backoff)
		return -1;
	int64_t rto = i->rto_us / 1000, base = rto >> i->backoff;
	int64_t since = 2 * rto - base - (int64_t)j->cur->expires_ms;
	int64_t left = (int64_t)o->user_timeout_ms - (since > 0 ? since : 0);
	return left > 0 ? left : 0;
}

int64_t judge_gives_up(const struct judge *j)
{
	if (!judge_knows(j->cur, TCP_INFO_BASE))
		return -1;
	if (j->cur->timer == TCP_TIMER_KEEPALIVE)
		return keepalive_gives_up(j);
	if (j->cur->timer == TCP_TIMER_RETRANSMIT)
		return resend_gives_up(j);
	return -1;
}
