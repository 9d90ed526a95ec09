/* SPDX-License-Identifier: Apache-2.0 */
#include <stddef.h>
#include <stdint.h>

#include "scenarios/run/scenario.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Any bytes are a scenario.ini; what is accepted keeps its promises. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_ARENA struct arena *arena = arena_create();
	struct scenario s;
	char text[64];

	if (!arena)
		return 0;
	AUTO_ERROR struct error *err = scenario_parse(
		"/f/fuzz/scenario.ini", (const char *)data, size, arena, &s);
	if (err)
		return 0;
	if (!s.title || !s.topology || !s.before || (s.before & s.never) ||
	    (s.after & s.never) || s.victim_args.n >= SCENARIO_MAX_ARGS ||
	    s.n_faults > SCENARIO_MAX_FAULTS || (s.finding && !s.grade))
		__builtin_trap();
	scenario_verdicts_text(s.before, text, sizeof(text));
	return 0;
}
