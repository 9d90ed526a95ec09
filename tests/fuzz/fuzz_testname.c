/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A test program whose memory lies: three tests below each other, into which
 * the input writes. Its first byte chooses the version, the next whether that
 * is known and whether a name is learned before the writing; then come records
 * of {word number u16, how u8, value u64}.
 */
#include "tests/unit/testname_world.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define RECORD 11
/* A batch of 64 words, a chain of 32 for each, twice. */
#define MAX_READS 100000

static struct tests_world w;

static void write_word(const uint8_t *record)
{
	uint32_t used = (uint32_t)(w.next - TESTS_BASE) / 8;
	uint32_t word = (record[0] | (uint32_t)record[1] << 8);
	uint64_t value = go_word(record + 3);

	if (record[2] & 8) // the stack
		word = (uint32_t)(TESTS_HI - TESTS_BASE) / 8 - 1 - word % 64;
	raddr_t at = TESTS_BASE + word % (TESTS_BYTES / 8) * 8ull;
	switch (record[2] % 4) {
	case 0:
		tests_put(&w, at, value);
		break;
	case 1: // to some other word
		tests_put(&w, at, TESTS_BASE + value % used * 8);
		break;
	case 2: // a little off
		tests_put(&w, at, tests_get(&w, at) + value % 64 - 32);
		break;
	default: // what another word has
		tests_put(&w, at, tests_get(&w, TESTS_BASE + value % used * 8));
		break;
	}
}

static void read_name(enum go_test_role role)
{
	char name[GO_TEST_NAME_MAX];

	w.reads = 0;
	if (tests_name(&w, role, name)) {
		if (!*name || strlen(name) >= sizeof(name))
			abort();
		for (const char *c = name; *c; c++)
			if ((unsigned char)*c < 0x20 || *c == 0x7f)
				abort();
	}
	if (w.reads > MAX_READS)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 2 || !tests_init(&w, &tests_shapes[data[0] % TESTS_SHAPES]))
		return 0;
	raddr_t t = tests_t(&w, 0, "");
	t = tests_t(&w, t, "TestPool");
	t = tests_t(&w, t, "TestPool/redial");
	tests_stack(&w, 9, t);
	tests_stack(&w, 20, tests_t(&w, t, "TestPool/redial/below"));
	w.names.minor = data[1] & 2 ? w.shape->minor : 0;
	if (data[1] & 1)
		read_name(GO_TEST_T);
	for (size_t i = 2; i + RECORD <= size; i += RECORD)
		write_word(data + i);
	read_name(GO_TEST_T);
	read_name(GO_TEST_B);
	go_live_deinit(&w.live);
	return 0;
}
