/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_HOOKS_NATIVE_OBJECT_H
#define RUNTIME_HOOKS_NATIVE_OBJECT_H

/**
 * The code of a process: what is mapped executable, and which ELF object it
 * belongs to (ELF-64 Object File Format 1.5; elf(5)).
 *
 * The headers and what the loader mapped are read from memory. The file is
 * opened only for names: by /proc/PID/map_files, which is the mapped file
 * itself even when deleted, or by its path below /proc/PID/root, and then it
 * must have the build id that memory has, or the inode where there is none.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/pagecache.h"
#include "base/process.h"
#include "runtime-hooks/native/cfi.h"

#define OBJECT_MAX_HEADERS 128 /* program headers; real objects have under 20 */
#define OBJECT_MAX_FIXED 8     /* read-only segments; there are two or three */
#define OBJECT_MAX_NOTES 65536 /* bytes of notes that are looked through */
#define OBJECT_MAX_BUILD_ID 64 /* SHA-1 has 20 */

struct object_build_id {
	uint8_t bytes[OBJECT_MAX_BUILD_ID];
	uint32_t len; /* 0: it has none */
};

/* Look for a build id (note NT_GNU_BUILD_ID of "GNU") in @len bytes. */
bool object_find_build_id(const void *notes, size_t len,
			  struct object_build_id *ret);

struct object_range {
	raddr_t lo, hi;
};

struct object {
	raddr_t start;	   /* where its header is mapped */
	raddr_t first_end; /* of the mapping that holds the header */
	uint64_t inode;
	uint32_t dev_major, dev_minor;
	const char *path; /* as in maps */
	const char *name; /* last component, "[vdso]" */
	bool main;	  /* the program itself */
	/* of the headers, when they were looked at */
	bool parsed, valid;
	uint64_t bias;	/* add to an address of the file */
	raddr_t lo, hi; /* of all its segments */
	struct object_range fixed[OBJECT_MAX_FIXED]; /* never written to */
	uint32_t n_fixed;
	struct object_build_id build_id;
	bool has_cfi, cfi_tried;
	struct cfi_section cfi;
	/* names and lines, see names.h */
	struct names *names;
	bool names_tried;
};

/** A piece of executable memory. */
struct code {
	raddr_t start, end;
	struct object *object; /* NULL: anonymous, made at run time */
};

struct objects {
	struct arena *arena;
	struct code *code; /* ascending */
	size_t n_code;
	struct object *v; /* ascending by start */
	size_t n;
};

/** Read the mappings. Fails: as process_maps(). */
struct error *objects_read(const struct process *p, struct objects *ret);
/** Frees what objects_read() allocated, but no names. */
void objects_clear(struct objects *objects);
/** The code at @pc, or NULL. */
const struct code *objects_find(const struct objects *objects, raddr_t pc);
/**
 * Does all that was learned of @was hold in @now? Objects that came where
 * nothing was do not matter.
 */
bool objects_kept(const struct objects *was, const struct objects *now);
/**
 * Look at the headers, once. Returns: whether it is an object that we can
 * read; has_cfi tells whether frames can be had.
 */
bool object_parse(struct pagecache *mem, struct object *object);
/** Does @addr lie where the object is not written to? */
bool object_fixed(const struct object *object, raddr_t addr);
/** Open its file. Returns: an fd or -errno (-ESTALE: it is another file). */
int object_open(const struct process *p, const struct object *object)
	__attribute__((warn_unused_result));

#endif
