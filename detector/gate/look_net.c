/* SPDX-License-Identifier: Apache-2.0 */
#include "detector/gate/look_net.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "detector/cmd.h"
#include "detector/correlate.h"

struct look_net {
	struct survey *survey;
	struct rules *rules;
	struct findings *findings;
	struct gate_process *p;
};

void look_net_destroy(struct look_net *net)
{
	if (!net)
		return;
	findings_destroy(net->findings);
	survey_destroy(net->survey);
	rules_destroy(net->rules);
	free(net);
}

static bool has_sockets(struct gate_process *p)
{
	AUTO_PROCESS struct process *process = NULL;
	AUTO_ARENA struct arena *arena = arena_create();
	struct process_fds fds = { 0 };

	if (!arena)
		return true;
	AUTO_ERROR struct error *err = process_open(p->pid, &process);
	if (!err)
		err = process_fds(process, arena, &fds);
	if (err)
		return true;
	for (size_t i = 0; i < fds.n; i++)
		if (fds.v[i].kind == PROCESS_FD_SOCKET)
			return true;
	return false;
}

static bool has_connections(const struct survey *s)
{
	for (size_t i = 0; s->sockets && i < s->sockets->n; i++)
		if (s->sockets->v[i].first.state != TCP_STATE_LISTEN)
			return true;
	return !s->sockets;
}

/* Any connection at all? One quick look, before the one that takes a second. */
static struct error *probe_for_any(struct gate_process *p, bool *ret)
{
	static const struct survey_options light = { .quick = true,
						     .no_tasks = true };
	AUTO_SURVEY struct survey *s = NULL;
	struct error *err = survey_take(p->pid, &light, &s);

	*ret = !err && has_connections(s);
	return err;
}

/* As `check` judges them, but without its rules: these hide nothing proven. */
static struct error *judge(struct look_net *net)
{
	static const struct command command = { .name = "gate" };
	const struct cli cli = { .command = &command,
				 .fd = -1,
				 .min_blocked_ms = -1,
				 .within_ms = -1 };
	struct error *err = rules_create(&net->rules);

	return err ? err
		   : check_judge(&cli, net->rules, net->survey, &net->findings);
}

struct error *look_net_judge(struct survey *survey, struct gate_process *p,
			     struct look_net **ret)
{
	struct look_net *net = calloc(1, sizeof(*net));
	struct error *err = net ? NULL : &error_nomem;

	if (!net) {
		survey_destroy(survey);
		return err;
	}
	*net = (struct look_net){ .survey = survey, .p = p };
	err = judge(net);
	if (err) {
		look_net_destroy(net);
		return err;
	}
	gaps_merge(&p->gaps, &survey->gaps);
	*ret = net;
	return NULL;
}

struct error *look_net_take(const struct look_options *opt,
			    struct gate_process *p, struct look_net **ret)
{
	const struct survey_options full = { .quick = opt->quick,
					     .stacks = true,
					     .examine = true };
	bool any = false;

	if (!has_sockets(p))
		return NULL;
	struct error *err = probe_for_any(p, &any);
	if (err || !any)
		return err;
	struct survey *survey;
	err = survey_take(p->pid, &full, &survey);
	return err ? err : look_net_judge(survey, p, ret);
}

static bool is_dead(enum verdict_kind kind)
{
	return kind == VERDICT_HALF_OPEN || kind == VERDICT_LOCAL_CAUSE ||
	       kind == VERDICT_HALF_CLOSED || kind == VERDICT_UNREACHABLE;
}

static void describe(const struct look_net *net, const struct tcp_socket *s,
		     const struct verdict *v, struct leak *leak)
{
	char local[ENDPOINT_TEXT_MAX], remote[ENDPOINT_TEXT_MAX];
	struct arena *arena = net->p->arena;

	endpoint_format(&s->local, local);
	endpoint_format(&s->remote, remote);
	leak->connection = arena_printf(arena, "%s -> %s %s", local, remote,
					tcp_state_name(s->first.state));
	if (!v)
		return;
	leak->verdict = verdict_name(v->kind);
	leak->verdict_certain = v->certain;
	leak->dead = v->certain && is_dead(v->kind);
	if (v->n_evidence)
		leak->why = arena_strdup(arena, v->evidence[0].text);
}

void look_net_decorate(const struct look_net *net, const struct task *task,
		       struct leak *leak)
{
	const struct survey *s = net ? net->survey : NULL;

	if (!s || !s->sockets)
		return;
	const struct tcp_socket *socket =
		correlate_socket(task, &s->fds, s->sockets);
	if (socket)
		describe(net, socket,
			 s->verdicts ? &s->verdicts[socket - s->sockets->v]
				     : NULL,
			 leak);
}

static bool is_leak(const struct finding *f)
{
	return f->count && !f->members[0].task && f->members[0].socket &&
	       (f->grade == GRADE_PROVEN ||
		f->kind == FINDING_HALF_CLOSED_HELD);
}

static struct leak *add(struct gate_process *p, size_t count)
{
	if (p->n_leaks >= (size_t)2 * GATE_MAX_LEAKS) {
		p->leaks_cut++;
		return NULL;
	}
	struct leak *leak = &p->leaks[p->n_leaks++];
	*leak = (struct leak){ .kind = LEAK_CONNECTION,
			       .count = count,
			       .package = p->package };
	return leak;
}

static void collect_dead(const struct look_net *net, struct gate_process *p)
{
	const struct findings *f = net->findings;

	for (size_t i = 0; i < f->n; i++) {
		const struct finding_member *m = &f->v[i].members[0];
		struct leak *leak = is_leak(&f->v[i]) ? add(p, f->v[i].count)
						      : NULL;

		if (!leak)
			continue;
		describe(net, m->socket, m->verdict, leak);
		leak_fingerprint(leak);
	}
}

/* As one leak: it is one setting that is missing, wherever they go. */
static void collect_violations(const struct look_net *net,
			       const struct policy *policy,
			       struct gate_process *p)
{
	const struct tcp_snapshot *snap = net->survey->sockets;
	const struct tcp_socket *first = NULL;
	size_t n = 0;

	for (size_t i = 0; snap && i < snap->n; i++) {
		int64_t ms;

		if (policy_judge(policy, &snap->v[i], &ms) != POLICY_VIOLATED)
			continue;
		if (!n++)
			first = &snap->v[i];
	}
	if (snap && policy_count(policy, snap).unknown)
		gaps_add(&p->gaps, GAP_DENIED,
			 policy_count(policy, snap).unknown,
			 "connections whose settings could not be read");
	struct leak *leak = n ? add(p, n) : NULL;
	if (!leak)
		return;
	describe(net, first, NULL, leak);
	leak->verdict =
		arena_printf(p->arena, "against the policy %s", policy->text);
	leak_fingerprint(leak);
}

void look_net_collect(const struct look_options *opt,
		      const struct look_net *net, struct gate_process *p)
{
	if (!net)
		return;
	collect_dead(net, p);
	if (opt->policy)
		collect_violations(net, opt->policy, p);
}
