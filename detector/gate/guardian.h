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
 * A notification that the gate has received already cannot be received again:
 * so the kernel writes each to memory that both share, and those that are held
 * are written down there before the next is taken, and struck out after their
 * answer.
 *
 * It is a session of its own, in /, with no files of the gate's open.
 */

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include <sys/types.h>

#include "base/error.h"
#include "detector/gate/catch.h"

/** Exits that can be held at once; each is a process, or waits for a look. */
#define GUARDIAN_SLOTS 32768
#define GUARDIAN_NO_SLOT SIZE_MAX

/** What the gate shares with its guardian. */
struct guardian_memory {
	union catch_notice notice; /* received last; id 0: nothing */
	_Atomic uint64_t held[GUARDIAN_SLOTS]; /* ids, 0: free */
};

struct guardian {
	struct guardian_memory *memory;
	size_t next; /* where to look for a free one */
	pid_t pid;   /* our child */
	int pipe;    /* closing it sets the guardian to work */
};

/**
 * To be called while no other thread runs. Fails: ERROR_OS.
 */
struct error *guardian_create(int listener, struct guardian *ret);

/**
 * Keep a notification beyond the next catch_next() into memory->notice. For the
 * one thread that receives. Returns: its slot, or GUARDIAN_NO_SLOT.
 */
size_t guardian_hold(struct guardian *g, uint64_t id);
/** It was answered. From any thread. */
void guardian_strike(struct guardian *g, size_t slot);

/**
 * Let it work. Afterwards the guardian lives as long as anyone who has the
 * filter; with nobody left it ends at once, and is waited for if @wait.
 */
void guardian_release(struct guardian *g, bool wait);

#endif
