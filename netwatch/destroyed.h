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

/** Called with the cookie of a freed socket, and what it was at its end. */
typedef void destroyed_each(void *arg, uint64_t cookie,
			    const struct tcp_sample *last);
/** Hear what has come so far; never waits. NULL is fine. */
void destroyed_hear(struct destroyed *d, destroyed_each *each, void *arg);

#endif
