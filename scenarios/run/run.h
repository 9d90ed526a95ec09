/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCENARIOS_RUN_RUN_H
#define SCENARIOS_RUN_RUN_H

/**
 * Running scenarios: each in a lab and a process of its own, several at once,
 * and the table of what came out.
 */

#include <stdbool.h>
#include <stdio.h>

#include "scenarios/run/compare.h"
#include "scenarios/run/place.h"
#include "scenarios/run/scenario.h"

#define RUN_PORT "7000" /* of peers, and of victims that serve */
#define RUN_JOBS_DEFAULT 8
#define RUN_JOBS_MAX 64
/** Longer than any scenario takes; then its process is killed. */
#define RUN_LIMIT_MS 240000

/** One scenario on one family. */
struct run_item {
	const struct scenario *scenario;
	int family; /* AF_INET or AF_INET6 */
	struct result result;
};

/**
 * Play one scenario in this process: lab, peers, victim, fault, looks, probe.
 * All that it started is gone when it returns.
 */
void play(const struct scenario *s, int family, const struct place *place,
	  struct result *ret);

struct run_options {
	const struct place *place;
	size_t jobs; /* at once */
	/** Called in the order of @items, when all before are done too. */
	void (*done)(void *arg, const struct run_item *item);
	void *arg;
};

/**
 * Play all @items, each in a child. Children die with us.
 *
 * Fails: ERROR_OS, ERROR_NOMEM; what happens to one item is in its result.
 */
struct error *run_all(struct run_item *items, size_t n,
		      const struct run_options *opt);

/** How many of each outcome. */
struct run_count {
	size_t n[OUTCOME_NOT_RUN + 1];
};

struct run_count run_count(const struct run_item *items, size_t n);

/* The table, and the same as JSON. */
void run_print_head(FILE *out);
void run_print_row(FILE *out, const struct run_item *item);
void run_print_summary(FILE *out, const struct run_item *items, size_t n,
		       int64_t duration_ms);
void run_print_json(FILE *out, const struct run_item *items, size_t n,
		    int64_t duration_ms, const char *version);

void run_print_list_json(FILE *out, const struct scenario_list *list,
			 const char *version);

/** A program of the user's in the place of the victim. */
struct run_user {
	const char *command; /* for sh -c; {peer} is replaced */
	int64_t within_ms;   /* let go of the dead within that */
	int connections;     /* that b and c each make, when it serves */
};

enum user_outcome {
	USER_LET_GO,  /* of all dead ones, and it serves the living */
	USER_HOLDS,   /* see why */
	USER_NOT_RUN, /* nothing was judged; see why */
};

#define USER_WHY_MAX 512

struct user_result {
	enum user_outcome outcome;
	bool serves;	     /* it listens; else it called */
	size_t dead, living; /* connections that it held before the fault */
	size_t held, kept;   /* of these, at the end */
	int64_t took_ms;     /* from the fault until it had let go */
	char why[USER_WHY_MAX];
	char *report; /* stranded's own on what is left; free() it, or NULL */
};

/**
 * Is there anything to let go of? Not where the connection lives on, nor where
 * it takes what only our victim does to strand it.
 */
bool run_user_fits(const struct scenario *s);

/**
 * Run the user's program in host a under the scenario's faults. It is a server
 * when it listens on an address that others can call: then b and c call it.
 * Else it must call b by itself.
 */
void run_user(const struct scenario *s, int family, const struct place *place,
	      const struct run_user *user, struct user_result *ret);

void run_print_user(FILE *out, const struct scenario *s, int family,
		    const struct user_result *r);
void run_print_user_json(FILE *out, const struct scenario *s, int family,
			 const struct user_result *r, const char *version);

#endif
