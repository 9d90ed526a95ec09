/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NETWATCH_PEER_PRIV_H
#define NETWATCH_PEER_PRIV_H

/**
 * What peer.c (namespaces, sockets, answers), peer_trace.c (the way of a
 * packet) and peer_audit.c (is that way free of doubt) share.
 *
 * Everything in here lives for one call of peer_examine() or peer_recheck():
 * no namespace is held open across a wait, since that would keep a dead one
 * alive. Texts are in the caller's arena.
 */

#include "netwatch/nat.h"
#include "netwatch/netns.h"
#include "netwatch/peer.h"
#include "netwatch/rtnet.h"
#include "netwatch/sockdiag.h"

/** A namespace of this host, opened when first needed. */
struct peer_ns {
	uint64_t inode;
	const struct netns_ref *ref; /* NULL: only the caller has it open */
	int lent_fd;		     /* the caller's, -1 none */
	int fd;			     /* ours or lent, -1: not open */
	bool own;		     /* the namespace that we run in */
	bool tried;
	bool limited; /* could not be opened for want of descriptors, memory */
	const char *name;
	const char *why; /* tried, and could not be opened */
	struct rtnet *rt;
	struct sockdiag *diag;
	struct nat *nat;
	int *ids;	  /* its id of each other namespace, -1 none */
	bool ids_limited; /* some of them could not be asked for */
	const char *flaw; /* what of the whole namespace raises doubt */
	bool flaw_known;
	struct rtnet_rules rules;
};

/* Slots. A slot holds until the next question, which may take it over: what
 * outlives that is copied. So a collision only costs a question. */
#define PEER_ROUTE_CACHE 1024
#define PEER_DEVICE_CACHE 1024
#define PEER_NOT_ASKED 2

struct peer_route {
	struct peer_ns *ns; /* NULL: slot is free */
	struct endpoint src, dst;
	uint32_t iif, oif;
	int error; /* -errno: could not be asked */
	struct rtnet_route route;
	int multipath; /* 1, 0, -errno, PEER_NOT_ASKED */
};

struct peer_device {
	struct peer_ns *ns;
	int ifindex;
	const char *flaw; /* NULL: clean */
};

struct peer {
	struct arena *names; /* of the list */
	struct netns_list list;
	struct peer_ns *ns;
	size_t n_ns;
	struct peer_route *routes;   /* PEER_ROUTE_CACHE slots */
	struct peer_device *devices; /* PEER_DEVICE_CACHE slots */
	struct arena *arena;	     /* the caller's, during a call */
	bool nomem;
	bool limited; /* a limit of ours stopped the look under way */
};

/** What conntrack said of the tuple in one namespace. */
enum hop_entry {
	HOP_NO_ENTRY,
	HOP_PLAIN,  /* tracked, addresses unchanged */
	HOP_NAT,    /* translated */
	HOP_DENIED, /* could not be asked */
};

/** One namespace that the packet passes. */
struct hop {
	struct peer_ns *ns;
	bool bridged;  /* only as a frame, without a route */
	bool filtered; /* through the rules for packets, not frames alone */
	struct nat_tuple in;
	struct peer_route route; /* unset when bridged */
	enum hop_entry entry;
	bool assured;
};

#define TRACE_MAX_DEVICES (4 * PEER_MAX_HOPS)

struct trace {
	struct peer *peer;
	struct peer_ns *ns;	/* where the packet is */
	struct nat_tuple tuple; /* as it is now */
	uint32_t iif;		/* by which device it came in, 0: made here */
	uint32_t oif; /* that the socket is bound to, first hop only */
	struct hop hops[2 * PEER_MAX_HOPS];
	size_t n_hops;
	struct {
		struct peer_ns *ns;
		int ifindex;
	} devices[TRACE_MAX_DEVICES];
	size_t n_devices;
	enum peer_lookup end; /* where it stopped, when it did not arrive */
	const char *why;
};

/** Formats into the call's arena; out of memory is remembered. */
const char *peer_text(struct peer *peer, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/** Make @ns usable. False: ns->why says why not. */
bool peer_ns_open(struct peer *peer, struct peer_ns *ns);
/** The namespace that @ns knows by the id @id; NULL: none that we reach. */
struct peer_ns *peer_ns_by_id(struct peer *peer, struct peer_ns *ns, int id);

/**
 * Follow the packet until it is delivered.
 *
 * Returns: true when it arrived: tr->ns is the namespace, tr->tuple the tuple
 * there; false with tr->end and tr->why.
 */
bool trace_run(struct trace *tr);

/**
 * The route from @src to @dst in @ns, asked unless known.
 *
 * Returns: a slot of peer->routes, the caller's until the next call.
 */
struct peer_route *peer_route(struct peer *peer, struct peer_ns *ns,
			      const struct endpoint *src,
			      const struct endpoint *dst, uint32_t iif,
			      uint32_t oif);

/** NULL when nothing on the way leaves a doubt, else the first doubt. */
const char *trace_doubt(struct trace *tr);

/**
 * Look for the socket whose packets from the other side have @tuple.
 *
 * @param thorough also try sockets that are bound to a device.
 * Returns: 1 found (not a listener), 0 not, -1 could not be asked.
 */
int peer_find_socket(struct peer *peer, struct peer_ns *ns,
		     const struct nat_tuple *tuple, bool thorough,
		     struct tcp_socket *ret);

#endif
