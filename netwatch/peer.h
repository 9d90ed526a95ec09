/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NETWATCH_PEER_H
#define NETWATCH_PEER_H

/**
 * Proof at the other end: when the peer is on this host, its own namespace
 * knows whether it still has the connection.
 *
 * That a namespace merely owns the peer's address proves nothing: the packets
 * may go elsewhere. So the way of our next packet is followed, hop by hop (at
 * most PEER_MAX_HOPS), as the kernel would send it:
 *
 *   1. conntrack: the entry of the tuple, in either direction, translates it;
 *   2. route: is the destination delivered here? Then the reversed tuple is
 *      looked up among this namespace's sockets, and that is the answer;
 *   3. otherwise the route's device: the other end of a veth pair, found by
 *      its namespace id, or, through a bridge, the port whose device has the
 *      next hop's hardware address.
 *
 * PEER_ABSENT is what the word half-open rests on. It is given only when every
 * hop was followed without a guess: links up, exactly one way, and nothing on
 * the way that could rewrite a packet without a conntrack entry that says how.
 * In each namespace passed: no NAT rules and no tracking where the tuple has no
 * entry; no nftables rule that writes to packets, queues, redirects or
 * duplicates; no traffic control, BPF or XDP program on a device used; no IPVS,
 * no IPsec policy; no routing rule by mark, port, user or TOS; one way only.
 * One of these, or no permission to see them, makes it PEER_AMBIGUOUS, with the
 * reason. PEER_NOT_ON_HOST means that the way leaves this host, or what we can
 * see of it.
 *
 * Not followed (PEER_AMBIGUOUS or PEER_NOT_ON_HOST): macvlan, ipvlan, tunnels,
 * VLANs, bonds, VRFs, Open vSwitch. Where the way is cut, and only one namespace
 * has the address, `why` says as a hint what that one has.
 *
 * Not seen, so a limit of the proof: a TCP stack in user space behind an address
 * that the kernel of its namespace owns as well; a connection that is being
 * moved (checkpointed) at that moment; old ebtables; NFQUEUE in old iptables'
 * filter table. And a firewall that only drops packets is not seen, so
 * PEER_FOUND does not say that packets pass.
 */

#include "base/error.h"
#include "base/gap.h"
#include "netwatch/path.h"
#include "netwatch/socket.h"
#include "netwatch/verdict.h"

#define PEER_MAX_HOPS 16

struct peer;

/**
 * Prepare: finds the namespaces of this host; opens none yet.
 *
 * @param ns the namespaces that the caller holds open; borrowed until
 * peer_close(), needed where a namespace is reachable through a socket only.
 * @param gaps what was refused while enumerating is added there; may be NULL.
 * Fails: ERROR_NOMEM, ERROR_OS.
 */
struct error *peer_open(const struct path_netns *ns, size_t n_ns,
			struct gaps *gaps, struct peer **ret);
/** NULL is fine. */
void peer_close(struct peer *peer);

/**
 * Fill facts[i].peer for each of the @n sockets @s; nothing else of @facts is
 * touched. Texts come from @arena. Only sockets with a remote end in a state
 * where a peer matters are looked up (not LISTEN, not SYN_SENT).
 *
 * Returns: NULL, or ERROR_NOMEM; what the kernel refuses is a fact.
 */
struct error *peer_examine(struct peer *peer, struct tcp_socket *const *s,
			   size_t n, struct arena *arena,
			   struct net_facts *facts);

/**
 * Look again, from scratch, for those of @s whose peer was absent, or found in
 * a state that does not fit an established connection; the others are left as
 * they are. Call it after the second sample: one look is no proof, because a
 * connection may be just being made or closed.
 *
 * The same answer raises times and sets at_wall_ms; another answer replaces
 * the first (times is 1 again).
 */
struct error *peer_recheck(struct peer *peer, struct tcp_socket *const *s,
			   size_t n, struct arena *arena,
			   struct net_facts *facts);

#endif
