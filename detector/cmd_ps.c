/* SPDX-License-Identifier: Apache-2.0 */

/** `ps`: one look at every task, and the connections that some wait on. */

#include "base/cleanup.h"
#include "detector/cmd.h"

static void report(const struct cli *cli, const struct survey *s)
{
	const struct report r = {
		.survey = s,
		.stacks = cli->stacks,
		.verbose = cli->verbose,
	};
	struct text t;

	switch (cli->format) {
	case FORMAT_JSON:
		report_ps_json(stdout, &r);
		break;
	case FORMAT_DEBUG2:
		report_debug2(stdout, &r);
		break;
	case FORMAT_TEXT:
		text_init(&t, stdout, cli->color);
		report_ps_text(&t, &r);
		break;
	}
}

static struct error *run(const struct cli *cli, int *status_ret)
{
	const bool debug2 = cli->format == FORMAT_DEBUG2;
	const struct survey_options opt = {
		.quick = true,
		.need = debug2 ? NEED_RUNTIME : NEED_TASKS,
		.threads = debug2	  ? THREADS_NONE
			   : cli->threads ? THREADS_ALL
					  : THREADS_OTHER,
		.stop = cli->stop,
		.force = cli->force,
		.no_sockets = debug2,
		.stacks = true,
		.net = { .replay_from = cli->net_from },
	};
	AUTO_SURVEY struct survey *s = NULL;
	struct error *err = cmd_survey(cli, &opt, &s);

	if (err)
		return err;
	report(cli, s);
	*status_ret = gaps_matter(&s->gaps) ? STATUS_GAPS : STATUS_CLEAN;
	return NULL;
}

int cmd_ps(const struct cli *cli)
{
	int status = STATUS_NOTHING;
	struct error *err = run(cli, &status);

	return cmd_finish(err, status);
}
