/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_HOOKS_COROUTINE_CTASK_H
#define RUNTIME_HOOKS_COROUTINE_CTASK_H

/**
 * One line of the table, as it was read, made a task. Nothing is read here.
 */

#include "runtime-hooks/coroutine/lines.h"

/** A line and what belongs to it, all of one moment. */
struct ctask_line {
	uint32_t index; /* in the table */
	struct stranded_task v;
	struct hook_more more; /* incarnation 0: none */
	const char *name;      /* in the snapshot's arena; NULL none */
	const struct stack *stack;
	bool torn;	 /* changed under our hands, again and again */
	bool unreadable; /* parked, and its stack is not there: it has ended
			     without a word, or the table lies */
};

/** Fill @t, which is zeroed, from @line; site may be NULL. */
void ctask_fill(const struct lines_in *in, struct arena *arena,
		const struct ctask_line *line, const struct lines_site *site,
		struct task *t);

/**
 * The id of line @index in its present incarnation, as it is shown: 1, 2, 3 ...
 * while no line was used twice. @number tells tables apart.
 */
uint64_t ctask_id(uint32_t number, uint32_t incarnation, uint32_t index);

/**
 * The id of the parent that @parent of a line tells, by the incarnation that
 * its line has now; 0 when there is none. The parent may have ended.
 */
uint64_t ctask_parent(uint32_t number, uint32_t parent,
		      const uint32_t *incarnations, uint32_t n);

#endif
