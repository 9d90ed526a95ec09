/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_NETLAB_H
#define TESTS_UNIT_NETLAB_H

/*
 * A lab of network namespaces for tests that need the real kernel: named
 * namespaces "sp-PID-x", joined by veth pairs with ip(8), removed again by
 * lab_teardown() whatever the test did. Connections are real ones between two
 * of them; one end can be made to vanish without a packet.
 */

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/tcp.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "netwatch/netns.h"
#include "netwatch/peer.h"
#include "netwatch/sockdiag.h"
#include "tests/unit/unit.h"

/** Run a shell command in which "@x" stands for the namespace x's name. */
static inline int __attribute__((format(printf, 1, 2)))
try_sh(const char *fmt, ...)
{
	char text[2048], cmd[4096];
	size_t len = 0;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	for (const char *p = text; *p && len < sizeof(cmd) - 40; p++) {
		if (*p == '@')
			len += (size_t)sprintf(cmd + len, "sp-%d-", getpid());
		else
			cmd[len++] = *p;
	}
	cmd[len] = '\0';
	return system(cmd);
}

#define sh(...)                                                                \
	do {                                                                   \
		if (try_sh(__VA_ARGS__))                                       \
			fail_msg("failed: " __VA_ARGS__);                      \
	} while (0)

/* In namespace @ns: nft rules as text. */
#define nft(ns, rules) sh("ip netns exec @%s nft -f - <<'X'\n%s\nX", ns, rules)

static inline int lab_teardown(void **state UNUSED)
{
	try_sh("for n in $(ip netns list 2>/dev/null | grep -o '^@[a-z0-9]*');"
	       " do ip netns del $n; done");
	return 0;
}

static inline void lab_needs(void)
{
	NEEDS("root", geteuid() == 0);
	NEEDS("ip", !try_sh("command -v ip >/dev/null"));
	NEEDS("nft", !try_sh("command -v nft >/dev/null"));
}

/** Namespaces by one letter each. */
static inline void lab_netns(const char *letters)
{
	for (const char *p = letters; *p; p++)
		sh("ip netns add @%c && ip -n @%c link set lo up", *p, *p);
}

/** A veth pair: device "to<y>" in x, "to<x>" in y, with addresses or "". */
static inline void lab_pair(char x, const char *addr_x, char y,
			    const char *addr_y)
{
	sh("ip -n @%c link add to%c type veth peer name to%c netns @%c", x, y,
	   x, y);
	if (*addr_x)
		sh("ip -n @%c addr add %s dev to%c%s", x, addr_x, y,
		   strchr(addr_x, ':') ? " nodad" : "");
	if (*addr_y)
		sh("ip -n @%c addr add %s dev to%c%s", y, addr_y, x,
		   strchr(addr_y, ':') ? " nodad" : "");
	sh("ip -n @%c link set to%c up && ip -n @%c link set to%c up", x, y, y,
	   x);
}

static inline int lab_fd(char ns)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/run/netns/sp-%d-%c", getpid(), ns);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

static inline uint64_t lab_inode(char ns)
{
	int fd = lab_fd(ns);
	uint64_t inode = netns_inode(fd);

	close(fd);
	return inode;
}

struct lab_socket {
	int family, fd;
};

static inline struct error *lab_make_socket(void *arg)
{
	struct lab_socket *s = arg;

	s->fd = socket(s->family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	return NULL;
}

static inline int lab_socket(char ns, int family)
{
	struct lab_socket s = { .family = family, .fd = -1 };
	int fd = lab_fd(ns);

	assert_ok(netns_run(fd, lab_make_socket, &s));
	close(fd);
	assert_true(s.fd >= 0);
	return s.fd;
}

struct conn {
	int client, server, listener;
	struct tcp_socket s; /* the client's, or the server's, as judged */
};

static inline socklen_t lab_address(int family, const char *addr, int port,
				    struct sockaddr_storage *ret)
{
	struct sockaddr_in *v4 = (void *)ret;
	struct sockaddr_in6 *v6 = (void *)ret;

	memset(ret, 0, sizeof(*ret));
	ret->ss_family = (sa_family_t)family;
	if (family == AF_INET) {
		v4->sin_port = htons((uint16_t)port);
		assert_int_equal(inet_pton(family, addr, &v4->sin_addr), 1);
		return sizeof(*v4);
	}
	v6->sin6_port = htons((uint16_t)port);
	assert_int_equal(inet_pton(family, addr, &v6->sin6_addr), 1);
	return sizeof(*v6);
}

static inline struct endpoint lab_endpoint(const struct sockaddr_storage *sa)
{
	const struct sockaddr_in *v4 = (const void *)sa;
	const struct sockaddr_in6 *v6 = (const void *)sa;
	struct endpoint e = { .family = (uint8_t)sa->ss_family };

	if (sa->ss_family == AF_INET) {
		memcpy(e.addr, &v4->sin_addr, 4);
		e.port = ntohs(v4->sin_port);
	} else {
		memcpy(e.addr, &v6->sin6_addr, 16);
		e.port = ntohs(v6->sin6_port);
		e.scope = v6->sin6_scope_id;
	}
	return e;
}

/** What the monitor would hold of socket @fd, from the kernel itself. */
static inline struct tcp_socket lab_sample(char ns, int fd)
{
	struct sockaddr_storage sa, ra;
	socklen_t len = sizeof(sa), rlen = sizeof(ra);
	struct sockdiag *diag;
	struct tcp_socket s;
	int nsfd = lab_fd(ns);

	assert_int_equal(getsockname(fd, (void *)&sa, &len), 0);
	assert_int_equal(getpeername(fd, (void *)&ra, &rlen), 0);
	struct endpoint local = lab_endpoint(&sa), remote = lab_endpoint(&ra);
	assert_ok(sockdiag_open(nsfd, NULL, &diag));
	assert_ok(sockdiag_lookup(diag, &local, &remote, local.scope, 0, &s));
	s.netns = sockdiag_netns(diag);
	s.second_state = TCP_NOT_SAMPLED;
	sockdiag_close(diag);
	close(nsfd);
	return s;
}

/**
 * Connect from @client to @addr:@port, where @server listens on @listen_port.
 * c.s is the client's socket.
 */
static inline struct conn lab_connect(char client, char server, int family,
				      const char *addr, int port,
				      int server_family, int listen_port)
{
	struct sockaddr_storage any, to;
	struct conn c;
	int one = 1;

	c.listener = lab_socket(server, server_family);
	setsockopt(c.listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	socklen_t len = lab_address(
		server_family,
		server_family == AF_INET ? "0.0.0.0" : "::", listen_port, &any);
	assert_int_equal(bind(c.listener, (void *)&any, len), 0);
	assert_int_equal(listen(c.listener, 5), 0);
	c.client = lab_socket(client, family);
	len = lab_address(family, addr, port, &to);
	struct timeval limit = { .tv_sec = 10 };
	setsockopt(c.client, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	setsockopt(c.listener, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	assert_int_equal(connect(c.client, (void *)&to, len), 0);
	c.server = accept(c.listener, NULL, NULL);
	assert_true(c.server >= 0);
	c.s = lab_sample(client, c.client);
	return c;
}

static inline struct conn lab_tcp(char client, char server, const char *addr,
				  int port)
{
	return lab_connect(client, server, AF_INET, addr, port, AF_INET, port);
}

/** The socket is gone and nobody was told (as after a crash of the host). */
static inline void lab_vanish(int fd)
{
	int on = 1;

	assert_int_equal(
		setsockopt(fd, IPPROTO_TCP, TCP_REPAIR, &on, sizeof(on)), 0);
	close(fd);
}

static inline void lab_close(struct conn *c)
{
	close(c->client);
	close(c->server);
	close(c->listener);
}

struct looked {
	struct arena *arena;
	struct peer *peer;
	struct path_netns ns;
	struct net_facts facts;
};

/** One look at the peer of @s, which lives in @ns. */
static inline struct looked lab_look(char ns, struct tcp_socket *s)
{
	struct looked l = { .arena = arena_create() };

	l.ns.fd = lab_fd(ns);
	l.ns.inode = netns_inode(l.ns.fd);
	assert_ok(peer_open(&l.ns, 1, NULL, &l.peer));
	assert_ok(peer_examine(l.peer, &s, 1, l.arena, &l.facts));
	return l;
}

static inline void looked_end(struct looked *l)
{
	peer_close(l->peer);
	close(l->ns.fd);
	arena_destroy(l->arena);
}

#endif
