/* SPDX-License-Identifier: Apache-2.0 */
#include "detector/gate/look.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "detector/gate/goroutines.h"
#include "detector/gate/look_net.h"
#include "detector/gate/sampler.h"
#include "detector/gate/serving.h"

#define NS_PER_MS INT64_C(1000000)

struct live_look {
	const struct look_options *opt;
	struct gate_process *p;
	const struct survey *survey;
	const struct task_set *set;
	const struct look_net *net;
	bool *serves; /* one for each task of the set */
};

/* Not there any more a second later, or there for a client. */
static bool skips(void *arg, const struct task *task)
{
	const struct live_look *l = arg;

	return (l->set->marks && !task_set_mark(l->set, task->id)) ||
	       l->serves[task - l->set->snapshot->tasks];
}

static void decorate(void *arg, const struct task *task, struct leak *leak)
{
	const struct live_look *l = arg;

	look_net_decorate(l->net, task, leak);
}

/* That of a runtime: threads are nothing that is left behind. */
static const struct task_set *set_of_runtime(const struct survey *s)
{
	const struct task_set *set = survey_set(s, TASK_GO);

	return set ? set : survey_set(s, TASK_COROUTINE);
}

static struct error *collect(struct live_look *l)
{
	const struct task_snapshot *snap = l->set->snapshot;
	struct sampled sampled = look_sampled(l->opt, l->p);
	const struct goroutine_tests tests = { sampler_name, &sampled };
	const struct goroutines_hooks hooks = { &tests, skips, decorate, l };

	l->serves = calloc(snap->n + 1, sizeof(*l->serves));
	if (!l->serves)
		return &error_nomem;
	struct error *err = serving_tasks(snap, &l->survey->fds,
					  l->survey->sockets,
					  l->survey->verdicts, l->serves);
	if (!err)
		err = goroutines_collect(snap, 0, &hooks, l->p);
	free(l->serves);
	l->p->tasks = snap->n;
	if (l->p->leaks_cut)
		gaps_add(&l->p->gaps, GAP_LIMIT, l->p->leaks_cut,
			 "goroutines that are of no kind among the first %d",
			 GATE_MAX_LEAKS);
	l->p->leaks_cut = 0;
	return err;
}

/* What fork made of a Go program has its goroutines, and one thread. */
static enum gate_outcome outcome_of(const struct live_look *l)
{
	struct catch_thread thread;

	if (!l->set)
		return GATE_FOREIGN;
	if (l->set->source->kind == TASK_GO &&
	    (!catch_thread(l->p->pid, &thread) || thread.threads == 1))
		return GATE_COPY;
	return GATE_JUDGED;
}

static struct error *judge(struct live_look *l, struct survey *survey)
{
	struct look_net *net = NULL;
	struct gate_process *p = l->p;
	struct error *err = look_net_judge(survey, p, &net);

	if (err)
		return err;
	l->survey = survey;
	l->net = net;
	l->set = set_of_runtime(survey);
	p->outcome = outcome_of(l);
	if (p->outcome == GATE_JUDGED) {
		p->runtime = arena_strdup(
			p->arena, l->set->source->version(l->set->context));
		err = collect(l);
		if (!err)
			look_net_collect(l->opt, net, p);
	}
	look_net_destroy(net);
	return err;
}

/* The second look of a survey is a second later: that is part of the grace. */
static void wait_for_grace(const struct look_options *opt)
{
	int64_t left = opt->grace_ms - (opt->quick ? 0 : SURVEY_WAIT_MS);

	if (left > 0)
		clock_sleep_until(clock_mono_ns() + left * NS_PER_MS);
}

static struct error *look(struct live_look *l)
{
	const struct look_options *opt = l->opt;
	const struct survey_options full = { .quick = opt->quick,
					     .stacks = true,
					     .examine = true,
					     .need = NEED_RUNTIME,
					     .probing = opt->probing };
	struct survey *survey = NULL;

	wait_for_grace(opt);
	struct error *err = survey_take(l->p->pid, &full, &survey);
	if (err)
		return err;
	if (survey->gone) {
		survey_destroy(survey);
		return error_new(ERROR_GONE, "it ended while it was looked at");
	}
	look_describe(survey->process, l->p);
	if (l->p->outcome == GATE_TOOLCHAIN) {
		survey_destroy(survey);
		return NULL;
	}
	return judge(l, survey);
}

struct gate_process *look_at_running(const struct look_options *opt, pid_t pid)
{
	struct live_look l = { .opt = opt, .p = gate_process_create(pid) };
	int64_t began = clock_mono_ns();

	if (!l.p)
		return NULL;
	struct error *err = look(&l);
	if (error_catch(&err, ERROR_ABSENT))
		l.p->outcome = GATE_FOREIGN;
	look_end(l.p, err);
	l.p->held_ms = (clock_mono_ns() - began) / NS_PER_MS;
	l.p->looks = 1;
	return l.p;
}
