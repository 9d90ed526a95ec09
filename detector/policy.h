/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DETECTOR_POLICY_H
#define DETECTOR_POLICY_H

/**
 * Would a connection notice that its peer is gone, and how soon? Judged by the
 * settings that are really on the socket, whatever the program meant to set.
 * Pure.
 *
 * A dead and silent peer is noticed by keepalive while nothing is in flight,
 * and by TCP_USER_TIMEOUT (or else after tcp_retries2, some 15 minutes) while
 * something is. The two are asked for apart.
 */

#include "base/error.h"
#include "netwatch/heal.h"
#include "netwatch/socket.h"

#define POLICY_TEXT_MAX 64 /* bytes of an expression, with its NUL */

enum policy_subject {
	POLICY_KEEPALIVE,    /* an idle connection */
	POLICY_USER_TIMEOUT, /* one with data in flight */
};

struct policy {
	enum policy_subject subject;
	int64_t limit_ms;	    /* -1: at any time */
	char text[POLICY_TEXT_MAX]; /* as it was given */
};

/**
 * Parse "keepalive", "keepalive<=60s", "user-timeout" or "user-timeout<=60s",
 * with blanks anywhere between the words.
 *
 * Fails: ERROR_USAGE, with the text.
 */
struct error *policy_parse(const char *text, struct policy *ret);

/**
 * Parse "IDLE,INTVL,CNT" ("15s,15s,9"): whole seconds, within what the kernel
 * takes.
 *
 * Fails: ERROR_USAGE.
 */
struct error *keepalive_parse(const char *text, struct tcp_keepalive *ret);

/** Time that stands for "never". */
#define POLICY_NEVER (-1)

/**
 * From the last sign of a peer that then dies in silence, with nothing in
 * flight, to the moment at which the kernel ends the connection; in ms.
 *
 * Source: tcp_keepalive_timer(), net/ipv4/tcp_timer.c, Linux 6.18. Probes go
 * out at idle, idle + intvl ... At idle + n * intvl, n probes are unanswered.
 * Without TCP_USER_TIMEOUT it ends at n >= cnt; with one, cnt does not count,
 * and it ends at the first n >= 1 at which that much time has passed.
 */
int64_t keepalive_detects_ms(const struct tcp_options *o);

enum policy_answer {
	POLICY_KEPT,
	POLICY_VIOLATED,
	POLICY_UNKNOWN,	  /* the settings could not be read */
	POLICY_NOT_ASKED, /* no connection, or one that has ended: see below */
};

/**
 * Judge one socket. Not asked: a listener (what is accepted inherits its
 * keepalive and is judged itself), what is not connected yet, what is being
 * closed, what ended between two samples.
 *
 * @param detects_ms_ret when kept or violated: the time by which a dead peer is
 * noticed, or POLICY_NEVER.
 */
enum policy_answer policy_judge(const struct policy *policy,
				const struct tcp_socket *s,
				int64_t *detects_ms_ret);

/** How a survey keeps a policy. */
struct policy_count {
	uint64_t checked, violations;
	uint64_t unknown; /* settings not known: a gap */
};

struct policy_count policy_count(const struct policy *policy,
				 const struct tcp_snapshot *sockets);

#endif
