/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DETECTOR_GATE_POLICY_H
#define DETECTOR_GATE_POLICY_H

/**
 * What is accepted, and why: an ini file that is checked in beside the code.
 *
 *	[zk-session]
 *	reason = the client has no Close; upstream issue 1234
 *	expires = 2027-03-31
 *	creator = github.com/go-zookeeper/zk.Connect*
 *	max = 2
 *
 * Each section is a rule. Keys: reason (mandatory); function (any frame of the
 * stack), creator (the function with the go statement), package (import path of
 * the code that started it, or of the tests or the program in which it was left
 * behind), file (of the site: where the goroutine was started), test
 * (TestPool/redial, or the name of the function alone, which is all of its
 * subtests), kind (goroutine or connection); expires (a date; from the day after
 * on the rule does not count, and that is said); max (so many goroutines of one
 * process at most, else all of them count). A key given twice matches either
 * value; different keys must all match. In a value, * matches any text and \* a
 * star.
 *
 * The section [connections] is no rule: `require = keepalive<=60s` makes a
 * connection that would not notice a dead peer a leak.
 */

#include "base/error.h"
#include "detector/gate/leak.h"
#include "detector/patterns.h"
#include "detector/policy.h"

#define GATE_POLICY_MAX_RULES 1000

struct policy_rule {
	const char *name, *reason;
	const char *expires; /* as written; NULL: never */
	int line;
	bool expired;
	uint64_t max;	   /* 0: any number */
	uint64_t used;	   /* leaks that it has matched */
	uint64_t exceeded; /* processes in which max was passed */
	struct patterns patterns;
};

struct gate_policy {
	struct arena *arena;
	const char *path;
	struct policy_rule *v;
	size_t n, cap;
	bool has_connections;
	struct policy connections;
};

/**
 * Read the file @path. @today: "2026-11-26", in UTC.
 *
 * Fails: ERROR_USAGE with "path:line: what", ERROR_OS, ERROR_NOMEM.
 */
struct error *gate_policy_read(const char *path, const char *today,
			       struct gate_policy **ret);
/** The same from memory; @text: any bytes. */
struct error *gate_policy_parse(const char *name, const char *text, size_t len,
				const char *today, struct gate_policy **ret);
void gate_policy_destroy(struct gate_policy *policy);

/** Mark the leaks of @p that a rule ignores. */
void gate_policy_apply(struct gate_policy *policy, struct gate_process *p);

static inline void gate_policy_destroyp(struct gate_policy **policy)
{
	gate_policy_destroy(*policy);
}
#define AUTO_GATE_POLICY __attribute__((cleanup(gate_policy_destroyp)))

#endif
