/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DETECTOR_SURVEY_H
#define DETECTOR_SURVEY_H

/**
 * One look, or two, at a process: the order in which tasks, file descriptors
 * and connections are taken, so that what is joined later belongs together.
 *
 *	tasks #1, fds, connections #1, examine, wait, connections #2, tasks #2,
 *	and, where the user asks for them, probes
 *
 * The connections lie between the two looks at the tasks: a task that is the
 * same in both was parked all the time while its connection was looked at.
 * Probes come last: a reset that answers one wakes who waits, and that is no
 * reason to say that nobody did.
 *
 * A survey is filled as far as the process lets us. What is missing is in its
 * gaps, and `gone` says that it ended meanwhile.
 */

#include "base/error.h"
#include "base/gap.h"
#include "base/process.h"
#include "detector/taskset.h"
#include "netwatch/netwatch.h"
#include "runtime-hooks/runtime.h"

/** Between two samples; several keepalive and RTT granules fit in it. */
#define SURVEY_WAIT_MS 1000
#define SURVEY_LOOKS_MS 510 /* netwatch/verdict.h: 500 between two at a peer */

/** Probes on the suspects, between two judgements; see survey_probe.h. */
struct survey_probing {
	bool wanted;
	struct probe_options options;
	int fd;			/* only that of the target's; -1: any */
	struct endpoint remote; /* only to there; family 0: any, port 0: any */
};

enum survey_need {
	NEED_NOTHING,
	NEED_TASKS,
	NEED_RUNTIME, /* goroutines or coroutines: threads are not enough */
};

/** Which threads are taken. */
enum survey_threads {
	THREADS_OTHER, /* all but those of another source: of Go's runtime */
	THREADS_NONE,
	THREADS_ALL, /* also those that carry goroutines */
};

struct survey_options {
	bool quick;    /* one sample, one look */
	bool no_tasks; /* only the connections are asked for */
	bool no_sockets;
	enum survey_need need; /* fail at once when that is not there */
	enum survey_threads threads;
	bool stop, force; /* stacks of threads: as in runtime_options */
	bool stacks;
	bool examine; /* options, path, peer of each connection */
	struct netwatch_options net;
	struct survey_probing probing;
};

/** What was done to one connection, when probes were asked for. */
struct survey_probe_of {
	struct verdict before;		 /* what was judged without */
	const struct probe_facts *facts; /* NULL: a listener */
	const char *why;		 /* not a target: the reason; or NULL */
	bool named;			 /* the user named it */
};

struct survey {
	struct arena *arena;
	struct process *process; /* NULL: a recording without a process */
	/* In the order of runtime_sources; a set without tasks is among them.
	 * What could not be read at all is not: see no_runtime and the gaps. */
	struct task_set sets[RUNTIME_MAX_SOURCES];
	size_t n_sets;
	/* Why there are no tasks of a runtime (but threads, maybe), or NULL. */
	struct error *no_runtime;
	struct netwatch *netwatch;
	struct process_fds fds;
	struct tcp_snapshot *sockets; /* NULL: see the gaps */
	struct verdict *verdicts;     /* one for each socket */
	/* The same for who waits to write there; NULL where nobody does. */
	const struct verdict **writer_verdicts;
	struct survey_probe_of *probes;	  /* one for each; NULL: none wanted */
	struct gaps gaps;		  /* of all parts */
	bool gone;			  /* the process ended meanwhile */
	int64_t now_mono_ns, now_wall_ms; /* of the judgement */
	int64_t started_mono_ns;
	int64_t duration_ms, stopped_ms;
	int64_t process_age_ms; /* -1 not known */
};

/**
 * Survey the process @pid (0: none, a recording only).
 *
 * Fails when there is nothing to report on: ERROR_GONE, ERROR_DENIED,
 * ERROR_USAGE (pid of a thread; broken recording), ERROR_NOMEM, ERROR_OS. A
 * process without tasks that we can read is no failure, unless they are needed.
 */
struct error *survey_take(pid_t pid, const struct survey_options *opt,
			  struct survey **ret);
void survey_destroy(struct survey *survey);

/**
 * The tasks of a runtime that is not the kernel's threads, the first there is;
 * NULL: none.
 */
const struct task_snapshot *survey_runtime(const struct survey *survey);
/** The tasks of @kind; NULL: none were read. */
const struct task_set *survey_set(const struct survey *survey,
				  enum task_runtime kind);
/** Of which set is @task, which one of them holds? */
const struct task_set *survey_set_of(const struct survey *survey,
				     const struct task *task);

/** Is @kind a hole in what was judged (and not just a busy process)? */
bool gap_matters(enum gap_kind kind);
/** Any gap that matters? */
bool gaps_matter(const struct gaps *gaps);

static inline void survey_destroyp(struct survey **survey)
{
	survey_destroy(*survey);
}
#define AUTO_SURVEY __attribute__((cleanup(survey_destroyp)))

#endif
