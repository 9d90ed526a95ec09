/* SPDX-License-Identifier: Apache-2.0 */

/**
 * `gate`: run a command, look at every process below it just before it exits,
 * and fail when one leaves something behind.
 */

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/exec_status.h"
#include "base/log.h"
#include "detector/cmd.h"
#include "detector/gate/live.h"
#include "detector/gate/report.h"
#include "detector/target.h"

#define GRACE_MS 500
/* As of sh(1), env(1) and timeout(1). */
#define STATUS_TIMED_OUT 124
#define STATUS_SIGNAL 128

/* The command's own status, as the shell has it. */
static int status_of(const struct watch_result *r)
{
	if (r->exec_errno)
		return exec_status(r->exec_errno);
	if (r->timed_out)
		return STATUS_TIMED_OUT;
	if (WIFSIGNALED(r->wait_status))
		return STATUS_SIGNAL + WTERMSIG(r->wait_status);
	return WEXITSTATUS(r->wait_status);
}

/* Its failure wins: who fails for himself needs no other reason. */
static int judge(const struct cli *cli, const struct gate_report *r)
{
	int status = status_of(r->result);
	struct gate_sums s;

	gate_sum(r, &s);
	if (status)
		return status;
	if (s.leaks)
		return STATUS_FINDINGS;
	return s.gaps && !cli->allow_gaps ? STATUS_GAPS : STATUS_CLEAN;
}

static struct error *read_policy(const struct cli *cli,
				 struct gate_policy **ret)
{
	char today[16];
	time_t now = time(NULL);
	struct tm tm;

	if (!(cli->given & OPT_POLICY))
		return NULL;
	gmtime_r(&now, &tm);
	strftime(today, sizeof(today), "%Y-%m-%d", &tm);
	return gate_policy_read(cli->policy_arg, today, ret);
}

static struct error *read_baseline(const struct cli *cli,
				   struct gate_baseline **ret)
{
	if (!cli->baseline)
		return NULL;
	return baseline_read(cli->baseline, cli->update_baseline, ret);
}

/* Where annotations are relative to: what CI says, or the work tree. */
static void find_root(char root[PATH_MAX])
{
	static const char *const names[] = { "GITHUB_WORKSPACE",
					     "CI_PROJECT_DIR" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		const char *env = getenv(names[i]);

		if (env && realpath(env, root))
			return;
	}
	if (!getcwd(root, PATH_MAX))
		*root = '\0';
	char cwd[PATH_MAX];
	snprintf(cwd, sizeof(cwd), "%s", root);
	while (strlen(root) > 1) {
		char git[PATH_MAX + 8];

		snprintf(git, sizeof(git), "%s/.git", root);
		if (!access(git, F_OK))
			return;
		*strrchr(root, '/') = '\0';
	}
	snprintf(root, PATH_MAX, "%s", cwd);
}

static struct error *write_one(const char *path, const char *mode,
			       enum gate_format format,
			       const struct gate_report *r)
{
	FILE *f = fopen(path, mode);

	if (!f)
		return error_os(errno, "cannot write report '%s'", path);
	struct error *err = gate_report_write(format, f, r);
	bool bad = ferror(f);
	if ((fclose(f) || bad) && !err)
		err = error_os(errno ? errno : EIO, "cannot write report '%s'",
			       path);
	return err;
}

static struct error *write_reports(const struct cli *cli,
				   const struct gate_report *r)
{
	const char *summary = getenv("GITHUB_STEP_SUMMARY");
	struct error *err = NULL;

	for (size_t i = 0; i < cli->n_reports && !err; i++)
		err = write_one(cli->reports[i].path, "we",
				cli->reports[i].format, r);
	if (!err && getenv("GITHUB_ACTIONS") && summary && *summary)
		err = write_one(summary, "ae", GATE_MARKDOWN, r);
	return err;
}

static struct error *update(const struct cli *cli,
			    const struct watch_result *result, int *status_ret)
{
	if (!cli->update_baseline)
		return NULL;
	/* What ended early would take out what it did not come to. */
	if (status_of(result)) {
		log_error("the command failed: the baseline stays as it was");
		return NULL;
	}
	struct error *err =
		baseline_write(cli->baseline, result->processes, false);
	if (!err && *status_ret == STATUS_FINDINGS)
		*status_ret = STATUS_CLEAN;
	return err;
}

static void say_start(const struct cli *cli, const struct watch_result *r)
{
	if (r->exec_errno)
		log_error("cannot run '%s': %s", cli->args[0],
			  strerror(r->exec_errno));
	else if (r->no_new_privs)
		log_error("gate: without CAP_SYS_ADMIN, setuid programs below "
			  "the command (sudo, ping) gain no privileges");
}

static void write_text(const struct cli *cli, const struct gate_report *r)
{
	struct text t;

	say_start(cli, r->result);
	if (!r->result->exec_errno) {
		text_init(&t, stderr, cli->color);
		gate_report_text(&t, r);
	}
	/* On standard error, which the runner reads too. */
	if (getenv("GITHUB_ACTIONS"))
		gate_report_annotations(stderr, r);
}

static struct error *finish(const struct cli *cli, struct gate_policy *policy,
			    struct gate_baseline *baseline,
			    const struct watch_result *result, int *status_ret)
{
	char root[PATH_MAX];
	const char *const running[] = { "--pid", cli->pid_arg, NULL };
	struct gate_report r = { .argv = cli->pid_arg ? running : cli->args,
				 .result = result,
				 .policy = policy,
				 .baseline = baseline,
				 .root = root,
				 .stacks = cli->stacks,
				 .verbose = cli->verbose,
				 .allow_gaps = cli->allow_gaps,
				 .traced = cli->gate_how == GATE_BY_PTRACE };

	for (struct gate_process *p = result->processes; p; p = p->next) {
		if (policy)
			gate_policy_apply(policy, p);
		if (baseline)
			baseline_apply(baseline, p);
	}
	find_root(root);
	r.status = *status_ret = judge(cli, &r);
	/*
	 * Files first: who reads the text may have had enough of it
	 * (2>&1 | head), and that takes neither the files nor the status.
	 */
	signal(SIGPIPE, SIG_IGN);
	struct error *err = write_reports(cli, &r);
	if (!err)
		err = update(cli, result, status_ret);
	write_text(cli, &r);
	return err;
}

static struct error *write_snapshot(const struct cli *cli,
				    const struct watch_result *result,
				    int *status_ret)
{
	const struct gate_report r = { .result = result,
				       .allow_gaps = cli->allow_gaps,
				       .verbose = cli->verbose };
	struct text t;
	struct gate_sums s;
	struct error *err =
		baseline_write(cli->snapshot_before, result->processes, true);

	if (err)
		return err;
	text_init(&t, stderr, cli->color);
	gate_report_snapshot(&t, &r, cli->snapshot_before);
	gate_sum(&r, &s);
	*status_ret = s.gaps && !cli->allow_gaps ? STATUS_GAPS : STATUS_CLEAN;
	return NULL;
}

/* A look at what runs, instead of a command. */
static struct error *run_pid(const struct cli *cli,
			     const struct watch_options *opt,
			     struct watch_result **ret)
{
	AUTO_ARENA struct arena *arena = arena_create();
	pid_t pid = 0;
	struct error *err = arena ? targets_one(cli->pid_arg, arena, &pid)
				  : &error_nomem;

	return err ? err : live_once(pid, opt, ret);
}

static struct error *run(const struct cli *cli, int *status_ret)
{
	AUTO_GATE_POLICY struct gate_policy *policy = NULL;
	AUTO_BASELINE struct gate_baseline *baseline = NULL;
	AUTO_WATCH struct watch_result *result = NULL;
	struct error *err = read_policy(cli, &policy);

	if (!err)
		err = read_baseline(cli, &baseline);
	if (err)
		return err;
	const struct watch_options opt = {
		.look = { .grace_ms = cli->grace_ms < 0 ? GRACE_MS
							: cli->grace_ms,
			  .quick = cli->quick,
			  .policy = policy && policy->has_connections
					    ? &policy->connections
					    : NULL,
			  .probing = cmd_probing(cli) },
		.timeout_ms = cli->timeout_ms,
		.orphans = cli->orphans,
		.how = cli->gate_how,
		.live = { .every_ms = cli->every_ms,
			  .quiet_ms = cli->quiet_ms,
			  .signal = cli->at_signal },
	};
	err = cli->pid_arg ? run_pid(cli, &opt, &result)
			   : watch_run(cli->args, &opt, &result);
	if (!err && cli->snapshot_before)
		return write_snapshot(cli, result, status_ret);
	return err ? err : finish(cli, policy, baseline, result, status_ret);
}

int cmd_gate(const struct cli *cli)
{
	int status = STATUS_NOTHING;
	struct error *err = run(cli, &status);

	return cmd_finish(err, status);
}
