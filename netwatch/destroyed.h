/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NETWATCH_DESTROYED_H
#define NETWATCH_DESTROYED_H

/**
 * The last words of TCP sockets: what the kernel multicasts over sock_diag when
 * it frees one (SKNLGRP_INET_TCP_DESTROY, net/core/sock_diag.c; Linux 4.3),
 * with its tcp_info. A program that is told of a reset often closes at once,
 * and then neither the kernel's table nor the descriptor tells what it was.
 *
 * Best effort: on a host that closes more than the buffer holds between two
 * calls, some are lost, and nothing is claimed of them.
 */

#include "base/error.h"
#include "netwatch/socket.h"

struct destroyed;

/** Listen in namespace @netns_fd. Fails: ERROR_DENIED, ERROR_OS, ERROR_NOMEM. */
struct error *destroyed_open(int netns_fd, struct destroyed **ret);
void destroyed_close(struct destroyed *d);

/**
 * Called with a freed socket: its cookie, its addresses, and as its first
 * sample what it was at its end. Its namespace is 0.
 */
typedef void destroyed_each(void *arg, const struct tcp_socket *freed);
/**
 * Hear what has come so far; never waits. NULL is fine.
 * Returns: false when some were missed, as far as the kernel knows.
 */
bool destroyed_hear(struct destroyed *d, destroyed_each *each, void *arg);

#endif
