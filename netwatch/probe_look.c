/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "netwatch/probe_priv.h"

#define SEGMENTS_MAX 1000000 /* in one window; a reset counter gives more */

void shot_end(struct shot *shot, enum probe_result result, const char *why)
{
	shot->f->result = result;
	shot->f->known_wall_ms = clock_wall_ms();
	shot->done = true;
	if (why)
		shot->f->why = why;
}

void shot_refuse(struct shot *shot, const char *why)
{
	shot_end(shot, PROBE_REFUSED, why);
}

static const char *flight(const struct tcp_sample *t)
{
	if (t->timer == TCP_TIMER_RETRANSMIT || t->info.unacked)
		return "data is in flight: the kernel's own resends are the "
		       "probe";
	if (t->timer == TCP_TIMER_PERSIST)
		return "data waits for the peer's window: the kernel's own "
		       "window probes tell";
	if (t->wqueue)
		return "data waits to be sent, and will tell by itself";
	return NULL;
}

const char *probe_obstacle(const struct tcp_sample *now)
{
	switch (now->state) {
	case TCP_STATE_ESTABLISHED:
	case TCP_STATE_CLOSE_WAIT:
	case TCP_STATE_FIN_WAIT2:
		break;
	case TCP_STATE_LISTEN:
		return "it is a listener";
	case TCP_STATE_SYN_SENT:
	case TCP_STATE_SYN_RECV:
	case TCP_STATE_NEW_SYN_RECV:
		return "its handshake is not finished";
	case TCP_STATE_FIN_WAIT1:
	case TCP_STATE_CLOSING:
	case TCP_STATE_LAST_ACK:
		return "its FIN is in flight: the kernel's own resends are the "
		       "probe";
	case TCP_STATE_UNKNOWN:
	case TCP_STATE_TIME_WAIT:
	case TCP_STATE_CLOSE:
		return "it is closed";
	}
	if (!(now->info.known & TCP_INFO_SEGS))
		return "this kernel does not count segments (Linux 4.2): an "
		       "answer would not be seen";
	return flight(now);
}

static int lookup(const struct shot *shot, struct tcp_sample *ret)
{
	const struct tcp_socket *s = shot->t->s;
	struct tcp_socket now;
	AUTO_ERROR struct error *err = sockdiag_lookup(shot->t->diag, &s->local,
						       &s->remote, s->ifindex,
						       s->cookie, &now);

	if (!err) {
		*ret = now.first;
		return 0;
	}
	if (error_code(err) == ERROR_GONE)
		return -ENOENT;
	log_debug("net", "probe: %s", error_text(err));
	return -EIO;
}

bool shot_baseline(struct shot *shot)
{
	int rc = lookup(shot, &shot->base);
	const char *why = rc ? NULL : probe_obstacle(&shot->base);

	if (rc == -ENOENT)
		shot_end(shot, PROBE_GONE, "it ended before it was probed");
	else if (rc)
		shot_refuse(shot, "sock_diag does not answer");
	else if (why)
		shot_refuse(shot, why);
	if (!rc)
		shot->f->state = shot->base.state;
	return !shot->done;
}

static int64_t since_first_ms(const struct shot *shot)
{
	if (!shot->first_mono_ns)
		return 0;
	return (clock_mono_ns() - shot->first_mono_ns) / 1000000;
}

static void count_segments(struct shot *shot, const struct tcp_info_fields *i)
{
	shot->f->segs_in = i->segs_in - shot->base.info.segs_in;
	shot->f->segs_out = i->segs_out - shot->base.info.segs_out;
}

/*
 * A reset moves no byte in either direction, and nothing but our probes has
 * left. An orderly end does move one: a FIN counts in bytes_acked or
 * bytes_received. One by a time-out, or by SOCK_DESTROY, brings no segment.
 */
static bool is_reset(const struct shot *shot, const struct tcp_info_fields *i)
{
	const struct tcp_info_fields *b = &shot->base.info;
	uint32_t in = i->segs_in - b->segs_in, out = i->segs_out - b->segs_out;

	if (!(i->known & b->known & TCP_INFO_BYTES) || !in ||
	    in > SEGMENTS_MAX || i->bytes_acked != b->bytes_acked ||
	    i->bytes_received != b->bytes_received)
		return false;
	return shot->f->method == PROBE_BY_WINDOW
		       ? out == shot->f->sent
		       : out >= 1 && out <= PROBE_MAX;
}

/* Keepalive's probes are the kernel's: known only by its counter. */
static void count_keepalives(struct shot *shot)
{
	struct probe_facts *f = shot->f;
	uint32_t sent = f->segs_out < PROBE_MAX ? f->segs_out : PROBE_MAX;

	if (f->method != PROBE_BY_KEEPALIVE)
		return;
	if (!f->sent && sent)
		shot->first_mono_ns = clock_mono_ns();
	while (f->sent < sent)
		f->at_wall_ms[f->sent++] = clock_wall_ms();
}

void shot_closed(struct shot *shot, const struct tcp_info_fields *info)
{
	count_segments(shot, info);
	count_keepalives(shot);
	shot->f->state = TCP_STATE_CLOSE;
	shot->f->waited_ms = since_first_ms(shot);
	if (shot->f->sent && is_reset(shot, info)) {
		shot->f->answered_ms = since_first_ms(shot);
		shot_end(shot, PROBE_RST, NULL);
	} else {
		shot_end(shot, PROBE_GONE,
			 "it ended meanwhile, and not by a reset alone");
	}
}

void shot_lost(struct shot *shot)
{
	shot_end(shot, PROBE_GONE,
		 "the program let go of it meanwhile; what a reset makes it do "
		 "looks the same, and --rst-shield tells");
}

/* The program has closed it: only what the kernel said when freeing it tells. */
static void look_at_freed(struct shot *shot)
{
	shot->f->waited_ms = since_first_ms(shot);
	if (shot->armed)
		guard_clear(shot->entry); // nothing left to put back
	shot->armed = false;
	if (shot->freed)
		shot_closed(shot, &shot->last);
	else if (++shot->vanished > PROBE_LAST_WORDS)
		shot_lost(shot);
}

/* No row any more: the duplicate knows what has become of it. */
static void look_at_vanished(const struct process *p, struct shot *shot)
{
	AUTO_CLOSE int dup = socket_ref_dup(p, &shot->ref);
	struct tcp_info_fields info;
	enum tcp_state state;

	if (dup < 0 || shot_info(dup, &state, &info))
		look_at_freed(shot);
	else if (state == TCP_STATE_CLOSE)
		shot_closed(shot, &info);
	else
		shot_end(shot, PROBE_GONE, "it ended meanwhile");
}

static void halt(const struct process *p, struct shot *shot, const char *why)
{
	shot->halted = true;
	if (!shot->f->why)
		shot->f->why = why;
	shot_disarm(p, shot);
}

static void look_at_sample(const struct process *p, struct shot *shot,
			   const struct tcp_sample *now)
{
	struct probe_facts *f = shot->f;

	count_segments(shot, &now->info);
	const char *busy = flight(now);
	if (!busy)
		count_keepalives(shot);
	f->state = now->state;
	f->waited_ms = since_first_ms(shot);
	if (f->segs_in && f->segs_in < SEGMENTS_MAX) {
		f->answered_ms = since_first_ms(shot);
		shot_end(shot, PROBE_ANSWERED, NULL);
		return;
	}
	if (!shot->halted && busy)
		halt(p, shot, "the program sent data meanwhile");
	if (shot->armed && f->sent == PROBE_MAX)
		shot_disarm(p, shot);
}

void shot_look(const struct process *p, struct shot *shot)
{
	struct tcp_sample now;
	int rc = lookup(shot, &now);

	if (!rc)
		look_at_sample(p, shot, &now);
	else if (rc == -ENOENT)
		look_at_vanished(p, shot);
	if (shot->done)
		shot_disarm(p, shot);
}
