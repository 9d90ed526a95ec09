/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_VERDICT_ROWS_H
#define TESTS_UNIT_VERDICT_ROWS_H

/* A table row is what was seen of one connection, and the verdict on it. */

#include "netwatch/verdict.h"
#include "tests/unit/unit.h"

// A row is a known picture with what differs written after it.
#pragma GCC diagnostic ignored "-Woverride-init"

#define UNUSED __attribute__((unused))
#define WALL 1795389000000 /* when the first sample was taken */

/** What the kernel shows of one socket; each row changes what it is about. */
struct seen {
	enum tcp_state state;
	enum tcp_timer timer;
	uint32_t expires, rq, wq, lar, ldr, rto_ms, unacked, mss, wnd, si;
	uint32_t bytes_acked;
	uint8_t retrans, rtx, bo;
};

/* "idle signature": nothing outstanding, no timer, quiet for 10 s */
#define IDLE                                                                   \
	.state = TCP_STATE_ESTABLISHED, .lar = 10028, .ldr = 10028,            \
	.rto_ms = 204, .mss = 1448, .wnd = 65160, .si = 1

/* keepalive of 15/15/9, its timer running */
#define GO_KEEPALIVE                                                           \
	.known = true, .keepalive = true, .keepidle_s = 15, .keepintvl_s = 15, \
	.keepcnt = 9

#define ABSENT_TWICE                                                           \
	.lookup = PEER_ABSENT, .times = 2, .first_wall_ms = WALL + 10,         \
	.at_wall_ms = WALL + 1010, .netns_name = "/run/netns/b"
#define FOUND(st)                                                              \
	.lookup = PEER_FOUND, .peer_state = TCP_STATE_##st, .times = 1,        \
	.first_wall_ms = WALL + 10, .at_wall_ms = WALL + 10,                   \
	.netns_name = "/run/netns/b"

struct row {
	const char *name;
	struct seen a;
	uint32_t more_segs; /* that came until the second sample */
	bool quick;	    /* one sample only */
	struct seen b;	    /* the second sample where it differs (state set) */
	struct tcp_options options;
	struct path_facts path;
	struct peer_facts peer;
	struct probe_facts probe;
	bool for_writer;
	enum verdict_kind want;
	bool certain;
	const char *says; /* part of some evidence */
	int64_t gives_up; /* 0: not checked */
};

static inline void fill_sample(struct tcp_sample *t, const struct seen *s)
{
	t->state = s->state;
	t->timer = s->timer;
	t->expires_ms = s->expires;
	t->retrans = s->retrans;
	t->rqueue = s->rq;
	t->wqueue = s->wq;
	t->info = (struct tcp_info_fields){
		.known = 0x1ff,
		.retransmits = s->rtx,
		.probes = s->retrans,
		.backoff = s->bo,
		.rto_us = s->rto_ms * 1000,
		.snd_mss = s->mss,
		.unacked = s->unacked,
		.last_ack_recv_ms = s->lar,
		.last_data_recv_ms = s->ldr,
		.last_data_sent_ms = s->ldr,
		.pmtu = 1500,
		.bytes_acked = s->bytes_acked,
		.segs_in = s->si,
		.snd_wnd = s->wnd,
	};
}

static inline void fill(struct tcp_socket *s, const struct row *r)
{
	struct seen b = r->b.state ? r->b : r->a;

	*s = (struct tcp_socket){
		.local = { .family = 2,
			   .addr = { 10, 0, 0, 1 },
			   .port = 40112 },
		.remote = { .family = 2,
			    .addr = { 10, 0, 0, 2 },
			    .port = 6379 },
		.options = r->options,
	};
	fill_sample(&s->first, &r->a);
	s->first.at_mono_ns = 5000000000;
	s->first.at_wall_ms = WALL;
	if (r->quick) {
		s->second_state = TCP_NOT_SAMPLED;
		return;
	}
	if (!r->b.state) {
		b.lar += 1000;
		b.ldr += 1000;
		b.si += r->more_segs;
	}
	s->second_state = TCP_SAMPLED;
	fill_sample(&s->second, &b);
	s->second.at_mono_ns = 6000000000;
	s->second.at_wall_ms = WALL + 1000;
}

static inline bool says(const struct verdict *v, const char *part)
{
	for (uint32_t i = 0; i < v->n_evidence; i++)
		if (strstr(v->evidence[i].text, part))
			return true;
	return false;
}

static inline void print_evidence(const struct verdict *v)
{
	for (uint32_t i = 0; i < v->n_evidence; i++)
		print_error("  %s: %s\n",
			    evidence_kind_name(v->evidence[i].kind),
			    v->evidence[i].text);
}

static inline void judge_row(const struct row *r)
{
	struct tcp_socket s;
	struct net_facts facts = { .path = r->path,
				   .peer = r->peer,
				   .probe = r->probe,
				   .for_writer = r->for_writer };
	struct arena *arena = arena_create();
	struct verdict v;

	fill(&s, r);
	assert_ok(verdict_judge(&s, &facts, arena, &v));
	if (v.kind != r->want || v.certain != r->certain ||
	    (r->says && !says(&v, r->says)) ||
	    (r->gives_up && v.kernel_gives_up_ms != r->gives_up)) {
		print_evidence(&v);
		fail_msg("%s: is '%s' (certain %d, gives up %lld), should be "
			 "'%s' (certain %d) with '%s'",
			 r->name, verdict_name(v.kind), v.certain,
			 (long long)v.kernel_gives_up_ms, verdict_name(r->want),
			 r->certain, r->says ? r->says : "");
	}
	assert_true(v.n_evidence > 0);
	for (uint32_t i = 0; i < v.n_evidence; i++) {
		const char *text = v.evidence[i].text;
		assert_true(text[0] && text[strlen(text) - 1] != '.');
		assert_true(v.evidence[i].at_wall_ms >= WALL);
	}
	arena_destroy(arena);
}

static inline void judge_rows(const struct row *rows, size_t n)
{
	for (size_t i = 0; i < n; i++)
		judge_row(&rows[i]);
}

/* Nothing but an absent peer makes a connection half-open. */
static inline void only_absent_is_half_open(const struct row *r)
{
	for (int l = PEER_NOT_LOOKED; l <= PEER_AMBIGUOUS; l++) {
		struct net_facts f = { .path = r->path,
				       .peer = { ABSENT_TWICE } };
		struct tcp_socket s;
		struct verdict v;
		struct arena *arena = arena_create();

		f.peer.lookup = (enum peer_lookup)l;
		f.peer.peer_state = TCP_STATE_ESTABLISHED;
		fill(&s, r);
		assert_ok(verdict_judge(&s, &f, arena, &v));
		if (v.kind == VERDICT_HALF_OPEN)
			assert_true(l == PEER_ABSENT && !r->quick &&
				    !r->more_segs);
		arena_destroy(arena);
	}
}

#endif
