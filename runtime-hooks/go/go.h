/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_HOOKS_GO_GO_H
#define RUNTIME_HOOKS_GO_GO_H

/**
 * The goroutines of an unmodified, running Go program: the task source "go".
 *
 * Parts, each of which says in its header what it knows:
 *   image      what is static: version, module data, pc tables, frames
 *   layout     where the fields of g, sudog, hchan, pollDesc ... are, found
 *              by calibration on the live process and checked by invariants
 *   goroutine  one pass over all g's: read, unwind, recheck
 *   wait       what a parked one waits on: fd, deadline, channel, mutex
 */

#include "runtime-hooks/runtime.h"

extern const struct runtime_source runtime_go;

#endif
