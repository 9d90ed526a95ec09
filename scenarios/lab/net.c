/* SPDX-License-Identifier: Apache-2.0 */

/* Links, addresses, routes and queues, by libnl-route. */

#include <errno.h>
#include <fcntl.h>
#include <linux/if_addr.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netlink/errno.h>
#include <netlink/netfilter/nfnl.h>
#include <netlink/netlink.h>
#include <netlink/route/addr.h>
#include <netlink/route/link.h>
#include <netlink/route/link/bridge.h>
#include <netlink/route/link/veth.h>
#include <netlink/route/neighbour.h>
#include <netlink/route/qdisc.h>
#include <netlink/route/qdisc/tbf.h>
#include <netlink/route/route.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "netwatch/netns.h"
#include "scenarios/lab/lab_priv.h"

#define CARRIER_NS (5 * INT64_C(1000000000))
#define STEP_NS 1000000
#define OPER_UP 6 /* IF_OPER_UP of linux/if.h, which net/if.h excludes */

static const int families[] = { AF_INET, AF_INET6 };

/* @what is what the kernel was asked to do: "add the device 'to-b'". */
static struct error *net_error(int rc, const char *what, const char *name)
{
	if (rc == -NLE_OPNOTSUPP || rc == -NLE_AF_NOSUPPORT)
		return error_new(ERROR_UNSUPPORTED,
				 "this kernel cannot %s '%s'", what, name);
	if (rc == -NLE_PERM)
		return error_new(ERROR_DENIED,
				 "cannot %s '%s'; CAP_NET_ADMIN is needed",
				 what, name);
	if (rc == -NLE_NOMEM)
		return &error_nomem;
	return error_new(ERROR_OS, "cannot %s '%s': %s", what, name,
			 nl_geterror(rc));
}

static struct error *route_socket(int netns, struct nl_sock **ret)
{
	return netns_netlink(netns, NETLINK_ROUTE, ret);
}

static void free_socket(struct nl_sock **sk)
{
	if (*sk)
		nl_socket_free(*sk);
}
#define AUTO_SOCKET __attribute__((cleanup(free_socket)))

static void put_link(struct rtnl_link **link)
{
	if (*link)
		rtnl_link_put(*link);
}
#define AUTO_LINK __attribute__((cleanup(put_link)))

static void put_address(struct nl_addr **a)
{
	nl_addr_put(*a);
}
#define AUTO_ADDRESS __attribute__((cleanup(put_address)))

/* sysctls */

struct sysctl {
	const char *key, *value;
};

/* Runs inside: /proc/sys/net is that of the thread's own namespace. */
static struct error *write_sysctl(void *arg)
{
	const struct sysctl *s = arg;
	char path[128];

	snprintf(path, sizeof(path), "/proc/sys/%s", s->key);
	AUTO_CLOSE int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd >= 0 &&
	    write(fd, s->value, strlen(s->value)) == (ssize_t)strlen(s->value))
		return NULL;
	if (errno == ENOENT)
		return error_new(ERROR_UNSUPPORTED, "this kernel has no %s",
				 path);
	return error_os(errno, "cannot write %s", path);
}

struct error *lab_net_sysctl(int netns, const char *key, const char *value)
{
	struct sysctl s = { key, value };

	return netns_run(netns, write_sysctl, &s);
}

/* Links */

static struct error *get_link(struct nl_sock *sk, const char *device,
			      struct rtnl_link **ret)
{
	int rc = rtnl_link_get_kernel(sk, 0, device, ret);

	return rc < 0 ? net_error(rc, "find the device", device) : NULL;
}

static struct error *
change_link(int netns, const char *device,
	    void (*set)(struct rtnl_link *change, void *arg), void *arg)
{
	AUTO_SOCKET struct nl_sock *sk = NULL;
	AUTO_LINK struct rtnl_link *link = NULL;
	AUTO_LINK struct rtnl_link *change = rtnl_link_alloc();
	struct error *err = route_socket(netns, &sk);

	if (!err && !change)
		err = &error_nomem;
	if (!err)
		err = get_link(sk, device, &link);
	if (err)
		return err;
	set(change, arg);
	int rc = rtnl_link_change(sk, link, change, 0);
	return rc < 0 ? net_error(rc, "change the device", device) : NULL;
}

static void set_updown(struct rtnl_link *change, void *arg)
{
	if (*(bool *)arg)
		rtnl_link_set_flags(change, IFF_UP);
	else
		rtnl_link_unset_flags(change, IFF_UP);
}

struct error *lab_net_updown(int netns, const char *device, bool up)
{
	return change_link(netns, device, set_updown, &up);
}

static void set_netns(struct rtnl_link *change, void *arg)
{
	rtnl_link_set_ns_fd(change, *(int *)arg);
}

struct error *lab_net_move(int netns, const char *device, int to_netns)
{
	return change_link(netns, device, set_netns, &to_netns);
}

static struct error *make_switch(int netns)
{
	AUTO_SOCKET struct nl_sock *sk = NULL;
	AUTO_LINK struct rtnl_link *link = rtnl_link_bridge_alloc();
	struct error *err = route_socket(netns, &sk);

	if (err || !link)
		return err ? err : &error_nomem;
	rtnl_link_set_name(link, LAB_SWITCH);
	rtnl_link_set_flags(link, IFF_UP);
	int rc = rtnl_link_add(sk, link, NLM_F_CREATE | NLM_F_EXCL);
	return rc < 0 ? net_error(rc, "add the bridge", LAB_SWITCH) : NULL;
}

struct error *lab_net_host(int netns, const struct lab_plan *plan,
			   const char *host)
{
	/* Without detection of duplicates every address is usable at once; a
	 * cable that was pulled must find its addresses when it is back.
	 */
	static const struct sysctl all[] = {
		{ "net/ipv6/conf/all/disable_ipv6", "0" },
		{ "net/ipv6/conf/default/disable_ipv6", "0" },
		{ "net/ipv6/conf/all/accept_dad", "0" },
		{ "net/ipv6/conf/default/accept_dad", "0" },
		{ "net/ipv6/conf/all/keep_addr_on_down", "1" },
		{ "net/ipv6/conf/default/keep_addr_on_down", "1" },
	};
	static const struct sysctl router[] = {
		{ "net/ipv4/ip_forward", "1" },
		{ "net/ipv6/conf/all/forwarding", "1" },
	};
	struct error *err = NULL;
	bool forwards = !strcmp(host, "r");

	for (size_t i = 0; !err && i < sizeof(all) / sizeof(all[0]); i++)
		err = lab_net_sysctl(netns, all[i].key, all[i].value);
	for (size_t i = 0; !err && forwards && i < 2; i++)
		err = lab_net_sysctl(netns, router[i].key, router[i].value);
	if (!err && !strcmp(host, "s") && lab_plan_has(plan, "s"))
		err = make_switch(netns);
	return err ? err : lab_net_updown(netns, "lo", true);
}

struct error *lab_net_cable(const struct lab_cable *c, int netns_x, int netns_y)
{
	AUTO_SOCKET struct nl_sock *sk = NULL;
	char name_x[LAB_DEVICE_MAX], name_y[LAB_DEVICE_MAX];
	struct error *err = route_socket(netns_x, &sk);

	if (err)
		return err;
	struct rtnl_link *link = rtnl_link_veth_alloc();
	if (!link)
		return &error_nomem;
	struct rtnl_link *peer = rtnl_link_veth_get_peer(link);
	snprintf(name_x, sizeof(name_x), "to-%s", c->y);
	snprintf(name_y, sizeof(name_y), "to-%s", c->x);
	rtnl_link_set_name(link, name_x);
	rtnl_link_set_name(peer, name_y);
	// both ends are made where they belong: nothing is moved later
	rtnl_link_set_ns_fd(peer, netns_y);
	int rc = rtnl_link_add(sk, link, NLM_F_CREATE | NLM_F_EXCL);
	rtnl_link_put(peer);
	rtnl_link_veth_release(link);
	return rc < 0 ? net_error(rc, "add the veth device", name_x) : NULL;
}

/* Addresses and routes */

static struct error *parse_address(const char *text, int family,
				   struct nl_addr **ret)
{
	int rc = nl_addr_parse(text, family, ret);

	return rc < 0 ? net_error(rc, "parse the address", text) : NULL;
}

static struct error *change_address(struct nl_sock *sk, int ifindex,
				    const struct lab_end *end, int family,
				    bool there)
{
	AUTO_ADDRESS struct nl_addr *local = NULL;
	char text[LAB_ADDRESS_MAX];

	lab_address_text(family, end->net, end->addr, true, text);
	struct error *err = parse_address(text, family, &local);
	if (err)
		return err;
	struct rtnl_addr *a = rtnl_addr_alloc();
	if (!a)
		return &error_nomem;
	rtnl_addr_set_ifindex(a, ifindex);
	rtnl_addr_set_local(a, local);
	if (family == AF_INET6)
		rtnl_addr_set_flags(a, IFA_F_NODAD);
	int rc = there ? rtnl_addr_add(sk, a, NLM_F_CREATE | NLM_F_REPLACE)
		       : rtnl_addr_delete(sk, a, 0);
	rtnl_addr_put(a);
	// what should go may be gone
	if (rc == 0 || (!there && rc == -NLE_NOADDR))
		return NULL;
	return net_error(rc, there ? "add the address" : "remove the address",
			 text);
}

/* A route, and what is to happen to it. */
struct way {
	int family, ifindex, net;
	uint8_t to;	 /* one host; 0: the whole network */
	uint8_t gateway; /* 0: connected; else the default route */
	int mtu;
	bool remove;
};

static struct error *fill_route(const struct way *w, struct rtnl_route *route)
{
	AUTO_ADDRESS struct nl_addr *dst = NULL;
	AUTO_ADDRESS struct nl_addr *via = NULL;
	char text[LAB_ADDRESS_MAX];
	struct error *err;

	lab_address_text(w->family, w->net, w->to, !w->to, text);
	err = parse_address(w->gateway ? "default" : text, w->family, &dst);
	lab_address_text(w->family, w->net, w->gateway, false, text);
	if (!err && w->gateway)
		err = parse_address(text, w->family, &via);
	if (err)
		return err;
	struct rtnl_nexthop *hop = rtnl_route_nh_alloc();
	if (!hop)
		return &error_nomem;
	rtnl_route_nh_set_ifindex(hop, w->ifindex);
	if (via)
		rtnl_route_nh_set_gateway(hop, via);
	rtnl_route_add_nexthop(route, hop);
	rtnl_route_set_family(route, (uint8_t)w->family);
	rtnl_route_set_table(route, RT_TABLE_MAIN);
	rtnl_route_set_dst(route, dst);
	rtnl_route_set_scope(route, w->gateway || w->family == AF_INET6
					    ? RT_SCOPE_UNIVERSE
					    : RT_SCOPE_LINK);
	// a connected route is the kernel's own, and named so
	rtnl_route_set_protocol(route, w->gateway || w->to ? RTPROT_STATIC
							   : RTPROT_KERNEL);
	if (w->mtu)
		rtnl_route_set_metric(route, RTAX_MTU, (unsigned)w->mtu);
	if (w->family == AF_INET6 && !w->gateway && !w->to)
		rtnl_route_set_priority(route, 256); // IP6_RT_PRIO_ADDRCONF
	return NULL;
}

static struct error *change_route(struct nl_sock *sk, const struct way *w)
{
	struct rtnl_route *route = rtnl_route_alloc();

	if (!route)
		return &error_nomem;
	struct error *err = fill_route(w, route);
	int rc = 0;
	if (!err && w->remove)
		rc = rtnl_route_delete(sk, route, 0);
	else if (!err)
		rc = rtnl_route_add(sk, route, NLM_F_CREATE | NLM_F_REPLACE);
	rtnl_route_put(route);
	if (err || rc == 0 || (w->remove && rc == -NLE_OBJ_NOTFOUND))
		return err;
	return net_error(rc, w->remove ? "remove a route by" : "add a route by",
			 w->gateway ? "the router" : "the cable");
}

struct on_device {
	struct nl_sock *sk;
	int ifindex;
};

static struct error *open_device(int netns, const char *device,
				 struct nl_sock **sk, int *ifindex)
{
	AUTO_LINK struct rtnl_link *link = NULL;
	struct error *err = route_socket(netns, sk);

	if (!err)
		err = get_link(*sk, device, &link);
	if (!err)
		*ifindex = rtnl_link_get_ifindex(link);
	return err;
}

struct error *lab_net_addresses(int netns, const struct lab_end *end,
				bool there)
{
	AUTO_SOCKET struct nl_sock *sk = NULL;
	int ifindex = 0;
	struct error *err = open_device(netns, end->device, &sk, &ifindex);

	for (size_t i = 0; !err && end->addr && i < 2; i++) {
		struct way way = {
			.family = families[i],
			.ifindex = ifindex,
			.net = end->net,
			.gateway = end->gateway,
		};

		err = change_address(sk, ifindex, end, families[i], there);
		if (!err && there && end->gateway)
			err = change_route(sk, &way);
	}
	return err;
}

static void set_master(struct rtnl_link *change, void *arg)
{
	rtnl_link_set_master(change, *(int *)arg);
	rtnl_link_set_flags(change, IFF_UP);
}

/* A port of the switch. */
static struct error *plug_in(int netns, const char *device)
{
	AUTO_SOCKET struct nl_sock *sk = NULL;
	int master = 0;
	struct error *err = open_device(netns, LAB_SWITCH, &sk, &master);

	return err ? err : change_link(netns, device, set_master, &master);
}

struct error *lab_net_end(int netns, const struct lab_end *end)
{
	struct error *err = !strcmp(end->host, "s")
				    ? plug_in(netns, end->device)
				    : lab_net_updown(netns, end->device, true);

	return err ? err : lab_net_addresses(netns, end, true);
}

struct error *lab_net_unroute(int netns, const struct lab_end *end)
{
	AUTO_SOCKET struct nl_sock *sk = NULL;
	int ifindex = 0;
	struct error *err = open_device(netns, end->device, &sk, &ifindex);

	for (size_t i = 0; !err && i < 2; i++) {
		struct way way = {
			.family = families[i],
			.ifindex = ifindex,
			.net = end->net,
			.gateway = end->gateway,
			.remove = true,
		};

		err = change_route(sk, &way);
	}
	return err;
}

struct error *lab_net_reroute(int netns, const struct lab_end *end)
{
	AUTO_SOCKET struct nl_sock *sk = NULL;
	int ifindex = 0;
	struct error *err = open_device(netns, end->device, &sk, &ifindex);

	for (size_t i = 0; !err && i < 2; i++) {
		struct way way = {
			.family = families[i],
			.ifindex = ifindex,
			.net = end->net,
			.gateway = end->gateway,
		};

		err = change_route(sk, &way);
	}
	return err;
}

struct error *lab_net_route_mtu(int netns, const struct lab_end *end,
				uint8_t host_addr, int bytes)
{
	AUTO_SOCKET struct nl_sock *sk = NULL;
	int ifindex = 0;
	struct error *err = open_device(netns, end->device, &sk, &ifindex);

	for (size_t i = 0; !err && i < 2; i++) {
		struct way way = {
			.family = families[i],
			.ifindex = ifindex,
			.net = end->net,
			.to = host_addr,
			.mtu = bytes,
			.remove = bytes == 0,
		};

		err = change_route(sk, &way);
	}
	return err;
}

/* One neighbour of @x, at @lladdr. */
static struct error *change_neighbour(struct nl_sock *sk, int ifindex,
				      int family, const struct lab_end *y,
				      struct nl_addr *lladdr, bool there)
{
	AUTO_ADDRESS struct nl_addr *dst = NULL;
	char text[LAB_ADDRESS_MAX];

	lab_address_text(family, y->net, y->addr, false, text);
	struct error *err = parse_address(text, family, &dst);
	if (err)
		return err;
	struct rtnl_neigh *n = rtnl_neigh_alloc();
	if (!n)
		return &error_nomem;
	rtnl_neigh_set_ifindex(n, ifindex);
	rtnl_neigh_set_dst(n, dst);
	rtnl_neigh_set_lladdr(n, lladdr);
	rtnl_neigh_set_state(n, NUD_PERMANENT);
	int rc = there ? rtnl_neigh_add(sk, n, NLM_F_CREATE | NLM_F_REPLACE)
		       : rtnl_neigh_delete(sk, n, 0);
	rtnl_neigh_put(n);
	if (rc == 0 || (!there && rc == -NLE_OBJ_NOTFOUND))
		return NULL;
	return net_error(rc, "change the neighbour", text);
}

struct error *lab_net_pin(int netns_x, const struct lab_end *x, int netns_y,
			  const struct lab_end *y, bool there)
{
	AUTO_SOCKET struct nl_sock *sk_x = NULL;
	AUTO_SOCKET struct nl_sock *sk_y = NULL;
	AUTO_LINK struct rtnl_link *link = NULL;
	int ifindex = 0;
	struct error *err = open_device(netns_x, x->device, &sk_x, &ifindex);

	if (!err)
		err = route_socket(netns_y, &sk_y);
	if (!err)
		err = get_link(sk_y, y->device, &link);
	for (size_t i = 0; !err && i < 2; i++)
		err = change_neighbour(sk_x, ifindex, families[i], y,
				       rtnl_link_get_addr(link), there);
	return err;
}

struct error *lab_net_carrier(int netns, const char *device)
{
	AUTO_SOCKET struct nl_sock *sk = NULL;
	struct error *err = route_socket(netns, &sk);
	int64_t end = clock_mono_ns() + CARRIER_NS;

	while (!err) {
		AUTO_LINK struct rtnl_link *link = NULL;

		err = get_link(sk, device, &link);
		if (!err && rtnl_link_get_operstate(link) == OPER_UP)
			return NULL;
		if (!err && clock_mono_ns() > end)
			err = error_new(ERROR_OS, "'%s' gets no carrier",
					device);
		clock_sleep_until(clock_mono_ns() + STEP_NS);
	}
	return err;
}

/* Queues */

struct error *lab_net_tbf(int netns, const char *device, int rate, int limit)
{
	AUTO_SOCKET struct nl_sock *sk = NULL;
	int ifindex = 0;
	struct error *err = open_device(netns, device, &sk, &ifindex);

	if (err)
		return err;
	struct rtnl_qdisc *q = rtnl_qdisc_alloc();
	if (!q)
		return &error_nomem;
	rtnl_tc_set_ifindex(TC_CAST(q), ifindex);
	rtnl_tc_set_parent(TC_CAST(q), TC_H_ROOT);
	int rc = rtnl_tc_set_kind(TC_CAST(q), "tbf");
	if (rc == 0 && rate) {
		rtnl_qdisc_tbf_set_limit(q, limit);
		rtnl_qdisc_tbf_set_rate(q, rate, 2 * 1514, 0);
		rc = rtnl_qdisc_add(sk, q, NLM_F_CREATE | NLM_F_REPLACE);
	} else if (rc == 0) {
		rc = rtnl_qdisc_delete(sk, q);
	}
	rtnl_qdisc_put(q);
	if (rc == 0 || (!rate && rc == -NLE_OBJ_NOTFOUND))
		return NULL;
	return net_error(rc, "change the token bucket of", device);
}

static void see_backlog(struct nl_object *obj, void *arg)
{
	struct rtnl_tc *tc = TC_CAST(obj);
	int *want = arg; /* ifindex, then the answer */

	if (rtnl_tc_get_ifindex(tc) == want[0] &&
	    rtnl_tc_get_parent(tc) == TC_H_ROOT &&
	    !strcmp(rtnl_tc_get_kind(tc), "tbf"))
		want[1] = (int)rtnl_tc_get_stat(tc, RTNL_TC_BACKLOG);
}

int lab_net_backlog(int ifindex)
{
	AUTO_SOCKET struct nl_sock *sk = nl_socket_alloc();
	struct nl_cache *cache = NULL;
	int want[2] = { ifindex, -ENOENT };

	if (!sk || nl_connect(sk, NETLINK_ROUTE) < 0 ||
	    rtnl_qdisc_alloc_cache(sk, &cache) < 0)
		return -EIO;
	nl_cache_foreach(cache, see_backlog, want);
	nl_cache_free(cache);
	return want[1];
}

/* Connection tracking. libnl builds a deletion of one entry only; without a
 * tuple the kernel forgets all (ctnetlink_del_conntrack(), Linux 2.6.14).
 */
struct error *lab_net_conntrack_flush(int netns)
{
	AUTO_SOCKET struct nl_sock *sk = NULL;
	struct error *err = netns_netlink(netns, NETLINK_NETFILTER, &sk);

	if (err)
		return err;
	struct nl_msg *msg = nfnlmsg_alloc_simple(NFNL_SUBSYS_CTNETLINK,
						  IPCTNL_MSG_CT_DELETE,
						  NLM_F_ACK, AF_UNSPEC, 0);
	if (!msg)
		return &error_nomem;
	int rc = nl_send_auto(sk, msg);
	nlmsg_free(msg);
	if (rc >= 0)
		rc = nl_wait_for_ack(sk);
	return rc < 0 ? net_error(rc, "empty the table of",
				  "connection tracking")
		      : NULL;
}
