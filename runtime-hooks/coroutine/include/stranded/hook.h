/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STRANDED_HOOK_H
#define STRANDED_HOOK_H

/**
 * For the author of a coroutine library, or of a program with a switch of its
 * own: a few calls, and stranded sees the coroutines from outside. Who is
 * parked, where, on which fd, since when.
 *
 *	task = stranded_task_create("session", serve, stack + size);
 *	stranded_unpark(task);                 it runs
 *	stranded_park(task, STRANDED_READ, fd);
 *	my_switch_away();                      whatever it is
 *	stranded_unpark(task);
 *	stranded_task_end(task);
 *
 * Link with libstranded-hook.a. C11 and C++11. Every function may be called
 * from any thread and from signal handlers, but one task's only by who runs it
 * at that moment. None takes a lock or fails; create and end may make system
 * calls, nothing else does. errno is left alone.
 *
 * stranded_park() notes where it stands, so call it in the function that goes
 * on to the switch: it and its callers are the stack that will be shown.
 */

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** What a coroutine parks for. The numbers are part of the table's layout. */
enum stranded_op {
	STRANDED_OTHER = 0,
	STRANDED_READ = 1,    /* fd */
	STRANDED_WRITE = 2,   /* fd */
	STRANDED_ACCEPT = 3,  /* fd */
	STRANDED_CONNECT = 4, /* fd */
	STRANDED_POLL = 5,    /* several files, or -1 */
	STRANDED_SLEEP = 6,
	STRANDED_MUTEX = 7,
	STRANDED_COND = 8,
	STRANDED_CHAN_SEND = 9,
	STRANDED_CHAN_RECV = 10,
	STRANDED_JOIN = 11,
};

/** One line of the table; its layout is in runtime-hooks/coroutine/table.h. */
struct stranded_task {
	uint32_t seq, incarnation;
	uint64_t sp, pc, bp, stack_hi, since;
	uint8_t state, op, flags, reserved;
	int32_t fd;
	uint32_t site, parent;
};

/* States and flags, as in the table. */
#define STRANDED_STATE_FREE 0
#define STRANDED_STATE_CREATED 1
#define STRANDED_STATE_RUNNING 2
#define STRANDED_STATE_PARKED 3
#define STRANDED_FLAG_FD_TOLD 1
#define STRANDED_FLAG_MORE 16

/*
 * The library's own. With STRANDED_HOOK_OPTIONAL a program runs without the
 * library, too, and is seen when `stranded run` brings it.
 */
#ifdef STRANDED_HOOK_OPTIONAL
#define STRANDED_API __attribute__((weak))
#define STRANDED_HAVE(function) ((function) != NULL)
#else
#define STRANDED_API
#define STRANDED_HAVE(function) 1
#endif

STRANDED_API struct stranded_task *
stranded_hook_create(const char *name, void (*start)(void), void *hi);
STRANDED_API void stranded_hook_end(struct stranded_task *task);
STRANDED_API void stranded_hook_current(struct stranded_task *task);
STRANDED_API extern uint64_t stranded_hook_clock;
STRANDED_API void stranded_hook_more(struct stranded_task *task,
				     int64_t deadline_ns, const void *object);

/**
 * A new coroutine, not started yet.
 *
 * @param name kept by address, shown up to 63 bytes of it; must outlive the
 *	task. NULL: the start function's name is shown.
 * @param start the function that it begins with, for people; NULL: not known.
 * @param hi the end of its stack: nothing at or above is part of it; NULL: not
 *	known.
 * Returns: a handle, good until stranded_task_end(); NULL when the table is
 * full or the library is not there: every function takes it.
 *
 * The caller is the creation site; the task that runs in this thread, as
 * stranded_task_switch() told, is the parent.
 */
static inline __attribute__((always_inline)) struct stranded_task *
stranded_task_create(const char *name, void (*start)(void), void *hi)
{
	return STRANDED_HAVE(stranded_hook_create)
		       ? stranded_hook_create(name, start, hi)
		       : NULL;
}

/** It has returned, or is thrown away while parked. */
static inline void stranded_task_end(struct stranded_task *task)
{
	if (task)
		stranded_hook_end(task);
}

/**
 * Optional: @task (NULL: none, the thread's own stack) is what runs in this
 * thread from now on; new tasks are its children, and calls that would block
 * are noted for it.
 */
static inline void stranded_task_switch(struct stranded_task *task)
{
	if (STRANDED_HAVE(stranded_hook_current))
		stranded_hook_current(task);
}

/**
 * More on the wait that begins now, before stranded_park(): an absolute
 * CLOCK_MONOTONIC deadline in ns (0 none), and the address of what it waits
 * for, a mutex or a channel (NULL none).
 */
static inline void stranded_park_more(struct stranded_task *task,
				      int64_t deadline_ns, const void *object)
{
	if (task)
		stranded_hook_more(task, deadline_ns, object);
}

#define STRANDED_FENCE() __asm__ volatile("" ::: "memory")

/* Writers end on an even number; readers retry what is odd or has changed. */
static inline __attribute__((always_inline)) uint32_t
stranded_write_begin(struct stranded_task *task)
{
	uint32_t seq = (task->seq + 1) | 1;

	*(volatile uint32_t *)&task->seq = seq;
	STRANDED_FENCE();
	return seq;
}

static inline __attribute__((always_inline)) void
stranded_write_end(struct stranded_task *task, uint32_t seq)
{
	STRANDED_FENCE();
	*(volatile uint32_t *)&task->seq = seq + 1;
}

/**
 * What time it is for the parks that follow. Call it where the scheduler comes
 * back from its wait (epoll_wait and the like), once for all that it resumes
 * then: reading the clock costs more than a park. Without it nothing tells how
 * long a task had been parked when stranded first looked.
 */
static inline void stranded_tick(void)
{
#ifdef __x86_64__
	if (STRANDED_HAVE(stranded_hook_current))
		stranded_hook_clock = __builtin_ia32_rdtsc();
#endif
}

/** It was switched in, the first time or after a park. */
static inline __attribute__((always_inline)) void
stranded_unpark(struct stranded_task *task)
{
	uint32_t seq;

	if (!task)
		return;
	seq = stranded_write_begin(task);
	task->state = STRANDED_STATE_RUNNING;
	task->bp = 0;
	task->flags &= (uint8_t) ~(STRANDED_FLAG_FD_TOLD | STRANDED_FLAG_MORE);
	stranded_write_end(task, seq);
}

/** The next thing is the switch to somebody else. @fd -1: not for a file. */
static inline __attribute__((always_inline)) void
stranded_park(struct stranded_task *task, enum stranded_op op, int fd)
{
	if (!task)
		return;
	uint32_t seq = stranded_write_begin(task);
#ifdef __x86_64__
	uint64_t pc, sp, bp;

	__asm__ volatile("leaq 0f(%%rip), %0\n0:\tmovq %%rsp, %1\n\t"
			 "movq %%rbp, %2"
			 : "=&r"(pc), "=&r"(sp), "=&r"(bp));
	task->pc = pc;
	task->sp = sp;
	task->bp = bp;
	if (STRANDED_HAVE(stranded_hook_current))
		task->since = stranded_hook_clock;
#endif
	task->op = (uint8_t)op;
	task->fd = fd;
	task->flags |= STRANDED_FLAG_FD_TOLD;
	task->state = STRANDED_STATE_PARKED;
	stranded_write_end(task, seq);
}

#ifdef __cplusplus
}
#endif

#endif
