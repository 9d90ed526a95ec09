/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_HOOKS_NATIVE_LINES_H
#define RUNTIME_HOOKS_NATIVE_LINES_H

/**
 * Lines and inlined functions of one file, asked from a child process.
 *
 * Debug information is a program for the one who reads it, and a target may
 * bring its own: nested a million deep, endless, or made for a hole in the
 * library. So it is read by a child that can do nothing but compute (no file
 * can be opened there, no process seen: seccomp(2)), has bounds for memory and
 * time, and is given up when it dies or does not answer. What it answers is
 * taken to be hostile, too.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "runtime-hooks/native/elffile.h"
#include "runtime-hooks/native/names.h"

/** All .debug sections together, unpacked; Chromium's have 3 GB. */
#define LINES_MAX_BYTES ((uint64_t)1 << 30)
#define LINES_MAX_MEMORY ((uint64_t)4 << 30) /* of the child */
#define LINES_MAX_CPU_S 60
#define LINES_TIMEOUT_MS 10000 /* the first answer reads all sections */
#define LINES_MAX_ANSWER 65536 /* bytes; longer ones are cut */

#define LINES_MAX_CHILDREN 64 /* of one process that is looked at */

struct lines;

/**
 * @file is what has the DWARF; @alt_fd as in dwarf_lines.h, the caller's.
 * NULL: there is none, too much of it, or no child can be had.
 */
struct lines *lines_create(const struct elffile *file, int alt_fd);
void lines_destroy(struct lines *lines);
/** As dwarf_lines_find(); 0 also when the child is lost. */
size_t lines_find(struct lines *lines, uint64_t addr, struct arena *arena,
		  struct names_frame *frames, size_t max);
/** About how much memory the child takes. */
uint64_t lines_bytes(const struct lines *lines);
/** Was the child lost? */
bool lines_failed(const struct lines *lines);

#endif
