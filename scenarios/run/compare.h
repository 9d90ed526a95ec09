/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCENARIOS_RUN_COMPARE_H
#define SCENARIOS_RUN_COMPARE_H

/**
 * Does what stranded said fit what the victim knows and the scenario expects?
 * Pure: no process, no clock.
 */

#include "scenarios/run/scenario.h"
#include "scenarios/run/truth.h"

#define COMPARE_WHY_MAX 400

enum outcome {
	OUTCOME_RIGHT,
	OUTCOME_WRONG,	     /* a verdict or a finding that was not expected */
	OUTCOME_FALSE_ALARM, /* accused what lives; worse than wrong */
	OUTCOME_NOT_RUN,     /* something is missing, nothing was judged */
};

/** The result of one scenario on one family; plain bytes, fit for a pipe. */
struct result {
	enum outcome outcome;
	uint32_t before, after; /* enum scenario_verdict seen on the targets */
	int64_t duration_ms;
	char why[COMPARE_WHY_MAX]; /* unless RIGHT */
};

/** A passive look; raises @r. Verdicts only: findings come with check. */
void compare_before(const struct scenario *s, const struct truth *t,
		    const struct seen *seen, struct result *r);
/** The findings of the same look. */
void compare_findings(const struct scenario *s, const struct truth *t,
		      const struct seen *seen, struct result *r);
/** After the probe. */
void compare_after(const struct scenario *s, const struct truth *t,
		   const struct seen *seen, struct result *r);

/** Raise @r to @outcome, with a text; the first text at a level stays. */
void compare_raise(struct result *r, enum outcome outcome, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#endif
