/* SPDX-License-Identifier: Apache-2.0 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "detector/gate/baseline.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define COUNT 3

/* Any bytes are a baseline; only the fingerprint that stands there is known, and
 * of it no more than it counts. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct leak leak = { .count = COUNT,
			     .fingerprint = "0123456789abcdef" };
	struct gate_process p = { .leaks = &leak, .n_leaks = 1 };
	AUTO_BASELINE struct gate_baseline *b = NULL;
	AUTO_ERROR struct error *err =
		baseline_parse("fuzz", (const char *)data, size, &b);

	if (err)
		return 0;
	baseline_apply(b, &p);
	bool more = leak.before;
	if ((leak.known || more) != (baseline_gone(b) < b->n) ||
	    (more && (leak.known || leak.before + leak.count != COUNT)) ||
	    (!more && leak.count != COUNT))
		__builtin_trap();
	return 0;
}
