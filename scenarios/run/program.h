/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCENARIOS_RUN_PROGRAM_H
#define SCENARIOS_RUN_PROGRAM_H

/**
 * Programs that run in the hosts of a lab: started with pipes to their
 * standard input and output, read line by line or to the end within a time.
 * They die with the thread that started them.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "scenarios/lab/lab.h"

#define PROGRAM_OUTPUT_MAX (16 << 20) /* bytes that we keep of one */

struct program {
	const char *name; /* for error texts */
	pid_t pid;	  /* as we see it; 0: not started */
	int in, out;	  /* our ends, -1 none */
	int err;	  /* an unnamed file that takes its standard error */
	char *buf;	  /* what came and was not handed out yet */
	size_t len, cap;
};

/**
 * A host as its own machine sees it: with a process table and a /proc of its
 * own, in which no other host's namespace can be found.
 */
struct alone {
	struct program keeper; /* its end is the end of all inside */
	pid_t inside;	       /* the first process, as we see it; 0: none */
};

/** Make @host a machine of its own (unshare(1) of util-linux). */
struct error *alone_start(struct lab *lab, const char *host, struct alone *ret);
void alone_end(struct alone *alone);

/**
 * Start @argv in @host, inside @alone unless that is NULL.
 *
 * @param ret zeroed; program_end() it in any case.
 */
struct error *program_start(struct lab *lab, const char *host,
			    const struct alone *alone, const char *const *argv,
			    struct program *ret);

/**
 * The next line, without its end; it lives until the next call.
 *
 * Returns: 1, 0 when none came within @timeout_ms, or -errno; -EPIPE: the
 * program closed its output.
 */
int program_line(struct program *p, int64_t timeout_ms, const char **ret);
/** Read to the end of its output. Returns 0, -ETIMEDOUT, or another -errno. */
int program_read_all(struct program *p, int64_t timeout_ms);
/** Send @text to it. Returns 0 or -errno. */
int program_tell(struct program *p, const char *text);
/** What it said on standard error, cut at @size; "" when nothing. */
void program_errors(const struct program *p, char *buf, size_t size);
/** Wait for its end. Returns the wait status, or -1 after @timeout_ms. */
int program_wait(struct program *p, int64_t timeout_ms);
/** Kill it when it runs, and free all. NULL-safe, may be repeated. */
void program_end(struct program *p);

#endif
