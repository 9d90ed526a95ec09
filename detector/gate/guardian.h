/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DETECTOR_GATE_GUARDIAN_H
#define DETECTOR_GATE_GUARDIAN_H

/**
 * Who answers when the gate cannot.
 *
 * Once nobody holds the listener of a seccomp filter, exit_group fails with
 * ENOSYS in every process below it: the C library and Go's runtime then crash
 * or spin. So a guardian is forked that holds the listener too. It waits for
 * the gate's end, however that comes, and from then on lets everyone exit at
 * once; it ends when the last process that has the filter is gone.
 *
 * It is a session of its own, in /, with no files of the gate's open.
 */

#include <sys/types.h>

#include "base/error.h"

struct guardian {
	pid_t pid; /* our child */
	int pipe;  /* closing it sets the guardian to work */
};

/**
 * To be called while no other thread runs. Fails: ERROR_OS.
 */
struct error *guardian_create(int listener, struct guardian *ret);

/**
 * Let it work. Afterwards the guardian lives as long as anyone who has the
 * filter; with nobody left it ends at once, and is waited for if @wait.
 */
void guardian_release(struct guardian *g, bool wait);

#endif
