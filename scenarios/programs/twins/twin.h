/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCENARIOS_PROGRAMS_TWINS_TWIN_H
#define SCENARIOS_PROGRAMS_TWINS_TWIN_H

/**
 * What the victims of the scenarios of C coroutines, threads and event loops
 * have in common: connections to a target, which will die, and to its healthy
 * twin, which will not, and what the victim knows of them as JSON lines, as
 * scenarios/programs/victim has it. How a victim waits on them is its own.
 *
 *	PROGRAM --target ADDR:PORT --healthy ADDR:PORT [--n N] [--no-names]
 *
 * With --no-names it has no symbols, and does not say which function waits.
 *
 * Plain C and libc alone: it is linked to libraries of all kinds. A call that
 * fails ends the program with a text.
 */

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The function of this name is what a report must show. */
#define TWIN_NAMED __attribute__((noinline, noclone))
#ifdef __clang__
#undef TWIN_NAMED
#define TWIN_NAMED __attribute__((noinline))
#endif

#define TWIN_MAX 64 /* connections of both roles */

struct twin_conn {
	const char *role; /* "target", "healthy" */
	int fd;		  /* -1: it has ended */
	char task[24];	  /* "target-0", for who waits on it */
};

/** All connections, targets and healthy ones in turn. */
extern struct twin_conn twin_conns[TWIN_MAX];
extern size_t twin_n;

/** Take the arguments, make the connections, send a request on each. */
void twin_open(int argc, char **argv);
/** Let no call on any of the connections block. */
void twin_nonblocking(void);

/**
 * Say what is known, once and before the first wait.
 *
 * @param function that waits, as symbolizers name it where they can.
 * @param blocked "read", "poll", "epoll".
 * @param named the tasks have the names of the connections.
 */
void twin_say_truth(const char *function, const char *blocked, bool named);

/**
 * Say that the wait on @c ended, with what a read returned: 0 is EOF, -1 is
 * errno. @c has no fd then.
 */
void twin_returned(struct twin_conn *c, ssize_t n);

/**
 * The heart of a scheduler: wait until some connection is readable, for ever
 * when there is none.
 *
 * Returns: one that is.
 */
struct twin_conn *twin_poll(void);

#ifdef __cplusplus
}
#endif

#endif
