/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_HOOKS_NATIVE_LINES_H
#define RUNTIME_HOOKS_NATIVE_LINES_H

/**
 * Lines and inlined functions from the DWARF of one file, by elfutils.
 */

#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "runtime-hooks/native/elffile.h"
#include "runtime-hooks/native/names.h"

/** All .debug sections together, unpacked; Chromium's have 3 GB. */
#define LINES_MAX_BYTES ((uint64_t)1 << 30)
#define LINES_MAX_UNITS 1000000

struct lines;

/** NULL: @file has no DWARF, too much of it, or out of memory. */
struct lines *lines_create(const struct elffile *file);
void lines_destroy(struct lines *lines);
/**
 * The functions at @addr, innermost first, texts in @arena. The outermost of
 * them has a function name only when DWARF has one.
 *
 * Returns: how many frames were set, 0 when nothing is known there.
 */
size_t lines_find(struct lines *lines, uint64_t addr, struct arena *arena,
		  struct names_frame *frames, size_t max);

#endif
