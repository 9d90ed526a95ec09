/* SPDX-License-Identifier: Apache-2.0 */
#include "netwatch/sockdiag.h"

#include <endian.h>
#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/socket.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "netwatch/netns.h"
#include "netwatch/replay.h"
#include "netwatch/sockdiag_raw.h"

/* The kernel fills at most 32 KiB per answer (net/netlink/af_netlink.c). */
#define ANSWER_SIZE 32768
/* Answers to one request: 32 KiB each, so far more than SOCKET_MAX needs. */
#define ANSWERS_MAX 1000000
#define STATES_ALL 0x1ffe /* bits 1 to 12 of enum tcp_state */
/* Those that have a file, and so an inode. */
#define STATES_WITH_INODE                                                      \
	(STATES_ALL &                                                          \
	 ~(1u << TCP_STATE_TIME_WAIT | 1u << TCP_STATE_NEW_SYN_RECV))

struct sockdiag {
	struct nl_sock *sk;
	struct net_record *record;
	struct raw_store raw; // of the request that is being answered
	enum net_record_type record_as;
	uint64_t netns;
	uint64_t sift[1024]; // low 16 bits of the inodes that a dump keeps
	uint32_t seq;
};

/* One request and what comes back. */
struct answer {
	const struct sockdiag_filter *filter;
	uint64_t broken;  // messages that were cut or make no sense
	bool interrupted; // NLM_F_DUMP_INTR, or messages were lost
	bool done;
	int error; // positive errno that the kernel answered
	int64_t mono_ns, wall_ms;
};

struct error *sockdiag_open(int netns_fd, struct net_record *record,
			    struct sockdiag **ret)
{
	struct sockdiag *diag = calloc(1, sizeof(*diag));

	if (!diag)
		return &error_nomem;
	diag->record = record;
	diag->record_as = NET_RECORD_DUMP;
	diag->netns = netns_fd < 0 ? netns_own() : netns_inode(netns_fd);
	struct error *err =
		netns_netlink(netns_fd, NETLINK_SOCK_DIAG, &diag->sk);
	if (err) {
		sockdiag_close(diag);
		return err;
	}
	nl_socket_disable_msg_peek(diag->sk);
	nl_socket_set_msg_buf_size(diag->sk, ANSWER_SIZE);
	*ret = diag;
	return NULL;
}

void sockdiag_close(struct sockdiag *diag)
{
	if (!diag)
		return;
	nl_socket_free(diag->sk);
	raw_store_deinit(&diag->raw);
	free(diag);
}

uint64_t sockdiag_netns(const struct sockdiag *diag)
{
	return diag->netns;
}

/* Most sockets of a dump are not wanted, and a bit tells that of most. */
static void sift_fill(struct sockdiag *diag,
		      const struct sockdiag_filter *filter)
{
	memset(diag->sift, 0, sizeof(diag->sift));
	for (size_t i = 0; filter && i < filter->n_inodes; i++) {
		uint16_t bit = filter->inodes[i];

		diag->sift[bit / 64] |= 1ull << bit % 64;
	}
}

static bool inode_wanted(const struct sockdiag *diag,
			 const struct sockdiag_filter *filter, uint32_t inode)
{
	uint16_t bit = inode;

	if (!(diag->sift[bit / 64] >> bit % 64 & 1))
		return false;
	size_t lo = 0, hi = filter->n_inodes;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (filter->inodes[mid] < inode)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < filter->n_inodes && filter->inodes[lo] == inode;
}

/* Keep a socket that is wanted; it is parsed when all is here. */
static int on_socket(struct sockdiag *diag, struct answer *a,
		     const struct nlmsghdr *nlh)
{
	const struct inet_diag_msg *m = nlmsg_data(nlh);
	size_t len = nlmsg_datalen(nlh);

	if (len < sizeof(*m)) {
		a->broken++;
		return 0;
	}
	// most of a dump is other processes' sockets
	if (a->filter && a->filter->inodes &&
	    !inode_wanted(diag, a->filter, m->idiag_inode))
		return 0;
	return raw_store_add(&diag->raw, m->idiag_inode, a->mono_ns, a->wall_ms,
			     m, len);
}

/* The errno in the payload of NLMSG_DONE or NLMSG_ERROR; 0 is none. */
static int answer_errno(const struct nlmsghdr *nlh)
{
	int code = 0;

	// kernels before 4.x may send an NLMSG_DONE without payload
	if (nlmsg_datalen(nlh) >= (int)sizeof(code))
		memcpy(&code, nlmsg_data(nlh), sizeof(code));
	else if (nlh->nlmsg_type == NLMSG_ERROR)
		return EBADMSG;
	return code < 0 ? -code : 0;
}

static int on_message(struct sockdiag *diag, struct answer *a,
		      const struct nlmsghdr *nlh)
{
	if (nlh->nlmsg_flags & NLM_F_DUMP_INTR)
		a->interrupted = true;
	switch (nlh->nlmsg_type) {
	case SOCK_DIAG_BY_FAMILY:
		a->done = !(nlh->nlmsg_flags & NLM_F_MULTI);
		return on_socket(diag, a, nlh);
	case NLMSG_DONE:
	case NLMSG_ERROR:
		a->done = true;
		a->error = answer_errno(nlh);
		return 0;
	case NLMSG_OVERRUN:
		a->interrupted = true;
		return 0;
	default:
		return 0;
	}
}

/* All messages of one answer. Those of an earlier request are skipped. */
static int on_answer(struct sockdiag *diag, struct answer *a, void *buf,
		     int len)
{
	uint32_t port = nl_socket_get_local_port(diag->sk);
	struct nlmsghdr *nlh = buf;

	for (; nlmsg_ok(nlh, len); nlh = nlmsg_next(nlh, &len)) {
		if (nlh->nlmsg_seq != diag->seq || nlh->nlmsg_pid != port)
			continue;
		int rc = on_message(diag, a, nlh);
		if (rc < 0)
			return rc;
	}
	if (len > 0)
		a->broken++;
	return 0;
}

/* Receive until the request is answered. Returns: 0 or -errno. */
static int receive(struct sockdiag *diag, struct answer *a)
{
	for (size_t i = 0; !a->done && i < ANSWERS_MAX; i++) {
		AUTO_FREE unsigned char *buf = NULL;
		struct sockaddr_nl from = { 0 };
		int n = nl_recv(diag->sk, &from, &buf, NULL);

		if (n == -NLE_NOMEM) {
			// ENOBUFS: the kernel dropped an answer of this dump
			a->interrupted = true;
			continue;
		}
		if (n == -NLE_MSG_TRUNC) {
			a->broken++;
			continue;
		}
		if (n <= 0)
			return n == 0 || n == -NLE_AGAIN ? -ETIMEDOUT : -EPROTO;
		if (from.nl_pid != 0)
			continue; // anybody may send to a netlink port
		a->mono_ns = clock_mono_ns();
		a->wall_ms = clock_wall_ms();
		int rc = on_answer(diag, a, buf, n);
		if (rc < 0)
			return rc;
	}
	return a->done ? 0 : -ELOOP;
}

/* Returns: 0 when it was answered (also with an error), or -errno. */
static int ask(struct sockdiag *diag, int flags, struct inet_diag_req_v2 *req,
	       struct answer *a)
{
	req->sdiag_protocol = IPPROTO_TCP;
	req->idiag_ext = 1 << (INET_DIAG_INFO - 1);
	struct nl_msg *msg =
		nlmsg_alloc_simple(SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | flags);
	if (!msg)
		return -ENOMEM;
	if (nlmsg_append(msg, req, sizeof(*req), NLMSG_ALIGNTO) < 0) {
		nlmsg_free(msg);
		return -ENOMEM;
	}
	nlmsg_hdr(msg)->nlmsg_pid = nl_socket_get_local_port(diag->sk);
	nlmsg_hdr(msg)->nlmsg_seq = diag->seq = nl_socket_use_seq(diag->sk);
	int n = nl_send(diag->sk, msg);
	nlmsg_free(msg);
	if (n < 0)
		return n == -NLE_NOMEM ? -ENOBUFS : -EPROTO;
	return receive(diag, a);
}

static const char *family_name(uint8_t family)
{
	return family == AF_INET6 ? "IPv6" : "IPv4";
}

static struct error *dump_error(int errnum, uint8_t family)
{
	if (errnum == ENOMEM)
		return &error_nomem;
	if (errnum == ENOENT || errnum == EOPNOTSUPP || errnum == EINVAL)
		return error_new(ERROR_UNSUPPORTED,
				 "this kernel has no socket diagnostics for "
				 "%s TCP; load the module tcp_diag, or use a "
				 "kernel with CONFIG_INET_TCP_DIAG",
				 family_name(family));
	if (errnum == ETIMEDOUT)
		return error_new(ERROR_OS,
				 "the kernel's %s socket table did not answer "
				 "within 5 s",
				 family_name(family));
	return error_os(errnum, "cannot dump the kernel's %s TCP sockets",
			family_name(family));
}

static uint32_t states_to_ask(const struct sockdiag_filter *filter)
{
	if (filter && filter->states)
		return filter->states;
	return filter && filter->inodes ? STATES_WITH_INODE : STATES_ALL;
}

/* One try at one family. What it found is added to diag->raw. */
static struct error *dump_try(struct sockdiag *diag, uint8_t family,
			      struct answer *a)
{
	struct inet_diag_req_v2 req = {
		.sdiag_family = family,
		.idiag_states = states_to_ask(a->filter),
	};
	int rc = ask(diag, NLM_F_DUMP, &req, a);

	if (rc == 0)
		rc = -a->error;
	// a machine without IPv6 has no IPv6 sockets: that is an answer
	if (family == AF_INET6 && (rc == -ENOENT || rc == -EAFNOSUPPORT))
		return NULL;
	return rc < 0 ? dump_error(-rc, family) : NULL;
}

static void count_gaps(struct tcp_snapshot *snap, const struct answer *a,
		       uint8_t family)
{
	if (a->broken)
		gaps_add(&snap->gaps, GAP_CORRUPT, a->broken,
			 "messages of the kernel's %s socket table were cut "
			 "or make no sense",
			 family_name(family));
	if (!a->interrupted)
		return;
	snap->consistent = false;
	gaps_add(&snap->gaps, GAP_INCONSISTENT, 1,
		 "the kernel's %s socket table changed while it was read, %d "
		 "times; run again",
		 family_name(family), SOCKDIAG_DUMP_RETRIES + 1);
}

static struct error *dump_family(struct sockdiag *diag, uint8_t family,
				 const struct sockdiag_filter *filter,
				 struct tcp_snapshot *snap)
{
	size_t n = diag->raw.n, len = diag->raw.len;

	for (int i = 0;; i++) {
		struct answer a = { .filter = filter };
		struct error *err = dump_try(diag, family, &a);

		if (err)
			return err;
		if (!a.interrupted || i == SOCKDIAG_DUMP_RETRIES) {
			count_gaps(snap, &a, family);
			return NULL;
		}
		// half a picture is worth nothing: throw the try away
		diag->raw.n = n;
		diag->raw.len = len;
		log_debug("net", "%s dump interrupted, try %d",
			  family_name(family), i + 1);
	}
}

static void record_message(struct sockdiag *diag, const struct raw_message *m)
{
	struct net_record_head head = { diag->record_as, diag->netns,
					m->mono_ns, m->wall_ms };

	if (diag->record)
		net_record_put(diag->record, &head, m->data, m->len);
}

/* Parse and record. Returns: 0 or -EBADMSG. */
static int parse_message(struct sockdiag *diag, const struct raw_message *m,
			 struct tcp_socket *ret)
{
	int rc = sockdiag_parse(m->data, m->len, ret);

	if (rc < 0)
		return rc;
	ret->netns = diag->netns;
	ret->first.at_mono_ns = m->mono_ns;
	ret->first.at_wall_ms = m->wall_ms;
	record_message(diag, m);
	return 0;
}

static struct error *parse_dump(struct sockdiag *diag,
				struct tcp_snapshot *snap)
{
	uint64_t broken = 0;

	if (raw_store_sort(&diag->raw) < 0)
		return &error_nomem;
	struct error *err = tcp_snapshot_reserve(snap, diag->raw.n);
	if (err)
		return err;
	for (size_t i = 0; i < diag->raw.n; i++) {
		struct tcp_socket *s = tcp_snapshot_add(snap);

		if (!s)
			return &error_nomem;
		if (parse_message(diag, raw_store_get(&diag->raw, i), s) < 0) {
			snap->n--;
			broken++;
		}
	}
	if (broken)
		gaps_add(&snap->gaps, GAP_CORRUPT, broken,
			 "sockets that the kernel told and that make no sense");
	return NULL;
}

struct error *sockdiag_dump_into(struct sockdiag *diag,
				 const struct sockdiag_filter *filter,
				 struct tcp_snapshot *snap)
{
	size_t before = snap->n;

	sift_fill(diag, filter);
	struct error *err = dump_family(diag, AF_INET, filter, snap);

	if (!err)
		err = dump_family(diag, AF_INET6, filter, snap);
	if (!err)
		err = parse_dump(diag, snap);
	raw_store_clear(&diag->raw);
	if (err) {
		snap->n = before;
		return err;
	}
	return tcp_snapshot_sort(snap);
}

struct error *sockdiag_dump(struct sockdiag *diag,
			    const struct sockdiag_filter *filter,
			    struct tcp_snapshot **ret)
{
	struct tcp_snapshot *snap = tcp_snapshot_create();

	if (!snap)
		return &error_nomem;
	struct error *err = sockdiag_dump_into(diag, filter, snap);
	if (err) {
		tcp_snapshot_destroy(snap);
		return err;
	}
	*ret = snap;
	return NULL;
}

static void fill_endpoint(const struct endpoint *e, __be32 addr[4],
			  __be16 *port)
{
	memcpy(addr, e->addr, e->family == AF_INET ? 4 : 16);
	*port = htons(e->port);
}

static void fill_id(const struct endpoint *local, const struct endpoint *remote,
		    uint32_t ifindex, uint64_t cookie,
		    struct inet_diag_sockid *id)
{
	fill_endpoint(local, id->idiag_src, &id->idiag_sport);
	if (remote)
		fill_endpoint(remote, id->idiag_dst, &id->idiag_dport);
	if (ifindex == 0)
		ifindex = local->scope;
	if (ifindex == 0 && remote)
		ifindex = remote->scope;
	id->idiag_if = ifindex;
	id->idiag_cookie[0] = cookie ? (uint32_t)cookie : INET_DIAG_NOCOOKIE;
	id->idiag_cookie[1] = cookie ? cookie >> 32 : INET_DIAG_NOCOOKIE;
}

/* Addresses and ports; a scope is the bound device's business. */
static bool same_end(const struct endpoint *a, const struct endpoint *b)
{
	struct endpoint x = endpoint_unmap(a), y = endpoint_unmap(b);

	x.scope = y.scope = 0;
	return endpoint_equal(&x, &y);
}

static bool is_what_was_asked(const struct tcp_socket *s,
			      const struct endpoint *local,
			      const struct endpoint *remote)
{
	if (!remote)
		return s->first.state == TCP_STATE_LISTEN &&
		       s->local.port == local->port;
	return same_end(&s->local, local) && same_end(&s->remote, remote);
}

static struct error *lookup_error(int errnum, const struct endpoint *local,
				  const struct endpoint *remote)
{
	char from[ENDPOINT_TEXT_MAX], to[ENDPOINT_TEXT_MAX] = "*";

	endpoint_format(local, from);
	if (remote)
		endpoint_format(remote, to);
	if (errnum == ENOENT || errnum == ESTALE)
		return error_new(ERROR_GONE, "no such socket: %s -> %s", from,
				 to);
	return error_os(errnum, "cannot look up the socket %s -> %s", from, to);
}

/* Returns: 0, -ENOENT when the kernel gave another socket, or -EBADMSG. */
static int parse_lookup(struct sockdiag *diag, const struct endpoint *local,
			const struct endpoint *remote, struct tcp_socket *ret)
{
	if (diag->raw.n != 1)
		return -EBADMSG;
	const struct raw_message *m = raw_store_get(&diag->raw, 0);
	int rc = sockdiag_parse(m->data, m->len, ret);
	if (rc < 0)
		return rc;
	// no such connection, but a listener of that port: it is not here
	if (!is_what_was_asked(ret, local, remote))
		return -ENOENT;
	return parse_message(diag, m, ret);
}

struct error *sockdiag_lookup(struct sockdiag *diag,
			      const struct endpoint *local,
			      const struct endpoint *remote, uint32_t ifindex,
			      uint64_t cookie, struct tcp_socket *ret)
{
	struct inet_diag_req_v2 req = {
		.sdiag_family = local->family,
		.idiag_states = STATES_ALL,
	};
	struct tcp_socket found;
	struct answer a = { 0 };

	if (remote && remote->family != local->family)
		return error_new(ERROR_USAGE, "endpoints of two families");
	fill_id(local, remote, ifindex, cookie, &req.id);
	int rc = ask(diag, 0, &req, &a);
	if (rc == 0)
		rc = -a.error;
	if (rc == 0)
		rc = parse_lookup(diag, local, remote, &found);
	raw_store_clear(&diag->raw);
	if (rc < 0)
		return lookup_error(-rc, local, remote);
	*ret = found;
	return NULL;
}

static void resampled_gone(struct sockdiag *diag, struct tcp_socket *s)
{
	struct net_record_head head = { NET_RECORD_GONE, diag->netns,
					clock_mono_ns(), clock_wall_ms() };
	uint64_t cookie = htole64(s->cookie);

	s->second_state = TCP_VANISHED;
	if (diag->record)
		net_record_put(diag->record, &head, &cookie, sizeof(cookie));
}

static void resampled(struct tcp_socket *s, const struct tcp_socket *now)
{
	s->second = now->first;
	s->second_state = TCP_SAMPLED;
}

/* An exact lookup would give any one of those that share the port. */
static struct error *resample_listener(struct sockdiag *diag,
				       struct tcp_socket *s)
{
	struct sockdiag_filter filter = {
		.inodes = &s->inode,
		.n_inodes = 1,
		.states = 1u << TCP_STATE_LISTEN,
	};
	AUTO_SOCKETS struct tcp_snapshot *snap = NULL;
	struct error *err = sockdiag_dump(diag, &filter, &snap);

	if (err)
		return err;
	if (snap->n > 0 && snap->v[0].cookie == s->cookie)
		resampled(s, &snap->v[0]);
	else
		resampled_gone(diag, s);
	return NULL;
}

static struct error *resample_connection(struct sockdiag *diag,
					 struct tcp_socket *s)
{
	struct tcp_socket now;
	AUTO_ERROR struct error *err = sockdiag_lookup(
		diag, &s->local, &s->remote, s->ifindex, s->cookie, &now);

	if (!err)
		resampled(s, &now);
	else if (error_catch(&err, ERROR_GONE))
		resampled_gone(diag, s);
	return TAKE(err);
}

struct error *sockdiag_resample(struct sockdiag *diag, struct tcp_socket *s)
{
	struct error *err;

	if (s->first.state == TCP_STATE_CLOSE) {
		s->second_state = TCP_NOT_SAMPLED;
		return NULL;
	}
	s->second_state = TCP_SAMPLE_FAILED;
	diag->record_as = NET_RECORD_LOOKUP;
	if (s->first.state == TCP_STATE_LISTEN)
		err = resample_listener(diag, s);
	else
		err = resample_connection(diag, s);
	diag->record_as = NET_RECORD_DUMP;
	return err;
}
