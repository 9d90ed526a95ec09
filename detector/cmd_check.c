/* SPDX-License-Identifier: Apache-2.0 */

/**
 * `check`: take the tasks and the connections twice (survey), judge and join
 * them (correlate), report, and say it all once more in the exit status.
 */

#include "base/log.h"
#include "detector/cmd.h"
#include "detector/correlate.h"
#include "detector/target.h"

#define MIN_GROUP 100

struct error *check_rules(const struct cli *cli, struct rules **ret)
{
	struct error *err = rules_create(ret);

	if (!err)
		err = rules_add_builtin(*ret);
	for (size_t i = 0; i < cli->n_rules && !err; i++)
		err = rules_add_file(*ret, cli->rules[i]);
	return err;
}

struct error *check_judge(const struct cli *cli, const struct rules *rules,
			  struct survey *s, struct findings **ret)
{
	const struct correlate_input in = {
		.sets = s->sets,
		.n_sets = s->n_sets,
		.fds = &s->fds,
		.sockets = s->sockets,
		.verdicts = s->verdicts,
		.writer_verdicts = s->writer_verdicts,
		.rules = rules,
		.limits = {
			.min_blocked_ms = cli->min_blocked_ms,
			.min_group = cli->min_group ? cli->min_group : MIN_GROUP,
			.now_mono_ns = s->now_mono_ns,
		},
		.process_age_ms = s->process_age_ms,
	};
	struct error *err = correlate(&in, ret);

	if (!err)
		gaps_merge(&s->gaps, &(*ret)->gaps);
	return err;
}

int check_status(const struct survey *s, const struct findings *f)
{
	if (f->n)
		return STATUS_FINDINGS;
	if (!s->n_sets)
		return STATUS_NOTHING;
	return gaps_matter(&s->gaps) ? STATUS_GAPS : STATUS_CLEAN;
}

static void report(const struct cli *cli, const struct survey *s,
		   const struct findings *f)
{
	const struct report r = {
		.survey = s,
		.findings = f,
		.stacks = cli->stacks,
		.verbose = cli->verbose,
	};
	struct text t;

	if (cli->format == FORMAT_JSON) {
		report_check_json(stdout, &r);
		return;
	}
	text_init(&t, stdout, cli->color);
	report_check_text(&t, &r);
}

/* Returns the process' own exit status and how many findings it has. */
static struct error *check_one(const struct cli *cli, const struct rules *rules,
			       pid_t pid, enum survey_need need,
			       int *status_ret, size_t *findings_ret)
{
	const struct survey_options opt = {
		.quick = cli->quick,
		.need = need,
		.stop = cli->stop,
		.force = cli->force,
		.stacks = true,
		.examine = true,
		.net = { .record_to = cli->net_record,
			 .replay_from = cli->net_from },
		.probing = cmd_probing(cli),
	};
	AUTO_SURVEY struct survey *s = NULL;
	AUTO_FINDINGS struct findings *f = NULL;

	struct error *err = survey_take(pid, &opt, &s);
	if (!err)
		err = check_judge(cli, rules, s, &f);
	if (err)
		return err;
	report(cli, s, f);
	*status_ret = check_status(s, f);
	*findings_ret = f->n;
	return NULL;
}

/* One of several could not be read: a gap, unless it is none of ours. */
static void count_failure(const struct cli *cli, struct report_sum *sum,
			  const struct error *err)
{
	switch (error_code(err)) {
	case ERROR_ABSENT:
	case ERROR_UNSUPPORTED:
		if (cli->all)
			return; /* most processes have threads only */
		gaps_add(&sum->gaps, GAP_UNSUPPORTED, 1, "%s", error_text(err));
		return;
	case ERROR_GONE:
		gaps_add(&sum->gaps, GAP_GONE, 1,
			 "processes ended before they could be read");
		return;
	case ERROR_DENIED:
		gaps_add(&sum->gaps, GAP_DENIED, 1,
			 "processes may not be read; see stranded doctor");
		return;
	case ERROR_NOMEM:
	case ERROR_OS:
	case ERROR_FAULT:
	case ERROR_CORRUPT:
	case ERROR_INCONSISTENT:
	case ERROR_USAGE:
		gaps_add(&sum->gaps, GAP_CORRUPT, 1, "%s", error_text(err));
		return;
	}
}

int check_join_status(int all, int one)
{
	if (all == STATUS_FINDINGS || one == STATUS_FINDINGS)
		return STATUS_FINDINGS;
	return one == STATUS_CLEAN ? all : STATUS_GAPS;
}

static int check_many(const struct cli *cli, const struct rules *rules,
		      const struct targets *targets, struct arena *arena)
{
	struct report_sum sum = { .gaps = { .arena = arena } };
	int status = STATUS_CLEAN;

	for (size_t i = 0; i < targets->n; i++) {
		size_t findings = 0;
		int one = STATUS_CLEAN;
		AUTO_ERROR struct error *err = check_one(
			cli, rules, targets->v[i],
			cli->all ? NEED_RUNTIME : NEED_TASKS, &one, &findings);

		sum.processes++;
		if (err) {
			count_failure(cli, &sum, err);
			continue;
		}
		sum.judged++;
		sum.findings += findings;
		status = check_join_status(status, one);
		if (cli->format == FORMAT_TEXT)
			putchar('\n');
		fflush(stdout);
	}
	if (cli->format == FORMAT_JSON) {
		report_sum_json(stdout, &sum);
	} else {
		struct text t;

		text_init(&t, stdout, cli->color);
		report_sum_text(&t, &sum);
	}
	if (!sum.judged)
		return STATUS_NOTHING;
	if (status == STATUS_CLEAN && gaps_matter(&sum.gaps))
		return STATUS_GAPS;
	return status;
}

static struct error *run(const struct cli *cli, int *status_ret)
{
	AUTO_RULES struct rules *rules = NULL;
	AUTO_ARENA struct arena *arena = arena_create();
	struct targets targets;
	size_t findings;

	if (!arena)
		return &error_nomem;
	struct error *err = check_rules(cli, &rules);
	if (!err)
		err = cli->all ? targets_all(arena, &targets)
			       : targets_find(cli->args, cli->n_args, arena,
					      &targets);
	if (err)
		return err;
	if (targets.n == 1 && !cli->all)
		return check_one(cli, rules, targets.v[0], NEED_NOTHING,
				 status_ret, &findings);
	if (cli->net_from || cli->net_record)
		return error_new(ERROR_USAGE, "a recording is of one process; "
					      "give one pid");
	*status_ret = check_many(cli, rules, &targets, arena);
	return NULL;
}

int cmd_check(const struct cli *cli)
{
	int status = STATUS_NOTHING;
	struct error *err = run(cli, &status);

	return cmd_finish(err, status);
}
