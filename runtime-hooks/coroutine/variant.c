/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime-hooks/coroutine/variant.h"

const struct stack *variant_of(struct intern_table *known, struct arena *arena,
			       const struct stack *stack,
			       void (*change)(struct frame *frame))
{
	uint64_t key = (uint64_t)(uintptr_t)stack;
	struct stack *copy = intern_get(known, key);
	const struct frame **frames;

	if (copy)
		return copy;
	copy = arena_memdup(arena, stack, sizeof(*stack));
	frames = arena_array(arena, stack->n, sizeof(*frames));
	if (!copy || !frames)
		return NULL;
	copy->frames = frames;
	for (uint32_t i = 0; i < stack->n; i++) {
		struct frame *frame =
			arena_memdup(arena, stack->frames[i], sizeof(*frame));

		if (!frame)
			return NULL;
		change(frame);
		frames[i] = frame;
	}
	return intern_add(known, key, copy) ? copy : NULL;
}
