/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DETECTOR_FINDING_H
#define DETECTOR_FINDING_H

/**
 * What the detector has to say: findings, as values. They point into the
 * snapshots that they were made of, which must live longer.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/gap.h"
#include "netwatch/socket.h"
#include "netwatch/verdict.h"
#include "detector/taskset.h"
#include "runtime-hooks/task.h"

enum finding_kind {
	FINDING_STRANDED_READER,
	FINDING_STRANDED_WRITER,
	FINDING_STRANDED_CONNECT,
	FINDING_HALF_CLOSED_HELD, /* the peer said goodbye, we hold on */
	FINDING_DEAD_IDLE,	  /* no task waits on it; the next use hangs */
	FINDING_BLOCKED_GROUP,	  /* no network involved */
};

enum grade {
	GRADE_PROVEN,	/* nothing else explains what was seen */
	GRADE_LIKELY,	/* strong signs, not proof */
	GRADE_POSSIBLE, /* nothing would ever end the wait, and it is long */
};

/** What ends a read on a silent connection; known from socket and timer. */
enum keepalive_state { KEEPALIVE_UNKNOWN, KEEPALIVE_OFF, KEEPALIVE_ON };

/** One task (or, without a task, one connection) of a finding. */
struct finding_member {
	const struct task *task;	 /* NULL: nobody waits on it */
	const struct tcp_socket *socket; /* NULL: no network involved */
	const struct verdict *verdict;	 /* of that socket */
	struct blocked_for blocked;
	struct deadline deadline; /* of the call; see waiting.h */
	int fd;			  /* -1: not known */
	/* Without a task: whose event loop watches it; NULL: none that is known
	 * to. It waits in epoll, or in poll or select (task.wait). */
	const struct task *holder;
	enum task_runtime runtime; /* of task or holder */
};

#define FINDING_MAX_ADVICE 6

struct finding_advice {
	const struct frame *site; /* NULL: not at one place in the program */
	const char *text;
};

struct finding {
	enum finding_kind kind;
	enum grade grade;
	enum task_runtime runtime;	/* of all members' tasks or holders */
	enum verdict_kind verdict;	/* VERDICT_UNKNOWN when no socket */
	char fingerprint[17];		/* 16 hex digits */
	struct finding_member *members; /* the longest blocked first */
	size_t count;
	size_t sockets; /* different connections among the members */
	size_t remotes; /* different remote endpoints among these */
	/* Of all members: the least at_least and the greatest at_most. */
	struct blocked_for blocked;
	/* Of the first member's task or holder; NULL none. */
	const struct stack *stack;
	const struct frame *created_by; /* NULL: not known */
	enum keepalive_state keepalive; /* of the first member's socket */
	struct finding_advice advice[FINDING_MAX_ADVICE];
	size_t n_advice;
};

/** Waits that a rule called benign. */
struct benign_count {
	const char *rule, *reason;
	uint64_t tasks;
	enum task_runtime runtime; /* of the first of them */
};

struct findings {
	struct arena *arena;
	struct finding *v; /* by grade, then by count, descending */
	size_t n;
	struct gaps gaps; /* tasks and sockets that could not be judged */
	struct benign_count *benign;
	size_t n_benign;
	struct task_counts tasks; /* without the runtime's own */
	/* Of these: parked, or in a blocking system call. */
	struct task_counts blocked;
	uint64_t moved; /* parked in the first look, elsewhere in the 2nd */
	/* Waits on dead connections that a deadline ends soon: no finding. */
	uint64_t deadline_soon;
	/* Waits that are findings once they have lasted --min-blocked. */
	uint64_t too_young;
};

void findings_destroy(struct findings *findings);
/** How many findings have @grade. */
size_t findings_count(const struct findings *findings, enum grade grade);

/** "stranded-reader" ... as in JSON and rules files. */
const char *finding_kind_name(enum finding_kind kind);
/** The kind of that name; false when there is none. */
bool finding_kind_parse(const char *name, enum finding_kind *ret);
/** "proven", "likely", "possible". */
const char *grade_name(enum grade grade);
/** "waitsince", "observed", "last-data", "process", "unknown". */
const char *blocked_source_name(enum blocked_source source);

static inline void findings_destroyp(struct findings **findings)
{
	findings_destroy(*findings);
}
#define AUTO_FINDINGS __attribute__((cleanup(findings_destroyp)))

#endif
