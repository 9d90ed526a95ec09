/* SPDX-License-Identifier: Apache-2.0 */
#include "netwatch/netwatch.h"

#include <netinet/tcp.h>

#include "base/cleanup.h"
#include "netwatch/netns.h"
#include "netwatch/replay.h"
#include "tests/unit/sockets.h"
#include "tests/unit/unit.h"

/* The target is this very process: its sockets are at hand for the truth. */
struct look {
	struct process *self;
	struct arena *arena;
	struct process_fds fds;
	struct netwatch *nw;
	struct tcp_snapshot *snap;
};

static void look_open(struct look *l, const struct netwatch_options *opt)
{
	memset(l, 0, sizeof(*l));
	l->arena = arena_create();
	assert_ok(process_open(getpid(), &l->self));
	assert_ok(process_fds(l->self, l->arena, &l->fds));
	assert_ok(netwatch_open(l->self, opt, &l->nw));
}

static void look_take(struct look *l)
{
	assert_ok(netwatch_take(l->nw, &l->fds, &l->snap));
}

static void look_close(struct look *l)
{
	tcp_snapshot_destroy(l->snap);
	netwatch_close(l->nw);
	process_close(l->self);
	arena_destroy(l->arena);
}

static void assert_gaps(const struct tcp_snapshot *snap, size_t n)
{
	for (size_t i = 0; i < snap->gaps.n && snap->gaps.n != n; i++)
		print_message("gap %s %d: %s\n",
			      gap_kind_name(snap->gaps.v[i].kind),
			      (int)snap->gaps.v[i].count, snap->gaps.v[i].text);
	assert_int_equal(snap->gaps.n, n);
}

static void assert_seen(const struct look *l, int fd, enum tcp_state state,
			uint64_t netns)
{
	struct truth t = truth_of(fd);
	const struct tcp_socket *s = tcp_snapshot_find(l->snap, t.inode);

	assert_non_null(s);
	assert_int_equal(s->first.state, state);
	assert_int_equal(s->cookie, t.cookie);
	assert_true(endpoint_equal(&s->local, &t.local));
	if (t.remote.port)
		assert_true(endpoint_equal(&s->remote, &t.remote));
	assert_int_equal(s->netns, netns);
}

static void test_every_tcp_socket_is_seen_and_nothing_else(void **state UNUSED)
{
	struct pair p[3] = { make_pair(PLAIN4), make_pair(PLAIN6),
			     make_pair(MAPPED) };
	int unconnected = socket(AF_INET6, SOCK_STREAM, 0);
	int bound = socket(AF_INET, SOCK_STREAM, 0);
	struct sockaddr_storage where = loopback(PLAIN4, 0);
	int others[4] = { socket(AF_INET, SOCK_DGRAM, 0),
			  socket(AF_NETLINK, SOCK_RAW, 0) };
	uint64_t here = netns_own();
	struct look l;

	assert_int_equal(bind(bound, (void *)&where, sizeof(where)), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, others + 2), 0);
	int again = dup(p[0].client);
	look_open(&l, NULL);
	look_take(&l);
	assert_true(l.snap->consistent);
	assert_gaps(l.snap, 0);
	for (int i = 0; i < 3; i++) {
		assert_seen(&l, p[i].client, TCP_STATE_ESTABLISHED, here);
		assert_seen(&l, p[i].server, TCP_STATE_ESTABLISHED, here);
		assert_seen(&l, p[i].listener, TCP_STATE_LISTEN, here);
		close_pair(&p[i]);
	}
	if (geteuid() == 0) { // without CAP_NET_ADMIN: namespace not known
		assert_seen(&l, unconnected, TCP_STATE_CLOSE, here);
		assert_seen(&l, bound, TCP_STATE_CLOSE, here);
	}
	assert_int_equal(l.snap->n, 9 + 2);
	look_close(&l);
	close(again);
	close(unconnected);
	close(bound);
	for (int i = 0; i < 4; i++)
		close(others[i]);
}

static struct error *make_pair_inside(void *arg)
{
	*(struct pair *)arg = make_pair(PLAIN6);
	return NULL;
}

static void test_socket_in_another_namespace_is_seen_there(void **state UNUSED)
{
	AUTO_CLOSE int ns = new_netns();
	struct pair p, q;
	struct look l;

	NEEDS("CAP_SYS_ADMIN", ns >= 0);
	q = make_pair(PLAIN4);
	assert_ok(netns_run(ns, make_pair_inside, &p));
	look_open(&l, NULL);
	look_take(&l);
	assert_gaps(l.snap, 0);
	assert_seen(&l, p.client, TCP_STATE_ESTABLISHED, netns_inode(ns));
	assert_seen(&l, p.listener, TCP_STATE_LISTEN, netns_inode(ns));
	assert_seen(&l, q.client, TCP_STATE_ESTABLISHED, netns_own());
	assert_int_equal(l.snap->n, 6);
	// and the second sample is asked for there too
	struct tcp_socket *s =
		tcp_snapshot_find(l.snap, truth_of(p.server).inode);
	assert_int_equal(write(p.client, "x", 1), 1);
	assert_ok(netwatch_resample(l.nw, &s, 1));
	assert_int_equal(s->second_state, TCP_SAMPLED);
	assert_int_equal(s->second.rqueue, 1);
	look_close(&l);
	close_pair(&p);
	close_pair(&q);
}

/* An MPTCP connection on loopback, or false where there is no MPTCP. */
static bool mptcp_pair(struct pair *p)
{
	struct sockaddr_storage at = loopback(PLAIN4, 0);
	socklen_t len = sizeof(at);

	p->listener = socket(AF_INET, SOCK_STREAM, IPPROTO_MPTCP);
	if (p->listener < 0)
		return false;
	assert_int_equal(bind(p->listener, (void *)&at, len), 0);
	assert_int_equal(listen(p->listener, 1), 0);
	getsockname(p->listener, (void *)&at, &len);
	p->client = socket(AF_INET, SOCK_STREAM, IPPROTO_MPTCP);
	assert_int_equal(connect(p->client, (void *)&at, len), 0);
	p->server = accept(p->listener, NULL, NULL);
	assert_true(p->server >= 0);
	return true;
}

static void test_mptcp_connection_is_seen_and_marked(void **state UNUSED)
{
	struct net_facts facts;
	struct pair p = { -1, -1, -1 };
	struct look l;

	NEEDS("a kernel with MPTCP", mptcp_pair(&p));
	struct truth t = truth_of(p.client);
	look_open(&l, NULL);
	look_take(&l);
	assert_gaps(l.snap, 0);
	assert_int_equal(l.snap->n, 3);
	struct tcp_socket *s = tcp_snapshot_find(l.snap, t.inode);
	assert_non_null(s);
	assert_int_equal(s->first.state, TCP_STATE_ESTABLISHED);
	assert_true(endpoint_equal(&s->remote, &t.remote));
	assert_ok(netwatch_examine(l.nw, &l.fds, &s, 1, l.arena, &facts));
	assert_true(s->options.is_mptcp);
	assert_true(s->options.known || s->options.error == EOPNOTSUPP);
	assert_ok(netwatch_resample(l.nw, &s, 1));
	assert_int_equal(s->second_state, TCP_SAMPLED);
	look_close(&l);
	close_pair(&p);
}

static void test_fd_closed_meanwhile_is_a_gap(void **state UNUSED)
{
	struct pair p = make_pair(PLAIN4), q = make_pair(PLAIN4);
	struct look l;

	int other = socket(AF_INET, SOCK_STREAM, 0);
	look_open(&l, NULL);
	close(p.client);
	close(p.server);
	// the number is another socket's by now, which is in the list itself
	assert_int_equal(dup2(other, p.listener), p.listener);
	look_take(&l);
	assert_int_equal(l.snap->n, 3 + 1);
	assert_gaps(l.snap, 1);
	assert_int_equal(l.snap->gaps.v[0].kind, GAP_GONE);
	assert_int_equal(l.snap->gaps.v[0].count, 3);
	look_close(&l);
	close(other);
	close(p.listener);
	close_pair(&q);
}

static int take_as_nobody(void *arg)
{
	struct look *l = arg;

	if (setuid(65534) < 0)
		return 1;
	struct error *err = netwatch_take(l->nw, &l->fds, &l->snap);
	if (err) {
		fprintf(stderr, "%s\n", error_text(err));
		return 2;
	}
	uint64_t denied = 0;
	for (size_t i = 0; i < l->snap->gaps.n; i++) {
		if (l->snap->gaps.v[i].kind == GAP_DENIED)
			denied += l->snap->gaps.v[i].count;
	}
	return l->snap->n == 0 && denied >= 3 ? 0 : 3;
}

static void
test_denied_target_is_gaps_and_not_a_clean_table(void **state UNUSED)
{
	struct pair p;
	struct look l;

	NEEDS("root", geteuid() == 0);
	p = make_pair(PLAIN4);
	look_open(&l, NULL);
	in_child(take_as_nobody, &l);
	look_close(&l);
	close_pair(&p);
}

static void test_ended_target_is_gone(void **state UNUSED)
{
	AUTO_PROCESS struct process *p = NULL;
	AUTO_NETWATCH struct netwatch *nw = NULL;
	struct process_fds fds = { 0 };
	struct tcp_snapshot *snap = NULL;
	pid_t pid = child_start(NULL, NULL);

	assert_ok(process_open(pid, &p));
	assert_ok(netwatch_open(p, NULL, &nw));
	child_end(pid);
	assert_error(netwatch_take(nw, &fds, &snap), ERROR_GONE, "");
	assert_null(snap);
}

/* All sockets of @snap. */
static struct tcp_socket **every(struct tcp_snapshot *snap, struct arena *arena)
{
	struct tcp_socket **v = arena_array(arena, snap->n + 1, sizeof(*v));

	for (size_t i = 0; i < snap->n; i++)
		v[i] = &snap->v[i];
	return v;
}

static void test_examining_reads_the_settings_and_the_path(void **state UNUSED)
{
	struct pair p = make_pair(PLAIN4);
	int idle = 33;
	struct look l;

	setsockopt(p.client, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
	look_open(&l, NULL);
	look_take(&l);
	struct tcp_socket **s = every(l.snap, l.arena);
	struct net_facts *facts =
		arena_array(l.arena, l.snap->n, sizeof(*facts));
	assert_ok(netwatch_examine(l.nw, &l.fds, s, l.snap->n, l.arena, facts));
	for (size_t i = 0; i < l.snap->n; i++) {
		assert_true(s[i]->options.known);
		if (s[i]->inode == truth_of(p.client).inode)
			assert_int_equal(s[i]->options.keepidle_s, 33);
		if (s[i]->first.state == TCP_STATE_ESTABLISHED)
			assert_int_equal(facts[i].path.address_present,
					 FACT_YES);
	}
	assert_ok(netwatch_resample(l.nw, s, l.snap->n));
	assert_ok(netwatch_recheck(l.nw, s, l.snap->n, l.arena, facts));
	for (size_t i = 0; i < l.snap->n; i++)
		assert_int_equal(s[i]->second_state, TCP_SAMPLED);
	look_close(&l);
	close_pair(&p);
}

static void assert_same_text(const char *a, const char *b)
{
	assert_int_equal(!a, !b);
	if (a)
		assert_string_equal(a, b);
}

static void assert_same_facts(const struct net_facts *a,
			      const struct net_facts *b)
{
	assert_int_equal(a->path.address_present, b->path.address_present);
	assert_int_equal(a->path.route_present, b->path.route_present);
	assert_int_equal(a->path.carrier, b->path.carrier);
	assert_int_equal(a->path.neighbour_failed, b->path.neighbour_failed);
	assert_same_text(a->path.device, b->path.device);
	assert_same_text(a->path.next_hop, b->path.next_hop);
	assert_same_text(a->path.neighbour, b->path.neighbour);
	assert_int_equal(a->path.neighbour_age_ms, b->path.neighbour_age_ms);
	assert_same_text(a->path.unknown_why, b->path.unknown_why);
	assert_int_equal(a->peer.lookup, b->peer.lookup);
	assert_int_equal(a->peer.netns, b->peer.netns);
	assert_same_text(a->peer.netns_name, b->peer.netns_name);
	assert_int_equal(a->peer.peer_state, b->peer.peer_state);
	assert_int_equal(a->peer.peer_timer, b->peer.peer_timer);
	assert_same_text(a->peer.via, b->peer.via);
	assert_same_text(a->peer.why, b->peer.why);
	assert_int_equal(a->peer.first_wall_ms, b->peer.first_wall_ms);
	assert_int_equal(a->peer.at_wall_ms, b->peer.at_wall_ms);
	assert_int_equal(a->peer.times, b->peer.times);
}

static void assert_same_socket(const struct tcp_socket *a,
			       const struct tcp_socket *b)
{
	assert_int_equal(a->netns, b->netns);
	assert_true(endpoint_equal(&a->local, &b->local));
	assert_true(endpoint_equal(&a->remote, &b->remote));
	assert_int_equal(a->inode, b->inode);
	assert_int_equal(a->cookie, b->cookie);
	assert_int_equal(a->uid, b->uid);
	assert_int_equal(a->first.at_mono_ns, b->first.at_mono_ns);
	assert_int_equal(a->first.at_wall_ms, b->first.at_wall_ms);
	assert_int_equal(a->first.state, b->first.state);
	assert_memory_equal(&a->first.info, &b->first.info,
			    sizeof(a->first.info));
	assert_int_equal(a->second_state, b->second_state);
	if (a->second_state == TCP_SAMPLED) {
		assert_int_equal(a->second.at_mono_ns, b->second.at_mono_ns);
		assert_int_equal(a->second.state, b->second.state);
		assert_int_equal(a->second.rqueue, b->second.rqueue);
		assert_memory_equal(&a->second.info, &b->second.info,
				    sizeof(a->second.info));
	}
	assert_memory_equal(&a->options, &b->options, sizeof(a->options));
}

/* Take, examine, resample, recheck. */
static struct net_facts *whole_look(struct look *l)
{
	look_take(l);
	struct tcp_socket **s = every(l->snap, l->arena);
	struct net_facts *facts =
		arena_array(l->arena, l->snap->n + 1, sizeof(*facts));

	assert_ok(netwatch_examine(l->nw, &l->fds, s, l->snap->n, l->arena,
				   facts));
	assert_ok(netwatch_resample(l->nw, s, l->snap->n));
	assert_ok(netwatch_recheck(l->nw, s, l->snap->n, l->arena, facts));
	return facts;
}

static void test_replay_gives_what_was_recorded(void **state UNUSED)
{
	char path[] = "/tmp/stranded-record-XXXXXX";
	struct pair p = make_pair(PLAIN4), q = make_pair(MAPPED);
	int unconnected = socket(AF_INET, SOCK_STREAM, 0);
	struct netwatch_options record = { .record_to = path };
	struct netwatch_options replay = { .replay_from = path };
	struct look live, again = { .arena = arena_create() };

	close(mkstemp(path));
	close(p.client); // p.server is in CLOSE_WAIT now
	look_open(&live, &record);
	struct net_facts *a = whole_look(&live);
	assert_ok(netwatch_finish(live.nw));
	assert_ok(netwatch_open(NULL, &replay, &again.nw));
	struct net_facts *b = whole_look(&again);
	assert_int_equal(live.snap->n, 6);
	assert_int_equal(again.snap->n, live.snap->n);
	assert_int_equal(again.snap->consistent, live.snap->consistent);
	for (size_t i = 0; i < live.snap->n; i++) {
		assert_same_socket(&live.snap->v[i], &again.snap->v[i]);
		assert_same_facts(&a[i], &b[i]);
	}
	look_close(&live);
	tcp_snapshot_destroy(again.snap);
	netwatch_close(again.nw);
	arena_destroy(again.arena);
	unlink(path);
	close(p.server);
	close(p.listener);
	close_pair(&q);
	close(unconnected);
}

static void test_vanished_socket_and_gaps_are_replayed(void **state UNUSED)
{
	char path[] = "/tmp/stranded-record-XXXXXX";
	struct pair p = make_pair(PLAIN4), q = make_pair(PLAIN4);
	struct netwatch_options record = { .record_to = path };
	struct netwatch_options replay = { .replay_from = path };
	uint64_t inode = truth_of(p.server).inode;
	struct look live, again = { .arena = arena_create() };

	close(mkstemp(path));
	look_open(&live, &record);
	close_pair(&q);
	look_take(&live);
	struct tcp_socket *s = tcp_snapshot_find(live.snap, inode);
	abort_fd(p.server);
	assert_ok(netwatch_resample(live.nw, &s, 1));
	assert_int_equal(s->second_state, TCP_VANISHED);
	look_close(&live);
	assert_ok(netwatch_open(NULL, &replay, &again.nw));
	look_take(&again);
	assert_gaps(again.snap, 1);
	assert_int_equal(again.snap->gaps.v[0].kind, GAP_GONE);
	assert_int_equal(again.snap->gaps.v[0].count, 3);
	s = tcp_snapshot_find(again.snap, inode);
	struct tcp_socket *other =
		tcp_snapshot_find(again.snap, truth_of(p.client).inode);
	assert_ok(netwatch_resample(again.nw, &s, 1));
	assert_int_equal(s->second_state, TCP_VANISHED);
	assert_ok(netwatch_resample(again.nw, &other, 1));
	assert_int_equal(other->second_state, TCP_NOT_SAMPLED);
	struct net_facts facts;
	assert_ok(netwatch_examine(again.nw, NULL, &s, 1, again.arena, &facts));
	assert_int_equal(facts.peer.lookup, PEER_NOT_LOOKED);
	assert_string_equal(facts.peer.why, "not in the recording");
	assert_false(s->options.known);
	tcp_snapshot_destroy(again.snap);
	netwatch_close(again.nw);
	arena_destroy(again.arena);
	unlink(path);
	close(p.client);
	close(p.listener);
}

static void test_recording_on_a_full_disk_is_an_error(void **state UNUSED)
{
	struct netwatch_options full = { .record_to = "/dev/full" };
	struct netwatch_options nowhere = { .record_to = "/nonexistent/x" };
	struct netwatch *nw = NULL;
	struct pair p = make_pair(PLAIN4);
	struct look l;

	look_open(&l, &full);
	look_take(&l);
	assert_error(netwatch_finish(l.nw), ERROR_OS, "is not whole");
	assert_error(netwatch_open(l.self, &nowhere, &nw), ERROR_OS,
		     "cannot create '/nonexistent/x'");
	look_close(&l);
	close_pair(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			test_every_tcp_socket_is_seen_and_nothing_else),
		cmocka_unit_test(
			test_socket_in_another_namespace_is_seen_there),
		cmocka_unit_test(test_mptcp_connection_is_seen_and_marked),
		cmocka_unit_test(test_fd_closed_meanwhile_is_a_gap),
		cmocka_unit_test(
			test_denied_target_is_gaps_and_not_a_clean_table),
		cmocka_unit_test(test_ended_target_is_gone),
		cmocka_unit_test(
			test_examining_reads_the_settings_and_the_path),
		cmocka_unit_test(test_replay_gives_what_was_recorded),
		cmocka_unit_test(test_vanished_socket_and_gaps_are_replayed),
		cmocka_unit_test(test_recording_on_a_full_disk_is_an_error),
	};

	return cmocka_run_group_tests(tests, own_netns, NULL);
}
