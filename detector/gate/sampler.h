/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DETECTOR_GATE_SAMPLER_H
#define DETECTOR_GATE_SAMPLER_H

/**
 * Which test started a goroutine that is left behind: "TestPool/redial". When
 * the process exits, all tests have ended and nothing in it says so any more.
 * So a thread looks at the test programs below the command while they run:
 * reads which goroutines run a test (runtime-hooks/go/testname.h) and who
 * started whom (Go 1.21 and later), and keeps it until the process is gone.
 *
 * A test that begins and ends between two looks is not seen. The pause is 20 ms,
 * or 60 times what the last look cost of a processor, whatever is more; a
 * process is attached to once. Nothing is stopped or written.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct sampler;

/**
 * Begin to look at what is below this process.
 *
 * @param but a child of ours that is no test.
 * Returns: NULL when there is no memory or thread to be had.
 */
struct sampler *sampler_start(pid_t but);
/** End it. @s may be NULL. */
void sampler_stop(struct sampler *s);

/** One process of those that it looks at. */
struct sampled {
	struct sampler *sampler; /* may be NULL */
	pid_t pid;
	uint64_t start_ticks; /* struct process */
};

/**
 * The test that the goroutine @goid runs, or the nearest of its ancestors that
 * is known to: name() of goroutines.h.
 *
 * @param sampled the struct sampled.
 * Returns: false when none is known. May be called from any thread.
 */
bool sampler_name(void *sampled, uint64_t goid, char *buf, size_t size);

#endif
