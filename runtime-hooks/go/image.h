/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_HOOKS_GO_IMAGE_H
#define RUNTIME_HOOKS_GO_IMAGE_H

/**
 * The static half of a Go program: its executable as it is mapped, the Go
 * version, the module data and the pc tables, and what follows from them: the
 * function, file, line and inlined frames of a pc, and the size of its frame.
 *
 * Needs no symbols, no section headers, no DWARF and no build info. All tables
 * are read from the target's memory (memory.h), never from the file: what is
 * there is what runs, also when the file was deleted, replaced, cut short or
 * is packed. Everything found is foreign: bounded, checked, never trusted.
 *
 * Not here: goroutines (goroutine.h), and any live value but module data.
 *
 * A go_image is used from one thread. Frames and stacks are interned in it
 * and live until go_image_destroy().
 */

#include "base/arena.h"
#include "base/error.h"
#include "base/process.h"
#include "runtime-hooks/task.h"

#define GO_MAX_MODULES 64    /* plugins: one module each */
#define GO_MAX_FUNCS 4000000 /* kubelet has 130,000 */
#define GO_MAX_NAME 65536    /* generic names are long, this is absurd */
#define GO_MAX_INLINE_DEPTH 64

/** Format of the pc tables by Go version; see pclntab.h. */
enum go_pclntab_version {
	GO_PCLNTAB_116, /* 1.16, 1.17 */
	GO_PCLNTAB_118, /* 1.18, 1.19 */
	GO_PCLNTAB_120, /* 1.20 and later */
};

struct go_segment {
	raddr_t start, end;
};

/** One moduledata; more than one with plugins or -buildmode=shared. */
struct go_module {
	raddr_t addr; /* of the moduledata itself */
	raddr_t text, etext, minpc, maxpc;
	struct go_segment noptrdata, data, bss, noptrbss;
	raddr_t gofunc;	       /* base of funcdata offsets (1.18+), 0 before */
	raddr_t types, etypes; /* 0 when not found */
	enum go_pclntab_version version;
};

struct go_image;

/**
 * Find the Go runtime in @p: the executable, or any mapped object (Go in a C
 * program by -buildmode=c-shared).
 *
 * Fails: ERROR_ABSENT ("not a Go program"), ERROR_UNSUPPORTED ("gccgo", "TinyGo", "packed",
 * 32-bit, big-endian, another architecture: each by name), ERROR_CORRUPT,
 * ERROR_GONE, ERROR_DENIED, ERROR_NOMEM, ERROR_OS.
 */
struct error *go_image_create(const struct process *p, struct go_image **ret);
void go_image_destroy(struct go_image *image);

/** "go1.22.5", or "go1.20-1.27" style range when no version string exists. */
const char *go_image_version(const struct go_image *image);
/** Minor number from that string, 0 when not known. Never a layout source. */
int go_image_minor(const struct go_image *image);
/** How version and tables were found, for `doctor`; one line. */
const char *go_image_how(const struct go_image *image);

/** The runtime's own module first. */
const struct go_module *go_image_modules(const struct go_image *image,
					 size_t *n_ret);

/** Is @addr inside a mapping of the image (text, data or bss)? */
bool go_image_holds(const struct go_image *image, raddr_t addr);

/** A function, by its place in the tables. */
struct go_func {
	raddr_t entry;
	uint32_t module; /* index */
	uint32_t index;	 /* in the module's ftab */
	const char *name;
	uint8_t func_id; /* runtime/abi.FuncID as this version numbers them */
	bool top_frame;	 /* outermost: unwinding ends here */
	/* Writes SP: cannot be unwound through, save as the innermost function
	   of a goroutine in a system call (its pc is syscallpc). */
	bool sp_write;
};

/** The function that holds @pc. Returns false outside all functions. */
bool go_image_func(struct go_image *image, raddr_t pc, struct go_func *ret);
/** Is @pc exactly the entry of a function? */
bool go_image_is_entry(struct go_image *image, raddr_t pc);
/**
 * Find a function by its exact name ("runtime.main"). Linear on first use of
 * a name, cached after. Returns false when there is none.
 */
bool go_image_func_by_name(struct go_image *image, const char *name,
			   struct go_func *ret);

/**
 * The size of @pc's frame: distance from sp to the return address' end, so
 * that fp = sp + *delta_ret and the return address is at fp - 8 (x86-64).
 *
 * The runtime looks up @pc itself here, return address or not, and so does
 * this; @is_return only says with which other calls it shares its cache.
 *
 * Returns: false when @pc is in no function or its table is corrupt.
 */
bool go_image_frame_size(struct go_image *image, raddr_t pc, bool is_return,
			 uint32_t *delta_ret);

/**
 * The logical frames of one physical pc, innermost (inlined) first. Their
 * hidden marks are those of a frame in the middle of a stack that called an
 * ordinary function; go_image_stack() knows better.
 *
 * @param is_return look up pc - 1 (all frames but one cut off by a signal),
 * unless @pc is the entry of its function.
 * Returns: the number of frames (0: none, @pc is in no function) and the
 * frames, interned; valid until go_image_destroy().
 */
size_t go_image_frames(struct go_image *image, raddr_t pc, bool is_return,
		       const struct frame *const **ret);

/**
 * The site that a "created by" line names: the function that holds @gopc, and
 * the file and line of @gopc - 1 (printcreatedby1 in runtime/traceback.go);
 * hidden when the runtime prints no such line. NULL when @gopc is 0 or in no
 * function.
 */
const struct frame *go_image_creator(struct go_image *image, raddr_t gopc);
/** The start function as a frame with its first line; NULL when unknown. */
const struct frame *go_image_start(struct go_image *image, raddr_t startpc);

/**
 * Intern the stack of the physical @pcs (innermost first).
 *
 * All logical frames are in it, inlined ones, wrappers and "runtime.goexit"
 * too. Those that the runtime's own dump leaves out (runtime/traceback.go at
 * the default GOTRACEBACK=single) are marked hidden; it prints all of them
 * when it would print none. Pcs in no function become a frame "?" and make the
 * stack incomplete.
 *
 * @param first_is_return the innermost pc is a return address (parked
 * goroutines: yes; after a signal: no).
 * Returns: NULL only when out of memory.
 */
const struct stack *go_image_stack(struct go_image *image, const raddr_t *pcs,
				   size_t n, bool first_is_return,
				   bool incomplete, bool truncated);

/**
 * The name of the type descriptor at @type (live memory, abi.Type), as the
 * runtime prints it: "main.payload", "*net.conn", "struct {}".
 *
 * Returns: interned, or NULL when it does not hold together.
 */
const char *go_image_type_name(struct go_image *image, raddr_t type);

/**
 * Bytes that interned frames, stacks and names take. They only grow: who keeps
 * an image for days may create it anew once this is large.
 */
size_t go_image_bytes(const struct go_image *image);

static inline void go_image_destroyp(struct go_image **image)
{
	go_image_destroy(*image);
}
#define AUTO_GO_IMAGE __attribute__((cleanup(go_image_destroyp)))

#endif
