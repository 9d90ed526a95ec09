/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DETECTOR_PATTERNS_H
#define DETECTOR_PATTERNS_H

/**
 * What a rule asks for: patterns, each for one key. It matches what has, for
 * every key that it names, one of that key's patterns.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"

struct pattern {
	struct pattern *next;
	int key; /* the caller's, below 32 */
	const char *text;
};

struct patterns {
	struct pattern *first;
	uint32_t keys; /* a bit for each that is named */
};

/** Does @text match @pattern (* and \* only)? Takes time O(n * m). */
bool pattern_glob(const char *pattern, const char *text);

/** Add one, copied to @arena. Returns false when out of memory. */
bool patterns_add(struct patterns *patterns, struct arena *arena, int key,
		  const char *text);

/** @matches says whether one pattern fits @arg. */
bool patterns_match(const struct patterns *patterns,
		    bool (*matches)(const struct pattern *p, const void *arg),
		    const void *arg);

#endif
