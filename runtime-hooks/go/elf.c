/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime-hooks/go/elf.h"

#include <elf.h>
#include <stdio.h>
#include <string.h>

#if defined(__x86_64__)
#define NATIVE_MACHINE EM_X86_64
#elif defined(__aarch64__)
#define NATIVE_MACHINE EM_AARCH64
#else
#error "64-bit little-endian x86 or arm only"
#endif

#define MAX_ADDRESS (1ull << 56)

static void add_segment(struct elf_head *head, const Elf64_Phdr *ph)
{
	struct elf_segment *seg;

	if (ph->p_type != PT_LOAD || head->n == ELF_MAX_SEGMENTS)
		return;
	// Sizes beyond any address space of a process are a lie.
	if (ph->p_vaddr >= MAX_ADDRESS || ph->p_memsz >= MAX_ADDRESS ||
	    ph->p_offset + ph->p_filesz < ph->p_offset ||
	    ph->p_filesz > ph->p_memsz)
		return;
	seg = &head->segments[head->n++];
	seg->vaddr = ph->p_vaddr;
	seg->memsz = ph->p_memsz;
	seg->filesz = ph->p_filesz;
	seg->offset = ph->p_offset;
	seg->write = ph->p_flags & PF_W;
	seg->exec = ph->p_flags & PF_X;
	if (seg->offset + seg->filesz > head->file_end)
		head->file_end = seg->offset + seg->filesz;
}

static enum elf_kind parse_ident(const uint8_t *bytes, size_t len)
{
	if (len < SELFMAG || memcmp(bytes, ELFMAG, SELFMAG) != 0)
		return ELF_NOT;
	if (len < EI_NIDENT)
		return ELF_TRUNCATED;
	if (bytes[EI_CLASS] == ELFCLASS32)
		return ELF_32BIT;
	if (bytes[EI_DATA] == ELFDATA2MSB)
		return ELF_BIG_ENDIAN;
	return ELF_OK;
}

enum elf_kind elf_parse(const void *bytes, size_t len, struct elf_head *ret)
{
	const uint8_t *p = bytes;
	enum elf_kind kind = parse_ident(p, len);
	Elf64_Ehdr eh;

	memset(ret, 0, sizeof(*ret));
	if (kind != ELF_OK)
		return kind;
	if (len < sizeof(eh))
		return ELF_TRUNCATED;
	memcpy(&eh, p, sizeof(eh));
	ret->machine = eh.e_machine;
	ret->entry = eh.e_entry;
	if (eh.e_machine != NATIVE_MACHINE)
		return ELF_FOREIGN;
	if (eh.e_type != ET_EXEC && eh.e_type != ET_DYN)
		return ELF_NOT_PROGRAM;
	if (eh.e_phentsize != sizeof(Elf64_Phdr) || eh.e_phoff > len)
		return ELF_TRUNCATED;
	for (size_t i = 0; i < eh.e_phnum; i++) {
		size_t at = eh.e_phoff + i * sizeof(Elf64_Phdr);
		Elf64_Phdr ph;

		if (len - eh.e_phoff < (i + 1) * sizeof(ph))
			return ELF_TRUNCATED;
		memcpy(&ph, p + at, sizeof(ph));
		add_segment(ret, &ph);
	}
	return ELF_OK;
}

uint64_t elf_first_page(const struct elf_head *head)
{
	uint64_t first = UINT64_MAX;

	for (uint32_t i = 0; i < head->n; i++)
		if (head->segments[i].vaddr < first)
			first = head->segments[i].vaddr;
	return head->n ? first & ~(uint64_t)4095 : 0;
}

const char *elf_machine_name(uint16_t machine, char buf[32])
{
	switch (machine) {
	case EM_X86_64:
		return "x86-64";
	case EM_AARCH64:
		return "arm64";
	case EM_386:
		return "x86";
	case EM_ARM:
		return "arm";
	case EM_RISCV:
		return "risc-v";
	case EM_S390:
		return "s390";
	case EM_PPC64:
		return "ppc64";
	default:
		snprintf(buf, 32, "machine %u", machine);
		return buf;
	}
}
