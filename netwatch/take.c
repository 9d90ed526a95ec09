/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The first sample. One dump of the process' namespace finds nearly all; what
 * is left is asked one by one what it is and where it lives.
 */
#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "netwatch/netns.h"
#include "netwatch/netwatch_priv.h"
#include "netwatch/options.h"

/* One picture being taken. */
struct taking {
	struct netwatch *nw;
	struct socket_fd *fds;
	size_t n_fds;
	struct tcp_snapshot *snap;
	struct space own; // a copy: .diag is NULL when it cannot be asked
	size_t dumped;	  // sockets that the dump gave, in order
	uint64_t denied, gone, elsewhere, unlisted;
};

static enum gap_kind gap_kind_of(const struct error *err)
{
	switch (error_code(err)) {
	case ERROR_DENIED:
		return GAP_DENIED;
	case ERROR_GONE:
		return GAP_GONE;
	case ERROR_CORRUPT:
		return GAP_CORRUPT;
	case ERROR_INCONSISTENT:
		return GAP_INCONSISTENT;
	case ERROR_NOMEM:
	case ERROR_OS:
	case ERROR_FAULT:
	case ERROR_UNSUPPORTED:
	case ERROR_ABSENT:
	case ERROR_USAGE:
		break;
	}
	return GAP_UNSUPPORTED;
}

/* Turn @err into a gap, but for what ends everything. */
static struct error *tolerate(struct tcp_snapshot *snap, struct error *err)
{
	if (!err || error_code(err) == ERROR_NOMEM)
		return err;
	gaps_add(&snap->gaps, gap_kind_of(err), 1, "%s", error_text(err));
	error_free(err);
	return NULL;
}

/* Ascending inodes of @t's sockets, each once. */
static uint64_t *distinct_inodes(const struct taking *t, size_t *n_ret)
{
	uint64_t *v = calloc(t->n_fds + 1, sizeof(*v));
	size_t n = 0;

	for (size_t i = 0; v && i < t->n_fds; i++) {
		if (n == 0 || v[n - 1] != t->fds[i].inode)
			v[n++] = t->fds[i].inode;
	}
	*n_ret = n;
	return v;
}

static struct error *dump_own_space(struct taking *t)
{
	struct sockdiag_filter filter = { 0 };
	struct space *space;
	int fd;
	struct error *err = netns_open_process(t->nw->p, &fd);

	if (!err)
		err = netwatch_get_space(t->nw, fd, &space);
	if (err)
		return err;
	t->own = *space;
	AUTO_FREE uint64_t *inodes = distinct_inodes(t, &filter.n_inodes);
	if (!inodes)
		return &error_nomem;
	filter.inodes = inodes;
	return sockdiag_dump_into(space->diag, &filter, t->snap);
}

/*
 * A socket in no table: the message that the kernel would send if it was, so
 * that it takes the same way through parser and recording.
 */
static struct error *add_unlisted(struct taking *t,
				  const struct socket_probe *probe)
{
	struct {
		struct inet_diag_msg msg;
		struct nlattr attr;
		uint8_t info[SOCKET_TCP_INFO_MAX];
	} raw = {
		.msg = {
			.idiag_family = probe->local.family,
			.idiag_state = TCP_STATE_CLOSE,
			.id.idiag_sport = htons(probe->local.port),
			.id.idiag_cookie = { (uint32_t)probe->cookie,
					     probe->cookie >> 32 },
			.idiag_inode = probe->inode,
		},
		.attr = { sizeof(raw.attr) + probe->info_len, INET_DIAG_INFO },
	};
	struct net_record_head head = { NET_RECORD_DUMP, probe->netns,
					clock_mono_ns(), clock_wall_ms() };
	size_t len = sizeof(raw.msg) + raw.attr.nla_len;
	struct tcp_socket *s = tcp_snapshot_add(t->snap);

	if (!s)
		return &error_nomem;
	memcpy(raw.msg.id.idiag_src, probe->local.addr, 16);
	memcpy(raw.info, probe->info, probe->info_len);
	if (sockdiag_parse(&raw, len, s) < 0) {
		t->snap->n--;
		t->unlisted++;
		return NULL;
	}
	s->netns = probe->netns;
	s->first.at_mono_ns = head.mono_ns;
	s->first.at_wall_ms = head.wall_ms;
	if (t->nw->record)
		net_record_put(t->nw->record, &head, &raw, len);
	return NULL;
}

/* Several listeners share the port, and the lookup gave another one. */
static struct error *find_listener(struct taking *t, struct sockdiag *diag,
				   const struct socket_probe *probe)
{
	struct sockdiag_filter filter = {
		.inodes = &probe->inode,
		.n_inodes = 1,
		.states = 1u << TCP_STATE_LISTEN,
	};
	size_t before = t->snap->n;
	// sorting would mix what was dumped with what is being added
	AUTO_SOCKETS struct tcp_snapshot *found = NULL;
	struct error *err = sockdiag_dump(diag, &filter, &found);

	if (err)
		return err;
	for (size_t i = 0; i < found->n; i++) {
		struct tcp_socket *s = tcp_snapshot_add(t->snap);

		if (!s)
			return &error_nomem;
		*s = found->v[i];
	}
	if (t->snap->n == before)
		t->gone++;
	return NULL;
}

static struct error *find_in(struct taking *t, struct sockdiag *diag,
			     const struct socket_probe *probe)
{
	bool listens = probe->state == TCP_STATE_LISTEN;
	struct tcp_socket found;
	// the subflows of an MPTCP socket have cookies of their own
	uint64_t cookie = probe->is_mptcp ? 0 : probe->cookie;
	struct error *err = sockdiag_lookup(diag, &probe->local,
					    listens ? NULL : &probe->remote,
					    probe->local.scope, cookie, &found);

	if (error_catch(&err, ERROR_GONE)) {
		if (listens)
			return find_listener(t, diag, probe);
		t->gone++;
		return NULL;
	}
	if (err)
		return err;
	struct tcp_socket *s = tcp_snapshot_add(t->snap);
	if (!s)
		return &error_nomem;
	*s = found;
	return NULL;
}

/* The socket is TCP and has an entry in some table: ask there. Takes the fd. */
static struct error *look_up(struct taking *t, struct socket_probe *probe)
{
	struct sockdiag *diag = t->own.diag;
	struct space *space;

	if (probe->netns_fd >= 0) {
		struct error *err = netwatch_get_space(
			t->nw, TAKE_FD(probe->netns_fd), &space);
		if (err && error_code(err) == ERROR_DENIED) {
			t->elsewhere++;
			error_free(err);
			return NULL;
		}
		if (err)
			return err;
		diag = space->diag;
	}
	if (!diag) {
		t->elsewhere++;
		return NULL;
	}
	uint64_t gone = t->gone;
	struct error *err = find_in(t, diag, probe);
	// which namespace it is in is not known: it may well be there
	if (!err && t->gone > gone && probe->netns == 0) {
		t->gone = gone;
		t->elsewhere++;
	}
	return err;
}

static bool is_still(const struct process *p, const struct socket_fd *fd)
{
	struct process_fd now;
	char text[64];
	AUTO_ERROR struct error *err =
		process_fd_link(p, fd->fd, &now, text, sizeof(text));

	return !err && now.kind == PROCESS_FD_SOCKET && now.inode == fd->inode;
}

/* @fd is not in the dump: not TCP, not connected, elsewhere, or new. */
static struct error *resolve(struct taking *t, const struct socket_fd *fd)
{
	struct socket_probe probe;
	enum socket_kind kind = socket_kind_by_name(t->nw->p, fd->fd);

	if (kind == SOCKET_NOT_TCP) {
		if (!is_still(t->nw->p, fd))
			t->gone++;
		return NULL;
	}
	int rc = socket_probe(t->nw->p, fd->fd, &probe);
	if (rc == -EBADF || rc == -ESRCH) {
		t->gone++;
		return NULL;
	}
	if (rc < 0) {
		t->denied++;
		return NULL;
	}
	struct error *err = NULL;
	if (probe.inode != fd->inode)
		t->gone++; // closed, and the number used again
	else if (probe.kind == SOCKET_UNKNOWN)
		t->denied++;
	else if (probe.kind == SOCKET_NOT_TCP)
		return NULL;
	else if (probe.state == TCP_STATE_CLOSE)
		err = add_unlisted(t, &probe);
	else
		err = look_up(t, &probe);
	if (probe.netns_fd >= 0)
		close(probe.netns_fd);
	return err;
}

static struct error *resolve_rest(struct taking *t)
{
	struct tcp_snapshot dumped = { .v = NULL, .n = t->dumped };

	for (size_t i = 0; i < t->n_fds; i++) {
		if (i > 0 && t->fds[i].inode == t->fds[i - 1].inode)
			continue;
		dumped.v = t->snap->v; // it moves while sockets are added
		if (tcp_snapshot_find(&dumped, t->fds[i].inode))
			continue;
		struct error *err = tolerate(t->snap, resolve(t, &t->fds[i]));
		if (err)
			return err;
	}
	return tcp_snapshot_sort(t->snap);
}

static void count_unresolved(struct taking *t)
{
	struct gaps *gaps = &t->snap->gaps;

	if (t->denied)
		gaps_add(gaps, GAP_DENIED, t->denied,
			 "sockets that are not in the table of the process' "
			 "network namespace and may not be asked themselves; "
			 "run as root or grant CAP_SYS_PTRACE");
	if (t->elsewhere)
		gaps_add(gaps, GAP_DENIED, t->elsewhere,
			 "TCP sockets in a network namespace that may not be "
			 "entered; run as root or grant CAP_SYS_ADMIN and "
			 "CAP_NET_ADMIN");
	if (t->gone)
		gaps_add(gaps, GAP_GONE, t->gone,
			 "sockets that were closed while they were looked at");
	if (t->unlisted)
		gaps_add(gaps, GAP_UNSUPPORTED, t->unlisted,
			 "unconnected sockets that could not be understood");
}

static struct error *take(struct taking *t)
{
	struct error *err = dump_own_space(t);

	if (err && error_code(err) == ERROR_GONE)
		return err;
	err = tolerate(t->snap, err);
	if (err)
		return err;
	t->dumped = t->snap->n;
	err = resolve_rest(t);
	if (err)
		return err;
	count_unresolved(t);
	if (t->nw->record)
		net_record_meta(t->nw->record, t->snap);
	return NULL;
}

struct error *netwatch_take_live(struct netwatch *nw,
				 const struct process_fds *fds,
				 struct tcp_snapshot *snap)
{
	struct taking t = { .nw = nw, .snap = snap };
	AUTO_FREE struct socket_fd *sockets =
		netwatch_list_sockets(fds, &t.n_fds);

	if (!sockets)
		return &error_nomem;
	t.fds = sockets;
	return take(&t);
}
