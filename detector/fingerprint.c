/* SPDX-License-Identifier: Apache-2.0 */
#include "detector/fingerprint.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/fnv.h"
#include "detector/frames.h"

static uint64_t hash_function(uint64_t hash, const struct frame *f)
{
	hash = fnv_bytes(hash, f->function, frame_stable_len(f));
	return fnv_bytes(hash, "", 1);
}

uint64_t stack_identity(const struct stack *stack)
{
	uint64_t hash = FNV_OFFSET;

	for (uint32_t i = 0; stack && i < stack->n; i++)
		hash = hash_function(hash, stack->frames[i]);
	return hash;
}

static uint64_t hash_class(uint64_t hash, const struct stack *stack,
			   enum frame_class class)
{
	for (uint32_t i = 0; stack && i < stack->n; i++) {
		const struct frame *f = stack->frames[i];

		/* Wrappers are named otherwise by each Go version. */
		if (!f->hidden && frame_class(f) == class)
			hash = hash_function(hash, f);
	}
	return hash;
}

void fingerprint(enum finding_kind kind, const struct stack *stack,
		 const struct frame *created_by, const char *extra,
		 char ret[17])
{
	uint64_t hash = fnv_text(FNV_OFFSET, finding_kind_name(kind));

	hash = hash_class(hash, stack,
			  stack_own_frame(stack) ? FRAME_PROGRAM
						 : FRAME_STANDARD);
	if (created_by)
		hash = hash_function(hash, created_by);
	hash = fnv_text(hash, extra);
	snprintf(ret, 17, "%016" PRIx64, hash);
}
