/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_HOOKS_COROUTINE_LINES_H
#define RUNTIME_HOOKS_COROUTINE_LINES_H

/**
 * From the lines of a table to tasks.
 *
 * By batches: the lines, what else there is of them, the stacks of those that
 * are parked, the lines again. One whose sequence number is odd or has changed
 * meanwhile is read once more, at most LINES_RETRIES times, then it is torn.
 * Memory is that of one batch, and of the tasks: 1,000,000 of them are some
 * 250 MB, as goroutines are.
 */

#include "base/error.h"
#include "runtime-hooks/coroutine/tsc.h"
#include "runtime-hooks/coroutine/live.h"
#include "runtime-hooks/coroutine/root.h"
#include "runtime-hooks/intern.h"
#include "runtime-hooks/native/native.h"
#include "runtime-hooks/runtime.h"

#define LINES_RETRIES 3

/** A creation site with its frames. */
struct lines_site {
	const struct frame *created_by, *start; /* NULL: not known */
	bool looked_up;
};

struct lines_in {
	struct live *mem;
	const struct root *root;
	uint32_t number; /* of the table in this process; in the ids' top */
	struct native *native; /* NULL: no stacks, no frames */
	bool stacks;	       /* look at them; tell who has lost his */
	bool tids;	       /* thread ids are ours, too */
	struct tsc_rate rate;
	int64_t alive_ns; /* of the process */
	/* stack -> the same, all of it uncertain; kept between snapshots */
	struct intern_table *uncertain;
	struct arena *arena; /* for these */
};

/** What came of it. */
struct lines_out {
	struct task_snapshot *snap; /* tasks are appended, ascending by id */
	size_t cap;		    /* of snap->tasks */
	uint64_t gone; /* left out: their stack is gone, or another's */
};

/** Read a table. Fails: ERROR_NOMEM; all else is a gap. */
struct error *lines_read(const struct lines_in *in, struct lines_out *out);

/** How many tasks lines_read() may append. */
static inline size_t lines_most(const struct root *root)
{
	size_t n = 0;

	for (uint32_t i = 0; i < root->v.max_chunks; i++)
		if (root->v.lines[i])
			n += root->v.chunk_lines;
	return n < root->v.n_lines ? n : root->v.n_lines;
}

/**
 * The creation sites of a table, as they were read: max_sites of them.
 * *ret is malloc()ed, NULL where there are none. Fails: ERROR_NOMEM,
 * ERROR_FAULT.
 */
struct error *lines_sites(struct live *mem, const struct root *root,
			  struct hook_site **ret);
/** Is the creation site known? */
static inline bool lines_site_known(const struct hook_site *site)
{
	return site->pc > 1; // 1 is the hook's "taken, and not known"
}

#endif
