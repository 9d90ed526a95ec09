/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DETECTOR_WATCH_H
#define DETECTOR_WATCH_H

/**
 * Who creates tasks, and do they end? Looks at the tasks again and again and
 * keeps, for each creation site, how many came and went. Memory is bounded by
 * the tasks that live (24 bytes each) and WATCH_MAX_SITES, not by the time.
 *
 * Two sources of numbers: the counters of the process itself where it has some
 * (the table of the coroutine hook), which miss nothing; else two snapshots
 * held against each other, which miss what came and went between them. Of
 * goroutines their ids tell how many that were, at most.
 */

#include "base/arena.h"
#include "base/error.h"
#include "base/gap.h"
#include "runtime-hooks/runtime.h"

#define WATCH_MAX_SITES 10000
#define WATCH_QUARTERS 4
/** So many must have been created, and none ended, for a site to grow. */
#define WATCH_MIN_GROWTH 4

struct watch_site {
	enum task_runtime runtime;
	const struct frame *frame; /* of the source; NULL: not known, main */
	uint64_t created, ended;   /* since the first look */
	uint64_t alive, alive_first;
	uint64_t oldest_id; /* of those that live; 0: not known */
	int64_t oldest_ms;  /* it lives at least that long; -1 not known */
	/* Alive at the begin, after each quarter, and at the end. */
	uint64_t quarter[WATCH_QUARTERS + 1];
	/* It grew in each quarter, and none of its tasks ended. */
	bool grows;
};

struct watch {
	struct arena *arena;
	struct watch_site *v;
	size_t n;
	uint64_t looks;
	int64_t duration_ms; /* from the first look to the last */
	/* By ids: created at most since the first look, and of these the ones
	 * that no look saw. */
	uint64_t created_at_most, unseen_at_most;
	struct gaps gaps;
	struct watch_state *state; /* private */
};

struct error *watch_create(struct watch **ret);
void watch_destroy(struct watch *watch);

/** The time of the look whose tasks come next, any clock. */
void watch_begin_look(struct watch *watch, int64_t now_ms);
/**
 * All tasks of one source. @counted: their numbers come by watch_counts(), and
 * this tells the oldest only. Fails: ERROR_NOMEM.
 */
struct error *watch_tasks(struct watch *watch, const struct task_snapshot *snap,
			  bool counted);
/** The counters of one source, since ever. Fails: ERROR_NOMEM. */
struct error *watch_counts(struct watch *watch, enum task_runtime runtime,
			   const struct task_site *v, size_t n);
/**
 * @param quarter this look ends that one, 0 to WATCH_QUARTERS (0: the first
 *        look); -1: it lies within one.
 */
void watch_end_look(struct watch *watch, int quarter);
/** Decide what grows, and put what grows most first. */
void watch_finish(struct watch *watch);
/** How many sites grow. */
size_t watch_growing(const struct watch *watch);

static inline void watch_destroyp(struct watch **watch)
{
	watch_destroy(*watch);
}
#define AUTO_WATCH __attribute__((cleanup(watch_destroyp)))

#endif
