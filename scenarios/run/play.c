/* SPDX-License-Identifier: Apache-2.0 */

/** One scenario, from an empty machine to an empty machine. */

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "scenarios/run/stage.h"
#include "scenarios/run/truth.h"

#define TRUTH_MS 30000
#define LOOK_MS 30000
#define PROBE_MS 60000
#define EVENT_MS 3000	/* for a line that must come */
#define EVENTS_MAX 1000 /* lines that one victim may say */
#define MAX_ARGV 40

/** The players of one run. */
struct act {
	struct stage stage;
	struct program victim;
	struct truth truth;
	struct truth_event returned; /* of the target; event "" none */
	const char *healthy_error;   /* NULL: its wait has not returned */
	const char *options;	     /* as last said, NULL none */
	struct result *result;
};

/* --- the victim's lines --- */

static void note(struct act *act, const struct truth_event *e)
{
	if (!strcmp(e->event, "options"))
		act->options = e->options;
	if (strcmp(e->event, "returned"))
		return;
	if (e->healthy)
		act->healthy_error = e->error;
	else if (!act->returned.event)
		act->returned = *e;
}

/* Take lines until @word comes as an event, or none within the time. */
static struct error *take_events(struct act *act, const char *word,
				 int64_t timeout_ms)
{
	struct truth_event e;
	const char *line;

	for (int i = 0; i < EVENTS_MAX; i++) {
		if (program_line(&act->victim, timeout_ms, &line) != 1)
			return NULL;
		struct error *err =
			truth_parse_event(line, act->stage.arena, &e);
		if (err)
			return err;
		note(act, &e);
		if (word && !strcmp(e.event, word))
			return NULL;
	}
	return NULL;
}

static struct error *victim_line(struct act *act, const char **ret)
{
	char why[256];

	if (program_line(&act->victim, TRUTH_MS, ret) == 1)
		return NULL;
	program_errors(&act->victim, why, sizeof(why));
	return error_new(ERROR_OS, "the victim does not get ready: %s",
			 *why ? why : "no line of truth");
}

/* --- starting --- */

static struct error *victim_argv(struct act *act, const char *argv[MAX_ARGV],
				 char count[16])
{
	const struct scenario *s = act->stage.scenario;
	size_t n = 0, i = 0;

	if (s->hook) {
		argv[n++] = act->stage.place->self;
		argv[n++] = "run";
		argv[n++] = "--";
	}
	struct error *err = place_program(act->stage.place, s->program,
					  act->stage.arena, &argv[n++]);
	// The mode comes before all options.
	if (s->victim == VICTIM_GO)
		argv[n++] = s->victim_args.v[i++];
	argv[n++] = "--target";
	argv[n++] = stage_end(&act->stage, s->target_host, RUN_PORT);
	argv[n++] = "--healthy";
	argv[n++] = stage_end(&act->stage, "c", RUN_PORT);
	if (!err && (!argv[n - 1] || !argv[n - 3]))
		err = error_new(ERROR_USAGE, "no host '%s' in the topology %s",
				s->target_host, s->topology);
	snprintf(count, 16, "%d", s->connections);
	if (s->victim != VICTIM_SOCKETS) {
		argv[n++] = "--n";
		argv[n++] = count;
	}
	while (i < s->victim_args.n)
		argv[n++] = s->victim_args.v[i++];
	argv[n] = NULL;
	return err;
}

static struct error *start_victim(struct act *act)
{
	const struct scenario *s = act->stage.scenario;
	const char *argv[MAX_ARGV], *line;
	char count[16];
	struct error *err = NULL;

	if (!s->victim_serves)
		err = stage_peers(&act->stage);
	if (!err)
		err = victim_argv(act, argv, count);
	if (!err)
		err = stage_start(&act->stage, argv, &act->victim);
	if (!err && s->victim_serves) {
		err = victim_line(act, &line);
		if (!err)
			err = stage_callers(&act->stage, RUN_PORT,
					    s->connections);
	}
	if (!err)
		err = victim_line(act, &line);
	if (!err)
		err = truth_parse(line, act->stage.arena, &act->truth);
	return err;
}

static struct error *break_it(struct act *act)
{
	const struct scenario *s = act->stage.scenario;
	char command[32];

	stage_sleep(s->ready_ms);
	struct error *err = stage_faults(&act->stage);
	if (!err && s->write_bytes) {
		snprintf(command, sizeof(command), "write %d\n",
			 s->write_bytes);
		program_tell(&act->victim, command);
		err = take_events(act, "written", EVENT_MS);
	}
	if (!err)
		stage_sleep(s->settle_ms);
	return err;
}

/* --- looking --- */

static bool expected_seen(const struct scenario *s, const struct result *r)
{
	return r->before && !(r->before & ~s->before);
}

/* A verdict that takes luck to see (a rare segment) has several looks; what
 * must never be said counts in each of them. */
static struct error *look_before(struct act *act, const char *pid)
{
	const struct scenario *s = act->stage.scenario;
	const char *const sockets[] = { "sockets", "--format", "json", pid,
					NULL };
	const char *const check[] = {
		"check", "--format", "json", "--min-blocked", "0s", pid, NULL
	};
	struct result r = *act->result;

	for (int i = 0; i < s->looks; i++) {
		struct seen seen = { 0 };
		struct error *err = stage_ask_two(
			&act->stage, sockets,
			s->victim == VICTIM_SOCKETS ? NULL : check, LOOK_MS,
			&seen);
		if (err)
			return err;
		r = *act->result;
		compare_before(s, &act->truth, &seen, &r);
		if (s->victim != VICTIM_SOCKETS)
			compare_findings(s, &act->truth, &seen, &r);
		if (expected_seen(s, &r) || r.outcome > OUTCOME_WRONG)
			break;
	}
	*act->result = r;
	return NULL;
}

static struct error *look_after(struct act *act, const char *pid)
{
	const struct scenario *s = act->stage.scenario;
	const char *const args[] = { "probe",
				     "--format",
				     "json",
				     pid,
				     s->shield ? "--rst-shield" : NULL,
				     NULL };
	struct seen seen = { 0 };
	struct error *err = stage_ask(&act->stage, args, PROBE_MS, &seen);

	if (!err)
		compare_after(s, &act->truth, &seen, act->result);
	return err;
}

/* No report, where there should be one, is wrong: it could be looked at. */
static struct error *look(struct act *act)
{
	char pid[16];

	snprintf(pid, sizeof(pid), "%d", (int)act->truth.pid);
	AUTO_ERROR struct error *err = look_before(act, pid);
	if (!err && act->stage.scenario->after)
		err = look_after(act, pid);
	if (err)
		compare_raise(act->result, OUTCOME_WRONG, "%s",
			      error_text(err));
	return NULL;
}

/* What the victim noticed of all this. */
static struct error *check_victim(struct act *act)
{
	const char *returns = act->stage.scenario->returns;
	bool must_come = returns && !act->returned.event;
	struct error *err = take_events(act, must_come ? "returned" : NULL,
					must_come ? EVENT_MS : 50);
	const char *error = act->returned.event ? act->returned.error : NULL;

	if (err)
		return err;
	if (act->healthy_error)
		compare_raise(act->result, OUTCOME_FALSE_ALARM,
			      "the healthy connection ended with %s",
			      act->healthy_error);
	if (returns && !error)
		compare_raise(act->result, OUTCOME_WRONG,
			      "the victim's wait should return %s, and goes on",
			      returns);
	else if (error && (!returns || strcmp(error, returns)))
		compare_raise(act->result, OUTCOME_WRONG,
			      "the victim's wait returned %s, should %s", error,
			      returns ? returns : "go on");
	return NULL;
}

/* Whatever was done to its socket must have been undone. */
static struct error *check_options(struct act *act)
{
	struct error *err;

	if (!*act->truth.options || act->returned.event)
		return NULL;
	program_tell(&act->victim, "options\n");
	err = take_events(act, "options", EVENT_MS);
	if (err)
		return err;
	if (!act->options || strcmp(act->options, act->truth.options))
		compare_raise(act->result, OUTCOME_WRONG,
			      "the socket's options were %s, are %s",
			      act->truth.options,
			      act->options ? act->options : "not told");
	return NULL;
}

static struct error *perform(struct act *act)
{
	struct error *err = start_victim(act);

	if (!err)
		err = break_it(act);
	if (!err)
		err = look(act);
	if (!err)
		err = check_victim(act);
	if (!err)
		err = check_options(act);
	return err;
}

void play(const struct scenario *s, int family, const struct place *place,
	  struct result *ret)
{
	int64_t start = clock_mono_ns();
	struct act act = { .result = ret };

	*ret = (struct result){ .outcome = OUTCOME_RIGHT };
	struct error *err = stage_open(s, family, place, &act.stage);
	if (!err)
		err = perform(&act);
	if (err)
		compare_raise(ret, OUTCOME_NOT_RUN, "%s", error_text(err));
	error_free(err);
	program_end(&act.victim);
	stage_close(&act.stage);
	ret->duration_ms = (clock_mono_ns() - start) / 1000000;
}
