/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NETWATCH_NLASK_H
#define NETWATCH_NLASK_H

/**
 * Ask the kernel one question over a libnl socket and hear the whole answer:
 * one message, a dump, or the acknowledgement of a request with NLM_F_ACK.
 * Reads the payload of NLMSG_DONE, where the kernel puts the error of a dump
 * and which libnl ignores.
 */

#include <netlink/msg.h>
#include <netlink/netlink.h>

#define NLASK_RETRIES 3 /* of a dump that changed while it was read */

/** Called for each message; a value other than 0 ends with that value. */
typedef int nlask_each(struct nlmsghdr *nlh, void *arg);

/** Prepare @sk for nlask(): no acknowledgement beside the answer. */
void nlask_prepare(struct nl_sock *sk);

/**
 * Send @msg and call @each for every message of the answer.
 *
 * Takes @msg (freed here, also on failure; NULL is -ENOMEM). @restart, when not
 * NULL, is called before a dump is repeated, to forget what came so far.
 *
 * Returns: 0, the kernel's -errno, -EINTR for a dump that stayed interrupted,
 * -ETIMEDOUT, -ENOMEM, or what @each returned.
 */
int nlask(struct nl_sock *sk, struct nl_msg *msg, nlask_each *each,
	  void (*restart)(void *arg), void *arg)
	__attribute__((warn_unused_result));

#endif
