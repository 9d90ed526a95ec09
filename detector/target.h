/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DETECTOR_TARGET_H
#define DETECTOR_TARGET_H

/**
 * Which processes are meant: PID or NAME on the command line, or all of them.
 */

#include <sys/types.h>

#include "base/arena.h"
#include "base/error.h"

#define TARGET_MAX 100000

struct targets {
	pid_t *v; /* in the order asked for; each once */
	size_t n;
};

/**
 * The processes that @args name: a number is a pid and need not exist (opening
 * it will say so), anything else is a name and must match.
 *
 * Fails: ERROR_GONE (no process of that name), ERROR_NOMEM, ERROR_OS.
 */
struct error *targets_find(const char *const *args, size_t n_args,
			   struct arena *arena, struct targets *ret);

/** Every process there is, but ourselves and kernel threads. */
struct error *targets_all(struct arena *arena, struct targets *ret);

/**
 * Exactly one process. Fails also with ERROR_USAGE when the name fits more
 * than one, and names them.
 */
struct error *targets_one(const char *arg, struct arena *arena, pid_t *ret);

#endif
