/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NETWATCH_GUARD_H
#define NETWATCH_GUARD_H

/**
 * What is changed on the target's sockets and in its namespaces is put back,
 * also when this program is killed in the middle of it.
 *
 * Before the first change a guardian is forked. It shares a table with us, in
 * which each change is written down before it is made and struck out after it
 * was put back, and waits for the end of file on a socket pair of which only we
 * (and the nft(8) that we run) hold the other end. The kernel closes that at
 * our end, however we end. Then the guardian puts back whatever is still written down,
 * and ends. It ends by itself, after having done so, when its time is over
 * (the window, and GUARD_MARGIN_MS) and we still live: we may be stopped. A
 * keepalive that was turned on it turns off after GUARD_ARMED_MS already, so
 * that also then no fourth probe leaves.
 *
 * It is a session of its own, so that neither ^C nor a hangup of the terminal
 * reaches it, and holds the target's pidfd: a reused pid cannot be met, and a
 * reused fd is told by the socket's cookie and left alone.
 *
 * What remains. When both are killed at once (the out-of-memory killer on the
 * cgroup, the end of the container whose pid 1 we are, a power cut):
 *
 *	SO_REUSEADDR   may stay cleared, if it hits the few microseconds
 *		       between the probe and its restoration
 *	keepalive      may stay on, one probe each 2 s, up to 127: a peer that
 *		       answers is not affected, one that does not is declared
 *		       dead by the kernel after about four minutes
 *	the RST shield its elements time out in the kernel with the window and
 *		       SHIELD_MARGIN_S; an empty table of ours stays
 */

#include <stdatomic.h>

#include "base/error.h"
#include "base/process.h"
#include "netwatch/options.h"

#define GUARD_MARGIN_MS 5000
/** The third keepalive probe leaves 5 s after it was armed, the fourth 7 s. */
#define GUARD_ARMED_MS 6200
/** That a guardian may take to put everything back, before it is left alone. */
#define GUARD_END_MS 10000

struct guard;

enum guard_kind {
	GUARD_NOTHING,
	GUARD_REUSEADDR, /* SO_REUSEADDR was 1 */
	GUARD_KEEPALIVE, /* SO_KEEPALIVE was 0; see the numbers */
};

/** One socket's. In memory that is shared with the guardian. */
struct guard_entry {
	_Atomic uint32_t kind; /* enum guard_kind; written last */
	struct socket_ref ref;
	uint32_t keepidle_s, keepintvl_s, keepcnt;
};

/** The table of a firewall in one namespace, see shield.h. */
struct guard_shield {
	_Atomic uint32_t armed;
	int netns_fd; /* of the caller's; open in the guardian too */
};

/** Names the tables of one attempt: "stranded_PID_RANDOM". */
#define GUARD_NAME_MAX 48

/**
 * Fork the guardian, for @n sockets of @p (which the handle keeps using) and
 * the @n_netns namespaces @netns_fds. To be called while no other thread runs.
 *
 * Fails: ERROR_NOMEM, ERROR_OS.
 */
struct error *guard_create(const struct process *p, size_t n,
			   const int *netns_fds, size_t n_netns,
			   int64_t window_ms, struct guard **ret);
/**
 * Let the guardian put back what is left, and wait for its end. Fails:
 * ERROR_OS when something could not be put back; the text says what. NULL is
 * fine. Always frees.
 */
struct error *guard_finish(struct guard *guard);

struct guard_entry *guard_entry(struct guard *guard, size_t i);
struct guard_shield *guard_shield(struct guard *guard, size_t i);
size_t guard_n_shields(const struct guard *guard);
const char *guard_name(const struct guard *guard);
/**
 * The guardian ends its waiting only when this is closed everywhere: a program
 * that changes something for us is to inherit it.
 */
int guard_pipe(const struct guard *guard);

/** Tell the guardian that keepalive was just turned on somewhere. */
void guard_armed(const struct guard *guard);

/** Write down what is about to be changed. */
void guard_note(struct guard_entry *e, enum guard_kind kind);
/** Strike it out again. */
void guard_clear(struct guard_entry *e);

/**
 * Put back what @e says, through @dup, which is that socket; then strike it
 * out. Keepalive: off first, so that nothing is sent meanwhile, then count,
 * interval and idle time; each is read back. A socket that had the system's
 * values keeps them as its own from then on (the kernel has no way back).
 *
 * Returns: 0 or -errno; @e stays written down then.
 */
int guard_restore_dup(struct guard_entry *e, int dup)
	__attribute__((warn_unused_result));
/**
 * The same through a duplicate of its own. The fd being closed or another's by
 * now, it looks for another one of the same socket; there being none, there is
 * nothing to put back any more: 0.
 */
int guard_restore(const struct process *p, struct guard_entry *e)
	__attribute__((warn_unused_result));

#endif
