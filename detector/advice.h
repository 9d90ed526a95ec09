/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DETECTOR_ADVICE_H
#define DETECTOR_ADVICE_H

/**
 * What to change in the program, at which file and line, with which API.
 * Pure: looks at the finding's kind, verdict, stack and socket only.
 */

#include "detector/finding.h"

/** Fill @finding->advice; the texts are static. */
void advise(struct finding *finding);
/** The same of coroutines and threads: for C, C++, Python, Java. */
void advise_native(struct finding *finding);

/* What the two share. */

/** Add a text, unless there are FINDING_MAX_ADVICE; @site may be NULL. */
void advice_say(struct finding *f, const struct frame *site, const char *text);
/** Is data on its way, so that only TCP_USER_TIMEOUT ends it early? */
bool advice_wants_user_timeout(const struct finding *f);

#endif
