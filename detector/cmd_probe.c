/* SPDX-License-Identifier: Apache-2.0 */

/**
 * `probe`: ask the peers. The one command, with `check --probe`, that sends a
 * packet; see netwatch/probe.h for what it does to the program.
 */

#include "detector/cmd.h"

static void report(const struct cli *cli, const struct survey *s)
{
	const struct report r = { .survey = s, .verbose = cli->verbose };
	struct text t;

	if (cli->format == FORMAT_JSON) {
		report_sockets_json(stdout, &r);
		return;
	}
	text_init(&t, stdout, cli->color);
	report_probe_text(&t, &r);
}

/* What is to be said of one connection; -1: nothing. */
static int status_of(const struct survey_probe_of *probe,
		     const struct verdict *after, bool only_named)
{
	if (!probe->facts || (only_named && !probe->named))
		return -1;
	if (verdict_probe_failed(probe->facts))
		return STATUS_FINDINGS;
	switch (after->kind) {
	case VERDICT_HALF_OPEN:
	case VERDICT_UNREACHABLE:
	case VERDICT_LOCAL_CAUSE:
		return STATUS_FINDINGS;
	case VERDICT_ALIVE:
	case VERDICT_HALF_CLOSED:
	case VERDICT_PEER_NOT_READING:
	case VERDICT_PATH_MTU:
	case VERDICT_DATA_WAITING:
	case VERDICT_LISTENING:
		return STATUS_CLEAN;
	case VERDICT_SILENT:
	case VERDICT_UNKNOWN:
	case VERDICT_CONNECTING:
		return STATUS_GAPS;
	}
	return STATUS_GAPS;
}

int probe_status(const struct survey *s)
{
	bool only_named = false;
	int all = -1;

	for (size_t i = 0; s->probes && i < s->sockets->n; i++)
		only_named |= s->probes[i].named;
	for (size_t i = 0; s->probes && i < s->sockets->n; i++) {
		int one = status_of(&s->probes[i], &s->verdicts[i], only_named);

		if (one >= 0)
			all = all < 0 ? one : check_join_status(all, one);
	}
	if (!s->probes)
		return STATUS_NOTHING;
	if (all < 0)
		all = STATUS_CLEAN; // it has no connections
	return all == STATUS_CLEAN && gaps_matter(&s->gaps) ? STATUS_GAPS : all;
}

static struct error *run(const struct cli *cli, int *status_ret)
{
	const struct survey_options opt = {
		.no_tasks = true,
		.examine = true,
		.net = { .record_to = cli->net_record },
		.probing = cmd_probing(cli),
	};
	AUTO_SURVEY struct survey *s = NULL;
	struct error *err = cmd_survey(cli, &opt, &s);

	if (err)
		return err;
	report(cli, s);
	*status_ret = probe_status(s);
	return NULL;
}

int cmd_probe(const struct cli *cli)
{
	int status = STATUS_NOTHING;
	struct error *err = run(cli, &status);

	return cmd_finish(err, status);
}
