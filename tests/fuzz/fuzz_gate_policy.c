/* SPDX-License-Identifier: Apache-2.0 */
#include <stddef.h>
#include <stdint.h>

#include "detector/gate/policy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Any bytes are a policy file; what is accepted is asked about one process. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct leak_frame frame = { .function = "main.(*Pool).get",
				    .file = "/src/pool.go",
				    .line = 3,
				    .own = true };
	struct leak leak = { .count = 3,
			     .test = "TestPool",
			     .package = "main",
			     .frames = &frame,
			     .n_frames = 1,
			     .has_creator = true,
			     .has_site = true,
			     .creator = frame,
			     .site = frame };
	struct gate_process p = { .leaks = &leak, .n_leaks = 1 };
	AUTO_GATE_POLICY struct gate_policy *policy = NULL;
	AUTO_ERROR struct error *err = gate_policy_parse(
		"fuzz", (const char *)data, size, "2026-11-26", &policy);

	if (err)
		return 0;
	gate_policy_apply(policy, &p);
	if (leak.ignored && (!leak.ignored->reason || leak.ignored->expired))
		__builtin_trap();
	return 0;
}
