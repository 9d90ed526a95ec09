/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NETWATCH_NAT_H
#define NETWATCH_NAT_H

/**
 * What one network namespace does to the addresses of a packet: the conntrack
 * entry of a tuple, and everything else that could rewrite one. Nothing is
 * changed, no packet is sent. Used by peer.c.
 *
 * Asking for rules makes the kernel load nf_tables where that is a module and
 * not loaded, as any `nft list` does; conntrack is asked only where it runs.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "netwatch/socket.h"

struct nat;

struct nat_tuple {
	struct endpoint src, dst; /* of a packet, both of one family */
};

struct nat_facts {
	/**
	 * Connections are tracked here, or there are NAT rules: a tuple without
	 * an entry may have been translated by one that is lost.
	 */
	bool tracking;
	/** This kernel has no conntrack (or it is a module, not loaded). */
	bool no_conntrack;
	/** Rules that change packets without an entry that tells; or NULL. */
	const char *rewriter;
	/** The same, of frames on a bridge; or NULL. */
	const char *bridge_rewriter;
	/** Something could not be seen (permission); or NULL. */
	const char *unseen;
	/** It was a limit of ours: open files, memory. */
	bool limited;
	/** Bridged packets pass the rules of this namespace too. */
	bool bridge_ipv4, bridge_ipv6;
};

/** Fails: ERROR_DENIED, ERROR_OS, ERROR_NOMEM. */
struct error *nat_open(int netns_fd, struct nat **ret);
void nat_close(struct nat *nat);

/** Kept from the first call on; the pointer lives as long as @nat. */
const struct nat_facts *nat_look(struct nat *nat);

/**
 * Translate the tuple of a packet as this namespace would.
 *
 * @param assured whether the entry has seen both directions (IPS_ASSURED).
 * Returns: 1 and *out, 0 when there is no entry, -errno (-EPERM needs
 * CAP_NET_ADMIN; -EBADMSG an entry that does not fit the question).
 */
int nat_translate(struct nat *nat, const struct nat_tuple *in,
		  struct nat_tuple *out, bool *assured)
	__attribute__((warn_unused_result));

/**
 * Is a BPF program attached to device @ifindex (tcx)? 1, 0, -errno. Those of
 * clsact show as a queueing discipline, XDP as an attribute of the device.
 */
int nat_has_bpf(struct nat *nat, int ifindex)
	__attribute__((warn_unused_result));

#endif
