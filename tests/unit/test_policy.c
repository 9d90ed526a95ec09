/* SPDX-License-Identifier: Apache-2.0 */
#include "detector/policy.h"

#include <errno.h>
#include <poll.h>

#include "base/cleanup.h"
#include "tests/unit/netlab.h"

static const struct {
	const char *text;
	enum policy_subject subject;
	int64_t limit_ms;
} policies[] = {
	{ "keepalive", POLICY_KEEPALIVE, -1 },
	{ " keepalive ", POLICY_KEEPALIVE, -1 },
	{ "keepalive<=60s", POLICY_KEEPALIVE, 60000 },
	{ "keepalive <= 2m30s", POLICY_KEEPALIVE, 150000 },
	{ "\tkeepalive\t<=\t1d ", POLICY_KEEPALIVE, 86400000 },
	{ "user-timeout", POLICY_USER_TIMEOUT, -1 },
	{ "user-timeout<=500ms", POLICY_USER_TIMEOUT, 500 },
};

static void test_policies_are_understood(void **state UNUSED)
{
	for (size_t i = 0; i < N_OF(policies); i++) {
		struct policy p;

		assert_ok(policy_parse(policies[i].text, &p));
		assert_int_equal(p.subject, policies[i].subject);
		assert_int_equal(p.limit_ms, policies[i].limit_ms);
		assert_string_equal(p.text, policies[i].text);
	}
}

static void test_what_is_no_policy_is_refused(void **state UNUSED)
{
	static const char *const bad[] = {
		"",
		" ",
		"keep",
		"keepalives",
		"keepalive<60s",
		"keepalive<=",
		"keepalive<=60",
		"keepalive<=0s",
		"keepalive<=-5s",
		"keepalive>=60s",
		"keepalive<=60s 5",
		"keepalive=60s",
		"keepalive<=60s,user-timeout",
		"Keepalive",
		"user-timeout<",
		"keepalive<=9999999999999999999999s",
		"keepalive                                                    "
		"    <=60s",
	};
	struct policy p;

	for (size_t i = 0; i < N_OF(bad); i++)
		assert_error(policy_parse(bad[i], &p), ERROR_USAGE,
			     "is no policy; use keepalive");
}

static void test_keepalive_settings_are_understood(void **state UNUSED)
{
	struct tcp_keepalive k;

	assert_ok(keepalive_parse("15s,20s,9", &k));
	assert_int_equal(k.idle_s, 15);
	assert_int_equal(k.intvl_s, 20);
	assert_int_equal(k.cnt, 9);
	assert_ok(keepalive_parse("2h,1m15s,127", &k));
	assert_int_equal(k.idle_s, 7200);
	assert_int_equal(k.intvl_s, 75);
}

static void
test_keepalive_that_the_kernel_would_refuse_is_refused(void **state UNUSED)
{
	static const char *const bad[] = {
		"",
		",",
		",,",
		"15s",
		"15s,15s",
		"15s,15s,",
		"15s,15s,9,",
		"15s,15s,9,9",
		"15,15,9",
		"15s,15s,0",
		"15s,15s,128",
		"15s,15s,-1",
		"15s,15s,9s",
		"15s,15s, 9",
		"0s,15s,9",
		"15s,0s,9",
		"500ms,15s,9",
		"1500ms,15s,9",
		"15s,32768s,9",
		"-15s,15s,9",
		"15s,15s,99999999999999999999",
		"1111111111111111111111111111111111111111111111111111111111111"
		"111s,15s,9",
	};
	struct tcp_keepalive k;

	for (size_t i = 0; i < N_OF(bad); i++)
		assert_error(keepalive_parse(bad[i], &k), ERROR_USAGE,
			     "is no keepalive; use IDLE,INTVL,CNT");
}

/* Settings, and when the kernel ends a silent connection by them. */
static const struct {
	uint32_t idle_s, intvl_s, cnt, user_timeout_ms;
	int64_t ms;
} times[] = {
	/* Those that are also measured, below. */
	{ 1, 1, 2, 0, 3000 },
	{ 1, 2, 1, 0, 3000 },
	/* A user timeout takes the place of the count, in both directions. */
	{ 1, 1, 50, 2500, 3000 },
	{ 1, 1, 1, 3500, 4000 },
	/* At least one probe must be unanswered. */
	{ 2, 1, 9, 500, 3000 },
	/* It ends at a probe's time only, but then at once. */
	{ 1, 1, 9, 3000, 3000 },
#define MEASURED 6
	/* Go's defaults, the kernel's, gRPC's with a user timeout. */
	{ 15, 15, 9, 0, 150000 },
	{ 7200, 75, 9, 0, 7875000 },
	{ 7200, 75, 9, 20000, 7275000 },
	{ 15, 15, 9, 20000, 30000 },
	{ 32767, 32767, 127, 0, INT64_C(32767000) * 128 },
	{ 1, 1, 1, UINT32_MAX, INT64_C(4294968000) },
};

static struct tcp_options options_of(size_t i)
{
	return (struct tcp_options){
		.known = true,
		.keepalive = true,
		.keepidle_s = times[i].idle_s,
		.keepintvl_s = times[i].intvl_s,
		.keepcnt = times[i].cnt,
		.user_timeout_ms = times[i].user_timeout_ms,
	};
}

static void test_time_to_notice_follows_from_the_settings(void **state UNUSED)
{
	for (size_t i = 0; i < N_OF(times); i++) {
		struct tcp_options o = options_of(i);

		assert_int_equal(keepalive_detects_ms(&o), times[i].ms);
		o.keepalive = false;
		assert_int_equal(keepalive_detects_ms(&o), POLICY_NEVER);
	}
}

static void test_absurd_settings_of_a_recording_are_never(void **state UNUSED)
{
	struct tcp_options o = { .known = true, .keepalive = true };

	assert_int_equal(keepalive_detects_ms(&o), POLICY_NEVER);
	o.keepidle_s = o.keepintvl_s = o.keepcnt = UINT32_MAX;
	assert_int_equal(keepalive_detects_ms(&o), POLICY_NEVER);
}

static void arm(const struct process *self, struct conn *c, size_t i)
{
	const struct tcp_keepalive k = { times[i].idle_s, times[i].intvl_s,
					 times[i].cnt };
	uint32_t ms = times[i].user_timeout_ms;

	assert_int_equal(setsockopt(c->client, IPPROTO_TCP, TCP_USER_TIMEOUT,
				    &ms, sizeof(ms)),
			 0);
	assert_ok(tcp_arm_keepalive(self, c->client, &c->s, &k, NULL));
}

/* The kernel itself, on connections whose peer falls silent. */
static void test_the_kernel_ends_them_when_we_say(void **state UNUSED)
{
	AUTO_PROCESS struct process *self = NULL;
	struct conn c[MEASURED];
	int64_t begin[MEASURED];
	int64_t took[MEASURED] = { 0 };
	size_t left = MEASURED;

	lab_needs();
	lab_netns("ab");
	lab_pair('a', "10.9.0.1/24", 'b', "10.9.0.2/24");
	assert_ok(process_open(getpid(), &self));
	for (size_t i = 0; i < MEASURED; i++)
		c[i] = lab_tcp('a', 'b', "10.9.0.2", 7000 + (int)i);
	nft("b", "table ip t {\n"
		 "chain in {\n"
		 "type filter hook prerouting priority -300\n"
		 "drop\n"
		 "}\n"
		 "}");
	for (size_t i = 0; i < MEASURED; i++) {
		begin[i] = clock_mono_ns();
		arm(self, &c[i], i);
	}
	for (int64_t end = begin[0] + 7000000000; left > 0;) {
		struct pollfd v[MEASURED];

		assert_true(clock_mono_ns() < end);
		for (size_t i = 0; i < MEASURED; i++)
			v[i] = (struct pollfd){ took[i] ? -1 : c[i].client,
						POLLIN, 0 };
		poll(v, MEASURED, 100);
		for (size_t i = 0; i < MEASURED; i++) {
			char byte;

			if (!v[i].revents)
				continue;
			took[i] = (clock_mono_ns() - begin[i]) / 1000000;
			assert_int_equal(read(c[i].client, &byte, 1), -1);
			assert_int_equal(errno, ETIMEDOUT);
			left--;
		}
	}
	for (size_t i = 0; i < MEASURED; i++) {
		print_message("%d,%d,%d,%d: %d ms, took %d ms\n",
			      (int)times[i].idle_s, (int)times[i].intvl_s,
			      (int)times[i].cnt, (int)times[i].user_timeout_ms,
			      (int)times[i].ms, (int)took[i]);
		/* The timer wheel is coarse, and never early. */
		assert_in_range(took[i], times[i].ms - 50, times[i].ms + 900);
		lab_close(&c[i]);
	}
}

static struct tcp_socket socket_in(enum tcp_state state)
{
	return (struct tcp_socket){
		.first.state = state,
		.second_state = TCP_NOT_SAMPLED,
		.options = { .known = true,
			     .keepalive = true,
			     .keepidle_s = 15,
			     .keepintvl_s = 15,
			     .keepcnt = 3 },
	};
}

static enum policy_answer judge(const char *text, const struct tcp_socket *s,
				int64_t *ms)
{
	struct policy p;

	assert_ok(policy_parse(text, &p));
	return policy_judge(&p, s, ms);
}

static void test_limit_is_kept_or_violated(void **state UNUSED)
{
	struct tcp_socket s = socket_in(TCP_STATE_ESTABLISHED);
	int64_t ms;

	assert_int_equal(judge("keepalive<=60s", &s, &ms), POLICY_KEPT);
	assert_int_equal(ms, 60000);
	assert_int_equal(judge("keepalive<=59s", &s, &ms), POLICY_VIOLATED);
	assert_int_equal(ms, 60000);
	assert_int_equal(judge("keepalive", &s, &ms), POLICY_KEPT);
	assert_int_equal(judge("user-timeout", &s, &ms), POLICY_VIOLATED);
	assert_int_equal(ms, POLICY_NEVER);
	s.options.user_timeout_ms = 30000;
	assert_int_equal(judge("user-timeout<=30s", &s, &ms), POLICY_KEPT);
	assert_int_equal(judge("user-timeout<=29s", &s, &ms), POLICY_VIOLATED);
	assert_int_equal(ms, 30000);
	s.options.keepalive = false;
	assert_int_equal(judge("keepalive", &s, &ms), POLICY_VIOLATED);
	assert_int_equal(ms, POLICY_NEVER);
}

static void test_what_could_not_be_read_is_no_pass(void **state UNUSED)
{
	struct tcp_socket s = socket_in(TCP_STATE_ESTABLISHED);
	int64_t ms;

	s.options = (struct tcp_options){ .error = EPERM };
	assert_int_equal(judge("keepalive", &s, &ms), POLICY_UNKNOWN);
	assert_int_equal(ms, POLICY_NEVER);
	/* It is not there any more: nothing is asked of it. */
	s.second_state = TCP_VANISHED;
	assert_int_equal(judge("keepalive", &s, &ms), POLICY_NOT_ASKED);
}

static void test_only_connections_are_asked(void **state UNUSED)
{
	static const enum tcp_state asked[] = { TCP_STATE_ESTABLISHED,
						TCP_STATE_CLOSE_WAIT,
						TCP_STATE_FIN_WAIT2 };
	int64_t ms;

	for (int i = 0; i <= TCP_STATE_NEW_SYN_RECV; i++) {
		struct tcp_socket s = socket_in((enum tcp_state)i);
		bool is_asked = false;

		for (size_t j = 0; j < N_OF(asked); j++)
			is_asked |= asked[j] == (enum tcp_state)i;
		assert_int_equal(judge("keepalive", &s, &ms),
				 is_asked ? POLICY_KEPT : POLICY_NOT_ASKED);
	}
}

static void test_all_are_counted(void **state UNUSED)
{
	struct tcp_socket v[] = { socket_in(TCP_STATE_ESTABLISHED),
				  socket_in(TCP_STATE_ESTABLISHED),
				  socket_in(TCP_STATE_LISTEN),
				  socket_in(TCP_STATE_CLOSE_WAIT) };
	struct tcp_snapshot snap = { .v = v, .n = N_OF(v) };
	struct policy p;

	v[1].options.keepalive = false;
	v[3].options.known = false;
	assert_ok(policy_parse("keepalive<=60s", &p));
	struct policy_count c = policy_count(&p, &snap);
	assert_int_equal(c.checked, 2);
	assert_int_equal(c.violations, 1);
	assert_int_equal(c.unknown, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_policies_are_understood),
		cmocka_unit_test(test_what_is_no_policy_is_refused),
		cmocka_unit_test(test_keepalive_settings_are_understood),
		cmocka_unit_test(
			test_keepalive_that_the_kernel_would_refuse_is_refused),
		cmocka_unit_test(test_time_to_notice_follows_from_the_settings),
		cmocka_unit_test(test_absurd_settings_of_a_recording_are_never),
		cmocka_unit_test_teardown(test_the_kernel_ends_them_when_we_say,
					  lab_teardown),
		cmocka_unit_test(test_limit_is_kept_or_violated),
		cmocka_unit_test(test_what_could_not_be_read_is_no_pass),
		cmocka_unit_test(test_only_connections_are_asked),
		cmocka_unit_test(test_all_are_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
