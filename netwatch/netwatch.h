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
 * after the first sample, netwatch_resample and netwatch_recheck, then
 * verdict_judge (verdict.h), and at the end netwatch_finish.
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
/**
 * End the recording. Fails: ERROR_OS when the file is not whole (disk full);
 * without a recording it does nothing.
 */
struct error *netwatch_finish(struct netwatch *nw);
/** Also ends a recording, and then says at debug only when that failed. */
void netwatch_close(struct netwatch *nw);

/**
 * First sample of every TCP socket that an fd of the process refers to, in
 * whichever namespace it lives: the process' own namespace by dump, then, for
 * inodes not found there, the namespace of the socket itself. Socket inodes
 * that are not TCP (unix, UDP ...) are told apart from those not found: by the
 * name of their protocol, or through a short-lived duplicate, see options.h. A
 * TCP socket that is neither connected nor listening is in no table of the
 * kernel's: it is there with state CLOSE and what its duplicate tells.
 *
 * What could not be seen is in the snapshot's gaps. Fails: ERROR_NOMEM,
 * ERROR_GONE (the process), ERROR_OS.
 *
 * When replaying, @fds may be NULL and is not looked at.
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

/** Second sample of each; sets second_state. Fails: ERROR_NOMEM. */
struct error *netwatch_resample(struct netwatch *nw, struct tcp_socket **s,
				size_t n);

/**
 * After the second sample: look again for each peer that was absent or in a
 * state that does not fit, because one look may have met a connection that was
 * just being closed. Raises facts[i].peer.times, or replaces the answer.
 * @s, @n, @arena and @facts as they were given to netwatch_examine().
 */
struct error *netwatch_recheck(struct netwatch *nw, struct tcp_socket **s,
			       size_t n, struct arena *arena,
			       struct net_facts *facts);

struct probe_options {
	int64_t window_ms; /* PROBE_WINDOW_MIN_MS to PROBE_WINDOW_MAX_MS */
	bool rst_shield;   /* keep a reset from the program */
};

/**
 * Send probes on the @n connections @s and wait for answers: see probe.h for
 * what that means for the program. Only at the user's wish. Sets
 * facts[i].probe; judge again afterwards. After silence, also whether the next
 * hop answers. @fds as it was given to netwatch_examine().
 *
 * Fails as probe_run(). A recording has its answers: nothing is done then.
 */
struct error *netwatch_probe(struct netwatch *nw, const struct process_fds *fds,
			     struct tcp_socket **s, size_t n,
			     const struct probe_options *opt,
			     struct arena *arena, struct net_facts **facts);
/**
 * The namespace of that inode, if sockets of it were taken: an fd that lives as
 * long as the handle; or -1.
 */
int netwatch_netns_fd(struct netwatch *nw, uint64_t inode);

static inline void netwatch_closep(struct netwatch **nw)
{
	netwatch_close(*nw);
}
#define AUTO_NETWATCH __attribute__((cleanup(netwatch_closep)))

#endif
