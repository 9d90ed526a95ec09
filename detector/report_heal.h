/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DETECTOR_REPORT_HEAL_H
#define DETECTOR_REPORT_HEAL_H

/** Writers of `heal`, see report.h. */

#include "detector/heal.h"
#include "detector/report.h"

/** Before anything is done: what will be, and what is refused and why. */
void report_heal_plan(struct text *t, const struct report *r,
		      const struct heal *h);
/** Afterwards: what became of each connection and of who waited. */
void report_heal_done(struct text *t, const struct report *r,
		      const struct heal *h);
/** Both, as one document. */
void report_heal_json(FILE *out, const struct report *r, const struct heal *h);

#endif
