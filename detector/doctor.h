/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DETECTOR_DOCTOR_H
#define DETECTOR_DOCTOR_H

/**
 * What can be seen from here, tried out rather than guessed: each check does
 * the thing that `check` will do, on ourselves or on the process asked about.
 */

#include "base/arena.h"
#include "base/error.h"
#include "base/process.h"

enum doctor_state {
	DOCTOR_OK,
	DOCTOR_NOTE,	/* worth knowing, nothing is missing */
	DOCTOR_MISSING, /* see remedy */
};

struct doctor_line {
	enum doctor_state state;
	const char *name; /* "ptrace" ...: stable, for JSON */
	const char *text;
	const char *remedy; /* NULL: none is needed */
};

#define DOCTOR_MAX_LINES 64

struct doctor {
	struct arena *arena;
	struct doctor_line v[DOCTOR_MAX_LINES];
	size_t n;
};

void doctor_add(struct doctor *d, enum doctor_state state, const char *name,
		const char *remedy, const char *fmt, ...)
	__attribute__((format(printf, 5, 6)));

/** Kernel, permissions, netlink, namespaces. */
void doctor_system(struct doctor *d);
/**
 * One process: may it be read, which runtime, how was its layout found, how
 * many tasks and connections. Returns the error when it cannot be read at all
 * (also told as a line).
 */
struct error *doctor_process(struct doctor *d, pid_t pid);

size_t doctor_count(const struct doctor *d, enum doctor_state state);
const char *doctor_state_name(enum doctor_state state);

#endif
