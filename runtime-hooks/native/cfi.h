/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_HOOKS_NATIVE_CFI_H
#define RUNTIME_HOOKS_NATIVE_CFI_H

/**
 * Call frame information: which function a pc is in, and how to get from its
 * frame to its caller's (.eh_frame_hdr and .eh_frame: Linux Standard Base Core
 * 5.0, sections 10.6.1 and 10.6.2; instructions: DWARF 5, section 6.4.2).
 *
 * Reads through a page cache: a target's memory, or any bytes. All of it is
 * taken to be hostile; whatever lies outside of its section, is longer than a
 * limit or names no register that exists is -EPROTO. Expressions are not
 * evaluated, only told.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/pagecache.h"
#include "runtime-hooks/native/native.h"

/** One entry: that of a function of 100,000 lines has some 20 KiB. */
#define CFI_MAX_ENTRY ((uint64_t)1 << 20)
#define CFI_MAX_ENTRIES ((uint64_t)1 << 22) /* that are sorted by us */
#define CFI_MAX_STATES 16 /* remembered states; compilers nest one or two */
#define CFI_MAX_OFFSET ((int64_t)1 << 30) /* of a frame, in bytes */

/** An entry of the sorted table, relative to its section. */
struct cfi_entry {
	int32_t start, fde;
};

/** Where an object has it. */
struct cfi_section {
	raddr_t hdr;	/* .eh_frame_hdr, or what index is relative to */
	uint64_t n;	/* entries of the table */
	raddr_t lo, hi; /* of the object: entries lie in there */
	const struct cfi_entry *index; /* made by cfi_index(), else NULL */
};

enum cfi_how {
	CFI_SAME, /* also: nothing was said */
	CFI_UNDEFINED,
	CFI_AT,	      /* saved at CFA + offset */
	CFI_VALUE,    /* is CFA + offset */
	CFI_REGISTER, /* is in another register */
	CFI_EXPRESSION,
};

struct cfi_rule {
	enum cfi_how how : 8;
	uint32_t reg : 8;
	int32_t offset;
};

/** What holds at one pc. */
struct cfi_row {
	raddr_t start, end; /* of the function, or the part of it */
	bool cfa_expression;
	bool signal_frame; /* the caller's pc is where it was interrupted */
	uint8_t cfa_reg;
	int32_t cfa_offset;
	struct cfi_rule rule[NATIVE_N_REGS];
};

/**
 * Look at the header at @section->hdr and set @section->n.
 *
 * Returns: 0; -ENOENT when it has no sorted table of the usual kind (then no
 * frame of this object can be told), -EFAULT, -EPROTO.
 */
int cfi_open(struct pagecache *mem, struct cfi_section *section)
	__attribute__((warn_unused_result));

/**
 * Make the table of an object that has none: from the @len bytes at
 * @eh_frame. Entries that make no sense are left out. @section->lo and hi must
 * be set, the rest is set here, with memory of @arena.
 *
 * Returns: 0, -ENOENT (no entries), -ENOMEM.
 */
int cfi_index(struct pagecache *mem, struct arena *arena, raddr_t eh_frame,
	      uint64_t len, struct cfi_section *section)
	__attribute__((warn_unused_result));

/**
 * The row of @pc.
 *
 * Returns: 0, -ENOENT (no entry covers it), -EFAULT (not readable), -EPROTO
 * (makes no sense, or is an encoding that is not known).
 */
int cfi_find(struct pagecache *mem, const struct cfi_section *section,
	     raddr_t pc, struct cfi_row *ret)
	__attribute__((warn_unused_result));

#endif
