/* SPDX-License-Identifier: Apache-2.0 */
#include <sched.h>

#include "netwatch/peer_priv.h"
#include "tests/unit/netlab.h"

static const char *lookup_name(enum peer_lookup l)
{
	static const char *const names[] = { "not looked", "not on host",
					     "found", "absent", "ambiguous" };
	return names[l];
}

/* What one look says; @why is a part of its reason, or NULL. */
static void assert_look(char ns, struct tcp_socket *s, enum peer_lookup want,
			const char *why)
{
	struct looked l = lab_look(ns, s);
	struct peer_facts *f = &l.facts.peer;

	if (f->lookup != want)
		fail_msg("peer is '%s' (%s), should be '%s'",
			 lookup_name(f->lookup), f->why ? f->why : "no reason",
			 lookup_name(want));
	if (want == PEER_FOUND)
		assert_int_equal(f->peer_state, TCP_STATE_ESTABLISHED);
	if (why && !(f->why && strstr(f->why, why)))
		fail_msg("the reason is '%s', should have '%s'",
			 f->why ? f->why : "none", why);
	looked_end(&l);
}

/* Both ends are there; then the server's vanishes, then look from A again. */
static void assert_found_then_absent(char a, char b, struct conn *c)
{
	struct tcp_socket server = lab_sample(b, c->server);

	assert_look(a, &c->s, PEER_FOUND, NULL);
	assert_look(b, &server, PEER_FOUND, NULL);
	lab_vanish(c->server);
	assert_look(a, &c->s, PEER_ABSENT, NULL);
	lab_vanish(c->client);
	close(c->listener);
}

static void lab_direct(void)
{
	lab_needs();
	lab_netns("ab");
	lab_pair('a', "10.1.0.1/24", 'b', "10.1.0.2/24");
}

/* a - r - b, r forwards */
static void lab_routed(void)
{
	lab_needs();
	lab_netns("arb");
	lab_pair('a', "10.1.0.1/24", 'r', "10.1.0.254/24");
	lab_pair('b', "10.2.0.1/24", 'r', "10.2.0.254/24");
	sh("ip -n @a route add default via 10.1.0.254");
	sh("ip -n @b route add default via 10.2.0.254");
	sh("ip netns exec @r sysctl -qw net.ipv4.ip_forward=1");
}

static void test_direct_peer_is_found_and_then_absent(void **state UNUSED)
{
	lab_direct();
	struct conn c = lab_tcp('a', 'b', "10.1.0.2", 7001);
	assert_found_then_absent('a', 'b', &c);
}

static void
test_second_look_counts_and_a_new_answer_replaces(void **state UNUSED)
{
	lab_direct();
	struct conn c = lab_tcp('a', 'b', "10.1.0.2", 7001);
	struct conn d = lab_tcp('a', 'b', "10.1.0.2", 7002);
	lab_vanish(c.server);
	struct looked l = lab_look('a', &c.s);
	struct tcp_socket *s = &c.s;
	assert_int_equal(l.facts.peer.lookup, PEER_ABSENT);
	assert_int_equal(l.facts.peer.times, 1);
	int64_t first = l.facts.peer.at_wall_ms;
	clock_sleep_until(clock_mono_ns() + 20 * 1000000);
	assert_ok(peer_recheck(l.peer, &s, 1, l.arena, &l.facts));
	assert_int_equal(l.facts.peer.lookup, PEER_ABSENT);
	assert_int_equal(l.facts.peer.times, 2);
	assert_true(l.facts.peer.first_wall_ms == first);
	assert_true(l.facts.peer.at_wall_ms >= first + 20);
	assert_true(l.facts.peer.netns == lab_inode('b'));
	assert_non_null(strstr(l.facts.peer.netns_name, "-b"));
	assert_null(l.facts.peer.via);
	// The link goes down meanwhile: no proof any more.
	sh("ip -n @b link set toa down");
	assert_ok(peer_recheck(l.peer, &s, 1, l.arena, &l.facts));
	assert_int_equal(l.facts.peer.lookup, PEER_AMBIGUOUS);
	assert_int_equal(l.facts.peer.times, 1);
	looked_end(&l);
	close(c.client);
	close(c.listener);
	lab_close(&d);
}

static void test_peer_on_loopback_and_on_an_own_address(void **state UNUSED)
{
	lab_direct();
	struct conn c = lab_tcp('a', 'a', "127.0.0.1", 7001);
	struct conn d = lab_tcp('a', 'a', "10.1.0.1", 7002);
	struct conn e =
		lab_connect('a', 'a', AF_INET6, "::1", 7003, AF_INET6, 7003);
	assert_found_then_absent('a', 'a', &c);
	assert_found_then_absent('a', 'a', &d);
	assert_found_then_absent('a', 'a', &e);
}

static void test_peer_behind_a_router(void **state UNUSED)
{
	lab_routed();
	struct conn c = lab_tcp('a', 'b', "10.2.0.1", 7001);
	struct looked l = lab_look('a', &c.s);
	assert_int_equal(l.facts.peer.lookup, PEER_FOUND);
	assert_non_null(l.facts.peer.via);
	assert_non_null(strstr(l.facts.peer.via, "-r"));
	looked_end(&l);
	assert_found_then_absent('a', 'b', &c);
}

/* a, b and c on a bridge in h, as containers are. */
static void lab_bridged(void)
{
	lab_needs();
	lab_netns("abch");
	lab_pair('a', "10.1.0.1/24", 'h', "");
	lab_pair('b', "10.1.0.2/24", 'h', "");
	lab_pair('c', "10.1.0.3/24", 'h', "");
	sh("ip -n @h link add br0 type bridge && ip -n @h link set br0 up");
	sh("for d in toa tob toc; do ip -n @h link set $d master br0; done");
	sh("ip -n @h addr add 10.1.0.254/24 dev br0");
}

static void test_peer_on_a_bridge_whose_host_does_nat(void **state UNUSED)
{
	lab_bridged();
	nft("h", "table ip t { chain c { type nat hook postrouting priority "
		 "100; ip daddr != 10.1.0.0/24 masquerade; }; }");
	const char *knob = "/proc/sys/net/bridge/bridge-nf-call-iptables";
	for (int on = 0; on <= 1; on++) {
		if (try_sh("ip netns exec @h sh -c 'echo %d >%s' 2>/dev/null",
			   on, knob) &&
		    on)
			break; // this kernel has no bridge netfilter
		struct conn c = lab_tcp('a', 'b', "10.1.0.2", 7001 + on);
		assert_found_then_absent('a', 'b', &c);
	}
	// Frames that are rewritten may end elsewhere.
	struct conn d = lab_tcp('a', 'b', "10.1.0.2", 7003);
	nft("h",
	    "table bridge t { chain c { type filter hook forward priority "
	    "0; ether type 0x88b5 ether daddr set 02:00:00:00:00:01; }; }");
	assert_look('a', &d.s, PEER_FOUND, NULL);
	lab_vanish(d.server);
	assert_look('a', &d.s, PEER_AMBIGUOUS, "rules that write to packets");
	close(d.client);
	close(d.listener);
}

static void test_peer_on_a_bridge(void **state UNUSED)
{
	lab_bridged();
	struct conn c = lab_tcp('a', 'b', "10.1.0.2", 7001);
	struct conn d = lab_tcp('a', 'h', "10.1.0.254", 7002);
	struct conn e = lab_tcp('a', 'c', "10.1.0.3", 7003);
	assert_look('a', &e.s, PEER_FOUND, NULL);
	assert_found_then_absent('a', 'b', &c);
	assert_found_then_absent('a', 'h', &d);
	// c moves away: another takes its address, with another MAC.
	lab_vanish(e.server);
	assert_look('a', &e.s, PEER_ABSENT, NULL);
	sh("ip -n @c link set toh down");
	sh("ip -n @b addr add 10.1.0.3/24 dev toh");
	assert_look('a', &e.s, PEER_AMBIGUOUS, "down");
	sh("ip -n @c link del toh");
	assert_look('a', &e.s, PEER_AMBIGUOUS, "no device on the bridge");
	close(e.client);
	close(e.listener);
}

static void test_masqueraded_peer_is_followed(void **state UNUSED)
{
	lab_routed();
	nft("r", "table ip t { chain c { type nat hook postrouting priority "
		 "100; oifname tob masquerade; }; }");
	struct conn c = lab_tcp('a', 'b', "10.2.0.1", 7001);
	struct tcp_socket server = lab_sample('b', c.server);
	char text[ENDPOINT_TEXT_MAX];
	endpoint_format_addr(&server.remote, text);
	assert_string_equal(text, "10.2.0.254"); // else nothing is tested
	struct looked l = lab_look('a', &c.s);
	assert_int_equal(l.facts.peer.lookup, PEER_FOUND);
	assert_non_null(strstr(l.facts.peer.via, "NAT: 10.2.0.254:"));
	looked_end(&l);
	struct conn d = lab_tcp('a', 'b', "10.2.0.1", 7002);
	server = lab_sample('b', d.server);
	lab_vanish(d.client);
	assert_look('b', &server, PEER_ABSENT, NULL);
	assert_found_then_absent('a', 'b', &c);
	close(d.server);
	close(d.listener);
}

static void test_redirected_peer_is_followed(void **state UNUSED)
{
	lab_routed();
	nft("r", "table ip t { chain c { type nat hook prerouting priority "
		 "-100; tcp dport 80 dnat to 10.2.0.1:7001; }; }");
	struct conn c =
		lab_connect('a', 'b', AF_INET, "10.1.0.254", 80, AF_INET, 7001);
	assert_found_then_absent('a', 'b', &c);
}

static void test_lost_nat_entry_is_never_proof(void **state UNUSED)
{
	lab_routed();
	NEEDS("conntrack", !try_sh("command -v conntrack >/dev/null"));
	nft("r", "table ip t { chain c { type nat hook postrouting priority "
		 "100; oifname tob masquerade; }; }");
	struct conn c = lab_tcp('a', 'b', "10.2.0.1", 7001);
	assert_look('a', &c.s, PEER_FOUND, NULL);
	sh("ip netns exec @r conntrack -F 2>/dev/null");
	assert_look('a', &c.s, PEER_AMBIGUOUS, "has no entry for this one");
	// Also without rules, while others are tracked.
	sh("ip netns exec @r nft flush ruleset");
	nft("r", "table ip t { chain c { type filter hook forward priority 0; "
		 "ct state invalid counter; }; }");
	struct conn d = lab_tcp('a', 'b', "10.2.0.1", 7002);
	assert_look('a', &c.s, PEER_AMBIGUOUS, "has no entry for this one");
	assert_look('a', &d.s, PEER_FOUND, NULL);
	lab_close(&c);
	lab_close(&d);
}

/* A lone packet makes a new entry after the true one was lost. */
static void test_entry_of_one_direction_is_never_proof(void **state UNUSED)
{
	lab_routed();
	NEEDS("conntrack", !try_sh("command -v conntrack >/dev/null"));
	nft("r", "table ip t { chain c { type nat hook postrouting priority "
		 "100; oifname tob masquerade; }; }");
	struct conn c = lab_tcp('a', 'b', "10.2.0.1", 7001);
	nft("b", "table ip t { chain c { type filter hook input priority 0; "
		 "drop; }; }");
	sh("ip netns exec @r conntrack -F 2>/dev/null");
	assert_int_equal(send(c.client, "x", 1, 0), 1);
	clock_sleep_until(clock_mono_ns() + 100 * 1000000);
	sh("ip netns exec @r conntrack -L 2>/dev/null | grep -q UNREPLIED");
	lab_vanish(c.server);
	assert_look('a', &c.s, PEER_AMBIGUOUS, "has not seen both directions");
	lab_vanish(c.client);
	close(c.listener);
}

/*
 * Many destinations in one call, so that slots of the route cache are fought
 * over by the hops of one way: the doubts of a hop are about its own route.
 */
static void test_colliding_routes_are_not_mixed_up(void **state UNUSED)
{
	enum { N = 4 * PEER_ROUTE_CACHE };
	struct tcp_socket *many = calloc(N, sizeof(*many)), *v[N];
	struct net_facts *facts = calloc(N, sizeof(*facts));

	lab_routed();
	// b takes all of 10.3.0.0/16 for its own; no socket has such a peer.
	sh("ip -n @r route add 10.3.0.0/16 via 10.2.0.1");
	sh("ip -n @b route add local 10.3.0.0/16 dev lo");
	struct conn c = lab_tcp('a', 'b', "10.2.0.1", 7001);
	struct looked l = lab_look('a', &c.s);
	for (size_t i = 0; i < N; i++) {
		many[i] = c.s;
		memcpy(many[i].remote.addr,
		       (uint8_t[]){ 10, 3, (uint8_t)(i >> 8), (uint8_t)i }, 4);
		v[i] = &many[i];
	}
	assert_ok(peer_examine(l.peer, v, N, l.arena, facts));
	for (size_t i = 0; i < N; i++)
		if (facts[i].peer.lookup != PEER_ABSENT)
			fail_msg("socket %zu of %d: peer is '%s' (%s)", i, N,
				 lookup_name(facts[i].peer.lookup),
				 facts[i].peer.why);
	looked_end(&l);
	lab_close(&c);
	free(many);
	free(facts);
}

/* r answers for b's address; later its routes no longer say so. */
static void test_proxy_on_the_way_is_the_peer(void **state UNUSED)
{
	lab_routed();
	sh("ip -n @r route add local 10.2.0.1/32 dev lo");
	struct conn c = lab_tcp('a', 'r', "10.2.0.1", 7001);
	assert_look('a', &c.s, PEER_FOUND, NULL);
	sh("ip -n @r route del local 10.2.0.1/32 dev lo");
	struct looked l = lab_look('a', &c.s);
	assert_int_equal(l.facts.peer.lookup, PEER_FOUND);
	assert_true(l.facts.peer.netns == lab_inode('r'));
	looked_end(&l);
	lab_close(&c);
}

static void test_ipv6_and_mapped_peers(void **state UNUSED)
{
	lab_needs();
	lab_netns("ab");
	lab_pair('a', "10.1.0.1/24", 'b', "10.1.0.2/24");
	sh("ip -n @a addr add fd00::1/64 dev tob nodad");
	sh("ip -n @b addr add fd00::2/64 dev toa nodad");
	struct conn six = lab_connect('a', 'b', AF_INET6, "fd00::2", 7001,
				      AF_INET6, 7001);
	struct conn mapped = lab_connect('a', 'b', AF_INET, "10.1.0.2", 7002,
					 AF_INET6, 7002);
	struct conn both = lab_connect('a', 'b', AF_INET6, "::ffff:10.1.0.2",
				       7003, AF_INET6, 7003);
	assert_found_then_absent('a', 'b', &six);
	assert_found_then_absent('a', 'b', &mapped);
	assert_found_then_absent('a', 'b', &both);
}

static void test_ipv6_router_that_does_not_forward(void **state UNUSED)
{
	lab_needs();
	lab_netns("arb");
	lab_pair('a', "fd01::1/64", 'r', "fd01::ff/64");
	lab_pair('b', "fd02::1/64", 'r', "fd02::ff/64");
	sh("ip -n @a route add default via fd01::ff");
	sh("ip -n @b route add default via fd02::ff");
	sh("ip netns exec @r sysctl -qw net.ipv6.conf.all.forwarding=1");
	struct conn c = lab_connect('a', 'b', AF_INET6, "fd02::1", 7001,
				    AF_INET6, 7001);
	struct conn d = lab_connect('a', 'b', AF_INET6, "fd02::1", 7002,
				    AF_INET6, 7002);
	assert_found_then_absent('a', 'b', &c);
	sh("ip netns exec @r sysctl -qw net.ipv6.conf.all.forwarding=0");
	lab_vanish(d.server);
	assert_look('a', &d.s, PEER_AMBIGUOUS, "does not forward");
	close(d.client);
	close(d.listener);
}

/* Each way to cut the path; the peer is gone, and that is not to be said. */
static void test_cut_path_is_never_proof(void **state UNUSED)
{
	static const struct {
		const char *cut, *mend, *why;
	} ways[] = {
		{ "ip -n @b link set tor down",
		  "ip -n @b link set tor up && "
		  "ip -n @b route replace default via 10.2.0.254",
		  "is down" },
		{ "ip -n @r link set toa down", "ip -n @r link set toa up",
		  "is down" },
		{ "ip netns exec @r sysctl -qw net.ipv4.ip_forward=0",
		  "ip netns exec @r sysctl -qw net.ipv4.ip_forward=1",
		  "no route" },
		{ "ip -n @r route add blackhole 10.2.0.1/32",
		  "ip -n @r route del blackhole 10.2.0.1/32", "no route" },
		{ "ip -n @r link set tob down", "ip -n @r link set tob up",
		  "no route" },
		{ "ip -n @a route del default",
		  "ip -n @a route add default via 10.1.0.254", "no route" },
	};

	lab_routed();
	struct conn c = lab_tcp('a', 'b', "10.2.0.1", 7001);
	lab_vanish(c.server);
	assert_look('a', &c.s, PEER_ABSENT, NULL);
	for (size_t i = 0; i < N_OF(ways); i++) {
		sh("%s", ways[i].cut);
		assert_look('a', &c.s, PEER_AMBIGUOUS, ways[i].why);
		sh("%s", ways[i].mend);
	}
	close(c.client);
	close(c.listener);
}

/* An address that no other lab on this machine has at the same time. */
static void test_only_owner_of_the_address_is_a_hint(void **state UNUSED)
{
	char near[32], far[32];
	int hi = 64 + getpid() / 256 % 64, lo = getpid() % 256;

	lab_needs();
	lab_netns("abc");
	snprintf(near, sizeof(near), "10.%d.%d.1/24", hi, lo);
	snprintf(far, sizeof(far), "10.%d.%d.2/24", hi, lo);
	lab_pair('a', near, 'b', far);
	*strchr(far, '/') = '\0';
	struct conn c = lab_tcp('a', 'b', far, 7001);
	sh("ip -n @b link set toa down");
	assert_look('a', &c.s, PEER_AMBIGUOUS,
		    "-b has the address, and it has such a connection");
	lab_vanish(c.server);
	assert_look('a', &c.s, PEER_AMBIGUOUS,
		    "-b has the address, and it has no such connection");
	// A second owner: nobody knows which is meant.
	sh("ip -n @c addr add %s/24 dev lo", far);
	struct looked l = lab_look('a', &c.s);
	assert_int_equal(l.facts.peer.lookup, PEER_AMBIGUOUS);
	assert_null(strstr(l.facts.peer.why, "hint"));
	looked_end(&l);
	close(c.client);
	close(c.listener);
}

/* The peer is gone, and something on the way makes that look unproven. */
static void test_what_may_rewrite_packets_is_never_proof(void **state UNUSED)
{
	static const struct {
		const char *add, *del, *why;
	} ways[] = {
		{ "ip netns exec @r nft 'add table ip t; add chain ip t c "
		  "{ type filter hook forward priority 0; }; add rule ip t c "
		  "ip daddr 10.2.0.9 ip daddr set 10.2.0.1'",
		  "ip netns exec @r nft flush ruleset",
		  "rules that write to packets" },
		{ "ip netns exec @r nft 'add table ip t; add chain ip t c "
		  "{ type nat hook postrouting priority 100; }'",
		  "ip netns exec @r nft flush ruleset", "has no entry" },
		{ "ip netns exec @r nft 'add table ip t; add chain ip t c "
		  "{ type filter hook forward priority 0; }; add rule ip t c "
		  "tcp dport 9 synproxy'",
		  "ip netns exec @r nft flush ruleset", "redirect, copy" },
		{ "ip -n @r rule add fwmark 7 lookup 100",
		  "ip -n @r rule del fwmark 7 lookup 100", "packet mark" },
		{ "ip netns exec @r tc qdisc add dev toa clsact",
		  "ip netns exec @r tc qdisc del dev toa clsact",
		  "traffic control on toa" },
		{ "ip -n @b addr add 10.2.0.9/24 dev tor; "
		  "ip -n @r route add 10.2.0.1/32 nexthop via 10.2.0.1 "
		  "nexthop via 10.2.0.9",
		  "ip -n @r route del 10.2.0.1/32", "more than one way" },
	};

	lab_routed();
	struct conn c = lab_tcp('a', 'b', "10.2.0.1", 7001);
	lab_vanish(c.server);
	assert_look('a', &c.s, PEER_ABSENT, NULL);
	for (size_t i = 0; i < N_OF(ways); i++) {
		NEEDS(ways[i].add, !try_sh("%s", ways[i].add));
		struct looked l = lab_look('a', &c.s);
		if (l.facts.peer.lookup == PEER_ABSENT)
			fail_msg("absent in spite of: %s", ways[i].add);
		if (!strstr(l.facts.peer.why, ways[i].why))
			fail_msg("the reason is '%s', should have '%s'",
				 l.facts.peer.why, ways[i].why);
		looked_end(&l);
		sh("%s", ways[i].del);
		assert_look('a', &c.s, PEER_ABSENT, NULL);
	}
	close(c.client);
	close(c.listener);
}

static void test_same_address_elsewhere_is_not_the_peer(void **state UNUSED)
{
	lab_needs();
	lab_netns("abc");
	lab_pair('a', "10.1.0.1/24", 'b', "10.1.0.2/24");
	sh("ip -n @c addr add 10.1.0.2/24 dev lo");
	struct conn c = lab_tcp('a', 'b', "10.1.0.2", 7001);
	assert_look('a', &c.s, PEER_FOUND, NULL);
	// From now on the packets would leave by a tunnel.
	NEEDS("tun", !try_sh("ip -n @a tuntap add dev t0 mode tun"));
	sh("ip -n @a link set t0 up");
	sh("ip -n @a route add 10.1.0.2/32 dev t0");
	struct looked l = lab_look('a', &c.s);
	assert_true(l.facts.peer.lookup == PEER_NOT_ON_HOST ||
		    l.facts.peer.lookup == PEER_AMBIGUOUS);
	looked_end(&l);
	lab_close(&c);
}

/* As from within a container: the cable leads to where nobody can look. */
static void test_namespace_that_is_not_seen_is_elsewhere(void **state UNUSED)
{
	lab_direct();
	struct conn c = lab_tcp('a', 'b', "10.1.0.2", 7001);
	assert_look('a', &c.s, PEER_FOUND, NULL);
	sh("ip netns del @b"); // the connection keeps it, and its cable
	assert_look('a', &c.s, PEER_NOT_ON_HOST, "is not seen from here");
	lab_close(&c);
}

static void test_peer_bound_to_a_device_is_found(void **state UNUSED)
{
	lab_direct();
	struct conn c = lab_tcp('a', 'b', "10.1.0.2", 7001);
	assert_int_equal(
		setsockopt(c.server, SOL_SOCKET, SO_BINDTODEVICE, "toa", 4), 0);
	assert_look('a', &c.s, PEER_FOUND, NULL);
	lab_close(&c);
}

static void test_peer_killed_by_ss_is_absent(void **state UNUSED)
{
	lab_direct();
	// Its RST is lost, as on a broken path.
	nft("b", "table ip t { chain c { type filter hook output priority 0; "
		 "tcp flags & rst == rst drop; }; }");
	struct conn c = lab_tcp('a', 'b', "10.1.0.2", 7001);
	sh("ip netns exec @b ss -K state established sport = 7001 >/dev/null");
	assert_look('a', &c.s, PEER_ABSENT, NULL);
	assert_int_equal(lab_sample('a', c.client).first.state,
			 TCP_STATE_ESTABLISHED);
	lab_close(&c);
}

static void test_peer_that_closed_is_found_in_its_state(void **state UNUSED)
{
	lab_direct();
	struct conn c = lab_tcp('a', 'b', "10.1.0.2", 7001);
	nft("b", "table ip t { chain c { type filter hook output priority 0; "
		 "drop; }; }");
	close(c.server);
	struct looked l = lab_look('a', &c.s);
	assert_int_equal(l.facts.peer.lookup, PEER_FOUND);
	assert_int_equal(l.facts.peer.peer_state, TCP_STATE_FIN_WAIT1);
	looked_end(&l);
	close(c.client);
	close(c.listener);
}

static void test_no_namespace_stays_open_after_a_look(void **state UNUSED)
{
	lab_direct();
	struct conn c = lab_tcp('a', 'b', "10.1.0.2", 7001);
	struct looked l = lab_look('a', &c.s);
	int before = dup(0);
	close(before);
	struct tcp_socket *s = &c.s;
	for (int i = 0; i < 50; i++)
		assert_ok(peer_examine(l.peer, &s, 1, l.arena, &l.facts));
	int after = dup(0);
	close(after);
	assert_int_equal(after, before);
	looked_end(&l);
	lab_close(&c);
}

/* For a child without any right, in the lab's namespace a. */
struct unprivileged {
	struct tcp_socket found, gone;
	int netns;
};

static int look_without_rights(void *arg)
{
	struct unprivileged *u = arg;
	struct tcp_socket *v[] = { &u->found, &u->gone };
	struct net_facts facts[2];
	struct arena *arena = arena_create();
	struct gaps gaps = { .arena = arena };
	struct peer *peer;

	if (setns(u->netns, CLONE_NEWNET) || setgid(65534) || setuid(65534))
		return 1;
	if (peer_open(NULL, 0, &gaps, &peer) ||
	    peer_examine(peer, v, 2, arena, facts))
		return 2;
	if (facts[0].peer.lookup != PEER_FOUND)
		return 3;
	// Denied is not absent.
	if (facts[1].peer.lookup != PEER_AMBIGUOUS || !facts[1].peer.why)
		return 4;
	if (!strstr(facts[1].peer.why, "CAP_NET_ADMIN"))
		return 5;
	peer_close(peer);
	arena_destroy(arena);
	return 0;
}

static void
test_without_rights_found_is_found_absent_is_doubt(void **state UNUSED)
{
	lab_direct();
	struct conn c = lab_tcp('a', 'a', "10.1.0.1", 7001);
	struct conn d = lab_tcp('a', 'a', "10.1.0.1", 7002);
	struct unprivileged u = { .found = c.s, .gone = d.s };

	lab_vanish(d.server);
	u.netns = lab_fd('a');
	in_child(look_without_rights, &u);
	assert_look('a', &d.s, PEER_ABSENT, NULL);
	close(u.netns);
	close(d.client);
	close(d.listener);
	lab_close(&c);
}

/* @n suspects to one server, looked at in one call; in microseconds. */
static int64_t time_look(struct conn *c, enum peer_lookup want)
{
	enum { N = 1000 };
	static struct tcp_socket *v[N];
	static struct net_facts facts[N];
	struct looked l = lab_look('a', &c->s);

	for (int i = 0; i < N; i++)
		v[i] = &c->s;
	int64_t from = clock_mono_ns();
	assert_ok(peer_examine(l.peer, v, N, l.arena, facts));
	int64_t took = (clock_mono_ns() - from) / 1000;
	for (int i = 0; i < N; i++)
		assert_int_equal(facts[i].peer.lookup, want);
	looked_end(&l);
	return took;
}

static void test_thousand_suspects_are_cheap(void **state UNUSED)
{
	lab_routed();
	struct conn c = lab_tcp('a', 'b', "10.2.0.1", 7001);
	int64_t found = time_look(&c, PEER_FOUND);
	lab_vanish(c.server);
	int64_t absent = time_look(&c, PEER_ABSENT);
	close(c.client);
	close(c.listener);
	nft("r", "table ip t { chain c { type nat hook postrouting priority "
		 "100; oifname tob masquerade; }; }");
	c = lab_tcp('a', 'b', "10.2.0.1", 7001);
	int64_t nat = time_look(&c, PEER_FOUND);
	lab_close(&c);
	print_message("peer, 1000 suspects behind a router: found %lld us, "
		      "absent %lld us, found through NAT %lld us\n",
		      (long long)found, (long long)absent, (long long)nat);
	assert_true(found < 2000000 && absent < 2000000 && nat < 2000000);
}

#define LAB(f) cmocka_unit_test_teardown(f, lab_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		LAB(test_direct_peer_is_found_and_then_absent),
		LAB(test_second_look_counts_and_a_new_answer_replaces),
		LAB(test_peer_on_loopback_and_on_an_own_address),
		LAB(test_peer_behind_a_router),
		LAB(test_peer_on_a_bridge),
		LAB(test_peer_on_a_bridge_whose_host_does_nat),
		LAB(test_masqueraded_peer_is_followed),
		LAB(test_redirected_peer_is_followed),
		LAB(test_lost_nat_entry_is_never_proof),
		LAB(test_entry_of_one_direction_is_never_proof),
		LAB(test_colliding_routes_are_not_mixed_up),
		LAB(test_proxy_on_the_way_is_the_peer),
		LAB(test_ipv6_and_mapped_peers),
		LAB(test_ipv6_router_that_does_not_forward),
		LAB(test_cut_path_is_never_proof),
		LAB(test_only_owner_of_the_address_is_a_hint),
		LAB(test_what_may_rewrite_packets_is_never_proof),
		LAB(test_same_address_elsewhere_is_not_the_peer),
		LAB(test_namespace_that_is_not_seen_is_elsewhere),
		LAB(test_peer_bound_to_a_device_is_found),
		LAB(test_peer_killed_by_ss_is_absent),
		LAB(test_peer_that_closed_is_found_in_its_state),
		LAB(test_no_namespace_stays_open_after_a_look),
		LAB(test_without_rights_found_is_found_absent_is_doubt),
		LAB(test_thousand_suspects_are_cheap),
	};

	return cmocka_run_group_tests(tests, NULL, lab_teardown);
}
