/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_HOOKS_GO_PCLNTAB_H
#define RUNTIME_HOOKS_GO_PCLNTAB_H

/**
 * The pc tables of one Go module: from a pc to its function, and from there to
 * frame size, file, line and inlined calls.
 *
 * The formats are those of runtime/symtab.go, runtime/symtabinl.go and
 * runtime/runtime2.go (type _func) of Go 1.16 to 1.27; the three that exist
 * are told apart by the magic word of the pcHeader:
 *
 *   magic     Go        ftab entry             _func.entry  inlinedCall
 *   fffffffa  1.16-17   u64 entry, u64 offset  u64          20 bytes
 *   fffffff0  1.18-19   u32, u32 from text     u32          20 bytes
 *   fffffff1  1.20-     u32, u32 from text     u32          16 bytes
 *
 * Everything is read through a pagecache and checked: offsets against the
 * tables' lengths, loops by counts. Nothing is kept; the caller caches.
 */

#include "runtime-hooks/go/image.h"
#include "base/pagecache.h"

struct pclntab {
	struct pagecache *mem;
	enum go_pclntab_version version;
	uint8_t quantum; /* pc deltas count in these */
	raddr_t text, minpc, maxpc;
	raddr_t gofunc; /* base of funcdata offsets; 0: not known, no inlining */
	raddr_t names, cutab, filetab, pctab, funcs, ftab;
	uint64_t names_len, filetab_len, pctab_len, funcs_len; /* bytes */
	uint64_t cutab_len;				       /* entries */
	uint32_t nfunc;
};

struct pclntab_func {
	raddr_t entry;
	uint32_t index; /* in ftab */
	uint32_t name;	/* offset in names */
	uint32_t pcsp, pcfile, pcln, cu;
	uint32_t npcdata;
	uint8_t nfuncdata;
	uint8_t id, flags;
	raddr_t tables; /* the pcdata offsets, then the funcdata ones */
};

#define PCLNTAB_FLAG_TOP_FRAME 1 /* abi.FuncFlagTopFrame, since 1.17 */
#define PCLNTAB_FLAG_SP_WRITE 2	 /* abi.FuncFlagSPWrite, since 1.17 */

/** One logical frame of a pc. */
struct pclntab_frame {
	uint32_t name; /* offset in names */
	uint8_t id;    /* FuncID */
	bool inlined;
	uint64_t call; /* pc whose file and line these are */
};

/** Which format has this magic word? Returns false for none of ours. */
bool pclntab_version(uint32_t magic, enum go_pclntab_version *ret);

/** The function that holds @pc. Returns false outside, or when corrupt. */
bool pclntab_find(const struct pclntab *tab, raddr_t pc,
		  struct pclntab_func *ret);
/** The function at @index of ftab. */
bool pclntab_func_at(const struct pclntab *tab, uint32_t index,
		     struct pclntab_func *ret);

/**
 * Read the name at offset @name into @buf.
 *
 * Returns: its length, or -1 when it has no NUL, does not fit, or is outside.
 */
ssize_t pclntab_name(const struct pclntab *tab, uint32_t name, char *buf,
		     size_t size);

/**
 * Find a name in the name table. Returns its offset, or -1. Linear, past the
 * cache.
 */
int64_t pclntab_name_offset(const struct pclntab *tab, const char *name);
/** The first function whose name is at offset @name. Linear. */
bool pclntab_func_named(const struct pclntab *tab, uint32_t name,
			struct pclntab_func *ret);

/**
 * The value that the pc-value table at offset @table of pctab has at @pc.
 * Returns false when there is none (runtime.pcvalue answers -1 then).
 */
bool pclntab_value(const struct pclntab *tab, const struct pclntab_func *func,
		   uint32_t table, raddr_t pc, int32_t *ret);

/**
 * The logical frames at @pc (a call's own pc, not the return address),
 * innermost first; the last is the function itself.
 *
 * Returns: how many, at most @max, at least 1. A tree that does not hold
 * together ends early with the function itself, as the runtime's does.
 */
size_t pclntab_inlined(const struct pclntab *tab,
		       const struct pclntab_func *func, raddr_t pc,
		       struct pclntab_frame *ret, size_t max);

/**
 * File and line of @pc in @func. Returns the length of the file's name, or -1
 * when it is not known; *line_ret is 0 when that is not known.
 */
ssize_t pclntab_line(const struct pclntab *tab, const struct pclntab_func *func,
		     raddr_t pc, char *buf, size_t size, uint32_t *line_ret);

/**
 * How many of @n functions spread over the module have an inline tree that
 * makes sense when funcdata offsets count from @gofunc; *with_tree_ret is how
 * many of them claim to have a tree. For calibration.
 */
size_t pclntab_try_gofunc(const struct pclntab *tab, raddr_t gofunc, size_t n,
			  size_t *with_tree_ret);

#endif
