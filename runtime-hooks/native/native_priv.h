/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_HOOKS_NATIVE_NATIVE_PRIV_H
#define RUNTIME_HOOKS_NATIVE_NATIVE_PRIV_H

/**
 * What the files of runtime-hooks/native share. Not for other folders.
 *
 * native.c keeps the handle, rules.c compiles call frame information, fast.c
 * steps by these rules, remote.c steps by libunwind, recover.c looks for a
 * lost frame pointer, stacks.c interns what comes out, names.c has the symbols
 * and lines of one object.
 */

#include <libunwind.h>
#include <string.h>

#include "base/gap.h"
#include "runtime-hooks/intern.h"
#include "runtime-hooks/native/names.h"
#include "runtime-hooks/native/native.h"
#include "runtime-hooks/native/object.h"

/** Registers that a function gives back as they were, but RSP (AMD64 ABI). */
#define SAVED_N 6
extern const uint8_t native_saved[SAVED_N];
#define SAVED_MASK                                                             \
	(1u << NATIVE_RBX | 1u << NATIVE_RBP | 1u << NATIVE_R12 |              \
	 1u << NATIVE_R13 | 1u << NATIVE_R14 | 1u << NATIVE_R15)
#define RULE_SAME INT32_MIN
#define RULE_UNDEFINED (INT32_MIN + 1)

enum rule_kind {
	RULE_PLAIN,	/* what struct rule can express */
	RULE_LIBUNWIND, /* more than that */
	RULE_NONE,	/* there is no call frame information */
	RULE_CORRUPT,
	RULE_UNREADABLE,
};

/** How to step from the frame of one pc. */
struct rule {
	enum rule_kind kind : 8;
	uint8_t cfa_reg;
	bool outermost; /* it has no caller */
	bool signal_frame;
	bool entry; /* a return address, yet the first of a function */
	int32_t cfa_offset;
	int32_t save[SAVED_N]; /* from the CFA, or RULE_SAME, RULE_UNDEFINED */
	int32_t ret;	       /* of the return address */
	raddr_t start, end;    /* of the function; 0 unknown */
};

struct native {
	const struct process *p;
	struct pagecache *mem;
	struct objects objects;
	struct arena *arena; /* what is given out */
	struct arena *rules_arena;
	struct intern_table rules, sites, stacks;
	unw_addr_space_t space;
	uint64_t generation; /* goes up when known code went away */
	bool refreshed;	     /* the mappings were read again in this pass */
	bool unknown;	     /* a site lay in no code */
	struct gaps gaps;
};

#define FRAME_RETURN 1u /* pc is a return address */
#define FRAME_UNCERTAIN 2u

#define WINDOW_BYTES 4096

/** One stack being unwound. */
struct walk {
	struct native *native;
	const struct native_copy *copy;
	struct native_regs regs;  /* of the frame to step from */
	struct native_regs first; /* what libunwind's cursor began with */
	bool uncertain;		  /* from here on */
	bool read_beyond;
	bool unreadable;	     /* a read failed */
	const struct object *object; /* of the present pc */
	uint32_t n;
	raddr_t pcs[TASK_MAX_FRAMES];
	uint8_t flags[TASK_MAX_FRAMES];
	raddr_t window_base;
	size_t window_len;
	uint8_t window[WINDOW_BYTES];
};

/* native.c */
/** The code at @pc; reads the mappings again when there is none, once. */
const struct code *native_code(struct native *native, raddr_t pc);

/* rules.c */
/**
 * The rule of the frame at @pc, looked up before it when it is a return
 * address. NULL: out of memory.
 */
const struct rule *native_rule(struct native *native, raddr_t pc,
			       bool is_return);

static inline uint64_t native_rule_key(raddr_t pc, bool is_return)
{
	return pc << 1 | is_return;
}

/** The same when it is kept already, so that @pc lies in code; else NULL. */
static inline const struct rule *native_rule_kept(const struct native *native,
						  raddr_t pc, bool is_return)
{
	return intern_get(&native->rules, native_rule_key(pc, is_return));
}

/** What ends right before @pc. */
enum call_kind { CALL_NONE, CALL_DIRECT, CALL_INDIRECT };
enum call_kind native_call_before(struct pagecache *mem, raddr_t pc,
				  raddr_t *target_ret);

/* fast.c */
/** The word at @addr of the stack, where that is not in the copy. */
bool walk_word_beyond(struct walk *w, raddr_t addr, uint64_t *ret);

/** The word at @addr of the stack. */
static inline bool walk_word(struct walk *w, raddr_t addr, uint64_t *ret)
{
	raddr_t off = addr - w->copy->base;

	// below base it wraps around to more than any length
	if (w->copy->len < 8 || off > w->copy->len - 8)
		return walk_word_beyond(w, addr, ret);
	memcpy(ret, (const uint8_t *)w->copy->bytes + off, 8);
	return true;
}

/** The pc to look up for the frame of @regs. */
static inline raddr_t walk_lookup_pc(const struct native_regs *regs)
{
	return regs->r[NATIVE_RIP] - regs->pc_is_return;
}
/** Is the frame without CFI that was noted last known to be the outermost? */
bool walk_made_by_hand(const struct walk *w);
/** Step outward until the end; -ENOMEM or an enum native_end. */
int walk_fast(struct walk *w);
/**
 * Note the frame of w->regs and get its rule. NULL: the end, and *end_ret is
 * as walk_fast() returns it.
 */
const struct rule *walk_note(struct walk *w, int *end_ret);

/* remote.c */
/** Returns false when out of memory. */
bool remote_init(struct native *native);
void remote_deinit(struct native *native);
void remote_forget(struct native *native);
/** One step by libunwind. True, or false and why not. */
bool remote_step(struct walk *w, const struct rule *rule,
		 enum native_end *end_ret);
/** All steps by libunwind; as walk_fast(). */
int walk_remote(struct walk *w);

/* recover.c */
/**
 * How far below RBP the stack pointer stands when the function [@start, @end)
 * calls another, from the instructions that it begins with. False: these do
 * not tell, or it takes stack at run time.
 */
bool prologue_depth(struct pagecache *mem, raddr_t start, raddr_t end,
		    raddr_t pc, uint64_t *ret);

/**
 * RBP, which @rule needs and nobody knows, from the stack. Sets w->uncertain
 * unless it is proven.
 */
bool walk_recover_rbp(struct walk *w, const struct rule *rule);

/* stacks.c */
/** Is it the C library, its loader, or our own hook? */
bool native_is_runtime(const struct object *object);
/** The interned stack of @w, NULL when out of memory. */
const struct stack *native_intern(struct walk *w, enum native_end end);

/**
 * Names of the object, opened at the first question; NULL when its file cannot
 * be had, which is a gap then.
 */
struct names *native_names(struct native *native, struct object *object);

#endif
