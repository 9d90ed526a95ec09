/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCENARIOS_RUN_PLACE_H
#define SCENARIOS_RUN_PLACE_H

/**
 * Where the scenarios and their programs are:
 *
 *	scenarios  $STRANDED_SCENARIOS; else scenarios/ beside the build folder
 *		   that the binary is in; else PREFIX/share/stranded/scenarios
 *	programs   scenarios/ beside the binary, in its build folder; else
 *		   PREFIX/libexec/stranded
 *
 * The tree comes before PREFIX, so that what was just built is not judged by
 * scenarios that were installed earlier. PREFIX is a constant of the build.
 */

#include "base/arena.h"
#include "base/error.h"

struct place {
	const char *self;      /* the binary that runs, for exec */
	const char *scenarios; /* a folder */
	const char *programs;  /* a folder */
};

/** Fails: ERROR_USAGE (not there; says what to do), ERROR_OS, ERROR_NOMEM. */
struct error *place_find(struct arena *arena, struct place *ret);
/**
 * The path of a program, or an error that says what to run: ERROR_USAGE.
 *
 * @param name "peer", "sockets", "victim".
 */
struct error *place_program(const struct place *place, const char *name,
			    struct arena *arena, const char **ret);

#endif
