/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/unit.h"

#include "runtime-hooks/go/buildinfo.h"

/* A block as cmd/link writes it: magic, pointer size, flags, then @rest. */
static size_t block(uint8_t *buf, uint8_t ptr_size, uint8_t flags,
		    const char *rest, size_t len)
{
	memset(buf, 0, 32);
	memcpy(buf, GO_BUILDINFO_MAGIC, GO_BUILDINFO_MAGIC_LEN);
	buf[14] = ptr_size;
	buf[15] = flags;
	memcpy(buf + 32, rest, len);
	return 32 + len;
}

static void test_a_version_is_inline_since_1_18(void **state)
{
	uint8_t buf[64];
	char version[GO_VERSION_MAX];
	uint64_t pointer;
	size_t n = block(buf, 0, 2, "\x08go1.27.4\0", 10);

	(void)state;
	assert_true(go_buildinfo_parse(buf, n, version, &pointer));
	assert_string_equal(version, "go1.27.4");
	assert_int_equal(pointer, 0);
}

static void test_a_version_is_behind_a_pointer_before(void **state)
{
	uint8_t buf[64];
	char version[GO_VERSION_MAX];
	uint64_t pointer, address = 0x56a100;
	size_t n = block(buf, 8, 0, "", 0);

	(void)state;
	memcpy(buf + 16, &address, 8);
	assert_true(go_buildinfo_parse(buf, n, version, &pointer));
	assert_string_equal(version, "");
	assert_int_equal(pointer, 0x56a100);
}

static void test_a_length_past_the_end_gives_no_version(void **state)
{
	static const char *const rests[] = {
		"\x09go1.27.4",
		"\x7fgo1.27.4",
		"\xff\xff\xff\xffgo1.2",
		"\xff\xff\xff\xff\xff\xff\xff\xff\xff",
		"\x80",
	};

	(void)state;
	for (size_t i = 0; i < N_OF(rests); i++) {
		uint8_t buf[64];
		char version[GO_VERSION_MAX];
		uint64_t pointer;
		size_t n = block(buf, 0, 2, rests[i], strlen(rests[i]));

		assert_true(go_buildinfo_parse(buf, n, version, &pointer));
		assert_string_equal(version, "");
	}
}

static void test_other_bytes_are_no_block(void **state)
{
	uint8_t buf[64];
	char version[GO_VERSION_MAX];
	uint64_t pointer;

	(void)state;
	block(buf, 0, 2, "\x08go1.27.4", 9);
	assert_false(go_buildinfo_parse(buf, 31, version, &pointer));
	buf[0] = 'x';
	assert_false(go_buildinfo_parse(buf, 41, version, &pointer));
}

static void test_minor_numbers(void **state)
{
	static const struct {
		const char *version;
		int minor;
	} rows[] = {
		{ "go1.22.5", 22 },
		{ "go1.9", 9 },
		{ "go1.27rc1", 27 },
		{ "devel go1.28-abcdef Mon", 28 },
		{ "go1.25.7 X:nodwarf5", 25 },
		{ "devel +abc", 0 },
		{ "", 0 },
		{ "go1.99999999999999", 9999 },
	};

	(void)state;
	for (size_t i = 0; i < N_OF(rows); i++)
		assert_int_equal(go_version_minor(rows[i].version),
				 rows[i].minor);
}

static void test_what_looks_like_a_version(void **state)
{
	(void)state;
	assert_true(go_version_plausible("go1.22", 6));
	assert_true(go_version_plausible("devel go1.28", 12));
	assert_false(go_version_plausible("go1.", 4));
	assert_false(go_version_plausible("go1.x", 5));
	assert_false(go_version_plausible("go1.2\n", 6));
	assert_false(go_version_plausible("goroutine", 9));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_version_is_inline_since_1_18),
		cmocka_unit_test(test_a_version_is_behind_a_pointer_before),
		cmocka_unit_test(test_a_length_past_the_end_gives_no_version),
		cmocka_unit_test(test_other_bytes_are_no_block),
		cmocka_unit_test(test_minor_numbers),
		cmocka_unit_test(test_what_looks_like_a_version),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
