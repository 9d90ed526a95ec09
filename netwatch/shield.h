/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NETWATCH_SHIELD_H
#define NETWATCH_SHIELD_H

/**
 * The RST shield: a reset that answers a probe is counted and dropped before
 * the connection sees it, so that the program is not told. One table of our
 * own for each namespace, with a set of 4-tuples, each with a counter; its
 * chain is in prerouting before conntrack (priority -300), because a reset
 * would end the conntrack entry too.
 *
 * For as long as it is up, the program is not told of a reset that would have
 * come anyway. Nothing but RST segments of these very connections is dropped.
 *
 * The rules are given to nft(8) as JSON (libnftables is GPL-2-only), which runs
 * in that namespace and needs CAP_NET_ADMIN there. The table is removed by
 * shield_remove(), by the guardian (guard.h) when we do not get there, and the
 * elements have a time-out in the kernel besides.
 */

#include "base/error.h"
#include "netwatch/guard.h"
#include "netwatch/socket.h"

#define SHIELD_MARGIN_S 10  /* that an element outlives the window */
#define SHIELD_NFT_MS 10000 /* that one run of nft may take */

/** Is there an nft(8) to run? Says nothing of what it is allowed. */
bool shield_has_nft(void);

/** A connection behind a shield. */
struct shielded {
	const struct tcp_socket *s;
	uint64_t resets; /* out: segments dropped so far */
};

/**
 * Put a shield up in namespace @i of @guard, for the @n connections @v.
 *
 * Fails: ERROR_UNSUPPORTED (no nft, or a kernel without nf_tables),
 * ERROR_DENIED (CAP_NET_ADMIN), ERROR_OS, ERROR_NOMEM. There is none then.
 */
struct error *shield_raise(struct guard *guard, size_t i, struct shielded *v,
			   size_t n, int64_t window_ms);
/** Read the counters of the @n connections @v. Fails as above. */
struct error *shield_read(struct guard *guard, size_t i, struct shielded *v,
			  size_t n);
/** Returns: 0 when there is none (any more), or -errno. */
int shield_remove(struct guard *guard, size_t i);

#endif
