/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Boost.Context, and with it Boost.Fiber and Coroutine2: make_fcontext,
 * jump_fcontext and ontop_fcontext, three functions in assembly of
 * libboost_context.so (libs/context/src/asm/*_x86_64_sysv_elf_gas.S,
 * boost/context/detail/fcontext.hpp; Boost 1.74).
 *
 * What jump and ontop save is known before they run. The context is the
 * address SAVED_BYTES below the return address, and the registers lie there:
 *
 *	0x00 mxcsr  0x04 x87 control word  0x08 r12  0x10 r13  0x18 r14
 *	0x20 r15    0x28 rbx               0x30 rbp  0x38 the return address
 *
 * A context is used once, by who jumps to it. Whose it is stands in the two
 * words below it, on its own stack: nobody writes there while it is parked,
 * and they are handed from thread to thread together with the context, by
 * whatever the program orders that with. So there is no table of contexts to
 * look up, to grow or to lock.
 *
 * Nothing tells the end of a coroutine, but its last jump is an ontop_fcontext
 * whose data is the record that lies above the top of its own stack, where no
 * coroutine that goes on has anything (boost/context/fiber_fcontext.hpp and
 * continuation_fcontext.hpp, fiber_entry and context_entry).
 */

#include <stddef.h>
#include <stdint.h>

#include "runtime-hooks/coroutine/hook/hook_priv.h"
#include "runtime-hooks/coroutine/hook/real.h"

#ifdef __x86_64__

#define EXPORT __attribute__((visibility("default")))
#define SAVED_BYTES 0x38
/* How far above the stack's top the record may begin; 64 in Boost 1.74. */
#define RECORD_WITHIN 4096

/* The two words below a context. */
struct mark {
	uint64_t owner; /* 0: a thread's own stack, no coroutine */
	uint64_t check;
};

static uint64_t check_of(uintptr_t context, uint64_t owner)
{
	return context ^ (owner * 0x9e3779b97f4a7c15) ^ 0x6b6f6f682e74736f;
}

static struct mark *mark_of(uintptr_t context)
{
	return (struct mark *)(context - sizeof(struct mark));
}

/* Relaxed atomics: a context that is jumped to twice is the program's fault,
 * and no reason for undefined behaviour here. */
static void set_mark(uintptr_t context, uint64_t owner)
{
	struct mark *m = mark_of(context);

	__atomic_store_n(&m->owner, owner, __ATOMIC_RELAXED);
	__atomic_store_n(&m->check, check_of(context, owner), __ATOMIC_RELAXED);
}

/* 0 for a thread's own stack, and for what was made before the hook. */
static uint64_t owner_of(uintptr_t context)
{
	const struct mark *m = mark_of(context);
	uint64_t owner = __atomic_load_n(&m->owner, __ATOMIC_RELAXED);
	uint64_t check = __atomic_load_n(&m->check, __ATOMIC_RELAXED);

	return check == check_of(context, owner) ? owner : 0;
}
