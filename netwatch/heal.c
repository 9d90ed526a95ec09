/* SPDX-License-Identifier: Apache-2.0 */
#include "netwatch/heal.h"

#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/socket.h>
#include <string.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "netwatch/netns.h"
#include "netwatch/nlask.h"
#include "netwatch/options.h"

/* Why @fd could not be had as the socket that is meant. */
static struct error *dup_error(const struct process *p, int fd, int errnum)
{
	switch (errnum) {
	case EBADF:
		return error_new(ERROR_GONE,
				 "fd %d is not open any more; nothing was done",
				 fd);
	case ESTALE:
		return error_new(ERROR_GONE,
				 "fd %d is another connection now; nothing was "
				 "done",
				 fd);
	case ENOTSOCK:
	case EPROTOTYPE:
		return error_new(ERROR_UNSUPPORTED,
				 "fd %d is no TCP connection; nothing was done",
				 fd);
	case ENOSYS:
		return error_new(ERROR_UNSUPPORTED,
				 "this kernel has no pidfd_getfd (Linux 5.6); "
				 "nothing was done");
	default:
		return process_error(p, errnum, "file descriptors of");
	}
}

/* A duplicate of @fd that certainly is the connection @s. Close it at once. */
static struct error *take_dup(const struct process *p, int fd,
			      const struct tcp_socket *s, int *dup_ret,
			      bool *is_mptcp)
{
	int dup = -1;
	int rc = -ESRCH;

	/* The kernel is asked by pidfd, and an execve(2) keeps that. */
	if (process_alive(p))
		rc = dup = tcp_dup(p, fd, s, is_mptcp);
	if (rc < 0)
		return dup_error(p, fd, -rc);
	*dup_ret = dup;
	return NULL;
}

/* What only a connection has. */
static struct error *check_connected(const struct tcp_socket *s)
{
	enum tcp_state state = tcp_socket_latest(s)->state;

	if (state == TCP_STATE_LISTEN)
		return error_new(ERROR_UNSUPPORTED,
				 "it is a listener, which has no peer; nothing "
				 "was done");
	if (state == TCP_STATE_CLOSE)
		return error_new(ERROR_UNSUPPORTED,
				 "it is not connected; nothing was done");
	return NULL;
}

static void fill_request(const struct tcp_socket *s,
			 struct inet_diag_req_v2 *req)
{
	size_t len = s->local.family == AF_INET ? 4 : 16;

	*req = (struct inet_diag_req_v2){
		.sdiag_family = s->local.family,
		.sdiag_protocol = IPPROTO_TCP,
		.idiag_states = ~0u,
		.id.idiag_sport = htons(s->local.port),
		.id.idiag_dport = htons(s->remote.port),
		.id.idiag_if = s->ifindex	? s->ifindex
			       : s->local.scope ? s->local.scope
						: s->remote.scope,
		.id.idiag_cookie = { (uint32_t)s->cookie, s->cookie >> 32 },
	};
	memcpy(req->id.idiag_src, s->local.addr, len);
	memcpy(req->id.idiag_dst, s->remote.addr, len);
}

static int no_answer(struct nlmsghdr *nlh, void *arg)
{
	(void)nlh;
	(void)arg;
	return 0;
}

/* Returns: 0 or the kernel's -errno. */
static int ask_destroy(struct nl_sock *sk, const struct tcp_socket *s)
{
	struct inet_diag_req_v2 req;
	struct nl_msg *msg =
		nlmsg_alloc_simple(SOCK_DESTROY, NLM_F_REQUEST | NLM_F_ACK);

	fill_request(s, &req);
	if (msg && nlmsg_append(msg, &req, sizeof(req), NLMSG_ALIGNTO) < 0) {
		nlmsg_free(msg);
		msg = NULL;
	}
	nlask_prepare(sk);
	return nlask(sk, msg, no_answer, NULL, NULL);
}

static struct error *destroy_error(int errnum)
{
	switch (errnum) {
	case ENOENT:
	case ESTALE:
		return error_new(ERROR_GONE, "the connection has ended by "
					     "itself; nothing was done");
	case EPERM:
	case EACCES:
		return error_new(ERROR_DENIED,
				 "the kernel does not let us end a connection; "
				 "run as root or grant CAP_NET_ADMIN, or use "
				 "--how eof");
	case EOPNOTSUPP:
	case EINVAL:
		return error_new(ERROR_UNSUPPORTED,
				 "this kernel cannot end a connection "
				 "(CONFIG_INET_DIAG_DESTROY); use --how eof");
	case ENOMEM:
		return &error_nomem;
	default:
		return error_os(errnum, "cannot end the connection");
	}
}

struct error *tcp_destroy(const struct process *p, int fd, int netns_fd,
			  const struct tcp_socket *s)
{
	struct nl_sock *sk = NULL;
	bool is_mptcp;
	int dup;
	struct error *err = check_connected(s);

	if (!err)
		err = take_dup(p, fd, s, &dup, &is_mptcp);
	if (err)
		return err;
	close(dup);
	if (is_mptcp)
		return error_new(
			ERROR_UNSUPPORTED,
			"it is an MPTCP connection: who reads would "
			"not learn that a subflow was ended; use --how "
			"eof");
	/* Elsewhere its addresses, and before 5.11 its cookie, are another's. */
	if (netns_fd < 0)
		return error_new(
			ERROR_UNSUPPORTED,
			"the network namespace that it lives in is not "
			"known; use --how eof");
	/* Without a cookie the kernel would take whoever has the addresses. */
	if (!s->cookie || s->cookie == UINT64_MAX)
		return error_new(ERROR_UNSUPPORTED,
				 "this kernel gives no cookie that tells the "
				 "connection from a later one; use --how eof");
	err = netns_netlink(netns_fd, NETLINK_SOCK_DIAG, &sk);
	if (err)
		return err;
	int rc = ask_destroy(sk, s);
	nl_socket_free(sk);
	return rc < 0 ? destroy_error(-rc) : NULL;
}

int tcp_destroy_supported(void)
{
	static const struct tcp_socket none = { .local.family = AF_INET,
						.remote.family = AF_INET,
						.cookie = 1 };
	struct nl_sock *sk = NULL;
	AUTO_ERROR struct error *err =
		netns_netlink(-1, NETLINK_SOCK_DIAG, &sk);

	if (err)
		return -EOPNOTSUPP;
	int rc = ask_destroy(sk, &none);
	nl_socket_free(sk);
	if (rc == -ENOENT)
		return 0;
	/* Linux before 4.5 does not know the message. */
	return rc == -EINVAL || rc == 0 ? -EOPNOTSUPP : rc;
}

struct error *tcp_eof(const struct process *p, int fd,
		      const struct tcp_socket *s)
{
	AUTO_CLOSE int dup = -1;
	bool is_mptcp;
	struct error *err = check_connected(s);

	if (!err)
		err = take_dup(p, fd, s, &dup, &is_mptcp);
	if (err)
		return err;
	if (shutdown(dup, SHUT_RD) == 0)
		return NULL;
	if (errno == ENOTCONN)
		return destroy_error(ENOENT);
	return error_os(errno, "cannot shut down reading");
}

/* In the order in which they are set. */
static const struct {
	int level, name;
	const char *text;
} settings[] = {
	{ IPPROTO_TCP, TCP_KEEPCNT, "TCP_KEEPCNT" },
	{ IPPROTO_TCP, TCP_KEEPINTVL, "TCP_KEEPINTVL" },
	{ IPPROTO_TCP, TCP_KEEPIDLE, "TCP_KEEPIDLE" },
	{ SOL_SOCKET, SO_KEEPALIVE, "SO_KEEPALIVE" },
};
#define N_SETTINGS (sizeof(settings) / sizeof(settings[0]))

static int get_settings(int dup, int v[N_SETTINGS])
{
	for (size_t i = 0; i < N_SETTINGS; i++) {
		socklen_t len = sizeof(v[i]);

		if (getsockopt(dup, settings[i].level, settings[i].name, &v[i],
			       &len) < 0)
			return -errno;
	}
	return 0;
}

static int set_one(int dup, size_t i, int value)
{
	return setsockopt(dup, settings[i].level, settings[i].name, &value,
			  sizeof(value));
}

static struct error *set_all(int dup, const int before[N_SETTINGS],
			     const int to[N_SETTINGS])
{
	for (size_t i = 0; i < N_SETTINGS; i++) {
		if (set_one(dup, i, to[i]) == 0)
			continue;
		int errnum = errno;
		while (i-- > 0)
			set_one(dup, i, before[i]);
		return error_new(ERROR_UNSUPPORTED,
				 "the kernel refuses keepalive there: %s; "
				 "nothing was changed",
				 strerror(errnum));
	}
	return NULL;
}

static struct error *check_all(int dup, const int to[N_SETTINGS])
{
	int now[N_SETTINGS];
	int rc = get_settings(dup, now);

	if (rc < 0)
		return error_os(-rc, "cannot read keepalive back");
	for (size_t i = 0; i < N_SETTINGS; i++)
		if (now[i] != to[i])
			return error_new(ERROR_INCONSISTENT,
					 "%s was set to %d and is %d; another "
					 "program may have set it",
					 settings[i].text, to[i], now[i]);
	return NULL;
}

struct error *tcp_arm_keepalive(const struct process *p, int fd,
				const struct tcp_socket *s,
				const struct tcp_keepalive *to,
				struct tcp_options *ret)
{
	const int wanted[N_SETTINGS] = { (int)to->cnt, (int)to->intvl_s,
					 (int)to->idle_s, 1 };
	AUTO_CLOSE int dup = -1;
	int before[N_SETTINGS];
	bool is_mptcp;
	struct error *err = check_connected(s);

	if (!err)
		err = take_dup(p, fd, s, &dup, &is_mptcp);
	if (err)
		return err;
	int rc = get_settings(dup, before);
	if (rc < 0)
		return error_os(-rc, "cannot read the keepalive settings");
	err = set_all(dup, before, wanted);
	if (!err)
		err = check_all(dup, wanted);
	if (!err && ret)
		tcp_options_read(p, fd, s, ret);
	return err;
}
