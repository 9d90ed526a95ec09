/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DETECTOR_JUDGE_H
#define DETECTOR_JUDGE_H

/**
 * Is one wait, or one connection that nobody waits on, a finding; of which
 * kind, and how sure? Pure: what it looks at is in its arguments.
 *
 * Dead connections are findings at any age. A silent one is a finding only
 * when nothing would ever end the wait: no deadline, and keepalive off.
 */

#include "detector/blocked.h"
#include "detector/finding.h"

/** Default for possible findings, unless --min-blocked says otherwise. */
#define JUDGE_MIN_BLOCKED_POSSIBLE_MS (5 * 60 * 1000)
/** A deadline that is further away does not count as one. */
#define JUDGE_DEADLINE_FAR_MS (60 * 60 * 1000)
/** A closed peer may be let go of this late without being a finding. */
#define JUDGE_HALF_CLOSED_MS (10 * 1000)
/** SYNs without an answer: the third goes out after 7 s. */
#define JUDGE_SYN_RETRANSMITS 3

struct judge_limits {
	int64_t min_blocked_ms; /* -1: the defaults above */
	uint32_t min_group;
	int64_t now_mono_ns;
};

enum judgement_kind {
	JUDGED_FINE,	/* no finding */
	JUDGED_FINDING, /* see kind and grade */
	JUDGED_ENDS,	/* dead, but a deadline will end the wait soon */
	JUDGED_YOUNG,	/* a finding, once it has lasted long enough */
	JUDGED_UNKNOWN, /* can not be judged: a gap */
};

struct judgement {
	enum judgement_kind what;
	enum finding_kind kind;
	enum grade grade;
};

/** Is keepalive on? From the options or, without them, from the timer. */
enum keepalive_state socket_keepalive(const struct tcp_socket *s);

/** Does the task wait for the network, in a way that judge_wait() knows? */
bool task_waits_on_network(const struct task *task);

/** Judge @task, which waits on @s. */
struct judgement judge_wait(const struct task *task,
			    const struct blocked_for *blocked,
			    const struct tcp_socket *s,
			    const struct verdict *verdict,
			    const struct judge_limits *limits);

/** Judge a connection that no task waits on. */
struct judgement judge_idle(const struct tcp_socket *s,
			    const struct verdict *verdict,
			    const struct judge_limits *limits);

/** May a task that waits on no fd belong to a blocked-group finding? */
struct judgement judge_group_member(const struct task *task,
				    const struct blocked_for *blocked,
				    const struct judge_limits *limits);

#endif
