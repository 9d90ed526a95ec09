/* SPDX-License-Identifier: Apache-2.0 */
#include "netwatch/path.h"
#include "tests/unit/netlab.h"

static struct path_facts examine(struct arena *arena, char ns,
				 struct tcp_socket *s)
{
	struct path_netns open = { .fd = lab_fd(ns) };
	struct net_facts facts;

	open.inode = netns_inode(open.fd);
	memset(&facts, 0xa5, sizeof(facts));
	assert_ok(path_examine(&open, 1, &s, 1, arena, &facts));
	close(open.fd);
	return facts.path;
}

static void assert_facts(char ns, struct tcp_socket *s, enum fact address,
			 enum fact route, enum fact carrier, enum fact failed)
{
	struct arena *arena = arena_create();
	struct path_facts f = examine(arena, ns, s);

	if (f.address_present != address || f.route_present != route ||
	    f.carrier != carrier || f.neighbour_failed != failed)
		fail_msg(
			"address %d route %d carrier %d failed %d (%s), should "
			"be %d %d %d %d",
			f.address_present, f.route_present, f.carrier,
			f.neighbour_failed, f.unknown_why ? f.unknown_why : "",
			address, route, carrier, failed);
	arena_destroy(arena);
}

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

/* a's address goes, the way to the gateway stays. */
static void another_address_instead(void)
{
	sh("ip -n @a addr del 10.1.0.1/24 dev tor");
	sh("ip -n @a addr add 10.1.0.9/24 dev tor");
	sh("ip -n @a route replace default via 10.1.0.254");
}

static void test_healthy_path_has_next_hop_and_device(void **state UNUSED)
{
	lab_routed();
	struct conn c = lab_tcp('a', 'b', "10.2.0.1", 7001);
	struct arena *arena = arena_create();
	struct path_facts f = examine(arena, 'a', &c.s);

	assert_facts('a', &c.s, FACT_YES, FACT_YES, FACT_YES, FACT_NO);
	assert_string_equal(f.device, "tor");
	assert_string_equal(f.next_hop, "10.1.0.254");
	assert_non_null(f.neighbour);
	assert_null(f.unknown_why);
	arena_destroy(arena);
	lab_close(&c);
}

static void test_each_local_cause_is_seen(void **state UNUSED)
{
	lab_routed();
	struct conn c = lab_tcp('a', 'b', "10.2.0.1", 7001);

	another_address_instead();
	assert_facts('a', &c.s, FACT_NO, FACT_YES, FACT_YES, FACT_NO);
	sh("ip -n @a addr add 10.1.0.1/24 dev tor");
	assert_facts('a', &c.s, FACT_YES, FACT_YES, FACT_YES, FACT_NO);
	sh("ip -n @a route del default");
	assert_facts('a', &c.s, FACT_YES, FACT_NO, FACT_UNKNOWN, FACT_UNKNOWN);
	sh("ip -n @a route add blackhole default");
	assert_facts('a', &c.s, FACT_YES, FACT_NO, FACT_UNKNOWN, FACT_UNKNOWN);
	sh("ip -n @a route replace default via 10.1.0.254");
	sh("ip -n @r link set toa down");
	assert_facts('a', &c.s, FACT_YES, FACT_YES, FACT_NO, FACT_NO);
	sh("ip -n @r link set toa up");
	lab_close(&c);
}

static void test_neighbour_that_failed_is_seen_with_its_age(void **state UNUSED)
{
	lab_needs();
	lab_netns("ab");
	lab_pair('a', "10.1.0.1/24", 'b', "10.1.0.2/24");
	struct conn c = lab_tcp('a', 'b', "10.1.0.2", 7001);
	struct arena *arena = arena_create();

	sh("ip -n @a neigh replace 10.1.0.2 dev tob nud failed");
	struct path_facts f = examine(arena, 'a', &c.s);
	assert_int_equal(f.neighbour_failed, FACT_YES);
	assert_string_equal(f.neighbour, "FAILED");
	assert_null(f.next_hop); // on link
	assert_in_range(f.neighbour_age_ms, 0, 5000);
	arena_destroy(arena);
	lab_close(&c);
}

static void test_address_of_the_tables_alone_counts(void **state UNUSED)
{
	lab_routed();
	struct conn c = lab_tcp('a', 'b', "10.2.0.1", 7001);

	another_address_instead();
	struct arena *arena = arena_create();
	assert_int_equal(examine(arena, 'a', &c.s).address_present, FACT_NO);
	sh("ip -n @a route add local 10.1.0.1/32 dev lo"); // AnyIP
	assert_int_equal(examine(arena, 'a', &c.s).address_present, FACT_YES);
	sh("ip -n @a route del local 10.1.0.1/32 dev lo");
	sh("ip -n @a rule add fwmark 1 lookup 100"); // as for TPROXY
	struct path_facts f = examine(arena, 'a', &c.s);
	assert_int_equal(f.address_present, FACT_UNKNOWN);
	assert_int_equal(f.route_present, FACT_YES);
	assert_non_null(strstr(f.unknown_why, "transparent proxy"));
	arena_destroy(arena);
	lab_close(&c);
}

static void test_loopback_ipv6_and_link_local(void **state UNUSED)
{
	lab_needs();
	lab_netns("ab");
	lab_pair('a', "fd00::1/64", 'b', "fd00::2/64");
	sh("ip -n @a addr add fe80::aa/64 dev tob nodad");
	sh("ip -n @b addr add fe80::bb/64 dev toa nodad");
	struct conn lo = lab_tcp('a', 'a', "127.0.0.1", 7001);
	struct conn six = lab_connect('a', 'b', AF_INET6, "fd00::2", 7002,
				      AF_INET6, 7002);

	assert_facts('a', &lo.s, FACT_YES, FACT_YES, FACT_YES, FACT_NO);
	sh("ip -n @a link set lo down");
	assert_facts('a', &lo.s, FACT_YES, FACT_YES, FACT_NO, FACT_NO);
	assert_facts('a', &six.s, FACT_YES, FACT_YES, FACT_YES, FACT_NO);
	sh("ip -n @a addr del fd00::1/64 dev tob");
	struct arena *arena = arena_create();
	struct path_facts f = examine(arena, 'a', &six.s);
	assert_int_equal(f.address_present, FACT_NO);
	struct tcp_socket near = six.s;
	near.local.addr[0] = near.remote.addr[0] = 0xfe;
	near.local.addr[1] = near.remote.addr[1] = 0x80;
	near.local.addr[15] = 0xaa;
	near.remote.addr[15] = 0xbb;
	near.ifindex = near.local.scope = near.remote.scope = 2;
	f = examine(arena, 'a', &near);
	assert_int_equal(f.address_present, FACT_YES);
	assert_int_equal(f.route_present, FACT_YES);
	assert_string_equal(f.device, "tob");
	arena_destroy(arena);
	lab_close(&lo);
	lab_close(&six);
}

static void test_unknown_namespace_is_unknown_not_fine(void **state UNUSED)
{
	lab_needs();
	lab_netns("ab");
	lab_pair('a', "10.1.0.1/24", 'b', "10.1.0.2/24");
	struct conn c = lab_tcp('a', 'b', "10.1.0.2", 7001);
	struct arena *arena = arena_create();
	struct path_facts f = examine(arena, 'b', &c.s);

	assert_int_equal(f.address_present, FACT_UNKNOWN);
	assert_int_equal(f.route_present, FACT_UNKNOWN);
	assert_int_equal(f.carrier, FACT_UNKNOWN);
	assert_string_equal(f.unknown_why, "its network namespace is not open");
	arena_destroy(arena);
	lab_close(&c);
}

static void test_thousand_suspects_are_cheap(void **state UNUSED)
{
	enum { N = 1000 };
	static struct tcp_socket many[N], *v[N];
	static struct net_facts facts[N];

	lab_routed();
	struct conn c = lab_tcp('a', 'b', "10.2.0.1", 7001);
	struct arena *arena = arena_create();
	struct path_netns open = { .fd = lab_fd('a') };
	open.inode = netns_inode(open.fd);
	for (int i = 0; i < N; i++) {
		many[i] = c.s;
		many[i].remote.port = (uint16_t)(1000 + i);
		many[i].remote.addr[3] = (uint8_t)(i % 8);
		v[i] = &many[i];
	}
	int64_t from = clock_mono_ns();
	assert_ok(path_examine(&open, 1, v, N, arena, facts));
	int64_t took = clock_mono_ns() - from;
	print_message("path: %d suspects in %lld us\n", N,
		      (long long)took / 1000);
	assert_true(took < 200 * 1000000); // 2 ms here; no thousand dumps
	for (int i = 0; i < N; i++)
		assert_int_equal(facts[i].path.route_present, FACT_YES);
	close(open.fd);
	arena_destroy(arena);
	lab_close(&c);
}

#define LAB(f) cmocka_unit_test_teardown(f, lab_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		LAB(test_healthy_path_has_next_hop_and_device),
		LAB(test_each_local_cause_is_seen),
		LAB(test_neighbour_that_failed_is_seen_with_its_age),
		LAB(test_address_of_the_tables_alone_counts),
		LAB(test_loopback_ipv6_and_link_local),
		LAB(test_unknown_namespace_is_unknown_not_fine),
		LAB(test_thousand_suspects_are_cheap),
	};

	return cmocka_run_group_tests(tests, NULL, lab_teardown);
}
