/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_HOOKS_COROUTINE_LINES_PRIV_H
#define RUNTIME_HOOKS_COROUTINE_LINES_PRIV_H

/** What the files that read the lines of a table share (lines.h). */

#include "runtime-hooks/coroutine/ctask.h"
#include "runtime-hooks/coroutine/lines.h"

#define NAME_BYTES HOOK_NAME_MAX
#define STACK_BYTES 4096u /* of one stack; deeper ones are read on demand */

/* What is read for one line of a batch. */
struct item {
	struct ctask_line line;
	uint32_t seq_again;
	bool read;	    /* the line was */
	bool odd;	    /* it was being written */
	bool again_ok;	    /* and could be read again */
	bool skip;	    /* nothing in it */
	bool gone;	    /* its stack is not its own any more */
	uint32_t name_at;   /* item whose name is read for it, too */
	uint32_t stack_len; /* of its part of the buffer; 0 none */
};

struct pass {
	const struct lines_in *in;
	struct lines_out *out;
	struct hook_site *raw_sites;
	struct lines_site *sites;  /* max_sites */
	uint32_t *incarnations;	   /* of every line, 0 not read */
	struct intern_table names; /* hash of the text -> text */
	/* buffers of a batch */
	uint32_t batch;
	struct item *items;
	uint32_t *todo; /* which of the items are to be read (again) */
	size_t n_todo;
	uint8_t *raw, *stacks;
	uint64_t (*marks)[2];
	char (*texts)[NAME_BYTES];
	struct process_read_req *reqs;
	size_t first; /* task of this table */
	bool nomem;
	uint64_t unread, bad, torn, unreadable;
};

static inline bool item_is_live(const struct item *it)
{
	return it->read && !it->odd && !it->skip;
}

/**
 * The stacks of the items in todo that are parked, and which of them are gone.
 */
void lines_find_stacks(struct pass *pass);
/** Sort by incarnation what is in the order of lines. False: no memory. */
bool lines_sort(struct task *tasks, size_t n);

#endif
