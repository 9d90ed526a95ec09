/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DETECTOR_REPORT_H
#define DETECTOR_REPORT_H

/**
 * Writers. They format values that were judged before, and decide nothing.
 * The text and the JSON are described in stranded.1; the JSON has schema 1 and
 * only ever grows.
 */

#include <jansson.h>

#include "detector/finding.h"
#include "detector/policy.h"
#include "detector/survey.h"
#include "detector/text.h"
#include "detector/waiters.h"

#define REPORT_SCHEMA 1

struct report {
	const struct survey *survey;
	const struct findings *findings; /* NULL: ps and sockets */
	const struct policy *policy;	 /* sockets: to be judged, or NULL */
	bool stacks;
	bool verbose;
};

/** What `check --all` found, beyond the reports of each process. */
struct report_sum {
	uint64_t processes; /* looked at */
	uint64_t judged;    /* of these: could be read */
	uint64_t findings;
	struct gaps gaps; /* processes that could not be read */
};

/* Text. */
void report_check_text(struct text *t, const struct report *r);
void report_sum_text(struct text *t, const struct report_sum *sum);
void report_ps_text(struct text *t, const struct report *r);
void report_sockets_text(struct text *t, const struct report *r);
void report_probe_text(struct text *t, const struct report *r);
/** Instead of it, with a policy: those that violate it, and a sum. */
void report_policy_text(struct text *t, const struct report *r);

/* JSON: one document, one line feed at its end. */
void report_check_json(FILE *out, const struct report *r);
void report_sum_json(FILE *out, const struct report_sum *sum);
void report_ps_json(FILE *out, const struct report *r);
void report_sockets_json(FILE *out, const struct report *r);

/**
 * Of `probe`, the same as of `sockets`, and more of each connection: what was
 * judged before ("before") and what came of the probe ("probe"). This one adds
 * it to @row for socket @i, when probes were asked for.
 */
void report_probe_json(json_t *row, const struct survey *s, size_t i);

/** The text of Go's own debug=2 dump, as the target's version prints it. */
void report_debug2(FILE *out, const struct report *r);

/* Pieces that the text writers share. */

/** "api (pid 4242, go1.22.5): " and what follows; wraps. */
void report_head(struct text *t, const struct report *r, const char *what);
/** @lead (may be ""), then "Not seen: ..." when there is something. */
void report_gaps(struct text *t, const char *lead, const struct gaps *gaps);
/** A stack, folded or whole, and who created it. */
void report_stack(struct text *t, const struct stack *stack,
		  const struct frame *created_by, bool whole, bool verbose);
/** "41 min to 3 h 02 min", "at least 2.0 s", "?". */
#define REPORT_BLOCKED (2 * 40 + 16)
void report_blocked(char buf[REPORT_BLOCKED], const struct blocked_for *b);
/** The same in one column: "41 min+", "<3 h 02 min", "?". */
void report_blocked_short(char buf[REPORT_BLOCKED],
			  const struct blocked_for *b);
/** What they are for a person: goroutine, coroutines, threads. */
const char *report_task_word(enum task_runtime runtime, uint64_t n);
/** The same of one task of the survey. */
const char *report_word_of(const struct report *r, const struct task *task,
			   uint64_t n);
/** The word for @n of these; "tasks" when they are of several kinds. */
const char *report_any_word(const struct task_counts *counts, uint64_t n);
/** "37 goroutines and 2 threads, 36 parked". */
#define REPORT_COUNTS 160
void report_counts(char buf[REPORT_COUNTS], const struct task_counts *all,
		   const struct task_counts *blocked);
/** Who waits on socket @i: "goroutine 18 (read)", "... and 3 more", "-". */
void report_waits(char cell[TEXT_CELL], const struct report *r,
		  const struct waiters *waiters, size_t i);
/** How a verdict stands out in a table. */
enum text_style report_verdict_style(enum verdict_kind kind);
/** The blocked-for interval of a task outside a finding. */
struct blocked_for report_interval(const struct report *r,
				   const struct task *task);

/* Pieces that the JSON writers share; each value is a new reference. */

/** Foreign text; NULL gives null. */
json_t *report_json_text(const char *s);
json_t *report_json_time(int64_t wall_ms);
json_t *report_json_endpoint(const struct endpoint *e);
json_t *report_json_frame(const struct frame *f);
/** As the runtime's own dump shows it; NULL gives an empty array. */
json_t *report_json_stack(const struct stack *stack);
json_t *report_json_blocked(const struct blocked_for *b);
/** The task of a finding's member. */
json_t *report_json_member(const struct report *r,
			   const struct finding_member *m);
/** A task as `ps` shows it. */
json_t *report_json_ps_task(const struct report *r, enum task_runtime runtime,
			    const struct task *task);
json_t *report_json_options(const struct tcp_options *o);
json_t *report_json_socket(const struct tcp_socket *s, const struct verdict *v);
/** What a policy says of one socket: "ok" and "detects_ms". */
json_t *report_policy_answer_json(const struct policy *policy,
				  const struct tcp_socket *s);
/**
 * And of all: "expression", the counts, and "ok", which is true only when all
 * was seen.
 */
json_t *report_policy_json(const struct policy *policy, const struct survey *s);
/** A document: the frame that all have, and @key with @value (taken over). */
void report_json_document(FILE *out, const struct survey *s, const char *key,
			  json_t *value);

/** Is the word singular? "" or "s". */
#define PLURAL(n) ((n) == 1 ? "" : "s")

#endif
