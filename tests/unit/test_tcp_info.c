/* SPDX-License-Identifier: Apache-2.0 */
/* Apart from test_sockdiag.c: libnl and <linux/tcp.h> do not go together. */
#include <linux/tcp.h>

#include "netwatch/sockdiag.h"
#include "tests/unit/sockets.h"

static void test_tcp_info_is_what_the_socket_itself_says(void **state UNUSED)
{
	struct pair p = make_pair(PLAIN4);
	struct truth t = truth_of(p.server);
	struct tcp_info want;
	socklen_t len = sizeof(want);
	struct sockdiag *diag = NULL;
	struct tcp_socket s;

	assert_null(sockdiag_open(-1, NULL, &diag));
	for (int i = 0; i < 3; i++) {
		char buf[7];

		assert_int_equal(write(p.client, "request", 7), 7);
		assert_int_equal(read(p.server, buf, 7), 7);
	}
	assert_null(
		sockdiag_lookup(diag, &t.local, &t.remote, 0, t.cookie, &s));
	assert_int_equal(
		getsockopt(p.server, IPPROTO_TCP, TCP_INFO, &want, &len), 0);
	const struct tcp_info_fields *i = &s.first.info;
	assert_true(i->known & TCP_INFO_SEGS);
	assert_int_equal(i->segs_in, want.tcpi_segs_in);
	assert_int_equal(i->segs_out, want.tcpi_segs_out);
	assert_int_equal(i->bytes_received, 21);
	assert_int_equal(i->bytes_received, want.tcpi_bytes_received);
	assert_int_equal(i->data_segs_in, want.tcpi_data_segs_in);
	assert_int_equal(i->snd_mss, want.tcpi_snd_mss);
	assert_int_equal(i->rto_us, want.tcpi_rto);
	assert_int_equal(i->rtt_us, want.tcpi_rtt);
	assert_int_equal(i->pmtu, want.tcpi_pmtu);
	assert_in_range(want.tcpi_last_data_recv - i->last_data_recv_ms, 0,
			1000);
	sockdiag_close(diag);
	close_pair(&p);
}

/* What the kernel's header says, for all the fields that header has. */
static void
test_tcp_info_offsets_are_those_of_the_uapi_header(void **state UNUSED)
{
	struct tcp_info raw;
	struct tcp_info_fields f;

	for (size_t i = 0; i < sizeof(raw); i++)
		((uint8_t *)&raw)[i] = i;
	sockdiag_parse_tcp_info(&raw, sizeof(raw), &f);
#define SAME(ours, theirs) assert_int_equal(f.ours, raw.tcpi_##theirs)
	SAME(retransmits, retransmits);
	SAME(probes, probes);
	SAME(backoff, backoff);
	SAME(rto_us, rto);
	SAME(snd_mss, snd_mss);
	SAME(unacked, unacked);
	SAME(lost, lost);
	SAME(retrans, retrans);
	SAME(last_data_sent_ms, last_data_sent);
	SAME(last_data_recv_ms, last_data_recv);
	SAME(last_ack_recv_ms, last_ack_recv);
	SAME(pmtu, pmtu);
	SAME(rtt_us, rtt);
	SAME(rttvar_us, rttvar);
	SAME(total_retrans, total_retrans);
	SAME(bytes_acked, bytes_acked);
	SAME(bytes_received, bytes_received);
	SAME(segs_out, segs_out);
	SAME(segs_in, segs_in);
	SAME(notsent_bytes, notsent_bytes);
	SAME(min_rtt_us, min_rtt);
	SAME(data_segs_in, data_segs_in);
	SAME(data_segs_out, data_segs_out);
	SAME(busy_us, busy_time);
	SAME(rwnd_limited_us, rwnd_limited);
	SAME(sndbuf_limited_us, sndbuf_limited);
	SAME(bytes_sent, bytes_sent);
	SAME(bytes_retrans, bytes_retrans);
	SAME(snd_wnd, snd_wnd);
}

static void
test_short_tcp_info_has_only_the_groups_it_holds(void **state UNUSED)
{
	static const struct {
		size_t len;
		uint32_t newest; // the last group that is there
	} cases[] = {
		{ 0, 0 },
		{ 103, 0 },
		{ 104, TCP_INFO_BASE },
		{ 135, TCP_INFO_BASE },
		{ 136, TCP_INFO_BYTES },
		{ 144, TCP_INFO_SEGS },
		{ 152, TCP_INFO_NOTSENT },
		{ 160, TCP_INFO_DATASEGS },
		{ 192, TCP_INFO_LIMITED },
		{ 216, TCP_INFO_SENT },
		{ 231, TCP_INFO_SENT },
		{ 232, TCP_INFO_SND_WND },
		{ 248, TCP_INFO_RTO },
		{ 280, TCP_INFO_RTO },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint8_t *raw = malloc(cases[i].len + 1); // for the sanitizer
		struct tcp_info_fields f;

		memset(raw, 0xff, cases[i].len + 1);
		sockdiag_parse_tcp_info(raw, cases[i].len, &f);
		assert_int_equal(f.known,
				 cases[i].newest ? cases[i].newest * 2 - 1 : 0);
		if (!(f.known & TCP_INFO_SEGS))
			assert_int_equal(f.segs_in, 0);
		free(raw);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tcp_info_is_what_the_socket_itself_says),
		cmocka_unit_test(
			test_tcp_info_offsets_are_those_of_the_uapi_header),
		cmocka_unit_test(
			test_short_tcp_info_has_only_the_groups_it_holds),
	};

	return cmocka_run_group_tests(tests, own_netns, NULL);
}
