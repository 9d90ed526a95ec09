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

/** The probes that were asked for: none, unless by name. */
struct survey_probing cmd_probing(const struct cli *cli);

/** The exit status of `check` for one process. */
int check_status(const struct survey *s, const struct findings *f);
/**
 * The status for several, from that so far and one more: findings before gaps
 * before clean. One that could not be judged is a gap of the whole.
 */
int check_join_status(int all, int one);

/**
 * The exit status of `probe`: findings when a connection that was looked at is
 * dead or unreachable, gaps when it could not be told of one, nothing when
 * they could not be listed.
 */
int probe_status(const struct survey *s);

#endif
