/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_HOOKS_GO_SINCE_H
#define RUNTIME_HOOKS_GO_SINCE_H

/**
 * What g.waitsince says of the time at which a goroutine parked.
 *
 * The GC writes work.tstart there when its mark phase finds a goroutine parked
 * that has no mark yet (mgcmark.go, markroot()). But work.tstart is set at the
 * end of a mark phase (mgc.go, gcMark(), Go 1.17 to 1.27): while collection n
 * marks, it still holds the end of collection n - 1. So a goroutine with that
 * time may have parked after it, as late as the end of collection n.
 *
 * That end is on every goroutine that collection n + 1 marked. So the smallest
 * larger time on any goroutine of the process is a time at which this one was
 * parked already; without a larger one, nothing is known.
 */

#include "base/error.h"
#include "runtime-hooks/task.h"

/**
 * Set parked_before_mono_ns of each of @tasks from wait_since_mono_ns of all,
 * and raise blocked.at_least_ms accordingly.
 *
 * @param now_mono_ns later times are not believed.
 * Returns: NULL or ERROR_NOMEM.
 */
struct error *go_since_bound(struct task *tasks, size_t n, int64_t now_mono_ns);

#endif
