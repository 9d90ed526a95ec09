/* SPDX-License-Identifier: Apache-2.0 */
#include "detector/cli.h"

/** The commands and options, as the help and the man page have them. */

#define COMMON (OPT_HELP | OPT_VERBOSE)

const struct cli_option cli_options[] = {
	{ "all", 'a', OPT_ALL, NULL,
	  "every process with goroutines or the coroutine hook that may be read, "
	  "each in turn; with scenario: every scenario" },
	{ "allow-gaps", 0, OPT_ALLOW_GAPS, NULL,
	  "what could not be seen is no failure" },
	{ "arm-keepalive", 0, OPT_ARM_KEEPALIVE, "IDLE,INTVL,CNT",
	  "turn keepalive on for the connection of the running program, as in "
	  "15s,15s,9, and leave the rest to the kernel" },
	{ "baseline", 0, OPT_BASELINE, "FILE",
	  "leaks in FILE are known and pass; new ones fail, gone ones are "
	  "reported" },
	{ "at-signal", 0, OPT_AT_SIGNAL, "NAME",
	  "also look at what goes on whenever the gate is sent USR1, USR2 or "
	  "HUP, which is not passed on: what is more than at the first is a "
	  "leak" },
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
	{ "every", 0, OPT_EVERY, "DURATION",
	  "look so often, 200ms to 1h, and four times at least; by default 1s. "
	  "With gate: also look at what goes on, so often; eight looks tell "
	  "what becomes more" },
	{ "for", 0, OPT_FOR, "DURATION",
	  "watch that long, 1s to 24h; by default 60s" },
	{ "force", 0, OPT_FORCE, NULL,
	  "with heal: also a connection that is not proven dead, even one that "
	  "is alive; with check and ps: stop also a thread in a call that ends "
	  "with EINTR then" },
	{ "format", 'f', OPT_FORMAT, "FORMAT",
	  "text, json or, for ps, debug2: the text of Go's own dump" },
	{ "grace", 0, OPT_GRACE, "DURATION",
	  "how long a process that exits is held so that goroutines that are "
	  "slow to end can end; by default 500ms, and no longer than anything "
	  "is left" },
	{ "how", 0, OPT_HOW, "HOW",
	  "destroy, the default: the kernel ends the connection, and who waits "
	  "gets ECONNABORTED; eof: who reads gets the end of file. With "
	  "gate: seccomp, or ptrace where the kernel has no such filter; that "
	  "gives no time of grace" },
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
	{ "pid", 0, OPT_PID, "PID|NAME",
	  "judge a process that runs, instead of a command: against --baseline, "
	  "which --snapshot-before has made" },
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
	{ "quiet-after", 0, OPT_QUIET_AFTER, "DURATION",
	  "also look at servers that go on, when for so long no request was in "
	  "flight on their listeners: what is more than at the first such look "
	  "is a leak" },
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
	{ "snapshot-before", 0, OPT_SNAPSHOT_BEFORE, "FILE",
	  "with --pid: write down what is there now, for a --baseline later" },
	{ "stacks", 's', OPT_STACKS, NULL, "whole stacks" },
	{ "stop", 0, OPT_STOP, NULL,
	  "stop each thread for a moment (ptrace) to read its registers, where "
	  "its stack cannot be had from outside" },
	{ "threads", 't', OPT_THREADS, NULL,
	  "also the threads that carry goroutines" },
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
	  "Takes the goroutines, coroutines, threads and TCP connections of the "
	  "process twice, at least 1 s apart, judges each connection, and "
	  "reports who can never return. The process is not stopped and nothing in it "
	  "is changed. This is the default command.",
	  COMMON | OPT_ALL | OPT_COLOR | OPT_FORMAT | OPT_MIN_BLOCKED |
		  OPT_MIN_GROUP | OPT_NET_FROM | OPT_NET_RECORD | OPT_PROBE |
		  OPT_QUICK | OPT_RST_SHIELD | OPT_RULES | OPT_STACKS |
		  OPT_STOP | OPT_FORCE | OPT_WINDOW,
	  CLI_FORMAT_BIT(FORMAT_TEXT) | CLI_FORMAT_BIT(FORMAT_JSON), 0,
	  SIZE_MAX, cmd_check, false },
	{ "ps", "PID|NAME",
	  "list goroutines, coroutines, threads, what each waits on, and where",
	  "One look at every goroutine, coroutine and thread: what it waits for, since when, on which "
	  "connection, and where it was started. With --format debug2, the text "
	  "that Go's own /debug/pprof/goroutine?debug=2 gives.",
	  COMMON | OPT_COLOR | OPT_FORCE | OPT_FORMAT | OPT_NET_FROM |
		  OPT_STACKS | OPT_STOP | OPT_THREADS,
	  CLI_FORMAT_BIT(FORMAT_TEXT) | CLI_FORMAT_BIT(FORMAT_JSON) |
		  CLI_FORMAT_BIT(FORMAT_DEBUG2),
	  1, 1, cmd_ps, false },
	{ "sockets", "PID|NAME | --net-from FILE",
	  "list the TCP connections, the verdict on each, and who waits on it",
	  "Every TCP socket of the process, in whichever network namespace it "
	  "lives: state, queues, timer, keepalive, idle time, verdict, and the "
	  "goroutine that waits on it.",
	  COMMON | OPT_COLOR | OPT_FORMAT | OPT_NET_FROM | OPT_NET_RECORD |
		  OPT_POLICY | OPT_QUICK,
	  CLI_FORMAT_BIT(FORMAT_TEXT) | CLI_FORMAT_BIT(FORMAT_JSON), 0, 1,
	  cmd_sockets, false },
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
	  CLI_FORMAT_BIT(FORMAT_TEXT) | CLI_FORMAT_BIT(FORMAT_JSON), 1, 1,
	  cmd_probe, false },
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
	  CLI_FORMAT_BIT(FORMAT_TEXT) | CLI_FORMAT_BIT(FORMAT_JSON), 1, 1,
	  cmd_heal, false },
	{ "watch-tasks", "PID|NAME",
	  "count the tasks that are created and ended, by creation site",
	  "Looks again and again, and says of each place in the program that "
	  "creates goroutines or coroutines how many it created, how many "
	  "ended, how many live, and how old the oldest is: what only grows "
	  "leaks. Exit status 1 when a site grew in each quarter of the time "
	  "and none of what it created ended.",
	  COMMON | OPT_COLOR | OPT_EVERY | OPT_FOR | OPT_FORMAT,
	  CLI_FORMAT_BIT(FORMAT_TEXT) | CLI_FORMAT_BIT(FORMAT_JSON), 1, 1,
	  cmd_watch_tasks, false },
	{ "run", "[--] CMD [ARG]...",
	  "become a program whose coroutines can be seen from outside",
	  "Puts libstranded-hook.so into LD_PRELOAD and executes CMD, which "
	  "thus keeps the pid, the terminal, the signals and the exit status. "
	  "Coroutines of makecontext and swapcontext, Boost.Context, GNU Pth "
	  "and PCL are then known to check and ps, and so is the call that a "
	  "coroutine of another library was last seen to wait in. What the "
	  "hook does not reach (setuid, static, musl) is said on standard "
	  "error, and runs nevertheless.",
	  OPT_HELP, CLI_FORMAT_BIT(FORMAT_TEXT), 1, SIZE_MAX, cmd_run, true },
	{ "lab", "up|exec|fault|heal-fault|status|list|faults|down [ARG]...",
	  "hosts as network namespaces, and every way a connection dies",
	  "'up TOPOLOGY' (pair, lan, routed, nat, proxy) builds hosts a, b, c "
	  "and what lies between them, 'exec HOST -- CMD' runs a program "
	  "there, 'fault NAME' breaks the path between a and b, or b itself; c "
	  "stays healthy. 'faults' lists what can be built and broken. Nothing "
	  "is left after 'down'. Needs root, or user namespaces.",
	  COMMON | OPT_COLOR | OPT_FORMAT | OPT_NAME | OPT_OWNER,
	  CLI_FORMAT_BIT(FORMAT_TEXT) | CLI_FORMAT_BIT(FORMAT_JSON), 0,
	  SIZE_MAX, cmd_lab, false },
	{ "scenario", "list | run NAME... | run --all",
	  "play the ways in which connections die, and judge the verdicts",
	  "Each scenario builds a lab of network namespaces, strands a program "
	  "in it, breaks the path or the peer, and compares what stranded says "
	  "before any packet is sent, and after a probe, with what the "
	  "program knows itself. With --victim a program of yours is stranded "
	  "instead: does it let go? Needs root, or user namespaces.",
	  COMMON | OPT_ALL | OPT_FAMILY | OPT_FORMAT | OPT_JOBS | OPT_VICTIM |
		  OPT_WITHIN,
	  CLI_FORMAT_BIT(FORMAT_TEXT) | CLI_FORMAT_BIT(FORMAT_JSON), 1,
	  SIZE_MAX, cmd_scenario, false },
	{ "gate", "[--] CMD [ARG]... | --pid PID|NAME",
	  "run a command, and fail when it, or what it runs, leaves something "
	  "behind",
	  "Each process below the command is held for a moment just before it "
	  "exits, and its goroutines and connections are looked at: what is "
	  "still there after a time of grace is a leak, by the rule of "
	  "go.uber.org/goleak, for any Go program and without a line of code. "
	  "Status, output and signals of the command pass through; its own "
	  "failure comes before 1 for leaks and 3 for what could not be seen. "
	  "The report is on standard error. Servers that go on are judged by "
	  "what becomes more: with --every, --at-signal, --quiet-after or --pid.",
	  COMMON | OPT_ALLOW_GAPS | OPT_AT_SIGNAL | OPT_BASELINE | OPT_COLOR |
		  OPT_EVERY | OPT_GRACE | OPT_HOW | OPT_ORPHANS | OPT_PID |
		  OPT_POLICY | OPT_PROBE | OPT_QUICK | OPT_QUIET_AFTER |
		  OPT_REPORT | OPT_RST_SHIELD | OPT_SNAPSHOT_BEFORE |
		  OPT_STACKS | OPT_TIMEOUT | OPT_UPDATE_BASELINE | OPT_WINDOW,
	  CLI_FORMAT_BIT(FORMAT_TEXT), 0, SIZE_MAX, cmd_gate, true },
	{ "doctor", "[PID|NAME]",
	  "say what can be seen here, what is missing, and the remedy",
	  "Without a process: permissions, kernel features and namespaces. With "
	  "one: also whether its memory, runtime and sockets can be read, and "
	  "how the runtime's layout was found.",
	  COMMON | OPT_COLOR | OPT_FORMAT,
	  CLI_FORMAT_BIT(FORMAT_TEXT) | CLI_FORMAT_BIT(FORMAT_JSON), 0, 1,
	  cmd_doctor, false },
	{ "version", "", "print the version", "Prints one line.", OPT_HELP,
	  CLI_FORMAT_BIT(FORMAT_TEXT), 0, 0, cmd_version, false },
	{ "help", "[COMMAND]", "explain a command",
	  "Without a command: the overview.", OPT_HELP,
	  CLI_FORMAT_BIT(FORMAT_TEXT), 0, 1, cmd_help, false },
	{ NULL, NULL, NULL, NULL, 0, 0, 0, 0, NULL, false },
};
