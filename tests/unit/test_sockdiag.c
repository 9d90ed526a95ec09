/* SPDX-License-Identifier: Apache-2.0 */
#include "netwatch/sockdiag.h"

#include <dlfcn.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <netlink/errno.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>

#include "tests/unit/sockets.h"

/*
 * The kernel does not lose or interrupt dumps on request. So these two stand
 * before libnl's, pass everything on, and on the way do what a busy kernel
 * does. Nothing is made up but the one flag, field or return value.
 */
static struct {
	unsigned dumps;	    // dump requests that were sent
	unsigned interrupt; // so many first answers of dumps get DUMP_INTR
	unsigned lose;	    // so many receives fail as ENOBUFS does
	unsigned cut;	    // so many bytes of the next answer are missing
	bool silent;	    // no answer comes
	uint8_t protocol;   // ask for this one instead of TCP
	bool first_answer;
} seam;

int nl_send(struct nl_sock *sk, struct nl_msg *msg)
{
	static int (*real)(struct nl_sock *, struct nl_msg *);
	struct nlmsghdr *nlh = nlmsg_hdr(msg);

	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "nl_send");
	if (nlh->nlmsg_flags & NLM_F_DUMP) {
		struct inet_diag_req_v2 *req = nlmsg_data(nlh);

		seam.dumps++;
		seam.first_answer = true;
		if (seam.protocol)
			req->sdiag_protocol = seam.protocol;
	}
	return real(sk, msg);
}

int nl_recv(struct nl_sock *sk, struct sockaddr_nl *nla, unsigned char **buf,
	    struct ucred **creds)
{
	static int (*real)(struct nl_sock *, struct sockaddr_nl *,
			   unsigned char **, struct ucred **);

	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "nl_recv");
	if (seam.silent)
		return -NLE_AGAIN;
	if (seam.lose && seam.lose--)
		return -NLE_NOMEM;
	int n = real(sk, nla, buf, creds);
	if (n > 0 && seam.first_answer && seam.interrupt) {
		seam.interrupt--;
		((struct nlmsghdr *)*buf)->nlmsg_flags |= NLM_F_DUMP_INTR;
	}
	seam.first_answer = false;
	if (n > 0 && seam.cut) {
		n -= seam.cut;
		seam.cut = 0;
	}
	return n;
}

static int open_diag(void **state)
{
	struct sockdiag *diag = NULL;

	memset(&seam, 0, sizeof(seam));
	if (sockdiag_open(-1, NULL, &diag))
		return -1;
	*state = diag;
	return 0;
}

static int close_diag(void **state)
{
	sockdiag_close(*state);
	return 0;
}

static void assert_endpoint(const struct endpoint *got,
			    const struct endpoint *want)
{
	char a[ENDPOINT_TEXT_MAX], b[ENDPOINT_TEXT_MAX];

	endpoint_format(got, a);
	endpoint_format(want, b);
	assert_string_equal(a, b);
	assert_true(endpoint_equal(got, want));
}

static void assert_is(const struct tcp_socket *s, const struct truth *t)
{
	assert_non_null(s);
	assert_endpoint(&s->local, &t->local);
	if (t->remote.port)
		assert_endpoint(&s->remote, &t->remote);
	assert_int_equal(s->cookie, t->cookie);
	assert_int_equal(s->inode, t->inode);
	assert_int_equal(s->uid, geteuid());
}

static struct tcp_snapshot *dump(struct sockdiag *diag,
				 const struct sockdiag_filter *filter)
{
	struct tcp_snapshot *snap = NULL;
	struct error *err = sockdiag_dump(diag, filter, &snap);

	if (err)
		fail_msg("%s", error_text(err));
	return snap;
}

static void found_by_inode(struct sockdiag *diag, enum flavour f)
{
	struct pair p = make_pair(f);
	struct truth t = truth_of(p.server), l = truth_of(p.listener);
	AUTO_SOCKETS struct tcp_snapshot *snap = NULL;

	assert_int_equal(write(p.client, "hello", 5), 5);
	snap = dump(diag, NULL);
	assert_true(snap->consistent);
	assert_int_equal(snap->gaps.n, 0);
	struct tcp_socket *s = tcp_snapshot_find(snap, t.inode);
	assert_is(s, &t);
	assert_int_equal(s->first.state, TCP_STATE_ESTABLISHED);
	assert_int_equal(s->first.rqueue, 5);
	assert_int_equal(s->netns, sockdiag_netns(diag));
	assert_true(s->first.at_mono_ns > 0);
	s = tcp_snapshot_find(snap, l.inode);
	assert_is(s, &l);
	assert_int_equal(s->first.state, TCP_STATE_LISTEN);
	assert_int_equal(s->first.wqueue, 16); // the backlog asked for
	close_pair(&p);
}

static void test_ipv4_pair_is_found_by_inode(void **state)
{
	found_by_inode(*state, PLAIN4);
}

static void test_ipv6_pair_is_found_by_inode(void **state)
{
	found_by_inode(*state, PLAIN6);
}

static void test_v4mapped_pair_is_found_by_inode(void **state)
{
	found_by_inode(*state, MAPPED);
}

static void test_filter_keeps_the_asked_for_sockets_only(void **state)
{
	struct pair a = make_pair(PLAIN4), b = make_pair(PLAIN6);
	uint64_t inodes[2] = { truth_of(a.client).inode,
			       truth_of(b.server).inode };

	if (inodes[0] > inodes[1]) {
		uint64_t first = inodes[0];

		inodes[0] = inodes[1];
		inodes[1] = first;
	}
	struct sockdiag_filter filter = { .inodes = inodes, .n_inodes = 2 };
	AUTO_SOCKETS struct tcp_snapshot *two = dump(*state, &filter);
	assert_int_equal(two->n, 2);
	assert_int_equal(two->v[0].inode, inodes[0]);
	assert_int_equal(two->v[1].inode, inodes[1]);
	filter.n_inodes = 0;
	AUTO_SOCKETS struct tcp_snapshot *none = dump(*state, &filter);
	assert_int_equal(none->n, 0);
	struct sockdiag_filter listeners = { .states = 1u << TCP_STATE_LISTEN };
	AUTO_SOCKETS struct tcp_snapshot *l = dump(*state, &listeners);
	assert_true(l->n >= 2);
	for (size_t i = 0; i < l->n; i++)
		assert_int_equal(l->v[i].first.state, TCP_STATE_LISTEN);
	close_pair(&a);
	close_pair(&b);
}

static void test_snapshot_ascends_by_inode_and_has_every_socket(void **state)
{
	struct pair p[40];

	for (size_t i = 0; i < 40; i++)
		p[i] = make_pair(i % 3);
	AUTO_SOCKETS struct tcp_snapshot *snap = dump(*state, NULL);
	for (size_t i = 1; i < snap->n; i++)
		assert_true(snap->v[i - 1].inode <= snap->v[i].inode);
	for (size_t i = 0; i < 40; i++) {
		struct truth t = truth_of(p[i].client);

		assert_is(tcp_snapshot_find(snap, t.inode), &t);
		close_pair(&p[i]);
	}
	assert_null(tcp_snapshot_find(snap, 0));
	assert_null(tcp_snapshot_find(snap, 1));
}

static void assert_gone(struct sockdiag *diag, const struct truth *t,
			uint64_t cookie)
{
	struct tcp_socket s;
	AUTO_ERROR struct error *err =
		sockdiag_lookup(diag, &t->local, &t->remote, 0, cookie, &s);

	assert_non_null(err);
	assert_int_equal(error_code(err), ERROR_GONE);
	assert_non_null(strstr(error_text(err), "no such socket"));
}

static void test_lookup_wants_the_right_cookie(void **state)
{
	for (enum flavour f = PLAIN4; f <= MAPPED; f++) {
		struct pair p = make_pair(f);
		struct truth t = truth_of(p.client);
		struct tcp_socket s;

		assert_null(sockdiag_lookup(*state, &t.local, &t.remote, 0,
					    t.cookie, &s));
		assert_is(&s, &t);
		assert_null(
			sockdiag_lookup(*state, &t.local, &t.remote, 0, 0, &s));
		assert_is(&s, &t);
		assert_gone(*state, &t, t.cookie + 1);
		close_pair(&p);
	}
}

static void test_v4mapped_socket_is_found_by_its_plain_addresses(void **state)
{
	struct pair p = make_pair(MAPPED);
	struct truth t = truth_of(p.client);
	struct endpoint local = endpoint_unmap(&t.local);
	struct endpoint remote = endpoint_unmap(&t.remote);
	struct tcp_socket s;

	assert_int_equal(local.family, AF_INET);
	assert_null(sockdiag_lookup(*state, &local, &remote, 0, 0, &s));
	assert_is(&s, &t);
	close_pair(&p);
}

/* The kernel answers with the listener; "half-open" rests on not believing. */
static void
test_absent_connection_is_gone_although_its_port_listens(void **state)
{
	for (enum flavour f = PLAIN4; f <= MAPPED; f++) {
		struct pair p = make_pair(f);
		struct truth t = truth_of(p.server);

		abort_fd(p.server);
		assert_gone(*state, &t, 0);
		assert_gone(*state, &t, t.cookie);
		close(p.client);
		close(p.listener);
	}
}

static void test_listener_is_found_by_its_local_endpoint(void **state)
{
	for (enum flavour f = PLAIN4; f <= PLAIN6; f++) {
		struct pair p = make_pair(f);
		struct truth t = truth_of(p.listener);
		struct tcp_socket s;

		assert_null(sockdiag_lookup(*state, &t.local, NULL, 0, 0, &s));
		assert_is(&s, &t);
		close_pair(&p);
		AUTO_ERROR struct error *err =
			sockdiag_lookup(*state, &t.local, NULL, 0, 0, &s);
		assert_non_null(err);
		assert_int_equal(error_code(err), ERROR_GONE);
	}
}

/*
 * The kernel adds the address's own route a moment after that of its network;
 * until then nothing that is sent there arrives. A closed port refuses once it
 * does.
 */
static void wait_for_route(const struct sockaddr_in6 *to)
{
	struct sockaddr_in6 at = *to;
	bool refused = false;

	at.sin6_port = htons(9);
	for (int i = 0; i < 200 && !refused; i++) {
		int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

		refused = connect(fd, (void *)&at, sizeof(at)) < 0 &&
			  errno == ECONNREFUSED;
		close(fd);
		if (!refused)
			usleep(10000);
	}
	assert_true(refused);
}

static void test_link_local_connection_is_found_by_its_interface(void **state)
{
	NEEDS("root", geteuid() == 0);
	NEEDS("the program ip",
	      system("ip addr add fe80::77/64 dev lo nodad") == 0);
	struct sockaddr_in6 at = { .sin6_family = AF_INET6,
				   .sin6_scope_id = if_nametoindex("lo") };
	struct sockaddr_storage where = { 0 };
	struct tcp_socket s;

	inet_pton(AF_INET6, "fe80::77", &at.sin6_addr);
	memcpy(&where, &at, sizeof(at));
	wait_for_route(&at);
	struct pair p = connect_pair(&where);
	struct truth t = truth_of(p.client);
	assert_int_equal(t.local.scope, at.sin6_scope_id);
	AUTO_SOCKETS struct tcp_snapshot *snap = dump(*state, NULL);
	assert_is(tcp_snapshot_find(snap, t.inode), &t);
	assert_null(
		sockdiag_lookup(*state, &t.local, &t.remote, 0, t.cookie, &s));
	assert_is(&s, &t);
	assert_null(sockdiag_resample(*state, &s));
	assert_int_equal(s.second_state, TCP_SAMPLED);
	close_pair(&p);
}

static struct tcp_socket take_one(struct sockdiag *diag, int fd)
{
	struct truth t = truth_of(fd);
	struct sockdiag_filter filter = { .inodes = &t.inode, .n_inodes = 1 };
	AUTO_SOCKETS struct tcp_snapshot *snap = dump(diag, &filter);

	assert_int_equal(snap->n, 1);
	return snap->v[0];
}

static void test_second_sample_counts_what_arrived_meanwhile(void **state)
{
	struct pair p = make_pair(PLAIN6);
	struct tcp_socket s = take_one(*state, p.server);

	assert_null(sockdiag_resample(*state, &s));
	assert_int_equal(s.second_state, TCP_SAMPLED);
	assert_int_equal(s.second.info.segs_in, s.first.info.segs_in);
	assert_int_equal(write(p.client, "x", 1), 1);
	assert_null(sockdiag_resample(*state, &s));
	assert_int_equal(s.second.info.segs_in, s.first.info.segs_in + 1);
	assert_int_equal(s.second.rqueue, 1);
	assert_true(s.second.at_mono_ns >= s.first.at_mono_ns);
	close_pair(&p);
}

static void test_closed_socket_has_vanished_in_the_second_sample(void **state)
{
	struct pair p = make_pair(PLAIN4);
	struct tcp_socket s = take_one(*state, p.server);

	abort_fd(p.server);
	assert_null(sockdiag_resample(*state, &s));
	assert_int_equal(s.second_state, TCP_VANISHED);
	close(p.client);
	close(p.listener);
}

static void test_each_listener_of_a_shared_port_is_sampled_again(void **state)
{
	struct sockaddr_storage where = loopback(PLAIN4, 0);
	int fds[8] = { listen_on(&where, true) };
	socklen_t len = sizeof(where);

	getsockname(fds[0], (void *)&where, &len);
	for (int i = 1; i < 8; i++)
		fds[i] = listen_on(&where, true);
	for (int i = 0; i < 8; i++) {
		struct tcp_socket s = take_one(*state, fds[i]);

		assert_null(sockdiag_resample(*state, &s));
		assert_int_equal(s.second_state, TCP_SAMPLED);
		close(fds[i]);
		assert_null(sockdiag_resample(*state, &s));
		assert_int_equal(s.second_state, TCP_VANISHED);
	}
}

static void test_error_in_the_final_message_is_not_an_empty_table(void **state)
{
	struct tcp_snapshot *snap = NULL;

	seam.protocol = 47; // GRE: no socket diagnostics in any kernel
	AUTO_ERROR struct error *err = sockdiag_dump(*state, NULL, &snap);
	assert_non_null(err);
	assert_null(snap);
	assert_int_equal(error_code(err), ERROR_UNSUPPORTED);
	assert_non_null(strstr(error_text(err), "no socket diagnostics"));
}

static void
test_interrupted_dump_is_repeated_and_counts_nothing_twice(void **state)
{
	struct pair p = make_pair(PLAIN4);
	AUTO_SOCKETS struct tcp_snapshot *calm = dump(*state, NULL);

	assert_int_equal(seam.dumps, 2); // IPv4 and IPv6
	seam.dumps = 0;
	seam.interrupt = 2;
	AUTO_SOCKETS struct tcp_snapshot *snap = dump(*state, NULL);
	assert_int_equal(seam.dumps, 4);
	assert_true(snap->consistent);
	assert_int_equal(snap->gaps.n, 0);
	assert_int_equal(snap->n, calm->n);
	close_pair(&p);
}

static void test_dump_that_stays_interrupted_is_inconsistent(void **state)
{
	struct pair p = make_pair(PLAIN4);
	struct truth t = truth_of(p.client);

	seam.interrupt = 1 + SOCKDIAG_DUMP_RETRIES;
	AUTO_SOCKETS struct tcp_snapshot *snap = dump(*state, NULL);
	assert_int_equal(seam.dumps, 1 + SOCKDIAG_DUMP_RETRIES + 1);
	assert_false(snap->consistent);
	assert_int_equal(snap->gaps.n, 1);
	assert_int_equal(snap->gaps.v[0].kind, GAP_INCONSISTENT);
	assert_is(tcp_snapshot_find(snap, t.inode), &t);
	close_pair(&p);
}

static void test_lost_answer_makes_the_dump_be_repeated(void **state)
{
	struct pair p = make_pair(PLAIN4);

	seam.lose = 1;
	AUTO_SOCKETS struct tcp_snapshot *snap = dump(*state, NULL);
	assert_int_equal(seam.dumps, 3);
	assert_true(snap->consistent);
	close_pair(&p);
}

static void test_cut_message_is_a_gap(void **state)
{
	struct pair p = make_pair(PLAIN4);
	AUTO_SOCKETS struct tcp_snapshot *whole = dump(*state, NULL);

	seam.cut = 8;
	AUTO_SOCKETS struct tcp_snapshot *snap = dump(*state, NULL);
	assert_int_equal(snap->n, whole->n - 1);
	assert_int_equal(snap->gaps.n, 1);
	assert_int_equal(snap->gaps.v[0].kind, GAP_CORRUPT);
	assert_int_equal(snap->gaps.v[0].count, 1);
	close_pair(&p);
}

static void test_silent_kernel_is_an_error(void **state)
{
	struct tcp_snapshot *snap = NULL;

	seam.silent = true;
	AUTO_ERROR struct error *err = sockdiag_dump(*state, NULL, &snap);
	assert_non_null(err);
	assert_int_equal(error_code(err), ERROR_OS);
	assert_non_null(strstr(error_text(err), "did not answer"));
}

static void test_failed_dump_keeps_what_the_snapshot_held(void **state)
{
	struct pair p = make_pair(PLAIN4);
	AUTO_SOCKETS struct tcp_snapshot *snap = dump(*state, NULL);
	size_t n = snap->n;

	seam.protocol = 47;
	AUTO_ERROR struct error *err = sockdiag_dump_into(*state, NULL, snap);
	assert_non_null(err);
	assert_int_equal(snap->n, n);
	close_pair(&p);
}

static void put_attr(uint8_t *at, uint16_t len, uint16_t type)
{
	struct nlattr attr = { len, type };

	memcpy(at, &attr, sizeof(attr));
}

static void test_message_with_lying_lengths_is_survived(void **state UNUSED)
{
	static const uint16_t lengths[] = { 0,	 1,   3,   4,	   5,
					    107, 108, 284, 0x7fff, 0xffff };
	const size_t head = sizeof(struct inet_diag_msg);

	for (size_t size = 0; size < head + 300; size++) {
		for (size_t i = 0; i < 10; i++) {
			uint8_t *raw = calloc(1, size + !size);
			struct tcp_socket s;

			if (size > 1)
				raw[0] = AF_INET6;
			if (size >= head + 4)
				put_attr(raw + head, lengths[i],
					 INET_DIAG_INFO);
			int rc = sockdiag_parse(raw, size, &s);
			assert_int_equal(rc, size < head ? -EBADMSG : 0);
			if (rc == 0 && lengths[i] > size - head)
				assert_int_equal(s.first.info.known, 0);
			free(raw);
		}
	}
}

static void test_other_families_and_states_are_refused(void **state UNUSED)
{
	struct inet_diag_msg m = { .idiag_family = AF_UNIX };
	struct tcp_socket s;

	assert_int_equal(sockdiag_parse(&m, sizeof(m), &s), -EBADMSG);
	m.idiag_family = AF_INET;
	m.idiag_state = TCP_STATE_NEW_SYN_RECV + 1;
	assert_int_equal(sockdiag_parse(&m, sizeof(m), &s), -EBADMSG);
	m.idiag_state = TCP_STATE_NEW_SYN_RECV;
	assert_int_equal(sockdiag_parse(&m, sizeof(m), &s), 0);
}

#define WITH_DIAG(test)                                                        \
	cmocka_unit_test_setup_teardown(test, open_diag, close_diag)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_DIAG(test_ipv4_pair_is_found_by_inode),
		WITH_DIAG(test_ipv6_pair_is_found_by_inode),
		WITH_DIAG(test_v4mapped_pair_is_found_by_inode),
		WITH_DIAG(test_filter_keeps_the_asked_for_sockets_only),
		WITH_DIAG(test_snapshot_ascends_by_inode_and_has_every_socket),
		WITH_DIAG(test_lookup_wants_the_right_cookie),
		WITH_DIAG(test_v4mapped_socket_is_found_by_its_plain_addresses),
		WITH_DIAG(
			test_absent_connection_is_gone_although_its_port_listens),
		WITH_DIAG(test_listener_is_found_by_its_local_endpoint),
		WITH_DIAG(test_link_local_connection_is_found_by_its_interface),
		WITH_DIAG(test_second_sample_counts_what_arrived_meanwhile),
		WITH_DIAG(test_closed_socket_has_vanished_in_the_second_sample),
		WITH_DIAG(test_each_listener_of_a_shared_port_is_sampled_again),
		WITH_DIAG(
			test_error_in_the_final_message_is_not_an_empty_table),
		WITH_DIAG(
			test_interrupted_dump_is_repeated_and_counts_nothing_twice),
		WITH_DIAG(test_dump_that_stays_interrupted_is_inconsistent),
		WITH_DIAG(test_lost_answer_makes_the_dump_be_repeated),
		WITH_DIAG(test_cut_message_is_a_gap),
		WITH_DIAG(test_silent_kernel_is_an_error),
		WITH_DIAG(test_failed_dump_keeps_what_the_snapshot_held),
		cmocka_unit_test(test_message_with_lying_lengths_is_survived),
		cmocka_unit_test(test_other_families_and_states_are_refused),
	};

	return cmocka_run_group_tests(tests, own_netns, NULL);
}
