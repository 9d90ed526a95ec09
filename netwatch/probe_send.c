/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "netwatch/probe_priv.h"

#define KEEP_SECONDS_MAX 32767 /* MAX_TCP_KEEPIDLE and _KEEPINTVL */

static int get(int dup, int level, int name, uint32_t *ret)
{
	socklen_t len = sizeof(*ret);

	return getsockopt(dup, level, name, ret, &len) < 0 ? -errno : 0;
}

static int set(int dup, int level, int name, int value)
{
	return setsockopt(dup, level, name, &value, sizeof(value)) < 0 ? -errno
								       : 0;
}

int shot_info(int dup, enum tcp_state *state, struct tcp_info_fields *info)
{
	uint8_t raw[SOCKET_TCP_INFO_MAX];
	socklen_t len = sizeof(raw);

	if (getsockopt(dup, IPPROTO_TCP, TCP_INFO, raw, &len) < 0)
		return -errno;
	sockdiag_parse_tcp_info(raw, len, info);
	*state = len ? raw[0] : TCP_STATE_UNKNOWN;
	return 0;
}

/*
 * Unanswered probes of earlier attempts count still (icsk_probes_out); with
 * ours they must stay far from PROBE_KEEPCNT.
 */
#define LEFTOVER_MAX 64

/* --- window probe --- */

/*
 * Returns: 0 sent; -EPERM (no CAP_NET_ADMIN), -ENOPROTOOPT or -EOPNOTSUPP
 * (MPTCP), -EBUSY (somebody has it in repair mode).
 */
static int window_probe(int dup, struct guard_entry *entry)
{
	uint32_t repair, reuse;
	int rc = get(dup, IPPROTO_TCP, TCP_REPAIR, &repair);

	if (!rc)
		rc = get(dup, SOL_SOCKET, SO_REUSEADDR, &reuse);
	if (rc)
		return rc;
	if (repair)
		return -EBUSY;
	if (reuse)
		guard_note(entry, GUARD_REUSEADDR);
	rc = set(dup, IPPROTO_TCP, TCP_REPAIR, 0);
	// what fails here stays noted, for the guardian
	if (guard_restore_dup(entry, dup))
		log_debug("net", "SO_REUSEADDR not put back at once");
	return rc;
}

/* The answer of a near peer is there before the call returns. */
static void look_at_once(struct shot *shot, int dup)
{
	struct tcp_info_fields info;
	enum tcp_state state;

	if (!shot_info(dup, &state, &info) && state == TCP_STATE_CLOSE)
		shot_closed(shot, &info);
}

static void count_probe(struct shot *shot)
{
	struct probe_facts *f = shot->f;

	if (!f->sent)
		shot->first_mono_ns = clock_mono_ns();
	f->method = PROBE_BY_WINDOW;
	f->at_wall_ms[f->sent++] = clock_wall_ms();
}

/* --- keepalive --- */

static bool in_range(uint32_t value, uint32_t max)
{
	return value >= 1 && value <= max;
}

/* Why keepalive may not be turned on; NULL: it may, and @e has what was. */
static const char *keepalive_obstacle(int dup, struct guard_entry *e)
{
	uint32_t on, timeout = 0, protocol;

	if (get(dup, SOL_SOCKET, SO_KEEPALIVE, &on) ||
	    get(dup, SOL_SOCKET, SO_PROTOCOL, &protocol) ||
	    get(dup, IPPROTO_TCP, TCP_KEEPIDLE, &e->keepidle_s) ||
	    get(dup, IPPROTO_TCP, TCP_KEEPINTVL, &e->keepintvl_s) ||
	    get(dup, IPPROTO_TCP, TCP_KEEPCNT, &e->keepcnt))
		return "its keepalive settings cannot be read";
	if (on)
		return "the program's own keepalive is on and will tell; probes "
		       "of ours would count against it";
	/*
	 * An MPTCP socket that cannot be asked cannot have been told either
	 * (mptcp_setsockopt_sol_tcp, net/mptcp/sockopt.c; Linux 6.18 refuses
	 * both).
	 */
	if (get(dup, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout) &&
	    protocol != IPPROTO_MPTCP)
		return "its TCP_USER_TIMEOUT cannot be read: a keepalive probe "
		       "could end the connection";
	if (timeout)
		return "TCP_USER_TIMEOUT is set: an unanswered keepalive probe "
		       "would end the connection";
	if (!in_range(e->keepidle_s, KEEP_SECONDS_MAX) ||
	    !in_range(e->keepintvl_s, KEEP_SECONDS_MAX) ||
	    !in_range(e->keepcnt, PROBE_KEEPCNT))
		return "its keepalive settings could not be put back: they are "
		       "beyond what a socket takes";
	return NULL;
}

/* Turned on last, so that no timer runs with the program's numbers. */
static int turn_on(int dup)
{
	int rc = set(dup, IPPROTO_TCP, TCP_KEEPIDLE, PROBE_KEEPIDLE_S);

	if (!rc)
		rc = set(dup, IPPROTO_TCP, TCP_KEEPINTVL, PROBE_KEEPINTVL_S);
	if (!rc)
		rc = set(dup, IPPROTO_TCP, TCP_KEEPCNT, PROBE_KEEPCNT);
	if (!rc)
		rc = set(dup, SOL_SOCKET, SO_KEEPALIVE, 1);
	return rc;
}

static void arm_keepalive(struct shot *shot, int dup)
{
	const char *why = keepalive_obstacle(dup, shot->entry);

	if (!why && shot->base.info.probes > LEFTOVER_MAX)
		why = "too many earlier probes are still unanswered: ours could "
		      "end the connection";
	if (why) {
		shot_refuse(shot, why);
		return;
	}
	guard_note(shot->entry, GUARD_KEEPALIVE);
	int rc = turn_on(dup);
	if (!rc) {
		shot->f->method = PROBE_BY_KEEPALIVE;
		shot->armed = true;
		return;
	}
	if (guard_restore_dup(shot->entry, dup))
		log_debug("net", "keepalive not put back at once");
	shot_refuse(shot, "the kernel refuses to turn keepalive on");
}

void shot_disarm(const struct process *p, struct shot *shot)
{
	if (!shot->armed)
		return;
	shot->armed = false;
	if (guard_restore(p, shot->entry))
		log_debug("net", "keepalive not put back at once");
}

/* --- either --- */

static void no_duplicate(struct shot *shot, int rc)
{
	if (shot->f->sent) {
		// the row tells whether the connection lives on
		shot->halted = true;
		shot->f->why = "its file descriptor was closed or is another's";
		return;
	}
	switch (rc) {
	case -EPERM:
	case -EACCES:
		shot_refuse(shot, "not permitted to duplicate its descriptor; "
				  "run as root or grant CAP_SYS_PTRACE");
		break;
	case -ENOSYS:
		shot_refuse(shot, "this kernel has no pidfd_getfd (Linux 5.6)");
		break;
	case -EBADF:
	case -ESRCH:
		shot_refuse(shot, "its file descriptor was closed");
		break;
	case -ESTALE:
		shot_refuse(shot, "its file descriptor is another's by now");
		break;
	default:
		shot_refuse(shot, "its file descriptor cannot be duplicated");
		break;
	}
}

static bool needs_keepalive(const struct shot *shot, int rc)
{
	return shot->base.state != TCP_STATE_ESTABLISHED || rc == -EPERM ||
	       rc == -ENOPROTOOPT || rc == -EOPNOTSUPP;
}

void shot_fire(const struct process *p, struct shot *shot)
{
	if (shot->armed || shot->halted || shot->f->sent >= PROBE_MAX)
		return;
	AUTO_CLOSE int dup = socket_ref_dup(p, &shot->ref);
	int rc = -ENOPROTOOPT;

	if (dup < 0) {
		no_duplicate(shot, dup);
		return;
	}
	if (shot->base.state == TCP_STATE_ESTABLISHED)
		rc = window_probe(dup, shot->entry);
	if (!rc) {
		count_probe(shot);
		look_at_once(shot, dup);
	} else if (shot->f->sent) {
		shot->halted = true;
		shot->f->why = "the kernel refuses a further probe";
	} else if (rc == -EBUSY) {
		shot_refuse(shot, "it is in repair mode: the process is being "
				  "checkpointed");
	} else if (needs_keepalive(shot, rc)) {
		arm_keepalive(shot, dup);
	} else {
		shot_refuse(shot, "the kernel refuses a window probe");
	}
}
