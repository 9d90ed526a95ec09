/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DETECTOR_GATE_OPTIONS_H
#define DETECTOR_GATE_OPTIONS_H

/** What the command line of the gate can say. */

#include <stdbool.h>
#include <stddef.h>

/** What becomes of who still runs when the command has ended. */
enum gate_orphans { ORPHANS_REPORT, ORPHANS_KILL, ORPHANS_WAIT };

/** How exits are caught. */
enum gate_how { GATE_BY_SECCOMP, GATE_BY_PTRACE };

enum gate_format {
	GATE_JUNIT,
	GATE_SARIF,
	GATE_JSON,
	GATE_MARKDOWN,
	GATE_CODEQUALITY,
	GATE_N_FORMATS
};

/** One of --report. */
struct gate_output {
	enum gate_format format;
	char path[4096];
};

#define GATE_MAX_OUTPUTS 16

#endif
