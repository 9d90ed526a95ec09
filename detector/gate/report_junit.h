/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DETECTOR_GATE_REPORT_JUNIT_H
#define DETECTOR_GATE_REPORT_JUNIT_H

/**
 * JUnit's XML, as in Jenkins' junit-10.xsd: a suite per process that was looked
 * at, a case per leak. What fails the gate without being a leak (what could not
 * be seen, a command that did not end) is an error, so that a reader of the
 * file alone is never told that all is well.
 */

#include <stdio.h>

#include "detector/gate/report.h"

void gate_junit(FILE *out, const struct gate_report *r);

#endif
