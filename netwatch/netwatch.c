/* SPDX-License-Identifier: Apache-2.0 */
#include "netwatch/netwatch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "netwatch/netns.h"
#include "netwatch/netwatch_priv.h"
#include "netwatch/options.h"

struct error *netwatch_open(const struct process *p,
			    const struct netwatch_options *opt,
			    struct netwatch **ret)
{
	struct netwatch *nw = calloc(1, sizeof(*nw));
	struct error *err = NULL;

	if (!nw)
		return &error_nomem;
	nw->p = p;
	if (opt && opt->replay_from)
		err = net_replay_open(opt->replay_from, &nw->replay);
	else if (!p)
		err = error_new(ERROR_USAGE, "no process to look at");
	if (!err && opt && opt->record_to)
		err = net_record_create(opt->record_to, &nw->record);
	if (err) {
		netwatch_close(nw);
		return err;
	}
	*ret = nw;
	return NULL;
}

struct error *netwatch_finish(struct netwatch *nw)
{
	// the handles must not write into it any more
	for (size_t i = 0; i < nw->n_spaces; i++) {
		sockdiag_close(nw->spaces[i].diag);
		nw->spaces[i].diag = NULL;
	}
	return net_record_finish(TAKE(nw->record));
}

static void drop_peer(struct netwatch *nw)
{
	peer_close(nw->peer);
	nw->peer = NULL;
	free(nw->open_ns);
	nw->open_ns = NULL;
}

void netwatch_close(struct netwatch *nw)
{
	if (!nw)
		return;
	drop_peer(nw);
	AUTO_ERROR struct error *err = netwatch_finish(nw);
	if (err)
		log_debug("net", "%s", error_text(err));
	for (size_t i = 0; i < nw->n_spaces; i++)
		close(nw->spaces[i].fd);
	free(nw->spaces);
	net_replay_close(nw->replay);
	free(nw);
}

struct space *netwatch_find_space(struct netwatch *nw, uint64_t inode)
{
	for (size_t i = 0; i < nw->n_spaces; i++) {
		if (nw->spaces[i].inode == inode)
			return &nw->spaces[i];
	}
	return NULL;
}

int netwatch_netns_fd(struct netwatch *nw, uint64_t inode)
{
	const struct space *space = netwatch_find_space(nw, inode);

	return space ? space->fd : -1;
}

static struct error *add_space(struct netwatch *nw, int fd, struct space **ret)
{
	if (nw->n_spaces == nw->cap_spaces) {
		size_t cap = nw->cap_spaces ? nw->cap_spaces * 2 : 4;
		void *v = reallocarray(nw->spaces, cap, sizeof(*nw->spaces));

		if (!v) {
			close(fd);
			return &error_nomem;
		}
		nw->spaces = v;
		nw->cap_spaces = cap;
	}
	struct space *space = &nw->spaces[nw->n_spaces++];
	*space = (struct space){ .inode = netns_inode(fd), .fd = fd };
	*ret = space;
	return NULL;
}

struct error *netwatch_get_space(struct netwatch *nw, int fd,
				 struct space **ret)
{
	struct space *space = netwatch_find_space(nw, netns_inode(fd));
	struct error *err = NULL;

	if (space)
		close(fd);
	else
		err = add_space(nw, fd, &space);
	if (!err && !space->diag)
		err = sockdiag_open(space->fd, nw->record, &space->diag);
	if (!err)
		*ret = space;
	return err;
}

static int compare_socket_fds(const void *a, const void *b)
{
	const struct socket_fd *x = a, *y = b;

	if (x->inode != y->inode)
		return x->inode < y->inode ? -1 : 1;
	return x->fd < y->fd ? -1 : x->fd > y->fd;
}

struct socket_fd *netwatch_list_sockets(const struct process_fds *fds,
					size_t *n_ret)
{
	struct socket_fd *v = calloc(fds->n + 1, sizeof(*v));
	size_t n = 0;

	if (!v)
		return NULL;
	for (size_t i = 0; i < fds->n; i++) {
		if (fds->v[i].kind == PROCESS_FD_SOCKET && fds->v[i].inode)
			v[n++] = (struct socket_fd){ fds->v[i].inode,
						     fds->v[i].fd };
	}
	qsort(v, n, sizeof(*v), compare_socket_fds);
	*n_ret = n;
	return v;
}

struct error *netwatch_take(struct netwatch *nw, const struct process_fds *fds,
			    struct tcp_snapshot **ret)
{
	if (nw->replay)
		return net_replay_snapshot(nw->replay, ret);
	AUTO_SOCKETS struct tcp_snapshot *snap = tcp_snapshot_create();
	if (!snap)
		return &error_nomem;
	struct error *err = netwatch_take_live(nw, fds, snap);
	if (!err)
		*ret = TAKE(snap);
	return err;
}

static void examine_options(struct netwatch *nw, const struct socket_fd *fds,
			    size_t n_fds, struct tcp_socket *s)
{
	size_t lo = 0, hi = n_fds;

	s->options = (struct tcp_options){ .error = EBADF };
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (fds[mid].inode < s->inode)
			lo = mid + 1;
		else
			hi = mid;
	}
	// one of several fds may have been closed, or be another's by now
	for (; lo < n_fds && fds[lo].inode == s->inode; lo++) {
		int rc = tcp_options_read(nw->p, fds[lo].fd, s, &s->options);

		if (rc != -EBADF && rc != -ESTALE)
			return;
	}
}

static struct error *list_spaces(struct netwatch *nw)
{
	struct path_netns *v = calloc(nw->n_spaces + 1, sizeof(*v));

	if (!v)
		return &error_nomem;
	for (size_t i = 0; i < nw->n_spaces; i++)
		v[i] = (struct path_netns){ nw->spaces[i].inode,
					    nw->spaces[i].fd };
	nw->open_ns = v;
	return NULL;
}

static void no_peer(struct netwatch *nw, struct error *err, size_t n,
		    struct arena *arena, struct net_facts *facts)
{
	const char *why = arena_strdup(arena, error_text(err));
	/* Without /proc to list, or descriptors, nobody has been looked for. */
	bool limited = error_code(err) == ERROR_OS;

	for (size_t i = 0; i < n; i++)
		facts[i].peer =
			(struct peer_facts){ .why = why, .limited = limited };
	error_free(err);
	drop_peer(nw);
}

static struct error *examine_facts(struct netwatch *nw, struct tcp_socket **s,
				   size_t n, struct arena *arena,
				   struct net_facts *facts)
{
	drop_peer(nw);
	struct error *err = list_spaces(nw);
	if (!err)
		err = path_examine(nw->open_ns, nw->n_spaces, s, n, arena,
				   facts);
	if (err)
		return err;
	err = peer_open(nw->open_ns, nw->n_spaces, NULL, &nw->peer);
	if (!err)
		return peer_examine(nw->peer, s, n, arena, facts);
	if (error_code(err) == ERROR_NOMEM)
		return err;
	no_peer(nw, err, n, arena, facts);
	return NULL;
}

static struct error *replay_facts(struct netwatch *nw, struct tcp_socket **s,
				  size_t n, struct arena *arena,
				  struct net_facts *facts)
{
	struct error *err = NULL;

	for (size_t i = 0; !err && i < n; i++)
		err = net_replay_facts(nw->replay, s[i], arena, &facts[i]);
	return err;
}

static void record_facts(struct netwatch *nw, struct tcp_socket **s, size_t n,
			 const struct net_facts *facts)
{
	for (size_t i = 0; nw->record && i < n; i++)
		net_record_facts(nw->record, s[i], &facts[i]);
}

struct error *netwatch_examine(struct netwatch *nw,
			       const struct process_fds *fds,
			       struct tcp_socket **s, size_t n,
			       struct arena *arena, struct net_facts *facts)
{
	size_t n_fds;

	memset(facts, 0, n * sizeof(*facts));
	if (nw->replay)
		return replay_facts(nw, s, n, arena, facts);
	AUTO_FREE struct socket_fd *sockets =
		netwatch_list_sockets(fds, &n_fds);
	if (!sockets)
		return &error_nomem;
	for (size_t i = 0; i < n; i++)
		examine_options(nw, sockets, n_fds, s[i]);
	struct error *err = examine_facts(nw, s, n, arena, facts);
	if (!err)
		record_facts(nw, s, n, facts);
	return err;
}

static struct error *resample_one(struct netwatch *nw, struct tcp_socket *s)
{
	struct space *space = netwatch_find_space(nw, s->netns);
	struct error *err = NULL;

	// in no table, so there is nothing to ask for
	s->second_state = s->first.state == TCP_STATE_CLOSE ? TCP_NOT_SAMPLED
							    : TCP_SAMPLE_FAILED;
	if (space && space->diag)
		err = sockdiag_resample(space->diag, s);
	if (!err || error_code(err) == ERROR_NOMEM)
		return err;
	log_debug("net", "second sample: %s", error_text(err));
	error_free(err);
	return NULL;
}

struct error *netwatch_resample(struct netwatch *nw, struct tcp_socket **s,
				size_t n)
{
	struct error *err = NULL;

	for (size_t i = 0; !err && i < n; i++) {
		if (nw->replay)
			net_replay_resample(nw->replay, s[i]);
		else
			err = resample_one(nw, s[i]);
	}
	return err;
}

struct error *netwatch_recheck(struct netwatch *nw, struct tcp_socket **s,
			       size_t n, struct arena *arena,
			       struct net_facts *facts)
{
	if (nw->replay || !nw->peer)
		return NULL; // a recording has the facts of the second look
	struct error *err = peer_recheck(nw->peer, s, n, arena, facts);
	if (!err)
		record_facts(nw, s, n, facts);
	return err;
}
