/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Our reading of call frame information beside elfutils' one, for what is
 * installed here: each function of each library, at its first, middle and last
 * instruction.
 */
#include "tests/unit/unit.h"

#include <dwarf.h>
#include <elfutils/libdw.h>
#include <errno.h>
#include <fcntl.h>
#include <gelf.h>
#include <glob.h>

#include "base/cleanup.h"
#include "runtime-hooks/native/cfi.h"

#define IMAGE_MAX ((size_t)256 << 20)
#define FUNCTIONS_MAX 6000 /* of one library, evenly spread */

static const char *const objects[] = {
	"/lib/x86_64-linux-gnu/libc.so.6",
	"/lib64/ld-linux-x86-64.so.2",
	"/usr/lib/x86_64-linux-gnu/libstdc++.so.6",
	"/usr/lib/x86_64-linux-gnu/libcrypto.so.*",
	"/usr/lib/x86_64-linux-gnu/libpq.so.5",
	"/usr/bin/python3",
	"/usr/bin/redis-cli",
	"/usr/lib/jvm/*/lib/server/libjvm.so",
};

struct image {
	Elf *elf;
	uint8_t *bytes;
	size_t len;
	struct cfi_section cfi;
	struct pagecache *mem;
	Dwarf_CFI *theirs;
};

/* The segments where the loader would put them, from address 0 on. */
static bool load(const char *path, struct image *image)
{
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t n = 0;

	image->elf = elf_begin(fd, ELF_C_READ, NULL);
	elf_getphdrnum(image->elf, &n);
	image->bytes = calloc(1, IMAGE_MAX);
	for (size_t i = 0; i < n; i++) {
		GElf_Phdr ph;

		gelf_getphdr(image->elf, (int)i, &ph);
		if (ph.p_type == PT_GNU_EH_FRAME)
			image->cfi.hdr = ph.p_vaddr;
		if (ph.p_type != PT_LOAD || ph.p_vaddr + ph.p_memsz > IMAGE_MAX)
			continue;
		if (pread(fd, image->bytes + ph.p_vaddr, ph.p_filesz,
			  (off_t)ph.p_offset) != (ssize_t)ph.p_filesz)
			return false;
		if (ph.p_vaddr + ph.p_memsz > image->len)
			image->len = ph.p_vaddr + ph.p_memsz;
	}
	image->cfi.hi = image->len;
	image->mem = pagecache_create_bytes(image->bytes, image->len, 0);
	elf_cntl(image->elf, ELF_C_FDREAD);
	image->theirs = dwarf_getcfi_elf(image->elf);
	return image->cfi.hdr && image->theirs;
}

static void unload(struct image *image)
{
	pagecache_destroy(image->mem);
	if (image->theirs)
		dwarf_cfi_end(image->theirs);
	elf_end(image->elf);
	free(image->bytes);
}

/* CFA = register + offset, or an expression. */
static bool same_cfa(const struct cfi_row *row, Dwarf_Frame *frame)
{
	Dwarf_Op *ops;
	size_t n;

	if (dwarf_frame_cfa(frame, &ops, &n))
		return false;
	if (row->cfa_expression)
		return n > 1;
	return n == 1 && ops[0].atom == DW_OP_bregx &&
	       ops[0].number == row->cfa_reg &&
	       (int64_t)ops[0].number2 == row->cfa_offset;
}

static bool same_rule(const struct cfi_rule *rule, Dwarf_Frame *frame, int reg)
{
	Dwarf_Op mem[3], *ops;
	int64_t offset = 0;
	size_t n;

	if (dwarf_frame_register(frame, reg, mem, &ops, &n))
		return false;
	// what is not told of a register counts as undefined there, and as
	// the same here: libunwind and the psABI have it so
	if (!n && ops && reg != NATIVE_RIP)
		return rule->how == CFI_SAME || rule->how == CFI_UNDEFINED;
	if (!n)
		return rule->how == (ops ? CFI_UNDEFINED : CFI_SAME);
	if (ops[0].atom == DW_OP_regx)
		return rule->how == CFI_REGISTER && rule->reg == ops[0].number;
	if (ops != mem || ops[0].atom != DW_OP_call_frame_cfa)
		return rule->how == CFI_EXPRESSION;
	if (n > 1 && ops[1].atom == DW_OP_plus_uconst)
		offset = (int64_t)ops[1].number;
	return rule->how == (ops[n - 1].atom == DW_OP_stack_value ? CFI_VALUE
								  : CFI_AT) &&
	       rule->offset == offset;
}

static void compare(const struct image *image, const char *path, uint64_t pc)
{
	static const int regs[] = { 3, 6, 12, 13, 14, 15, 16 };
	Dwarf_Frame *frame = NULL;
	Dwarf_Addr start, end;
	struct cfi_row row;
	bool signal;
	int rc = cfi_find(image->mem, &image->cfi, pc, &row);
	int theirs = dwarf_cfi_addrframe(image->theirs, pc, &frame);

	if (!rc != !theirs)
		fail_msg("%s: at 0x%llx we have %d, elfutils has %d", path,
			 (unsigned long long)pc, rc, theirs);
	if (rc)
		return;
	dwarf_frame_info(frame, &start, &end, &signal);
	if (!same_cfa(&row, frame) || signal != row.signal_frame)
		fail_msg("%s: another CFA at 0x%llx", path,
			 (unsigned long long)pc);
	for (size_t i = 0; i < N_OF(regs); i++)
		if (!same_rule(&row.rule[regs[i]], frame, regs[i]))
			fail_msg("%s: another register %d at 0x%llx", path,
				 regs[i], (unsigned long long)pc);
	free(frame);
}

static size_t check_object(const char *path)
{
	struct image image = { .len = 0 };
	uint64_t step, asked = 0;

	assert_true(load(path, &image));
	assert_int_equal(cfi_open(image.mem, &image.cfi), 0);
	step = image.cfi.n / FUNCTIONS_MAX + 1;
	for (uint64_t i = 0; i < image.cfi.n; i += step) {
		struct cfi_row row;
		int32_t start;
		uint64_t pc;

		memcpy(&start, image.bytes + image.cfi.hdr + 12 + i * 8, 4);
		pc = image.cfi.hdr + (uint64_t)(int64_t)start;
		assert_int_equal(cfi_find(image.mem, &image.cfi, pc, &row), 0);
		assert_true(row.start == pc);
		compare(&image, path, pc);
		compare(&image, path, pc + (row.end - row.start) / 2);
		compare(&image, path, row.end - 1);
		asked += 3;
	}
	unload(&image);
	return asked;
}

static void test_rows_are_those_of_elfutils(void **state)
{
	size_t n_objects = 0;

	(void)state;
	elf_version(EV_CURRENT);
	for (size_t i = 0; i < N_OF(objects); i++) {
		glob_t found;

		if (glob(objects[i], 0, NULL, &found))
			continue;
		print_message("%s: %zu rows\n", found.gl_pathv[0],
			      check_object(found.gl_pathv[0]));
		n_objects++;
		globfree(&found);
	}
	NEEDS("libraries of Debian's x86-64", n_objects >= 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows_are_those_of_elfutils),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
