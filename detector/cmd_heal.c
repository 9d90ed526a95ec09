/* SPDX-License-Identifier: Apache-2.0 */

/**
 * `heal`: look as check does, say what will be done, do it, and look what has
 * become of those who waited. The only command that ends something.
 */

#include "detector/cmd.h"
#include "detector/report_heal.h"

/* The findings as check reports them; NULL when they are not asked for. */
static struct error *find(const struct cli *cli, struct survey *s,
			  struct rules **rules, struct findings **ret)
{
	struct error *err;

	if (!cli->finding)
		return NULL;
	err = check_rules(cli, rules);
	return err ? err : check_judge(cli, *rules, s, ret);
}

static struct error *act(const struct cli *cli, const struct report *r,
			 struct heal *heal)
{
	struct error *err = NULL;
	struct text t;

	if (cli->format == FORMAT_TEXT) {
		text_init(&t, stdout, cli->color);
		report_heal_plan(&t, r, heal);
		/* Said before it is done, whatever comes of it. */
		fflush(stdout);
	}
	if (!cli->dry_run)
		err = heal_act(heal);
	if (!err)
		err = heal_watch(heal);
	if (err)
		return err;
	if (cli->format == FORMAT_JSON)
		report_heal_json(stdout, r, heal);
	else if (!cli->dry_run && heal_count(heal, HEAL_REFUSED) < heal->n)
		report_heal_done(&t, r, heal);
	return NULL;
}

static struct error *run(const struct cli *cli, int *status_ret)
{
	const struct survey_options opt = {
		.stacks = true,
		.examine = true,
		.probing = cmd_probing(cli),
	};
	AUTO_RULES struct rules *rules = NULL;
	AUTO_SURVEY struct survey *s = NULL;
	AUTO_FINDINGS struct findings *f = NULL;
	AUTO_HEAL struct heal *heal = NULL;
	struct error *err = cmd_survey(cli, &opt, &s);

	if (!err)
		err = find(cli, s, &rules, &f);
	if (!err)
		err = heal_plan(cli, s, f, &heal);
	if (err)
		return err;
	const struct report r = { .survey = s,
				  .findings = f,
				  .verbose = cli->verbose };
	err = act(cli, &r, heal);
	if (!err)
		*status_ret = heal_status(heal);
	return err;
}

int cmd_heal(const struct cli *cli)
{
	int status = STATUS_NOTHING;
	struct error *err = run(cli, &status);

	return cmd_finish(err, status);
}
