/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_HOOKS_NATIVE_NAMES_H
#define RUNTIME_HOOKS_NATIVE_NAMES_H

/**
 * Names of functions, files and lines of one ELF object: symbols from the file
 * or its separate debug file, lines and inlined functions from DWARF there.
 *
 * Separate debug files are found as gdb(1) finds them ("Debugging Information
 * in Separate Files"): by build id below /usr/lib/debug/.build-id, by
 * .gnu_debuglink beside the object, in .debug and below /usr/lib/debug; each
 * must have the object's build id, or the CRC that the link gives.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"

struct names;
struct object_build_id;

#define NAMES_MAX_INLINED 64
/** Of all objects of one process; of a Chromium with symbols it is 1 GB. */
#define NAMES_MAX_BYTES ((uint64_t)2 << 30)

struct names_frame {
	const char *function; /* demangled; NULL: not known */
	const char *file;     /* NULL: not known */
	uint32_t line;
	bool inlined; /* into the frame that follows */
};

struct names_at {
	const char *symbol; /* demangled; NULL: not known */
	uint64_t offset;    /* from its start */
	size_t n;	    /* of frames, innermost first; at least 1 */
	struct names_frame frames[NAMES_MAX_INLINED];
};

/**
 * Read the names of the object whose file is @fd; takes @fd over.
 *
 * @param root root directory of the process that has it mapped (it may be in a
 * container), or -1: not known.
 * @param path where the object lies, NULL not known.
 * @param lines files, lines and inlined functions are wanted, too. Unpacking
 * those of the C library takes 40 ms, and nobody looks at them.
 * Returns: NULL when it has none, or out of memory.
 */
struct names *names_create(int fd, int root, const char *path,
			   const struct object_build_id *build_id, bool lines);
void names_destroy(struct names *names);
/**
 * What is at @addr of the file, in a function that begins at @start (as call
 * frame information has it). Texts are good until the next call.
 */
void names_find(struct names *names, uint64_t addr, uint64_t start,
		struct names_at *ret);
bool names_have_lines(const struct names *names);
/** About how much memory they take. */
uint64_t names_bytes(const struct names *names);
/** Did reading the debug information fail, so that lines are missing? */
bool names_lines_failed(const struct names *names);
/** The address of a symbol. Returns: 0, -ENOENT. */
int names_symbol(const struct names *names, const char *name,
		 uint64_t *addr_ret, uint64_t *size_ret);

/**
 * A name of C++ or Rust as people write it, without parameters; @name itself,
 * copied, when it is none. Longer ones than DEMANGLE_MAX are cut with "...".
 */
#define DEMANGLE_MAX 1024
char *names_demangle(struct arena *arena, const char *name, size_t len);

#endif
