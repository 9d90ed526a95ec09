/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_HOOKS_GO_UNWIND_H
#define RUNTIME_HOOKS_GO_UNWIND_H

/**
 * Stacks of parked goroutines, from a copy of their bytes.
 *
 * Thousands of goroutines share a few hundred stacks. Each that was unwound is
 * kept as a shape: its pcs, and where on the stack each return address lies.
 * The next stack with the same first pc is compared with it at those places;
 * since the size of a frame follows from its pc, equal words there are the
 * same stack, proved frame by frame, without any table lookup.
 *
 * A shape also keeps what follows from the functions alone: which word holds
 * the argument of runtime_pollWait, what a semaphore belongs to.
 */

#include "runtime-hooks/go/live.h"
#include "runtime-hooks/go/symbols.h"
#include "runtime-hooks/task.h"

/** The used part of a stack: [sp, hi), of which the first len bytes are here. */
struct go_stack_view {
	raddr_t sp, hi;
	const uint8_t *bytes;
	size_t len;
};

struct go_shape {
	struct go_shape *next; /* same bucket */
	uint64_t key;
	raddr_t first_pc;
	uint32_t n;
	uint32_t *ret_at; /* [i]: offset from sp of frame i's return address */
	raddr_t *pcs;
	const struct stack *stack;
	bool whole; /* up to the outermost function, or as far as we go */
	/* what the functions on it tell; offsets are from sp, 0 is none */
	enum wait_kind io;   /* READ, WRITE, ACCEPT, CONNECT; NONE unknown */
	enum wait_kind sync; /* MUTEX ... COND; SEMAPHORE unknown owner */
	int sync_back;	     /* from the semaphore word back to its owner */
	uint32_t poll_arg;   /* argument slot of runtime_pollWait */
	uint32_t fd_arg;     /* argument slot of the method of poll.FD */
	uint32_t poll_end;   /* the pollDesc is before this */
	uint32_t sudog_end;  /* the sudog of a semaphore is before this */
	uint32_t cond_end;   /* the sync.Cond is before this */
	uint32_t found_at;   /* where a record was found last */
	bool calls_user;     /* some function is not the runtime's own */
};

struct go_unwinder;

/** Returns NULL when out of memory. The arguments must outlive it. */
struct go_unwinder *go_unwinder_create(struct go_live *mem,
				       const struct go_symbols *sym);
void go_unwinder_destroy(struct go_unwinder *u);

/** The word at @off bytes from sp; false when it is not on the stack. */
bool go_stack_word(struct go_unwinder *u, const struct go_stack_view *view,
		   uint64_t off, uint64_t *ret);

/**
 * Unwind @view from @pc.
 *
 * Returns: the shape, good until the next call of go_unwind() when it is not
 * whole, else until go_unwinder_begin() dropped it or the end of @u. NULL
 * only when out of memory.
 */
struct go_shape *go_unwind(struct go_unwinder *u,
			   const struct go_stack_view *view, raddr_t pc);

/**
 * Start a new pass: forget what was read, and drop all shapes when they have
 * grown beyond what is sensible. Returns true when it dropped them.
 */
bool go_unwinder_begin(struct go_unwinder *u);

#endif
