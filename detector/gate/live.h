/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DETECTOR_GATE_LIVE_H
#define DETECTOR_GATE_LIVE_H

/**
 * Looks at processes below the command that go on: servers, which have no exit
 * to be caught at, or none that says much. Nothing is held or stopped.
 *
 * One look says what is there, not what is too much: so looks at the same
 * process are held against each other (growth.h), and only what becomes more,
 * or is dead, is a leak. A process that is judged at its exit, afterwards, is
 * judged by that alone.
 */

#include "base/error.h"
#include "detector/gate/look.h"
#include "detector/gate/watch.h"

/** The shortest time that quiet is told from a pause, in ms. */
#define LIVE_MIN_QUIET_MS 200

/** Are looks asked for? */
bool live_wanted(const struct live_options *opt);

struct live;

/**
 * Begin, in a thread of its own.
 *
 * @param but a process below us that is none of the command's; 0: none.
 * Fails: ERROR_NOMEM, ERROR_OS.
 */
struct error *live_start(const struct live_options *opt,
			 const struct look_options *look, pid_t but,
			 struct live **ret);
/** The signal came: look now. */
void live_now(struct live *live);
/**
 * End, after the looks that are being taken, and add what they found to
 * @r->processes, and what was not seen to @r->gaps. @live NULL: nothing.
 */
void live_finish(struct live *live, struct watch_result *r);

/**
 * Look at one process, that need not be below us, once: when it has been quiet,
 * if that is asked for, within the time-out, by default LIVE_WAIT_QUIET_MS.
 * *ret has it as its only process, and it is judged.
 *
 * Fails: ERROR_ABSENT (no runtime that we read; not a server), ERROR_INCONSISTENT
 * (never quiet), and what kept it from being read.
 */
#define LIVE_WAIT_QUIET_MS 60000
struct error *live_once(pid_t pid, const struct watch_options *opt,
			struct watch_result **ret);

#endif
