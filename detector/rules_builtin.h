/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DETECTOR_RULES_BUILTIN_H
#define DETECTOR_RULES_BUILTIN_H

/** detector/benign.rules, embedded: [start, end), and a NUL at end. */
extern const char rules_builtin_start[];
extern const char rules_builtin_end[];

#endif
