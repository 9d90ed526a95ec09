/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_HOOKS_COROUTINE_ST_H
#define RUNTIME_HOOKS_COROUTINE_ST_H

/**
 * The threads of the State Threads library (libst 1.9, x86-64), which is
 * linked statically and switches by itself, so that no hook sees it: read from
 * its own queues, _st_this_vp, as long as the program has its symbols.
 *
 * The layout is that of common.h of version 1.9, as Debian 12 compiles it. It
 * is believed when _st_md_cxt_save has the very instructions that store the
 * registers where we look for them, and the queues are rings whose elements
 * point back.
 *
 * Listed are those that wait for files or for a time, and that could run. Who
 * waits for a condition or a lock without a time-out is in no queue that
 * starts here, and is only counted; so is the one that runs.
 */

#include "base/error.h"
#include "base/gap.h"
#include "runtime-hooks/coroutine/live.h"
#include "runtime-hooks/coroutine/lines.h"
#include "runtime-hooks/native/native.h"
#include "runtime-hooks/runtime.h"

#define ST_MAX 1000000 /* threads; each has a stack of 64 KiB or more */

struct st {
	raddr_t vp;	/* _st_this_vp */
	raddr_t active; /* _st_active_count; 0 not known */
};

/** Addresses as the file of the program has them. */
struct st_symbols {
	uint64_t vp, save, active;
};

/** Has the program of @p State Threads in it? No where it has no symbols. */
bool st_symbols(const struct process *p, struct st_symbols *ret);

/**
 * Find it, and check that the layout fits. Fails: ERROR_ABSENT (not in use
 * yet), ERROR_CORRUPT (another version).
 */
struct error *st_find(struct live *mem, struct native *native,
		      const struct st_symbols *sym, struct st *ret);

struct st_in {
	struct live *mem;
	struct native *native;
	const struct st *st;
	uint32_t number; /* in the ids' top, as with tables */
	bool stacks;
	pid_t tid; /* the thread that all of them run in */
	int64_t alive_ns;
	int64_t now_wall_us; /* its clock, unless it was given another */
	int64_t now_mono_ns;
	/* stacks, with what is the library's told apart; between snapshots */
	struct intern_table *variants;
	struct arena *arena; /* for these */
};

/**
 * Append its threads to @snap, by ascending address, which is their id. What
 * the hook has seen on their stacks is taken out: it is the same, told worse.
 * *unseen_ret: how many more there are.
 *
 * @param room how many tasks snap->tasks may grow by; st_most() tells.
 * Fails: ERROR_NOMEM; what changed under our hands is a gap.
 */
struct error *st_read(const struct st_in *in, size_t room,
		      struct task_snapshot *snap, uint64_t *unseen_ret);

/** How many there may be now. */
size_t st_most(struct live *mem, const struct st *st);

#endif
