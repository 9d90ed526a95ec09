/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_HOOKS_GO_GTASK_H
#define RUNTIME_HOOKS_GO_GTASK_H

/**
 * From the bytes of a g and its unwound stack to a struct task, and what is
 * remembered of it for the next snapshot. The reading is goroutine.h's.
 */

#include "runtime-hooks/go/layout.h"
#include "runtime-hooks/go/unwind.h"
#include "runtime-hooks/go/wait.h"
#include "runtime-hooks/runtime.h"

/** What is remembered of a goroutine from snapshot to snapshot. */
struct gtask_record {
	uint64_t goid; /* 0: nothing is */
	raddr_t sp, pc;
	int64_t since;		/* g.waitsince */
	struct go_shape *shape; /* complete, or NULL */
	raddr_t known;		/* its pollDesc or sudog */
	uint64_t objects;	/* hash of what it waits on */
	int64_t here_ns;	/* first snapshot that saw it at this place */
	int64_t absent_ns;	/* last one that did not; 0 none */
	uint64_t marks;		/* hash of the flags that change when it runs */
};

/**
 * Is a parked goroutine provably in the same park as when @record was made?
 * See goroutine.h for the proof.
 */
bool gtask_unchanged(const struct go_layout *layout,
		     const struct gtask_record *record, const uint8_t *bytes);
/**
 * Bytes from g.waitreason on that change when a goroutine runs: among them
 * trackingSeq, which counts its turns (runtime2.go since Go 1.17).
 */
size_t gtask_marks_len(const struct go_layout *layout);

struct gtask_in {
	raddr_t g;
	const uint8_t *bytes;		  /* of the g */
	const struct go_stack_view *view; /* valid when shape is not NULL */
	struct go_shape *shape;
	struct gtask_record *record;
	bool unchanged; /* gtask_unchanged(): nothing but g was read again */
	bool torn;
	bool first; /* the first try */
	bool last;  /* no further try: take it as it is */
};

struct gtask;

/** Begin a snapshot of at most @max tasks; see go_goroutines_read(). */
struct error *gtask_begin(struct go_live *mem, struct go_layout *layout,
			  const struct go_symbols *sym,
			  struct go_unwinder *unwinder,
			  const struct runtime_options *opt, int64_t alive_ms,
			  int64_t last_taken, size_t max,
			  struct task_snapshot *snap, struct gtask **ret);
/**
 * Make a task of @in. Returns false, and makes none, when its wait
 * contradicts itself and it should be read again (never when @in->last).
 */
bool gtask_emit(struct gtask *out, const struct gtask_in *in);
/**
 * Of the tasks emitted last, taken in their order from *next on: keep
 * the next one, at @to, or drop it and what is remembered of it. *next is
 * moved on; gtask_cut() ends it.
 */
void gtask_keep(struct gtask *out, size_t to, size_t *next);
void gtask_drop(struct gtask *out, struct gtask_record *record, size_t *next);
void gtask_cut(struct gtask *out, size_t n);
/** Sort, count waiters, add gaps; frees @out. */
struct error *gtask_end(struct gtask *out);
/** Where the tasks go. */
struct task_snapshot *gtask_snapshot(struct gtask *out);

#endif
