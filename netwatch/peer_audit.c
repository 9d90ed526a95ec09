/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "netwatch/peer_priv.h"

/*
 * Each check here answers one question: could the next packet be changed, or
 * go elsewhere, in a way that the trace did not see? "Cannot tell" is a yes.
 */

static const char *rules_flaw(struct peer *peer, struct peer_ns *ns)
{
	struct rtnet_rules rules;

	if (rtnet_rules(ns->rt, &rules))
		return peer_text(peer, "routing rules of %s cannot be read",
				 ns->name);
	if (rules.by_mark)
		return peer_text(peer, "%s routes by packet mark", ns->name);
	if (rules.by_other)
		return peer_text(peer, "%s routes by port, user or TOS",
				 ns->name);
	return NULL;
}

static bool is_loopback(const struct nat_tuple *t)
{
	return endpoint_is_loopback(&t->src) && endpoint_is_loopback(&t->dst);
}

/* What conntrack said, and what it means that it said nothing. */
static const char *entry_flaw(struct peer *peer, const struct hop *h,
			      const struct nat_facts *f)
{
	const char *name = h->ns->name;

	if (h->entry == HOP_DENIED)
		return peer_text(peer,
				 "the connection tracking of %s cannot be "
				 "asked; CAP_NET_ADMIN is needed",
				 name);
	if (h->entry == HOP_NO_ENTRY && f->tracking)
		return peer_text(peer,
				 "%s tracks connections or does NAT, but has "
				 "no entry for this one: it may be lost there",
				 name);
	// One that was made by a lone packet after the true one was lost.
	if (h->entry != HOP_NO_ENTRY && !h->assured)
		return peer_text(peer,
				 "%s tracks this connection by an entry that "
				 "has not seen both directions",
				 name);
	return NULL;
}

static const char *nat_flaw(struct peer *peer, const struct hop *h)
{
	const struct nat_facts *f = nat_look(h->ns->nat);
	const char *rewriter = h->filtered ? f->rewriter : f->bridge_rewriter;
	const char *why = NULL;

	peer->limited |= f->limited;
	if (h->filtered)
		why = entry_flaw(peer, h, f);
	if (!why && rewriter)
		why = peer_text(peer, "%s has %s", h->ns->name, rewriter);
	// Without conntrack, nobody translates 127.0.0.1 to 127.0.0.1.
	if (!why && f->unseen && !(f->no_conntrack && is_loopback(&h->in)))
		why = peer_text(peer, "%s: %s", h->ns->name, f->unseen);
	return why;
}

static const char *hop_flaw(struct peer *peer, struct hop *h)
{
	const char *why = nat_flaw(peer, h);

	if (why || h->bridged)
		return why;
	if (!h->ns->flaw_known) {
		h->ns->flaw = rules_flaw(peer, h->ns);
		h->ns->flaw_known = true;
	}
	if (h->ns->flaw)
		return h->ns->flaw;
	// The slot that the trace saw may hold another route by now.
	struct peer_route *r = peer_route(peer, h->ns, &h->route.src,
					  &h->route.dst, h->route.iif,
					  h->route.oif);
	if (r->multipath == PEER_NOT_ASKED) {
		struct rtnet_ask ask = { .src = &r->src,
					 .dst = &r->dst,
					 .iif = r->iif,
					 .oif = r->oif };
		r->multipath = rtnet_multipath(h->ns->rt, &ask);
	}
	if (r->multipath < 0)
		return peer_text(peer, "routes of %s cannot be read: %s",
				 h->ns->name, strerror(-r->multipath));
	if (r->multipath)
		return peer_text(peer, "%s has more than one way there",
				 h->ns->name);
	return NULL;
}

static const char *look_at_device(struct peer *peer, struct peer_ns *ns,
				  int ifindex)
{
	const struct rtnet_link *l;

	if (rtnet_link(ns->rt, ifindex, &l) != 1)
		return "the devices changed while they were read";
	if (l->xdp)
		return peer_text(peer, "an XDP program runs on %s in %s",
				 l->name, ns->name);
	int r = rtnet_has_filters(ns->rt, ifindex);
	if (!r)
		r = nat_has_bpf(ns->nat, ifindex);
	if (r > 0)
		return peer_text(peer,
				 "traffic control on %s in %s may change "
				 "packets",
				 l->name, ns->name);
	if (r < 0)
		return peer_text(peer,
				 "traffic control on %s in %s cannot be "
				 "read: %s",
				 l->name, ns->name, strerror(-r));
	return NULL;
}

static const char *device_flaw(struct peer *peer, struct peer_ns *ns,
			       int ifindex)
{
	struct peer_device *d =
		&peer->devices[(ns->inode * 31 + (uint32_t)ifindex) %
			       PEER_DEVICE_CACHE];

	if (d->ns != ns || d->ifindex != ifindex)
		*d = (struct peer_device){
			.ns = ns,
			.ifindex = ifindex,
			.flaw = look_at_device(peer, ns, ifindex),
		};
	return d->flaw;
}

const char *trace_doubt(struct trace *tr)
{
	const char *why = NULL;

	for (size_t i = 0; !why && i < tr->n_hops; i++)
		why = hop_flaw(tr->peer, &tr->hops[i]);
	for (size_t i = 0; !why && i < tr->n_devices; i++)
		why = device_flaw(tr->peer, tr->devices[i].ns,
				  tr->devices[i].ifindex);
	return why;
}
