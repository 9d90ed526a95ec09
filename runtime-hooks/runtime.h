/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_HOOKS_RUNTIME_H
#define RUNTIME_HOOKS_RUNTIME_H

/**
 * The interface that each task source implements: Go, later C coroutines and
 * threads. A further runtime is one more folder with one more vtable, listed
 * in runtime_sources, and no change elsewhere.
 */

#include "base/error.h"
#include "base/process.h"
#include "runtime-hooks/task.h"

struct runtime_options {
	bool stacks;  /* unwind and symbolize every task */
	bool objects; /* channels, mutexes, labels, deadlines */
	bool fds;     /* the fd of every task that waits on one */
};

/** What snapshot() should look for when the caller has no opinion: all. */
extern const struct runtime_options runtime_everything;

struct runtime_source {
	const char *name; /* "go" */
	/**
	 * Does @p carry this runtime? Finds and validates the layout. What
	 * *ctx_ret holds is reused by every later snapshot of @p.
	 *
	 * Fails: ERROR_UNSUPPORTED (another runtime, or a version or packing
	 * that is refused by name), ERROR_CORRUPT (looks like it, and does
	 * not hold together), ERROR_GONE, ERROR_DENIED, ERROR_NOMEM.
	 * @p must outlive the context.
	 */
	struct error *(*attach)(const struct process *p, void **ctx_ret);
	/** "go1.22.5"; lives as long as the context. */
	const char *(*version)(const void *ctx);
	/**
	 * Lines for `doctor`: how the version, tables and layouts were found.
	 * Calls @line for each.
	 */
	void (*explain)(const void *ctx,
			void (*line)(void *arg, const char *text), void *arg);
	/**
	 * Take a snapshot. What could not be read is a gap in it, not an
	 * error; ERROR_GONE only when nothing at all was read.
	 */
	struct error *(*snapshot)(void *ctx, const struct runtime_options *opt,
				  struct task_snapshot **ret);
	void (*detach)(void *ctx);
};

/** All sources, NULL at the end. */
extern const struct runtime_source *const runtime_sources[];

/**
 * Attach the first source that fits @p.
 *
 * Fails: as attach(); ERROR_UNSUPPORTED when none fits, with the reason of the
 * one that came nearest ("not a Go program", "packed by UPX").
 */
struct error *runtime_attach(const struct process *p,
			     const struct runtime_source **source_ret,
			     void **ctx_ret);

#endif
