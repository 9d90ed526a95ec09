/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_HOOKS_COROUTINE_HOOK_HOOK_PRIV_H
#define RUNTIME_HOOKS_COROUTINE_HOOK_HOOK_PRIV_H

/**
 * The hook's own view of its table, for the files that stand in front of one
 * library each. Everything here may be called in signal handlers and by many
 * threads at once; only the creating and ending functions may make a system
 * call, none takes a lock, and none changes errno.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime-hooks/coroutine/table.h"

#pragma GCC visibility push(hidden)

/** What runs in this thread. */
struct hook_self {
	struct stranded_task *task; /* NULL: the thread's own stack */
	uint64_t id;		    /* of @task; 0 none */
	int32_t tid;		    /* 0: not asked for yet */
	bool system; /* what is created now is the library's own */
	/* The creation site, where a library creates for its caller. */
	uint64_t site_pc, site_start;
	/* Who has last saved a context here without leaving by that call. */
	struct hook_saved {
		uint64_t id; /* 0: nobody */
		uint64_t context, sp, pc, bp;
	} saved;
};

extern __thread struct hook_self hook_self
	__attribute__((tls_model("initial-exec")));

/** The table; the name that others find it by may be another copy's. */
extern struct hook_root stranded_hook_own;

/** Does this copy watch switches? Another one in the process may. */
extern bool hook_active;

struct hook_new {
	uint64_t pc;	   /* return address of the creating call */
	uint64_t start;	   /* function it begins with; 0 not known */
	uint64_t stack_hi; /* 0 not known */
	const char *name;  /* NULL none */
	uint8_t flags;	   /* HOOK_FLAG_* */
};

/** Give a line out; @hook_self says who creates. Returns its id, 0: full. */
uint64_t hook_create(const struct hook_new *what);
/** It is over, or can never run again. 0 and ended ones are none. */
void hook_end(uint64_t id);
/**
 * Who runs here is told, by the library that it uses, to be about to park for
 * this. Returns false when an outer call has said it already.
 */
bool hook_tell(enum stranded_op op, int fd);
/** That call is over. */
void hook_untell(void);
/** A call of who runs here would have blocked (else: op OTHER, fd -1). */
void hook_last_io(enum stranded_op op, int fd);

/** Has any been marked? */
extern bool hook_stacks_marked;
/** {id, id ^ HOOK_MARK} at @where, which is at the end of a stack. */
void hook_mark_stack(uint64_t where, uint64_t id);
/** Who has marked it and is still listed; 0 nobody. Reads 16 bytes. */
uint64_t hook_marked_stack(uint64_t where);

/** The block at @lo is about to be freed: who had it as a stack is gone. */
void hook_boost_freed(uintptr_t lo);

/** dlsym(3) of the next definition; keeps errno. NULL: there is none. */
void *hook_next(const char *name);

/** Fill hook_self.tid in. */
void hook_ask_tid(void) __attribute__((cold));

#pragma GCC visibility pop

/** The line of @id, or NULL when that task has ended. */
static inline struct stranded_task *hook_line(uint64_t id)
{
	const struct hook_root *root = &stranded_hook_own;
	uint32_t line = (uint32_t)id;

	/* no line that was given out has the incarnation 0 */
	if (line >= __atomic_load_n(&root->n_lines, __ATOMIC_ACQUIRE))
		return NULL;
	uint64_t chunk = __atomic_load_n(&root->lines[line >> HOOK_CHUNK_BITS],
					 __ATOMIC_RELAXED);
	struct stranded_task *task =
		(struct stranded_task *)chunk + (line & (HOOK_CHUNK_LINES - 1));
	return task->incarnation == id >> 32 && task->state != HOOK_FREE ? task
									 : NULL;
}

/** Who runs here parks: its stack pointer, pc (a return address) and rbp. */
static inline void hook_park(uint64_t sp, uint64_t pc, uint64_t bp)
{
	struct stranded_task *task = hook_self.task;

	if (!task)
		return;
	uint32_t seq = stranded_write_begin(task);
	task->sp = sp;
	task->pc = pc;
	task->bp = bp;
	task->flags |= HOOK_FLAG_PC_RETURN;
	task->state = HOOK_PARKED;
	stranded_write_end(task, seq);
}

/** From now on @id runs in this thread, which is @tid; 0: nobody listed. */
static inline void hook_run_in(uint64_t id, int32_t tid)
{
	struct stranded_task *task = hook_line(id);

	hook_self.task = task;
	hook_self.id = task ? id : 0;
	if (!task)
		return;
	uint32_t seq = stranded_write_begin(task);
	task->state = HOOK_RUNNING;
	task->bp = (uint64_t)tid;
	task->since = 0;
	task->op = STRANDED_OTHER;
	task->fd = -1;
	task->flags &= (uint8_t) ~(HOOK_FLAG_FD_TOLD | HOOK_FLAG_PC_RETURN |
				   HOOK_FLAG_MORE);
	stranded_write_end(task, seq);
}

/** The same, for who has not asked which thread this is. */
static inline void hook_run(uint64_t id)
{
	if (__builtin_expect(!hook_self.tid, 0))
		hook_ask_tid();
	hook_run_in(id, hook_self.tid);
}

#endif
