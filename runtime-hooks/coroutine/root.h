/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_HOOKS_COROUTINE_ROOT_H
#define RUNTIME_HOOKS_COROUTINE_ROOT_H

/**
 * Where the tables of coroutines of a process are (table.h), and whether they
 * hold together. Nothing in them is believed: sizes, counts and addresses are
 * bounded here, once, so that whoever reads lines need not ask again.
 */

#include "base/error.h"
#include "base/process.h"
#include "runtime-hooks/coroutine/live.h"
#include "runtime-hooks/coroutine/table.h"

#define ROOT_MAX 16		  /* copies of the hook in one process */
#define ROOT_MAX_STRIDE 4096	  /* bytes of one line of any kind */
#define ROOT_MAX_CHUNK (1u << 20) /* lines */

/** A root as it was read, when it was sound. */
struct root {
	raddr_t at;
	struct hook_root v;
};

/** The addresses in @v of what may be roots; returns how many, at most @max. */
size_t root_find(struct live *mem, const struct process_maps *maps, raddr_t *v,
		 size_t max);

/**
 * Read the root at @at and judge it.
 *
 * Fails: ERROR_UNSUPPORTED (a version other than 1, said so; not yet begun),
 * ERROR_CORRUPT (no table, or one that contradicts itself: names what),
 * ERROR_FAULT (nothing to read there).
 */
struct error *root_read(struct live *mem, raddr_t at, struct root *ret);

#endif
