/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "scenarios/lab/lab_priv.h"

const struct lab_fault lab_faults[] = {
	{ "peer-link-cut", "", "b's cable is pulled at b; a sees nothing" },
	{ "peer-machine-gone", "",
	  "b loses power: no FIN, no RST, and its namespace is gone" },
	{ "peer-rebooted", "",
	  "b loses power and boots again: it answers RST to old connections" },
	{ "router-drop", "", "the router forwards nothing, and says nothing" },
	{ "one-way-loss", "[a-b|b-a]",
	  "what goes that way is lost; by default b-a" },
	{ "firewall-reject-icmp", "",
	  "the router answers all with ICMP host unreachable" },
	{ "firewall-reject-rst", "", "the router answers TCP with RST" },
	{ "nat-flush", "",
	  "the NAT table is emptied; the next packet makes a new entry" },
	{ "nat-flush-strict", "",
	  "the same, but only a SYN makes an entry; the rest is dropped" },
	{ "nat-flush-new-port", "",
	  "the same, and new entries get other ports than the old ones" },
	{ "address-removed", "", "a loses its addresses towards b" },
	{ "route-removed", "", "a loses its route towards b" },
	{ "carrier-lost", "", "a's cable is pulled at the other end" },
	{ "next-hop-dead", "",
	  "the next hop of a answers nothing, not even ARP" },
	{ "mtu-black-hole", "[BYTES]",
	  "larger packets to b are lost without ICMP; by default 1280" },
	{ "long-delay", "[MS]",
	  "a full queue towards b delays all by 4000 ms, or MS" },
	{ "outage", "SECONDS", "all is lost for that long, then it works" },
	{ "peer-frozen", "", "the programs in b are stopped (SIGSTOP)" },
	{ "peer-not-reading", "",
	  "the same act, after which what is sent to b fills its window" },
	{ "peer-half-closed", "",
	  "the programs in b have shut down writing towards a" },
	{ "backend-dead", "", "b, behind the proxy, loses power" },
	{ NULL, NULL, NULL },
};

const struct lab_fault_row lab_fault_rows[] = {
	{ .name = "peer-link-cut",
	  .shapes = LAB_ANY,
	  .run = lab_break_link_cut },
	{ .name = "peer-machine-gone",
	  .shapes = LAB_ANY,
	  .run = lab_break_machine_gone,
	  .for_good = true },
	{ .name = "peer-rebooted",
	  .shapes = LAB_ANY,
	  .run = lab_break_rebooted,
	  .for_good = true },
	{ .name = "router-drop",
	  .shapes = LAB_ROUTER,
	  .run = lab_break_router_drop },
	{ .name = "one-way-loss", .shapes = LAB_ANY, .run = lab_break_one_way },
	{ .name = "firewall-reject-icmp",
	  .shapes = LAB_ROUTER,
	  .run = lab_break_reject_icmp },
	{ .name = "firewall-reject-rst",
	  .shapes = LAB_ROUTER,
	  .run = lab_break_reject_rst },
	{ .name = "nat-flush",
	  .shapes = LAB_NAT,
	  .run = lab_break_nat_flush,
	  .at_once = true },
	{ .name = "nat-flush-strict",
	  .shapes = LAB_NAT,
	  .run = lab_break_nat_strict },
	{ .name = "nat-flush-new-port",
	  .shapes = LAB_NAT,
	  .run = lab_break_nat_new_port },
	{ .name = "address-removed",
	  .shapes = LAB_ANY,
	  .run = lab_break_address },
	{ .name = "route-removed", .shapes = LAB_ANY, .run = lab_break_route },
	{ .name = "carrier-lost", .shapes = LAB_ANY, .run = lab_break_carrier },
	{ .name = "next-hop-dead",
	  .shapes = LAB_ANY,
	  .run = lab_break_next_hop },
	{ .name = "mtu-black-hole",
	  .shapes = LAB_ROUTER,
	  .run = lab_break_mtu,
	  .least = 576,
	  .most = 1499,
	  .usual = 1280 },
	{ .name = "long-delay",
	  .shapes = LAB_LAN | LAB_ROUTER,
	  .run = lab_break_delay,
	  .least = 100,
	  .most = 30000,
	  .usual = 4000 },
	{ .name = "outage",
	  .shapes = LAB_ANY,
	  .run = lab_break_outage,
	  .least = 1,
	  .most = 3600 },
	{ .name = "peer-frozen", .shapes = LAB_ANY, .run = lab_break_frozen },
	{ .name = "peer-not-reading",
	  .shapes = LAB_ANY,
	  .run = lab_break_frozen },
	{ .name = "peer-half-closed",
	  .shapes = LAB_ANY,
	  .run = lab_break_half_closed,
	  .for_good = true,
	  .at_once = true },
	{ .name = "backend-dead",
	  .shapes = LAB_PROXY,
	  .run = lab_break_machine_gone,
	  .for_good = true },
	{ .name = NULL },
};

struct error *lab_break_netns(struct lab_breaking *b, const char *host,
			      int *fd_ret)
{
	struct lab_host *h = lab_state_host(b->st, host);

	if (!h)
		return error_new(ERROR_USAGE, "there is no host '%s' here",
				 host);
	return lab_host_netns(h, fd_ret);
}

void lab_break_table(const struct lab_breaking *b, char buf[LAB_TABLE_MAX])
{
	snprintf(buf, LAB_TABLE_MAX, "stranded-%s", b->name);
}

static const struct lab_fault_row *find_row(const char *name)
{
	for (const struct lab_fault_row *r = lab_fault_rows; r->name; r++) {
		if (!strcmp(r->name, name))
			return r;
	}
	return NULL;
}

/* "fault X needs the topology routed, nat or proxy" */
static struct error *check_shape(const struct lab_fault_row *row,
				 const struct lab_plan *plan)
{
	static const char *const names[] = { "pair", "lan", "routed", "nat",
					     "proxy" };
	char list[64] = "";
	size_t len = 0, left = (size_t)__builtin_popcount(row->shapes);

	if (row->shapes & plan->shape)
		return NULL;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (!(row->shapes & 1u << i))
			continue;
		left--;
		len += (size_t)snprintf(list + len, sizeof(list) - len, "%s%s",
					names[i],
					left > 1    ? ", "
					: left == 1 ? " or "
						    : "");
	}
	return error_new(ERROR_USAGE,
			 "fault %s needs the topology %s; this lab is %s",
			 row->name, list, plan->name);
}

static struct error *check_number(const struct lab_fault_row *row,
				  struct lab_breaking *b)
{
	char *end = NULL;

	b->number = row->usual;
	if (!b->arg && (row->usual || !row->most))
		return NULL;
	if (!b->arg)
		return error_new(ERROR_USAGE,
				 "fault %s needs a number from %ld to %ld",
				 row->name, row->least, row->most);
	errno = 0;
	b->number = strtol(b->arg, &end, 10);
	if (errno || *end || end == b->arg || b->number < row->least ||
	    b->number > row->most)
		return error_new(ERROR_USAGE,
				 "'%s' does not fit fault %s; use a number "
				 "from %ld to %ld",
				 b->arg, row->name, row->least, row->most);
	return NULL;
}

static struct error *check_args(const struct lab_fault_row *row,
				const char *const *args, size_t n_args,
				struct lab_breaking *b)
{
	bool one_way = row->run == lab_break_one_way;

	b->arg = n_args ? args[0] : NULL;
	if (n_args > (row->most || one_way ? 1 : 0))
		return error_new(ERROR_USAGE, "fault %s takes no '%s'",
				 row->name, args[n_args - 1]);
	if (b->arg && strlen(b->arg) >= LAB_ARG_MAX)
		return error_new(ERROR_USAGE, "'%s' does not fit fault %s",
				 b->arg, row->name);
	if (one_way && b->arg && strcmp(b->arg, "a-b") && strcmp(b->arg, "b-a"))
		return error_new(ERROR_USAGE,
				 "'%s' is no direction; use a-b or b-a",
				 b->arg);
	return row->most ? check_number(row, b) : NULL;
}

/* What has ended by itself is off. */
static void forget_ended(struct lab_state *st)
{
	int64_t now = clock_boot_ns() / 1000000;
	size_t kept = 0;

	for (size_t i = 0; i < st->n_faults; i++) {
		const struct lab_fault_state *f = &st->faults[i];

		if (find_row(f->name) && (!f->until_ms || f->until_ms > now))
			st->faults[kept++] = *f;
	}
	st->n_faults = kept;
}

static struct lab_fault_state *find_on(struct lab_state *st, const char *name)
{
	for (size_t i = 0; i < st->n_faults; i++) {
		if (!strcmp(st->faults[i].name, name))
			return &st->faults[i];
	}
	return NULL;
}

static void drop_fault(struct lab_state *st, struct lab_fault_state *f)
{
	size_t after = st->n_faults - (size_t)(f - st->faults) - 1;

	memmove(f, f + 1, after * sizeof(*f));
	st->n_faults--;
}

static struct error *work(void *arg, struct lab_answer *answer)
{
	struct lab_breaking *b = arg;

	b->answer = answer;
	return find_row(b->name)->run(b);
}

/* b is no more, or another. */
static void bury(struct lab_state *st, const struct lab_answer *a)
{
	struct lab_host *b = lab_state_host(st, "b");

	if (!b || (!a->b_gone && !a->b_rebooted))
		return;
	b->holder = (struct lab_process){ 0 };
	b->netns = 0;
	if (!a->b_rebooted)
		return;
	b->holder = st->spare.holder;
	b->netns = st->spare.netns;
	st->spare.holder = (struct lab_process){ 0 };
	st->spare.netns = 0;
	// what is back is not gone
	for (size_t i = st->n_faults; i-- > 0;) {
		if (find_row(st->faults[i].name)->run == lab_break_machine_gone)
			drop_fault(st, &st->faults[i]);
	}
}

static struct error *record(struct lab_state *st, const struct lab_breaking *b,
			    const struct lab_answer *a)
{
	const struct lab_fault_row *row = find_row(b->name);
	struct lab_fault_state *f = find_on(st, b->name);

	if (!f && st->n_faults == LAB_MAX_FAULTS)
		return error_new(ERROR_USAGE, "too many faults are on");
	if (!f)
		f = &st->faults[st->n_faults++];
	*f = (struct lab_fault_state){ .helper = a->helper };
	snprintf(f->name, sizeof(f->name), "%s", b->name);
	snprintf(f->arg, sizeof(f->arg), "%s", b->arg ? b->arg : "");
	if (row->run == lab_break_outage)
		f->until_ms = clock_boot_ns() / 1000000 + b->number * 1000;
	if (row->run == lab_break_delay)
		f->until_ms = clock_boot_ns() / 1000000 + LAB_DELAY_LIFE_MS;
	return NULL;
}

/* Half a fault is none. */
static void undo(struct lab_state *st, struct lab_breaking *b)
{
	struct lab_answer answer = { 0 };

	if (find_row(b->name)->for_good)
		return;
	b->heal = true;
	error_free(lab_inside(st, work, b, &answer));
}

static struct error *lock_state(struct lab *lab, const char *name,
				const struct lab_fault_row **row_ret,
				int *dirfd_ret)
{
	*row_ret = find_row(name);
	if (!*row_ret)
		return error_new(ERROR_USAGE,
				 "no fault '%s'; 'stranded lab faults' lists "
				 "them",
				 name);
	struct error *err = lab_dir_lock(lab->state.name, dirfd_ret);
	if (!err)
		err = lab_state_read(*dirfd_ret, lab->state.name, &lab->state);
	if (!err)
		forget_ended(&lab->state);
	return err;
}

struct error *lab_fault(struct lab *lab, const char *name,
			const char *const *args, size_t n_args)
{
	const struct lab_fault_row *row;
	AUTO_LAB_DIR int dirfd = -1;
	struct lab_state *st = &lab->state;
	struct lab_answer answer = { 0 };
	struct error *err = lock_state(lab, name, &row, &dirfd);
	struct lab_breaking b = { .st = st, .plan = st->plan, .name = name };

	if (!err)
		err = check_shape(row, st->plan);
	if (!err)
		err = check_args(row, args, n_args, &b);
	if (!err && find_on(st, name) && !row->at_once)
		err = error_new(ERROR_USAGE, "fault %s is on already", name);
	if (err)
		return err;
	err = lab_inside(st, work, &b, &answer);
	bury(st, &answer);
	if (!err)
		err = record(st, &b, &answer);
	else
		undo(st, &b);
	struct error *unwritten = lab_state_write(dirfd, st);
	if (err || !unwritten) {
		error_free(unwritten);
		return err;
	}
	return unwritten;
}

static void end_helper(const struct lab_process *helper)
{
	AUTO_CLOSE int fd = lab_process_open(helper);

	if (fd >= 0)
		pidfd_send_signal(fd, SIGKILL, NULL, 0);
}

struct error *lab_heal_fault(struct lab *lab, const char *name)
{
	const struct lab_fault_row *row;
	AUTO_LAB_DIR int dirfd = -1;
	struct lab_state *st = &lab->state;
	struct lab_answer answer = { 0 };
	struct error *err = lock_state(lab, name, &row, &dirfd);

	if (err)
		return err;
	struct lab_fault_state *on = find_on(st, name);
	if (!on)
		return error_new(ERROR_USAGE, "fault %s is not on", name);
	if (row->for_good)
		return error_new(ERROR_USAGE,
				 "fault %s cannot be undone; 'stranded lab "
				 "down' and up again",
				 name);
	struct lab_breaking b = {
		.st = st,
		.plan = st->plan,
		.name = name,
		.arg = on->arg[0] ? on->arg : NULL,
		.heal = true,
	};
	end_helper(&on->helper);
	err = lab_inside(st, work, &b, &answer);
	if (err)
		return err;
	drop_fault(st, on);
	return lab_state_write(dirfd, st);
}
