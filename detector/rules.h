/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DETECTOR_RULES_H
#define DETECTOR_RULES_H

/**
 * Waits that are known to be benign, as data: an ini file of rules, each with
 * a mandatory reason. The built-in ones are detector/benign.rules.
 *
 *	[http-idle-pool]
 *	reason = an idle pooled connection waits here for its next request
 *	function = net/http.(*persistConn).readLoop
 *	kind = stranded-reader
 *
 * Keys: reason; function (any frame), top (innermost frame that is not the
 * runtime's), created-by, wait (the runtime's words), kind (of the finding).
 * A key given twice matches either value; different keys must all match. In a
 * value, * matches any text and \* a star; all else is literal.
 *
 * Rules are asked about possible findings only: what is proven or likely can
 * not be hidden by a rule.
 */

#include <stdio.h>

#include "base/arena.h"
#include "base/error.h"
#include "detector/finding.h"

#define RULES_MAX 1000 /* rules in all files together */

struct rules;

struct error *rules_create(struct rules **ret);
void rules_destroy(struct rules *rules);

/** Add the rules that are built in. */
struct error *rules_add_builtin(struct rules *rules);
/**
 * Add the rules of the file @path. Fails: ERROR_USAGE with "path:line: what"
 * (unknown key, no reason, nothing to match, line too long), ERROR_OS.
 */
struct error *rules_add_file(struct rules *rules, const char *path);
/** The same from memory; @name stands for the path. @text: any bytes. */
struct error *rules_add_text(struct rules *rules, const char *name,
			     const char *text, size_t len);

size_t rules_count(const struct rules *rules);

/** A rule that matched. */
struct rule_hit {
	const char *name, *reason; /* live as long as the rules */
	size_t index;
};

/** Is this wait benign? Returns true and the first rule that says so. */
bool rules_match(const struct rules *rules, enum finding_kind kind,
		 const struct task *task, struct rule_hit *ret);

static inline void rules_destroyp(struct rules **rules)
{
	rules_destroy(*rules);
}
#define AUTO_RULES __attribute__((cleanup(rules_destroyp)))

#endif
