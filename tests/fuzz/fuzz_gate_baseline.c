/* SPDX-License-Identifier: Apache-2.0 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "detector/gate/baseline.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Any bytes are a baseline; only the fingerprint that stands there is known. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct leak leak = { .count = 1, .fingerprint = "0123456789abcdef" };
	struct gate_process p = { .leaks = &leak, .n_leaks = 1 };
	AUTO_BASELINE struct gate_baseline *b = NULL;
	AUTO_ERROR struct error *err =
		baseline_parse("fuzz", (const char *)data, size, &b);

	if (err)
		return 0;
	baseline_apply(b, &p);
	if (leak.known != (baseline_gone(b) < b->n))
		__builtin_trap();
	return 0;
}
