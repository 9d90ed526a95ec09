/* SPDX-License-Identifier: Apache-2.0 */
#include "netwatch/nlask.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

struct asking {
	nlask_each *each;
	void *arg;
	uint32_t seq; /* answers to earlier questions, timed out, are skipped */
	int ret;
	bool dump; /* ends with NLMSG_DONE, and only then */
	bool done;
};

#define MAX_STALE 1000

static int on_valid(struct nl_msg *msg, void *arg)
{
	struct asking *a = arg;

	if (nlmsg_hdr(msg)->nlmsg_seq != a->seq)
		return NL_SKIP;
	if (!a->ret)
		a->ret = a->each(nlmsg_hdr(msg), a->arg);
	// Also after an error, so that nothing of a dump is left behind.
	if (a->dump)
		return NL_OK;
	// ctnetlink marks its only answer as one of many; no more come.
	a->done = true;
	return NL_STOP;
}

static int on_finish(struct nl_msg *msg, void *arg)
{
	struct asking *a = arg;
	struct nlmsghdr *nlh = nlmsg_hdr(msg);
	int error = 0;

	if (nlh->nlmsg_seq != a->seq)
		return NL_STOP;
	a->done = true;
	if (nlmsg_datalen(nlh) >= (int)sizeof(error))
		memcpy(&error, nlmsg_data(nlh), sizeof(error));
	if (error < 0 && !a->ret)
		a->ret = error;
	return NL_STOP;
}

/* All that a request with NLM_F_ACK gets when the kernel did as it was told. */
static int on_ack(struct nl_msg *msg, void *arg)
{
	struct asking *a = arg;

	if (nlmsg_hdr(msg)->nlmsg_seq != a->seq)
		return NL_SKIP;
	a->done = true;
	return NL_STOP;
}

static int on_error(struct sockaddr_nl *nla, struct nlmsgerr *err, void *arg)
{
	struct asking *a = arg;

	(void)nla;
	// libnl hands over the payload of the error, its header precedes it.
	const struct nlmsghdr *nlh =
		(const void *)((const char *)err - NLMSG_HDRLEN);
	if (nlh->nlmsg_seq != a->seq)
		return NL_SKIP;
	a->done = true;
	if (!a->ret)
		a->ret = err->error;
	return NL_STOP;
}

static int receive(struct nl_sock *sk, struct asking *a)
{
	struct nl_cb *cb = nl_cb_alloc(NL_CB_DEFAULT);
	if (!cb)
		return -ENOMEM;
	nl_cb_set(cb, NL_CB_VALID, NL_CB_CUSTOM, on_valid, a);
	nl_cb_set(cb, NL_CB_FINISH, NL_CB_CUSTOM, on_finish, a);
	nl_cb_set(cb, NL_CB_ACK, NL_CB_CUSTOM, on_ack, a);
	nl_cb_err(cb, NL_CB_CUSTOM, on_error, a);
	int err = 0;
	for (int i = 0; !a->done && err >= 0 && i < MAX_STALE; i++)
		err = nl_recvmsgs(sk, cb);
	nl_cb_put(cb);
	if (err == -NLE_DUMP_INTR)
		return -EINTR;
	if (a->ret)
		return a->ret;
	if (err == -NLE_AGAIN)
		return -ETIMEDOUT;
	if (err == -NLE_NOMEM)
		return -ENOMEM;
	return err < 0 || !a->done ? -EIO : 0;
}

void nlask_prepare(struct nl_sock *sk)
{
	nl_socket_disable_auto_ack(sk);
}

int nlask(struct nl_sock *sk, struct nl_msg *msg, nlask_each *each,
	  void (*restart)(void *arg), void *arg)
{
	int err = -ENOMEM;

	for (int i = 0; msg && i < NLASK_RETRIES; i++) {
		struct asking a = { .each = each, .arg = arg };
		if (i && restart)
			restart(arg);
		// A new number each time: an answer to the last try is not
		// ours.
		nlmsg_hdr(msg)->nlmsg_seq = NL_AUTO_SEQ;
		err = nl_send_auto(sk, msg);
		if (err < 0) {
			err = -EIO;
			break;
		}
		a.seq = nlmsg_hdr(msg)->nlmsg_seq;
		a.dump = (nlmsg_hdr(msg)->nlmsg_flags & NLM_F_DUMP) ==
			 NLM_F_DUMP;
		err = receive(sk, &a);
		if (err != -EINTR)
			break;
	}
	nlmsg_free(msg);
	return err;
}
