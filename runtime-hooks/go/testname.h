/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_HOOKS_GO_TESTNAME_H
#define RUNTIME_HOOKS_GO_TESTNAME_H

/**
 * The name of the test that a goroutine of package testing runs:
 * "TestPool/redial". No symbols, no DWARF (go test links with -s -w): the T is
 * found by what it is.
 *
 * Facts (testing/testing.go, benchmark.go, fuzz.go of Go 1.17 to 1.27):
 *
 * - Every test, subtest and seed of a fuzz test runs in tRunner(t *T, fn),
 *   started by a go statement of (*T).Run, (*F).Fuzz or testingSynctestTest.
 *   Since Go 1.17 such a goroutine starts in a wrapper that the compiler made
 *   and named after the caller: "testing.(*T).Run.gowrap1" since 1.22,
 *   ".func1" before, "·dwrap·21" in 1.17. Benchmarks run below (*B).run1.func1
 *   and (*B).launch, fuzz tests in fRunner.
 * - The deferred closures of tRunner hold t from its first to its last moment,
 *   and its frame is the second of the stack: the T is one of the words below
 *   stack.hi. The further down, the less likely is it the own one: what the
 *   test itself holds may be the T of a subtest, so the first one counts.
 * - T, B and F begin with a testing.common. In it, in this order, by distance
 *   from `parent`:
 *
 *                     1.17-1.19  1.20-1.25  1.26-
 *     runner string      -16        -24      -24   "testing.tRunner", of a T
 *     isParallel bool               -8       -8
 *     parent *common       0          0        0
 *     level int           +8         +8       +8
 *     creator []uintptr  +16        +16      +16   pc[:n] of a [50]uintptr
 *     modulePath string                      +40
 *     importPath string                      +56
 *     name string        +40        +40      +72
 *
 *   `parent` itself lies at 200 (1.17-1.19), 216 (1.20, 1.21), 208 (1.22-1.24)
 *   or 216 (1.25-1.27) from the start: it is learned from the first T, by the
 *   capacity of creator.
 * - The chain of parents ends in one of level 0, without a parent. The name of
 *   level 1 is that of a function; each further one has its parent's and "/"
 *   before its own, or is its parent's (synctest). A "/" in what t.Run was
 *   given stays, so that the name may have more of them than the level says.
 *   match.go, rewrite(): spaces are "_", what is not printable is escaped.
 */

#include "runtime-hooks/go/live.h"

#define GO_TEST_NAME_MAX 513 /* with NUL; longer ones are not believed */
#define GO_TEST_MAX_LEVEL 32

enum go_test_role {
	GO_TEST_NONE,
	GO_TEST_T, /* of testing.tRunner */
	GO_TEST_B, /* of a benchmark or a fuzz test: it has no runner */
};

/** What a goroutine does that starts in the function @start; NULL: none. */
enum go_test_role go_test_role(const char *start);

struct go_testname {
	struct go_live *mem;
	int minor; /* of the Go version, 0 not known: breaks ties */
	/* Learned; offsets in testing.common. parent 0: not yet. */
	uint16_t parent, name;
};

/**
 * Read the name of the test that runs on the stack [@lo, @hi).
 *
 * @param sp where it is parked, or 0: it runs, and what is on its stack may be
 * left over from who had it before.
 * @param buf out: valid UTF-8 without control characters.
 * Returns: false when none is found that is what the above says.
 */
bool go_testname_read(struct go_testname *tn, enum go_test_role role,
		      raddr_t lo, raddr_t hi, raddr_t sp,
		      char buf[GO_TEST_NAME_MAX]);

#endif
