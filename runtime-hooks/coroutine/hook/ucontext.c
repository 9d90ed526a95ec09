/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Coroutines on makecontext(3), swapcontext(3) and setcontext(3), so also GNU
 * Pth and PCL, which switch through these (glibc 2.36,
 * sysdeps/unix/sysv/linux/x86_64/{makecontext,swapcontext,setcontext}.S).
 *
 * swapcontext, setcontext and getcontext are stubs without a frame of their own:
 * they note where the caller stands and jump on, so that what glibc saves is the
 * caller's context. (A frame between getcontext and its caller would be gone
 * when the context is resumed.)
 *
 * Whose a context is stands in the context: in the reserved words behind the
 * SSE registers, which glibc never touches, with a check over the owner, the
 * address and the stack pointer that is saved there. One that was copied to
 * another address does not pass; it is whose mark stands above its stack.
 */

#include <dlfcn.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <ucontext.h>

#include "runtime-hooks/coroutine/hook/hook_priv.h"
#include "runtime-hooks/coroutine/hook/stacks.h"

#ifdef __x86_64__

#define EXPORT __attribute__((visibility("default")))
#define HIDDEN __attribute__((visibility("hidden"), used))
#define MAX_ARGS 24
/* From the stack's end, for the mark; what is shorter is left alone. */
#define MARK_BYTES 16
#define MIN_STACK 1024
#define MAX_STACK (64 * 1024 * 1024)

struct mark {
	uint64_t owner; /* 0: a thread's own stack */
	uint64_t check;
};

/* struct _libc_fpstate: 416 bytes that are used, 48 that nobody does, and 48
 * for the kernel (struct _fpx_sw_bytes). */
#define MARK_AT (offsetof(ucontext_t, __fpregs_mem) + 416)
_Static_assert(sizeof(((ucontext_t *)0)->__fpregs_mem) == 512,
	       "an FXSAVE area");
_Static_assert(MARK_AT % 8 == 0, "the mark is aligned");

void *hook_uc_swap(ucontext_t *from, const ucontext_t *to, uint64_t sp,
		   uint64_t pc, uint64_t bp);
void *hook_uc_set(const ucontext_t *to, uint64_t sp);
void *hook_uc_get(ucontext_t *to, uint64_t sp, uint64_t pc, uint64_t bp);
void hook_uc_returned(const ucontext_t *next);
void hook_uc_end(void);

/* What follows a coroutine's function in glibc; the same for all. */
HIDDEN uint64_t hook_uc_start_context;

static void *real_swap, *real_set, *real_get;
static void (*real_make)(ucontext_t *, void (*)(void), int, ...);

static void *look_up(void **place, const char *name)
{
	void *f = __atomic_load_n(place, __ATOMIC_RELAXED);

	if (__builtin_expect(f != NULL, 1))
		return f;
	f = hook_next(name);
	__atomic_store_n(place, f, __ATOMIC_RELAXED);
	return f;
}

static void __attribute__((constructor)) look_up_all(void)
{
	look_up(&real_swap, "swapcontext");
	look_up(&real_set, "setcontext");
	look_up(&real_get, "getcontext");
	look_up((void **)&real_make, "makecontext");
}

static uint64_t check_of(const ucontext_t *uc, uint64_t owner, uint64_t sp)
{
	return owner ^ HOOK_MARK ^ (uint64_t)uc ^ sp << 16;
}

static void set_owner(ucontext_t *uc, uint64_t owner, uint64_t sp)
{
	struct mark m = { owner, check_of(uc, owner, sp) };

	memcpy((char *)uc + MARK_AT, &m, sizeof(m));
}

/* Where the mark above a stack is, of which makecontext() has taken it. */
static uint64_t mark_above(const stack_t *stack)
{
	uint64_t hi = (uint64_t)stack->ss_sp + stack->ss_size;

	/* 16 bytes at a multiple of 16 */
	return hi - MARK_BYTES - hi % MARK_BYTES;
}

static __attribute__((noinline, cold)) uint64_t
owner_by_stack(const ucontext_t *uc)
{
	uint64_t used = (uint64_t)uc->uc_mcontext.gregs[REG_RSP] -
			(uint64_t)uc->uc_stack.ss_sp;

	/* getcontext() does not fill this in: it counts when it is the stack
	 * that is about to be run on */
	if (uc->uc_stack.ss_size < MIN_STACK ||
	    uc->uc_stack.ss_size > MAX_STACK ||
	    used >= uc->uc_stack.ss_size - 2 * MARK_BYTES)
		return 0;
	return hook_marked_stack(mark_above(&uc->uc_stack));
}

static inline struct mark mark_in(const ucontext_t *uc)
{
	struct mark m;

	memcpy(&m, (const char *)uc + MARK_AT, sizeof(m));
	return m;
}

static inline bool is_good(const struct mark *m, const ucontext_t *uc)
{
	uint64_t sp = (uint64_t)uc->uc_mcontext.gregs[REG_RSP];

	return m->check == check_of(uc, m->owner, sp);
}

static uint64_t owner_of(const ucontext_t *uc)
{
	struct mark m = mark_in(uc);

	return is_good(&m, uc) ? m.owner : owner_by_stack(uc);
}

static inline __attribute__((always_inline)) void
hand_over(ucontext_t *from, uint64_t next, uint64_t sp, uint64_t pc,
	  uint64_t bp, int32_t tid)
{
	set_owner(from, hook_self.id, sp);
	hook_park(sp, pc, bp);
	hook_run_in(next, tid);
}

/*
 * What is not usual: the first switch in a thread, a context that was copied;
 * and each switch, where another copy does the work.
 */
static __attribute__((noinline, cold)) void *
other_swap(ucontext_t *from, const ucontext_t *to, uint64_t sp, uint64_t pc,
	   uint64_t bp)
{
	if (hook_active) {
		if (!hook_self.tid)
			hook_ask_tid();
		hand_over(from, owner_of(to), sp, pc, bp, hook_self.tid);
	}
	return look_up(&real_swap, "swapcontext");
}

/* No call is in it, so that it saves no registers for one. */
HIDDEN void *hook_uc_swap(ucontext_t *from, const ucontext_t *to, uint64_t sp,
			  uint64_t pc, uint64_t bp)
{
	void *real = __atomic_load_n(&real_swap, __ATOMIC_RELAXED);
	int32_t tid = hook_self.tid;
	struct mark m = mark_in(to);

	if (__builtin_expect(!tid || !real || !is_good(&m, to), 0))
		return other_swap(from, to, sp, pc, bp);
	hand_over(from, m.owner, sp, pc, bp, tid);
	return real;
}

/* A jump within one's own stack, back to where getcontext(3) was called. */
static bool is_own(const ucontext_t *uc)
{
	const struct stranded_task *task = hook_self.task;
	uint64_t sp = (uint64_t)uc->uc_mcontext.gregs[REG_RSP];

	return task && sp >= (uint64_t)__builtin_frame_address(0) &&
	       sp < task->stack_hi;
}

/*
 * Who switches away by this comes back where it has called getcontext(), as
 * long as the function that did so has not returned. Without one it is over.
 */
static void leave(uint64_t sp)
{
	const struct hook_saved *saved = &hook_self.saved;

	if (saved->id && saved->id == hook_self.id && sp <= saved->sp)
		hook_park(saved->sp, saved->pc, saved->bp);
	else
		hook_end(hook_self.id);
}

HIDDEN void *hook_uc_set(const ucontext_t *to, uint64_t sp)
{
	if (hook_active && !is_own(to)) {
		uint64_t next = owner_of(to);

		if (next != hook_self.id)
			leave(sp);
		hook_run(next);
	}
	return look_up(&real_set, "setcontext");
}

HIDDEN void *hook_uc_get(ucontext_t *to, uint64_t sp, uint64_t pc, uint64_t bp)
{
	if (hook_active) {
		set_owner(to, hook_self.id, sp);
		hook_self.saved = (struct hook_saved){
			hook_self.id, (uint64_t)to, sp, pc, bp,
		};
	}
	return look_up(&real_get, "getcontext");
}

/* The coroutine's function has returned; uc_link is next. */
HIDDEN void hook_uc_returned(const ucontext_t *next)
{
	hook_end(hook_self.id);
	hook_run(next ? owner_of(next) : 0);
}

/*
 * Calls keep the caller's arguments on its own stack, below what it saved. The
 * last stands where glibc's __start_context did, and does as that does: the
 * slot of uc_link is at rbx. Nothing is further out than it.
 */
__asm__(".text\n"
	".globl swapcontext\n"
	".type swapcontext, @function\n"
	"swapcontext:\n"
	"	.cfi_startproc\n"
	"	pushq %rdi\n"
	"	.cfi_adjust_cfa_offset 8\n"
	"	pushq %rsi\n"
	"	.cfi_adjust_cfa_offset 8\n"
	"	leaq 24(%rsp), %rdx\n"
	"	movq 16(%rsp), %rcx\n"
	"	movq %rbp, %r8\n"
	"	subq $8, %rsp\n"
	"	.cfi_adjust_cfa_offset 8\n"
	"	call hook_uc_swap\n"
	"	addq $8, %rsp\n"
	"	.cfi_adjust_cfa_offset -8\n"
	"	popq %rsi\n"
	"	.cfi_adjust_cfa_offset -8\n"
	"	popq %rdi\n"
	"	.cfi_adjust_cfa_offset -8\n"
	"	jmp *%rax\n"
	"	.cfi_endproc\n"
	".size swapcontext, . - swapcontext\n"
	".globl setcontext\n"
	".type setcontext, @function\n"
	"setcontext:\n"
	"	.cfi_startproc\n"
	"	pushq %rdi\n"
	"	.cfi_adjust_cfa_offset 8\n"
	"	leaq 16(%rsp), %rsi\n"
	"	call hook_uc_set\n"
	"	popq %rdi\n"
	"	.cfi_adjust_cfa_offset -8\n"
	"	jmp *%rax\n"
	"	.cfi_endproc\n"
	".size setcontext, . - setcontext\n"
	".globl getcontext\n"
	".type getcontext, @function\n"
	"getcontext:\n"
	"	.cfi_startproc\n"
	"	pushq %rdi\n"
	"	.cfi_adjust_cfa_offset 8\n"
	"	leaq 16(%rsp), %rsi\n"
	"	movq 8(%rsp), %rdx\n"
	"	movq %rbp, %rcx\n"
	"	call hook_uc_get\n"
	"	popq %rdi\n"
	"	.cfi_adjust_cfa_offset -8\n"
	"	jmp *%rax\n"
	"	.cfi_endproc\n"
	".size getcontext, . - getcontext\n"
	".hidden hook_uc_end\n"
	".type hook_uc_end, @function\n"
	"	.cfi_startproc\n"
	"	.cfi_undefined rip\n"
	"	nop\n"
	"hook_uc_end:\n"
	"	movq %rbx, %rsp\n"
	"	movq (%rbx), %rdi\n"
	"	andq $-16, %rsp\n"
	"	call hook_uc_returned\n"
	"	movq %rbx, %rsp\n"
	"	jmp *hook_uc_start_context(%rip)\n"
	"	.cfi_endproc\n"
	".size hook_uc_end, . - hook_uc_end\n");

/* A return address may not be replaced under a shadow stack (Linux 6.6). */
static bool shadow_stack(void)
{
	static int known; /* 1 no, 2 yes */
	char line[256];

	if (known)
		return known == 2;
	FILE *f = fopen("/proc/self/status", "re");
	int found = 1;
	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, "x86_Thread_features:", 20) &&
		    strstr(line, "shstk"))
			found = 2;
	if (f)
		fclose(f);
	known = found;
	return found == 2;
}

static void describe(ucontext_t *ucp, void (*func)(void), uint64_t pc,
		     bool marked)
{
	uint64_t *sp = (uint64_t *)ucp->uc_mcontext.gregs[REG_RSP];
	uint64_t hi = (uint64_t)ucp->uc_stack.ss_sp + ucp->uc_stack.ss_size;
	struct hook_new what = {
		.pc = hook_self.site_pc ? hook_self.site_pc : pc,
		.start = hook_self.site_pc ? hook_self.site_start
					   : (uint64_t)func,
		.stack_hi = hi,
		.flags = marked ? HOOK_FLAG_MARKED : 0,
	};

	/* Who had this stack will not run again. */
	if (marked)
		hook_end(hook_marked_stack(hi));
	uint64_t id = hook_create(&what);
	if (marked)
		hook_mark_stack(hi, id);
	/* when the program has mapped it, it ends when that is unmapped */
	struct stack_range *range = stacks_find(hi);
	if (range)
		__atomic_store_n(&range->owner, id, __ATOMIC_RELAXED);
	set_owner(ucp, id, (uint64_t)sp);
	if (!id || shadow_stack())
		return;
	__atomic_store_n(&hook_uc_start_context, *sp, __ATOMIC_RELAXED);
	*sp = (uint64_t)hook_uc_end;
}

EXPORT void makecontext(ucontext_t *ucp, void (*func)(void), int argc, ...)
{
	size_t size = ucp->uc_stack.ss_size;
	bool marked = hook_active && size >= MIN_STACK;
	long a[MAX_ARGS];
	va_list args;

	va_start(args, argc);
	for (int i = 0; i < MAX_ARGS; i++)
		a[i] = i < argc ? va_arg(args, long) : 0;
	va_end(args);
	look_up((void **)&real_make, "makecontext");
	if (marked)
		ucp->uc_stack.ss_size = mark_above(&ucp->uc_stack) -
					(uint64_t)ucp->uc_stack.ss_sp;
	/* what getcontext() has saved there is to begin elsewhere */
	if (hook_self.saved.context == (uint64_t)ucp)
		hook_self.saved.id = 0;
	/* makecontext() takes as many as it is told, and no call knows. */
	real_make(ucp, func, argc, a[0], a[1], a[2], a[3], a[4], a[5], a[6],
		  a[7], a[8], a[9], a[10], a[11], a[12], a[13], a[14], a[15],
		  a[16], a[17], a[18], a[19], a[20], a[21], a[22], a[23]);
	if (hook_active)
		describe(ucp, func, (uint64_t)__builtin_return_address(0),
			 marked);
	ucp->uc_stack.ss_size = size;
}

#endif
