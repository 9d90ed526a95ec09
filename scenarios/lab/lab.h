/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCENARIOS_LAB_LAB_H
#define SCENARIOS_LAB_LAB_H

/**
 * The lab: hosts as network namespaces, joined by cables, switches and
 * routers, in which connections die in every way that they die in the field.
 *
 * Nothing of a lab is persistent. Its namespaces have no name in the file
 * system: each is held by one process, its host, and all hosts die with the
 * lab's keeper (PR_SET_PDEATHSIG), so that the kernel takes the lab apart when
 * everything else fails. The keeper of an owned lab ends with its owner, also
 * by SIGKILL; that of `stranded lab up` lives until lab_down().
 *
 * Needs root, or user namespaces for everyone (kernel.unprivileged_userns_clone
 * where Debian has it, user.max_user_namespaces): then the lab lives in one.
 *
 * A `struct lab` is a handle, used from one thread at a time. Functions that
 * enter a namespace do so in a child or on a helper thread.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/arena.h"
#include "base/error.h"

#define LAB_NAME_MAX 32 /* of [A-Za-z0-9_-], with the NUL */
#define LAB_HOST_MAX 16 /* of a host's name, with the NUL */

struct lab;

struct lab_options {
	const char *name;     /* NULL: one is made up */
	const char *topology; /* see lab_topologies() */
	bool owned; /* ends with this process; else it lives until lab_down */
};

/**
 * Build a lab and wait until every link has carrier and every address is
 * usable.
 *
 * Fails: ERROR_USAGE (name with odd characters, no such topology, a lab of
 * that name is up), ERROR_DENIED (neither root nor user namespaces; says
 * which setting), ERROR_UNSUPPORTED (no veth, no nft program ...: names it),
 * ERROR_OS. After a failure nothing is left.
 */
struct error *lab_up(const struct lab_options *opt, struct lab **ret);
/** An existing lab. @name NULL: the only one. Fails: ERROR_GONE. */
struct error *lab_open(const char *name, struct lab **ret);
/** Forget the handle; an owned lab goes down first. */
void lab_close(struct lab *lab);
/**
 * Take it down: every process in its namespaces is killed, then they vanish.
 * Also when the keeper was killed before. Idempotent but for ERROR_GONE (no
 * such lab).
 */
struct error *lab_down(const char *name);

const char *lab_name(const struct lab *lab);
/** The process that holds @host's namespaces; 0: no such host. */
pid_t lab_host_pid(const struct lab *lab, const char *host);
/**
 * The address (text, no prefix length) of @host in the network it has in
 * common with the path to a, of @family AF_INET or AF_INET6; NULL: none. It
 * lives as long as @lab.
 */
const char *lab_address(const struct lab *lab, const char *host, int family);

struct lab_spawn {
	const char *host;
	char *const *argv; /* searched in PATH */
	int in, out, err;  /* the program's 0, 1, 2; -1: /dev/null */
	bool die_with_us;  /* SIGKILL when the calling thread ends */
};

/**
 * Start a program in @host's namespaces; a child of the caller, who waits for
 * it. Its pid is as seen from outside.
 */
struct error *lab_spawn(struct lab *lab, const struct lab_spawn *what,
			pid_t *ret);

/** A way to break the path between a and b, or b itself. */
struct lab_fault {
	const char *name;
	const char *args;    /* for help: "[BYTES]", "" */
	const char *summary; /* one line, no full stop */
};

/** Ends with a row whose name is NULL. */
extern const struct lab_fault lab_faults[];

/**
 * Do it, or undo it; recorded, so that `lab status` can tell. A fault that is
 * on already, or off, is ERROR_USAGE, as is a topology without the host that
 * the fault is about, or a fault that cannot be undone (a machine that is
 * gone). ERROR_UNSUPPORTED names what the kernel lacks.
 */
struct error *lab_fault(struct lab *lab, const char *name,
			const char *const *args, size_t n_args);
struct error *lab_heal_fault(struct lab *lab, const char *name);

static inline void lab_closep(struct lab **lab)
{
	lab_close(*lab);
}
#define AUTO_LAB __attribute__((cleanup(lab_closep)))

#endif
