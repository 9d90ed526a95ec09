/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NETWATCH_JUDGE_H
#define NETWATCH_JUDGE_H

/**
 * What the parts of judging share: verdict.c decides, verdict_probe.c decides
 * by what our own probes met, evidence.c says in words what was seen. Only
 * these include this.
 */

#include "base/clock.h"
#include "netwatch/verdict.h"

/*
 * Thresholds, each with its reason.
 *
 * Six resends double a 200 ms time-out to 12.6 s in all: an outage that long
 * is no lost packet and no failover. Where the time-out is shorter (data
 * centre settings), the ten seconds since the last acceptable segment keep the
 * same meaning; they also outlast a 4 s queue in front of a slow link.
 */
#define RESENDS_MIN 6
#define RESENDS_EARLY 3 /* worth telling, not yet worth a verdict */
#define UNANSWERED_MS 10000
#define OUR_PROBES_MIN 3   /* of probes that we sent, see probe.h */
#define PROBES_MIN 2	   /* RFC 9293 MUST-29: one unanswered proves nothing */
#define SYN_RESENDS_MIN 3  /* 3 s at least, linear SYN time-outs included */
#define LOOKS_MIN 2	   /* the peer may be accepting or closing just now */
#define LOOKS_APART_MS 500 /* more than a segment in flight takes on a host */
#define SLACK_MS 20	   /* ages are counted in jiffies, 10 ms at most */
#define SMALL_MSS 1200	   /* whatever passes IPv6 passes this */
#define PERSIST_MAX_MS 120000

enum moved {
	MOVED_UNKNOWN, /* one sample, or counters that we do not have */
	MOVED_NO,
	MOVED_YES,
};

struct judge {
	const struct tcp_socket *s;
	const struct net_facts *facts;
	const struct tcp_sample *cur; /* the latest sample */
	bool two;		      /* both samples were taken */
	int64_t elapsed_ms;	      /* between them */
	enum moved moved;	      /* did a segment arrive between them? */
	struct arena *arena;
	struct verdict *v;
	bool nomem;
};

void judge_decide(struct judge *j, enum verdict_kind kind, bool certain);

/** Has the kernel sent these groups of tcp_info (enum tcp_info_known)? */
static inline bool judge_knows(const struct tcp_sample *t, uint32_t groups)
{
	return (t->info.known & groups) == groups;
}

/** Since the last segment that carried data or an acceptable ACK. */
static inline uint32_t judge_quiet_ms(const struct tcp_sample *t)
{
	return t->info.last_ack_recv_ms < t->info.last_data_recv_ms
		       ? t->info.last_ack_recv_ms
		       : t->info.last_data_recv_ms;
}

/** A duration in words, to be used within one expression. */
struct span {
	char text[CLOCK_TEXT_MAX];
};
struct span judge_span(int64_t ms);

static inline const char *judge_s(uint32_t n)
{
	return n == 1 ? "" : "s";
}

/** Add a sentence; beyond VERDICT_MAX_EVIDENCE it is left out. */
void judge_say(struct judge *j, enum evidence_kind kind, int64_t at_wall_ms,
	       const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* What was seen, one topic each; see evidence.c. */
void judge_say_segments(struct judge *j);
void judge_say_peer(struct judge *j);
/** Returns whether something local stands in the way. */
bool judge_say_local(struct judge *j);
void judge_say_resends(struct judge *j);
void judge_say_resends_early(struct judge *j);
void judge_say_keepalive(struct judge *j);
void judge_say_keepalive_early(struct judge *j);
void judge_say_zero_window(struct judge *j, bool known);
/** What keepalive will, or will not, find out. */
void judge_say_keepalive_setting(struct judge *j);
/** What would tell an idle connection from a dead one. */
void judge_say_missing(struct judge *j);

/** Was something sent, by what the result says? */
static inline bool judge_was_probed(const struct judge *j)
{
	return j->facts->probe.result != PROBE_NOT_ASKED &&
	       j->facts->probe.result != PROBE_REFUSED;
}

/** The probes and what came of them; nothing when none was asked for. */
void judge_say_probe(struct judge *j);
/** Does the probe decide? Then the verdict is made. See verdict_probe.c. */
bool judge_probe(struct judge *j);

/** verdict.kernel_gives_up_ms. */
int64_t judge_gives_up(const struct judge *j);

#endif
