/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DETECTOR_GATE_REPORT_H
#define DETECTOR_GATE_REPORT_H

/**
 * Writers of what the gate found. They format, and decide nothing. What came
 * from a target is escaped here.
 *
 *	text      for a person: a leak as goleak's users know it
 *	junit     a test suite per process, a test case per leak
 *	sarif     2.1.0, for code scanning
 *	json      schema 1, all there is
 *	markdown  for the summary of a job
 *	codequality  GitLab's code quality (a subset of Code Climate's)
 */

#include "detector/gate/baseline.h"
#include "detector/gate/options.h"
#include "detector/gate/policy.h"
#include "detector/gate/watch.h"
#include "detector/text.h"

struct gate_report {
	const char *const *argv; /* the command, NULL-terminated */
	const struct watch_result *result;
	const struct gate_policy *policy;     /* NULL: none */
	const struct gate_baseline *baseline; /* NULL: none */
	const char *root; /* of the repository, absolute; "" not known */
	bool stacks, verbose, allow_gaps, traced;
	int status; /* that the gate exits with */
};

/** Sums over all processes. */
struct gate_sums {
	uint64_t judged, not_read, killed, failed;
	uint64_t leaks, tasks;	 /* new: groups, and goroutines in them */
	uint64_t known, ignored; /* groups */
	uint64_t gaps;		 /* kinds that matter */
	uint64_t orphans;
};
void gate_sum(const struct gate_report *r, struct gate_sums *ret);

void gate_report_text(struct text *t, const struct gate_report *r);
/** What --snapshot-before has written to @path. */
void gate_report_snapshot(struct text *t, const struct gate_report *r,
			  const char *path);
/** GitHub's workflow commands: ::error file=...,line=...::... */
void gate_report_annotations(FILE *out, const struct gate_report *r);
/** Write @format to @out. Fails: ERROR_NOMEM. */
struct error *gate_report_write(enum gate_format format, FILE *out,
				const struct gate_report *r);

/** "junit" ...; false when there is no such format. */
bool gate_format_parse(const char *name, size_t len, enum gate_format *ret);

/* Pieces that the writers share. */

/**
 * The path of a frame's file for a tool that annotates the repository: relative
 * to its root. NULL when the file lies outside of it.
 */
const char *gate_file(const struct gate_report *r, const struct gate_process *p,
		      const struct leak_frame *f, char *buf, size_t size);
/** "3 goroutines left behind: chan receive" */
void gate_headline(const struct leak *leak, char *buf, size_t size);
/** As the runtime's own dump: function, file and line, created by. */
void gate_print_stack(FILE *out, const struct leak *leak, const char *indent);
/** The rule of the leak, for SARIF and code quality. */
const char *gate_rule_id(const struct leak *leak);
/**
 * Why the command came to no end of its own: it could not be run, ran out of
 * time, or a signal ended it. NULL when it exited; else @buf.
 */
const char *gate_command_failure(const struct gate_report *r, char *buf,
				 size_t size);
/** What the process is called: its package under test, or its command line. */
const char *gate_process_name(const struct gate_process *p);

#endif
