/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_HOOKS_GO_GOROUTINE_H
#define RUNTIME_HOOKS_GO_GOROUTINE_H

/**
 * One pass over all goroutines of a running program: read the g's, read the
 * used part of each parked stack, read the g's again, and keep what did not
 * change in between. What did is read again, at most GO_RETRIES times, and
 * then marked torn.
 *
 * The second pass over the same program reads no stack that provably cannot
 * have changed. The proof is g.waitsince: the GC sets it, to a time that is its
 * own alone (since.h), on a goroutine that it finds parked, once in its cycle,
 * and the scheduler clears it when the goroutine runs (proc.go execute(),
 * mgcmark.go markroot(), Go 1.17 to 1.27). So the same number, not 0, is the
 * same park. Goroutines that no GC has seen parked are read again in full.
 */

#include "runtime-hooks/go/layout.h"
#include "runtime-hooks/go/unwind.h"
#include "runtime-hooks/runtime.h"

#define GO_RETRIES 3

struct go_goroutines;

/** Returns NULL when out of memory. The arguments must outlive it. */
struct go_goroutines *go_goroutines_create(struct go_live *mem,
					   struct go_layout *layout,
					   const struct go_symbols *sym);
void go_goroutines_destroy(struct go_goroutines *gs);

/**
 * Read all goroutines into @snap, whose arena, gaps and times are set up.
 *
 * @param alive_ms how long the process has lived: no wait is longer.
 * Fails: ERROR_GONE and ERROR_DENIED when nothing was read, ERROR_NOMEM.
 */
struct error *go_goroutines_read(struct go_goroutines *gs,
				 const struct runtime_options *opt,
				 int64_t alive_ms, struct task_snapshot *snap);

#endif
