/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NETWATCH_SOCKDIAG_H
#define NETWATCH_SOCKDIAG_H

/**
 * sock_diag: the kernel's table of TCP sockets, by dump and by exact lookup.
 *
 * libnl-3 carries the messages; the request (inet_diag_req_v2) and the parser
 * are ours, because libnl-idiag speaks the old protocol without ports, cookie
 * and the newer half of tcp_info. The payload of NLMSG_DONE is read, which
 * libnl ignores: an error there would look like an empty, clean table. A dump
 * that the kernel marks as interrupted is repeated up to 3 times.
 *
 * Every raw answer can be recorded, and replayed later (replay.h).
 */

#include "base/error.h"
#include "netwatch/socket.h"

struct sockdiag;
struct net_record;

#define SOCKDIAG_DUMP_RETRIES 3

/**
 * Open sock_diag in the namespace @netns_fd (-1: our own).
 *
 * @param record where raw answers are also written, or NULL.
 * Fails: ERROR_DENIED (entering the namespace), ERROR_UNSUPPORTED (a kernel
 * without CONFIG_INET_DIAG), ERROR_OS.
 */
struct error *sockdiag_open(int netns_fd, struct net_record *record,
			    struct sockdiag **ret);
void sockdiag_close(struct sockdiag *diag);
/** Inode of the namespace it is bound to. */
uint64_t sockdiag_netns(const struct sockdiag *diag);

/** Which sockets of a dump to keep. */
struct sockdiag_filter {
	/** Ascending inodes to keep, 0 not among them; NULL keeps all. */
	const uint64_t *inodes;
	size_t n_inodes;
	uint32_t states; /* bit per enum tcp_state; 0: all */
};

/**
 * Dump IPv4 and IPv6 TCP sockets with tcp_info into a new snapshot.
 *
 * A dump that stays interrupted gives a snapshot with consistent = false and a
 * gap. Fails: ERROR_UNSUPPORTED (error in NLMSG_DONE: no such handler),
 * ERROR_OS, ERROR_NOMEM.
 */
struct error *sockdiag_dump(struct sockdiag *diag,
			    const struct sockdiag_filter *filter,
			    struct tcp_snapshot **ret);
/**
 * The same into an existing snapshot (several namespaces, one picture). What
 * it held stays, also on failure.
 */
struct error *sockdiag_dump_into(struct sockdiag *diag,
				 const struct sockdiag_filter *filter,
				 struct tcp_snapshot *snap);

/**
 * Look up one socket exactly, by its endpoints and cookie.
 *
 * The kernel falls back to a listener of the local port when there is no such
 * connection, so the answer's endpoints are compared with those asked for:
 * ERROR_GONE means that this very connection does not exist. v4-mapped and
 * plain IPv4 endpoints are the same to the kernel, and here.
 *
 * @param ifindex the bound device, or 0: then the endpoints' scope counts.
 * @param cookie 0 for any (INET_DIAG_NOCOOKIE).
 * @param remote NULL looks for a listener instead: of those that share the
 * port by SO_REUSEPORT, the kernel picks one.
 * Returns: NULL and *ret filled (first sample); ERROR_GONE when the kernel has
 * no such socket; ERROR_OS.
 */
struct error *sockdiag_lookup(struct sockdiag *diag,
			      const struct endpoint *local,
			      const struct endpoint *remote, uint32_t ifindex,
			      uint64_t cookie, struct tcp_socket *ret);

/**
 * Take the second sample of @s; sets second_state. By exact lookup, and for a
 * listener by a dump of the listeners, see above. A socket in CLOSE is in no
 * table: NOT_SAMPLED.
 *
 * Returns: NULL whatever the kernel said of the socket (VANISHED,
 * SAMPLE_FAILED); ERROR_NOMEM, ERROR_OS when sock_diag itself does not answer.
 */
struct error *sockdiag_resample(struct sockdiag *diag, struct tcp_socket *s);

/**
 * Parse one inet_diag_msg with its attributes (what follows nlmsghdr).
 *
 * @data is any bytes. Returns: 0, -EBADMSG when too short or not TCP-like.
 * Unknown and short attributes are skipped.
 */
int sockdiag_parse(const void *data, size_t len, struct tcp_socket *ret)
	__attribute__((warn_unused_result));
/** Parse a tcp_info of @len bytes, whatever its length. */
void sockdiag_parse_tcp_info(const void *data, size_t len,
			     struct tcp_info_fields *ret);

#endif
