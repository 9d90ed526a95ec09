/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <string.h>

#include "netwatch/peer_priv.h"

static bool stop(struct trace *tr, enum peer_lookup end, const char *why)
{
	tr->end = end;
	tr->why = why;
	return false;
}

static bool unsure(struct trace *tr, const char *why)
{
	return stop(tr, PEER_AMBIGUOUS, why);
}

static bool same_addr(const struct endpoint *a, const struct endpoint *b)
{
	return a->family == b->family &&
	       !memcmp(a->addr, b->addr, rtnet_addr_len(a->family));
}

static bool same_tuple(const struct nat_tuple *a, const struct nat_tuple *b)
{
	return same_addr(&a->src, &b->src) && same_addr(&a->dst, &b->dst) &&
	       a->src.port == b->src.port && a->dst.port == b->dst.port;
}

static bool is_link_local(const struct endpoint *e)
{
	return e->family == AF_INET6 && e->addr[0] == 0xfe &&
	       (e->addr[1] & 0xc0) == 0x80;
}

static struct hop *add_hop(struct trace *tr, struct peer_ns *ns, bool bridged)
{
	if (tr->n_hops == sizeof(tr->hops) / sizeof(tr->hops[0]))
		return NULL;
	struct hop *h = &tr->hops[tr->n_hops++];
	*h = (struct hop){
		.ns = ns,
		.bridged = bridged,
		.filtered = !bridged,
		.in = tr->tuple,
	};
	return h;
}

static bool pass_device(struct trace *tr, struct peer_ns *ns,
			const struct rtnet_link *l)
{
	if (!l->up || !l->carrier)
		return unsure(tr, peer_text(tr->peer,
					    "the way is cut: %s in %s is down",
					    l->name, ns->name));
	if (tr->n_devices == TRACE_MAX_DEVICES)
		return unsure(tr, "the way passes too many devices");
	tr->devices[tr->n_devices].ns = ns;
	tr->devices[tr->n_devices++].ifindex = l->ifindex;
	return true;
}

/* --- NAT and routes --- */

static struct nat_tuple translate(struct hop *h)
{
	struct nat_tuple out = h->in;
	int r = nat_translate(h->ns->nat, &h->in, &out, &h->assured);

	if (r < 0) {
		h->entry = HOP_DENIED;
		return h->in;
	}
	if (!r)
		h->entry = HOP_NO_ENTRY;
	else
		h->entry = same_tuple(&h->in, &out) ? HOP_PLAIN : HOP_NAT;
	return out;
}

static struct peer_route *route_slot(struct peer *peer,
				     const struct peer_route *key)
{
	uint64_t h = key->ns->inode * 31 + key->iif;

	for (int i = 0; i < 16; i++)
		h = h * 131 + key->src.addr[i] * 7u + key->dst.addr[i];
	return &peer->routes[(h ^ (h >> 17)) % PEER_ROUTE_CACHE];
}

struct peer_route *peer_route(struct peer *peer, struct peer_ns *ns,
			      const struct endpoint *src,
			      const struct endpoint *dst, uint32_t iif,
			      uint32_t oif)
{
	struct peer_route key = { .ns = ns,
				  .src = *src,
				  .dst = *dst,
				  .iif = iif,
				  .oif = oif,
				  .multipath = PEER_NOT_ASKED };

	struct peer_route *r = route_slot(peer, &key);
	if (r->ns == ns && r->iif == iif && r->oif == oif &&
	    same_addr(&r->src, src) && same_addr(&r->dst, dst))
		return r;
	struct rtnet_ask ask = {
		.src = &key.src, .dst = &key.dst, .iif = iif, .oif = oif
	};
	key.error = rtnet_route(ns->rt, &ask, &key.route);
	*r = key;
	return r;
}

static bool check_route(struct trace *tr, const struct peer_route *r)
{
	const char *name = r->ns->name;

	if (r->error)
		return unsure(tr, peer_text(tr->peer,
					    "the route in %s cannot be asked: "
					    "%s",
					    name, strerror(-r->error)));
	if (r->route.error ||
	    (r->route.type != RTN_UNICAST && r->route.type != RTN_LOCAL))
		return unsure(tr, peer_text(tr->peer,
					    "the way is cut: no route in %s%s",
					    name,
					    r->route.error == EXDEV
						    ? " (reverse path filter)"
						    : ""));
	if (r->route.odd)
		return unsure(tr, peer_text(tr->peer,
					    "packets are encapsulated in %s",
					    name));
	return true;
}

/* --- links --- */

/* Finds the other end of the veth @l of @ns; false leaves why in tr. */
static bool cross_veth(struct trace *tr, struct peer_ns *ns,
		       const struct rtnet_link *l, struct peer_ns **ns_ret,
		       const struct rtnet_link **ret)
{
	struct peer_ns *to = ns;
	int id, back = -1;

	if (l->peer_netns >= 0)
		to = peer_ns_by_id(tr->peer, ns, l->peer_netns);
	if (!to)
		return stop(tr, PEER_NOT_ON_HOST,
			    peer_text(tr->peer,
				      "the way leaves %s by %s, whose other "
				      "end is in a namespace that is not seen "
				      "from here",
				      ns->name, l->name));
	if (!peer_ns_open(tr->peer, to))
		return unsure(tr, peer_text(tr->peer,
					    "the other end of %s in %s is in "
					    "a namespace that cannot be "
					    "entered",
					    l->name, ns->name));
	if (rtnet_link(to->rt, l->peer, ret) != 1 ||
	    strcmp((*ret)->kind, "veth") || (*ret)->peer != l->ifindex)
		return unsure(tr, "the devices changed while they were read");
	id = (*ret)->peer_netns;
	if (to != ns && (rtnet_netns_id(to->rt, ns->fd, &back) || back != id))
		return unsure(tr, "the devices changed while they were read");
	*ns_ret = to;
	return true;
}

static bool is_usable(const struct rtnet_neighbour *nb)
{
	return nb->lladdr_len &&
	       !(nb->state & (NUD_FAILED | NUD_INCOMPLETE | NUD_NOARP));
}

/* Will the device at the other end take frames that are sent to @next_hop? */
static bool is_addressed(struct trace *tr, const struct rtnet_link *out,
			 struct peer_ns *to, const struct rtnet_link *in,
			 const struct endpoint *next_hop)
{
	const struct rtnet_neighbour *nb;
	int r = rtnet_neighbour(tr->ns->rt, out->ifindex, next_hop, &nb);

	if (r == 1 && is_usable(nb)) {
		if (nb->lladdr_len == in->lladdr_len &&
		    !memcmp(nb->lladdr, in->lladdr, in->lladdr_len))
			return true;
		return unsure(tr, peer_text(tr->peer,
					    "the next hop after %s is not the "
					    "device at the other end of %s",
					    tr->ns->name, out->name));
	}
	if (r == 1 && (nb->state & NUD_FAILED))
		return unsure(tr, peer_text(tr->peer,
					    "the way is cut: the next hop "
					    "after %s did not answer",
					    tr->ns->name));
	if (r >= 0 && rtnet_has_address(to->rt, next_hop) == 1)
		return true;
	return unsure(tr, peer_text(tr->peer,
				    "who is the next hop after %s is not known",
				    tr->ns->name));
}

/* --- bridges --- */

struct segment {
	struct trace *tr;
	struct peer_ns *ns; /* the bridge's */
	const struct rtnet_link *bridge;
	const struct rtnet_neighbour *nb; /* whom the frame is for */
	const struct rtnet_link *port, *in;
	struct peer_ns *to;
	int found;
	bool open; /* a port leads where we cannot look */
};

static bool takes(const struct segment *seg, const struct rtnet_link *l)
{
	return l->lladdr_len == seg->nb->lladdr_len &&
	       !memcmp(l->lladdr, seg->nb->lladdr, l->lladdr_len);
}

static void try_port(struct segment *seg, const struct rtnet_link *port)
{
	struct peer_ns *to;
	const struct rtnet_link *in;

	if (strcmp(port->kind, "veth") ||
	    !cross_veth(seg->tr, seg->ns, port, &to, &in) || in->master) {
		seg->open = true;
		return;
	}
	if (!takes(seg, in))
		return;
	seg->found++;
	seg->to = to;
	seg->in = in;
	seg->port = port;
}

static bool search_segment(struct segment *seg, int from_port)
{
	const struct rtnet_link *v;
	size_t n;

	if (rtnet_links(seg->ns->rt, &v, &n))
		return unsure(seg->tr, "devices cannot be listed");
	if (from_port && takes(seg, seg->bridge)) {
		seg->found++;
		seg->to = seg->ns;
		seg->in = seg->bridge;
	}
	for (size_t i = 0; i < n; i++)
		if (v[i].master == seg->bridge->ifindex &&
		    v[i].ifindex != from_port)
			try_port(seg, &v[i]);
	if (seg->found == 1)
		return true;
	if (!seg->found && seg->open)
		return stop(seg->tr, PEER_NOT_ON_HOST,
			    peer_text(seg->tr->peer,
				      "the way leaves what can be seen beyond "
				      "the bridge %s in %s",
				      seg->bridge->name, seg->ns->name));
	return unsure(seg->tr,
		      peer_text(seg->tr->peer,
				"%s device on the bridge %s in %s has the "
				"next hop's hardware address",
				seg->found ? "more than one" : "no",
				seg->bridge->name, seg->ns->name));
}

/* Frames pass the rules for packets too when bridge netfilter is on. */
static bool filter_bridge(struct trace *tr, struct peer_ns *ns)
{
	const struct nat_facts *f = nat_look(ns->nat);
	struct hop *h = add_hop(tr, ns, true);

	if (!h)
		return unsure(tr, "the way has too many hops");
	h->filtered = tr->tuple.dst.family == AF_INET ? f->bridge_ipv4
						      : f->bridge_ipv6;
	if (!h->filtered)
		return true;
	translate(h);
	if (h->entry != HOP_NAT)
		return true;
	return unsure(tr,
		      peer_text(tr->peer, "%s translates addresses on a bridge",
				ns->name));
}

/*
 * The frame is on the bridge @bridge of @ns; it came in by @from_port, 0 when
 * the bridge's own namespace sent it. On a bridge the address alone does not
 * tell who gets the frame: the hardware address that it was sent to does.
 */
static bool cross_bridge(struct trace *tr, struct peer_ns *ns,
			 const struct rtnet_link *bridge, int from_port,
			 int out_ifindex, const struct endpoint *next_hop)
{
	struct segment seg = { .tr = tr, .ns = ns, .bridge = bridge };
	int r = rtnet_neighbour(tr->ns->rt, out_ifindex, next_hop, &seg.nb);

	if (r != 1 || !is_usable(seg.nb))
		return unsure(tr, peer_text(tr->peer,
					    "who is the next hop on the "
					    "bridge %s is not known in %s",
					    bridge->name, tr->ns->name));
	if (!search_segment(&seg, from_port))
		return false;
	if (!pass_device(tr, ns, bridge) ||
	    (seg.port && !pass_device(tr, ns, seg.port)) ||
	    !pass_device(tr, seg.to, seg.in))
		return false;
	if (from_port && seg.to != ns && !filter_bridge(tr, ns))
		return false;
	tr->ns = seg.to;
	tr->iif = (uint32_t)seg.in->ifindex;
	return true;
}

static bool cross_pair(struct trace *tr, const struct rtnet_link *out,
		       const struct endpoint *next_hop)
{
	const struct rtnet_link *in, *master;
	struct peer_ns *to;

	if (!cross_veth(tr, tr->ns, out, &to, &in) || !pass_device(tr, to, in))
		return false;
	if (in->master) {
		if (rtnet_link(to->rt, in->master, &master) != 1 ||
		    strcmp(master->kind, "bridge"))
			return unsure(tr, peer_text(tr->peer,
						    "%s in %s belongs to a "
						    "device that is not "
						    "followed",
						    in->name, to->name));
		return cross_bridge(tr, to, master, in->ifindex, out->ifindex,
				    next_hop);
	}
	if (!is_addressed(tr, out, to, in, next_hop))
		return false;
	tr->ns = to;
	tr->iif = (uint32_t)in->ifindex;
	return true;
}

static bool leave_host(struct trace *tr, const struct rtnet_link *out)
{
	bool here = !strcmp(out->kind, "macvlan") ||
		    !strcmp(out->kind, "ipvlan") || !strcmp(out->kind, "dummy");

	return stop(tr, here ? PEER_AMBIGUOUS : PEER_NOT_ON_HOST,
		    peer_text(tr->peer, "the way leaves %s by %s%s%s%s",
			      tr->ns->name, out->name, *out->kind ? " (" : "",
			      out->kind, *out->kind ? ")" : ""));
}

static bool forward(struct trace *tr, const struct peer_route *r,
		    const struct endpoint *dst)
{
	const struct endpoint *next_hop =
		r->route.has_gateway ? &r->route.gateway : dst;
	const struct rtnet_link *out;

	if (rtnet_link(tr->ns->rt, r->route.oif, &out) != 1)
		return unsure(tr, peer_text(tr->peer,
					    "the route in %s has no device",
					    tr->ns->name));
	if (!pass_device(tr, tr->ns, out))
		return false;
	if (!strcmp(out->kind, "veth"))
		return cross_pair(tr, out, next_hop);
	if (!strcmp(out->kind, "bridge"))
		return cross_bridge(tr, tr->ns, out, 0, out->ifindex, next_hop);
	return leave_host(tr, out);
}

/* A transparent proxy on the way has the connection itself. */
static bool intercepted(struct trace *tr)
{
	struct tcp_socket s;

	return tr->iif &&
	       peer_find_socket(tr->peer, tr->ns, &tr->tuple, false, &s) == 1;
}

/* One namespace. Returns 1 arrived, 0 goes on, -1 stopped. */
static int step(struct trace *tr)
{
	struct hop *h = add_hop(tr, tr->ns, false);
	if (!h) {
		unsure(tr, "the way has too many hops");
		return -1;
	}
	struct nat_tuple after = translate(h);
	uint32_t oif = tr->iif ? 0 : tr->oif;
	if (!tr->iif && !oif && is_link_local(&after.dst))
		oif = after.dst.scope;
	h->route = *peer_route(tr->peer, tr->ns, &tr->tuple.src, &after.dst,
			       tr->iif, oif);
	if (!check_route(tr, &h->route))
		return -1;
	if (h->route.route.type == RTN_LOCAL) {
		tr->tuple = after;
		return 1;
	}
	if (intercepted(tr))
		return 1;
	if (tr->iif && after.dst.family == AF_INET6 &&
	    rtnet_forwards(tr->ns->rt, AF_INET6) == 0) {
		unsure(tr, peer_text(tr->peer, "%s does not forward",
				     tr->ns->name));
		return -1;
	}
	tr->tuple = after;
	return forward(tr, &h->route, &after.dst) ? 0 : -1;
}

bool trace_run(struct trace *tr)
{
	for (int i = 0; i < PEER_MAX_HOPS; i++) {
		if (!peer_ns_open(tr->peer, tr->ns))
			return unsure(tr, tr->ns->why);
		int r = step(tr);
		if (r)
			return r > 0;
	}
	return unsure(tr, "the way has too many hops");
}
