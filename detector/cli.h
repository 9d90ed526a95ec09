/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DETECTOR_CLI_H
#define DETECTOR_CLI_H

/**
 * The command line: one table of commands and one of options. Dispatch, help
 * and the test that the man page is complete are driven by these two tables.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "base/error.h"
#include "detector/gate/options.h"
#include "detector/policy.h"
#include "netwatch/socket.h"

/** What the program says to its caller; documented in stranded.1. */
enum exit_status {
	STATUS_CLEAN = 0,    /* judged, no finding, nothing left unseen */
	STATUS_FINDINGS = 1, /* at least one finding */
	STATUS_NOTHING = 2,  /* nothing could be judged: gone, denied ... */
	STATUS_GAPS = 3,     /* judged, no finding, but not all was seen */
	STATUS_USAGE = 64,   /* wrong command line, wrong file */
};

enum format { FORMAT_TEXT, FORMAT_JSON, FORMAT_DEBUG2 };

/** The bit of enum format @f in a command's formats. */
#define CLI_FORMAT_BIT(f) (1u << (f))

enum color_mode { COLOR_AUTO, COLOR_ALWAYS, COLOR_NEVER };

#define CLI_MAX_RULES 16

/** A bit per option: which were given, and which a command takes. */
enum cli_option_bit {
	OPT_ALL = UINT64_C(1) << 0,
	OPT_COLOR = UINT64_C(1) << 1,
	OPT_FORMAT = UINT64_C(1) << 2,
	OPT_HELP = UINT64_C(1) << 3,
	OPT_MIN_BLOCKED = UINT64_C(1) << 4,
	OPT_MIN_GROUP = UINT64_C(1) << 5,
	OPT_NET_FROM = UINT64_C(1) << 6,
	OPT_NET_RECORD = UINT64_C(1) << 7,
	OPT_QUICK = UINT64_C(1) << 8,
	OPT_RULES = UINT64_C(1) << 9,
	OPT_STACKS = UINT64_C(1) << 10,
	OPT_VERBOSE = UINT64_C(1) << 11,
	OPT_VERSION = UINT64_C(1) << 12,
	OPT_PROBE = UINT64_C(1) << 13,
	OPT_WINDOW = UINT64_C(1) << 14,
	OPT_RST_SHIELD = UINT64_C(1) << 15,
	OPT_FD = UINT64_C(1) << 16,
	OPT_REMOTE = UINT64_C(1) << 17,
	OPT_NAME = UINT64_C(1) << 18,
	OPT_OWNER = UINT64_C(1) << 19,
	OPT_VICTIM = UINT64_C(1) << 20,
	OPT_JOBS = UINT64_C(1) << 21,
	OPT_FAMILY = UINT64_C(1) << 22,
	OPT_FINDING = UINT64_C(1) << 23,
	OPT_HOW = UINT64_C(1) << 24,
	OPT_DRY_RUN = UINT64_C(1) << 25,
	OPT_FORCE = UINT64_C(1) << 26,
	OPT_ARM_KEEPALIVE = UINT64_C(1) << 27,
	OPT_POLICY = UINT64_C(1) << 28,
	OPT_WITHIN = UINT64_C(1) << 29,
	OPT_THREADS = UINT64_C(1) << 30,
	OPT_STOP = UINT64_C(1) << 31,
	OPT_FOR = UINT64_C(1) << 32,
	OPT_EVERY = UINT64_C(1) << 33,
	OPT_GRACE = UINT64_C(1) << 40,
	OPT_TIMEOUT = UINT64_C(1) << 41,
	OPT_ORPHANS = UINT64_C(1) << 42,
	OPT_ALLOW_GAPS = UINT64_C(1) << 43,
	OPT_BASELINE = UINT64_C(1) << 44,
	OPT_UPDATE_BASELINE = UINT64_C(1) << 45,
	OPT_REPORT = UINT64_C(1) << 46,
	OPT_PID = UINT64_C(1) << 47,
	OPT_SNAPSHOT_BEFORE = UINT64_C(1) << 48,
	OPT_AT_SIGNAL = UINT64_C(1) << 49,
	OPT_QUIET_AFTER = UINT64_C(1) << 50,
};

/** How `heal` lets go of who waits. */
enum heal_how { HEAL_DESTROY, HEAL_EOF, HEAL_ARM };

struct command;

/** A parsed command line. Strings point into argv. */
struct cli {
	const struct command *command;
	bool command_named; /* the command was written, not implied */
	uint64_t given;	    /* enum cli_option_bit */
	enum format format;
	enum color_mode color;
	bool all, quick, stacks, verbose;
	int64_t min_blocked_ms; /* -1: not given */
	uint32_t min_group;	/* 0: not given */
	bool probe, rst_shield;
	int64_t window_ms;	/* PROBE_WINDOW_MS when not given */
	int fd;			/* -1: not given */
	struct endpoint remote; /* family 0: not given; port 0: any */
	const char *net_from, *net_record;
	const char *lab_name; /* NULL: not given */
	pid_t lab_owner;      /* 0: not given */
	const char *victim;   /* NULL: not given */
	int64_t within_ms;    /* -1: not given */
	uint32_t jobs;	      /* 0: not given */
	int family;	      /* AF_INET, AF_INET6, AF_UNSPEC for both */
	const char *rules[CLI_MAX_RULES];
	size_t n_rules;
	const char *finding; /* a fingerprint or its beginning, or NULL */
	enum heal_how how;
	bool dry_run, force;
	bool threads, stop;
	int64_t for_ms;			/* -1: not given */
	int64_t every_ms;		/* -1: not given */
	struct tcp_keepalive keepalive; /* HEAL_ARM */
	const char *how_arg;		/* OPT_HOW as it was given */
	const char *policy_arg;		/* OPT_POLICY as it was given, and */
	struct policy policy;		/* of sockets */
	int64_t grace_ms, timeout_ms;	/* -1: not given */
	enum gate_orphans orphans;
	enum gate_how gate_how; /* OPT_HOW of gate */
	bool allow_gaps, update_baseline;
	const char *pid_arg;	     /* OPT_PID as it was given; NULL: not */
	int64_t quiet_ms;	     /* -1: not given */
	int at_signal;		     /* 0: not given */
	const char *snapshot_before; /* NULL: not given */
	const char *baseline;	     /* NULL: not given */
	struct gate_output *reports; /* of the program's whole life */
	size_t n_reports;
	const char *const *args; /* what is no option: PID or NAME */
	size_t n_args;
};

struct command {
	const char *name;
	const char *args;    /* for the synopsis: "PID|NAME..." */
	const char *summary; /* one line, no full stop */
	const char *details; /* a paragraph for --help */
	uint64_t options;    /* enum cli_option_bit that it takes */
	uint32_t formats;    /* bit per enum format */
	size_t min_args, max_args;
	int (*run)(const struct cli *cli); /* returns an enum exit_status */
	/* the first argument begins another program's command line: what
	 * follows is none of ours, even if it looks like an option */
	bool takes_command;
};

struct cli_option {
	const char *name; /* without the dashes */
	char letter;	  /* 0: long only */
	enum cli_option_bit bit;
	const char *arg; /* NULL: takes none */
	const char *help;
};

/** Both end with a row whose name is NULL. The first command is implied. */
extern const struct command cli_commands[];
extern const struct cli_option cli_options[];

/**
 * Parse @argv (reorders it: what is no option comes last).
 *
 * Fails: ERROR_USAGE with a text that names the argument.
 */
struct error *cli_parse(int argc, char **argv, struct cli *ret);

/** Parse, run, report usage errors. Returns the exit status. */
int cli_main(int argc, char **argv);

const struct command *cli_find_command(const char *name);
/** Help on one command, or with NULL the overview. */
void cli_print_help(FILE *out, const struct command *command);

/** One line that names the build: from `git describe` at build time. */
const char *stranded_version(void);

/* The commands; each in its cmd_*.c. */
int cmd_check(const struct cli *cli);
int cmd_ps(const struct cli *cli);
int cmd_sockets(const struct cli *cli);
int cmd_probe(const struct cli *cli);
int cmd_lab(const struct cli *cli);
int cmd_scenario(const struct cli *cli);
int cmd_heal(const struct cli *cli);
int cmd_watch_tasks(const struct cli *cli);
int cmd_run(const struct cli *cli);
int cmd_gate(const struct cli *cli);
int cmd_doctor(const struct cli *cli);
int cmd_version(const struct cli *cli);
int cmd_help(const struct cli *cli);

#endif
