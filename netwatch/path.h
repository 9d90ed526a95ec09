/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NETWATCH_PATH_H
#define NETWATCH_PATH_H

/**
 * The local half of a connection's path: does this host still have the source
 * address, a route from it, a carrier, and a next hop that answers? All by
 * rtnetlink in the socket's namespace; no packet is sent, and asking for a
 * route does not make the kernel resolve a neighbour.
 *
 * Addresses, devices, neighbours and rules are dumped once for each namespace
 * and call, routes are asked once for each distinct pair of addresses.
 */

#include "base/error.h"
#include "netwatch/socket.h"
#include "netwatch/verdict.h"

/** A namespace that the caller holds open. */
struct path_netns {
	uint64_t inode;
	int fd; /* for setns(2); -1: our own namespace */
};

/**
 * Fill facts[i].path for each of the @n sockets @s; nothing else of @facts is
 * touched. Sockets may live in several namespaces, all of which @ns must hold:
 * a socket whose namespace is not there gets unknown facts.
 *
 * Each fact is FACT_UNKNOWN when it could not be had; unknown_why then has the
 * reason. A loopback peer has no next hop and needs no route: its facts are
 * taken from the address and the state of lo alone. A source address that no
 * device carries counts as present when the routing tables deliver it locally
 * (AnyIP), and as unknown where rules by mark could do so (TPROXY).
 *
 * Returns: NULL, or ERROR_NOMEM; what the kernel refuses is a fact.
 */
struct error *path_examine(const struct path_netns *ns, size_t n_ns,
			   struct tcp_socket *const *s, size_t n,
			   struct arena *arena, struct net_facts *facts);

#endif
