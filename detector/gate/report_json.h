/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DETECTOR_GATE_REPORT_JSON_H
#define DETECTOR_GATE_REPORT_JSON_H

/** The writers of JSON, as new references; NULL when out of memory. */

#include <jansson.h>

#include "detector/gate/report.h"

json_t *gate_json(const struct gate_report *r);
json_t *gate_sarif(const struct gate_report *r);
json_t *gate_codequality(const struct gate_report *r);

#endif
