/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_PROBELAB_H
#define TESTS_UNIT_PROBELAB_H

/*
 * Probing this very process: its own sockets, in namespaces of netlab.h, by the
 * door that the detector uses.
 */

#include <sys/stat.h>

#include "netwatch/netwatch.h"
#include "netwatch/probe.h"
#include "tests/unit/netlab.h"

#define PROBED_MAX 2048

struct probed {
	struct arena *arena;
	struct process *p;
	struct netwatch *nw;
	struct process_fds fds;
	struct tcp_snapshot *snap;
	size_t n;
	struct tcp_socket *s[PROBED_MAX];
	struct net_facts *facts[PROBED_MAX];
};

static inline uint64_t inode_of(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return st.st_ino;
}

/** Look at the sockets @fds of process @pid (0: this one) by @inodes. */
static inline struct probed *probed_look(pid_t pid, const uint64_t *inodes,
					 size_t n)
{
	struct probed *r = calloc(1, sizeof(*r));
	struct net_facts *facts;

	assert_non_null(r);
	assert_true(n <= PROBED_MAX);
	r->arena = arena_create();
	assert_ok(process_open(pid ? pid : getpid(), &r->p));
	assert_ok(netwatch_open(r->p, NULL, &r->nw));
	assert_ok(process_fds(r->p, r->arena, &r->fds));
	assert_ok(netwatch_take(r->nw, &r->fds, &r->snap));
	facts = arena_array(r->arena, n + 1, sizeof(*facts));
	for (size_t i = 0; i < n; i++) {
		r->s[i] = tcp_snapshot_find(r->snap, inodes[i]);
		assert_non_null(r->s[i]);
		r->facts[i] = &facts[i];
	}
	r->n = n;
	assert_ok(netwatch_examine(r->nw, &r->fds, r->s, n, r->arena, facts));
	assert_ok(netwatch_resample(r->nw, r->s, n));
	return r;
}

static inline void probed_end(struct probed *r)
{
	netwatch_close(r->nw);
	tcp_snapshot_destroy(r->snap);
	process_close(r->p);
	arena_destroy(r->arena);
	free(r);
}

static inline struct error *probed_try(struct probed *r, int64_t window_ms,
				       bool shield)
{
	const struct probe_options opt = { .window_ms = window_ms,
					   .rst_shield = shield };

	return netwatch_probe(r->nw, &r->fds, r->s, r->n, &opt, r->arena,
			      r->facts);
}

/** Probe the sockets @fds of this process. */
static inline struct probed *probe_fds(const int *fds, size_t n,
				       int64_t window_ms, bool shield)
{
	uint64_t inodes[64];

	assert_true(n <= 64);
	for (size_t i = 0; i < n; i++)
		inodes[i] = inode_of(fds[i]);
	struct probed *r = probed_look(0, inodes, n);
	assert_ok(probed_try(r, window_ms, shield));
	return r;
}

static inline struct verdict probed_verdict(struct probed *r, size_t i)
{
	struct verdict v;

	assert_ok(verdict_judge(r->s[i], r->facts[i], r->arena, &v));
	return v;
}

static inline int option_of(int fd, int level, int name)
{
	int value = -1;
	socklen_t len = sizeof(value);

	assert_int_equal(getsockopt(fd, level, name, &value, &len), 0);
	return value;
}

static inline void set_option(int fd, int level, int name, int value)
{
	assert_int_equal(setsockopt(fd, level, name, &value, sizeof(value)), 0);
}

/** What a probe may change of a socket. */
struct settings {
	int v[5];
};

static inline struct settings settings_of(int fd)
{
	return (struct settings){ { option_of(fd, SOL_SOCKET, SO_REUSEADDR),
				    option_of(fd, SOL_SOCKET, SO_KEEPALIVE),
				    option_of(fd, IPPROTO_TCP, TCP_KEEPIDLE),
				    option_of(fd, IPPROTO_TCP, TCP_KEEPINTVL),
				    option_of(fd, IPPROTO_TCP, TCP_KEEPCNT) } };
}

static inline int state_of(int fd)
{
	uint8_t info[512];
	socklen_t len = sizeof(info);

	assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_INFO, info, &len), 0);
	return info[0];
}

/** Two namespaces a and b with 10.9.0.1 and .2, fd9::1 and ::2. */
static inline void probe_lab(void)
{
	lab_needs();
	lab_netns("ab");
	lab_pair('a', "10.9.0.1/24", 'b', "10.9.0.2/24");
	sh("ip -n @a addr add fd9::1/64 dev tob nodad && "
	   "ip -n @b addr add fd9::2/64 dev toa nodad");
}

/** From now on machine b takes no packet to its @port. */
static inline void drop_port(int port)
{
	sh("ip netns exec @b nft 'add table inet t; add chain inet t i { type "
	   "filter hook input priority 0; }; add rule inet t i tcp dport %d "
	   "drop'",
	   port);
}

#endif
