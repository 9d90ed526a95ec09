/* SPDX-License-Identifier: Apache-2.0 */
#include "detector/cmd.h"

#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "detector/target.h"

int cmd_finish(struct error *err, int status)
{
	if (err) {
		log_error("%s", error_text(err));
		status = error_code(err) == ERROR_USAGE ? STATUS_USAGE
							: STATUS_NOTHING;
		error_free(err);
	}
	/* A report that was cut off is no report, whatever it found. */
	int error = fflush(stdout) ? errno : 0;
	if (error || ferror(stdout)) {
		log_error("cannot write the report: %s",
			  error ? strerror(error) : "an earlier write failed");
		if (status != STATUS_USAGE)
			status = STATUS_NOTHING;
	}
	return status;
}

struct survey_probing cmd_probing(const struct cli *cli)
{
	return (struct survey_probing){
		.wanted = cli->probe || cli->command->run == cmd_probe,
		.options = { .window_ms = cli->window_ms,
			     .rst_shield = cli->rst_shield },
		.fd = cli->fd,
		.remote = cli->remote,
	};
}

struct error *cmd_survey(const struct cli *cli,
			 const struct survey_options *opt, struct survey **ret)
{
	AUTO_ARENA struct arena *arena = arena_create();
	struct error *err = NULL;
	pid_t pid = 0;

	if (!arena)
		return &error_nomem;
	if (cli->n_args)
		err = targets_one(cli->args[0], arena, &pid);
	return err ? err : survey_take(pid, opt, ret);
}
