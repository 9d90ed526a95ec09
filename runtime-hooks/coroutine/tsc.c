/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime-hooks/coroutine/tsc.h"

#include "base/clock.h"
#include "runtime-hooks/coroutine/table.h"

#define LEAST_NS 5000000 /* what 100 ns of a clock call are 20 ppm of */
#define SKEW_NS 1000000	 /* between the counters of two CPUs */
#define AGREES 0.005	 /* of the rate */
/* A counter that ticks at less than 10 MHz or more than 100 GHz is none. */
#define SLOWEST 100.0
#define FASTEST 0.01

struct tsc_moment tsc_now(void)
{
	struct tsc_moment best = { 0 };
	uint64_t width = UINT64_MAX;

	// we may be interrupted between the two: the narrowest of some counts
	for (int i = 0; i < 4; i++) {
		uint64_t before = hook_ticks();
		int64_t ns = clock_mono_ns();
		uint64_t after = hook_ticks();

		if (after - before >= width)
			continue;
		width = after - before;
		best = (struct tsc_moment){ before + width / 2, ns };
	}
	return best;
}

/* ns per tick, or 0 where that makes no sense. */
static double rate_between(struct tsc_moment a, struct tsc_moment b)
{
	double rate;

	if (b.tsc <= a.tsc || b.mono_ns <= a.mono_ns || !a.tsc)
		return 0;
	rate = (double)(b.mono_ns - a.mono_ns) / (double)(b.tsc - a.tsc);
	return rate > FASTEST && rate < SLOWEST ? rate : 0;
}

struct tsc_rate tsc_rate_find(struct tsc_moment begin, struct tsc_moment table)
{
	struct tsc_rate ret;
	double longer;

	if (clock_mono_ns() - begin.mono_ns < LEAST_NS)
		clock_sleep_until(begin.mono_ns + LEAST_NS);
	ret.now = tsc_now();
	ret.ns_per_tick = rate_between(begin, ret.now);
	if (table.mono_ns >= begin.mono_ns)
		return ret;
	longer = rate_between(table, ret.now);
	if (longer > ret.ns_per_tick * (1 - AGREES) &&
	    longer < ret.ns_per_tick * (1 + AGREES))
		ret.ns_per_tick = longer;
	return ret;
}

/* After rate->now, that is while we were reading: no later than it is now. */
static int64_t since_now(const struct tsc_rate *rate, uint64_t tsc)
{
	double ahead = (double)(tsc - rate->now.tsc) * rate->ns_per_tick;
	int64_t latest = clock_mono_ns() + SKEW_NS;

	if (ahead > (double)(latest - rate->now.mono_ns))
		return 0;
	return rate->now.mono_ns + (int64_t)ahead;
}

int64_t tsc_mono_ns(const struct tsc_rate *rate, uint64_t tsc,
		    int64_t oldest_ns)
{
	double ago;

	if (!tsc || rate->ns_per_tick <= 0)
		return 0;
	if (tsc > rate->now.tsc)
		return since_now(rate, tsc);
	ago = (double)(rate->now.tsc - tsc) * rate->ns_per_tick;
	if (ago > (double)oldest_ns || ago >= (double)rate->now.mono_ns)
		return 0;
	return rate->now.mono_ns - (int64_t)ago;
}
