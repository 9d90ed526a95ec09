/* SPDX-License-Identifier: Apache-2.0 */
#include "netwatch/nat.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <linux/bpf.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nf_tables_compat.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/xfrm.h>
#include <netlink/netfilter/ct.h>
#include <netlink/netfilter/nfnl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "netwatch/netns.h"
#include "netwatch/nlask.h"

struct proc_view {
	int ct_count;	 /* -1: no conntrack in this kernel */
	bool legacy_nat; /* iptables' own tables, not those of nftables */
	bool legacy_mangle;
	bool ipvs;
	bool denied, limited;
	bool bridge_ipv4, bridge_ipv6;
};

struct nat {
	int netns_fd; /* borrowed */
	struct nl_sock *sk;
	bool looked, proc_looked, proc_seen;
	bool nat_rules;
	struct proc_view proc;
	struct nat_facts facts;
};

/* --- /proc, as seen from inside the namespace --- */

/*
 * The start of a small file; "" when there is none. False: refused. For want of
 * descriptors or memory nothing is known of it either, and that is our limit.
 */
static bool read_start(struct proc_view *v, const char *path, char *buf,
		       size_t size)
{
	buf[0] = '\0';
	int AUTO_CLOSE fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		v->limited |= errno == EMFILE || errno == ENFILE ||
			      errno == ENOMEM;
		return errno != EACCES && errno != EPERM;
	}
	ssize_t n = read(fd, buf, size - 1);
	buf[n > 0 ? n : 0] = '\0';
	return n >= 0;
}

/* One name a line. */
static bool has_line(const char *text, const char *name)
{
	size_t len = strlen(name);

	for (const char *p = text; p; p = strchr(p, '\n')) {
		p += *p == '\n';
		if (!strncmp(p, name, len) && (!p[len] || p[len] == '\n'))
			return true;
	}
	return false;
}

static struct error *look_at_proc(void *arg)
{
	static const char *const tables[] = {
		"/proc/thread-self/net/ip_tables_names",
		"/proc/thread-self/net/ip6_tables_names",
	};
	struct proc_view *v = arg;
	char buf[4096];

	read_start(v, "/proc/sys/net/netfilter/nf_conntrack_count", buf, 32);
	v->ct_count = buf[0] ? atoi(buf) : -1;
	for (int i = 0; i < 2; i++) {
		if (!read_start(v, tables[i], buf, sizeof(buf)))
			v->denied = true;
		v->legacy_nat |= has_line(buf, "nat");
		v->legacy_mangle |= has_line(buf, "mangle");
	}
	if (!read_start(v, "/proc/thread-self/net/ip_vs", buf, sizeof(buf)))
		v->denied = true;
	v->ipvs = strstr(buf, "\nTCP ") || strstr(buf, "\nFWM ");
	read_start(v, "/proc/sys/net/bridge/bridge-nf-call-iptables", buf, 8);
	v->bridge_ipv4 = buf[0] && buf[0] != '0';
	read_start(v, "/proc/sys/net/bridge/bridge-nf-call-ip6tables", buf, 8);
	v->bridge_ipv6 = buf[0] && buf[0] != '0';
	return NULL;
}

/* --- nftables --- */

static struct nl_msg *nft_request(int type)
{
	struct nfgenmsg nfg = { .nfgen_family = AF_UNSPEC };
	struct nl_msg *msg = nlmsg_alloc_simple(
		(NFNL_SUBSYS_NFTABLES << 8) | type, NLM_F_DUMP);

	if (msg && nlmsg_append(msg, &nfg, sizeof(nfg), NLMSG_ALIGNTO) < 0) {
		nlmsg_free(msg);
		return NULL;
	}
	return msg;
}

static bool attr_is(struct nlattr *a, const char *text)
{
	char buf[64] = "";

	if (a)
		nla_strlcpy(buf, a, sizeof(buf));
	return !strcmp(buf, text);
}

static bool attr_in(struct nlattr *a, const char *const *list)
{
	for (; *list; list++)
		if (attr_is(a, *list))
			return true;
	return false;
}

static int on_chain(struct nlmsghdr *nlh, void *arg)
{
	struct nlattr *tb[NFTA_CHAIN_MAX + 1] = { NULL };
	struct nat *nat = arg;

	if (nlmsg_parse(nlh, sizeof(struct nfgenmsg), tb, NFTA_CHAIN_MAX,
			NULL) < 0)
		return 0;
	if (attr_is(tb[NFTA_CHAIN_TYPE], "nat"))
		nat->nat_rules = true;
	return 0;
}

/* xtables targets in nftables: those that leave address and port alone. */
static const char *const plain_targets[] = {
	"LOG",	   "NFLOG",  "MARK",   "CONNMARK", "TCPMSS",   "REJECT",
	"DROP",	   "ACCEPT", "RETURN", "TRACE",	   "CLASSIFY", "SECMARK",
	"TOS",	   "DSCP",   "TTL",    "HL",	   "CHECKSUM", "SET",
	"RATEEST", "AUDIT",  "LED",    "ERROR",	   "",	       NULL,
};
static const char *const nat_targets[] = {
	"DNAT", "SNAT", "MASQUERADE", "REDIRECT", "NETMAP", NULL,
};
static const char *const nat_expressions[] = { "nat", "masq", "redir", NULL };
static const char *const odd_expressions[] = {
	"fwd", "dup", "tproxy", "queue", "synproxy", NULL,
};

static void found_rewriter(struct nat *nat, uint8_t family, const char *what)
{
	nat->facts.rewriter = what;
	if (family == NFPROTO_BRIDGE || family == NFPROTO_NETDEV)
		nat->facts.bridge_rewriter = what;
}

static void look_at_expression(struct nat *nat, uint8_t family,
			       struct nlattr *elem)
{
	struct nlattr *tb[NFTA_EXPR_MAX + 1] = { NULL };
	struct nlattr *data[32] = { NULL };

	if (nla_parse_nested(tb, NFTA_EXPR_MAX, elem, NULL))
		return;
	if (tb[NFTA_EXPR_DATA])
		nla_parse_nested(data, 31, tb[NFTA_EXPR_DATA], NULL);
	if (attr_in(tb[NFTA_EXPR_NAME], nat_expressions))
		nat->nat_rules = true;
	else if (attr_in(tb[NFTA_EXPR_NAME], odd_expressions))
		found_rewriter(nat, family,
			       "nftables rules that redirect, copy or "
			       "queue packets");
	else if (attr_is(tb[NFTA_EXPR_NAME], "payload") &&
		 data[NFTA_PAYLOAD_SREG])
		found_rewriter(nat, family,
			       "nftables rules that write to packets");
	if (!attr_is(tb[NFTA_EXPR_NAME], "target"))
		return;
	if (attr_in(data[NFTA_TARGET_NAME], nat_targets))
		nat->nat_rules = true;
	else if (!attr_in(data[NFTA_TARGET_NAME], plain_targets))
		found_rewriter(nat, family,
			       "iptables rules that may change packets");
}

static int on_rule(struct nlmsghdr *nlh, void *arg)
{
	struct nlattr *tb[NFTA_RULE_MAX + 1] = { NULL };
	const struct nfgenmsg *nfg = nlmsg_data(nlh);
	struct nlattr *elem;
	int left;

	if (nlmsg_parse(nlh, sizeof(struct nfgenmsg), tb, NFTA_RULE_MAX, NULL) <
		    0 ||
	    !tb[NFTA_RULE_EXPRESSIONS])
		return 0;
	nla_for_each_nested(elem, tb[NFTA_RULE_EXPRESSIONS], left)
		look_at_expression(arg, nfg->nfgen_family, elem);
	return 0;
}

/* A kernel without nf_tables has no such subsystem. */
static int or_none(int err)
{
	return err == -EINVAL || err == -EOPNOTSUPP ? 0 : err;
}

static void look_at_rules(struct nat *nat)
{
	int err = or_none(nlask(nat->sk, nft_request(NFT_MSG_GETCHAIN),
				on_chain, NULL, nat));
	if (!err)
		err = or_none(nlask(nat->sk, nft_request(NFT_MSG_GETRULE),
				    on_rule, NULL, nat));
	if (err == -EPERM)
		nat->facts.unseen = "firewall rules cannot be read; "
				    "CAP_NET_ADMIN is needed";
	else if (err)
		nat->facts.unseen = "firewall rules cannot be read";
}

/* --- IPsec --- */

static int on_spd(struct nlmsghdr *nlh, void *arg)
{
	struct nlattr *tb[XFRMA_SPD_MAX + 1] = { NULL };
	struct xfrmu_spdinfo info;

	if (nlh->nlmsg_type != XFRM_MSG_NEWSPDINFO ||
	    nlmsg_parse(nlh, sizeof(uint32_t), tb, XFRMA_SPD_MAX, NULL) < 0 ||
	    !tb[XFRMA_SPD_INFO] ||
	    nla_len(tb[XFRMA_SPD_INFO]) < (int)sizeof(info))
		return -EBADMSG;
	memcpy(&info, nla_data(tb[XFRMA_SPD_INFO]), sizeof(info));
	*(bool *)arg = info.outcnt || info.fwdcnt || info.incnt;
	return 0;
}

/* A policy may wrap the packet and send it elsewhere. */
static void look_at_ipsec(struct nat *nat)
{
	struct nl_sock *sk;
	uint32_t flags = 0;
	bool any = false;

	// A kernel without IPsec has no such protocol.
	struct error *err = netns_netlink(nat->netns_fd, NETLINK_XFRM, &sk);
	if (err) {
		error_free(err);
		return;
	}
	nlask_prepare(sk);
	struct nl_msg *msg = nlmsg_alloc_simple(XFRM_MSG_GETSPDINFO, 0);
	if (msg && nlmsg_append(msg, &flags, sizeof(flags), NLMSG_ALIGNTO)) {
		nlmsg_free(msg);
		msg = NULL;
	}
	int rc = nlask(sk, msg, on_spd, NULL, &any);
	nl_socket_free(sk);
	if (rc)
		nat->facts.unseen = "IPsec policies cannot be read";
	else if (any)
		nat->facts.rewriter = "IPsec policies";
}

static const struct proc_view *look_once(struct nat *nat)
{
	if (nat->proc_looked)
		return nat->proc_seen ? &nat->proc : NULL;
	nat->proc_looked = true;
	nat->proc.ct_count = -1;
	struct error *err = netns_run(nat->netns_fd, look_at_proc, &nat->proc);
	nat->proc_seen = !err;
	error_free(err);
	return nat->proc_seen ? &nat->proc : NULL;
}

const struct nat_facts *nat_look(struct nat *nat)
{
	struct nat_facts *f = &nat->facts;

	if (nat->looked)
		return f;
	nat->looked = true;
	const struct proc_view *v = look_once(nat);
	if (!v) {
		f->unseen = "its /proc cannot be seen";
		f->tracking = true;
		return f;
	}
	look_at_ipsec(nat);
	look_at_rules(nat);
	f->no_conntrack = v->ct_count < 0;
	f->tracking = v->ct_count > 0 || nat->nat_rules || v->legacy_nat;
	f->bridge_ipv4 = v->bridge_ipv4;
	f->bridge_ipv6 = v->bridge_ipv6;
	if (v->ipvs)
		f->rewriter = "IPVS services";
	else if (v->legacy_mangle)
		f->rewriter = "iptables' mangle table";
	f->limited = v->limited;
	if (v->limited)
		f->unseen = "its NAT could not be looked at, for want of open "
			    "files or memory";
	if (v->denied && !f->unseen)
		f->unseen = "iptables' tables cannot be read; root is needed";
	return f;
}

/* --- conntrack --- */

static struct nl_addr *to_addr(const struct endpoint *e)
{
	return nl_addr_build(e->family, e->addr, e->family == AF_INET ? 4 : 16);
}

static bool from_addr(struct nl_addr *a, uint8_t family, uint16_t port,
		      struct endpoint *ret)
{
	size_t len = family == AF_INET ? 4 : 16;

	if (!a || nl_addr_get_len(a) != len)
		return false;
	memset(ret, 0, sizeof(*ret));
	ret->family = family;
	ret->port = port;
	memcpy(ret->addr, nl_addr_get_binary_addr(a), len);
	return true;
}

static struct nl_msg *ct_request(const struct nat_tuple *t)
{
	struct nfnl_ct *ct = nfnl_ct_alloc();
	struct nl_addr *src = to_addr(&t->src), *dst = to_addr(&t->dst);
	struct nl_msg *msg = NULL;

	if (ct && src && dst) {
		nfnl_ct_set_family(ct, t->src.family);
		nfnl_ct_set_proto(ct, IPPROTO_TCP);
		nfnl_ct_set_src_port(ct, 0, t->src.port);
		nfnl_ct_set_dst_port(ct, 0, t->dst.port);
		if (nfnl_ct_set_src(ct, 0, src) < 0 ||
		    nfnl_ct_set_dst(ct, 0, dst) < 0 ||
		    nfnl_ct_build_query_request(ct, 0, &msg) < 0)
			msg = NULL;
	}
	if (src)
		nl_addr_put(src);
	if (dst)
		nl_addr_put(dst);
	if (ct)
		nfnl_ct_put(ct);
	return msg;
}

struct ct_entry {
	struct nat_tuple dir[2]; /* original, reply */
	bool assured;
};

static int on_entry(struct nlmsghdr *nlh, void *arg)
{
	struct ct_entry *e = arg;
	struct nfnl_ct *ct = NULL;
	int ret = 0;

	if (nfnlmsg_ct_parse(nlh, &ct) < 0)
		return -EBADMSG;
	uint8_t family = nfnl_ct_get_family(ct);
	e->assured = nfnl_ct_test_status(ct) &&
		     (nfnl_ct_get_status(ct) & IPS_ASSURED);
	for (int i = 0; i < 2; i++)
		if (!from_addr(nfnl_ct_get_src(ct, i), family,
			       nfnl_ct_get_src_port(ct, i), &e->dir[i].src) ||
		    !from_addr(nfnl_ct_get_dst(ct, i), family,
			       nfnl_ct_get_dst_port(ct, i), &e->dir[i].dst))
			ret = -EBADMSG;
	nfnl_ct_put(ct);
	return ret;
}

static bool same_end(const struct endpoint *a, const struct endpoint *b)
{
	return a->family == b->family && a->port == b->port &&
	       !memcmp(a->addr, b->addr, a->family == AF_INET ? 4 : 16);
}

int nat_translate(struct nat *nat, const struct nat_tuple *in,
		  struct nat_tuple *out, bool *assured)
{
	struct ct_entry e = { 0 };

	const struct proc_view *v = look_once(nat);
	if (v && v->ct_count <= 0)
		return 0;
	int err = nlask(nat->sk, ct_request(in), on_entry, NULL, &e);
	if (err == -ENOENT || err == -EINVAL || err == -EOPNOTSUPP)
		return 0;
	if (err)
		return err;
	for (int i = 0; i < 2; i++) {
		if (!same_end(&e.dir[i].src, &in->src) ||
		    !same_end(&e.dir[i].dst, &in->dst))
			continue;
		// It leaves as the other direction's answer expects it.
		out->src = e.dir[!i].dst;
		out->dst = e.dir[!i].src;
		*assured = e.assured;
		return 1;
	}
	return -EBADMSG;
}

/* --- BPF --- */

struct bpf_ask {
	int ifindex;
	int ret;
};

/* BPF_TCX_INGRESS and _EGRESS (Linux 6.6), newer than Debian 12's header. */
enum { TCX_INGRESS = 46, TCX_EGRESS = 47 };

static struct error *ask_bpf(void *arg)
{
	struct bpf_ask *ask = arg;

	for (int type = TCX_INGRESS; type <= TCX_EGRESS && !ask->ret; type++) {
		union bpf_attr attr;
		memset(&attr, 0, sizeof(attr));
		attr.query.target_fd = (uint32_t)ask->ifindex;
		attr.query.attach_type = (uint32_t)type;
		if (!syscall(SYS_bpf, BPF_PROG_QUERY, &attr, sizeof(attr)))
			ask->ret = attr.query.prog_cnt > 0;
		else if (errno != EINVAL && errno != ENOSYS && errno != ENOENT)
			ask->ret = -errno;
	}
	return NULL;
}

int nat_has_bpf(struct nat *nat, int ifindex)
{
	struct bpf_ask ask = { .ifindex = ifindex };
	struct error *err = netns_run(nat->netns_fd, ask_bpf, &ask);

	if (err) {
		error_free(err);
		return -EPERM;
	}
	return ask.ret;
}

struct error *nat_open(int netns_fd, struct nat **ret)
{
	struct nat *nat = calloc(1, sizeof(*nat));
	if (!nat)
		return &error_nomem;
	nat->netns_fd = netns_fd;
	struct error *err =
		netns_netlink(netns_fd, NETLINK_NETFILTER, &nat->sk);
	if (err) {
		free(nat);
		return err;
	}
	nlask_prepare(nat->sk);
	*ret = nat;
	return NULL;
}

void nat_close(struct nat *nat)
{
	if (!nat)
		return;
	nl_socket_free(nat->sk);
	free(nat);
}
