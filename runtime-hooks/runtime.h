/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_HOOKS_RUNTIME_H
#define RUNTIME_HOOKS_RUNTIME_H

/**
 * The interface that each task source implements: Go, coroutines of C and C++,
 * threads. A further runtime is one more folder with one more vtable, listed
 * in runtime_sources, and no change elsewhere.
 *
 * One process may carry several: goroutines and the threads of a C library,
 * coroutines and the threads that they run on.
 */

#include "base/error.h"
#include "base/process.h"
#include "runtime-hooks/task.h"

struct runtime_options {
	bool stacks;  /* unwind and symbolize every task */
	bool objects; /* channels, mutexes, labels, deadlines */
	bool fds;     /* the fd of every task that waits on one */
	/*
	 * Threads: where a stack cannot be had from outside, stop the thread
	 * for a moment (ptrace), but never one in a call that a stop would end
	 * with EINTR; unless forced. Only when the user asked for it.
	 */
	bool stop, force;
	/*
	 * Is the thread with that pc, or that carries a task, another source's
	 * business? Threads for which this says yes are left out. NULL: none.
	 * @pc 0: not known.
	 */
	bool (*taken)(void *arg, pid_t tid, raddr_t pc);
	void *taken_arg;
};

/**
 * One creation site: how many tasks have been made there, and ended. Counted
 * by the process itself, so nothing is missed between two looks.
 */
struct task_site {
	const struct frame *frame; /* of the source; NULL: not known */
	uint64_t created, ended;   /* ever */
};

/** What snapshot() should look for when the caller has no opinion: all. */
extern const struct runtime_options runtime_everything;

struct runtime_source {
	const char *name; /* "go", "coroutine", "thread" */
	enum task_runtime kind;
	/**
	 * Does @p carry this runtime? Finds and validates the layout. What
	 * *ctx_ret holds is reused by every later snapshot of @p.
	 *
	 * Fails: ERROR_ABSENT (nothing of this runtime is there),
	 * ERROR_UNSUPPORTED (a version or packing that is refused by name), ERROR_CORRUPT (looks like it, and does
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
	/** The members below may be NULL. */
	/** Does code of this runtime itself, or compiled by it, lie at @pc? */
	bool (*owns_pc)(void *ctx, raddr_t pc);
	/**
	 * The creation sites, in any order, each once, in @arena; their frames
	 * live as long as the context. Fails: as snapshot().
	 */
	struct error *(*sites)(void *ctx, struct arena *arena,
			       struct task_site **ret, size_t *n_ret);
};

/** A source that fits a process, and its context there. */
struct runtime_attached {
	const struct runtime_source *source;
	void *context;
};

#define RUNTIME_MAX_SOURCES 4

/** All sources, NULL at the end. */
extern const struct runtime_source *const runtime_sources[];

/**
 * Attach every source that fits @p, in the order of runtime_sources: threads,
 * which fit all, come last.
 *
 * @param why_ret why no other source than threads fits, the reason of the one
 *        that came nearest ("not a Go program", "packed by UPX"); NULL when one
 *        does. The caller frees it. May be NULL.
 * Fails: as attach(), when none fits at all.
 */
struct error *
runtime_attach_all(const struct process *p,
		   struct runtime_attached ret[RUNTIME_MAX_SOURCES],
		   size_t *n_ret, struct error **why_ret);

void runtime_detach_all(struct runtime_attached *v, size_t n);

#endif
