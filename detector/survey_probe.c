/* SPDX-License-Identifier: Apache-2.0 */
#include "detector/survey_probe.h"

#include "base/cleanup.h"

/* Of what nobody named: why it is no suspect, or NULL. */
static const char *no_suspect(const struct tcp_socket *s,
			      const struct verdict *v)
{
	switch (v->kind) {
	case VERDICT_SILENT:
	case VERDICT_UNKNOWN:
	case VERDICT_UNREACHABLE:
		return NULL;
	case VERDICT_HALF_CLOSED:
		return tcp_socket_latest(s)->state == TCP_STATE_FIN_WAIT2
			       ? NULL
			       : "half-closed is certain without a probe";
	case VERDICT_LOCAL_CAUSE:
	case VERDICT_ALIVE:
		return v->certain ? "the verdict is certain without a probe"
				  : NULL;
	case VERDICT_HALF_OPEN:
		return "the verdict is certain without a probe";
	case VERDICT_PEER_NOT_READING:
	case VERDICT_PATH_MTU:
	case VERDICT_DATA_WAITING:
	case VERDICT_LISTENING:
	case VERDICT_CONNECTING:
		return "a probe would not tell more";
	}
	return "a probe would not tell more";
}

static bool is_named(const struct survey *s, const struct survey_probing *how,
		     const struct tcp_socket *socket)
{
	if (how->fd >= 0) {
		const struct process_fd *fd =
			process_fds_find(&s->fds, how->fd);

		return fd && fd->kind == PROCESS_FD_SOCKET &&
		       fd->inode == socket->inode;
	}
	return endpoint_meant(&how->remote, &socket->remote);
}

static bool has_names(const struct survey_probing *how)
{
	return how->fd >= 0 || how->remote.family;
}

static const char *no_target(const struct survey *s,
			     const struct survey_probing *how,
			     const struct tcp_socket *socket,
			     const struct verdict *v, bool *named_ret)
{
	*named_ret = has_names(how) && is_named(s, how, socket);
	if (has_names(how) && !*named_ret)
		return "not asked for";
	if (!*named_ret)
		return no_suspect(socket, v);
	if (v->certain &&
	    (v->kind == VERDICT_HALF_OPEN || v->kind == VERDICT_LOCAL_CAUSE))
		return "the verdict is certain without a probe";
	return NULL;
}

struct error *survey_probe_check(const struct survey *s,
				 const struct survey_options *opt)
{
	int number = opt->probing.fd;

	if (!opt->probing.wanted || number < 0 || !s->sockets)
		return NULL;
	const struct process_fd *fd = process_fds_find(&s->fds, number);
	if (!fd)
		return error_new(ERROR_GONE,
				 "the process has no file descriptor %d; "
				 "'stranded sockets' lists what it has",
				 number);
	if (fd->kind != PROCESS_FD_SOCKET ||
	    !tcp_snapshot_find(s->sockets, fd->inode))
		return error_new(
			ERROR_UNSUPPORTED,
			"file descriptor %d is no TCP connection (%s); "
			"'stranded sockets' lists what it has",
			number, fd->text);
	return NULL;
}

/* What the user named is not among the connections. */
static struct error *nothing_named(const struct survey_probing *how)
{
	char remote[ENDPOINT_TEXT_MAX];

	if (how->fd >= 0)
		return error_new(
			ERROR_UNSUPPORTED,
			"file descriptor %d is a listener: there is no "
			"peer to ask",
			how->fd);
	endpoint_format_asked(&how->remote, remote);
	return error_new(ERROR_GONE,
			 "the process has no connection to %s; 'stranded "
			 "sockets' lists what it has",
			 remote);
}

struct aims {
	struct tcp_socket **sockets;
	struct net_facts **facts;
	size_t n;
	bool any_named;
};

static struct error *choose(struct survey *s, const struct survey_options *opt,
			    struct tcp_socket **v, struct net_facts *facts,
			    size_t n, struct aims *ret)
{
	size_t n_sockets = s->sockets->n;

	ret->sockets = arena_array(s->arena, n + 1, sizeof(*ret->sockets));
	ret->facts = arena_array(s->arena, n + 1, sizeof(*ret->facts));
	s->probes = arena_array(s->arena, n_sockets + 1, sizeof(*s->probes));
	if (!ret->sockets || !ret->facts || !s->probes)
		return &error_nomem;
	for (size_t i = 0; i < n_sockets; i++)
		s->probes[i].why = "it is a listener";
	for (size_t i = 0; i < n; i++) {
		size_t at = (size_t)(v[i] - s->sockets->v);
		struct survey_probe_of *probe = &s->probes[at];

		probe->before = s->verdicts[at];
		probe->facts = &facts[i].probe;
		probe->why = no_target(s, &opt->probing, v[i], &s->verdicts[at],
				       &probe->named);
		ret->any_named |= probe->named;
		if (probe->why)
			continue;
		ret->sockets[ret->n] = v[i];
		ret->facts[ret->n++] = &facts[i];
	}
	return NULL;
}

struct error *survey_probe(struct survey *s, const struct survey_options *opt,
			   struct tcp_socket **v, struct net_facts *facts,
			   size_t n)
{
	struct aims aims = { 0 };
	struct error *err = choose(s, opt, v, facts, n, &aims);

	if (err || s->gone)
		return err;
	if (has_names(&opt->probing) && !aims.any_named)
		return nothing_named(&opt->probing);
	return netwatch_probe(s->netwatch, &s->fds, aims.sockets, aims.n,
			      &opt->probing.options, s->arena, aims.facts);
}
