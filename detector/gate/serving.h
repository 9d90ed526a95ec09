/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DETECTOR_GATE_SERVING_H
#define DETECTOR_GATE_SERVING_H

/**
 * What a server that goes on holds for its clients: the connections that it
 * accepted, whether a request on one of them is in flight, and the tasks that
 * are there as long as such a connection is. Pure.
 */

#include <stdbool.h>

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/process.h"

struct task_snapshot;
struct tcp_snapshot;
struct tcp_socket;
struct verdict;

/**
 * A request that is not answered for so long, in ms, is not in flight but
 * stuck: to wait for its end would be to wait for what is to be found.
 */
#define SERVING_STUCK_MS 30000

/**
 * What serves looks like at one moment. A connection was accepted when its
 * snapshot has a listener of the same namespace at its local port, and at its
 * address where the listener has one.
 */
struct serving_state {
	size_t listeners;
	size_t accepted;  /* connections, in any state but TIME_WAIT */
	size_t ended;	  /* before this look, of those given */
	size_t in_flight; /* of these: a request is, by all that TCP can tell */
	/* Of the first in flight; NULL none. */
	const struct tcp_socket *example;
	/* The same in two looks: no byte came, went or was read, none was
	 * opened or closed. */
	uint64_t signature;
	bool missed; /* some may have ended unheard; the caller's to set */
};

/**
 * In flight: connections wait to be accepted, or are being opened; and on one
 * that is ESTABLISHED the program has not read what came, or the last data came
 * in after the last went out, or before any did, and that was no longer than
 * SERVING_STUCK_MS ago; or what was sent is not acknowledged, and the peer has
 * acknowledged something within that time (tcp_info of linux/tcp.h:
 * last_data_recv, last_data_sent, last_ack_recv, in ms; data_segs_in,
 * data_segs_out). In every other state the client has said that it is done, or
 * was told so: nothing is in flight, whatever is still to be read.
 *
 * @param ended connections of anybody that ended since the look before; NULL:
 *	none.
 * Fails: ERROR_NOMEM.
 */
struct error *serving_look(const struct tcp_snapshot *snap,
			   const struct tcp_snapshot *ended,
			   struct serving_state *ret);

/**
 * Which of the tasks are there because a client is connected, and will be gone
 * when it is: who reads the next request from a connection that was accepted,
 * and is not dead; who started it, unless that is the accepting loop; and what
 * was started together with it by one who is gone (the writer and the timer of
 * HTTP/2 and gRPC), unless that accepts. Go before 1.21 knows no parents: there
 * it is readers alone.
 *
 * @param verdicts one for each of sockets->v, or NULL.
 * @param serves one for each of snap->tasks; set.
 * Fails: ERROR_NOMEM.
 */
struct error *serving_tasks(const struct task_snapshot *snap,
			    const struct process_fds *fds,
			    const struct tcp_snapshot *sockets,
			    const struct verdict *verdicts, bool *serves);

#endif
