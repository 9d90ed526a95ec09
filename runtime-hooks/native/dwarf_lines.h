/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_HOOKS_NATIVE_DWARF_LINES_H
#define RUNTIME_HOOKS_NATIVE_DWARF_LINES_H

/**
 * Lines and inlined functions from the DWARF of one file, by elfutils. What
 * the file says may be crafted to crash it, or keep it busy: call this only in
 * a process that may end (see lines.h).
 */

#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "runtime-hooks/native/names.h"

#define LINES_MAX_UNITS 1000000

struct dwarf_lines;

/**
 * @fd and @alt_fd (what dwz(1) put into a file of its own, or -1) must stay
 * open. NULL: no DWARF, or out of memory.
 */
struct dwarf_lines *dwarf_lines_create(int fd, int alt_fd);
void dwarf_lines_destroy(struct dwarf_lines *lines);
/**
 * The functions at @addr, innermost first, texts in @arena. The outermost of
 * them has a function name only when DWARF has one.
 *
 * Returns: how many frames were set, 0 when nothing is known there.
 */
size_t dwarf_lines_find(struct dwarf_lines *lines, uint64_t addr,
			struct arena *arena, struct names_frame *frames,
			size_t max);

#endif
