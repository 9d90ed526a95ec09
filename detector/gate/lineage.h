/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DETECTOR_GATE_LINEAGE_H
#define DETECTOR_GATE_LINEAGE_H

/**
 * Who started whom in one process, and which of them ran a test: remembered by
 * goroutine id, which Go never gives out twice (runtime/proc.go, newproc1(),
 * Go 1.17 to 1.27), so that the test of a goroutine is known when those
 * between the two have ended. Not locked.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Remembered of one process: 8 MB. A test has a handful. */
#define LINEAGE_MAX (1u << 17)
#define LINEAGE_MAX_PARENTS 64 /* that are followed; a chain is short */

struct lineage;

/** NULL when out of memory. */
struct lineage *lineage_create(void);
void lineage_destroy(struct lineage *l);

/**
 * Remember @goid. What is known of it stays. Without memory, and beyond
 * LINEAGE_MAX, nothing is remembered.
 *
 * @param parent 0: not known (Go before 1.21).
 */
void lineage_put(struct lineage *l, uint64_t goid, uint64_t parent);

/** @goid runs the test @name. @sure: it need not be asked again. */
void lineage_name(struct lineage *l, uint64_t goid, const char *name,
		  bool sure);

/** What is known of @goid itself. */
enum lineage_state {
	LINEAGE_NEW,   /* nothing, not even that it is there */
	LINEAGE_KNOWN, /* who started it */
	LINEAGE_NAMED, /* and for sure which test it runs */
};
enum lineage_state lineage_state(const struct lineage *l, uint64_t goid);

/**
 * The test that @goid runs, or the nearest of its ancestors.
 *
 * Returns: NULL when none is known; good until the next lineage_name().
 */
const char *lineage_test(const struct lineage *l, uint64_t goid);

#endif
