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

#endif
