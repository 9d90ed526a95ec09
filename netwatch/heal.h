/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NETWATCH_HEAL_H
#define NETWATCH_HEAL_H

/**
 * The only things here that change a connection of the target's, for commands
 * that the user gave by name. Each first takes a fresh duplicate of the fd and
 * compares what it is with what was meant, by cookie: an fd that is closed, or
 * another connection's by now, is refused, and nothing is touched. A duplicate
 * lives for microseconds and never across a wait.
 *
 * Whether to do it is not decided here; see detector/heal.h.
 */

#include "base/error.h"
#include "base/process.h"
#include "netwatch/socket.h"

/** The greatest values that the kernel takes (include/net/tcp.h, 6.18). */
#define TCP_KEEPALIVE_MAX_S 32767 /* MAX_TCP_KEEPIDLE, MAX_TCP_KEEPINTVL */
#define TCP_KEEPALIVE_MAX_CNT 127 /* MAX_TCP_KEEPCNT */

/** Settings of keepalive, in the kernel's units. */
struct tcp_keepalive {
	uint32_t idle_s;  /* of silence before the first probe */
	uint32_t intvl_s; /* between probes */
	uint32_t cnt;	  /* unanswered ones that end the connection */
};

/**
 * Let the kernel end the connection @s at once: SOCK_DESTROY of sock_diag(7),
 * with the cookie, so that a connection that has come to the same addresses
 * since cannot be met (inet_diag_find_one_icsk, net/ipv4/inet_diag.c, 6.18).
 * Whoever waits on it gets ECONNABORTED, the peer an RST; the fd stays open
 * until the program closes it.
 *
 * @param fd the target's, which must be @s.
 * @param netns_fd the namespace that @s lives in.
 * Fails: ERROR_GONE (the fd is closed or another socket now, the connection has
 * ended by itself), ERROR_DENIED (names CAP_NET_ADMIN or CAP_SYS_PTRACE),
 * ERROR_UNSUPPORTED (not TCP; a listener; not connected; an MPTCP socket, whose
 * readers would not learn of the end of a subflow; a kernel without
 * CONFIG_INET_DIAG_DESTROY), ERROR_OS, ERROR_NOMEM.
 */
struct error *tcp_destroy(const struct process *p, int fd, int netns_fd,
			  const struct tcp_socket *s);

/**
 * Can the kernel end connections (CONFIG_INET_DIAG_DESTROY)? Asks for one that
 * cannot exist: from port 0 to port 0. Says nothing of our capabilities, which
 * the kernel looks at when it has found a socket.
 *
 * Returns: 0, -EOPNOTSUPP, or another -errno.
 */
int tcp_destroy_supported(void) __attribute__((warn_unused_result));

/**
 * Let whoever reads from @s have the end of file: shutdown(SHUT_RD). No packet
 * is sent, the connection stays, and with it whoever writes to it. Also for
 * MPTCP.
 *
 * Fails: as tcp_destroy(); no capability in the network namespace is needed.
 */
struct error *tcp_eof(const struct process *p, int fd,
		      const struct tcp_socket *s);

/**
 * Turn keepalive on: TCP_KEEPCNT, TCP_KEEPINTVL, TCP_KEEPIDLE, and SO_KEEPALIVE
 * last, so that nothing is in force before all is set, also when we are killed
 * in between. Read back; when a setting is refused the others are as before,
 * but for "as the system's default", which cannot be set again.
 *
 * @param ret what the socket has now; may be NULL.
 * Fails: as tcp_eof(); ERROR_UNSUPPORTED when the kernel refuses a value;
 * ERROR_INCONSISTENT when it took one and does not show it.
 */
struct error *tcp_arm_keepalive(const struct process *p, int fd,
				const struct tcp_socket *s,
				const struct tcp_keepalive *to,
				struct tcp_options *ret);

#endif
