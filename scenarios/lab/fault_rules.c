/* SPDX-License-Identifier: Apache-2.0 */

/* Faults that are firewall rules. Each has a table of its own; healing is
 * removing that.
 */

#include <string.h>

#include "base/cleanup.h"
#include "scenarios/lab/lab_priv.h"

/* {"match": {"op": "==", "left": {"meta": {"key": KEY}}, "right": VALUE}} */
static json_t *meta_is(const char *key, const char *value)
{
	return json_pack("{s:{s:s, s:{s:{s:s}}, s:s}}", "match", "op",
			 "==", "left", "meta", "key", key, "right", value);
}

static json_t *field_is(const char *protocol, const char *field, json_t *value)
{
	return json_pack("{s:{s:s, s:{s:{s:s, s:s}}, s:o}}", "match", "op",
			 "==", "left", "payload", "protocol", protocol, "field",
			 field, "right", value);
}

static json_t *verdict(const char *word)
{
	return json_pack("{s:n}", word);
}

/* Where what goes one way passes: a chain. */
struct spot {
	const char *host, *family, *hook, *device;
	const char *key, *value; /* NULL: all that passes there */
};

/* In the middle where there is one, else at b. */
static struct spot spot_of(const struct lab_plan *plan, bool from_a)
{
	if (plan->shape & LAB_ROUTER)
		return (struct spot){
			"r",  "inet",	 "forward",
			NULL, "iifname", from_a ? "to-s" : "to-b"
		};
	if (plan->shape == LAB_LAN)
		return (struct spot){
			"s",  "bridge",	 "forward",
			NULL, "iifname", from_a ? "to-a" : "to-b"
		};
	return (struct spot){ "b",    "netdev", from_a ? "ingress" : "egress",
			      "to-a", NULL,	NULL };
}

struct batch {
	json_t *v;
	char table[LAB_TABLE_MAX];
	struct spot spot;
	const char *chain;
};

static void begin(struct batch *t, const struct lab_breaking *b,
		  const struct spot *spot)
{
	t->v = json_array();
	t->spot = *spot;
	t->chain = NULL;
	lab_break_table(b, t->table);
	lab_rules_table(t->v, spot->family, t->table);
}

static void chain(struct batch *t, const char *hook)
{
	t->chain = hook;
	lab_rules_chain(t->v, t->spot.family, t->table, hook, "filter", hook, 0,
			t->spot.device);
}

static void rule(struct batch *t, json_t *expr)
{
	lab_rules_rule(t->v, t->spot.family, t->table, t->chain, expr);
}

static struct error *apply(struct lab_breaking *b, struct batch *t)
{
	AUTO_CLOSE int fd = -1;
	struct error *err = lab_break_netns(b, t->spot.host, &fd);

	if (err) {
		json_decref(t->v);
		return err;
	}
	return lab_rules_apply(fd, t->v);
}

/* The end of the table, wherever the fault had put it. */
static struct error *remove_table(struct lab_breaking *b,
				  const struct spot *spot)
{
	struct batch t = { .v = json_array(), .spot = *spot };

	lab_break_table(b, t.table);
	lab_rules_untable(t.v, spot->family, t.table);
	return apply(b, &t);
}

/* A loss on the way is no loss of neighbours: ARP and ND go through. */
static void spare_neighbours(struct batch *t)
{
	if (!strcmp(t->spot.family, "inet"))
		return;
	rule(t, json_pack("[o, o]", meta_is("protocol", "arp"),
			  verdict("accept")));
	rule(t, json_pack("[o, o]",
			  field_is("icmpv6", "type",
				   json_pack("{s:[s, s, s]}", "set",
					     "nd-neighbor-solicit",
					     "nd-neighbor-advert",
					     "nd-router-solicit")),
			  verdict("accept")));
}

static json_t *drop_all(void)
{
	return json_pack("[o]", verdict("drop"));
}

static json_t *drop_there(const struct spot *s)
{
	return s->key ? json_pack("[o, o]", meta_is(s->key, s->value),
				  verdict("drop"))
		      : drop_all();
}

struct error *lab_break_one_way(struct lab_breaking *b)
{
	struct spot spot = spot_of(b->plan, b->arg && !strcmp(b->arg, "a-b"));
	struct batch t;

	if (b->heal)
		return remove_table(b, &spot);
	begin(&t, b, &spot);
	chain(&t, spot.hook);
	spare_neighbours(&t);
	rule(&t, drop_there(&spot));
	return apply(b, &t);
}

/* Two rules (or one, and NULL) for all that the router forwards. */
static struct error *break_forward(struct lab_breaking *b, json_t *first,
				   json_t *second)
{
	static const struct spot spot = { .host = "r",
					  .family = "inet",
					  .hook = "forward" };
	struct batch t;

	if (b->heal) {
		json_decref(first);
		json_decref(second);
		return remove_table(b, &spot);
	}
	begin(&t, b, &spot);
	chain(&t, spot.hook);
	rule(&t, first);
	if (second)
		rule(&t, second);
	return apply(b, &t);
}

struct error *lab_break_router_drop(struct lab_breaking *b)
{
	return break_forward(b, drop_all(), NULL);
}

struct error *lab_break_reject_icmp(struct lab_breaking *b)
{
	return break_forward(b,
			     json_pack("[{s:{s:s, s:s}}]", "reject", "type",
				       "icmpx", "expr", "host-unreachable"),
			     NULL);
}

struct error *lab_break_reject_rst(struct lab_breaking *b)
{
	return break_forward(b,
			     json_pack("[o, {s:{s:s}}]",
				       meta_is("l4proto", "tcp"), "reject",
				       "type", "tcp reset"),
			     drop_all());
}

/*
 * Both ways, while the elements of a set live: nobody need be alive to end it,
 * and the machine's clock may be set meanwhile.
 */
struct error *lab_break_outage(struct lab_breaking *b)
{
	struct spot spot = spot_of(b->plan, true);
	const char *ends[] = { spot.value ? spot.value : spot.device,
			       spot_of(b->plan, false).value, NULL };
	struct batch t;

	if (b->heal)
		return remove_table(b, &spot);
	begin(&t, b, &spot);
	lab_rules_set(t.v, spot.family, t.table, "ends", ends, b->number);
	chain(&t, spot.hook);
	spare_neighbours(&t);
	rule(&t,
	     json_pack("[o, o]", meta_is("iifname", "@ends"), verdict("drop")));
	if (b->plan->shape == LAB_PAIR) {
		chain(&t, "egress");
		spare_neighbours(&t);
		rule(&t, json_pack("[o, o]", meta_is("oifname", "@ends"),
				   verdict("drop")));
	}
	return apply(b, &t);
}

/* What a router says of a host that it cannot reach, nobody hears: most are
 * behind a switch, or a firewall, and do not know.
 */
struct error *lab_break_mute_router(struct lab_breaking *b)
{
	struct spot spot = { "r", "inet", "output", NULL, NULL, NULL };
	struct batch t;

	if (!(b->plan->shape & LAB_ROUTER))
		return NULL;
	if (b->heal)
		return remove_table(b, &spot);
	begin(&t, b, &spot);
	chain(&t, "output");
	rule(&t, json_pack("[o, o]",
			   field_is("icmp", "type",
				    json_string("destination-unreachable")),
			   verdict("drop")));
	rule(&t, json_pack("[o, o]",
			   field_is("icmpv6", "type",
				    json_string("destination-unreachable")),
			   verdict("drop")));
	return apply(b, &t);
}

struct error *lab_break_next_hop(struct lab_breaking *b)
{
	const char *hop = b->plan->shape & LAB_ROUTER ? "r" : "b";
	struct lab_end end;
	struct batch t;

	if (!lab_plan_towards(b->plan, hop, "a", &end))
		return error_new(ERROR_USAGE, "no way from %s to a", hop);
	struct spot spot = { hop, "netdev", NULL, end.device, NULL, NULL };
	if (b->heal)
		return remove_table(b, &spot);
	begin(&t, b, &spot);
	chain(&t, "ingress");
	rule(&t, drop_there(&spot));
	chain(&t, "egress");
	rule(&t, drop_there(&spot));
	return apply(b, &t);
}

/* The router's way to b gets narrow, and it may not say so. */
struct error *lab_break_mtu(struct lab_breaking *b)
{
	struct spot spot = { "r", "inet", "output", NULL, NULL, NULL };
	AUTO_CLOSE int r = -1;
	struct lab_end end;
	struct batch t;
	struct error *err = lab_break_netns(b, "r", &r);

	if (err)
		return err;
	if (!lab_plan_towards(b->plan, "r", "b", &end))
		return error_new(ERROR_USAGE, "no way from r to b");
	if (b->heal) {
		err = lab_net_route_mtu(r, &end, 2, 0);
		return err ? err : remove_table(b, &spot);
	}
	begin(&t, b, &spot);
	chain(&t, "output");
	rule(&t, json_pack("[o, o]",
			   field_is("icmp", "type",
				    json_string("destination-unreachable")),
			   verdict("drop")));
	rule(&t, json_pack("[o, o]",
			   field_is("icmpv6", "type",
				    json_string("packet-too-big")),
			   verdict("drop")));
	err = apply(b, &t);
	return err ? err : lab_net_route_mtu(r, &end, 2, (int)b->number);
}
