/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCENARIOS_RUN_STAGE_H
#define SCENARIOS_RUN_STAGE_H

/**
 * The stage of a scenario: its lab, the machine that host a is, the peers in b
 * and c. Victims and stranded itself run on it.
 */

#include "scenarios/run/program.h"
#include "scenarios/run/run.h"

struct stage {
	const struct scenario *scenario;
	const struct place *place;
	struct arena *arena;
	int family;
	struct lab *lab;
	struct alone alone;
	bool is_alone;
	struct program peer, healthy;	   /* who accepts, in b and in c */
	struct program caller_b, caller_c; /* who calls a */
};

/**
 * Build the lab, apply the faults that come before the victim.
 *
 * Fails also: ERROR_UNSUPPORTED (what the scenario needs is not here, by name).
 * stage_close() in any case.
 */
struct error *stage_open(const struct scenario *s, int family,
			 const struct place *place, struct stage *ret);
void stage_close(struct stage *st);

/** Start the peers in b and c, which accept; returns when they do. */
struct error *stage_peers(struct stage *st);
/** Call a's @port, @n times from b and as often from c. */
struct error *stage_callers(struct stage *st, const char *port, int n);
/** Call a's @port once more, from c. */
struct error *stage_call_again(struct stage *st, const char *port,
			       struct program *ret);
/** Start a program in host a. */
struct error *stage_start(struct stage *st, const char *const *argv,
			  struct program *ret);
/** "10.90.1.2:7000", "[fd90:1::2]:7000"; NULL: no such host. */
const char *stage_end(const struct stage *st, const char *host,
		      const char *port);
/** Apply the faults that come after the victim. */
struct error *stage_faults(struct stage *st);
/** Run stranded in host a, read its JSON. */
struct error *stage_ask(struct stage *st, const char *const *args,
			int64_t timeout_ms, struct seen *ret);
/** Two of them at once. */
struct error *stage_ask_two(struct stage *st, const char *const *args,
			    const char *const *args2, int64_t timeout_ms,
			    struct seen *ret);

/** Wait; what runs goes on. */
void stage_sleep(int64_t ms);

#endif
