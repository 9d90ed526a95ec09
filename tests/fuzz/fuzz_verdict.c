/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any picture of a connection, also impossible ones: judging it never crashes,
 * never says half-open without the proof, and always gives a reason.
 */
#include <stdlib.h>
#include <string.h>

#include "netwatch/verdict.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct stream {
	const uint8_t *p;
	size_t left;
};

/* Little-endian from the input; 0 where it has ended. */
static uint64_t take(struct stream *in, size_t bytes)
{
	uint64_t v = 0;

	if (bytes > in->left)
		bytes = in->left;
	memcpy(&v, in->p, bytes);
	in->p += bytes;
	in->left -= bytes;
	return v;
}

static void take_sample(struct stream *in, struct tcp_sample *t)
{
	struct tcp_info_fields *i = &t->info;

	t->at_mono_ns = (int64_t)take(in, 5);
	t->at_wall_ms = (int64_t)take(in, 3);
	t->state = (enum tcp_state)(take(in, 1) % 16);
	t->timer = (enum tcp_timer)(take(in, 1) % 8);
	t->expires_ms = (uint32_t)take(in, 4);
	t->retrans = (uint8_t)take(in, 1);
	t->rqueue = (uint32_t)take(in, 2);
	t->wqueue = (uint32_t)take(in, 4);
	i->known = (uint32_t)take(in, 2);
	i->retransmits = (uint8_t)take(in, 1);
	i->probes = (uint8_t)take(in, 1);
	i->backoff = (uint8_t)take(in, 1);
	i->rto_us = (uint32_t)take(in, 4);
	i->snd_mss = (uint32_t)take(in, 4);
	i->unacked = (uint32_t)take(in, 1);
	i->last_ack_recv_ms = (uint32_t)take(in, 4);
	i->last_data_recv_ms = (uint32_t)take(in, 4);
	i->bytes_acked = take(in, 2);
	i->bytes_received = take(in, 2);
	i->segs_in = (uint32_t)take(in, 4);
	i->snd_wnd = (uint32_t)take(in, 4);
}

static const char *take_text(struct stream *in)
{
	static const char *const texts[] = { NULL, "", "eth0", "%s%n" };

	return texts[take(in, 1) % 4];
}

static void take_facts(struct stream *in, struct net_facts *f)
{
	f->path.address_present = (enum fact)(take(in, 1) % 3);
	f->path.route_present = (enum fact)(take(in, 1) % 3);
	f->path.carrier = (enum fact)(take(in, 1) % 3);
	f->path.neighbour_failed = (enum fact)(take(in, 1) % 3);
	f->path.neighbour_age_ms = (int64_t)take(in, 8);
	f->path.device = take_text(in);
	f->path.next_hop = take_text(in);
	f->path.unknown_why = take_text(in);
	f->peer.lookup = (enum peer_lookup)(take(in, 1) % 5);
	f->peer.peer_state = (enum tcp_state)(take(in, 1) % 16);
	f->peer.peer_retrans = (uint8_t)take(in, 1);
	f->peer.netns_name = take_text(in);
	f->peer.via = take_text(in);
	f->peer.why = take_text(in);
	f->peer.first_wall_ms = (int64_t)take(in, 3);
	f->peer.at_wall_ms = (int64_t)take(in, 3);
	f->peer.times = (uint32_t)take(in, 1);
	f->for_writer = take(in, 1) & 1;
}

static void take_probe(struct stream *in, struct probe_facts *p)
{
	p->method = (enum probe_method)(take(in, 1) % 3);
	p->result = (enum probe_result)(take(in, 1) % 6);
	p->shielded = take(in, 1) & 1;
	p->sent = (uint32_t)(take(in, 1) % (PROBE_MAX + 1));
	p->answered_ms = (int64_t)take(in, 8);
	p->waited_ms = (int64_t)take(in, 8);
	p->segs_in = (uint32_t)take(in, 4);
	p->state = (enum tcp_state)(take(in, 1) % 16);
	p->next_hop_failed = (enum fact)(take(in, 1) % 3);
	p->next_hop = take_text(in);
	p->why = take_text(in);
}

static void check(const struct tcp_socket *s, const struct net_facts *f,
		  const struct verdict *v)
{
	if (!v->n_evidence || v->n_evidence > VERDICT_MAX_EVIDENCE)
		abort();
	for (uint32_t i = 0; i < v->n_evidence; i++)
		if (!v->evidence[i].text || !v->evidence[i].text[0])
			abort();
	if (v->kernel_gives_up_ms < -1)
		abort();
	if (v->kind != VERDICT_HALF_OPEN || f->probe.result == PROBE_RST)
		return;
	if (f->peer.lookup != PEER_ABSENT || f->peer.times < 2 ||
	    s->second_state != TCP_SAMPLED ||
	    s->first.state != s->second.state ||
	    f->peer.at_wall_ms < s->second.at_wall_ms ||
	    f->peer.first_wall_ms > s->second.at_wall_ms)
		abort();
	if ((s->first.info.known & s->second.info.known & TCP_INFO_SEGS) &&
	    s->second.info.segs_in - s->first.info.segs_in - 1 < 1000)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct stream in = { data, size };
	struct tcp_socket s = { .local.family = 2, .remote.family = 2 };
	struct net_facts f = { 0 };
	struct arena *arena = arena_create();
	struct verdict v;

	s.second_state = (enum tcp_sample_state)(take(&in, 1) % 4);
	take_sample(&in, &s.first);
	// Mostly the same picture twice: differences are what is interesting.
	s.second = s.first;
	if (take(&in, 1) & 1)
		take_sample(&in, &s.second);
	else
		s.second.at_wall_ms += 1000;
	s.options.known = take(&in, 1) & 1;
	s.options.keepalive = take(&in, 1) & 1;
	s.options.keepintvl_s = (uint32_t)take(&in, 4);
	s.options.keepcnt = (uint32_t)take(&in, 4);
	s.options.user_timeout_ms = (uint32_t)take(&in, 4);
	take_facts(&in, &f);
	take_probe(&in, &f.probe);
	struct error *err = verdict_judge(&s, &f, arena, &v);
	if (err)
		abort(); // there is memory
	check(&s, &f, &v);
	arena_destroy(arena);
	return 0;
}
