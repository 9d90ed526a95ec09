/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NETWATCH_PROBE_PRIV_H
#define NETWATCH_PROBE_PRIV_H

/** What the files of the probe share: probe.c, probe_send.c, probe_look.c. */

#include "netwatch/guard.h"
#include "netwatch/probe.h"
#include "netwatch/shield.h"

/** Looks after which no last words are waited for any more (destroyed.h). */
#define PROBE_LAST_WORDS 3
#define PROBE_KEEPIDLE_S 1
#define PROBE_KEEPINTVL_S 2
#define PROBE_KEEPCNT 127 /* MAX_TCP_KEEPCNT, include/net/tcp.h */

/** One connection while it is being probed. */
struct shot {
	const struct probe_target *t;
	struct probe_facts *f;
	struct guard_entry *entry;
	struct socket_ref ref;
	struct tcp_sample base; /* right before the first probe */
	int64_t first_mono_ns;	/* of the first probe; 0 none */
	bool armed;		/* keepalive is on, by us */
	bool halted;		/* no further probe, but still watched */
	bool done;		/* decided */
	uint32_t vanished;	/* looks that found neither row nor fd */
	bool freed;		/* the kernel told its last tcp_info: */
	struct tcp_info_fields last;
};

/** How a socket stands in a way of probing; NULL: not at all. */
const char *probe_obstacle(const struct tcp_sample *now);

/** Send the next window probe, or turn keepalive on. Sets f, done, armed. */
void shot_fire(const struct process *p, struct shot *shot);
/** Turn keepalive off again, if it is on; what fails is left to the guard. */
void shot_disarm(const struct process *p, struct shot *shot);

/** Take the baseline. Returns false when it may not be probed (done). */
bool shot_baseline(struct shot *shot);
/** Has anything come? */
void shot_look(const struct process *p, struct shot *shot);
/** By the tcp_info of a socket that is CLOSE: reset by the peer, or else? */
void shot_closed(struct shot *shot, const struct tcp_info_fields *info);

/** Neither row nor descriptor, and no last words have come: it is gone. */
void shot_lost(struct shot *shot);
void shot_refuse(struct shot *shot, const char *why);
void shot_end(struct shot *shot, enum probe_result result, const char *why);
/** State and counters of the socket @dup. Returns 0 or -errno. */
int shot_info(int dup, enum tcp_state *state, struct tcp_info_fields *info);

#endif
