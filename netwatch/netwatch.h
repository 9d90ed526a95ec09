/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NETWATCH_NETWATCH_H
#define NETWATCH_NETWATCH_H

/**
 * The netlink monitor: the TCP connections of one process, and everything that
 * can be learnt of each without sending a packet. This is the door that the
 * detector uses; the other headers of this folder are the rooms behind it.
 *
 * Order of use: netwatch_open, netwatch_take, then for the sockets that are
 * suspected netwatch_examine (options, path, peer), then, at least a second
 * after the first sample, netwatch_resample, then verdict_judge (verdict.h).
 */

#include "base/error.h"
#include "base/process.h"
#include "netwatch/socket.h"
#include "netwatch/verdict.h"

struct netwatch;

struct netwatch_options {
	const char *record_to;	 /* write raw answers to this file, or NULL */
	const char *replay_from; /* take all from this file, ask no kernel */
};

/**
 * Fails: ERROR_USAGE (replay file missing, broken or of a newer version),
 * ERROR_OS. @p may be NULL when replaying; it must outlive the handle.
 */
struct error *netwatch_open(const struct process *p,
			    const struct netwatch_options *opt,
			    struct netwatch **ret);
void netwatch_close(struct netwatch *nw);

/**
 * First sample of every TCP socket that an fd of the process refers to, in
 * whichever namespace it lives: the process' own namespace by dump, then, for
 * inodes not found there, the namespace of the socket itself. Socket inodes
 * that are not TCP (unix, UDP ...) are told apart from those not found.
 *
 * What could not be seen is in the snapshot's gaps.
 */
struct error *netwatch_take(struct netwatch *nw, const struct process_fds *fds,
			    struct tcp_snapshot **ret);

/**
 * Everything that needs no packet, for the @n sockets @s of @snap: keepalive
 * settings, local path, peer on this host. @facts has room for @n and its
 * texts come from @arena. A fact that cannot be had is unknown, with the
 * reason; nothing fails but memory.
 */
struct error *netwatch_examine(struct netwatch *nw,
			       const struct process_fds *fds,
			       struct tcp_socket **s, size_t n,
			       struct arena *arena, struct net_facts *facts);

/** Second sample of each; sets second_state. */
struct error *netwatch_resample(struct netwatch *nw, struct tcp_socket **s,
				size_t n);

#endif
