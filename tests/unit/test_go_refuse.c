/* SPDX-License-Identifier: Apache-2.0 */

/* Headers of executables, and the reasons for which real processes are not
 * read. */

#include "tests/unit/unit.h"

#include <elf.h>
#include <fcntl.h>

#include "base/cleanup.h"
#include "base/process.h"
#include "runtime-hooks/go/elf.h"
#include "runtime-hooks/go/image.h"

static size_t own_head(uint8_t *buf)
{
	AUTO_CLOSE int fd = open("/proc/self/exe", O_RDONLY);
	ssize_t n = read(fd, buf, ELF_HEAD_BYTES);

	assert_true(n > 64);
	return (size_t)n;
}

static void test_own_executable_is_understood(void **state)
{
	uint8_t buf[ELF_HEAD_BYTES];
	size_t n = own_head(buf);
	struct elf_head head;
	bool exec = false, write = false;

	(void)state;
	assert_int_equal(elf_parse(buf, n, &head), ELF_OK);
	assert_true(head.n >= 2);
	for (uint32_t i = 0; i < head.n; i++) {
		exec |= head.segments[i].exec;
		write |= head.segments[i].write;
	}
	assert_true(exec && write);
	assert_true(head.entry > elf_first_page(&head));
}

static void test_other_kinds_are_told_apart(void **state)
{
	static const struct {
		size_t at;
		uint8_t value;
		enum elf_kind kind;
	} rows[] = {
		{ 0, 'x', ELF_NOT },
		{ EI_CLASS, ELFCLASS32, ELF_32BIT },
		{ EI_DATA, ELFDATA2MSB, ELF_BIG_ENDIAN },
		{ 16, ET_REL, ELF_NOT_PROGRAM },
		{ 18, EM_S390, ELF_FOREIGN },
		{ 33, 0xff, ELF_TRUNCATED }, // e_phoff
		{ 57, 0xff, ELF_TRUNCATED }, // e_phnum
	};

	(void)state;
	for (size_t i = 0; i < N_OF(rows); i++) {
		uint8_t buf[ELF_HEAD_BYTES];
		size_t n = own_head(buf);
		struct elf_head head;

		buf[rows[i].at] = rows[i].value;
		assert_int_equal(elf_parse(buf, n, &head), rows[i].kind);
	}
}

static void test_every_shorter_header_is_truncated(void **state)
{
	uint8_t buf[ELF_HEAD_BYTES];
	struct elf_head head;

	(void)state;
	own_head(buf);
	for (size_t n = 4; n < 64; n++)
		assert_int_equal(elf_parse(buf, n, &head), ELF_TRUNCATED);
	assert_int_equal(elf_parse(buf, 3, &head), ELF_NOT);
}

static void test_segments_of_absurd_size_are_left_out(void **state)
{
	uint8_t buf[ELF_HEAD_BYTES];
	size_t n = own_head(buf);
	struct elf_head head;
	uint64_t phoff;
	uint16_t phnum;

	(void)state;
	memcpy(&phoff, buf + 32, 8);
	memcpy(&phnum, buf + 56, 2);
	for (size_t i = 0; i < phnum; i++) // p_memsz
		memset(buf + phoff + 56 * i + 40, 0xff, 8);
	assert_int_equal(elf_parse(buf, n, &head), ELF_OK);
	assert_int_equal(head.n, 0);
}

static void test_a_c_program_is_not_a_go_program(void **state)
{
	AUTO_PROCESS struct process *p = NULL;
	struct go_image *image = NULL;
	pid_t pid = child_start(NULL, NULL);

	(void)state;
	assert_ok(process_open(pid, &p));
	assert_error(go_image_create(p, &image), ERROR_ABSENT,
		     "is not a Go program");
	assert_null(image);
	child_end(pid);
}

static void test_a_process_that_ended_is_gone(void **state)
{
	AUTO_PROCESS struct process *p = NULL;
	struct go_image *image = NULL;
	pid_t pid = child_start(NULL, NULL);

	(void)state;
	assert_ok(process_open(pid, &p));
	child_end(pid);
	assert_error(go_image_create(p, &image), ERROR_GONE, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_own_executable_is_understood),
		cmocka_unit_test(test_other_kinds_are_told_apart),
		cmocka_unit_test(test_every_shorter_header_is_truncated),
		cmocka_unit_test(test_segments_of_absurd_size_are_left_out),
		cmocka_unit_test(test_a_c_program_is_not_a_go_program),
		cmocka_unit_test(test_a_process_that_ended_is_gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
