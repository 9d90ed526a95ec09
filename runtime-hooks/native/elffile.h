/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_HOOKS_NATIVE_ELFFILE_H
#define RUNTIME_HOOKS_NATIVE_ELFFILE_H

/**
 * What only an ELF file has, and memory has not: its sections, and of these
 * the symbols (ELF-64 Object File Format 1.5, sections 4 and 5; elf(5)).
 *
 * Files are read, never mapped: one that is cut short meanwhile would raise
 * SIGBUS. All that a file says is bounded by its size and by the limits here.
 */

#include <elf.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime-hooks/native/object.h"

#define ELFFILE_MAX_SECTIONS 65536
#define ELFFILE_MAX_TABLE ((uint64_t)256 << 20) /* Chromium has 200 MB */

struct elffile {
	int fd; /* the caller's */
	uint64_t size;
	Elf64_Shdr *sections;
	size_t n;
	char *names; /* of sections, with a NUL at names_len */
	size_t names_len;
};

/**
 * Open a regular file, and nothing else: whoever can choose a path can have it
 * lead to a device that does something when it is opened.
 *
 * @param root absolute paths start there, and none leads out; AT_FDCWD: as
 * open(2) has it.
 * Returns: an fd or -errno.
 */
int elffile_open(int root, const char *path)
	__attribute__((warn_unused_result));
/** The same for a link below /proc/PID. */
int elffile_open_link(int procfd, const char *name)
	__attribute__((warn_unused_result));
/** Read the section headers. Returns: 0, -ENOEXEC, -ENOMEM, -errno. */
int elffile_read(int fd, struct elffile *ret)
	__attribute__((warn_unused_result));
void elffile_clear(struct elffile *file);
/** The first section called @name, or NULL. */
const Elf64_Shdr *elffile_section(const struct elffile *file, const char *name);
/**
 * The bytes of @section, malloc()ed, with a NUL after them; NULL: too many, or
 * @section is NULL.
 */
void *elffile_bytes(const struct elffile *file, const Elf64_Shdr *section,
		    size_t *len_ret);
bool elffile_build_id(int fd, struct object_build_id *ret);

/** A function, or a label in code. Addresses are the file's. */
struct symbol {
	uint64_t addr, size; /* size 0: not said (assembly) */
	const char *name;    /* not ended by a version ("@@GLIBC_2.2.5") */
	uint32_t name_len;
	uint8_t rank; /* of names for one address the lowest is the best */
};

struct symtab {
	struct symbol *v; /* ascending by addr, then rank */
	size_t n;
	char *strings;
	size_t bytes; /* of memory that it takes */
};

/** Read .symtab, else .dynsym. Returns: 0, -ENOENT (neither), -errno. */
int symtab_read(const struct elffile *file, struct symtab *ret)
	__attribute__((warn_unused_result));
void symtab_clear(struct symtab *tab);
/**
 * The best symbol that covers @addr, NULL when none does. A symbol without a
 * size covers what follows it up to the next one, if it is @start (where call
 * frame information has the function begin, 0 unknown).
 */
const struct symbol *symtab_find(const struct symtab *tab, uint64_t addr,
				 uint64_t start);
const struct symbol *symtab_named(const struct symtab *tab, const char *name);

static inline void elffile_clearp(struct elffile *file)
{
	elffile_clear(file);
}
#define AUTO_ELFFILE __attribute__((cleanup(elffile_clearp)))

#endif
