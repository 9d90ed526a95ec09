/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_HOOKS_GO_SHAPE_H
#define RUNTIME_HOOKS_GO_SHAPE_H

/**
 * What the functions on a stack say about the wait: names of runtime, poll and
 * sync functions, as they are in Go 1.17 to 1.27. Only kinds and places to
 * look at come from here; what is found there is proved by wait.h.
 */

#include "runtime-hooks/go/unwind.h"

/** A physical frame of the function @name, which ends at @fp from sp. */
void shape_note_frame(struct go_shape *shape, const char *name, uint32_t fp);
/** All frames, inlined ones too: shape->stack is set. */
void shape_note_stack(struct go_shape *shape);

#endif
