/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_HOOKS_COROUTINE_TSC_H
#define RUNTIME_HOOKS_COROUTINE_TSC_H

/**
 * The time stamp counter of x86 as a clock: the hook notes it at each park,
 * because reading it is all that a switch can afford.
 *
 * Two moments at which both it and CLOCK_MONOTONIC are known give the rate.
 * The table has one, of its own beginning; we have two of our own. Where these
 * do not agree (the table lies, the process has a clock of its own by
 * time_namespaces(7), the counter is not steady), only ours count.
 */

#include <stdbool.h>
#include <stdint.h>

/** Both at one moment. */
struct tsc_moment {
	uint64_t tsc;
	int64_t mono_ns;
};

struct tsc_rate {
	struct tsc_moment now;
	double ns_per_tick; /* 0: not known, as on other machines than x86 */
};

/** Both, now. tsc is 0 where there is none. */
struct tsc_moment tsc_now(void);

/**
 * Find the rate: from our own @begin to now, at least some milliseconds apart
 * (waits for that), or from the table's @table to now where that agrees.
 */
struct tsc_rate tsc_rate_find(struct tsc_moment begin, struct tsc_moment table);

/**
 * When was @tsc? CLOCK_MONOTONIC in ns; 0 when it is in the future, more than
 * @oldest_ns ago, or the rate is not known.
 */
int64_t tsc_mono_ns(const struct tsc_rate *rate, uint64_t tsc,
		    int64_t oldest_ns);

#endif
