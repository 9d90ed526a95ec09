/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_HOOKS_GO_MODULE_H
#define RUNTIME_HOOKS_GO_MODULE_H

/**
 * Finding the Go modules of a process: runtime.moduledata by its shape.
 *
 * moduledata (runtime/symtab.go) is initialised data with a rigid beginning,
 * the same in Go 1.16 to 1.27: the address of the pcHeader, six slices whose
 * length equals their capacity and that follow each other in memory, and the
 * bounds of text, data and bss. No symbol, section or build info is needed,
 * and what is found is relocated and, in a packed program, unpacked. The magic
 * word of the pcHeader then names the format (pclntab.h).
 *
 * What moved between versions (gofunc, types, next) is found by trying each
 * word of the rest and keeping the one with which the tables make sense.
 */

#include "runtime-hooks/go/elf.h"
#include "runtime-hooks/go/image.h"
#include "base/pagecache.h"
#include "runtime-hooks/go/pclntab.h"

/* sizeof(moduledata) is 536 (1.16) to 592 (1.21). */
#define MODULE_WORDS 80
/* The part whose place never moved: up to enoptrbss. */
#define MODULE_FIXED_WORDS 32

/** An ELF object as it is mapped. */
struct module_object {
	raddr_t bias;	  /* add to the addresses of the program headers */
	const char *path; /* of the mapping; may be "" */
	struct elf_head head;
};

struct module {
	struct go_module public;
	struct pclntab tab;
	struct module_object *object; /* set by whoever found it */
	uint64_t words[MODULE_WORDS];
	size_t n_words;	 /* read; at least MODULE_FIXED_WORDS */
	bool inlines;	 /* there are inline trees */
	bool long_names; /* type names with two length bytes (1.16) */
};

/** Is @addr in a segment of @o? */
bool module_object_holds(const struct module_object *o, raddr_t addr);

/** Do these words have the shape of a moduledata? Checks no memory. */
bool module_shape(const uint64_t words[MODULE_FIXED_WORDS]);

/**
 * Look for a moduledata in @len bytes (8-aligned) that were read at @addr.
 * Returns: its offset, or -1.
 */
int64_t module_search(const void *bytes, size_t len);

/**
 * Make a module of the moduledata at @addr: reads it and its pcHeader, and
 * checks one against the other. Returns false when they do not fit.
 */
bool module_read(struct pagecache *mem, raddr_t addr, struct module *ret);

/** Does word @i of @m, seen as a pointer, equal @addr in the tail? */
bool module_links_to(const struct module *m, raddr_t addr);

/** Find gofunc; leaves 0 when no word fits, or none is needed. */
void module_find_gofunc(struct module *m);
/** Find types and etypes; leaves 0 when no word fits. */
void module_find_types(struct module *m);

/**
 * Read the name of the type at @type, with @types as the base of offsets.
 * Returns: its length in @buf (no NUL is written), or -1.
 */
ssize_t module_type_name(struct pagecache *mem, raddr_t types, raddr_t type,
			 bool long_names, char *buf, size_t size);

#endif
