/* SPDX-License-Identifier: Apache-2.0 */

/* Faults of the address translator. */

#include <unistd.h>

#include "base/cleanup.h"
#include "scenarios/lab/lab_priv.h"

/* Below the ports that programs are given (ip_local_port_range): a new entry
 * cannot get the port of the old one.
 */
#define NEW_PORT_FIRST 10000
#define NEW_PORT_LAST 20000

struct error *lab_break_nat_flush(struct lab_breaking *b)
{
	AUTO_CLOSE int r = -1;
	struct error *err = lab_break_netns(b, "r", &r);

	// a packet in the middle of a connection makes an entry, as ever
	if (err || b->heal)
		return err;
	return lab_net_conntrack_flush(r);
}

static json_t *drop_invalid(void)
{
	return json_pack("[{s:{s:s, s:{s:{s:s}}, s:s}}, {s:n}]", "match", "op",
			 "in", "left", "ct", "key", "state", "right", "invalid",
			 "drop");
}

struct error *lab_break_nat_strict(struct lab_breaking *b)
{
	char table[LAB_TABLE_MAX];
	AUTO_CLOSE int r = -1;
	struct error *err = lab_break_netns(b, "r", &r);

	if (err)
		return err;
	err = lab_net_sysctl(r, "net/netfilter/nf_conntrack_tcp_loose",
			     b->heal ? "1" : "0");
	if (err)
		return err;
	json_t *batch = json_array();
	lab_break_table(b, table);
	lab_rules_untable(batch, "inet", table);
	if (!b->heal) {
		lab_rules_table(batch, "inet", table);
		// what is for b's side, or comes back to our own address
		lab_rules_chain(batch, "inet", table, "forward", "filter",
				"forward", 0, NULL);
		lab_rules_rule(batch, "inet", table, "forward", drop_invalid());
		lab_rules_chain(batch, "inet", table, "input", "filter",
				"input", 0, NULL);
		lab_rules_rule(batch, "inet", table, "input", drop_invalid());
	}
	err = lab_rules_apply(r, batch);
	return err || b->heal ? err : lab_net_conntrack_flush(r);
}

struct error *lab_break_nat_new_port(struct lab_breaking *b)
{
	AUTO_CLOSE int r = -1;
	struct error *err = lab_break_netns(b, "r", &r);

	if (err)
		return err;
	err = b->heal ? lab_rules_masquerade(r, 0, 0)
		      : lab_rules_masquerade(r, NEW_PORT_FIRST, NEW_PORT_LAST);
	return err ? err : lab_net_conntrack_flush(r);
}
