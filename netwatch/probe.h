/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NETWATCH_PROBE_H
#define NETWATCH_PROBE_H

/**
 * Ask the peer: does it still have this connection? The only thing here that
 * sends a packet and touches the target, and never unless the user asked.
 *
 * Of all connections at once, by one schedule: probes at 0, 1 and 5 s, none
 * after an answer, looks by exact lookup in between until the window is over.
 * At most three for each, because the fourth that goes unanswered makes a
 * netfilter NAT on the path forget the connection early
 * (nf_conntrack_tcp_max_retrans 3; measured on Linux 6.18: 5 days to 300 s);
 * at least 600 ms apart, because the peer answers only two in a second
 * (tcp_invalid_ratelimit). What the default window must outlast is a full
 * queue of 4 s and an outage of 5 s.
 *
 * The window probe: setsockopt(TCP_REPAIR, 0) on a duplicate that lives for
 * microseconds. The socket never is in repair mode; the kernel sends one
 * segment without data that any peer answers (do_tcp_setsockopt,
 * tcp_send_window_probe: net/ipv4/tcp.c and tcp_output.c, Linux 6.18; `val == 0`
 * did so already in 3.5). It starts no timer. It clears SO_REUSEADDR, which is
 * put back through the same duplicate. ESTABLISHED only, plain TCP only, takes
 * CAP_NET_ADMIN in the user namespace that owns the socket's network.
 *
 * Keepalive, where that cannot be: turned on with an idle time of 1 s and an
 * interval of 2 s, so that probes leave at 1, 3 and 5 s, and a count of 127,
 * which is not reached; turned off again by the first answer, the third probe
 * or the end of the window. Never where the program set TCP_USER_TIMEOUT (one
 * unanswered probe would end the connection, whatever the count: measured), nor
 * where that cannot be read, nor where its own keepalive runs (it tells by
 * itself, and ours would count against it), nor with settings that cannot be
 * put back, nor where many earlier probes are still unanswered. Afterwards the
 * socket has the values it had, as its own: one that inherited the system's
 * does not follow a later change of those. Unanswered probes stay counted
 * (tcpi_probes) until a segment arrives: a keepalive that the program turns on
 * later starts with up to three against it.
 *
 * Not probed: what is not ESTABLISHED, CLOSE_WAIT or FIN_WAIT2; where data is
 * in flight or waits to be sent, or a resend or persist timer runs (the
 * kernel's own resends are the probe, and answers to ours could be taken for
 * duplicate ACKs); where the socket is in repair mode (somebody else's
 * checkpoint, which TCP_REPAIR 0 would end). Unread data does not stand in the
 * way: the probe touches neither queue.
 *
 * A peer without the connection answers with a reset, which ends the
 * connection as any packet of the program's would; with rst_shield it is
 * dropped and counted instead (shield.h).
 *
 * A probe refreshes NAT and conntrack entries on its way and may make a lost
 * one anew: do not repeat it for ever. What is left behind by a crash: guard.h.
 * Two of us that probe one connection in the same microsecond are not kept
 * apart: the second may take a cleared SO_REUSEADDR for what the program set.
 */

#include "base/error.h"
#include "base/process.h"
#include "netwatch/netwatch.h"
#include "netwatch/sockdiag.h"

#define PROBE_WINDOW_MS 15000
#define PROBE_WINDOW_MIN_MS 1000
#define PROBE_WINDOW_MAX_MS 60000
#define PROBE_SOCKETS_MAX 100000 /* at once; more are refused by name */

/** A connection to probe. */
struct probe_target {
	const struct tcp_socket *s;
	int fd; /* of the target's; -1: none refers to it any more */
	struct sockdiag *diag; /* of its namespace */
	size_t netns;	       /* index of that in probe_world */
};

struct probe_world {
	const struct process *p;
	const int *netns_fds;
	size_t n_netns;
};

/**
 * Probe the @n connections @v; @facts[i] gets what came of @v[i]. Texts are
 * static or from @arena. Takes as long as the window unless all are decided
 * before, and 0 when none may be probed.
 *
 * Returns: NULL, also when each was refused; ERROR_UNSUPPORTED, ERROR_DENIED
 * (no shield, though asked for: then nothing was sent), ERROR_OS (something
 * could not be put back: the text says what), ERROR_NOMEM.
 */
struct error *probe_run(const struct probe_world *world,
			const struct probe_target *v, size_t n,
			const struct probe_options *opt,
			struct probe_facts **facts);

#endif
