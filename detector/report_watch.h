/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DETECTOR_REPORT_WATCH_H
#define DETECTOR_REPORT_WATCH_H

/** Writers of `watch-tasks`. */

#include "detector/report.h"
#include "detector/watch.h"

void report_watch_text(struct text *t, const struct report *r,
		       const struct watch *w);
void report_watch_json(FILE *out, const struct report *r,
		       const struct watch *w);

#endif
