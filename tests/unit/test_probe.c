/* SPDX-License-Identifier: Apache-2.0 */
#include <linux/capability.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "tests/unit/probelab.h"

static struct conn connect_v4(int port)
{
	return lab_tcp('a', 'b', "10.9.0.2", port);
}

static const char *why_of(const struct probed *r, size_t i)
{
	return r->facts[i]->probe.why ? r->facts[i]->probe.why : "";
}

static void assert_refused(const struct probed *r, size_t i, const char *part)
{
	const struct probe_facts *f = &r->facts[i]->probe;

	if (f->result != PROBE_REFUSED || !strstr(why_of(r, i), part))
		fail_msg("is '%s: %s', should be refused: ...%s...",
			 probe_result_name(f->result), why_of(r, i), part);
	assert_int_equal(f->sent, 0);
}

static void assert_says(const struct verdict *v, const char *part)
{
	for (uint32_t i = 0; i < v->n_evidence; i++)
		if (strstr(v->evidence[i].text, part))
			return;
	fail_msg("no evidence says '%s'; the first is '%s'", part,
		 v->n_evidence ? v->evidence[0].text : "");
}

static void test_living_peer_answers_one_probe(void **state UNUSED)
{
	probe_lab();
	struct conn c = connect_v4(7000);
	int fds[] = { c.client, c.server };
	int64_t begin = clock_mono_ns();
	struct probed *r = probe_fds(fds, 2, 15000, false);

	assert_true(clock_mono_ns() - begin < 2000000000);
	for (size_t i = 0; i < 2; i++) {
		const struct probe_facts *f = &r->facts[i]->probe;
		struct verdict v = probed_verdict(r, i);

		assert_int_equal(f->result, PROBE_ANSWERED);
		assert_int_equal(f->method, PROBE_BY_WINDOW);
		assert_int_equal(f->sent, 1);
		assert_in_range(f->answered_ms, 0, 500);
		assert_true(f->segs_in >= 1);
		assert_int_equal(v.kind, VERDICT_ALIVE);
		assert_true(v.certain);
		assert_says(&v, "was answered");
	}
	probed_end(r);
	lab_close(&c);
	lab_teardown(NULL);
}

/* An accepted socket without SO_REUSEADDR would keep its server from binding
 * again (measured: EADDRINUSE). */
static void test_server_can_bind_again_after_a_probe(void **state UNUSED)
{
	struct sockaddr_storage any;
	int one = 1;

	probe_lab();
	struct conn c = connect_v4(7000);
	set_option(c.client, SOL_SOCKET, SO_REUSEADDR, 1);
	struct settings client = settings_of(c.client);
	struct settings server = settings_of(c.server);
	assert_int_equal(server.v[0], 1); // inherited from the listener
	int fds[] = { c.client, c.server };
	struct probed *r = probe_fds(fds, 2, 5000, false);

	assert_int_equal(r->facts[1]->probe.result, PROBE_ANSWERED);
	struct settings after = settings_of(c.client);
	assert_memory_equal(&after, &client, sizeof(after));
	after = settings_of(c.server);
	assert_memory_equal(&after, &server, sizeof(after));
	close(c.listener);
	c.listener = lab_socket('b', AF_INET);
	setsockopt(c.listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	socklen_t len = lab_address(AF_INET, "0.0.0.0", 7000, &any);
	assert_int_equal(bind(c.listener, (void *)&any, len), 0);
	probed_end(r);
	lab_close(&c);
	lab_teardown(NULL);
}

/* All at once: one lives, one machine is gone, one has forgotten. */
static void
test_gone_machine_is_silent_and_rebooted_one_resets(void **state UNUSED)
{
	probe_lab();
	struct conn alive = connect_v4(7000), gone = connect_v4(7001);
	struct conn rebooted = connect_v4(7002), half = connect_v4(7003);
	int fds[] = { alive.client, gone.client, rebooted.client, half.client };

	drop_port(7001);
	drop_port(7003);
	lab_vanish(rebooted.server);
	shutdown(half.client, SHUT_WR);
	usleep(1000);
	struct probed *r = probe_fds(fds, 4, 15000, false);
	const struct probe_facts *f = &r->facts[1]->probe;

	assert_int_equal(r->facts[0]->probe.result, PROBE_ANSWERED);
	assert_int_equal(f->result, PROBE_SILENCE);
	assert_int_equal(f->sent, 3);
	assert_int_equal(f->segs_in, 0);
	assert_int_equal(f->segs_out, 3);
	assert_in_range(f->waited_ms, 14500, 17000);
	assert_in_range(f->at_wall_ms[1] - f->at_wall_ms[0], 990, 2000);
	assert_in_range(f->at_wall_ms[2] - f->at_wall_ms[0], 4990, 6000);
	struct verdict v = probed_verdict(r, 1);
	assert_int_equal(v.kind, VERDICT_UNREACHABLE);
	assert_false(v.certain);
	assert_says(&v, "3 window probes of ours got no answer");
	assert_int_equal(state_of(gone.client), TCP_STATE_ESTABLISHED);

	assert_int_equal(r->facts[2]->probe.result, PROBE_RST);
	assert_false(r->facts[2]->probe.shielded);
	assert_int_equal(r->facts[2]->probe.sent, 1);
	assert_int_equal(state_of(rebooted.client), TCP_STATE_CLOSE);
	v = probed_verdict(r, 2);
	assert_int_equal(v.kind, VERDICT_HALF_OPEN);
	assert_true(v.certain);
	assert_says(&v, "RST");
	// FIN_WAIT1: the FIN of ours is being resent, which is a probe already
	assert_refused(r, 3, "resends are the probe");
	probed_end(r);
	close(alive.client), close(alive.server), close(alive.listener);
	lab_close(&gone);
	lab_close(&half);
	close(rebooted.client), close(rebooted.listener);
	lab_teardown(NULL);
}

static void no_tables(char ns)
{
	sh("test -z \"$(ip netns exec @%c nft list tables | grep stranded)\"",
	   ns);
}

static void test_shield_keeps_the_reset_from_the_program(void **state UNUSED)
{
	static const struct {
		int family;
		const char *addr;
	} rows[] = { { AF_INET, "10.9.0.2" },
		     { AF_INET6, "fd9::2" },
		     { AF_INET6, "::ffff:10.9.0.2" } };
	struct conn c[N_OF(rows)];
	int fds[N_OF(rows) + 1];

	probe_lab();
	struct conn alive = connect_v4(7010);
	for (size_t i = 0; i < N_OF(rows); i++) {
		c[i] = lab_connect('a', 'b', rows[i].family, rows[i].addr,
				   7000 + (int)i, AF_INET6, 7000 + (int)i);
		fds[i] = c[i].client;
		lab_vanish(c[i].server);
	}
	fds[N_OF(rows)] = alive.client;
	struct probed *r = probe_fds(fds, N_OF(fds), 15000, true);
	for (size_t i = 0; i < N_OF(rows); i++) {
		struct verdict v = probed_verdict(r, i);

		assert_int_equal(r->facts[i]->probe.result, PROBE_RST);
		assert_true(r->facts[i]->probe.shielded);
		assert_int_equal(v.kind, VERDICT_HALF_OPEN);
		assert_true(v.certain);
		assert_says(&v, "kept from the program");
		assert_int_equal(state_of(fds[i]), TCP_STATE_ESTABLISHED);
		close(c[i].client), close(c[i].listener);
	}
	assert_int_equal(r->facts[N_OF(rows)]->probe.result, PROBE_ANSWERED);
	no_tables('a');
	probed_end(r);
	lab_close(&alive);
	lab_teardown(NULL);
}

static void wait_for_state(int fd, int want)
{
	for (int i = 0; i < 200 && state_of(fd) != want; i++)
		usleep(5000);
	assert_int_equal(state_of(fd), want);
}

/* No window probe leaves in these states: the kernel's keepalive does. */
static void test_half_closed_are_probed_by_keepalive(void **state UNUSED)
{
	probe_lab();
	struct conn c = connect_v4(7000), dead = connect_v4(7001);
	int fds[] = { c.client, c.server, dead.client };

	set_option(c.client, IPPROTO_TCP, TCP_KEEPIDLE, 77);
	set_option(c.client, IPPROTO_TCP, TCP_KEEPINTVL, 11);
	set_option(c.client, IPPROTO_TCP, TCP_KEEPCNT, 3);
	shutdown(c.server, SHUT_WR);
	shutdown(dead.server, SHUT_WR);
	wait_for_state(c.client, TCP_STATE_CLOSE_WAIT);
	wait_for_state(c.server, TCP_STATE_FIN_WAIT2);
	wait_for_state(dead.client, TCP_STATE_CLOSE_WAIT);
	drop_port(7001);
	struct settings before[3];
	for (size_t i = 0; i < 3; i++)
		before[i] = settings_of(fds[i]);
	struct probed *r = probe_fds(fds, 3, 15000, false);

	for (size_t i = 0; i < 3; i++) {
		struct settings after = settings_of(fds[i]);

		assert_memory_equal(&after, &before[i], sizeof(after));
		assert_int_equal(r->facts[i]->probe.method, PROBE_BY_KEEPALIVE);
	}
	assert_int_equal(r->facts[0]->probe.result, PROBE_ANSWERED);
	assert_int_equal(r->facts[1]->probe.result, PROBE_ANSWERED);
	assert_int_equal(probed_verdict(r, 0).kind, VERDICT_HALF_CLOSED);
	const struct probe_facts *f = &r->facts[2]->probe;
	assert_int_equal(f->result, PROBE_SILENCE);
	assert_int_equal(f->sent, 3);
	assert_int_equal(f->segs_out, 3); // and not a fourth
	assert_true(verdict_probe_failed(f));
	assert_int_equal(probed_verdict(r, 2).kind, VERDICT_HALF_CLOSED);
	assert_int_equal(state_of(dead.client), TCP_STATE_CLOSE_WAIT);
	probed_end(r);
	lab_close(&c);
	lab_close(&dead);
	lab_teardown(NULL);
}

static void test_keepalive_never_where_it_could_kill(void **state UNUSED)
{
	probe_lab();
	struct conn timeout = connect_v4(7000), own = connect_v4(7001);
	struct conn window = connect_v4(7002), far = connect_v4(7003);
	int fds[] = { timeout.client, own.client, window.client, far.client };

	set_option(timeout.client, IPPROTO_TCP, TCP_USER_TIMEOUT, 5000);
	set_option(own.client, SOL_SOCKET, SO_KEEPALIVE, 1);
	set_option(window.client, IPPROTO_TCP, TCP_USER_TIMEOUT, 5000);
	set_option(window.client, SOL_SOCKET, SO_KEEPALIVE, 1);
	sh("ip netns exec @a sysctl -qw net.ipv4.tcp_keepalive_time=100000");
	shutdown(timeout.server, SHUT_WR);
	shutdown(own.server, SHUT_WR);
	shutdown(far.server, SHUT_WR);
	wait_for_state(timeout.client, TCP_STATE_CLOSE_WAIT);
	wait_for_state(own.client, TCP_STATE_CLOSE_WAIT);
	wait_for_state(far.client, TCP_STATE_CLOSE_WAIT);
	struct settings before = settings_of(timeout.client);
	struct probed *r = probe_fds(fds, 4, 15000, false);

	assert_refused(r, 0, "TCP_USER_TIMEOUT is set");
	assert_refused(r, 1, "own keepalive is on");
	assert_refused(r, 3, "could not be put back");
	// the window probe starts no timer that any of these could end
	assert_int_equal(r->facts[2]->probe.result, PROBE_ANSWERED);
	struct settings after = settings_of(timeout.client);
	assert_memory_equal(&after, &before, sizeof(after));
	struct verdict v = probed_verdict(r, 0);
	assert_int_equal(v.kind, VERDICT_HALF_CLOSED);
	assert_says(&v, "not probed: TCP_USER_TIMEOUT");
	probed_end(r);
	lab_close(&timeout);
	lab_close(&own);
	lab_close(&window);
	lab_close(&far);
	lab_teardown(NULL);
}

static void
test_data_in_flight_and_listeners_are_not_probed(void **state UNUSED)
{
	probe_lab();
	struct conn c = connect_v4(7000);
	int fds[] = { c.client, c.listener };

	drop_port(7000);
	assert_int_equal(write(c.client, "hello", 5), 5);
	uint64_t inodes[] = { inode_of(c.client), inode_of(c.listener) };
	struct probed *r = probed_look(0, inodes, 2);
	struct settings before = settings_of(c.client);
	assert_ok(probed_try(r, 15000, false));
	assert_refused(r, 0, "in flight");
	assert_refused(r, 1, "listener");
	struct settings after = settings_of(fds[0]);
	assert_memory_equal(&after, &before, sizeof(after));
	probed_end(r);
	lab_close(&c);
	lab_teardown(NULL);
}

/* The descriptor is another connection's by the time of the probe. */
static void test_reused_descriptor_is_left_alone(void **state UNUSED)
{
	probe_lab();
	struct conn old = connect_v4(7000), other = connect_v4(7001);
	uint64_t inode = inode_of(old.client);
	struct probed *r = probed_look(0, &inode, 1);
	int keep = fcntl(old.client, F_DUPFD_CLOEXEC, 500);

	set_option(other.client, SOL_SOCKET, SO_REUSEADDR, 1);
	assert_int_equal(dup2(other.client, old.client), old.client);
	struct settings before = settings_of(other.client);
	struct tcp_socket was = lab_sample('a', other.client);
	assert_ok(probed_try(r, 5000, false));
	assert_refused(r, 0, "another's");
	struct tcp_socket is = lab_sample('a', other.client);
	assert_int_equal(is.first.info.segs_out, was.first.info.segs_out);
	struct settings after = settings_of(other.client);
	assert_memory_equal(&after, &before, sizeof(after));
	probed_end(r);
	// and closed altogether: the connection ended before
	inode = inode_of(keep);
	r = probed_look(0, &inode, 1);
	close(keep);
	assert_ok(probed_try(r, 5000, false));
	assert_int_not_equal(r->facts[0]->probe.result, PROBE_RST);
	assert_int_equal(r->facts[0]->probe.sent, 0);
	probed_end(r);
	lab_close(&old);
	lab_close(&other);
	lab_teardown(NULL);
}

static int without_net_admin(void *arg)
{
	struct probed *r = arg;
	struct __user_cap_header_struct head = {
		.version = _LINUX_CAPABILITY_VERSION_3
	};
	struct __user_cap_data_struct data[2];

	if (syscall(SYS_capget, &head, data))
		return 10;
	for (int i = 0; i < 2; i++)
		data[i].inheritable = 0;
	data[0].effective &= ~(1u << CAP_NET_ADMIN);
	data[0].permitted &= ~(1u << CAP_NET_ADMIN);
	// the bounding set too: root's programs would be given it anew
	if (prctl(PR_CAPBSET_DROP, CAP_NET_ADMIN) ||
	    syscall(SYS_capset, &head, data))
		return 11;
	struct error *err = probed_try(r, 15000, false);
	if (err)
		return 12;
	const struct probe_facts *f = &r->facts[0]->probe;
	if (f->method != PROBE_BY_KEEPALIVE || f->result != PROBE_ANSWERED)
		return 20 + (int)f->result;
	// the shield that was asked for cannot be had: then nothing is sent
	r->facts[0]->probe.sent = 0;
	err = probed_try(r, 15000, true);
	if (!err)
		return 30;
	int rc = error_code(err) == ERROR_DENIED ? 0 : 31;
	error_free(err);
	return rc ? rc : (int)r->facts[0]->probe.sent;
}

static void test_without_net_admin_by_keepalive(void **state UNUSED)
{
	probe_lab();
	struct conn c = connect_v4(7000);
	uint64_t inode = inode_of(c.client);
	struct settings before = settings_of(c.client);
	struct probed *r = probed_look(0, &inode, 1);

	in_child(without_net_admin, r);
	struct settings after = settings_of(c.client);
	assert_memory_equal(&after, &before, sizeof(after));
	no_tables('a');
	probed_end(r);
	lab_close(&c);
	lab_teardown(NULL);
}

static void test_short_window_claims_nothing(void **state UNUSED)
{
	probe_lab();
	struct conn c = connect_v4(7000);
	int fd = c.client;

	drop_port(7000);
	struct probed *r = probe_fds(&fd, 1, 2000, false);
	struct verdict v = probed_verdict(r, 0);

	assert_int_equal(r->facts[0]->probe.sent, 2);
	assert_int_not_equal(v.kind, VERDICT_UNREACHABLE);
	assert_int_not_equal(v.kind, VERDICT_HALF_OPEN);
	assert_says(&v, "2 window probes of ours got no answer");
	assert_says(&v, "longer --window");
	probed_end(r);
	lab_close(&c);
	lab_teardown(NULL);
}

static struct error *make_mptcp(void *arg)
{
	*(int *)arg = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 262);
	return NULL;
}

static int mptcp_socket(char ns)
{
	int fd = -1, nsfd = lab_fd(ns);

	assert_ok(netns_run(nsfd, make_mptcp, &fd));
	close(nsfd);
	NEEDS("a kernel with MPTCP", fd >= 0);
	return fd;
}

/* The kernel refuses TCP_REPAIR there, and TCP_USER_TIMEOUT both ways. */
static void test_mptcp_is_probed_by_keepalive(void **state UNUSED)
{
	struct sockaddr_storage sa;

	probe_lab();
	int listener = mptcp_socket('b'), client = mptcp_socket('a');
	socklen_t len = lab_address(AF_INET, "10.9.0.2", 7000, &sa);
	assert_int_equal(bind(listener, (void *)&sa, len), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(connect(client, (void *)&sa, len), 0);
	int server = accept(listener, NULL, NULL);
	assert_true(server >= 0);
	usleep(50000); // what the handshake of the second flow still sends
	struct settings before = settings_of(client);
	struct probed *r = probe_fds(&client, 1, 8000, false);

	assert_int_equal(r->facts[0]->probe.method, PROBE_BY_KEEPALIVE);
	assert_int_equal(r->facts[0]->probe.result, PROBE_ANSWERED);
	struct settings after = settings_of(client);
	assert_memory_equal(&after, &before, sizeof(after));
	probed_end(r);
	close(client), close(server), close(listener);
	lab_teardown(NULL);
}

/* It closes the moment it is told, long before anybody looks again. */
static void test_reset_of_a_program_that_closes_at_once(void **state UNUSED)
{
	probe_lab();
	struct conn c = connect_v4(7000);
	uint64_t inode = inode_of(c.client);

	// FIN_WAIT2: keepalive, so that nobody looks when the reset comes
	shutdown(c.client, SHUT_WR);
	wait_for_state(c.client, TCP_STATE_FIN_WAIT2);
	int fd = c.client;
	pid_t pid = fork();
	if (!pid) {
		char byte;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(c.server), close(c.listener);
		if (read(fd, &byte, 1) < 0)
			close(fd);
		for (;;)
			pause();
	}
	lab_vanish(c.server);
	close(fd), close(c.listener);
	struct probed *r = probed_look(pid, &inode, 1);
	assert_ok(probed_try(r, 15000, false));
	const struct probe_facts *f = &r->facts[0]->probe;

	if (f->result != PROBE_RST)
		fail_msg("is '%s: %s', should be a reset",
			 probe_result_name(f->result), why_of(r, 0));
	assert_int_equal(f->method, PROBE_BY_KEEPALIVE);
	assert_int_equal(f->sent, 1);
	child_end(pid);
	probed_end(r);
	lab_teardown(NULL);
}

static void test_orderly_end_is_no_reset(void **state UNUSED)
{
	probe_lab();
	struct conn c = connect_v4(7000);
	uint64_t inode = inode_of(c.client);
	pid_t pid = fork();

	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(c.server), close(c.listener);
		usleep(1500000);
		close(c.client);
		for (;;)
			pause();
	}
	close(c.client);
	drop_port(7000); // so that the probe goes on until then
	struct probed *r = probed_look(pid, &inode, 1);
	assert_ok(probed_try(r, 4000, false));
	assert_int_not_equal(r->facts[0]->probe.result, PROBE_RST);
	assert_int_not_equal(probed_verdict(r, 0).kind, VERDICT_HALF_OPEN);
	child_end(pid);
	probed_end(r);
	close(c.server), close(c.listener);
	lab_teardown(NULL);
}

/* All at once, and within the window; a thousand with STRANDED_TEST_LONG=1. */
static void test_many_take_one_window(void **state UNUSED)
{
	bool all = getenv("STRANDED_TEST_LONG") != NULL;
	size_t n = all ? 1000 : 100;
	int64_t window_ms = all ? 15000 : 3000;
	uint64_t *inodes = calloc(n, sizeof(*inodes));
	int *fds = calloc(n, sizeof(*fds));
	struct rlimit limit = { 4096, 4096 };

	setrlimit(RLIMIT_NOFILE, &limit);
	probe_lab();
	for (size_t i = 0; i < n; i++) {
		struct conn c = connect_v4(7000);

		fds[i] = c.client;
		inodes[i] = inode_of(c.client);
		lab_vanish(c.server);
		close(c.listener);
	}
	drop_port(7000);
	struct probed *r = probed_look(0, inodes, n);
	int64_t begin = clock_mono_ns();
	assert_ok(probed_try(r, window_ms, true));
	int64_t took = (clock_mono_ns() - begin) / 1000000;
	print_message("%zu connections: %lld ms\n", n, (long long)took);
	assert_in_range(took, window_ms, window_ms + 5000);
	for (size_t i = 0; i < n; i++) {
		const struct probe_facts *f = &r->facts[i]->probe;

		assert_int_equal(f->result, PROBE_SILENCE);
		assert_int_equal(f->sent, all ? 3 : 2);
		assert_true(f->at_wall_ms[1] - f->at_wall_ms[0] >= 600);
		close(fds[i]);
	}
	no_tables('a');
	probed_end(r);
	free(fds);
	free(inodes);
	lab_teardown(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_teardown(name, lab_teardown)
		TEST(test_living_peer_answers_one_probe),
		TEST(test_server_can_bind_again_after_a_probe),
		TEST(test_gone_machine_is_silent_and_rebooted_one_resets),
		TEST(test_shield_keeps_the_reset_from_the_program),
		TEST(test_half_closed_are_probed_by_keepalive),
		TEST(test_keepalive_never_where_it_could_kill),
		TEST(test_data_in_flight_and_listeners_are_not_probed),
		TEST(test_reused_descriptor_is_left_alone),
		TEST(test_without_net_admin_by_keepalive),
		TEST(test_short_window_claims_nothing),
		TEST(test_mptcp_is_probed_by_keepalive),
		TEST(test_reset_of_a_program_that_closes_at_once),
		TEST(test_orderly_end_is_no_reset),
		TEST(test_many_take_one_window),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
