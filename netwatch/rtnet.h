/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NETWATCH_RTNET_H
#define NETWATCH_RTNET_H

/**
 * One network namespace as rtnetlink shows it: devices, addresses, neighbours,
 * rules, and the route that the kernel would take. Tables are dumped when first
 * asked for and then kept: a struct rtnet is a picture of one moment, thrown
 * away for a new one. Used by path.c and peer.c.
 *
 * Mechanisms: 0 or -errno, no text.
 */

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "netwatch/socket.h"

struct rtnet;

/** Limits on what one namespace can make us hold. */
#define RTNET_MAX_LINKS 65536
#define RTNET_MAX_NEIGHBOURS 262144
#define RTNET_MAX_ADDRESSES 262144

struct rtnet_link {
	int ifindex;
	char name[IF_NAMESIZE];
	char kind[16]; /* "veth", "bridge", "" for hardware and lo */
	bool loopback, noarp, up, carrier;
	int master;	/* ifindex of the bridge it belongs to, 0 none */
	int peer;	/* ifindex of the other end (veth), 0 none */
	int peer_netns; /* id of the other end's namespace, -1: this one */
	bool xdp;	/* an XDP program is attached */
	uint8_t lladdr[8];
	uint8_t lladdr_len;
};

struct rtnet_neighbour {
	int ifindex;
	struct endpoint addr; /* port 0 */
	uint16_t state;	      /* NUD_... */
	int64_t age_ms;	      /* since its state changed, -1 unknown */
	uint8_t lladdr[8];
	uint8_t lladdr_len;
};

/** What to ask the routing tables: @iif 0 is a packet of our own. */
struct rtnet_ask {
	const struct endpoint *src; /* NULL: any */
	const struct endpoint *dst;
	uint32_t iif, oif;
};

struct rtnet_route {
	int error;    /* 0, or the errno that is the kernel's "no" */
	uint8_t type; /* RTN_LOCAL, RTN_UNICAST ... */
	int oif;
	bool has_gateway;
	struct endpoint gateway; /* may be of the other family (RTA_VIA) */
	bool odd; /* encapsulation: the packet does not stay as it is */
};

/** What of the policy rules a route lookup of ours cannot know. */
struct rtnet_rules {
	bool by_mark;  /* some rule asks for a packet mark */
	bool by_other; /* ports, protocol, user, TOS or tunnel id */
};

struct error *rtnet_open(int netns_fd, struct rtnet **ret);
void rtnet_close(struct rtnet *rt);

/**
 * Ask for a route. Returns: 0 when the kernel answered, also with "no"
 * (ret->error); -errno when it could not be asked.
 */
int rtnet_route(struct rtnet *rt, const struct rtnet_ask *ask,
		struct rtnet_route *ret) __attribute__((warn_unused_result));
/** Has that route more than one way? 1 yes, 0 no, -errno. */
int rtnet_multipath(struct rtnet *rt, const struct rtnet_ask *ask)
	__attribute__((warn_unused_result));

/** Does a device of this namespace carry the address? 1, 0, -errno. */
int rtnet_has_address(struct rtnet *rt, const struct endpoint *addr)
	__attribute__((warn_unused_result));
/** The device @ifindex: 1 found, 0 not, -errno. */
int rtnet_link(struct rtnet *rt, int ifindex, const struct rtnet_link **ret)
	__attribute__((warn_unused_result));
/** All devices, ascending by ifindex. */
int rtnet_links(struct rtnet *rt, const struct rtnet_link **ret, size_t *n_ret)
	__attribute__((warn_unused_result));
/** The neighbour entry of @addr on @ifindex: 1 found, 0 none, -errno. */
int rtnet_neighbour(struct rtnet *rt, int ifindex, const struct endpoint *addr,
		    const struct rtnet_neighbour **ret)
	__attribute__((warn_unused_result));
int rtnet_rules(struct rtnet *rt, struct rtnet_rules *ret)
	__attribute__((warn_unused_result));
/**
 * Has @ifindex a queueing discipline whose filters could change packets
 * (clsact, ingress, or a kind that we do not know to be plain)? 1, 0, -errno.
 */
int rtnet_has_filters(struct rtnet *rt, int ifindex)
	__attribute__((warn_unused_result));
/** Does this namespace forward @family (IPv6's switch)? 1, 0, -errno. */
int rtnet_forwards(struct rtnet *rt, uint8_t family)
	__attribute__((warn_unused_result));
/** This namespace's id of the namespace @netns_fd; -1: it has none. */
int rtnet_netns_id(struct rtnet *rt, int netns_fd, int *ret)
	__attribute__((warn_unused_result));

/** Bytes of an address of @family. */
static inline size_t rtnet_addr_len(uint8_t family)
{
	return family == AF_INET ? 4 : 16;
}

#endif
