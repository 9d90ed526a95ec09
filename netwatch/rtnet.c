/* SPDX-License-Identifier: Apache-2.0 */
#include "netwatch/rtnet.h"

#include <errno.h>
#include <linux/fib_rules.h>
#include <linux/neighbour.h>
#include <linux/net_namespace.h>
#include <linux/netconf.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>

#include "netwatch/netns.h"
#include "netwatch/nlask.h"

#ifndef RTM_F_FIB_MATCH
#define RTM_F_FIB_MATCH 0x2000
#endif

/** A table that was dumped: at most @max rows of @size bytes. */
struct table {
	void *v;
	size_t n, cap, size, max;
	bool loaded;
	int error; /* of the dump, kept: it is not tried again */
};

struct rtnet {
	struct nl_sock *sk;
	struct table links, addresses, neighbours, filters;
	struct rtnet_rules rules;
	bool rules_loaded;
	int rules_error;
};

static void table_clear(void *arg)
{
	struct table *t = arg;

	t->n = 0;
}

static void *table_add(struct table *t)
{
	if (t->n == t->max)
		return NULL;
	if (t->n == t->cap) {
		size_t cap = t->cap ? t->cap * 2 : 32;
		void *v = reallocarray(t->v, cap, t->size);
		if (!v)
			return NULL;
		t->v = v;
		t->cap = cap;
	}
	void *row = (char *)t->v + t->n++ * t->size;
	memset(row, 0, t->size);
	return row;
}

static int table_load(struct rtnet *rt, struct table *t, struct nl_msg *msg,
		      nlask_each *each)
{
	if (t->loaded) {
		nlmsg_free(msg);
		return t->error;
	}
	t->error = nlask(rt->sk, msg, each, table_clear, t);
	t->loaded = true;
	return t->error;
}

static struct nl_msg *request(int type, int flags, const void *hdr, size_t len)
{
	struct nl_msg *msg = nlmsg_alloc_simple(type, flags);
	if (msg && nlmsg_append(msg, (void *)hdr, len, NLMSG_ALIGNTO) < 0) {
		nlmsg_free(msg);
		return NULL;
	}
	return msg;
}

/* --- attributes: each length is the kernel's, each is checked --- */

static uint32_t attr_u32(struct nlattr *a, uint32_t otherwise)
{
	return a && nla_len(a) >= 4 ? nla_get_u32(a) : otherwise;
}

static bool attr_address(struct nlattr *a, uint8_t family, struct endpoint *ret)
{
	if (family != AF_INET && family != AF_INET6)
		return false;
	if (!a || (size_t)nla_len(a) < rtnet_addr_len(family))
		return false;
	memset(ret, 0, sizeof(*ret));
	ret->family = family;
	memcpy(ret->addr, nla_data(a), rtnet_addr_len(family));
	return true;
}

static uint8_t attr_lladdr(struct nlattr *a, uint8_t buf[8])
{
	if (!a || nla_len(a) > 8)
		return 0;
	memcpy(buf, nla_data(a), (size_t)nla_len(a));
	return (uint8_t)nla_len(a);
}

static void attr_text(struct nlattr *a, char *buf, size_t size)
{
	if (a)
		nla_strlcpy(buf, a, size);
}

/* --- devices --- */

static void link_kind(struct nlattr *info, struct rtnet_link *l)
{
	struct nlattr *tb[IFLA_INFO_MAX + 1] = { NULL };

	if (info && !nla_parse_nested(tb, IFLA_INFO_MAX, info, NULL))
		attr_text(tb[IFLA_INFO_KIND], l->kind, sizeof(l->kind));
}

static bool link_has_xdp(struct nlattr *xdp)
{
	struct nlattr *tb[IFLA_XDP_MAX + 1] = { NULL };

	if (!xdp || nla_parse_nested(tb, IFLA_XDP_MAX, xdp, NULL))
		return false;
	return tb[IFLA_XDP_ATTACHED] && nla_len(tb[IFLA_XDP_ATTACHED]) >= 1 &&
	       nla_get_u8(tb[IFLA_XDP_ATTACHED]);
}

static int on_link(struct nlmsghdr *nlh, void *arg)
{
	struct nlattr *tb[IFLA_MAX + 1] = { NULL };
	struct ifinfomsg *ifi = nlmsg_data(nlh);

	if (nlh->nlmsg_type != RTM_NEWLINK ||
	    nlmsg_parse(nlh, sizeof(*ifi), tb, IFLA_MAX, NULL) < 0)
		return 0;
	struct rtnet_link *l = table_add(arg);
	if (!l)
		return -ENOBUFS;
	l->ifindex = ifi->ifi_index;
	attr_text(tb[IFLA_IFNAME], l->name, sizeof(l->name));
	link_kind(tb[IFLA_LINKINFO], l);
	l->loopback = ifi->ifi_flags & IFF_LOOPBACK;
	l->noarp = ifi->ifi_flags & IFF_NOARP;
	l->up = ifi->ifi_flags & IFF_UP;
	// IFF_LOWER_UP, of linux/if.h, which does not go with net/if.h.
	l->carrier = l->up && (ifi->ifi_flags & 0x10000);
	l->master = (int)attr_u32(tb[IFLA_MASTER], 0);
	l->peer = (int)attr_u32(tb[IFLA_LINK], 0);
	l->peer_netns = (int)attr_u32(tb[IFLA_LINK_NETNSID], UINT32_MAX);
	l->xdp = link_has_xdp(tb[IFLA_XDP]);
	l->lladdr_len = attr_lladdr(tb[IFLA_ADDRESS], l->lladdr);
	return 0;
}

static int compare_links(const void *a, const void *b)
{
	const struct rtnet_link *x = a, *y = b;

	return (x->ifindex > y->ifindex) - (x->ifindex < y->ifindex);
}

int rtnet_links(struct rtnet *rt, const struct rtnet_link **ret, size_t *n_ret)
{
	if (!rt->links.loaded) {
		struct ifinfomsg ifi = { .ifi_family = AF_UNSPEC };
		struct nl_msg *msg =
			request(RTM_GETLINK, NLM_F_DUMP, &ifi, sizeof(ifi));
		table_load(rt, &rt->links, msg, on_link);
		if (rt->links.n)
			qsort(rt->links.v, rt->links.n,
			      sizeof(struct rtnet_link), compare_links);
	}
	if (rt->links.error)
		return rt->links.error;
	*ret = rt->links.v;
	*n_ret = rt->links.n;
	return 0;
}

int rtnet_link(struct rtnet *rt, int ifindex, const struct rtnet_link **ret)
{
	const struct rtnet_link *v;
	size_t n;
	int err = rtnet_links(rt, &v, &n);
	if (err)
		return err;
	struct rtnet_link key = { .ifindex = ifindex };
	const struct rtnet_link *l =
		n ? bsearch(&key, v, n, sizeof(key), compare_links) : NULL;
	if (!l)
		return 0;
	*ret = l;
	return 1;
}

/* --- addresses and neighbours --- */

static int on_address(struct nlmsghdr *nlh, void *arg)
{
	struct nlattr *tb[IFA_MAX + 1] = { NULL };
	struct ifaddrmsg *ifa = nlmsg_data(nlh);
	struct endpoint e;

	if (nlh->nlmsg_type != RTM_NEWADDR ||
	    nlmsg_parse(nlh, sizeof(*ifa), tb, IFA_MAX, NULL) < 0)
		return 0;
	// IFA_ADDRESS is the other end's on point-to-point devices.
	if (!attr_address(tb[IFA_LOCAL], ifa->ifa_family, &e) &&
	    !attr_address(tb[IFA_ADDRESS], ifa->ifa_family, &e))
		return 0;
	struct endpoint *row = table_add(arg);
	if (!row)
		return -ENOBUFS;
	*row = e;
	return 0;
}

static bool same_address(const struct endpoint *a, const struct endpoint *b)
{
	return a->family == b->family &&
	       !memcmp(a->addr, b->addr, rtnet_addr_len(a->family));
}

int rtnet_has_address(struct rtnet *rt, const struct endpoint *addr)
{
	if (!rt->addresses.loaded) {
		struct ifaddrmsg ifa = { .ifa_family = AF_UNSPEC };
		table_load(rt, &rt->addresses,
			   request(RTM_GETADDR, NLM_F_DUMP, &ifa, sizeof(ifa)),
			   on_address);
	}
	if (rt->addresses.error)
		return rt->addresses.error;
	const struct endpoint *v = rt->addresses.v;
	for (size_t i = 0; i < rt->addresses.n; i++)
		if (same_address(&v[i], addr))
			return 1;
	return 0;
}

static int on_neighbour(struct nlmsghdr *nlh, void *arg)
{
	struct nlattr *tb[NDA_MAX + 1] = { NULL };
	struct ndmsg *ndm = nlmsg_data(nlh);
	struct endpoint e;

	if (nlh->nlmsg_type != RTM_NEWNEIGH ||
	    nlmsg_parse(nlh, sizeof(*ndm), tb, NDA_MAX, NULL) < 0 ||
	    !attr_address(tb[NDA_DST], ndm->ndm_family, &e))
		return 0;
	struct rtnet_neighbour *row = table_add(arg);
	if (!row)
		return -ENOBUFS;
	row->ifindex = ndm->ndm_ifindex;
	row->addr = e;
	row->state = ndm->ndm_state;
	row->age_ms = -1;
	row->lladdr_len = attr_lladdr(tb[NDA_LLADDR], row->lladdr);
	if (tb[NDA_CACHEINFO] && (size_t)nla_len(tb[NDA_CACHEINFO]) >=
					 sizeof(struct nda_cacheinfo)) {
		struct nda_cacheinfo ci;
		memcpy(&ci, nla_data(tb[NDA_CACHEINFO]), sizeof(ci));
		// In USER_HZ, which is 100 on all that we run on.
		row->age_ms = (int64_t)ci.ndm_updated * 10;
	}
	return 0;
}

int rtnet_neighbour(struct rtnet *rt, int ifindex, const struct endpoint *addr,
		    const struct rtnet_neighbour **ret)
{
	if (!rt->neighbours.loaded) {
		struct ndmsg ndm = { .ndm_family = AF_UNSPEC };
		table_load(rt, &rt->neighbours,
			   request(RTM_GETNEIGH, NLM_F_DUMP, &ndm, sizeof(ndm)),
			   on_neighbour);
	}
	if (rt->neighbours.error)
		return rt->neighbours.error;
	const struct rtnet_neighbour *v = rt->neighbours.v;
	for (size_t i = 0; i < rt->neighbours.n; i++) {
		if (v[i].ifindex != ifindex || !same_address(&v[i].addr, addr))
			continue;
		*ret = &v[i];
		return 1;
	}
	return 0;
}

/* --- routes and rules --- */

/* What the kernel answers when it would not send the packet either. */
static bool means_no(int err)
{
	return err == -ENETUNREACH || err == -EHOSTUNREACH || err == -EACCES ||
	       err == -EINVAL || err == -ENETDOWN || err == -EXDEV ||
	       err == -ENODEV || err == -ENONET || err == -ESRCH ||
	       err == -EAGAIN;
}

static bool attr_via(struct nlattr *a, struct endpoint *ret)
{
	uint16_t family;

	if (!a || nla_len(a) < (int)sizeof(family))
		return false;
	memcpy(&family, nla_data(a), sizeof(family));
	if ((family != AF_INET && family != AF_INET6) ||
	    (size_t)nla_len(a) < sizeof(family) + rtnet_addr_len(family & 0xff))
		return false;
	memset(ret, 0, sizeof(*ret));
	ret->family = (uint8_t)family;
	memcpy(ret->addr, (char *)nla_data(a) + sizeof(family),
	       rtnet_addr_len(ret->family));
	return true;
}

static int on_route(struct nlmsghdr *nlh, void *arg)
{
	struct nlattr *tb[RTA_MAX + 1] = { NULL };
	struct rtmsg *rtm = nlmsg_data(nlh);
	struct rtnet_route *r = arg;

	if (nlh->nlmsg_type != RTM_NEWROUTE ||
	    nlmsg_parse(nlh, sizeof(*rtm), tb, RTA_MAX, NULL) < 0)
		return -EBADMSG;
	r->type = rtm->rtm_type;
	r->oif = (int)attr_u32(tb[RTA_OIF], 0);
	r->odd = tb[RTA_ENCAP] || tb[RTA_ENCAP_TYPE] || tb[RTA_NEWDST];
	r->has_gateway =
		attr_via(tb[RTA_VIA], &r->gateway) ||
		attr_address(tb[RTA_GATEWAY], rtm->rtm_family, &r->gateway);
	return 0;
}

static struct nl_msg *route_request(const struct rtnet_ask *ask, uint32_t flags)
{
	size_t len = rtnet_addr_len(ask->dst->family);
	uint8_t bits = (uint8_t)(len * 8);
	struct rtmsg rtm = {
		.rtm_family = ask->dst->family,
		.rtm_dst_len = bits,
		.rtm_src_len = ask->src ? bits : 0,
		.rtm_flags = flags,
	};
	struct nl_msg *msg = request(RTM_GETROUTE, 0, &rtm, sizeof(rtm));
	if (!msg || nla_put(msg, RTA_DST, (int)len, ask->dst->addr) ||
	    (ask->src && nla_put(msg, RTA_SRC, (int)len, ask->src->addr)) ||
	    (ask->iif && nla_put_u32(msg, RTA_IIF, ask->iif)) ||
	    (ask->oif && nla_put_u32(msg, RTA_OIF, ask->oif))) {
		nlmsg_free(msg);
		return NULL;
	}
	return msg;
}

int rtnet_route(struct rtnet *rt, const struct rtnet_ask *ask,
		struct rtnet_route *ret)
{
	memset(ret, 0, sizeof(*ret));
	int err = nlask(rt->sk, route_request(ask, 0), on_route, NULL, ret);
	if (means_no(err)) {
		ret->error = -err;
		return 0;
	}
	return err;
}

static int on_multipath(struct nlmsghdr *nlh, void *arg)
{
	struct nlattr *tb[RTA_MAX + 1] = { NULL };

	if (nlh->nlmsg_type != RTM_NEWROUTE ||
	    nlmsg_parse(nlh, sizeof(struct rtmsg), tb, RTA_MAX, NULL) < 0)
		return -EBADMSG;
	*(int *)arg = tb[RTA_MULTIPATH] || (tb[RTA_NH_ID] && !tb[RTA_OIF]);
	return 0;
}

int rtnet_multipath(struct rtnet *rt, const struct rtnet_ask *ask)
{
	int multipath = 0;
	int err = nlask(rt->sk, route_request(ask, RTM_F_FIB_MATCH),
			on_multipath, NULL, &multipath);

	return err ? err : multipath;
}

static int on_rule(struct nlmsghdr *nlh, void *arg)
{
	struct nlattr *tb[FRA_MAX + 1] = { NULL };
	struct fib_rule_hdr *frh = nlmsg_data(nlh);
	struct rtnet_rules *r = arg;

	if (nlh->nlmsg_type != RTM_NEWRULE ||
	    nlmsg_parse(nlh, sizeof(*frh), tb, FRA_MAX, NULL) < 0)
		return 0;
	// Each answer of the kernel has FRA_FWMARK only where it is set.
	if (attr_u32(tb[FRA_FWMARK], 0) || attr_u32(tb[FRA_FWMASK], 0))
		r->by_mark = true;
	if (frh->tos || tb[FRA_IP_PROTO] || tb[FRA_SPORT_RANGE] ||
	    tb[FRA_DPORT_RANGE] || tb[FRA_UID_RANGE] || tb[FRA_TUN_ID])
		r->by_other = true;
	return 0;
}

int rtnet_rules(struct rtnet *rt, struct rtnet_rules *ret)
{
	if (!rt->rules_loaded) {
		struct fib_rule_hdr frh = { .family = AF_UNSPEC };
		rt->rules_error = nlask(
			rt->sk,
			request(RTM_GETRULE, NLM_F_DUMP, &frh, sizeof(frh)),
			on_rule, NULL, &rt->rules);
		rt->rules_loaded = true;
	}
	*ret = rt->rules;
	return rt->rules_error;
}

/* --- what else could touch a packet --- */

/* Disciplines that delay and drop, and have no use for filters. */
static bool is_plain_qdisc(const char *kind)
{
	static const char *const plain[] = {
		"noqueue",  "pfifo_fast", "pfifo",  "bfifo", "fq",
		"fq_codel", "mq",	  "tbf",    "netem", "codel",
		"cake",	    "pie",	  "fq_pie", "sfq",   "noop",
	};

	for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++)
		if (!strcmp(kind, plain[i]))
			return true;
	return false;
}

static int on_qdisc(struct nlmsghdr *nlh, void *arg)
{
	struct nlattr *tb[TCA_MAX + 1] = { NULL };
	struct tcmsg *tcm = nlmsg_data(nlh);
	char kind[32] = "";

	if (nlh->nlmsg_type != RTM_NEWQDISC ||
	    nlmsg_parse(nlh, sizeof(*tcm), tb, TCA_MAX, NULL) < 0)
		return 0;
	attr_text(tb[TCA_KIND], kind, sizeof(kind));
	if (is_plain_qdisc(kind))
		return 0;
	int *row = table_add(arg);
	if (!row)
		return -ENOBUFS;
	*row = tcm->tcm_ifindex;
	return 0;
}

int rtnet_has_filters(struct rtnet *rt, int ifindex)
{
	if (!rt->filters.loaded) {
		struct tcmsg tcm = { .tcm_family = AF_UNSPEC };
		table_load(rt, &rt->filters,
			   request(RTM_GETQDISC, NLM_F_DUMP, &tcm, sizeof(tcm)),
			   on_qdisc);
	}
	// A kernel without traffic control has no such message.
	if (rt->filters.error)
		return rt->filters.error == -EOPNOTSUPP ? 0 : rt->filters.error;
	const int *v = rt->filters.v;
	for (size_t i = 0; i < rt->filters.n; i++)
		if (v[i] == ifindex)
			return 1;
	return 0;
}

static int on_netconf(struct nlmsghdr *nlh, void *arg)
{
	struct nlattr *tb[NETCONFA_MAX + 1] = { NULL };

	if (nlh->nlmsg_type != RTM_NEWNETCONF ||
	    nlmsg_parse(nlh, sizeof(struct netconfmsg), tb, NETCONFA_MAX,
			NULL) < 0)
		return -EBADMSG;
	*(int *)arg = attr_u32(tb[NETCONFA_FORWARDING], 0) != 0;
	return 0;
}

int rtnet_forwards(struct rtnet *rt, uint8_t family)
{
	struct netconfmsg ncm = { .ncm_family = family };
	struct nl_msg *msg = request(RTM_GETNETCONF, 0, &ncm, sizeof(ncm));
	int on = 0;

	if (msg && nla_put_s32(msg, NETCONFA_IFINDEX, NETCONFA_IFINDEX_ALL)) {
		nlmsg_free(msg);
		return -ENOMEM;
	}
	int err = nlask(rt->sk, msg, on_netconf, NULL, &on);
	return err ? err : on;
}

static int on_nsid(struct nlmsghdr *nlh, void *arg)
{
	struct nlattr *tb[NETNSA_MAX + 1] = { NULL };

	if (nlh->nlmsg_type != RTM_NEWNSID ||
	    nlmsg_parse(nlh, sizeof(struct rtgenmsg), tb, NETNSA_MAX, NULL) < 0)
		return -EBADMSG;
	*(int *)arg = (int)attr_u32(tb[NETNSA_NSID], UINT32_MAX);
	return 0;
}

int rtnet_netns_id(struct rtnet *rt, int netns_fd, int *ret)
{
	struct rtgenmsg gen = { .rtgen_family = AF_UNSPEC };
	struct nl_msg *msg = request(RTM_GETNSID, 0, &gen, sizeof(gen));

	if (msg && nla_put_u32(msg, NETNSA_FD, (uint32_t)netns_fd)) {
		nlmsg_free(msg);
		return -ENOMEM;
	}
	*ret = -1;
	return nlask(rt->sk, msg, on_nsid, NULL, ret);
}

struct error *rtnet_open(int netns_fd, struct rtnet **ret)
{
	struct rtnet *rt = calloc(1, sizeof(*rt));
	if (!rt)
		return &error_nomem;
	rt->links = (struct table){ .size = sizeof(struct rtnet_link),
				    .max = RTNET_MAX_LINKS };
	rt->addresses = (struct table){ .size = sizeof(struct endpoint),
					.max = RTNET_MAX_ADDRESSES };
	rt->neighbours = (struct table){ .size = sizeof(struct rtnet_neighbour),
					 .max = RTNET_MAX_NEIGHBOURS };
	rt->filters =
		(struct table){ .size = sizeof(int), .max = RTNET_MAX_LINKS };
	struct error *err = netns_netlink(netns_fd, NETLINK_ROUTE, &rt->sk);
	if (err) {
		free(rt);
		return err;
	}
	nlask_prepare(rt->sk);
	*ret = rt;
	return NULL;
}

void rtnet_close(struct rtnet *rt)
{
	if (!rt)
		return;
	free(rt->links.v);
	free(rt->addresses.v);
	free(rt->neighbours.v);
	free(rt->filters.v);
	nl_socket_free(rt->sk);
	free(rt);
}
