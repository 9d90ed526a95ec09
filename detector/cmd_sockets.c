/* SPDX-License-Identifier: Apache-2.0 */

/** `sockets`: every connection of a process, or of a recording. */

#include <errno.h>

#include "detector/cmd.h"
#include "netwatch/options.h"

static void report(const struct cli *cli, const struct survey *s)
{
	const struct report r = {
		.survey = s,
		.policy = cli->given & OPT_POLICY ? &cli->policy : NULL,
		.verbose = cli->verbose,
	};
	struct text t;

	if (cli->format == FORMAT_JSON) {
		report_sockets_json(stdout, &r);
		return;
	}
	text_init(&t, stdout, cli->color);
	if (r.policy)
		report_policy_text(&t, &r);
	else
		report_sockets_text(&t, &r);
}

/* What kind of gap it is that the settings of @s are not known. */
static enum gap_kind settings_gap(const struct tcp_socket *s)
{
	switch (s->options.error) {
	case EBADF:
	case ESTALE:
	case ESRCH:
		/* Through another fd the connection lives on. */
		return s->second_state == TCP_SAMPLED ? GAP_INCONSISTENT
						      : GAP_GONE;
	case EPERM:
	case EACCES:
		return GAP_DENIED;
	default:
		return GAP_UNSUPPORTED;
	}
}

/* What could not be judged is a gap; returns how many violate the policy. */
static uint64_t judge_policy(const struct cli *cli, struct survey *s)
{
	if (!(cli->given & OPT_POLICY) || !s->sockets)
		return 0;
	for (size_t i = 0; i < s->sockets->n; i++) {
		const struct tcp_socket *socket = &s->sockets->v[i];
		int64_t ms;

		if (policy_judge(&cli->policy, socket, &ms) == POLICY_UNKNOWN)
			gaps_add(&s->gaps, settings_gap(socket), 1,
				 "connections whose settings could not be "
				 "read: %s",
				 tcp_options_why(&socket->options));
	}
	return policy_count(&cli->policy, s->sockets).violations;
}

static struct error *run(const struct cli *cli, int *status_ret)
{
	const struct survey_options opt = {
		.quick = cli->quick,
		.examine = true,
		.net = { .record_to = cli->net_record,
			 .replay_from = cli->net_from },
	};
	AUTO_SURVEY struct survey *s = NULL;
	struct error *err = cmd_survey(cli, &opt, &s);

	if (err)
		return err;
	uint64_t violations = judge_policy(cli, s);
	report(cli, s);
	if (violations)
		*status_ret = STATUS_FINDINGS;
	else if (s->sockets)
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
