/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>
#include <sys/socket.h>

#include "scenarios/lab/lab_priv.h"

const struct lab_topology lab_topologies[] = {
	{ "pair", "a -- b", "two hosts on one cable" },
	{ "lan", "a -- s -- b", "two hosts on a switch" },
	{ "routed", "a -- s -- r -- b", "a router between two networks" },
	{ "nat", "a -- s -- r -- b", "the router hides a behind its address" },
	{ "proxy", "a -- s -- r -- b, p on s",
	  "routed, and p forwards TCP port 7000 to b" },
	{ NULL, NULL, NULL },
};

/* The healthy one: c, on a cable of its own, which no fault ever touches. */
#define CABLE_C                                                                \
	{                                                                      \
		"a", "c", 3, 1, 2                                              \
	}
#define CABLES_ROUTED                                                          \
	{ "a", "s", 1, 1, 0 }, { "r", "s", 1, 254, 0 },                        \
	{                                                                      \
		"r", "b", 2, 254, 2                                            \
	}

static const struct lab_plan plans[] = {
	{ LAB_PAIR,
	  "pair",
	  { "a", "b", "c" },
	  { { "a", "b", 1, 1, 2 }, CABLE_C } },
	{ LAB_LAN,
	  "lan",
	  { "a", "b", "c", "s" },
	  { { "a", "s", 1, 1, 0 }, { "b", "s", 1, 2, 0 }, CABLE_C } },
	{ LAB_ROUTED,
	  "routed",
	  { "a", "b", "c", "r", "s" },
	  { CABLES_ROUTED, CABLE_C } },
	{ LAB_NAT,
	  "nat",
	  { "a", "b", "c", "r", "s" },
	  { CABLES_ROUTED, CABLE_C } },
	{ LAB_PROXY,
	  "proxy",
	  { "a", "b", "c", "p", "r", "s" },
	  { CABLES_ROUTED, { "p", "s", 1, 3, 0 }, CABLE_C } },
};

const struct lab_plan *lab_plan_find(const char *topology)
{
	for (size_t i = 0; i < sizeof(plans) / sizeof(plans[0]); i++) {
		if (!strcmp(plans[i].name, topology))
			return &plans[i];
	}
	return NULL;
}

bool lab_plan_has(const struct lab_plan *plan, const char *host)
{
	for (size_t i = 0; plan->hosts[i]; i++) {
		if (!strcmp(plan->hosts[i], host))
			return true;
	}
	return false;
}

static void fill_end(const struct lab_plan *plan, const struct lab_cable *c,
		     bool x, struct lab_end *ret)
{
	*ret = (struct lab_end){
		.host = x ? c->x : c->y,
		.to = x ? c->y : c->x,
		.net = c->net,
		.addr = x ? c->addr_x : c->addr_y,
	};
	snprintf(ret->device, sizeof(ret->device), "to-%s", ret->to);
	// the router is .254 in both of its networks
	if ((plan->shape & LAB_ROUTER) && c->net != 3 &&
	    strcmp(ret->host, "r") != 0 && ret->addr)
		ret->gateway = 254;
}

bool lab_plan_end(const struct lab_plan *plan, const char *host, size_t i,
		  struct lab_end *ret)
{
	for (size_t k = 0; k < LAB_MAX_CABLES && plan->cables[k].x; k++) {
		const struct lab_cable *c = &plan->cables[k];
		bool x = !strcmp(c->x, host);

		if (!x && strcmp(c->y, host) != 0)
			continue;
		if (i-- == 0) {
			fill_end(plan, c, x, ret);
			return true;
		}
	}
	return false;
}

/* Is it on @whom's side? r has a behind to-s, and b behind to-b. */
static bool leads_to(const struct lab_end *end, const char *whom)
{
	if (!strcmp(end->to, whom))
		return true;
	if (!strcmp(end->to, "c") || !strcmp(end->to, "p"))
		return false;
	if (!strcmp(end->host, "r"))
		return !strcmp(end->to, "s") && !strcmp(whom, "a");
	if (!strcmp(end->host, "s"))
		return !strcmp(end->to, "r") && !strcmp(whom, "b");
	return true; // a, b and p have one way into the network
}

bool lab_plan_towards(const struct lab_plan *plan, const char *host,
		      const char *whom, struct lab_end *ret)
{
	for (size_t i = 0; lab_plan_end(plan, host, i, ret); i++) {
		if (leads_to(ret, whom))
			return true;
	}
	return false;
}

void lab_address_text(int family, int net, uint8_t addr, bool bits,
		      char buf[LAB_ADDRESS_MAX])
{
	if (family == AF_INET)
		snprintf(buf, LAB_ADDRESS_MAX, "10.90.%d.%d%s", net, addr,
			 bits ? "/24" : "");
	else
		snprintf(buf, LAB_ADDRESS_MAX, "fd90:%d::%x%s", net, addr,
			 bits ? "/64" : "");
}

bool lab_name_ok(const char *name)
{
	size_t len = strspn(name, "abcdefghijklmnopqrstuvwxyz"
				  "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-");

	return len > 0 && len < LAB_NAME_MAX && !name[len] && name[0] != '-';
}
