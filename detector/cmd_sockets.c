/* SPDX-License-Identifier: Apache-2.0 */

/** `sockets`: every connection of a process, or of a recording. */

#include "detector/cmd.h"
#include "detector/target.h"

static void report(const struct cli *cli, const struct survey *s)
{
	const struct report r = { .survey = s, .verbose = cli->verbose };
	struct text t;

	if (cli->format == FORMAT_JSON) {
		report_sockets_json(stdout, &r);
		return;
	}
	text_init(&t, stdout, cli->color);
	report_sockets_text(&t, &r);
}

static struct error *run(const struct cli *cli, int *status_ret)
{
	const struct survey_options opt = {
		.quick = cli->quick,
		.examine = true,
		.net = { .record_to = cli->net_record,
			 .replay_from = cli->net_from },
	};
	AUTO_ARENA struct arena *arena = arena_create();
	AUTO_SURVEY struct survey *s = NULL;
	struct error *err = NULL;
	pid_t pid = 0;

	if (!arena)
		return &error_nomem;
	if (cli->n_args)
		err = targets_one(cli->args[0], arena, &pid);
	if (!err)
		err = survey_take(pid, &opt, &s);
	if (err)
		return err;
	report(cli, s);
	if (s->sockets)
		*status_ret = gaps_matter(&s->gaps) ? STATUS_GAPS
						    : STATUS_CLEAN;
	return NULL;
}

int cmd_sockets(const struct cli *cli)
{
	int status = STATUS_NOTHING;
	struct error *err = run(cli, &status);

	return cmd_finish(err, status);
}
