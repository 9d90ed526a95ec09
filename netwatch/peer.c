/* SPDX-License-Identifier: Apache-2.0 */
#include "netwatch/peer.h"

#include <fcntl.h>
#include <linux/rtnetlink.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "netwatch/peer_priv.h"

/* Devices that a socket may be bound to, tried one by one. */
#define MAX_BOUND 256

const char *peer_text(struct peer *peer, const char *fmt, ...)
{
	char buf[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(buf, sizeof(buf), fmt, ap);
	va_end(ap);
	const char *copy = arena_strdup(peer->arena, buf);
	if (!copy)
		peer->nomem = true;
	return copy ? copy : "";
}

/* --- namespaces --- */

static bool refuse(struct peer *peer, struct peer_ns *ns, struct error *err)
{
	ns->why = peer_text(peer, "%s cannot be entered: %s", ns->name,
			    error_text(err));
	// Refused or gone is an answer; these say nothing about the peer.
	ns->limited = error_code(err) == ERROR_OS ||
		      error_code(err) == ERROR_NOMEM;
	peer->limited |= ns->limited;
	error_free(err);
	return false;
}

/* An fd of the namespace; for our own one needs no right at all. */
static struct error *open_fd(struct peer_ns *ns)
{
	if (ns->lent_fd >= 0) {
		ns->fd = ns->lent_fd;
		return NULL;
	}
	if (!ns->own && ns->ref)
		return netns_open_ref(ns->ref, &ns->fd);
	if (!ns->own)
		return error_new(ERROR_GONE, "it is not reachable any more");
	ns->fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	return NULL;
}

bool peer_ns_open(struct peer *peer, struct peer_ns *ns)
{
	struct error *err;

	if (ns->tried) {
		peer->limited |= ns->limited;
		return !ns->why;
	}
	ns->tried = true;
	err = open_fd(ns);
	// Entering our own namespace by its fd would take CAP_SYS_ADMIN.
	int fd = ns->own ? -1 : ns->fd;
	if (!err)
		err = rtnet_open(fd, &ns->rt);
	if (!err)
		err = sockdiag_open(fd, NULL, &ns->diag);
	if (!err)
		err = nat_open(fd, &ns->nat);
	return err ? refuse(peer, ns, err) : true;
}

static void close_ns(struct peer_ns *ns)
{
	rtnet_close(ns->rt);
	sockdiag_close(ns->diag);
	nat_close(ns->nat);
	free(ns->ids);
	if (ns->fd >= 0 && ns->fd != ns->lent_fd)
		close(ns->fd);
	*ns = (struct peer_ns){
		.inode = ns->inode,
		.ref = ns->ref,
		.lent_fd = ns->lent_fd,
		.fd = -1,
		.own = ns->own,
	};
}

/* Opened for the question only: there may be thousands of namespaces. */
static int ask_id(struct peer_ns *ns, const struct peer_ns *other)
{
	int AUTO_CLOSE opened = -1;
	int id = -1, fd = other->fd >= 0 ? other->fd : other->lent_fd;

	if (fd < 0 && other->ref) {
		struct error *err = netns_open_ref(other->ref, &opened);
		ns->ids_limited |= err && error_code(err) == ERROR_OS;
		error_free(err);
		fd = opened;
	}
	if (fd < 0 || rtnet_netns_id(ns->rt, fd, &id))
		return -1;
	return id;
}

static int *load_ids(struct peer *peer, struct peer_ns *ns)
{
	int *ids = calloc(peer->n_ns, sizeof(*ids));

	for (size_t i = 0; ids && i < peer->n_ns; i++)
		ids[i] = &peer->ns[i] == ns ? -1 : ask_id(ns, &peer->ns[i]);
	return ids;
}

struct peer_ns *peer_ns_by_id(struct peer *peer, struct peer_ns *ns, int id)
{
	if (!ns->ids)
		ns->ids = load_ids(peer, ns);
	peer->limited |= !ns->ids || ns->ids_limited;
	for (size_t i = 0; ns->ids && i < peer->n_ns; i++)
		if (ns->ids[i] == id)
			return &peer->ns[i];
	return NULL;
}

static struct peer_ns *find_ns(struct peer *peer, uint64_t inode)
{
	for (size_t i = 0; i < peer->n_ns; i++)
		if (peer->ns[i].inode == inode)
			return &peer->ns[i];
	return NULL;
}

static void name_ns(struct peer *peer, struct peer_ns *ns)
{
	if (ns->ref && ns->ref->name)
		ns->name = peer_text(peer, "%s", ns->ref->name);
	else
		ns->name = peer_text(peer, "namespace %llu",
				     (unsigned long long)ns->inode);
}

static bool begin(struct peer *peer, struct arena *arena)
{
	peer->arena = arena;
	peer->nomem = false;
	peer->routes = calloc(PEER_ROUTE_CACHE, sizeof(*peer->routes));
	peer->devices = calloc(PEER_DEVICE_CACHE, sizeof(*peer->devices));
	for (size_t i = 0; i < peer->n_ns; i++)
		name_ns(peer, &peer->ns[i]);
	return peer->routes && peer->devices;
}

static void end(struct peer *peer)
{
	for (size_t i = 0; i < peer->n_ns; i++)
		close_ns(&peer->ns[i]);
	free(peer->routes);
	free(peer->devices);
	peer->routes = NULL;
	peer->devices = NULL;
	peer->arena = NULL;
}

/* --- sockets --- */

static int look_up(struct peer_ns *ns, const struct endpoint *local,
		   const struct endpoint *remote, uint32_t ifindex,
		   struct tcp_socket *ret)
{
	struct error *err =
		sockdiag_lookup(ns->diag, local, remote, ifindex, 0, ret);
	if (error_catch(&err, ERROR_GONE))
		return 0;
	if (err) {
		error_free(err);
		return -1;
	}
	// The kernel falls back to a listener that would take the packet.
	return ret->first.state != TCP_STATE_LISTEN;
}

static struct endpoint map_v4(const struct endpoint *e)
{
	struct endpoint ret = { .family = AF_INET6, .port = e->port };

	ret.addr[10] = ret.addr[11] = 0xff;
	memcpy(ret.addr + 12, e->addr, 4);
	return ret;
}

/* A socket bound to a device is found only by naming that device. */
static int look_up_bound(struct peer_ns *ns, const struct nat_tuple *t,
			 struct tcp_socket *ret)
{
	const struct rtnet_link *v;
	size_t n;
	int r = 0;

	if (rtnet_links(ns->rt, &v, &n) || n > MAX_BOUND)
		return -1;
	for (size_t i = 0; !r && i < n; i++)
		r = look_up(ns, &t->dst, &t->src, (uint32_t)v[i].ifindex, ret);
	return r;
}

int peer_find_socket(struct peer *peer, struct peer_ns *ns,
		     const struct nat_tuple *tuple, bool thorough,
		     struct tcp_socket *ret)
{
	(void)peer;
	int r = look_up(ns, &tuple->dst, &tuple->src, 0, ret);
	if (r || !thorough)
		return r;
	if (tuple->dst.family == AF_INET) {
		struct endpoint dst = map_v4(&tuple->dst);
		struct endpoint src = map_v4(&tuple->src);
		r = look_up(ns, &dst, &src, 0, ret);
	}
	return r ? r : look_up_bound(ns, tuple, ret);
}

/* --- answers --- */

/* "r1, r2 (NAT: 10.0.0.2:4000 -> 192.0.2.1:80)", or NULL when direct. */
static const char *describe_way(struct trace *tr)
{
	char buf[400] = "";
	size_t len = 0;

	for (size_t i = 0; i < tr->n_hops && len < sizeof(buf); i++) {
		const struct hop *h = &tr->hops[i];
		const struct nat_tuple *out =
			i + 1 < tr->n_hops ? &tr->hops[i + 1].in : &tr->tuple;
		bool inner = i > 0 && i + 1 < tr->n_hops;
		char src[ENDPOINT_TEXT_MAX], dst[ENDPOINT_TEXT_MAX];
		if (!inner && h->entry != HOP_NAT)
			continue;
		int n = snprintf(buf + len, sizeof(buf) - len, "%s%s",
				 len ? ", " : "", h->ns->name);
		len += n > 0 ? (size_t)n : 0;
		if (h->entry != HOP_NAT || len >= sizeof(buf))
			continue;
		endpoint_format(&out->src, src);
		endpoint_format(&out->dst, dst);
		n = snprintf(buf + len, sizeof(buf) - len, " (NAT: %s -> %s)",
			     src, dst);
		len += n > 0 ? (size_t)n : 0;
	}
	return len ? peer_text(tr->peer, "%s", buf) : NULL;
}

static void answer(struct trace *tr, struct peer_facts *f)
{
	struct tcp_socket s;
	int r = peer_find_socket(tr->peer, tr->ns, &tr->tuple, true, &s);

	f->netns = tr->ns->inode;
	f->netns_name = tr->ns->name;
	f->via = describe_way(tr);
	if (r < 0) {
		f->lookup = PEER_AMBIGUOUS;
		f->why = peer_text(tr->peer, "the sockets of %s cannot be read",
				   tr->ns->name);
	} else if (r) {
		f->lookup = PEER_FOUND;
		f->peer_state = s.first.state;
		f->peer_timer = (uint8_t)s.first.timer;
		f->peer_retrans = s.first.retrans;
	} else {
		f->why = trace_doubt(tr);
		f->lookup = f->why ? PEER_AMBIGUOUS : PEER_ABSENT;
	}
}

/* More would be slow, and a hint is only a hint. */
#define HINT_NAMESPACES 64

static bool owns(struct peer *peer, struct peer_ns *ns,
		 const struct endpoint *addr)
{
	return peer_ns_open(peer, ns) && rtnet_has_address(ns->rt, addr) == 1;
}

/*
 * The way is not clear, but one namespace alone has the address: worth telling
 * a person, never a proof.
 */
static void add_hint(struct trace *tr, const struct nat_tuple *tuple,
		     struct peer_facts *f)
{
	struct peer *peer = tr->peer;
	struct peer_ns *owner = NULL;
	struct tcp_socket s;

	if (peer->n_ns > HINT_NAMESPACES || endpoint_is_loopback(&tuple->dst))
		return;
	for (size_t i = 0; i < peer->n_ns; i++) {
		if (!owns(peer, &peer->ns[i], &tuple->dst))
			continue;
		if (owner)
			return;
		owner = &peer->ns[i];
	}
	if (!owner)
		return;
	int r = peer_find_socket(peer, owner, tuple, true, &s);
	if (r >= 0)
		f->why = peer_text(peer,
				   "%s (a hint, no proof: only %s has the "
				   "address, and it has %s connection)",
				   f->why, owner->name,
				   r ? "such a" : "no such");
}

static bool matters(enum tcp_state state)
{
	switch (state) {
	case TCP_STATE_ESTABLISHED:
	case TCP_STATE_FIN_WAIT1:
	case TCP_STATE_FIN_WAIT2:
	case TCP_STATE_CLOSE_WAIT:
	case TCP_STATE_LAST_ACK:
	case TCP_STATE_CLOSING:
		return true;
	case TCP_STATE_UNKNOWN:
	case TCP_STATE_SYN_SENT:
	case TCP_STATE_SYN_RECV:
	case TCP_STATE_TIME_WAIT:
	case TCP_STATE_CLOSE:
	case TCP_STATE_LISTEN:
	case TCP_STATE_NEW_SYN_RECV:
		break;
	}
	return false;
}

static void look(struct peer *peer, const struct tcp_socket *s,
		 struct peer_facts *f)
{
	const struct tcp_sample *cur = tcp_socket_latest(s);
	struct trace tr = {
		.peer = peer,
		.ns = find_ns(peer, s->netns),
		.tuple.src = endpoint_unmap(&s->local),
		.tuple.dst = endpoint_unmap(&s->remote),
		.oif = s->ifindex,
	};

	*f = (struct peer_facts){ .lookup = PEER_NOT_LOOKED };
	peer->limited = false;
	if (!matters(cur->state) || s->second_state == TCP_VANISHED)
		return;
	if (!tr.ns) {
		f->why = "its network namespace is not among those seen";
	} else if (!peer_ns_open(peer, tr.ns)) {
		f->why = tr.ns->why;
	} else if (trace_run(&tr)) {
		answer(&tr, f);
	} else {
		struct nat_tuple tuple = { endpoint_unmap(&s->local),
					   endpoint_unmap(&s->remote) };
		f->lookup = tr.end;
		f->why = tr.why;
		f->via = describe_way(&tr);
		if (tr.end == PEER_AMBIGUOUS)
			add_hint(&tr, &tuple, f);
	}
	// What was proved in spite of it stays proved.
	f->limited = peer->limited && f->lookup != PEER_ABSENT &&
		     f->lookup != PEER_FOUND;
	f->times = 1;
	f->at_wall_ms = f->first_wall_ms = clock_wall_ms();
}

struct error *peer_examine(struct peer *peer, struct tcp_socket *const *s,
			   size_t n, struct arena *arena,
			   struct net_facts *facts)
{
	bool ok = begin(peer, arena);

	for (size_t i = 0; ok && i < n; i++)
		look(peer, s[i], &facts[i].peer);
	ok = ok && !peer->nomem;
	end(peer);
	return ok ? NULL : &error_nomem;
}

static bool wants_recheck(const struct tcp_socket *s,
			  const struct peer_facts *f)
{
	if (s->second_state == TCP_VANISHED)
		return false;
	return f->lookup == PEER_ABSENT ||
	       (f->lookup == PEER_FOUND &&
		f->peer_state != TCP_STATE_ESTABLISHED);
}

static bool same_answer(const struct peer_facts *a, const struct peer_facts *b)
{
	return a->lookup == b->lookup && a->netns == b->netns &&
	       (a->lookup != PEER_FOUND || a->peer_state == b->peer_state);
}

struct error *peer_recheck(struct peer *peer, struct tcp_socket *const *s,
			   size_t n, struct arena *arena,
			   struct net_facts *facts)
{
	bool ok = begin(peer, arena);

	for (size_t i = 0; ok && i < n; i++) {
		struct peer_facts *f = &facts[i].peer, again;
		if (!wants_recheck(s[i], f))
			continue;
		look(peer, s[i], &again);
		if (same_answer(f, &again)) {
			again.times = f->times + 1;
			again.first_wall_ms = f->first_wall_ms;
		}
		*f = again;
	}
	ok = ok && !peer->nomem;
	end(peer);
	return ok ? NULL : &error_nomem;
}

static struct error *make_list(struct peer *peer, const struct path_netns *lent,
			       size_t n_lent)
{
	uint64_t own = netns_own();

	peer->ns = calloc(peer->list.n + n_lent + 1, sizeof(*peer->ns));
	if (!peer->ns)
		return &error_nomem;
	for (size_t i = 0; i < peer->list.n; i++)
		peer->ns[peer->n_ns++] = (struct peer_ns){
			.inode = peer->list.v[i].inode,
			.ref = &peer->list.v[i],
			.lent_fd = -1,
		};
	for (size_t i = 0; i < n_lent; i++) {
		struct peer_ns *ns = find_ns(peer, lent[i].inode);
		if (!ns) {
			ns = &peer->ns[peer->n_ns++];
			*ns = (struct peer_ns){ .inode = lent[i].inode };
		}
		ns->lent_fd = lent[i].fd;
	}
	for (size_t i = 0; i < peer->n_ns; i++) {
		peer->ns[i].fd = -1;
		peer->ns[i].own = own && peer->ns[i].inode == own;
	}
	return NULL;
}

struct error *peer_open(const struct path_netns *ns, size_t n_ns,
			struct gaps *gaps, struct peer **ret)
{
	struct gaps unheard = { 0 };
	struct peer *peer = calloc(1, sizeof(*peer));
	if (!peer)
		return &error_nomem;
	struct error *err = NULL;
	peer->names = unheard.arena = arena_create();
	if (!peer->names)
		err = &error_nomem;
	if (!err)
		err = netns_enumerate(peer->names, &peer->list,
				      gaps ? gaps : &unheard);
	if (!err)
		err = make_list(peer, ns, n_ns);
	if (err) {
		peer_close(peer);
		return err;
	}
	*ret = peer;
	return NULL;
}

void peer_close(struct peer *peer)
{
	if (!peer)
		return;
	arena_destroy(peer->names);
	free(peer->ns);
	free(peer);
}
