/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DETECTOR_GROUP_H
#define DETECTOR_GROUP_H

/**
 * Gathers single judgements into findings: same kind, grade and verdict, same
 * functions on the stack, same creator. Part of correlate.
 */

#include "base/error.h"
#include "detector/finding.h"
#include "detector/judge.h"
#include "detector/rules.h"

struct groups;

struct error *groups_create(const struct rules *rules, struct groups **ret);
void groups_destroy(struct groups *groups);

/**
 * Add one judged task or connection. Possible ones that a rule calls benign
 * are counted and go no further.
 *
 * @param extra identity of what has no stack; "" for the rest.
 */
struct error *groups_add(struct groups *groups, const struct judgement *judged,
			 const struct finding_member *member,
			 const char *extra);

/**
 * Sort, sum up, and move all into @findings (v, n, benign). Possible blocked
 * groups of less than @min_group tasks are dropped.
 */
struct error *groups_finish(struct groups *groups, uint32_t min_group,
			    struct findings *findings);

static inline void groups_destroyp(struct groups **groups)
{
	groups_destroy(*groups);
}
#define AUTO_GROUPS __attribute__((cleanup(groups_destroyp)))

#endif
