/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_HOOKS_COROUTINE_HOOK_STACKS_H
#define RUNTIME_HOOKS_COROUTINE_HOOK_STACKS_H

/**
 * Which stack is this? For libraries whose switches cannot be hooked: State
 * Threads, and what is written by hand. Anonymous private mappings of up to
 * STACKS_MAX_BYTES that the program makes with mmap(2) are what may be one; the
 * C library's own (threads' stacks, malloc) are made inside it and not seen.
 * That a stack pointer is in one is what makes it a stack.
 *
 * No lock and no allocation; may be called in signal handlers and by several
 * threads at once. A stack that one thread looks up must not be unmapped by
 * another meanwhile, which it would not survive anyway. When all STACKS_MAX
 * places are taken, further mappings are not remembered.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STACKS_MAX (1u << 16)
#define STACKS_MAX_BYTES ((size_t)1 << 20)

/** One mapping; @owner is for who looks it up: 0 at first. */
struct stack_range {
	uintptr_t lo, hi; /* [lo, hi) */
	uint64_t owner;
};

#pragma GCC visibility push(hidden)

/** How many mappings are remembered. */
extern uint32_t stacks_count;
/** Is there anything to look for? Most programs have nothing here. */
static inline bool stacks_any(void)
{
	return __builtin_expect(
		__atomic_load_n(&stacks_count, __ATOMIC_RELAXED) != 0, 0);
}

/** Remember [@lo, @lo + @size), unless it is too long or there is no place. */
void stacks_add(uintptr_t lo, size_t size);
/**
 * Forget what lies in [@lo, @lo + @size), or has its beginning there, after
 * calling @ended with each owner that is not 0.
 */
void stacks_remove(uintptr_t lo, size_t size, void (*ended)(uint64_t owner));
/** The mapping that @sp is in, or NULL. */
struct stack_range *stacks_find(uintptr_t sp);

#pragma GCC visibility pop

#endif
