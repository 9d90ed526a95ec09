/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Boost.Context, and with it Boost.Fiber and Coroutine2: make_fcontext,
 * jump_fcontext and ontop_fcontext, three functions in assembly of
 * libboost_context.so (src/asm/jump_x86_64_sysv_elf_gas.S and its sisters,
 * Boost 1.74 and the same since 1.61; boost/context/detail/fcontext.hpp).
 *
 * What jump and ontop save is known before they run: the context is the
 * address 0x38 below the return address, and the registers lie there:
 *
 *	0x00 mxcsr  0x04 x87 control word  0x08 r12  0x10 r13  0x18 r14
 *	0x20 r15    0x28 rbx               0x30 rbp  0x38 the return address
 *
 * A context is used once, by who jumps to it. Whose it is stands in the two
 * words below it, on its own stack: nobody writes there while it is parked,
 * and they are handed from thread to thread together with the context, by
 * whatever the program orders that with. So there is no table to look up, to
 * grow or to lock.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __x86_64__

#define SAVED_BYTES 0x38

/* Below a context. */
struct mark {
	uint64_t owner; /* 0: a thread's own stack, no coroutine */
	uint64_t check; /* the context's address, disguised */
};

#endif
