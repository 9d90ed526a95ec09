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
	bool outermost; /* the return address is undefined */
	bool signal_frame;
	int32_t cfa_offset;
	int32_t save[SAVED_N]; /* from the CFA, or RULE_SAME, RULE_UNDEFINED */
	int32_t ret;	       /* of the return address */
	raddr_t start;	       /* of the function; 0 unknown */
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
	struct native_regs regs; /* of the frame to step from */
	const struct native_regs
		*first; /* what libunwind's cursor began with */
	bool uncertain; /* from here on */
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
/** NULL: out of memory. */
const struct rule *native_rule(struct native *native, raddr_t pc);

/* fast.c */
/** The word at @addr of the stack. */
bool walk_word(struct walk *w, raddr_t addr, uint64_t *ret);
/** The pc to look up for the frame of @regs. */
static inline raddr_t walk_lookup_pc(const struct native_regs *regs)
{
	return regs->r[NATIVE_RIP] - regs->pc_is_return;
}
/** Step outward until the end; -ENOMEM or an enum native_end. */
int walk_fast(struct walk *w);
/** Note the frame of w->regs. False: the end, *end_ret tells which. */
bool walk_note(struct walk *w, enum native_end *end_ret);

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
 * RBP, which @rule needs and nobody knows, from the stack. Sets w->uncertain
 * unless it is proven.
 */
bool walk_recover_rbp(struct walk *w, const struct rule *rule);

/* stacks.c */
/** The interned stack of @w, NULL when out of memory. */
const struct stack *native_intern(struct walk *w, enum native_end end);

/**
 * Names of the object, opened at the first question; NULL when its file cannot
 * be had, which is a gap then.
 */
struct names *native_names(struct native *native, struct object *object);

#endif
