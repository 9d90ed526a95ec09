/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <poll.h>
#include <time.h>

#include "netwatch/probe_priv.h"
#include "tests/unit/probelab.h"

#define N_ESTABLISHED 60
#define N_CLOSE_WAIT 4
#define N_ALL (N_ESTABLISHED + N_CLOSE_WAIT)

/* STRANDED_TEST_LONG=1 runs what is measured in minutes at full length. */
static int repeat(int small, int all)
{
	return getenv("STRANDED_TEST_LONG") ? all : small;
}

/*
 * Connections of this process, with SO_REUSEADDR set: most to a machine that
 * is silent, so that probing goes on, some half-closed to one that is not.
 */
static void open_many(int *fds)
{
	probe_lab();
	for (int i = 0; i < N_ALL; i++) {
		bool half = i >= N_ESTABLISHED;
		struct conn c =
			lab_tcp('a', 'b', "10.9.0.2", half ? 7001 : 7000);

		set_option(c.client, SOL_SOCKET, SO_REUSEADDR, 1);
		if (half) {
			set_option(c.client, IPPROTO_TCP, TCP_KEEPIDLE, 77 + i);
			shutdown(c.server, SHUT_WR);
		}
		fds[i] = c.client;
		close(c.listener);
	}
	drop_port(7000);
}

static struct probed *look(const int *fds)
{
	uint64_t inodes[N_ALL];

	for (int i = 0; i < N_ALL; i++)
		inodes[i] = inode_of(fds[i]);
	return probed_look(0, inodes, N_ALL);
}

/* Probe in a child, and kill that after @us; its guardian becomes our child. */
static void kill_in_the_middle(struct probed *r, bool shield, useconds_t us)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (!pid) {
		struct error *err = probed_try(r, 15000, shield);

		_exit(err != NULL);
	}
	usleep(us);
	kill(pid, SIGKILL);
	int64_t begin = clock_mono_ns();
	while (waitpid(-1, NULL, 0) > 0 || errno == EINTR)
		;
	assert_int_equal(errno, ECHILD);
	// it does not wait for the window to be over
	assert_true(clock_mono_ns() - begin < 5000000000);
}

static void assert_as_before(const int *fds, const struct settings *before)
{
	for (int i = 0; i < N_ALL; i++) {
		struct settings now = settings_of(fds[i]);

		assert_memory_equal(&now, &before[i], sizeof(now));
	}
	sh("test -z \"$(ip netns exec @a nft list tables | grep stranded)\"");
}

static void test_killed_anywhere_nothing_stays_changed(void **state UNUSED)
{
	struct settings before[N_ALL];
	int fds[N_ALL];
	int n = repeat(30, 200);
	unsigned seed = (unsigned)clock_mono_ns();

	open_many(fds);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	print_message("seed %u\n", seed);
	srand(seed);
	for (int i = 0; i < N_ALL; i++)
		before[i] = settings_of(fds[i]);
	struct probed *r = look(fds);
	for (int i = 0; i < n; i++) {
		// most of what changes does so in the first milliseconds
		useconds_t us = (useconds_t)rand() %
				(i % 4 ? 1 + (30000u << i % 3) : 1400000u);

		kill_in_the_middle(r, i % 2, us);
		assert_as_before(fds, before);
	}
	probed_end(r);
	lab_teardown(NULL);
}

/* The owner is stopped, so that it never comes to put anything back. */
static void test_stopped_owner_is_not_waited_for(void **state UNUSED)
{
	struct guard *guard = NULL;
	struct process *p = NULL;

	probe_lab();
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	struct conn c = lab_tcp('a', 'b', "10.9.0.2", 7000);
	struct settings before = settings_of(c.client);
	assert_ok(process_open(getpid(), &p));
	// a window of -4.9 s: the guardian's time is over in 100 ms
	assert_ok(guard_create(p, 1, NULL, 0, 100 - GUARD_MARGIN_MS, &guard));
	struct guard_entry *e = guard_entry(guard, 0);
	e->ref =
		(struct socket_ref){ c.client, inode_of(c.client), c.s.cookie };
	e->keepidle_s = (uint32_t)before.v[2];
	e->keepintvl_s = (uint32_t)before.v[3];
	e->keepcnt = (uint32_t)before.v[4];
	guard_note(e, GUARD_KEEPALIVE);
	set_option(c.client, SOL_SOCKET, SO_KEEPALIVE, 1);
	set_option(c.client, IPPROTO_TCP, TCP_KEEPCNT, 127);
	for (int i = 0; i < 200 && atomic_load(&e->kind); i++)
		usleep(10000);
	struct settings after = settings_of(c.client);
	assert_memory_equal(&after, &before, sizeof(after));
	assert_ok(guard_finish(guard));
	process_close(p);
	lab_close(&c);
	lab_teardown(NULL);
}

/* Stopped while keepalive runs on a dead connection: no fourth probe. */
static void test_stopped_prober_sends_no_fourth_probe(void **state UNUSED)
{
	struct timespec t = { .tv_sec = 9 };

	probe_lab();
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	struct conn c = lab_tcp('a', 'b', "10.9.0.2", 7000);
	shutdown(c.server, SHUT_WR);
	usleep(50000);
	drop_port(7000);
	uint64_t inode = inode_of(c.client);
	struct settings before = settings_of(c.client);
	struct tcp_socket was = lab_sample('a', c.client);
	struct probed *r = probed_look(0, &inode, 1);
	pid_t pid = fork();
	if (!pid)
		_exit(probed_try(r, 15000, false) != NULL);
	usleep(500000);
	assert_int_equal(option_of(c.client, SOL_SOCKET, SO_KEEPALIVE), 1);
	kill(pid, SIGSTOP);
	nanosleep(&t, NULL);
	struct settings after = settings_of(c.client);
	assert_memory_equal(&after, &before, sizeof(after));
	struct tcp_socket is = lab_sample('a', c.client);
	assert_int_equal(is.first.info.segs_out - was.first.info.segs_out, 3);
	kill(pid, SIGKILL);
	while (waitpid(-1, NULL, 0) > 0 || errno == EINTR)
		;
	probed_end(r);
	lab_close(&c);
	lab_teardown(NULL);
}

/* The program has another descriptor of the socket, and closed that one. */
static void test_other_descriptor_of_the_socket_is_found(void **state UNUSED)
{
	struct guard_entry e = { 0 };
	struct process *p = NULL;

	probe_lab();
	struct conn c = lab_tcp('a', 'b', "10.9.0.2", 7000);
	assert_ok(process_open(getpid(), &p));
	e.ref = (struct socket_ref){ c.client, inode_of(c.client), c.s.cookie };
	int other = fcntl(c.client, F_DUPFD_CLOEXEC, 600);
	assert_int_equal(dup2(c.server, c.client), c.client);
	set_option(c.server, SOL_SOCKET, SO_REUSEADDR, 0);
	guard_note(&e, GUARD_REUSEADDR);
	assert_int_equal(guard_restore(p, &e), 0);
	assert_int_equal(option_of(other, SOL_SOCKET, SO_REUSEADDR), 1);
	assert_int_equal(option_of(c.server, SOL_SOCKET, SO_REUSEADDR), 0);
	// and no descriptor at all: nothing to put back
	close(other);
	guard_note(&e, GUARD_REUSEADDR);
	assert_int_equal(guard_restore(p, &e), 0);
	assert_int_equal(atomic_load(&e.kind), GUARD_NOTHING);
	assert_int_equal(option_of(c.server, SOL_SOCKET, SO_REUSEADDR), 0);
	process_close(p);
	lab_close(&c);
	lab_teardown(NULL);
}

/* One byte to and fro, until told to stop; 1: an error or a wrong byte. */
static int ping_pong(int a, int b, int stop)
{
	struct pollfd p = { .fd = stop, .events = POLLIN };
	unsigned char byte = 0, got;
	uint64_t rounds = 0;

	for (;; rounds++, byte++) {
		if (write(a, &byte, 1) != 1 || read(b, &got, 1) != 1 ||
		    got != byte || write(b, &byte, 1) != 1 ||
		    read(a, &got, 1) != 1 || got != byte)
			return 1;
		if (rounds % 64 == 0 && poll(&p, 1, 0) > 0)
			return rounds < 100;
	}
}

/* Window probes as fast as they go, on a connection that is in full use. */
static void test_probes_do_not_disturb_a_busy_program(void **state UNUSED)
{
	int n = repeat(5000, 300000), stop[2];
	struct guard_entry entry = { 0 };
	struct process *p = NULL;
	int status;

	probe_lab();
	struct conn c = lab_tcp('a', 'b', "10.9.0.2", 7000);
	uint64_t inode = inode_of(c.client);
	set_option(c.client, SOL_SOCKET, SO_REUSEADDR, 1);
	assert_int_equal(pipe(stop), 0);
	pid_t pid = fork();
	if (!pid) {
		close(stop[1]);
		_exit(ping_pong(c.client, c.server, stop[0]));
	}
	assert_ok(process_open(pid, &p));
	int64_t begin = clock_mono_ns();
	for (int i = 0; i < n; i++) {
		struct probe_facts f = { 0 };
		struct shot shot = { .f = &f,
				     .entry = &entry,
				     .ref = { c.client, inode, c.s.cookie },
				     .base.state = TCP_STATE_ESTABLISHED };

		shot_fire(p, &shot);
		assert_int_equal(f.sent, 1);
		assert_int_equal(f.method, PROBE_BY_WINDOW);
	}
	print_message("%d probes in %lld ms\n", n,
		      (long long)(clock_mono_ns() - begin) / 1000000);
	close(stop[1]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(option_of(c.client, SOL_SOCKET, SO_REUSEADDR), 1);
	process_close(p);
	close(stop[0]);
	lab_close(&c);
	lab_teardown(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_teardown(name, lab_teardown)
		TEST(test_killed_anywhere_nothing_stays_changed),
		TEST(test_stopped_owner_is_not_waited_for),
		TEST(test_stopped_prober_sends_no_fourth_probe),
		TEST(test_other_descriptor_of_the_socket_is_found),
		TEST(test_probes_do_not_disturb_a_busy_program),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
