/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DETECTOR_CMD_H
#define DETECTOR_CMD_H

/** What the subcommands share. */

#include "detector/cli.h"
#include "detector/report.h"
#include "detector/rules.h"

/**
 * The end of a command: say @err (taken over), flush the report, and turn both
 * into an exit status. @status counts when there is no error.
 */
int cmd_finish(struct error *err, int status);

/** The probes that were asked for: none, unless by name. */
struct survey_probing cmd_probing(const struct cli *cli);

/**
 * Survey the process that the command names, or nothing but a recording where
 * it names none. Fails: as targets_one() and survey_take().
 */
struct error *cmd_survey(const struct cli *cli,
			 const struct survey_options *opt, struct survey **ret);

/** The rules of `check`: those built in and those of --rules. */
struct error *check_rules(const struct cli *cli, struct rules **ret);
/**
 * The findings of `check` on @s. They point into @s and @rules. Their gaps are
 * added to those of @s. Fails: ERROR_NOMEM.
 */
struct error *check_judge(const struct cli *cli, const struct rules *rules,
			  struct survey *s, struct findings **ret);
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

/**
 * The path of libstranded-hook.so, absolute: STRANDED_HOOK, beside the binary,
 * or installed. Fails: ERROR_USAGE, which names what is missing.
 */
struct error *cmd_find_hook(struct arena *arena, const char **ret);

#endif
