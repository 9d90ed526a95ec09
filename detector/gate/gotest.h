/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DETECTOR_GATE_GOTEST_H
#define DETECTOR_GATE_GOTEST_H

/**
 * What `go test` said without running a test. It remembers which packages
 * passed, and for those that did not change it prints "ok (cached)" and starts
 * nothing: then there is nothing to be judged, and a leak that an earlier run
 * left is still one.
 */

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct watch_result;

/** A `go test` that succeeded and may have shown remembered results. */
struct gotest {
	struct gotest *next;
	pid_t pid;
	const char *cmdline;
};

/**
 * Is this command line, @len bytes with a NUL after each argument, a `go test`
 * whose results may be remembered ones? With -count, or when no package is
 * named, they never are ("local directory mode", cmd/go/internal/test/test.go,
 * Go 1.10 to 1.27); with -c and -n no test is to run, and with -exec it is
 * another program that runs it. Pure.
 */
bool gotest_is_cacheable(const char *args, size_t len);

/**
 * The same of the process of the thread @tid, with the GOFLAGS that it has.
 * Returns: its pid; 0 when it is none.
 */
pid_t gotest_may_be_cached(pid_t tid);

/**
 * Note that @pid was such a one, and succeeded; without memory: a gap.
 *
 * @param cmdline joined by spaces; it is copied.
 */
void gotest_note(struct watch_result *r, pid_t pid, const char *cmdline);

/**
 * At the end: those that started no test binary become a gap.
 *
 * Returns: how many of the others may have left out a part.
 */
size_t gotest_judge(struct watch_result *r);

#endif
