/* SPDX-License-Identifier: Apache-2.0 */
#include "netwatch/path.h"

#include <errno.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>

#include "base/fnv.h"
#include "netwatch/rtnet.h"

/** What was found for one pair of addresses in one namespace. */
struct known_path {
	bool used;
	uint64_t netns;
	struct endpoint src, dst; /* ports 0 */
	uint32_t ifindex;
	struct path_facts facts;
};

struct open_netns {
	struct rtnet *rt; /* NULL: not tried yet, or why has the reason */
	const char *why;
};

struct paths {
	const struct path_netns *ns;
	size_t n_ns;
	struct open_netns *open;  /* n_ns of them */
	struct known_path *known; /* open hashing, mask + 1 slots */
	size_t mask;
	struct arena *arena;
	bool nomem;
};

static const char *text(struct paths *p, const char *s)
{
	const char *copy = arena_strdup(p->arena, s);
	if (!copy)
		p->nomem = true;
	return copy;
}

static void unknown(struct paths *p, struct path_facts *f, const char *what,
		    int err)
{
	if (f->unknown_why)
		return;
	f->unknown_why = arena_printf(p->arena, "%s: %s", what, strerror(-err));
	if (!f->unknown_why)
		p->nomem = true;
}

static const char *neighbour_name(uint16_t state)
{
	switch (state) {
	case NUD_INCOMPLETE:
		return "INCOMPLETE";
	case NUD_REACHABLE:
		return "REACHABLE";
	case NUD_STALE:
		return "STALE";
	case NUD_DELAY:
		return "DELAY";
	case NUD_PROBE:
		return "PROBE";
	case NUD_FAILED:
		return "FAILED";
	case NUD_NOARP:
		return "NOARP";
	case NUD_PERMANENT:
		return "PERMANENT";
	default:
		return NULL;
	}
}

/* Is the source address there, or would the tables deliver it here anyway? */
static void find_address(struct paths *p, struct rtnet *rt,
			 const struct endpoint *src, struct path_facts *f)
{
	int has = rtnet_has_address(rt, src);
	if (has > 0)
		f->address_present = FACT_YES;
	if (has < 0)
		unknown(p, f, "addresses cannot be listed", has);
	if (has)
		return;
	struct rtnet_route r;
	struct rtnet_rules rules;
	int err = rtnet_route(rt, &(struct rtnet_ask){ .dst = src }, &r);
	if (!err)
		err = rtnet_rules(rt, &rules);
	if (err) {
		unknown(p, f, "the routing tables cannot be asked", err);
	} else if (!r.error && r.type == RTN_LOCAL) {
		f->address_present = FACT_YES;
	} else if (rules.by_mark) {
		f->unknown_why = "routing rules by mark may own the source "
				 "address (transparent proxy)";
	} else {
		f->address_present = FACT_NO;
	}
}

static void find_carrier(struct paths *p, struct rtnet *rt, int oif,
			 struct path_facts *f, const struct rtnet_link **ret)
{
	int err = rtnet_link(rt, oif, ret);

	if (err < 0) {
		unknown(p, f, "devices cannot be listed", err);
	} else if (err) {
		f->device = text(p, (*ret)->name);
		f->carrier = (*ret)->carrier ? FACT_YES : FACT_NO;
	}
}

static void find_neighbour(struct paths *p, struct rtnet *rt,
			   const struct rtnet_link *link,
			   const struct endpoint *next_hop,
			   struct path_facts *f)
{
	const struct rtnet_neighbour *nb;
	int err;

	if (link->loopback || link->noarp) {
		f->neighbour_failed = FACT_NO;
		return;
	}
	err = rtnet_neighbour(rt, link->ifindex, next_hop, &nb);
	if (err < 0) {
		unknown(p, f, "neighbours cannot be listed", err);
		return;
	}
	f->neighbour_failed = FACT_NO;
	if (!err)
		return;
	f->neighbour = neighbour_name(nb->state);
	f->neighbour_age_ms = nb->age_ms;
	if (nb->state == NUD_FAILED)
		f->neighbour_failed = FACT_YES;
}

static bool is_link_local(const struct endpoint *e)
{
	return e->family == AF_INET6 && e->addr[0] == 0xfe &&
	       (e->addr[1] & 0xc0) == 0x80;
}

static void follow_route(struct paths *p, struct rtnet *rt,
			 const struct known_path *k, struct path_facts *f)
{
	struct rtnet_ask ask = { .dst = &k->dst, .oif = k->ifindex };
	struct rtnet_route r;
	const struct rtnet_link *link = NULL;
	char buf[ENDPOINT_TEXT_MAX];

	// IPv4 refuses a source that is not ours, whatever the route.
	if (f->address_present == FACT_YES)
		ask.src = &k->src;
	if (is_link_local(&k->dst) && k->dst.scope)
		ask.oif = k->dst.scope;
	int err = rtnet_route(rt, &ask, &r);
	if (err) {
		unknown(p, f, "the route cannot be asked", err);
		return;
	}
	if (r.error || r.type == RTN_BLACKHOLE || r.type == RTN_UNREACHABLE ||
	    r.type == RTN_PROHIBIT) {
		f->route_present = FACT_NO;
		return;
	}
	f->route_present = FACT_YES;
	find_carrier(p, rt, r.oif, f, &link);
	if (r.has_gateway) {
		endpoint_format_addr(&r.gateway, buf);
		f->next_hop = text(p, buf);
	}
	if (link && r.type == RTN_UNICAST)
		find_neighbour(p, rt, link,
			       r.has_gateway ? &r.gateway : &k->dst, f);
	else if (link && r.type == RTN_LOCAL)
		f->neighbour_failed = FACT_NO;
}

static void examine(struct paths *p, struct rtnet *rt,
		    const struct known_path *k, struct path_facts *f)
{
	const struct rtnet_link *links;
	size_t n;

	if (!endpoint_is_loopback(&k->dst)) {
		find_address(p, rt, &k->src, f);
		follow_route(p, rt, k, f);
		return;
	}
	f->address_present = FACT_YES;
	f->route_present = FACT_YES;
	f->neighbour_failed = FACT_NO;
	int err = rtnet_links(rt, &links, &n);
	if (err)
		unknown(p, f, "devices cannot be listed", err);
	for (size_t i = 0; !err && i < n; i++) {
		if (!links[i].loopback)
			continue;
		f->device = text(p, links[i].name);
		f->carrier = links[i].carrier ? FACT_YES : FACT_NO;
		break;
	}
}

static struct known_path *find_slot(struct paths *p, const struct known_path *k)
{
	uint64_t h = fnv_bytes(FNV_OFFSET, k->src.addr, 16);

	h = fnv_bytes(h, k->dst.addr, 16);
	h = fnv_bytes(h, &k->netns, sizeof(k->netns));
	// At most half of the slots are ever used, so an empty one is found.
	for (size_t i = (size_t)(h >> 7) & p->mask;; i = (i + 1) & p->mask) {
		struct known_path *s = &p->known[i];
		if (!s->used ||
		    (s->netns == k->netns && s->ifindex == k->ifindex &&
		     endpoint_equal(&s->src, &k->src) &&
		     endpoint_equal(&s->dst, &k->dst)))
			return s;
	}
}

static struct open_netns *find_netns(struct paths *p, uint64_t inode)
{
	for (size_t i = 0; i < p->n_ns; i++) {
		struct open_netns *o = &p->open[i];
		if (p->ns[i].inode != inode)
			continue;
		if (o->rt || o->why)
			return o;
		struct error *err = rtnet_open(p->ns[i].fd, &o->rt);
		if (err) {
			o->why = text(p, error_text(err));
			error_free(err);
		}
		return o;
	}
	return NULL;
}

static void examine_socket(struct paths *p, const struct tcp_socket *s,
			   struct path_facts *ret)
{
	struct path_facts nothing = { .neighbour_age_ms = -1 };
	struct known_path k = {
		.used = true,
		.netns = s->netns,
		.src = endpoint_unmap(&s->local),
		.dst = endpoint_unmap(&s->remote),
		.ifindex = s->ifindex,
		.facts = nothing,
	};

	*ret = nothing;
	if (s->first.state == TCP_STATE_LISTEN)
		return;
	k.src.port = k.dst.port = 0;
	struct known_path *slot = find_slot(p, &k);
	if (!slot->used) {
		struct open_netns *o = find_netns(p, s->netns);
		if (o && o->rt)
			examine(p, o->rt, &k, &k.facts);
		else
			k.facts.unknown_why =
				o ? o->why
				  : "its network namespace is not open";
		*slot = k;
	}
	*ret = slot->facts;
}

struct error *path_examine(const struct path_netns *ns, size_t n_ns,
			   struct tcp_socket *const *s, size_t n,
			   struct arena *arena, struct net_facts *facts)
{
	struct paths p = { .ns = ns, .n_ns = n_ns, .arena = arena };
	size_t slots = 16;

	while (slots < 2 * n)
		slots *= 2;
	p.mask = slots - 1;
	p.known = calloc(slots, sizeof(*p.known));
	p.open = calloc(n_ns ? n_ns : 1, sizeof(*p.open));
	if (p.known && p.open)
		for (size_t i = 0; i < n; i++)
			examine_socket(&p, s[i], &facts[i].path);
	else
		p.nomem = true;
	for (size_t i = 0; p.open && i < n_ns; i++)
		rtnet_close(p.open[i].rt);
	free(p.open);
	free(p.known);
	return p.nomem ? &error_nomem : NULL;
}
