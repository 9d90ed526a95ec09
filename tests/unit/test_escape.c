/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/unit.h"

#include "base/escape.h"

static const struct {
	const char *raw, *escaped;
} rows[] = {
	{ "plain (*T).f \\ \"'", "plain (*T).f \\ \"'" },
	{ "\x1b]0;x\x07", "\\x1b]0;x\\x07" },
	{ "a\nb\tc\rd", "a\\nb\\tc\\rd" },
	{ "\x01\x1f\x7f", "\\x01\\x1f\\x7f" },
	{ "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80",
	  "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80" },
	/* C1, as one byte and in UTF-8 */
	{ "\x9b"
	  "31m",
	  "\\x9b31m" },
	{ "\xc2\x9b"
	  "31m",
	  "\\xc2\\x9b31m" },
	{ "\xc2\xa0", "\xc2\xa0" },
	/* no UTF-8: a lone continuation, overlong, cut off, surrogate, big */
	{ "\x80", "\\x80" },
	{ "\xc0\x80", "\\xc0\\x80" },
	{ "\xe0\x80\xaf", "\\xe0\\x80\\xaf" },
	{ "\xe2\x82", "\\xe2\\x82" },
	{ "\xe2\x82x", "\\xe2\\x82x" },
	{ "\xed\xa0\x80", "\\xed\\xa0\\x80" },
	{ "\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80" },
	{ "\xf8\x88\x80\x80\x80", "\\xf8\\x88\\x80\\x80\\x80" },
	{ "\xff\xfe", "\\xff\\xfe" },
	/* U+202A, U+202E, U+2066, U+2069 and their neighbours */
	{ "\xe2\x80\xaa", "\\xe2\\x80\\xaa" },
	{ "a\xe2\x80\xae"
	  "b",
	  "a\\xe2\\x80\\xaeb" },
	{ "\xe2\x81\xa6", "\\xe2\\x81\\xa6" },
	{ "\xe2\x81\xa9", "\\xe2\\x81\\xa9" },
	{ "\xe2\x80\xa9", "\xe2\x80\xa9" },
	{ "\xe2\x80\xaf", "\xe2\x80\xaf" },
	{ "\xe2\x81\xa5", "\xe2\x81\xa5" },
	{ "\xe2\x81\xaa", "\xe2\x81\xaa" },
	{ "", "" },
};

static void print_to(char *buf, size_t size, const char *s, size_t max)
{
	FILE *f = fmemopen(buf, size, "w");

	assert_non_null(f);
	escape_print(f, s, max);
	fclose(f);
}

static void test_foreign_bytes_are_escaped(void **state)
{
	char buf[128];

	(void)state;
	for (size_t i = 0; i < N_OF(rows); i++) {
		assert_int_equal(escape_text(buf, sizeof(buf), rows[i].raw),
				 strlen(rows[i].escaped));
		assert_string_equal(buf, rows[i].escaped);
		memset(buf, 0, sizeof(buf));
		print_to(buf, sizeof(buf), rows[i].raw, SIZE_MAX);
		assert_string_equal(buf, rows[i].escaped);
	}
}

static void test_each_bidi_override_is_escaped(void **state)
{
	(void)state;
	for (unsigned int cp = 0x2000; cp < 0x2100; cp++) {
		char raw[4] = { (char)0xe2, (char)(0x80 | (cp >> 6 & 0x3f)),
				(char)(0x80 | (cp & 0x3f)), 0 };
		int bidi = (cp >= 0x202a && cp <= 0x202e) ||
			   (cp >= 0x2066 && cp <= 0x2069);

		assert_int_equal(escape_text(NULL, 0, raw), bidi ? 12 : 3);
	}
}

static void test_a_small_buffer_is_cut_between_characters(void **state)
{
	char buf[8];

	(void)state;
	for (size_t size = 1; size <= sizeof(buf); size++) {
		memset(buf, 'x', sizeof(buf));
		assert_int_equal(
			escape_text(buf, size, "\xe2\x82\xac\xe2\x82\xac\n"),
			8);
		assert_int_equal(strlen(buf), size <= 3	  ? 0
					      : size <= 6 ? 3
							  : 6);
	}
	assert_int_equal(escape_text(NULL, 0, "\n"), 2);
}

static void test_print_stops_at_max_and_nul(void **state)
{
	char raw[5] = { 'a', '\n', 'b', '\xe2', '\x82' };
	char buf[64] = "";

	(void)state;
	print_to(buf, sizeof(buf), raw, 3);
	assert_string_equal(buf, "a\\nb");
	print_to(buf, sizeof(buf), raw, sizeof(raw));
	assert_string_equal(buf, "a\\nb\\xe2\\x82");
	print_to(buf, sizeof(buf), "ab\0cd", 5);
	assert_string_equal(buf, "ab");
	print_to(buf, sizeof(buf), NULL, 5);
	assert_string_equal(buf, "?");
}

static void test_utf8_for_json_is_valid(void **state)
{
	static const struct {
		const char *raw, *out;
	} json[] = {
		{ "a\x1b\n\"", "a\x1b\n\"" },
		{ "\xc3\xbc", "\xc3\xbc" },
		{ "a\xff"
		  "b",
		  "a\xef\xbf\xbd"
		  "b" },
		{ "\xc0\x80", "\xef\xbf\xbd\xef\xbf\xbd" },
		{ "\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },
		{ "\xe2\x82", "\xef\xbf\xbd\xef\xbf\xbd" },
		{ "", "" },
	};

	(void)state;
	for (size_t i = 0; i < N_OF(json); i++) {
		char *out = escape_utf8(json[i].raw);

		assert_string_equal(out, json[i].out);
		free(out);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_foreign_bytes_are_escaped),
		cmocka_unit_test(test_each_bidi_override_is_escaped),
		cmocka_unit_test(test_a_small_buffer_is_cut_between_characters),
		cmocka_unit_test(test_print_stops_at_max_and_nul),
		cmocka_unit_test(test_utf8_for_json_is_valid),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
