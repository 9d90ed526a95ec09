/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Boost.Context, and with it Boost.Fiber and Coroutine2: make_fcontext,
 * jump_fcontext and ontop_fcontext, three functions in assembly of
 * libboost_context.so (libs/context/src/asm/jump_x86_64_sysv_elf_gas.S,
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

#include <dlfcn.h>
#include <link.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "runtime-hooks/coroutine/hook/hook_priv.h"
#include "runtime-hooks/coroutine/hook/real.h"
#include "runtime-hooks/coroutine/hook/stacks.h"

#ifdef __x86_64__

#define EXPORT __attribute__((visibility("default")))
#define HIDDEN __attribute__((visibility("hidden"), used))
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

/* Called by the stubs, on the stack of who leaves. */
void *hook_boost_jump(uintptr_t to, uintptr_t data, const uintptr_t *entry,
		      uintptr_t bp);
void *hook_boost_ontop(uintptr_t to, uintptr_t data, const uintptr_t *entry,
		       uintptr_t bp);

/* Declared in C++ only, boost/context/detail/fcontext.hpp. */
struct transfer {
	uintptr_t context;
	void *data;
};
uintptr_t make_fcontext(void *sp, size_t size, void (*fn)(struct transfer));
struct transfer jump_fcontext(uintptr_t to, void *data);
struct transfer ontop_fcontext(uintptr_t to, void *data,
			       struct transfer (*fn)(struct transfer));

/* What each looks up itself, because who calls it may be a plugin. */
static inline void *real_of(enum real_index index, const void *caller)
{
	void *real = __atomic_load_n(&real_address[index], __ATOMIC_RELAXED);

	return __builtin_expect(!real, 0) ? real_lookup_for(index, caller)
					  : real;
}

/*
 * Is it the function whose saved area is known? Other versions of Boost save
 * more, and then no switch is noted. Its first instructions: an endbr64 where
 * it was built with -fcf-protection, and for ontop mov %rdx,%r8, do not count;
 * then lea -0x38(%rsp),%rsp.
 */
static bool saves_as_known(const unsigned char *code)
{
	static const unsigned char endbr[] = { 0xf3, 0x0f, 0x1e, 0xfa };
	static const unsigned char mov[] = { 0x49, 0x89, 0xd0 };
	static const unsigned char lea[] = { 0x48, 0x8d, 0x64, 0x24, 0xc8 };

	if (!memcmp(code, endbr, sizeof(endbr)))
		code += sizeof(endbr);
	if (!memcmp(code, mov, sizeof(mov)))
		code += sizeof(mov);
	return !memcmp(code, lea, sizeof(lea));
}

/* Looked at once; of each there is one only, as a rule. */
static inline bool is_known(enum real_index index, void *real)
{
	static void *known[2];
	void **mine = &known[index == REAL_ontop_fcontext];

	if (__builtin_expect(__atomic_load_n(mine, __ATOMIC_RELAXED) == real,
			     1))
		return true;
	if (!saves_as_known(real))
		return false;
	__atomic_store_n(mine, real, __ATOMIC_RELAXED);
	return true;
}

/* Who ends jumps with the record above its own stack. */
static inline bool is_last_jump(uintptr_t data)
{
	uintptr_t top = hook_self.task ? hook_self.task->stack_hi : 0;

	return top && data >= top && data - top < RECORD_WITHIN;
}

/*
 * On the stack of who leaves, before anything is saved.
 *
 * @param entry the stack pointer on entry, which points to the return address.
 * Returns: the real function.
 */
static inline void *leave(enum real_index index, uintptr_t to, uintptr_t data,
			  const uintptr_t *entry, uintptr_t bp)
{
	void *real = real_of(index, (const void *)*entry);

	if (!real)
		abort(); /* nobody is there who could switch */
	if (!hook_active || !is_known(index, real))
		return real;
	uint64_t next = owner_of(to);

	set_mark((uintptr_t)entry - SAVED_BYTES, hook_self.id);
	if (index == REAL_ontop_fcontext && is_last_jump(data))
		hook_end(hook_self.id);
	else
		hook_park((uintptr_t)(entry + 1), *entry, bp);
	hook_run(next);
	return real;
}

HIDDEN void *hook_boost_jump(uintptr_t to, uintptr_t data,
			     const uintptr_t *entry, uintptr_t bp)
{
	return leave(REAL_jump_fcontext, to, data, entry, bp);
}

HIDDEN void *hook_boost_ontop(uintptr_t to, uintptr_t data,
			      const uintptr_t *entry, uintptr_t bp)
{
	return leave(REAL_ontop_fcontext, to, data, entry, bp);
}

/*
 * The stubs leave the registers and the stack as they were, and jump: the
 * context is the caller's, and what the switch returns goes to it. Below the
 * stack pointer, from where the real function saves on downwards, they keep
 * room for the mark, which what they call would overwrite.
 */
#define STUB(name, recorder)                                                   \
	__asm__(".text\n"                                                      \
		".globl " #name "\n"                                           \
		".type " #name ", @function\n"                                 \
		".p2align 4\n" #name ":\n"                                     \
		".cfi_startproc\n"                                             \
		"	endbr64\n"                                                   \
		"	sub $0x58, %rsp\n"                                           \
		".cfi_adjust_cfa_offset 0x58\n"                                \
		"	mov %rdi, 0x20(%rsp)\n"                                      \
		"	mov %rsi, 0x28(%rsp)\n"                                      \
		"	mov %rdx, 0x30(%rsp)\n"                                      \
		"	lea 0x58(%rsp), %rdx\n"                                      \
		"	mov %rbp, %rcx\n"                                            \
		"	call " #recorder "\n"                                  \
		"	mov 0x20(%rsp), %rdi\n"                                      \
		"	mov 0x28(%rsp), %rsi\n"                                      \
		"	mov 0x30(%rsp), %rdx\n"                                      \
		"	add $0x58, %rsp\n"                                           \
		".cfi_adjust_cfa_offset -0x58\n"                               \
		"	jmp *%rax\n"                                                 \
		".cfi_endproc\n"                                               \
		".size " #name ", . - " #name "\n")

/*
 * A coroutine that was thrown away without an end leaves its stack: those of
 * Boost.Coroutine, and so of asio::spawn(), always do. The latest on each
 * stack, as far as there is place, by the stack's lower end: when it is still
 * listed when another one is made there, or when the stack is freed, it is
 * gone. Of 16 bytes each only those in use take memory.
 */
#define LATEST_BITS 16
static struct {
	uintptr_t lo;
	uint64_t id;
} latest[1 << LATEST_BITS];

/* A bit for each that may be there, so that free() need not look. */
static uint64_t filter[1 << (LATEST_BITS - 6)];

static inline uint64_t place_of(uintptr_t lo)
{
	return (lo * 0x9e3779b97f4a7c15) >> (64 - LATEST_BITS);
}

static bool may_be_there(uintptr_t lo)
{
	uint64_t at = place_of(lo);

	return __atomic_load_n(&filter[at / 64], __ATOMIC_RELAXED) >>
		       (at % 64) &
	       1;
}

static void left(uintptr_t lo)
{
	uint64_t at = place_of(lo);
	uintptr_t had = __atomic_load_n(&latest[at].lo, __ATOMIC_RELAXED);
	uint64_t id = __atomic_load_n(&latest[at].id, __ATOMIC_RELAXED);
	const struct stranded_task *old = had == lo ? hook_line(id) : NULL;

	/* the two words may be of two writers: the line knows its stack, which
	 * is no longer than those of threads */
	if (old && old->state != HOOK_RUNNING && old->stack_hi > lo &&
	    old->stack_hi - lo < (uintptr_t)1 << 30)
		hook_end(id);
}

static void follow(uintptr_t lo, uintptr_t hi, uint64_t id)
{
	uint64_t at = place_of(lo);

	left(lo);
	__atomic_store_n(&latest[at].lo, lo, __ATOMIC_RELAXED);
	__atomic_store_n(&latest[at].id, id, __ATOMIC_RELAXED);
	__atomic_or_fetch(&filter[at / 64], UINT64_C(1) << (at % 64),
			  __ATOMIC_RELAXED);
	/* one that is mapped ends with its mapping, too */
	struct stack_range *range = stacks_find(hi - 1);
	if (range)
		range->owner = id;
}

void hook_boost_freed(uintptr_t lo)
{
	if (__builtin_expect(may_be_there(lo), 0))
		left(lo);
}

STUB(jump_fcontext, hook_boost_jump);
STUB(ontop_fcontext, hook_boost_ontop);

/*
 * Boost.Fiber makes one for itself in each thread, its scheduler's
 * (boost::fibers::make_dispatcher_context); those of the program are made by
 * templates, in the program's own code. The look-up takes no lock and came
 * with glibc 2.35.
 */
#pragma weak _dl_find_object
static bool is_schedulers(void *caller)
{
	struct dl_find_object found;

	return _dl_find_object && !_dl_find_object(caller, &found) &&
	       strstr(found.dlfo_link_map->l_name, "/libboost_fiber.so");
}

EXPORT uintptr_t make_fcontext(void *sp, size_t size,
			       void (*fn)(struct transfer))
{
	void *caller = __builtin_return_address(0);
	void *real = real_of(REAL_make_fcontext, caller);

	if (!real)
		abort();
	uintptr_t context = ((__typeof__(&make_fcontext))real)(sp, size, fn);
	uintptr_t hi = (uintptr_t)sp, lo = hi - size;
	void *jump = real_of(REAL_jump_fcontext, caller);

	/* one whose switches will not be seen is not listed */
	if (!hook_active || !jump || !is_known(REAL_jump_fcontext, jump) ||
	    context < lo + sizeof(struct mark) || context >= hi)
		return context;
	uint64_t id = hook_create(&(struct hook_new){
		.pc = (uintptr_t)caller,
		.start = (uintptr_t)fn,
		.stack_hi = hi,
		.flags = is_schedulers(caller) ? HOOK_FLAG_SYSTEM : 0,
	});
	set_mark(context, id);
	follow(lo, hi, id);
	return context;
}

#endif
