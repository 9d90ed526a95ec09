/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_HOOKS_GO_ELF_H
#define RUNTIME_HOOKS_GO_ELF_H

/**
 * The little of ELF that is needed: the header and the program headers, from
 * any bytes. No sections, no symbols: a stripped or damaged file has none, and
 * what the loader mapped follows from the program headers alone (ELF-64 Object
 * File Format 1.5; elf(5)).
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** Program headers that are looked at; real objects have under 20. */
#define ELF_MAX_SEGMENTS 64
/** Enough bytes of a file's start for the header and these. */
#define ELF_HEAD_BYTES 4096

enum elf_kind {
	ELF_OK,
	ELF_NOT,       /* no ELF magic */
	ELF_TRUNCATED, /* headers lie outside of the bytes */
	ELF_32BIT,
	ELF_BIG_ENDIAN,
	ELF_FOREIGN,	/* another architecture than this program's */
	ELF_NOT_PROGRAM /* neither an executable nor a shared object */
};

struct elf_segment {
	uint64_t vaddr, memsz, filesz, offset;
	bool write, exec;
};

struct elf_head {
	uint16_t machine;
	uint64_t entry;
	uint64_t file_end; /* bytes of the file that segments lie in */
	uint32_t n;
	struct elf_segment segments[ELF_MAX_SEGMENTS]; /* PT_LOAD only */
};

/** Parse @bytes, the start of an ELF object. @ret is set as far as known. */
enum elf_kind elf_parse(const void *bytes, size_t len, struct elf_head *ret);
/** Lowest address of any segment, rounded down to a page. */
uint64_t elf_first_page(const struct elf_head *head);
/** "x86-64", "arm64", or "machine 8" in @buf. */
const char *elf_machine_name(uint16_t machine, char buf[32]);

#endif
