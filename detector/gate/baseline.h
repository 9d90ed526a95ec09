/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DETECTOR_GATE_BASELINE_H
#define DETECTOR_GATE_BASELINE_H

/**
 * The leaks that are known: a JSON file, one entry per fingerprint, sorted, one
 * line each, without anything that differs between two runs of the same code
 * (no ids, addresses, lines, counts, times). One of --snapshot-before is of a
 * process that goes on, and its entries have a count, from 1 to UINT32_MAX: so
 * many are known. What stands there twice is known as often as both say.
 *
 *	{
 *	 "schema": 1,
 *	 "leaks": [
 *	  {"fingerprint": "...", "kind": "goroutine", "function": "...", ...},
 *	 ]
 *	}
 */

#include <stdio.h>

#include "base/error.h"
#include "detector/gate/leak.h"

#define BASELINE_SCHEMA 1
#define BASELINE_MAX 100000 /* entries */
#define BASELINE_MAX_BYTES (64 << 20)

struct baseline_entry {
	const char *fingerprint, *kind, *function, *creator, *package;
	uint64_t count; /* so many are known; 0: however many there are */
	bool exceeded;	/* by the process that was last applied */
	bool seen;	/* in this run */
};

struct gate_baseline {
	struct arena *arena;
	const char *path;
	struct baseline_entry *v; /* ascending by fingerprint, each once */
	size_t n, cap;
};

/**
 * Read @path. With @may_lack, a file that is not there is an empty one.
 *
 * Fails: ERROR_USAGE (not there, no JSON, a newer schema, not a baseline; says
 * where), ERROR_OS, ERROR_NOMEM.
 */
struct error *baseline_read(const char *path, bool may_lack,
			    struct gate_baseline **ret);
/** The same from memory. */
struct error *baseline_parse(const char *name, const char *text, size_t len,
			     struct gate_baseline **ret);
void baseline_destroy(struct gate_baseline *b);

/**
 * Mark the leaks of @p that are known, and the entries that were seen. What is
 * more than an entry's count stays, by that much.
 */
void baseline_apply(struct gate_baseline *b, struct gate_process *p);

/** How many entries were not seen. */
size_t baseline_gone(const struct gate_baseline *b);

/**
 * Write what the list @processes has, but for what the policy ignores, to
 * @path: by a new file that then takes its place.
 *
 * @param counted with their counts.
 * Fails: ERROR_OS, ERROR_NOMEM.
 */
struct error *baseline_write(const char *path,
			     const struct gate_process *processes,
			     bool counted);

static inline void baseline_destroyp(struct gate_baseline **b)
{
	baseline_destroy(*b);
}
#define AUTO_BASELINE __attribute__((cleanup(baseline_destroyp)))

#endif
