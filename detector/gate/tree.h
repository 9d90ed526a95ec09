/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DETECTOR_GATE_TREE_H
#define DETECTOR_GATE_TREE_H

/**
 * Who is below us. The gate is a subreaper (PR_SET_CHILD_SUBREAPER), so that a
 * daemonised process stays a descendant.
 */

#include <sys/types.h>

#include "base/arena.h"
#include "base/error.h"

#define TREE_MAX 100000

struct tree_member {
	pid_t pid;
	const char *cmdline; /* joined by spaces; never NULL */
};

/**
 * All descendants of this process but @but and zombies, ascending by pid.
 * Fails: ERROR_NOMEM, ERROR_OS.
 */
struct error *tree_list(pid_t but, struct arena *arena,
			struct tree_member **ret, size_t *n_ret);
/**
 * The children of all threads of @pid, at most @max: Linux 4.2 with
 * CONFIG_PROC_CHILDREN. Who forks or ends at the moment may be missing.
 * Returns: how many.
 */
size_t tree_children(pid_t pid, pid_t *ret, size_t max);
/** The parent of @pid; 0 when it is gone, a zombie, or has none. */
pid_t tree_parent(pid_t pid);
/** The command line of @pid, joined by spaces; "?" when it has none. */
const char *tree_cmdline(pid_t pid, struct arena *arena);
/** Send @sig to each of them; those who ended meanwhile are fine. */
void tree_signal(pid_t but, int sig);

#endif
