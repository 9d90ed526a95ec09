/* SPDX-License-Identifier: Apache-2.0 */
#include "netwatch/destroyed.h"

#include <errno.h>
#include <linux/sock_diag.h>
#include <netlink/netlink.h>
#include <netlink/socket.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "netwatch/netns.h"
#include "netwatch/sockdiag.h"

#define BUFFER (1 << 20)	/* of the kernel: some 2,000 of them */
#define MESSAGES_MAX 65536	/* heard in one call */
#define MESSAGE_MAX (64 * 1024) /* more than a page, which none exceeds */

struct destroyed {
	struct nl_sock *sk;
	unsigned char buf[MESSAGE_MAX]
		__attribute__((aligned(__alignof__(struct nlmsghdr))));
};

struct error *destroyed_open(int netns_fd, struct destroyed **ret)
{
	struct destroyed *d = calloc(1, sizeof(*d));

	if (!d)
		return &error_nomem;
	struct error *err = netns_netlink(netns_fd, NETLINK_SOCK_DIAG, &d->sk);
	if (err) {
		destroyed_close(d);
		return err;
	}
	int rc = nl_socket_add_memberships(d->sk, SKNLGRP_INET_TCP_DESTROY,
					   SKNLGRP_INET6_TCP_DESTROY, 0);
	if (rc < 0) {
		destroyed_close(d);
		return error_new(ERROR_OS,
				 "cannot listen to the end of sockets: %s",
				 nl_geterror(rc));
	}
	nl_socket_set_buffer_size(d->sk, BUFFER, 0);
	*ret = d;
	return NULL;
}

void destroyed_close(struct destroyed *d)
{
	if (!d)
		return;
	nl_socket_free(d->sk);
	free(d);
}

/* Of the kernel, and of a length that it says: checked all the same. */
static void hear_one(const struct destroyed *d, size_t len,
		     destroyed_each *each, void *arg)
{
	const struct nlmsghdr *nlh = (const void *)d->buf;
	struct tcp_socket s;

	for (size_t left = len; NLMSG_OK(nlh, left);
	     nlh = NLMSG_NEXT(nlh, left)) {
		if (nlh->nlmsg_type != SOCK_DIAG_BY_FAMILY ||
		    sockdiag_parse(NLMSG_DATA(nlh), NLMSG_PAYLOAD(nlh, 0), &s))
			continue;
		if (s.cookie && s.first.info.known)
			each(arg, &s);
	}
}

bool destroyed_hear(struct destroyed *d, destroyed_each *each, void *arg)
{
	bool all = true;

	if (!d)
		return true;
	for (int i = 0; i < MESSAGES_MAX; i++) {
		ssize_t len = recv(nl_socket_get_fd(d->sk), d->buf,
				   sizeof(d->buf), MSG_DONTWAIT);

		if (len > 0)
			hear_one(d, (size_t)len, each, arg);
		else if (len < 0 && errno == ENOBUFS)
			all = false;
		else if (len == 0 || errno != EINTR)
			return all;
	}
	return false;
}
