/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCENARIOS_RUN_TRUTH_H
#define SCENARIOS_RUN_TRUTH_H

/**
 * What is compared: what a victim says of its own connections, and what
 * stranded says of them. Both come as JSON; here they are values.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/arena.h"
#include "base/error.h"

#define TRUTH_MAX_CONNS 2048
#define SEEN_MAX_CONNS 65536
#define SEEN_MAX_FINDINGS 1024

struct truth_conn {
	bool healthy;	      /* else it is a target */
	const char *local;    /* "": not known, the connection is being made */
	const char *remote;   /* "10.0.0.1:80", "[fd00::1]:80" */
	const char *function; /* that waits on it, "" none */
	const char *blocked;  /* "read", "write", "connect", "none" */
	const char *task;     /* the name of who waits on it, "" none */
	int fd;		      /* -1: not said */
};

/** Of one victim, at the time when it was ready. */
struct truth {
	pid_t pid; /* as the victim sees it */
	struct truth_conn *v;
	size_t n;
	const char *options; /* settings of the target's socket, "" none */
};

/** A later line. */
struct truth_event {
	const char *event; /* "returned", "options", "written" */
	bool healthy;
	const char *error;   /* "ECONNRESET", "EOF" ... */
	const char *options; /* as in the truth */
};

/** Fails: ERROR_CORRUPT, ERROR_NOMEM. */
struct error *truth_parse(const char *line, struct arena *arena,
			  struct truth *ret);
struct error *truth_parse_event(const char *line, struct arena *arena,
				struct truth_event *ret);

struct seen_conn {
	const char *local, *remote;
	const char *state;
	uint32_t verdict; /* an enum scenario_verdict bit */
	bool certain;
	const char *why;     /* the first evidence, "" none */
	int64_t answered_ms; /* after the first probe, -1: not at all */
};

/** A task in a finding, or its connection when no task waits. */
struct seen_task {
	const char *local, *remote;
	const char *runtime, *name; /* "" not said */
	const char *held_by;	    /* "epoll": no task, but such a wait of one;
				       "" none */
	int fd;			    /* -1 not said */
};

struct seen_finding {
	const char *kind, *grade;
	struct seen_task *tasks;
	size_t n;
	const char *functions; /* of the stack, each between two newlines */
};

/** What one run of stranded said. */
struct seen {
	struct seen_conn *conns;
	size_t n_conns;
	struct seen_finding *findings;
	size_t n_findings;
};

/**
 * The output of `sockets`, `probe` or `check` with --format json; each has its
 * part, and what it has not is added to nothing: @ret can be given to two.
 *
 * Fails: ERROR_CORRUPT, ERROR_NOMEM.
 */
struct error *seen_parse(const char *json, size_t len, struct arena *arena,
			 struct seen *ret);

#endif
