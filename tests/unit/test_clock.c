/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/unit.h"

#include "base/clock.h"

static void test_durations_are_parsed(void **state)
{
	static const struct {
		const char *text;
		int64_t ms;
	} rows[] = {
		{ "0", 0 },
		{ "0s", 0 },
		{ "500ms", 500 },
		{ "30s", 30000 },
		{ "1m30s", 90000 },
		{ "1.5s", 1500 },
		{ "0.25h", 900000 },
		{ "1.0005s", 1000 },
		{ "2h", 7200000 },
		{ "1d", 86400000 },
		{ "1d2h3m4s5ms", 93784005 },
		{ "10min", 600000 },
		{ "9223372036854775807ms", INT64_MAX },
	};

	(void)state;
	for (size_t i = 0; i < N_OF(rows); i++) {
		int64_t ms = -1;

		if (!clock_parse_duration(rows[i].text, &ms))
			fail_msg("'%s' is refused", rows[i].text);
		assert_int_equal(ms, rows[i].ms);
	}
}

static void test_what_is_no_duration_is_refused(void **state)
{
	static const char *const rows[] = {
		"",
		"30",
		"00",
		"s",
		"-1s",
		"+1s",
		" 1s",
		"1s ",
		"1 s",
		"1m30",
		"1.s",
		".5s",
		"1.5",
		"1e3s",
		"5us",
		"5ns",
		"1w",
		"0x1s",
		"1h-1s",
		"1S",
		"1s\n",
		"9223372036854775808ms",
		"9223372036854775807s",
		"99999999999999999999999s",
		"9223372036854775807ms1ms",
	};

	(void)state;
	for (size_t i = 0; i < N_OF(rows); i++) {
		int64_t ms = -7;

		if (clock_parse_duration(rows[i], &ms))
			fail_msg("'%s' is taken for a duration", rows[i]);
		assert_int_equal(ms, -7);
	}
}

static void test_durations_read_well(void **state)
{
	static const struct {
		int64_t ms;
		const char *text;
	} rows[] = {
		{ 0, "0 ms" },
		{ 340, "340 ms" },
		{ 999, "999 ms" },
		{ 1000, "1.0 s" },
		{ 4270, "4.2 s" },
		{ 59999, "59.9 s" },
		{ 60000, "1 min" },
		{ 41 * 60000, "41 min" },
		{ 3599999, "59 min" },
		{ 3 * 3600000 + 2 * 60000, "3 h 02 min" },
		{ 86399999, "23 h 59 min" },
		{ 5 * 86400000LL + 3 * 3600000, "5 d 3 h" },
		{ -5, "0 ms" },
		{ INT64_MAX, "106751991167 d 7 h" },
	};
	char text[CLOCK_TEXT_MAX];

	(void)state;
	for (size_t i = 0; i < N_OF(rows); i++) {
		clock_format_duration(rows[i].ms, text);
		assert_string_equal(text, rows[i].text);
	}
}

static void test_wall_times_are_rfc3339(void **state)
{
	char text[CLOCK_TEXT_MAX];

	(void)state;
	// date -u -d 2026-11-22T22:19:00Z +%s
	clock_format_rfc3339(1795385940123, text);
	assert_string_equal(text, "2026-11-22T22:19:00.123Z");
	clock_format_rfc3339(0, text);
	assert_string_equal(text, "1970-01-01T00:00:00.000Z");
	clock_format_rfc3339(-1, text);
	assert_string_equal(text, "1969-12-31T23:59:59.999Z");
	clock_format_rfc3339(INT64_MAX, text);
	assert_true(strlen(text) < CLOCK_TEXT_MAX);
	clock_format_rfc3339(INT64_MIN, text);
	assert_true(strlen(text) < CLOCK_TEXT_MAX);
}

static void on_alarm(int sig)
{
	(void)sig;
}

static void test_sleep_goes_on_after_a_signal(void **state)
{
	int64_t until = clock_mono_ns() + 60000000;
	struct sigaction sa = { .sa_handler = on_alarm };

	(void)state;
	sigaction(SIGALRM, &sa, NULL);
	ualarm(10000, 0);
	clock_sleep_until(until);
	assert_true(clock_mono_ns() >= until);
	clock_sleep_until(0); // in the past: returns at once
	clock_sleep_until(-1);
	assert_true(clock_mono_ns() < until + 10000000000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_durations_are_parsed),
		cmocka_unit_test(test_what_is_no_duration_is_refused),
		cmocka_unit_test(test_durations_read_well),
		cmocka_unit_test(test_wall_times_are_rfc3339),
		cmocka_unit_test(test_sleep_goes_on_after_a_signal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
