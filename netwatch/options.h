/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NETWATCH_OPTIONS_H
#define NETWATCH_OPTIONS_H

/**
 * What sock_diag does not tell of a socket: keepalive and TCP_USER_TIMEOUT,
 * and, for a socket that is in no table, what it is at all. Both by a duplicate
 * of the target's fd that lives for a few microseconds.
 *
 * Only options whose reading changes nothing are read. SO_ERROR is not among
 * them: reading it clears the error that the program is about to be told
 * (sock_getsockopt, net/core/sock.c, Linux 6.18).
 */

#include "base/process.h"
#include "netwatch/socket.h"

#define SOCKET_TCP_INFO_MAX 512 /* bytes of tcp_info; Linux 6.18 has 280 */

/**
 * Read the settings of @s through the target's @fd.
 *
 * That @fd still is @s is checked by its cookie (an MPTCP socket's cookie is
 * not that of its subflow: there, and before Linux 4.12, by its inode).
 *
 * Returns: 0 and *ret known; or -errno, also in ret->error: -EPERM, -EBADF
 * (closed), -ESTALE (another socket now), -ESRCH, -EOPNOTSUPP.
 */
int tcp_options_read(const struct process *p, int fd,
		     const struct tcp_socket *s, struct tcp_options *ret);
/** Which socket an fd of the target's stood for when it was looked at. */
struct socket_ref {
	int fd;
	uint64_t inode, cookie;
};

/**
 * A duplicate of @ref->fd, if that still is this socket; compared as above.
 * It is a reference: see process_dup_fd().
 *
 * Returns: a close-on-exec fd, or -errno: -EBADF (closed), -ESTALE (another
 * socket now), -EPERM, -ESRCH.
 */
int socket_ref_dup(const struct process *p, const struct socket_ref *ref)
	__attribute__((warn_unused_result));

/**
 * A duplicate of the target's @fd that certainly is @s, by the same comparison.
 * It is a reference: close it at once, never hold it across a wait.
 *
 * Returns: a close-on-exec fd, or -errno: as tcp_options_read(), -ENOTSOCK,
 * -EPROTOTYPE (a socket, and not TCP).
 */
int tcp_dup(const struct process *p, int fd, const struct tcp_socket *s,
	    bool *is_mptcp) __attribute__((warn_unused_result));
/** Why they are not known, for a person; NULL when they are. */
const char *tcp_options_why(const struct tcp_options *o);

enum socket_kind {
	SOCKET_UNKNOWN, /* could not be told */
	SOCKET_NOT_TCP,
	SOCKET_TCP,
};

/**
 * The kind of socket that @fd is, without a duplicate: the protocol name that
 * the kernel keeps for lsof ("system.sockprotoname", net/socket.c).
 */
enum socket_kind socket_kind_by_name(const struct process *p, int fd);

/** A socket as its own duplicate tells it. */
struct socket_probe {
	uint64_t inode;	       /* of whatever file it is */
	enum socket_kind kind; /* unless SOCKET_TCP, the rest is not set */
	bool is_mptcp;
	uint64_t cookie;
	uint64_t netns;	 /* 0 when the kernel refused */
	int netns_fd;	 /* -1 then; the caller closes it */
	int netns_error; /* errno of that refusal */
	enum tcp_state state;
	struct endpoint local, remote; /* remote is all 0 when not connected */
	uint32_t info_len;
	uint8_t info[SOCKET_TCP_INFO_MAX]; /* tcp_info, raw */
};

/** Returns: 0 or -errno (-EPERM, -EBADF, -ESRCH ...). */
int socket_probe(const struct process *p, int fd, struct socket_probe *ret)
	__attribute__((warn_unused_result));

#endif
