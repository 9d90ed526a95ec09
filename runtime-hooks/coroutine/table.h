/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_HOOKS_COROUTINE_TABLE_H
#define RUNTIME_HOOKS_COROUTINE_TABLE_H

/**
 * The table of coroutines, version 1: what the hook writes inside of a program
 * and stranded reads from outside. Little-endian, 64-bit, no padding beyond
 * what is named; every size is in the root, so that a reader of version 1 can
 * skip what a later one appends. The reader trusts nothing in it.
 *
 * Where it is: a `struct hook_root` in the data of the program or library that
 * carries the hook, found by
 *  - the ELF note {owner "stranded", type HOOK_NOTE_TYPE} in a PT_NOTE segment,
 *    whose 8 bytes are the root's address minus the address of those bytes, or
 *  - the symbol stranded_hook_table_v1 in .dynsym.
 * It counts when its first 16 bytes are HOOK_MAGIC. A process may have several
 * (the .a in the program and in libraries); each that is not HOOK_IDLE lists
 * other coroutines.
 *
 * A line is a `struct stranded_task` of stranded/hook.h:
 *
 *	seq         odd while it is written; take it before and after
 *	incarnation how often the line was given out; 0 never
 *	sp, pc, bp  where a parked one stands: the stack pointer, the address
 *	            there and rbp, enough for call frame information. pc is a
 *	            return address with HOOK_FLAG_PC_RETURN. bp of a running one
 *	            is the thread that carries it, 0 not known.
 *	stack_hi    nothing at or above is of its stack; 0 not known
 *	since       TSC when it was told or seen to have to wait, before it
 *	            parked; 0 not known
 *	state       enum hook_state
 *	op          enum stranded_op
 *	flags       HOOK_FLAG_*
 *	fd          -1 none
 *	site        index into the creation sites, HOOK_NO_SITE
 *	parent      low HOOK_PARENT_BITS: line of the parent; above: low bits of
 *	            its incarnation, which tell a later task in that line.
 *	            HOOK_NO_PARENT; the next free line in a free one.
 *
 * An id is incarnation << 32 | line: never used twice.
 */

#include <stdint.h>

#include "runtime-hooks/coroutine/include/stranded/hook.h"

#define HOOK_MAGIC "stranded hook 1" /* 16 bytes with its NUL */
#define HOOK_VERSION 1
#define HOOK_NOTE_OWNER "stranded"
#define HOOK_NOTE_TYPE 1
#define HOOK_SYMBOL "stranded_hook_table_v1"

#define HOOK_CHUNK_BITS 14
#define HOOK_CHUNK_LINES (1u << HOOK_CHUNK_BITS) /* 1 MiB of lines */
#define HOOK_MAX_CHUNKS 256u			 /* 4,194,304 lines */
#define HOOK_PARENT_BITS 22
#define HOOK_NO_PARENT UINT32_MAX
#define HOOK_MAX_SITES 4096u
#define HOOK_NO_SITE UINT32_MAX
#define HOOK_NAME_MAX 64

enum hook_state {
	HOOK_FREE = STRANDED_STATE_FREE,
	HOOK_CREATED = STRANDED_STATE_CREATED, /* never ran: no stack */
	HOOK_RUNNING = STRANDED_STATE_RUNNING,
	HOOK_PARKED = STRANDED_STATE_PARKED,
	/*
	 * Seen by its calls only, in a library whose switches are not hooked:
	 * sp, pc, bp and fd are of its last call that would have blocked, from
	 * which it may have moved on.
	 */
	HOOK_SEEN = 4,
};

/* The program or its library said which fd; else it is the one that answered
 * last that it would block. */
#define HOOK_FLAG_FD_TOLD STRANDED_FLAG_FD_TOLD
#define HOOK_FLAG_PC_RETURN 2 /* pc is what a call returns to */
#define HOOK_FLAG_SYSTEM 4    /* a library's own: its scheduler */
/* {id, id ^ HOOK_MARK} stand in the 16 bytes at stack_hi while it lives. */
#define HOOK_FLAG_MARKED 8
#define HOOK_FLAG_MORE 16 /* deadline and object of its hook_more count */

#define HOOK_MARK UINT64_C(0x6b6f6f682d64616e)

/**
 * What few have, in an array of its own beside each chunk of lines. The name
 * counts while the incarnation is the line's, the rest with HOOK_FLAG_MORE.
 */
struct hook_more {
	uint32_t incarnation;
	uint32_t reserved;
	uint64_t name;	     /* address of a string; 0 none */
	int64_t deadline_ns; /* CLOCK_MONOTONIC; 0 none */
	uint64_t object;     /* address of what it waits for; 0 none */
};

/** Where coroutines are created. */
struct hook_site {
	uint64_t pc;	/* return address of the call that creates them; 0: the
			   site is not known */
	uint64_t start; /* function that they begin with; 0 not known */
	uint64_t created, ended;
};

enum hook_activity {
	HOOK_IDLE = 0, /* another copy in this process does the work */
	HOOK_ACTIVE = 1,
};

struct hook_root {
	char magic[16];
	uint32_t version;
	uint32_t root_size, line_size, more_size, site_size; /* bytes */
	uint32_t chunk_lines, max_chunks, max_sites;
	uint32_t activity; /* enum hook_activity */
	uint32_t pid; /* who wrote last, in its own pid namespace: a child of
			 fork(2) has its own copy */
	/* TSC and CLOCK_MONOTONIC at one moment; two moments give the rate */
	uint64_t tsc;
	int64_t mono_ns;
	uint64_t created, ended; /* since the program began; of a fork: too */
	uint64_t dropped;	 /* not listed: the table was full */
	uint32_t n_lines;	 /* lines that were ever given out */
	uint32_t n_sites;
	uint64_t sites; /* address of max_sites sites; 0 none */
	uint64_t lines[HOOK_MAX_CHUNKS]; /* addresses of the chunks; 0 none */
	uint64_t more[HOOK_MAX_CHUNKS];	 /* addresses; 0 none */
};

/** What `since` and `tsc` count; 0 where there is no such counter. */
static inline uint64_t hook_ticks(void)
{
#ifdef __x86_64__
	return __builtin_ia32_rdtsc();
#else
	return 0;
#endif
}

#endif
