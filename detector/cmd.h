/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DETECTOR_CMD_H
#define DETECTOR_CMD_H

/** What the subcommands share. */

#include "detector/cli.h"
#include "detector/report.h"

/**
 * The end of a command: say @err (taken over), flush the report, and turn both
 * into an exit status. @status counts when there is no error.
 */
int cmd_finish(struct error *err, int status);

#endif
