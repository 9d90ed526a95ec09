/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_HOOKS_NATIVE_NATIVE_H
#define RUNTIME_HOOKS_NATIVE_NATIVE_H

/**
 * Stacks of native code, unwound out of process: from the registers and a copy
 * of the stack of a parked coroutine or a blocked thread to functions, files
 * and lines.
 *
 * The target is neither stopped nor attached to. Its call frame information
 * (.eh_frame; DWARF 5 section 6.4, Linux Standard Base 5 section 10.6) is read
 * from its own memory, so it does not matter whether the files were replaced,
 * deleted or lie in a container; only names and lines need them.
 *
 * What is certain and what is not: a frame comes from call frame information,
 * and then it is right provided that registers and stack were taken at one
 * moment; or a frame pointer that nobody knew had to be looked for on the
 * stack, then the frames further out are marked `uncertain` unless the code
 * itself proves where it lies. Where there is neither, the
 * stack ends there, `incomplete`; no frame is made up.
 *
 * Two engines: rules compiled once for each pc (0.3 us per stack), which take
 * libunwind for what they cannot express (PLT stubs, signal frames, other DWARF
 * expressions), and libunwind alone, the reference that tests hold the first
 * against. x86-64; elsewhere native_open() says ERROR_UNSUPPORTED.
 *
 * Not thread-safe. Frames, stacks and all their texts belong to the handle:
 * destroy snapshots first, then native_close().
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/process.h"
#include "runtime-hooks/task.h"

/** DWARF register numbers (System V ABI AMD64 1.0, figure 3.36). */
enum native_reg {
	NATIVE_RAX,
	NATIVE_RDX,
	NATIVE_RCX,
	NATIVE_RBX,
	NATIVE_RSI,
	NATIVE_RDI,
	NATIVE_RBP,
	NATIVE_RSP,
	NATIVE_R8,
	NATIVE_R9,
	NATIVE_R10,
	NATIVE_R11,
	NATIVE_R12,
	NATIVE_R13,
	NATIVE_R14,
	NATIVE_R15,
	NATIVE_RIP,
	NATIVE_N_REGS,
};

/**
 * Registers of which some are known. RIP and RSP must be; whatever else is
 * known saves guesses: a thread outside of a stop has only these two, a
 * coroutine all that a callee saves, a stopped thread all.
 */
struct native_regs {
	uint64_t r[NATIVE_N_REGS];
	uint32_t known; /* bit 1u << enum native_reg */
	/* RIP is a return address (a parked coroutine), not the instruction
	 * that runs or the one after a syscall (a thread). */
	bool pc_is_return;
};

static inline void native_regs_set(struct native_regs *regs,
				   enum native_reg reg, uint64_t value)
{
	regs->r[reg] = value;
	regs->known |= 1u << reg;
}

static inline bool native_regs_has(const struct native_regs *regs,
				   enum native_reg reg)
{
	return regs->known >> reg & 1;
}

/**
 * A copy of the stack: @bytes are what was at [base, base + len), base at most
 * RSP. What lies beyond is read from the target then and there (see
 * native_result.read_beyond). 8 KiB hold most stacks; len 0 is fine.
 */
struct native_copy {
	raddr_t base;
	const void *bytes;
	size_t len;
	/* Nothing at or above is of this stack (end of a coroutine's stack, of
	 * its mapping); 0 not known. */
	raddr_t hi;
};

/** Why a stack ends where it does. */
enum native_end {
	NATIVE_END_OUTERMOST, /* undefined or zero return address: the start
				 of a thread, coroutine or program */
	/* all that follow: the stack is incomplete */
	NATIVE_END_NO_CFI, /* hand-written assembly, code made at run time */
	NATIVE_END_UNKNOWN_REG, /* a register that is needed is not known */
	NATIVE_END_UNREADABLE,	/* memory beyond the stack, a guard page */
	NATIVE_END_CORRUPT,	/* frames that do not grow, a return address
				  outside of any code, senseless CFI */
	NATIVE_END_LIMIT,	/* TASK_MAX_FRAMES */
};

/** "outermost", "no call frame information" ... for reports and tests. */
const char *native_end_name(enum native_end end);

enum native_engine {
	NATIVE_FAST,	  /* what to use */
	NATIVE_LIBUNWIND, /* the reference, 100 times as slow */
};

struct native_result {
	const struct stack *stack; /* never NULL; n may be 0 */
	enum native_end end;
	raddr_t end_pc; /* the pc at which it ended */
	/* Memory outside of the copy was read, now: where the task may have
	 * moved since the copy, look once more whether it did. */
	bool read_beyond;
	bool uncertain; /* some frame of it is marked so */
};

struct native;

/**
 * Make a handle for the stacks of @p, which must outlive it. The mappings are
 * read, files are not yet opened.
 *
 * Fails: ERROR_GONE, ERROR_DENIED, ERROR_UNSUPPORTED (not x86-64, a 32-bit
 * process), ERROR_NOMEM, ERROR_OS.
 */
struct error *native_open(const struct process *p, struct native **ret);
void native_close(struct native *native);

/**
 * Start a new pass: read the mappings again, and forget the rules and names of
 * code that is not there any more. Within a pass they are read again once when
 * an address lies in no known code (dlopen(3)). Stacks and frames that were
 * given out stay good. Fails as native_open().
 */
struct error *native_begin(struct native *native)
	__attribute__((warn_unused_result));

/**
 * Unwind from @regs; equal stacks give equal pointers.
 *
 * A pass may well do this for 1,000,000 stacks; nothing is allocated for a
 * stack that was seen before.
 *
 * Returns: 0, -EINVAL (RIP or RSP not known), -ENOMEM. All else is an answer:
 * a stack that ends early, and why.
 */
int native_unwind(struct native *native, enum native_engine engine,
		  const struct native_regs *regs,
		  const struct native_copy *copy, struct native_result *ret)
	__attribute__((warn_unused_result));

/**
 * The frame of one pc: where a coroutine was created, what function it
 * starts with. When functions were inlined there, the innermost of them that
 * is not the hook's (stranded/hook.h).
 *
 * @param is_return @pc is a return address: the call before it is meant.
 * Returns: a frame, with the function "?" when nothing is known there; NULL
 * when out of memory.
 */
const struct frame *native_frame(struct native *native, raddr_t pc,
				 bool is_return);

/**
 * The address of a symbol in the object whose file name without directories
 * starts with @object ("libst.so"), "" for the program itself; NULL for the
 * first object that has it. Local symbols (.symtab) are found, too, where the
 * file still has them.
 *
 * @param size_ret may be NULL: st_size, 0 when the object does not say.
 * Returns: 0, -ENOENT, -ENOMEM.
 */
int native_symbol(struct native *native, const char *object, const char *name,
		  raddr_t *addr_ret, uint64_t *size_ret)
	__attribute__((warn_unused_result));

/** What files could not be read (names and lines are missing then). */
const struct gaps *native_gaps(const struct native *native);

static inline void native_closep(struct native **native)
{
	native_close(*native);
}
#define AUTO_NATIVE __attribute__((cleanup(native_closep)))

#endif
