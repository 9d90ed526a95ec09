/* SPDX-License-Identifier: Apache-2.0 */
#include <stddef.h>
#include <stdint.h>

#include "detector/rules.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Any bytes are a rules file; what is accepted is asked about one task. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct frame read = { .function = "net.(*conn).Read" };
	static const struct frame own = { .function = "main.(*Pool).get" };
	static const struct frame *const frames[] = { &read, &own };
	static const struct stack stack = { .n = 2, .frames = frames };
	static const struct task task = { .reason = "IO wait",
					  .wait = WAIT_READ,
					  .stack = &stack,
					  .created_by = &own };
	AUTO_RULES struct rules *rules = NULL;
	AUTO_ERROR struct error *err = rules_create(&rules);
	struct rule_hit hit;

	if (!err)
		err = rules_add_text(rules, "fuzz", (const char *)data, size);
	if (!err && rules_match(rules, FINDING_STRANDED_READER, &task, &hit) &&
	    (!hit.name || !hit.reason))
		__builtin_trap();
	return 0;
}
