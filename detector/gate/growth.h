/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DETECTOR_GATE_GROWTH_H
#define DETECTOR_GATE_GROWTH_H

/**
 * How many more are there than before? Each look at a process that goes on
 * counts its tasks by fingerprint; held against the earlier counts, they tell
 * what was left behind. Pure.
 */

#include "base/arena.h"
#include "base/error.h"
#include "detector/gate/leak.h"

/** Looks that are kept; with more of them every second one is forgotten. */
#define GROWTH_LOOKS 64
/**
 * Looks at any time, under whatever load, tell growth from chance only when
 * there are so many: as likely as not one of two numbers is greater, but that
 * each of the later four is greater by two than each of the first four is no
 * chance.
 */
#define GROWTH_MIN_LOOKS 8
#define GROWTH_MIN_MORE 2

struct growth_row {
	char fingerprint[GATE_FINGERPRINT];
	uint32_t v[GROWTH_LOOKS];
};

struct growth {
	struct arena *arena;
	struct growth_row *rows; /* ascending by fingerprint */
	size_t n, cap;
	size_t n_looks; /* of each row's v */
};

/** How two moments are held against each other. */
enum growth_rule {
	GROWTH_QUIET, /* at each look nothing was to be done: last and first */
	GROWTH_BUSY,  /* the later half of the looks and the first half */
};

/** @arena owns the rows, and lives longer. */
void growth_init(struct growth *g, struct arena *arena);
/** Add one look: the counts of all leaks of @p. Fails: ERROR_NOMEM. */
struct error *growth_add(struct growth *g, const struct gate_process *p);
/** Are there looks enough to judge? */
bool growth_enough(const struct growth *g, enum growth_rule rule);
/**
 * How many more there are now, at least, and how many there were before.
 * GROWTH_BUSY: the least of the later half of @n counts, less the greatest of
 * the first half, unless that is below GROWTH_MIN_MORE.
 */
uint64_t growth_more(const uint32_t *v, size_t n, enum growth_rule rule,
		     uint64_t *before_ret);
/**
 * Keep of @p, whose counts were added last, what is more than before. Of what
 * is alike so many stay as are more; dead ones and connections stay as they
 * are. Without enough looks only these stay.
 */
void growth_apply(const struct growth *g, enum growth_rule rule,
		  struct gate_process *p);

/**
 * The leaks of @p with this fingerprint make @more together; @before were there
 * before. What is left with none goes.
 */
void growth_attribute(struct gate_process *p, const char *fingerprint,
		      uint64_t more, uint64_t before);

#endif
