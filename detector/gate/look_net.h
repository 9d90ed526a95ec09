/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DETECTOR_GATE_LOOK_NET_H
#define DETECTOR_GATE_LOOK_NET_H

/**
 * The connections of a process that is about to exit: which one a leaked
 * goroutine waits on and what is to be said of it, and those that are proven
 * dead, or half-closed and held, without anybody waiting.
 *
 * A process without TCP connections costs the list of its descriptors. One with
 * connections takes a second: two samples of each, as check does.
 */

#include "base/error.h"
#include "detector/gate/look.h"

struct look_net;
struct survey;
struct task;

/**
 * Take them. What cannot be seen is a gap in @p. *ret is NULL when there is
 * none. Fails: ERROR_NOMEM, ERROR_GONE.
 */
struct error *look_net_take(const struct look_options *opt,
			    struct gate_process *p, struct look_net **ret);
/**
 * Judge those of a survey that was taken, @survey, which the result owns, also
 * when this fails: ERROR_NOMEM.
 */
struct error *look_net_judge(struct survey *survey, struct gate_process *p,
			     struct look_net **ret);
/** The connection that @task waits on; nothing when @net is NULL. */
void look_net_decorate(const struct look_net *net, const struct task *task,
		       struct leak *leak);
/** Add the connections that are leaks by themselves, or by the policy. */
void look_net_collect(const struct look_options *opt,
		      const struct look_net *net, struct gate_process *p);
void look_net_destroy(struct look_net *net);

#endif
