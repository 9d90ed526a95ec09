/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DETECTOR_GATE_QUIET_H
#define DETECTOR_GATE_QUIET_H

/**
 * Is a server quiet, so that what it still holds is left over? Asked again and
 * again of a process that goes on; see serving.h for what it goes by.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define QUIET_TEXT 256

struct destroyed;

/** What is known of one process so far; begins as zeros, see quiet_end(). */
struct quiet {
	bool listens; /* it has had a listener */
	bool touched; /* somebody has been connected, ever */
	bool looked;  /* this time of quiet was answered already */
	bool seen;    /* asked before */
	uint64_t signature;
	int64_t since_ns;      /* when the signature became what it is */
	char busy[QUIET_TEXT]; /* what was in flight when last something was */
	/* Clients that come and go between two questions are in neither: their
	 * ends are heard. NULL: not yet, or it is not allowed. */
	struct destroyed *ends;
	uint64_t ends_netns; /* its inode: that of the first listener */
	bool deaf;	     /* it was tried, and failed */
};

enum quiet_answer {
	QUIET_NEVER,	 /* it listens nowhere, or cannot be looked at */
	QUIET_NOT,	 /* something is in flight, or was a moment ago */
	QUIET_UNTOUCHED, /* nobody has ever been connected: once at first, and
			    again after the whole time */
	QUIET_SINCE,	 /* now it has been quiet for that time */
	QUIET_STILL,	 /* as before, and it was told already */
};

/** Frees what @q has opened. */
void quiet_end(struct quiet *q);
#define AUTO_QUIET __attribute__((cleanup(quiet_end)))

/**
 * Between two questions, in ms: a quarter of what is asked for, but not below
 * 50 or above 1000.
 */
int64_t quiet_pause_ms(int64_t quiet_ms);

/** Has the process @pid been quiet for @quiet_ms? */
enum quiet_answer quiet_ask(struct quiet *q, pid_t pid, int64_t quiet_ms);

struct serving_state;
/** The same of one look that was taken at @now_ns. Pure. */
enum quiet_answer quiet_judge(struct quiet *q,
			      const struct serving_state *state, int64_t now_ns,
			      int64_t quiet_ms);

#endif
