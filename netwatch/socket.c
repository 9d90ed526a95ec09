/* SPDX-License-Identifier: Apache-2.0 */
#include "netwatch/socket.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static const uint8_t v4mapped_prefix[12] = {
	0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff,
};

bool endpoint_is_v4mapped(const struct endpoint *e)
{
	return e->family == AF_INET6 &&
	       memcmp(e->addr, v4mapped_prefix, sizeof(v4mapped_prefix)) == 0;
}

struct endpoint endpoint_unmap(const struct endpoint *e)
{
	struct endpoint ret = *e;

	if (!endpoint_is_v4mapped(e))
		return ret;
	ret.family = AF_INET;
	memset(ret.addr, 0, sizeof(ret.addr));
	memcpy(ret.addr, e->addr + 12, 4);
	ret.scope = 0;
	return ret;
}

bool endpoint_equal(const struct endpoint *a, const struct endpoint *b)
{
	size_t len = a->family == AF_INET ? 4 : 16;

	return a->family == b->family && a->port == b->port &&
	       a->scope == b->scope && memcmp(a->addr, b->addr, len) == 0;
}

bool endpoint_is_loopback(const struct endpoint *e)
{
	struct endpoint u = endpoint_unmap(e);
	static const uint8_t loopback6[16] = { [15] = 1 };

	if (u.family == AF_INET)
		return u.addr[0] == 127;
	return u.family == AF_INET6 &&
	       memcmp(u.addr, loopback6, sizeof(loopback6)) == 0;
}

/* "80" and no more, from 1 to 65535. */
static bool parse_port(const char *text, uint16_t *ret)
{
	unsigned long n = 0;

	if (!*text || strlen(text) > 5)
		return false;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return false;
		n = n * 10 + (unsigned long)(*text - '0');
	}
	*ret = (uint16_t)n;
	return n > 0 && n <= UINT16_MAX;
}

static bool parse_addr(const char *text, size_t len, bool brackets,
		       struct endpoint *ret)
{
	char addr[INET6_ADDRSTRLEN];

	if (len >= sizeof(addr))
		return false;
	memcpy(addr, text, len);
	addr[len] = '\0';
	ret->family = brackets || strchr(addr, ':') ? AF_INET6 : AF_INET;
	return inet_pton(ret->family, addr, ret->addr) == 1;
}

bool endpoint_parse(const char *text, struct endpoint *ret)
{
	struct endpoint e = { 0 };
	bool brackets = *text == '[';
	const char *colon = strrchr(text, ':');
	const char *end = text + strlen(text);

	if (brackets) {
		end = strchr(++text, ']');
		if (!end || (end[1] && end[1] != ':'))
			return false;
		colon = end[1] ? end + 1 : NULL;
	} else if (colon && strchr(text, ':') == colon) {
		end = colon;
	} else {
		colon = NULL; // none, or the colons of an IPv6 address
	}
	if (!parse_addr(text, (size_t)(end - text), brackets, &e) ||
	    (colon && !parse_port(colon + 1, &e.port)))
		return false;
	*ret = endpoint_unmap(&e);
	return true;
}

bool endpoint_meant(const struct endpoint *asked, const struct endpoint *e)
{
	struct endpoint u = endpoint_unmap(e);

	u.scope = 0;
	if (!asked->port)
		u.port = 0;
	return endpoint_equal(&u, asked);
}

void endpoint_format_asked(const struct endpoint *asked,
			   char buf[ENDPOINT_TEXT_MAX])
{
	if (asked->port)
		endpoint_format(asked, buf);
	else
		endpoint_format_addr(asked, buf);
}

void endpoint_format_addr(const struct endpoint *e, char buf[ENDPOINT_TEXT_MAX])
{
	struct endpoint u = endpoint_unmap(e);
	char addr[INET6_ADDRSTRLEN];

	if ((u.family != AF_INET && u.family != AF_INET6) ||
	    !inet_ntop(u.family, u.addr, addr, sizeof(addr)))
		snprintf(buf, ENDPOINT_TEXT_MAX, "?");
	else if (u.scope)
		snprintf(buf, ENDPOINT_TEXT_MAX, "%s%%%u", addr, u.scope);
	else
		snprintf(buf, ENDPOINT_TEXT_MAX, "%s", addr);
}

void endpoint_format(const struct endpoint *e, char buf[ENDPOINT_TEXT_MAX])
{
	char addr[ENDPOINT_TEXT_MAX];

	endpoint_format_addr(e, addr);
	if (strchr(addr, ':'))
		snprintf(buf, ENDPOINT_TEXT_MAX, "[%.70s]:%u", addr, e->port);
	else
		snprintf(buf, ENDPOINT_TEXT_MAX, "%.70s:%u", addr, e->port);
}

static const struct {
	const char *name, *json;
} state_names[] = {
	[TCP_STATE_UNKNOWN] = { "UNKNOWN", "unknown" },
	[TCP_STATE_ESTABLISHED] = { "ESTABLISHED", "established" },
	[TCP_STATE_SYN_SENT] = { "SYN_SENT", "syn_sent" },
	[TCP_STATE_SYN_RECV] = { "SYN_RECV", "syn_recv" },
	[TCP_STATE_FIN_WAIT1] = { "FIN_WAIT1", "fin_wait1" },
	[TCP_STATE_FIN_WAIT2] = { "FIN_WAIT2", "fin_wait2" },
	[TCP_STATE_TIME_WAIT] = { "TIME_WAIT", "time_wait" },
	[TCP_STATE_CLOSE] = { "CLOSE", "close" },
	[TCP_STATE_CLOSE_WAIT] = { "CLOSE_WAIT", "close_wait" },
	[TCP_STATE_LAST_ACK] = { "LAST_ACK", "last_ack" },
	[TCP_STATE_LISTEN] = { "LISTEN", "listen" },
	[TCP_STATE_CLOSING] = { "CLOSING", "closing" },
	[TCP_STATE_NEW_SYN_RECV] = { "NEW_SYN_RECV", "new_syn_recv" },
};

/* The value may come from a replayed file, so it is checked here too. */
static unsigned state_index(enum tcp_state state)
{
	unsigned i = state;

	return i < sizeof(state_names) / sizeof(state_names[0]) ? i : 0;
}

const char *tcp_state_name(enum tcp_state state)
{
	return state_names[state_index(state)].name;
}

const char *tcp_state_json(enum tcp_state state)
{
	return state_names[state_index(state)].json;
}

const char *tcp_timer_name(enum tcp_timer timer)
{
	switch (timer) {
	case TCP_TIMER_OFF:
		return "off";
	case TCP_TIMER_RETRANSMIT:
		return "retransmit";
	case TCP_TIMER_KEEPALIVE:
		return "keepalive";
	case TCP_TIMER_TIME_WAIT:
		return "time-wait";
	case TCP_TIMER_PERSIST:
		return "persist";
	}
	return "unknown";
}

struct tcp_snapshot *tcp_snapshot_create(void)
{
	struct tcp_snapshot *snap = calloc(1, sizeof(*snap));

	if (!snap)
		return NULL;
	snap->arena = arena_create();
	if (!snap->arena) {
		free(snap);
		return NULL;
	}
	snap->gaps.arena = snap->arena;
	snap->consistent = true;
	return snap;
}

void tcp_snapshot_destroy(struct tcp_snapshot *snap)
{
	if (!snap)
		return;
	free(snap->v);
	arena_destroy(snap->arena);
	free(snap);
}

struct error *tcp_snapshot_reserve(struct tcp_snapshot *snap, size_t n)
{
	size_t cap = snap->n + n;

	if (cap <= snap->cap)
		return NULL;
	if (cap > SOCKET_MAX)
		return error_new(ERROR_UNSUPPORTED,
				 "more than %d sockets in one picture",
				 SOCKET_MAX);
	void *v = reallocarray(snap->v, cap, sizeof(*snap->v));
	if (!v)
		return &error_nomem;
	snap->v = v;
	snap->cap = cap;
	return NULL;
}

struct tcp_socket *tcp_snapshot_add(struct tcp_snapshot *snap)
{
	if (snap->n == snap->cap) {
		size_t cap = snap->cap ? snap->cap * 2 : 64;

		if (snap->n >= SOCKET_MAX)
			return NULL;
		// a big block grows by remapping, so nothing is copied
		void *v = realloc(snap->v, cap * sizeof(*snap->v));
		if (!v)
			return NULL;
		snap->v = v;
		snap->cap = cap;
	}
	return &snap->v[snap->n++];
}

/* Sorting moves these, and then each record once. */
struct sort_key {
	uint64_t inode, cookie;
	size_t at;
};

static int sort_key_compare(const void *a, const void *b)
{
	const struct sort_key *x = a, *y = b;

	if (x->inode != y->inode)
		return x->inode < y->inode ? -1 : 1;
	if (x->cookie != y->cookie)
		return x->cookie < y->cookie ? -1 : 1;
	return x->at < y->at ? -1 : x->at > y->at;
}

static bool in_order(const struct tcp_snapshot *snap)
{
	for (size_t i = 1; i < snap->n; i++) {
		const struct tcp_socket *a = &snap->v[i - 1], *b = a + 1;

		if (a->inode > b->inode ||
		    (a->inode == b->inode && a->cookie >= b->cookie))
			return false;
	}
	return true;
}

static void move_by_keys(struct tcp_socket *v, struct sort_key *keys, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (keys[i].at == i)
			continue;
		// follow one cycle of the permutation
		struct tcp_socket held = v[i];
		size_t to = i;

		while (keys[to].at != i) {
			size_t from = keys[to].at;

			v[to] = v[from];
			keys[to].at = to;
			to = from;
		}
		v[to] = held;
		keys[to].at = to;
	}
}

/* A socket that changes its hash chain during a dump is met twice. */
static void drop_twins(struct tcp_snapshot *snap)
{
	size_t kept = 0;

	for (size_t i = 0; i < snap->n; i++) {
		const struct tcp_socket *s = &snap->v[i];

		if (kept > 0 && s->cookie &&
		    s->cookie == snap->v[kept - 1].cookie)
			continue;
		if (kept != i)
			snap->v[kept] = *s;
		kept++;
	}
	snap->n = kept;
}

struct error *tcp_snapshot_sort(struct tcp_snapshot *snap)
{
	if (in_order(snap))
		return NULL;
	struct sort_key *keys = calloc(snap->n, sizeof(*keys));
	if (!keys)
		return &error_nomem;
	for (size_t i = 0; i < snap->n; i++)
		keys[i] = (struct sort_key){ .inode = snap->v[i].inode,
					     .cookie = snap->v[i].cookie,
					     .at = i };
	qsort(keys, snap->n, sizeof(*keys), sort_key_compare);
	move_by_keys(snap->v, keys, snap->n);
	free(keys);
	drop_twins(snap);
	return NULL;
}

struct tcp_socket *tcp_snapshot_find(const struct tcp_snapshot *snap,
				     uint64_t inode)
{
	size_t lo = 0, hi = snap->n;

	if (inode == 0)
		return NULL;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (snap->v[mid].inode < inode)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo < snap->n && snap->v[lo].inode == inode)
		return &snap->v[lo];
	return NULL;
}
