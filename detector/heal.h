/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DETECTOR_HEAL_H
#define DETECTOR_HEAL_H

/**
 * Letting go of who waits on a dead connection: which connections, whether that
 * may be done, doing it (netwatch/heal.h), and what became of who waited.
 */

#include "base/error.h"
#include "detector/cli.h"
#include "detector/finding.h"
#include "detector/survey.h"

/** How long we look for what becomes of those that were let go. */
#define HEAL_WATCH_MS 2000

enum heal_leave {
	HEAL_ALLOWED,
	HEAL_UNPROVEN,	 /* may be alive: only with --force */
	HEAL_ALIVE,	 /* is alive: only with --force */
	HEAL_IMPOSSIBLE, /* no connection to somebody: never */
};

/**
 * May a connection of that verdict be ended? The one place that decides. Pure.
 *
 * Ending is for proof, and for what our own probes went unanswered on long
 * enough: half-open, cut off at this end, or probed. All else that merely looks
 * dead may be an outage that passes, and half-closed is how some protocols say
 * "that was the question". To arm keepalive kills nothing that is alive, and
 * needs a connection only.
 *
 * @param probed what came of --probe; NULL: not asked for.
 * @param why_ret the reason, a sentence without full stop; a static text.
 */
enum heal_leave heal_allowed(const struct verdict *v,
			     const struct tcp_socket *s,
			     const struct probe_facts *probed,
			     enum heal_how how, const char **why_ret);

enum heal_result {
	HEAL_PLANNED, /* not done (yet): it will or would be */
	HEAL_REFUSED, /* not proven dead */
	HEAL_DONE,
	HEAL_ENDED,  /* had ended by itself */
	HEAL_FAILED, /* the kernel, or what was found instead, said no */
};

/** What became of a task that waited. */
enum heal_fate {
	FATE_UNKNOWN, /* could not be read, or was not looked for */
	FATE_STILL,   /* waits on, as before */
	FATE_MOVED,   /* has gone on in the program */
	FATE_GONE,    /* has returned: it is no more */
};

struct heal_task {
	const struct task *task; /* in the first look */
	enum task_runtime runtime;
	enum heal_fate fate;
	const struct frame *at; /* MOVED: where it is now; NULL not known */
};

/** One connection. Texts are the heal's arena's. */
struct heal_item {
	const struct tcp_socket *socket;
	const struct verdict *verdict;
	int fd;
	enum heal_leave leave;
	const char *leave_why;
	enum heal_result result;
	const char *why; /* FAILED, ENDED: the reason; else NULL */
	struct heal_task *tasks;
	size_t n_tasks;
	struct tcp_options armed; /* HEAL_ARM, DONE: what is set now */
};

struct heal {
	struct arena *arena;
	struct survey *survey; /* not ours */
	enum heal_how how;
	bool dry_run, force;
	struct tcp_keepalive keepalive;
	struct heal_item *v;
	size_t n;
	/* Of the same finding, and not proven dead: not touched, not in v. */
	size_t left_alone;
	const char *left_why;
	int64_t acted_mono_ns; /* when we began to act */
	int64_t watched_ms;    /* from then to the last look at who waited */
	bool process_ended;    /* meanwhile */
};

/**
 * What @cli asks for, of what @survey saw; nothing is done yet.
 *
 * @param findings for --finding; else NULL.
 * Fails: ERROR_GONE (no such fd, no such finding), ERROR_UNSUPPORTED (no TCP
 * connection; a finding without one), ERROR_USAGE (an ID that fits several
 * findings; names them), ERROR_NOMEM.
 */
struct error *heal_plan(const struct cli *cli, struct survey *survey,
			const struct findings *findings, struct heal **ret);
void heal_destroy(struct heal *heal);

/**
 * Do it: each item's result. A connection that was silent until the last sample
 * and has received something since is alive, and left alone (not with force).
 * Fails: ERROR_NOMEM.
 */
struct error *heal_act(struct heal *heal);
/**
 * Look at those who waited, until all have moved or HEAL_WATCH_MS have passed.
 * Fails: ERROR_NOMEM.
 */
struct error *heal_watch(struct heal *heal);

/** Is it looked for what becomes of those who waited on @item? */
bool heal_watches(const struct heal *heal, const struct heal_item *item);
/** How many items have @result. */
size_t heal_count(const struct heal *heal, enum heal_result result);
/** How many tasks of items that were healed have @fate. */
size_t heal_fates(const struct heal *heal, enum heal_fate fate);
/** The exit status: STATUS_CLEAN, STATUS_FINDINGS or STATUS_NOTHING. */
int heal_status(const struct heal *heal);

/** "destroy", "eof", "arm-keepalive". */
const char *heal_how_name(enum heal_how how);
/** "planned", "refused", "healed", "ended", "failed". */
const char *heal_result_name(enum heal_result result);
/** "unknown", "still", "moved", "gone". */
const char *heal_fate_name(enum heal_fate fate);

static inline void heal_destroyp(struct heal **heal)
{
	heal_destroy(*heal);
}
#define AUTO_HEAL __attribute__((cleanup(heal_destroyp)))

#endif
