/* SPDX-License-Identifier: Apache-2.0 */
#include "detector/cli_gate.h"

#include <signal.h>
#include <string.h>

#include "base/clock.h"
#include "detector/gate/live.h"
#include "detector/gate/report.h"

static struct error *parse_time(const char *arg, int64_t *ms_ret)
{
	if (clock_parse_duration(arg, ms_ret))
		return NULL;
	return error_new(ERROR_USAGE,
			 "cannot parse duration '%s'; as in 500ms, 30s or 10m",
			 arg);
}

static struct error *parse_orphans(const char *arg, struct cli *cli)
{
	static const char *const names[] = { "report", "kill", "wait" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (!strcmp(arg, names[i])) {
			cli->orphans = (enum gate_orphans)i;
			return NULL;
		}
	}
	return error_new(ERROR_USAGE,
			 "unknown way with orphans '%s'; use report, kill or "
			 "wait",
			 arg);
}

/* One "junit=FILE"; @len: up to the comma. */
static struct error *parse_report(const char *arg, size_t len, struct cli *cli)
{
	static struct gate_output outputs[GATE_MAX_OUTPUTS];
	const char *is = memchr(arg, '=', len);
	struct gate_output *o = &outputs[cli->n_reports];

	if (cli->n_reports == GATE_MAX_OUTPUTS)
		return error_new(ERROR_USAGE, "too many reports; at most %d",
				 GATE_MAX_OUTPUTS);
	if (!is || is == arg + len - 1)
		return error_new(ERROR_USAGE,
				 "--report '%.*s' is not FORMAT=FILE", (int)len,
				 arg);
	if (!gate_format_parse(arg, (size_t)(is - arg), &o->format))
		return error_new(ERROR_USAGE,
				 "unknown report '%.*s'; use junit, sarif, "
				 "json, markdown or codequality",
				 (int)(is - arg), arg);
	size_t path_len = (size_t)(arg + len - is - 1);
	if (path_len >= sizeof(o->path))
		return error_new(ERROR_USAGE, "--report: path too long");
	memcpy(o->path, is + 1, path_len);
	o->path[path_len] = '\0';
	cli->reports = outputs;
	cli->n_reports++;
	return NULL;
}

static struct error *parse_reports(const char *arg, struct cli *cli)
{
	for (;;) {
		size_t len = strcspn(arg, ",");
		struct error *err = parse_report(arg, len, cli);

		if (err || !arg[len])
			return err;
		arg += len + 1;
	}
}

static struct error *parse_signal(const char *arg, struct cli *cli)
{
	static const struct {
		const char *name;
		int signal;
	} v[] = { { "USR1", SIGUSR1 }, { "USR2", SIGUSR2 }, { "HUP", SIGHUP } };
	const char *name = strncmp(arg, "SIG", 3) != 0 ? arg : arg + 3;

	for (size_t i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
		if (!strcmp(name, v[i].name)) {
			cli->at_signal = v[i].signal;
			return NULL;
		}
	}
	return error_new(ERROR_USAGE, "--at-signal '%s'; use USR1, USR2 or HUP",
			 arg);
}

static struct error *parse_quiet(const char *arg, struct cli *cli)
{
	struct error *err = parse_time(arg, &cli->quiet_ms);

	if (!err &&
	    (cli->quiet_ms < LIVE_MIN_QUIET_MS || cli->quiet_ms > 3600 * 1000))
		err = error_new(ERROR_USAGE,
				"--quiet-after '%s' is not between %dms and 1h",
				arg, LIVE_MIN_QUIET_MS);
	return err;
}

struct error *cli_gate_option(enum cli_option_bit bit, const char *arg,
			      struct cli *cli)
{
	if (bit == OPT_GRACE)
		return parse_time(arg, &cli->grace_ms);
	if (bit == OPT_TIMEOUT)
		return parse_time(arg, &cli->timeout_ms);
	if (bit == OPT_ORPHANS)
		return parse_orphans(arg, cli);
	if (bit == OPT_REPORT)
		return parse_reports(arg, cli);
	if (bit == OPT_AT_SIGNAL)
		return parse_signal(arg, cli);
	if (bit == OPT_QUIET_AFTER)
		return parse_quiet(arg, cli);
	if (bit == OPT_BASELINE)
		cli->baseline = arg;
	else if (bit == OPT_PID)
		cli->pid_arg = arg;
	else if (bit == OPT_SNAPSHOT_BEFORE)
		cli->snapshot_before = arg;
	else if (bit == OPT_ALLOW_GAPS)
		cli->allow_gaps = true;
	else
		cli->update_baseline = true;
	return NULL;
}

static struct error *check_pid(const struct cli *cli)
{
	const uint64_t of_a_command = OPT_EVERY | OPT_AT_SIGNAL | OPT_ORPHANS |
				      OPT_HOW | OPT_UPDATE_BASELINE;

	if (cli->n_args)
		return error_new(ERROR_USAGE,
				 "--pid judges what runs already; without a "
				 "command");
	if (cli->given & of_a_command)
		return error_new(ERROR_USAGE,
				 "--every, --at-signal, --orphans, --how and "
				 "--update-baseline are for a command, not for "
				 "--pid");
	if (!cli->baseline == !cli->snapshot_before)
		return error_new(ERROR_USAGE,
				 "--pid: against what? give --baseline FILE, "
				 "or --snapshot-before FILE to make one");
	return NULL;
}

static struct error *check_command(const struct cli *cli)
{
	if (cli->snapshot_before)
		return error_new(ERROR_USAGE,
				 "--snapshot-before is of a process that runs; "
				 "give --pid, too");
	if (!cli->n_args)
		return error_new(ERROR_USAGE,
				 "which command? usage: stranded gate %s",
				 cli->command->args);
	if (cli->probe &&
	    !(cli->given & (OPT_EVERY | OPT_AT_SIGNAL | OPT_QUIET_AFTER)))
		return error_new(
			ERROR_USAGE,
			"--probe takes longer than an exit can be held "
			"up; it is for --every, --at-signal, "
			"--quiet-after and --pid");
	return NULL;
}

struct error *cli_gate_check(struct cli *cli)
{
	struct error *err = cli->pid_arg ? check_pid(cli) : check_command(cli);

	if (err)
		return err;
	if (cli->update_baseline && !cli->baseline)
		return error_new(ERROR_USAGE, "--update-baseline: which file? "
					      "give --baseline, too");
	if (!cli->how_arg || !strcmp(cli->how_arg, "seccomp"))
		return NULL;
	if (strcmp(cli->how_arg, "ptrace") != 0)
		return error_new(ERROR_USAGE,
				 "unknown way to catch exits '%s'; use seccomp "
				 "or ptrace",
				 cli->how_arg);
	cli->gate_how = GATE_BY_PTRACE;
	return NULL;
}
