/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_HOOKS_COROUTINE_VARIANT_H
#define RUNTIME_HOOKS_COROUTINE_VARIANT_H

/**
 * Stacks of which we know more than what unwound them: the same frames, each
 * changed a little. Interned as theirs are: equal stacks, equal pointer.
 */

#include "base/arena.h"
#include "runtime-hooks/intern.h"
#include "runtime-hooks/task.h"

/**
 * The variant of @stack in which @change was applied to each frame, in @arena;
 * @known has those of before, always with the same @change. NULL: no memory.
 */
const struct stack *variant_of(struct intern_table *known, struct arena *arena,
			       const struct stack *stack,
			       void (*change)(struct frame *frame));

#endif
