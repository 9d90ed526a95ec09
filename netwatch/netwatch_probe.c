/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "netwatch/netwatch_priv.h"
#include "netwatch/options.h"
#include "netwatch/probe.h"

/** netwatch_probe(): from sockets and namespaces to probe_run(), and back. */

struct probing {
	struct netwatch *nw;
	struct probe_target *targets;
	struct probe_facts **facts;
	struct sockdiag **diags; /* per space; without a recording */
	int *netns_fds;
};

static void probing_deinit(struct probing *p)
{
	for (size_t i = 0; p->diags && i < p->nw->n_spaces; i++)
		sockdiag_close(p->diags[i]);
	free(p->targets);
	free(p->facts);
	free(p->diags);
	free(p->netns_fds);
}
#define AUTO_PROBING __attribute__((cleanup(probing_deinit)))

/*
 * Handles of our own: what the others hear goes into the recording as a sample,
 * and these look many times.
 */
static struct error *open_spaces(struct probing *p)
{
	for (size_t i = 0; i < p->nw->n_spaces; i++) {
		p->netns_fds[i] = p->nw->spaces[i].fd;
		AUTO_ERROR struct error *err =
			sockdiag_open(p->netns_fds[i], NULL, &p->diags[i]);
		if (!err)
			continue;
		if (error_code(err) == ERROR_NOMEM)
			return TAKE(err);
		log_debug("net", "probe: %s", error_text(err));
	}
	return NULL;
}

/* An fd that is @s now; when none can be had, one that was. */
static int find_fd(const struct process *p, const struct tcp_socket *s,
		   const struct socket_fd *fds, size_t n)
{
	size_t lo = 0, hi = n;
	int found = -1;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (fds[mid].inode < s->inode)
			lo = mid + 1;
		else
			hi = mid;
	}
	for (; s->inode && lo < n && fds[lo].inode == s->inode; lo++) {
		const struct socket_ref ref = { .fd = fds[lo].fd,
						.inode = s->inode,
						.cookie = s->cookie };
		AUTO_CLOSE int dup = socket_ref_dup(p, &ref);

		found = fds[lo].fd;
		if (dup != -EBADF && dup != -ESTALE)
			break;
	}
	return found;
}

static struct error *aim(struct probing *p, const struct process_fds *fds,
			 struct tcp_socket **s, size_t n,
			 struct net_facts **facts)
{
	size_t n_fds;
	AUTO_FREE struct socket_fd *sockets =
		netwatch_list_sockets(fds, &n_fds);

	if (!sockets)
		return &error_nomem;
	for (size_t i = 0; i < n; i++) {
		struct space *space = netwatch_find_space(p->nw, s[i]->netns);
		size_t ns = space ? (size_t)(space - p->nw->spaces) : 0;

		p->facts[i] = &facts[i]->probe;
		p->targets[i] = (struct probe_target){
			.s = s[i],
			.fd = find_fd(p->nw->p, s[i], sockets, n_fds),
			.diag = space ? p->diags[ns] : NULL,
			.netns = ns,
		};
	}
	return NULL;
}

/* Does the next hop of those that stayed silent answer at all? */
static struct error *look_at_next_hops(struct probing *p, struct tcp_socket **s,
				       size_t n, struct arena *arena)
{
	AUTO_FREE struct tcp_socket **silent = calloc(n + 1, sizeof(*silent));
	AUTO_FREE size_t *index = calloc(n + 1, sizeof(*index));
	AUTO_FREE struct net_facts *now = calloc(n + 1, sizeof(*now));
	size_t k = 0;

	if (!silent || !index || !now)
		return &error_nomem;
	for (size_t i = 0; i < n; i++) {
		if (p->facts[i]->result != PROBE_SILENCE)
			continue;
		index[k] = i;
		silent[k++] = s[i];
	}
	if (!k || !p->nw->open_ns)
		return NULL;
	struct error *err = path_examine(p->nw->open_ns, p->nw->n_spaces,
					 silent, k, arena, now);
	for (size_t i = 0; i < k && !err; i++) {
		p->facts[index[i]]->next_hop_failed =
			now[i].path.neighbour_failed;
		p->facts[index[i]]->next_hop = now[i].path.next_hop;
	}
	return err;
}

static void record(const struct netwatch *nw, struct tcp_socket **s, size_t n,
		   struct net_facts **facts)
{
	for (size_t i = 0; nw->record && i < n; i++)
		net_record_facts(nw->record, s[i], facts[i]);
}

struct error *netwatch_probe(struct netwatch *nw, const struct process_fds *fds,
			     struct tcp_socket **s, size_t n,
			     const struct probe_options *opt,
			     struct arena *arena, struct net_facts **facts)
{
	if (nw->replay || !n)
		return NULL;
	AUTO_PROBING struct probing p = {
		.nw = nw,
		.targets = calloc(n, sizeof(*p.targets)),
		.facts = calloc(n, sizeof(*p.facts)),
		.diags = calloc(nw->n_spaces + 1, sizeof(*p.diags)),
		.netns_fds = calloc(nw->n_spaces + 1, sizeof(*p.netns_fds)),
	};
	if (!p.targets || !p.facts || !p.diags || !p.netns_fds)
		return &error_nomem;
	const struct probe_world world = { .p = nw->p,
					   .netns_fds = p.netns_fds,
					   .n_netns = nw->n_spaces };
	struct error *err = open_spaces(&p);
	if (!err)
		err = aim(&p, fds, s, n, facts);
	if (!err)
		err = probe_run(&world, p.targets, n, opt, p.facts);
	if (!err)
		err = look_at_next_hops(&p, s, n, arena);
	if (!err)
		record(nw, s, n, facts);
	return err;
}
