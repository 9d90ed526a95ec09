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
	const char *topology; /* see lab_topologies[] */
	bool owned;  /* ends with this process; else it lives until lab_down */
	pid_t owner; /* ends with that one instead; 0: see owned */
};

struct lab_topology {
	const char *name;
	const char *picture; /* "a -- r -- b" */
	const char *summary; /* one line, no full stop */
};

/** Ends with a row whose name is NULL. */
extern const struct lab_topology lab_topologies[];

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

/** A host, as lab_info() shows it. */
struct lab_host_info {
	const char *name;
	pid_t pid;		  /* its holder; 0: the machine is gone */
	const char *addresses[8]; /* with prefix lengths; ends with NULL */
};

struct lab_fault_info {
	const char *name;
	const char *args[2]; /* as given; ends with NULL */
};

struct lab_info {
	const char *name, *topology;
	pid_t keeper, owner; /* owner 0: none */
	int64_t age_ms;
	const struct lab_host_info *hosts;
	size_t n_hosts;
	const struct lab_fault_info *faults; /* on now, the oldest first */
	size_t n_faults;
};

/** What is known of @lab, read anew. All of it is in @arena. */
struct error *lab_info(struct lab *lab, struct arena *arena,
		       struct lab_info *ret);
/**
 * The names of the labs that are up, ours alone (those of this user),
 * ascending; what is left of labs that were killed is removed on the way.
 */
struct error *lab_list(struct arena *arena, const char *const **ret,
		       size_t *n_ret);

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

/**
 * Become the program @argv in @host's namespaces: execve(2), so that standard
 * streams, signals and the exit status are the program's. Call it with one
 * thread only. Returns only on failure: ERROR_USAGE (no such host),
 * ERROR_GONE, ERROR_DENIED, ERROR_OS; *@errnum_ret is the errno of execve(2)
 * when that is what failed, else 0.
 *
 * A program in a lab finds STRANDED_LAB, STRANDED_LAB_HOST and STRANDED_LAB_ID
 * in its environment: the lab's name, the host's, and what tells this lab from
 * all others. It ends with the lab.
 */
struct error *lab_exec(struct lab *lab, const char *host, char *const *argv,
		       int *errnum_ret);

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
