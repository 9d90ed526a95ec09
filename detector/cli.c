/* SPDX-License-Identifier: Apache-2.0 */
#include "detector/cli.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/process.h"
#include "detector/cli_gate.h"
#include "netwatch/probe.h"

#define N_OPTIONS 64 /* at most: a bit each */

const struct command *cli_find_command(const char *name)
{
	for (const struct command *c = cli_commands; c->name; c++)
		if (!strcmp(c->name, name))
			return c;
	return NULL;
}

/* The tables for getopt_long(3); val is the row in cli_options, plus 256. */
static void make_getopt(struct option longs[N_OPTIONS + 1],
			char shorts[2 * N_OPTIONS + 3], bool in_order)
{
	char *s = shorts;

	if (in_order)
		*s++ = '+';
	*s++ = ':'; /* a missing argument is ':', not '?' */
	size_t n = 0;
	for (; cli_options[n].name; n++) {
		const struct cli_option *o = &cli_options[n];

		longs[n] = (struct option){
			.name = o->name,
			.has_arg = o->arg ? required_argument : no_argument,
			.val = (int)(256 + n),
		};
		if (!o->letter)
			continue;
		*s++ = o->letter;
		if (o->arg)
			*s++ = ':';
	}
	*s = '\0';
	longs[n] = (struct option){ 0 };
}

static const struct cli_option *option_of(int val)
{
	if (val >= 256)
		return &cli_options[val - 256];
	for (const struct cli_option *o = cli_options; o->name; o++)
		if (o->letter && o->letter == val)
			return o;
	return NULL;
}

static struct error *parse_format(const char *arg, struct cli *cli)
{
	static const char *const names[] = { "text", "json", "debug2" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (!strcmp(arg, names[i])) {
			cli->format = (enum format)i;
			return NULL;
		}
	}
	return error_new(ERROR_USAGE,
			 "unknown format '%s'; use text, json or debug2", arg);
}

static struct error *parse_color(const char *arg, struct cli *cli)
{
	static const char *const names[] = { "auto", "always", "never" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (!strcmp(arg, names[i])) {
			cli->color = (enum color_mode)i;
			return NULL;
		}
	}
	return error_new(ERROR_USAGE,
			 "unknown colour mode '%s'; use auto, always or never",
			 arg);
}

static struct error *parse_group(const char *arg, struct cli *cli)
{
	char *end;

	errno = 0;
	unsigned long n = strtoul(arg, &end, 10);
	if (errno || *end || end == arg || *arg == '-' || n == 0 ||
	    n > UINT32_MAX)
		return error_new(ERROR_USAGE,
				 "'%s' is no group size; use a number from 1",
				 arg);
	cli->min_group = (uint32_t)n;
	return NULL;
}

static struct error *parse_jobs(const char *arg, struct cli *cli)
{
	char *end;

	errno = 0;
	unsigned long n = strtoul(arg, &end, 10);
	if (errno || *end || end == arg || *arg == '-' || n == 0 || n > 64)
		return error_new(ERROR_USAGE,
				 "'%s' is no number of jobs; use one from 1 to "
				 "64",
				 arg);
	cli->jobs = (uint32_t)n;
	return NULL;
}

static struct error *parse_family(const char *arg, struct cli *cli)
{
	if (strcmp(arg, "4") && strcmp(arg, "6") && strcmp(arg, "both"))
		return error_new(ERROR_USAGE,
				 "unknown family '%s'; use 4, 6 or both", arg);
	cli->family = *arg == '4'   ? AF_INET
		      : *arg == '6' ? AF_INET6
				    : AF_UNSPEC;
	return NULL;
}

static struct error *parse_duration(const char *arg, int64_t *ret)
{
	if (clock_parse_duration(arg, ret) && *ret >= 0)
		return NULL;
	return error_new(ERROR_USAGE,
			 "'%s' is no duration; use a unit, as in 500ms, 30s, "
			 "1m30s or 2h",
			 arg);
}

static struct error *parse_range(const char *arg, int64_t min, int64_t max,
				 int64_t *ret)
{
	char from[CLOCK_TEXT_MAX], to[CLOCK_TEXT_MAX];
	int64_t ms;

	if (clock_parse_duration(arg, &ms) && ms >= min && ms <= max) {
		*ret = ms;
		return NULL;
	}
	clock_format_duration(min, from);
	clock_format_duration(max, to);
	return error_new(ERROR_USAGE,
			 "'%s' is no duration from %s to %s; use a unit, as in "
			 "500ms, 30s, 1m30s or 2h",
			 arg, from, to);
}

static struct error *parse_owner(const char *arg, struct cli *cli)
{
	char *end;

	errno = 0;
	long n = strtol(arg, &end, 10);
	if (errno || *end || end == arg || n < 1 || n > INT32_MAX)
		return error_new(ERROR_USAGE, "'%s' is no pid", arg);
	cli->lab_owner = (pid_t)n;
	return NULL;
}

static struct error *parse_window(const char *arg, struct cli *cli)
{
	if (clock_parse_duration(arg, &cli->window_ms) &&
	    cli->window_ms >= PROBE_WINDOW_MIN_MS &&
	    cli->window_ms <= PROBE_WINDOW_MAX_MS)
		return NULL;
	return error_new(ERROR_USAGE,
			 "'%s' is no time to wait for answers; use 1s to 60s",
			 arg);
}

static struct error *parse_fd(const char *arg, struct cli *cli)
{
	char *end;

	errno = 0;
	unsigned long n = strtoul(arg, &end, 10);
	if (errno || *end || end == arg || *arg < '0' || *arg > '9' ||
	    n >= PROCESS_MAX_FDS)
		return error_new(
			ERROR_USAGE,
			"'%s' is no file descriptor; use a number from "
			"0",
			arg);
	cli->fd = (int)n;
	return NULL;
}

static struct error *parse_remote(const char *arg, struct cli *cli)
{
	if (endpoint_parse(arg, &cli->remote))
		return NULL;
	return error_new(ERROR_USAGE,
			 "'%s' is no address; use 10.0.0.1, 10.0.0.1:6379, "
			 "fd00::1 or [fd00::1]:6379",
			 arg);
}

static struct error *parse_how(const char *arg, struct cli *cli)
{
	static const char *const names[] = { "destroy", "eof" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (!strcmp(arg, names[i])) {
			cli->how = (enum heal_how)i;
			return NULL;
		}
	}
	return error_new(ERROR_USAGE,
			 "unknown way to heal '%s'; use destroy or eof", arg);
}

static struct error *parse_arm(const char *arg, struct cli *cli)
{
	return keepalive_parse(arg, &cli->keepalive);
}

static struct error *add_rules(const char *arg, struct cli *cli)
{
	if (cli->n_rules == CLI_MAX_RULES)
		return error_new(ERROR_USAGE,
				 "too many rules files; at most %d",
				 CLI_MAX_RULES);
	cli->rules[cli->n_rules++] = arg;
	return NULL;
}

/* flat table */
static struct error *apply(const struct cli_option *o, const char *arg,
			   struct cli *cli)
{
	cli->given |= o->bit;
	switch (o->bit) {
	case OPT_ALL:
		cli->all = true;
		return NULL;
	case OPT_QUICK:
		cli->quick = true;
		return NULL;
	case OPT_STACKS:
		cli->stacks = true;
		return NULL;
	case OPT_VERBOSE:
		cli->verbose = true;
		return NULL;
	case OPT_PROBE:
		cli->probe = true;
		return NULL;
	case OPT_RST_SHIELD:
		cli->rst_shield = true;
		return NULL;
	case OPT_WINDOW:
		return parse_window(arg, cli);
	case OPT_FD:
		return parse_fd(arg, cli);
	case OPT_REMOTE:
		return parse_remote(arg, cli);
	case OPT_NET_FROM:
		cli->net_from = arg;
		return NULL;
	case OPT_NET_RECORD:
		cli->net_record = arg;
		return NULL;
	case OPT_NAME:
		cli->lab_name = arg;
		return NULL;
	case OPT_OWNER:
		return parse_owner(arg, cli);
	case OPT_COLOR:
		return parse_color(arg, cli);
	case OPT_FORMAT:
		return parse_format(arg, cli);
	case OPT_MIN_BLOCKED:
		return parse_duration(arg, &cli->min_blocked_ms);
	case OPT_WITHIN:
		return parse_duration(arg, &cli->within_ms);
	case OPT_VICTIM:
		cli->victim = arg;
		return NULL;
	case OPT_JOBS:
		return parse_jobs(arg, cli);
	case OPT_FAMILY:
		return parse_family(arg, cli);
	case OPT_MIN_GROUP:
		return parse_group(arg, cli);
	case OPT_RULES:
		return add_rules(arg, cli);
	case OPT_FINDING:
		cli->finding = arg;
		return NULL;
	case OPT_HOW:
		cli->how_arg = arg;
		return NULL;
	case OPT_DRY_RUN:
		cli->dry_run = true;
		return NULL;
	case OPT_FORCE:
		cli->force = true;
		return NULL;
	case OPT_THREADS:
		cli->threads = true;
		return NULL;
	case OPT_STOP:
		cli->stop = true;
		return NULL;
	case OPT_FOR:
		return parse_range(arg, 1000, 24 * 3600 * 1000, &cli->for_ms);
	case OPT_EVERY:
		return parse_range(arg, 200, 3600 * 1000, &cli->every_ms);
	case OPT_ARM_KEEPALIVE:
		return parse_arm(arg, cli);
	case OPT_POLICY:
		cli->policy_arg = arg;
		return NULL;
	case OPT_GRACE:
	case OPT_TIMEOUT:
	case OPT_ORPHANS:
	case OPT_ALLOW_GAPS:
	case OPT_BASELINE:
	case OPT_UPDATE_BASELINE:
	case OPT_REPORT:
	case OPT_PID:
	case OPT_SNAPSHOT_BEFORE:
	case OPT_AT_SIGNAL:
	case OPT_QUIET_AFTER:
		return cli_gate_option(o->bit, arg, cli);
	case OPT_HELP:
	case OPT_VERSION:
		return NULL;
	}
	return NULL;
}

/*
 * The index of the first word that is no option: the command, if that is one.
 * Nothing is applied, and wrong options are for parse_options() to name.
 */
static int first_word(int argc, char **argv)
{
	struct option longs[N_OPTIONS + 1];
	char shorts[2 * N_OPTIONS + 3];

	make_getopt(longs, shorts, true);
	optind = 0;
	opterr = 0;
	while (getopt_long(argc, argv, shorts, longs, NULL) != -1)
		;
	return optind;
}

/* @in_order: up to the first word that is no option; else all. */
static struct error *parse_options(int argc, char **argv, bool in_order,
				   struct cli *cli)
{
	struct option longs[N_OPTIONS + 1];
	char shorts[2 * N_OPTIONS + 3];
	int val;

	make_getopt(longs, shorts, in_order);
	optind = 0; /* glibc: start anew, also on a second call */
	opterr = 0;
	while ((val = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
		if (val == ':')
			return error_new(ERROR_USAGE,
					 "option '%s' needs an argument",
					 argv[optind - 1]);
		if (val == '?') {
			if (optopt && optopt < 256)
				return error_new(ERROR_USAGE,
						 "unknown option '-%c'",
						 optopt);
			if (optopt)
				return error_new(ERROR_USAGE,
						 "option '--%s' takes no "
						 "argument",
						 option_of(optopt)->name);
			return error_new(ERROR_USAGE, "unknown option '%s'",
					 argv[optind - 1]);
		}
		struct error *err = apply(option_of(val), optarg, cli);
		if (err)
			return err;
	}
	return NULL;
}

/* A probe is asked for by name, and of a process that is there. */
static struct error *check_probe(const struct cli *cli)
{
	if (cli->force && !cli->stop && cli->command->run != cmd_heal)
		return error_new(ERROR_USAGE,
				 "--force is for --stop; say --stop, too");
	if (cli->command->run != cmd_probe && !cli->probe &&
	    (cli->given & (OPT_WINDOW | OPT_RST_SHIELD)))
		return error_new(ERROR_USAGE,
				 "--window and --rst-shield are for probes; "
				 "say --probe, too");
	if (cli->probe && cli->net_from)
		return error_new(ERROR_USAGE,
				 "--probe and --net-from exclude each other: a "
				 "recording has no peers to ask");
	if (cli->probe && cli->quick)
		return error_new(ERROR_USAGE,
				 "--probe and --quick exclude each other: what "
				 "two samples tell needs no packet");
	if (cli->fd >= 0 && cli->remote.family)
		return error_new(ERROR_USAGE,
				 "--fd and --remote exclude each other");
	return NULL;
}

/* One connection or finding, and one thing to do with it. */
static struct error *check_heal(struct cli *cli)
{
	if (!(cli->given & (OPT_FD | OPT_FINDING | OPT_REMOTE)))
		return error_new(ERROR_USAGE,
				 "which connection? give --fd N or --remote "
				 "ADDR as stranded sockets shows them, or "
				 "--finding ID as stranded --format json does");
	if ((cli->given & OPT_FINDING) && (cli->given & (OPT_FD | OPT_REMOTE)))
		return error_new(ERROR_USAGE,
				 "--finding excludes --fd and --remote");
	if (!(cli->given & OPT_ARM_KEEPALIVE))
		return cli->how_arg ? parse_how(cli->how_arg, cli) : NULL;
	if (cli->given & OPT_HOW)
		return error_new(ERROR_USAGE, "--how and --arm-keepalive "
					      "exclude each other");
	cli->how = HEAL_ARM;
	return NULL;
}

/* Does the command take what was given? */
static struct error *check_fit(struct cli *cli)
{
	const struct command *c = cli->command;

	for (const struct cli_option *o = cli_options; o->name; o++)
		if ((cli->given & o->bit) && !(c->options & o->bit) &&
		    o->bit != OPT_VERSION)
			return error_new(ERROR_USAGE,
					 "'%s' takes no option '--%s'", c->name,
					 o->name);
	if (!(c->formats & CLI_FORMAT_BIT(cli->format)))
		return error_new(
			ERROR_USAGE,
			"'%s' has no such format; see stranded help %s",
			c->name, c->name);
	if (cli->given & (OPT_HELP | OPT_VERSION))
		return NULL;
	if (cli->n_args > c->max_args)
		return error_new(ERROR_USAGE,
				 "too many arguments for '%s': '%s'", c->name,
				 cli->args[c->max_args]);
	if (cli->net_from && cli->net_record)
		return error_new(ERROR_USAGE, "--net-from and --net-record "
					      "exclude each other");
	if (cli->all && cli->n_args && c->run == cmd_check)
		return error_new(ERROR_USAGE,
				 "--all and '%s' exclude each other",
				 cli->args[0]);
	if (cli->all && (cli->net_from || cli->net_record))
		return error_new(ERROR_USAGE,
				 "a recording is of one process; not with "
				 "--all");
	if (cli->n_args < c->min_args && c->takes_command)
		return error_new(ERROR_USAGE,
				 "which command? usage: stranded %s %s",
				 c->name, c->args);
	if (cli->n_args < c->min_args ||
	    (!cli->n_args && c->run == cmd_check && !cli->all) ||
	    (!cli->n_args && c->run == cmd_sockets && !cli->net_from))
		return error_new(ERROR_USAGE,
				 "which process? usage: stranded %s %s; "
				 "'stranded help' explains",
				 c->name, c->args);
	struct error *err = check_probe(cli);
	if (!err && c->run == cmd_gate)
		return cli_gate_check(cli);
	if (!err && (cli->given & OPT_POLICY))
		err = policy_parse(cli->policy_arg, &cli->policy);
	return err || c->run != cmd_heal ? err : check_heal(cli);
}

struct error *cli_parse(int argc, char **argv, struct cli *ret)
{
	*ret = (struct cli){ .command = &cli_commands[0],
			     .window_ms = PROBE_WINDOW_MS,
			     .fd = -1,
			     .min_blocked_ms = -1,
			     .within_ms = -1,
			     .for_ms = -1,
			     .every_ms = -1,
			     .grace_ms = -1,
			     .timeout_ms = -1,
			     .quiet_ms = -1 };
	int word = first_word(argc, argv);
	const struct command *first = word < argc ? cli_find_command(argv[word])
						  : NULL;
	bool in_order = first && first->takes_command;
	struct error *err =
		parse_options(in_order ? word : argc, argv, in_order, ret);
	if (err)
		return err;
	if (in_order) {
		argc -= word;
		argv += word;
		ret->command = first;
		ret->command_named = true;
		err = parse_options(argc, argv, true, ret);
		if (err)
			return err;
	}
	ret->args = (const char *const *)(argv + optind);
	ret->n_args = (size_t)(argc - optind);
	if (ret->n_args && !in_order) {
		const struct command *c = cli_find_command(ret->args[0]);

		if (c) {
			ret->command = c;
			ret->command_named = true;
			ret->args++;
			ret->n_args--;
		}
	}
	return check_fit(ret);
}

int cli_main(int argc, char **argv)
{
	struct cli cli;

	AUTO_ERROR struct error *err = cli_parse(argc, argv, &cli);
	if (err) {
		log_error("%s", error_text(err));
		return STATUS_USAGE;
	}
	if (cli.given & OPT_VERSION)
		return cmd_version(&cli);
	if (cli.given & OPT_HELP) {
		cli_print_help(stdout, cli.command_named ? cli.command : NULL);
		return STATUS_CLEAN;
	}
	return cli.command->run(&cli);
}
