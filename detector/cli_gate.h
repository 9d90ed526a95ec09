/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DETECTOR_CLI_GATE_H
#define DETECTOR_CLI_GATE_H

/** The options that only `gate` has. Part of cli. */

#include "detector/cli.h"

/** Apply one of them. Fails: ERROR_USAGE. */
struct error *cli_gate_option(enum cli_option_bit bit, const char *arg,
			      struct cli *cli);
/** Do they fit together? Settles --how. Fails: ERROR_USAGE. */
struct error *cli_gate_check(struct cli *cli);

#endif
