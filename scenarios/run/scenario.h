/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCENARIOS_RUN_SCENARIO_H
#define SCENARIOS_RUN_SCENARIO_H

/**
 * A scenario: one way for a connection to die, or to look dead, and what
 * stranded must and must not say of it. It is a folder below scenarios/ with a
 * README.md and a scenario.ini; this is that file as a value, nothing is run
 * here. The keys are explained in docs/SCENARIOS.md.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"

#define SCENARIO_NAME_MAX 64	    /* of a folder, with the NUL */
#define SCENARIO_FILE_MAX (1 << 16) /* bytes of scenario.ini */
#define SCENARIO_MAX_FAULTS 4
#define SCENARIO_MAX_ARGS 16 /* words of an argument list */
#define SCENARIO_MAX 256     /* folders that are looked at */
#define SCENARIO_WAIT_MAX_MS 120000

/** From where stranded looks. */
enum scenario_view {
	VIEW_ALONE, /* host a is all there is: its own /proc, no other host */
	VIEW_HOST,  /* all hosts are namespaces that it may enter */
};

enum scenario_victim {
	VICTIM_GO,	/* scenarios/programs/victim */
	VICTIM_SOCKETS, /* scenarios/programs/sockets.c */
	VICTIM_TWIN,	/* one of scenarios/programs/twins */
};

enum scenario_peer {
	PEER_PROGRAM, /* scenarios/programs/peer.c */
	PEER_REDIS,
	PEER_POSTGRES,
};

/** The verdicts by their names in JSON, as bits; and two words of our own. */
enum scenario_verdict {
	SAYS_HALF_OPEN = 1 << 0,
	SAYS_UNREACHABLE = 1 << 1,
	SAYS_LOCAL_CAUSE = 1 << 2,
	SAYS_HALF_CLOSED = 1 << 3,
	SAYS_PEER_NOT_READING = 1 << 4,
	SAYS_PATH_MTU = 1 << 5,
	SAYS_DATA_WAITING = 1 << 6,
	SAYS_ALIVE = 1 << 7,
	SAYS_SILENT = 1 << 8,
	SAYS_UNKNOWN = 1 << 9,
	SAYS_LISTENING = 1 << 10,
	SAYS_CONNECTING = 1 << 11,
	SAYS_GONE = 1 << 12, /* the kernel has no such connection any more */
};

/** A list of words that argv can be made of. */
struct scenario_args {
	const char *v[SCENARIO_MAX_ARGS];
	size_t n;
};

struct scenario_fault {
	const char *name;
	struct scenario_args args;
	bool before; /* before the victim starts */
};

struct scenario {
	const char *name;  /* of the folder */
	const char *path;  /* of the folder */
	const char *title; /* one line */
	const char *row;   /* in the table of halfopen.md, "" none */
	const char *topology;
	enum scenario_view view;
	bool family4, family6;
	/** Words: programs in PATH, or "root". */
	struct scenario_args needs;
	/**
	 * Before any packet is sent, the kernel shows nothing that a healthy
	 * connection does not show too.
	 */
	bool like_healthy;

	enum scenario_victim victim;
	const char *program; /* its name: "victim", "twin-pth" */
	/** Started by `stranded run`, which preloads the coroutine hook. */
	bool hook;
	struct scenario_args victim_args; /* the first is the mode */
	const char *target_host;	  /* whom it calls: "b", or a proxy */
	bool victim_serves;		  /* b and c call it */
	int connections;		  /* of each role */

	enum scenario_peer peer;
	struct scenario_args peer_args;	   /* in b */
	struct scenario_args healthy_args; /* in c; as in b unless given */

	struct scenario_fault faults[SCENARIO_MAX_FAULTS];
	size_t n_faults;
	int64_t ready_ms;  /* between the truth and the fault */
	int write_bytes;   /* that the victim then sends; 0 none */
	int64_t settle_ms; /* between that and the first look */

	uint32_t before; /* enum scenario_verdict; any of them */
	uint32_t after;	 /* 0: no probe is sent */
	uint32_t never;	 /* in any look */
	int looks;	 /* passive ones, until one says `before` */
	/** The probe's answer comes that late at least; 0: at any time. */
	int64_t answer_after_ms;
	bool shield; /* probe behind --rst-shield */
	/** The finding of check before: NULL none, else kind and grade. */
	const char *finding, *grade;
	/** How many findings there are in all; -1: not looked at. */
	int findings;
	/** Whose tasks the finding has, "coroutine", "thread"; NULL: any. */
	const char *runtime;
	/** What the target's wait returns with; NULL: it does not. */
	const char *returns;
};

/**
 * Parse the text of a scenario.ini: bounded, and an unknown key, a second
 * value, a missing one is refused with the line.
 *
 * @param file for error texts and for name: the last folder in it.
 * @param arena owns what @ret points to.
 * Fails: ERROR_USAGE, ERROR_NOMEM.
 */
struct error *scenario_parse(const char *file, const char *text, size_t len,
			     struct arena *arena, struct scenario *ret);

/** Read and parse @folder/scenario.ini. Fails also: ERROR_OS. */
struct error *scenario_load(const char *folder, struct arena *arena,
			    struct scenario *ret);

struct scenario_list {
	struct scenario *v; /* by name */
	size_t n;
};

/** All folders below @root that have a scenario.ini. */
struct error *scenario_load_all(const char *root, struct arena *arena,
				struct scenario_list *ret);

/** "half-open"; the bit 0 or several bits: NULL. */
const char *scenario_verdict_name(uint32_t bit);
/** The bit of a verdict's name; 0: there is none of that name. */
uint32_t scenario_verdict_bit(const char *name);
/** "silent|alive", "-" for 0; cut at @size. */
void scenario_verdicts_text(uint32_t bits, char *buf, size_t size);

#endif
