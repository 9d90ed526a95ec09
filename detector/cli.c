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

#define FORMAT_BIT(f) (1u << (f))
#define COMMON (OPT_HELP | OPT_VERBOSE)

const struct cli_option cli_options[] = {
	{ "all", 'a', OPT_ALL, NULL,
	  "every Go process that may be read, each in turn; with scenario: "
	  "every scenario" },
	{ "allow-gaps", 0, OPT_ALLOW_GAPS, NULL,
	  "what could not be seen is no failure" },
	{ "arm-keepalive", 0, OPT_ARM_KEEPALIVE, "IDLE,INTVL,CNT",
	  "turn keepalive on for the connection of the running program, as in "
	  "15s,15s,9, and leave the rest to the kernel" },
	{ "baseline", 0, OPT_BASELINE, "FILE",
	  "leaks in FILE are known and pass; new ones fail, gone ones are "
	  "reported" },
	{ "color", 0, OPT_COLOR, "WHEN",
	  "auto, always or never; auto is a terminal without NO_COLOR" },
	{ "dry-run", 'n', OPT_DRY_RUN, NULL,
	  "say what would be done, and do nothing" },
	{ "family", 0, OPT_FAMILY, "FAMILY",
	  "4, 6 or both: IPv4, IPv6; by default both" },
	{ "fd", 0, OPT_FD, "N",
	  "only the connection of the process' file descriptor N" },
	{ "finding", 0, OPT_FINDING, "ID",
	  "the connections of the finding with that fingerprint, or with the "
	  "only one that begins so" },
	{ "force", 0, OPT_FORCE, NULL,
	  "also a connection that is not proven dead, even one that is alive" },
	{ "format", 'f', OPT_FORMAT, "FORMAT",
	  "text, json or, for ps, debug2: the text of Go's own dump" },
	{ "grace", 0, OPT_GRACE, "DURATION",
	  "how long a process that exits is held so that goroutines that are "
	  "slow to end can end; by default 500ms, and no longer than anything "
	  "is left" },
	{ "how", 0, OPT_HOW, "HOW",
	  "destroy, the default: the kernel ends the connection, and who waits "
	  "gets ECONNABORTED; eof: who reads gets the end of file" },
	{ "jobs", 'j', OPT_JOBS, "N",
	  "so many at once, from 1 to 64; by default 8: most of the time they "
	  "wait" },
	{ "min-blocked", 0, OPT_MIN_BLOCKED, "DURATION",
	  "only what may have been blocked that long: 500ms, 30s, 1m30s, 2h; "
	  "by default 5m for possible findings and 0 for all others" },
	{ "min-group", 0, OPT_MIN_GROUP, "N",
	  "goroutines that must wait at the same place to be a blocked-group "
	  "finding; by default 100" },
	{ "name", 0, OPT_NAME, "NAME",
	  "which lab; of letters, digits, - and _" },
	{ "net-from", 0, OPT_NET_FROM, "FILE",
	  "take the connections from a recording, not from the kernel" },
	{ "net-record", 0, OPT_NET_RECORD, "FILE",
	  "also write the kernel's answers on connections to FILE" },
	{ "orphans", 0, OPT_ORPHANS, "HOW",
	  "what still runs when the command has ended: report, the default, "
	  "kill, or wait for it and judge it" },
	{ "owner", 0, OPT_OWNER, "PID",
	  "the lab ends with that process; by default it stays until down" },
	{ "policy", 0, OPT_POLICY, "EXPR|FILE",
	  "which connections would not notice a dead peer in time: "
	  "keepalive<=60s, keepalive, user-timeout<=60s or user-timeout; exit "
	  "status 1 when there are any. With gate: a file of what is accepted, "
	  "and why" },
	{ "probe", 0, OPT_PROBE, NULL,
	  "ask the peers of connections that may be dead: sends up to three "
	  "small packets on each, see stranded help probe" },
	{ "quick", 'q', OPT_QUICK, NULL,
	  "one sample: skips the second look, 1 s later, that tells a moving "
	  "goroutine and a living connection from stuck and dead ones" },
	{ "remote", 0, OPT_REMOTE, "ADDR[:PORT]",
	  "only the connections to there; IPv6 with a port in brackets" },
	{ "report", 0, OPT_REPORT, "FORMAT=FILE,...",
	  "also write junit, sarif, json, markdown or codequality to FILE; may "
	  "be given again" },
	{ "rst-shield", 0, OPT_RST_SHIELD, NULL,
	  "keep a reset that answers a probe from the program, by an nft rule "
	  "for as long as the probe takes" },
	{ "rules", 0, OPT_RULES, "FILE",
	  "more rules for waits that are benign; may be given again" },
	{ "stacks", 's', OPT_STACKS, NULL, "whole stacks" },
	{ "timeout", 0, OPT_TIMEOUT, "DURATION",
	  "end the command after that time, show what it was stuck on, and "
	  "exit with 124" },
	{ "update-baseline", 0, OPT_UPDATE_BASELINE, NULL,
	  "write the leaks of this run to the baseline" },
	{ "verbose", 'v', OPT_VERBOSE, NULL,
	  "more of everything: full paths, the runtime's own goroutines, "
	  "what was held to be benign and why" },
	{ "victim", 0, OPT_VICTIM, "COMMAND",
	  "a program of yours in the victim's place, started by sh in the lab; "
	  "{peer} in it, and STRANDED_PEER in its environment, is the address "
	  "that it may call" },
	{ "window", 0, OPT_WINDOW, "DURATION",
	  "how long to wait for answers to probes, 1s to 60s; by default 15s, "
	  "and below 10s silence is no verdict" },
	{ "within", 0, OPT_WITHIN, "DURATION",
	  "it must let go of all dead connections within that time; by "
	  "default 60s" },
	{ "help", 'h', OPT_HELP, NULL, "this text" },
	{ "version", 0, OPT_VERSION, NULL, "the version" },
	{ NULL, 0, 0, NULL, NULL },
};

const struct command cli_commands[] = {
	{ "check", "PID|NAME... | --all",
	  "report what is stuck, on which connection, and whether that is dead",
	  "Takes the goroutines and TCP connections of the process twice, at "
	  "least 1 s apart, judges each connection, and reports the goroutines "
	  "that can never return. The process is not stopped and nothing in it "
	  "is changed. This is the default command.",
	  COMMON | OPT_ALL | OPT_COLOR | OPT_FORMAT | OPT_MIN_BLOCKED |
		  OPT_MIN_GROUP | OPT_NET_FROM | OPT_NET_RECORD | OPT_PROBE |
		  OPT_QUICK | OPT_RST_SHIELD | OPT_RULES | OPT_STACKS |
		  OPT_WINDOW,
	  FORMAT_BIT(FORMAT_TEXT) | FORMAT_BIT(FORMAT_JSON), 0, SIZE_MAX,
	  cmd_check, false },
	{ "ps", "PID|NAME",
	  "list the goroutines, what each waits on, and where",
	  "One look at every goroutine: what it waits for, since when, on which "
	  "connection, and where it was started. With --format debug2, the text "
	  "that Go's own /debug/pprof/goroutine?debug=2 gives.",
	  COMMON | OPT_COLOR | OPT_FORMAT | OPT_NET_FROM | OPT_STACKS,
	  FORMAT_BIT(FORMAT_TEXT) | FORMAT_BIT(FORMAT_JSON) |
		  FORMAT_BIT(FORMAT_DEBUG2),
	  1, 1, cmd_ps, false },
	{ "sockets", "PID|NAME | --net-from FILE",
	  "list the TCP connections, the verdict on each, and who waits on it",
	  "Every TCP socket of the process, in whichever network namespace it "
	  "lives: state, queues, timer, keepalive, idle time, verdict, and the "
	  "goroutine that waits on it.",
	  COMMON | OPT_COLOR | OPT_FORMAT | OPT_NET_FROM | OPT_NET_RECORD |
		  OPT_POLICY | OPT_QUICK,
	  FORMAT_BIT(FORMAT_TEXT) | FORMAT_BIT(FORMAT_JSON), 0, 1, cmd_sockets,
	  false },
	{ "probe", "PID|NAME",
	  "ask the peers of silent connections whether they are still there",
	  "Sends up to three window probes (packets without data that any peer "
	  "answers) at 0, 1 and 5 s on each connection that may be dead, or on "
	  "the ones named, and waits for answers. No data of the program's is "
	  "touched; what is changed on a socket is put back at once, also when "
	  "stranded is killed. A peer that has forgotten the connection answers "
	  "with a reset, which ends it: --rst-shield keeps that from the "
	  "program.",
	  COMMON | OPT_COLOR | OPT_FD | OPT_FORMAT | OPT_NET_RECORD |
		  OPT_REMOTE | OPT_RST_SHIELD | OPT_WINDOW,
	  FORMAT_BIT(FORMAT_TEXT) | FORMAT_BIT(FORMAT_JSON), 1, 1, cmd_probe,
	  false },
	{ "heal", "PID|NAME --fd N | --remote ADDR | --finding ID",
	  "let go of who waits on a connection that is proven dead",
	  "Looks at the process as check does, says what it will do, does it, "
	  "and looks whether the goroutines have moved on. Only a connection "
	  "that is proven dead is touched, or with --probe one whose peer does "
	  "not answer, unless --force says otherwise. With "
	  "--arm-keepalive nothing is ended: the kernel will find out by "
	  "itself. Exit status: 0 all are free, 1 some still wait or a "
	  "connection could not be healed, 2 refused or nothing to do.",
	  COMMON | OPT_ARM_KEEPALIVE | OPT_COLOR | OPT_DRY_RUN | OPT_FD |
		  OPT_FINDING | OPT_FORCE | OPT_FORMAT | OPT_HOW |
		  OPT_MIN_BLOCKED | OPT_PROBE | OPT_REMOTE | OPT_RST_SHIELD |
		  OPT_RULES | OPT_WINDOW,
	  FORMAT_BIT(FORMAT_TEXT) | FORMAT_BIT(FORMAT_JSON), 1, 1, cmd_heal,
	  false },
	{ "run", "[--] CMD [ARG]...",
	  "become a program whose coroutines can be seen from outside",
	  "Puts libstranded-hook.so into LD_PRELOAD and executes CMD, which "
	  "thus keeps the pid, the terminal, the signals and the exit status. "
	  "Coroutines of makecontext and swapcontext, Boost.Context, GNU Pth "
	  "and PCL are then known to check and ps, and so is the call that a "
	  "coroutine of another library was last seen to wait in. What the "
	  "hook does not reach (setuid, static, musl) is said on standard "
	  "error, and runs nevertheless.",
	  OPT_HELP, FORMAT_BIT(FORMAT_TEXT), 1, SIZE_MAX, cmd_run, true },
	{ "lab", "up|exec|fault|heal-fault|status|list|faults|down [ARG]...",
	  "hosts as network namespaces, and every way a connection dies",
	  "'up TOPOLOGY' (pair, lan, routed, nat, proxy) builds hosts a, b, c "
	  "and what lies between them, 'exec HOST -- CMD' runs a program "
	  "there, 'fault NAME' breaks the path between a and b, or b itself; c "
	  "stays healthy. 'faults' lists what can be built and broken. Nothing "
	  "is left after 'down'. Needs root, or user namespaces.",
	  COMMON | OPT_COLOR | OPT_FORMAT | OPT_NAME | OPT_OWNER,
	  FORMAT_BIT(FORMAT_TEXT) | FORMAT_BIT(FORMAT_JSON), 0, SIZE_MAX,
	  cmd_lab, false },
	{ "scenario", "list | run NAME... | run --all",
	  "play the ways in which connections die, and judge the verdicts",
	  "Each scenario builds a lab of network namespaces, strands a program "
	  "in it, breaks the path or the peer, and compares what stranded says "
	  "before any packet is sent, and after a probe, with what the "
	  "program knows itself. With --victim a program of yours is stranded "
	  "instead: does it let go? Needs root, or user namespaces.",
	  COMMON | OPT_ALL | OPT_FAMILY | OPT_FORMAT | OPT_JOBS | OPT_VICTIM |
		  OPT_WITHIN,
	  FORMAT_BIT(FORMAT_TEXT) | FORMAT_BIT(FORMAT_JSON), 1, SIZE_MAX,
	  cmd_scenario, false },
	{ "gate", "[--] CMD [ARG]...",
	  "run a command, and fail when it, or what it runs, leaves something "
	  "behind",
	  "Each process below the command is held for a moment just before it "
	  "exits, and its goroutines and connections are looked at: what is "
	  "still there after a time of grace is a leak, by the rule of "
	  "go.uber.org/goleak, for any Go program and without a line of code. "
	  "Status, output and signals of the command pass through; its own "
	  "failure comes before 1 for leaks and 3 for what could not be seen. "
	  "The report is on standard error.",
	  COMMON | OPT_ALLOW_GAPS | OPT_BASELINE | OPT_COLOR | OPT_GRACE |
		  OPT_ORPHANS | OPT_POLICY | OPT_QUICK | OPT_REPORT |
		  OPT_STACKS | OPT_TIMEOUT | OPT_UPDATE_BASELINE,
	  FORMAT_BIT(FORMAT_TEXT), 1, SIZE_MAX, cmd_gate, true },
	{ "doctor", "[PID|NAME]",
	  "say what can be seen here, what is missing, and the remedy",
	  "Without a process: permissions, kernel features and namespaces. With "
	  "one: also whether its memory, runtime and sockets can be read, and "
	  "how the runtime's layout was found.",
	  COMMON | OPT_COLOR | OPT_FORMAT,
	  FORMAT_BIT(FORMAT_TEXT) | FORMAT_BIT(FORMAT_JSON), 0, 1, cmd_doctor,
	  false },
	{ "version", "", "print the version", "Prints one line.", OPT_HELP,
	  FORMAT_BIT(FORMAT_TEXT), 0, 0, cmd_version, false },
	{ "help", "[COMMAND]", "explain a command",
	  "Without a command: the overview.", OPT_HELP, FORMAT_BIT(FORMAT_TEXT),
	  0, 1, cmd_help, false },
	{ NULL, NULL, NULL, NULL, 0, 0, 0, 0, NULL, false },
};

#define N_OPTIONS (sizeof(cli_options) / sizeof(cli_options[0]) - 1)

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
	for (size_t i = 0; i < N_OPTIONS; i++) {
		const struct cli_option *o = &cli_options[i];

		longs[i] = (struct option){
			.name = o->name,
			.has_arg = o->arg ? required_argument : no_argument,
			.val = (int)(256 + i),
		};
		if (!o->letter)
			continue;
		*s++ = o->letter;
		if (o->arg)
			*s++ = ':';
	}
	*s = '\0';
	longs[N_OPTIONS] = (struct option){ 0 };
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
		return parse_how(arg, cli);
	case OPT_DRY_RUN:
		cli->dry_run = true;
		return NULL;
	case OPT_FORCE:
		cli->force = true;
		return NULL;
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
		return NULL;
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
	if (!(c->formats & FORMAT_BIT(cli->format)))
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
	if (c->run == cmd_gate)
		return cli_gate_check(cli);
	struct error *err = check_probe(cli);
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
			     .grace_ms = -1,
			     .timeout_ms = -1 };
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
