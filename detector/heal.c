/* SPDX-License-Identifier: Apache-2.0 */
#include "detector/heal.h"

#include <stdlib.h>
#include <string.h>

#include "detector/correlate.h"
#include "detector/waiters.h"

static enum heal_leave leave(enum heal_leave answer, const char *why,
			     const char **why_ret)
{
	*why_ret = why;
	return answer;
}

/* What keepalive can be armed on. */
static enum heal_leave arm_allowed(const struct verdict *v, const char **why)
{
	if (v->kind == VERDICT_CONNECTING)
		return leave(HEAL_IMPOSSIBLE,
			     "its handshake is not finished, and keepalive "
			     "begins after that",
			     why);
	return leave(HEAL_ALLOWED, "keepalive ends nothing that is alive", why);
}

enum heal_leave heal_allowed(const struct verdict *v,
			     const struct tcp_socket *s,
			     const struct probe_facts *probed,
			     enum heal_how how, const char **why)
{
	if (v->kind == VERDICT_LISTENING || s->first.state == TCP_STATE_LISTEN)
		return leave(HEAL_IMPOSSIBLE,
			     "it is a listener, which has no peer", why);
	if (s->first.state == TCP_STATE_CLOSE)
		return leave(HEAL_IMPOSSIBLE, "it is not connected", why);
	if (how == HEAL_ARM)
		return arm_allowed(v, why);
	switch (v->kind) {
	case VERDICT_HALF_OPEN:
	case VERDICT_LOCAL_CAUSE:
	case VERDICT_UNREACHABLE:
		if (v->certain)
			return leave(HEAL_ALLOWED, "it is proven dead", why);
		if (v->kind == VERDICT_UNREACHABLE && probed &&
		    verdict_probe_failed(probed))
			return leave(HEAL_ALLOWED,
				     "it was probed, and nothing answered",
				     why);
		return leave(HEAL_UNPROVEN,
			     "what is sent goes unanswered, which may be an "
			     "outage that passes; --probe asks the peer",
			     why);
	case VERDICT_ALIVE:
		return leave(HEAL_ALIVE, "its peer is alive", why);
	case VERDICT_PEER_NOT_READING:
		return leave(HEAL_ALIVE, "its peer is alive, and does not read",
			     why);
	case VERDICT_PATH_MTU:
		return leave(HEAL_ALIVE,
			     "its peer is alive: small packets pass", why);
	case VERDICT_DATA_WAITING:
		return leave(HEAL_ALIVE,
			     "its data is here: who reads is not stuck on the "
			     "network",
			     why);
	case VERDICT_HALF_CLOSED:
		return leave(HEAL_UNPROVEN,
			     "one side has said goodbye, and the other may "
			     "still answer",
			     why);
	case VERDICT_SILENT:
		return leave(HEAL_UNPROVEN,
			     "it is silent: nothing tells alive from dead; "
			     "--probe asks the peer",
			     why);
	case VERDICT_CONNECTING:
		return leave(HEAL_UNPROVEN,
			     "its handshake is not finished; the kernel gives "
			     "up by itself",
			     why);
	case VERDICT_UNKNOWN:
	case VERDICT_LISTENING:
		break;
	}
	return leave(HEAL_UNPROVEN, "it could not be judged", why);
}

/* While the plan is made. */
struct planning {
	struct heal *heal;
	struct survey *survey;
	struct waiters *waiters;
	size_t *item_of; /* per socket: its item plus 1, or 0 */
};

static void add_item(struct planning *p, const struct tcp_socket *s,
		     const struct verdict *v, int fd)
{
	size_t i = (size_t)(s - p->survey->sockets->v);
	struct heal *h = p->heal;

	if (p->item_of[i])
		return;
	struct heal_item *item = &h->v[h->n++];
	item->socket = s;
	item->verdict = v;
	item->fd = fd >= 0 ? fd : waiters_fd(p->waiters, i);
	item->leave = heal_allowed(
		v, s, p->survey->probes ? p->survey->probes[i].facts : NULL,
		h->how, &item->leave_why);
	p->item_of[i] = h->n;
}

/* For who waits to write there, unread data is no excuse. */
static const struct verdict *verdict_of(const struct survey *s, size_t i)
{
	return s->writer_verdicts && s->writer_verdicts[i]
		       ? s->writer_verdicts[i]
		       : &s->verdicts[i];
}

static struct error *pick_fd(struct planning *p, int fd)
{
	const struct survey *s = p->survey;
	const struct process_fd *f = process_fds_find(&s->fds, fd);

	if (!f)
		return error_new(ERROR_GONE,
				 "fd %d is not open in process %d; stranded "
				 "sockets lists its connections",
				 fd, (int)s->process->pid);
	const struct tcp_socket *socket =
		f->kind == PROCESS_FD_SOCKET && f->inode
			? tcp_snapshot_find(s->sockets, f->inode)
			: NULL;
	if (!socket)
		return error_new(
			ERROR_UNSUPPORTED,
			"fd %d (%s) is no TCP connection, or none that "
			"could be seen; nothing was done",
			fd, f->text);
	add_item(p, socket, verdict_of(s, (size_t)(socket - s->sockets->v)),
		 fd);
	return NULL;
}

static struct error *pick_remote(struct planning *p,
				 const struct endpoint *remote)
{
	const struct survey *s = p->survey;
	char text[ENDPOINT_TEXT_MAX];

	for (size_t i = 0; i < s->sockets->n; i++)
		if (endpoint_meant(remote, &s->sockets->v[i].remote))
			add_item(p, &s->sockets->v[i], verdict_of(s, i), -1);
	if (p->heal->n)
		return NULL;
	endpoint_format_asked(remote, text);
	return error_new(ERROR_GONE,
			 "the process has no connection to %s; stranded "
			 "sockets lists its connections",
			 text);
}

/* The fingerprint that @id means; it may be that of several findings. */
static struct error *resolve(const struct findings *f, const char *id,
			     const char **ret)
{
	const char *found = NULL;

	for (size_t i = 0; i < f->n; i++) {
		const char *print = f->v[i].fingerprint;

		if (!*id || strncmp(print, id, strlen(id)) != 0)
			continue;
		if (found && strcmp(found, print) != 0)
			return error_new(ERROR_USAGE,
					 "'%s' fits several findings, among "
					 "them %s and %s; give more of it",
					 id, found, print);
		found = print;
	}
	if (!found)
		return error_new(ERROR_GONE,
				 "there is no finding '%s' now; stranded "
				 "--verbose shows those there are",
				 id);
	*ret = found;
	return NULL;
}

static struct error *pick_finding(struct planning *p, const struct findings *f,
				  const char *id)
{
	const char *print;
	struct error *err = resolve(f, id, &print);

	if (err)
		return err;
	for (size_t i = 0; i < f->n; i++) {
		const struct finding *one = &f->v[i];

		if (strcmp(one->fingerprint, print) != 0)
			continue;
		for (size_t m = 0; m < one->count; m++)
			if (one->members[m].socket)
				add_item(p, one->members[m].socket,
					 one->members[m].verdict,
					 one->members[m].fd);
	}
	if (!p->heal->n)
		return error_new(ERROR_UNSUPPORTED,
				 "finding %s is about no connection; there is "
				 "nothing to heal",
				 print);
	return NULL;
}

static int by_fd(const void *a, const void *b)
{
	const struct heal_item *x = a, *y = b;

	return (x->fd > y->fd) - (x->fd < y->fd);
}

/* As people look for them, and not in the kernel's order. */
static void sort_items(struct planning *p)
{
	struct heal *h = p->heal;

	qsort(h->v, h->n, sizeof(*h->v), by_fd);
	for (size_t i = 0; i < h->n; i++)
		p->item_of[h->v[i].socket - p->survey->sockets->v] = i + 1;
}

/*
 * A finding that is in part proven: its other members only look alike. They
 * are counted, and are none of this any more.
 */
static void leave_alone(struct planning *p)
{
	struct heal *h = p->heal;
	size_t allowed = 0, n = 0;

	for (size_t i = 0; i < h->n; i++)
		allowed += h->v[i].leave == HEAL_ALLOWED;
	if (!allowed || allowed == h->n || h->force)
		return;
	for (size_t i = 0; i < h->n; i++) {
		size_t socket =
			(size_t)(h->v[i].socket - p->survey->sockets->v);

		if (h->v[i].leave != HEAL_ALLOWED) {
			h->left_why = h->v[i].leave_why;
			p->item_of[socket] = 0;
			continue;
		}
		h->v[n++] = h->v[i];
		p->item_of[socket] = n;
	}
	h->left_alone = h->n - n;
	h->n = n;
}

/* The item that @task waits on, unless it has moved by the second look. */
static struct heal_item *item_of(const struct planning *p,
				 const struct task_set *set,
				 const struct task *task)
{
	const struct survey *s = p->survey;
	const struct tcp_socket *socket =
		correlate_socket(task, &s->fds, s->sockets);
	size_t i = socket ? p->item_of[socket - s->sockets->v] : 0;

	if (!i ||
	    (set->marks &&
	     task_motion(task, task_set_mark(set, task->id)) == MOTION_MOVED))
		return NULL;
	return &p->heal->v[i - 1];
}

static void count_tasks(const struct planning *p, const struct task_set *set)
{
	for (size_t i = 0; i < set->snapshot->n; i++) {
		struct heal_item *item =
			item_of(p, set, &set->snapshot->tasks[i]);

		if (item)
			item->n_tasks++;
	}
}

static void list_tasks(const struct planning *p, const struct task_set *set)
{
	for (size_t i = 0; i < set->snapshot->n; i++) {
		const struct task *task = &set->snapshot->tasks[i];
		struct heal_item *item = item_of(p, set, task);

		if (item)
			item->tasks[item->n_tasks++] = (struct heal_task){
				.task = task,
				.runtime = set->snapshot->kind,
			};
	}
}

/* Count who waits on each, then list them. */
static struct error *add_tasks(const struct planning *p)
{
	const struct survey *s = p->survey;
	struct heal *h = p->heal;

	for (size_t i = 0; i < s->n_sets; i++)
		count_tasks(p, &s->sets[i]);
	for (size_t i = 0; i < h->n; i++) {
		h->v[i].tasks = arena_array(h->arena, h->v[i].n_tasks + 1,
					    sizeof(*h->v[i].tasks));
		if (!h->v[i].tasks)
			return &error_nomem;
		h->v[i].n_tasks = 0;
	}
	for (size_t i = 0; i < s->n_sets; i++)
		list_tasks(p, &s->sets[i]);
	return NULL;
}

static struct error *plan(struct planning *p, const struct cli *cli,
			  const struct findings *findings)
{
	struct heal *h = p->heal;
	size_t n = p->survey->sockets ? p->survey->sockets->n : 0;
	struct error *err;

	if (!p->survey->sockets || !p->survey->verdicts)
		return error_new(ERROR_DENIED,
				 "the connections of process %d could not be "
				 "read; see stranded doctor",
				 (int)p->survey->process->pid);
	h->v = arena_array(h->arena, n + 1, sizeof(*h->v));
	p->item_of = arena_array(h->arena, n + 1, sizeof(*p->item_of));
	p->waiters = waiters_create(p->survey);
	if (!h->v || !p->item_of || !p->waiters)
		return &error_nomem;
	if (findings)
		err = pick_finding(p, findings, cli->finding);
	else if (cli->remote.family)
		err = pick_remote(p, &cli->remote);
	else
		err = pick_fd(p, cli->fd);
	if (err)
		return err;
	sort_items(p);
	leave_alone(p);
	for (size_t i = 0; i < h->n; i++) {
		bool may = h->v[i].leave == HEAL_ALLOWED ||
			   (h->force && h->v[i].leave != HEAL_IMPOSSIBLE);

		h->v[i].result = may ? HEAL_PLANNED : HEAL_REFUSED;
	}
	return add_tasks(p);
}

struct error *heal_plan(const struct cli *cli, struct survey *survey,
			const struct findings *findings, struct heal **ret)
{
	AUTO_HEAL struct heal *h = calloc(1, sizeof(*h));

	if (!h)
		return &error_nomem;
	h->arena = arena_create();
	if (!h->arena)
		return &error_nomem;
	h->survey = survey;
	h->how = cli->how;
	h->dry_run = cli->dry_run;
	h->force = cli->force;
	h->keepalive = cli->keepalive;
	struct planning p = { .heal = h, .survey = survey };
	struct error *err = plan(&p, cli, findings);
	waiters_destroy(p.waiters);
	if (err)
		return err;
	*ret = h;
	h = NULL;
	return NULL;
}

void heal_destroy(struct heal *heal)
{
	if (!heal)
		return;
	arena_destroy(heal->arena);
	free(heal);
}

size_t heal_count(const struct heal *heal, enum heal_result result)
{
	size_t n = 0;

	for (size_t i = 0; i < heal->n; i++)
		n += heal->v[i].result == result;
	return n;
}

bool heal_watches(const struct heal *heal, const struct heal_item *item)
{
	return heal->how != HEAL_ARM &&
	       (item->result == HEAL_DONE || item->result == HEAL_ENDED);
}

size_t heal_fates(const struct heal *heal, enum heal_fate fate)
{
	size_t n = 0;

	for (size_t i = 0; i < heal->n; i++)
		for (size_t t = 0; t < heal->v[i].n_tasks; t++)
			n += heal_watches(heal, &heal->v[i]) &&
			     heal->v[i].tasks[t].fate == fate;
	return n;
}

int heal_status(const struct heal *heal)
{
	size_t done =
		heal_count(heal, HEAL_DONE) + heal_count(heal, HEAL_ENDED);

	if (heal->dry_run)
		return heal_count(heal, HEAL_PLANNED) ? STATUS_CLEAN
						      : STATUS_NOTHING;
	if (!done)
		return STATUS_NOTHING;
	if (done < heal->n || heal->process_ended)
		return STATUS_FINDINGS;
	return heal_fates(heal, FATE_STILL) || heal_fates(heal, FATE_UNKNOWN)
		       ? STATUS_FINDINGS
		       : STATUS_CLEAN;
}

const char *heal_how_name(enum heal_how how)
{
	switch (how) {
	case HEAL_DESTROY:
		return "destroy";
	case HEAL_EOF:
		return "eof";
	case HEAL_ARM:
		return "arm-keepalive";
	}
	return "?";
}

const char *heal_result_name(enum heal_result result)
{
	switch (result) {
	case HEAL_PLANNED:
		return "planned";
	case HEAL_REFUSED:
		return "refused";
	case HEAL_DONE:
		return "healed";
	case HEAL_ENDED:
		return "ended";
	case HEAL_FAILED:
		return "failed";
	}
	return "?";
}

const char *heal_fate_name(enum heal_fate fate)
{
	switch (fate) {
	case FATE_UNKNOWN:
		return "unknown";
	case FATE_STILL:
		return "still";
	case FATE_MOVED:
		return "moved";
	case FATE_GONE:
		return "gone";
	}
	return "?";
}
