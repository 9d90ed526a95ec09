/* SPDX-License-Identifier: Apache-2.0 */

/** `watch-tasks`: look again and again, and say which sites only grow. */

#include "base/clock.h"
#include "detector/cmd.h"
#include "detector/report_watch.h"

#define DEFAULT_FOR_MS 60000
#define DEFAULT_EVERY_MS 1000

struct watching {
	struct survey *survey;
	struct watch *watch;
	int64_t begin_ms, for_ms, every_ms;
	int quarter; /* the last that is over */
};

/* The counters of the process itself, where it has some. */
static struct error *look_at_counts(const struct watching *w,
				    const struct task_set *set)
{
	AUTO_ARENA struct arena *arena = arena_create();
	struct task_site *v = NULL;
	size_t n = 0;

	if (!arena)
		return &error_nomem;
	struct error *err = set->source->sites(set->context, arena, &v, &n);
	return err ? err : watch_counts(w->watch, set->snapshot->kind, v, n);
}

static struct error *look_at_set(const struct watching *w,
				 const struct task_set *set, bool whole)
{
	static const struct runtime_options light;
	AUTO_TASKS struct task_snapshot *snap = NULL;
	bool counted = set->source->sites;
	struct error *err = NULL;

	/* Beside counters, tasks tell the oldest only: once is enough. */
	if (!counted || whole) {
		err = set->source->snapshot(set->context, &light, &snap);
		if (!err)
			err = watch_tasks(w->watch, snap, counted);
		/* Not once for each look. */
		if (!err && whole)
			gaps_merge(&w->watch->gaps, &snap->gaps);
	}
	if (!err && counted)
		err = look_at_counts(w, set);
	return err;
}

/* The quarter that is over now, when it was not in the last look; else -1. */
static int quarter_now(struct watching *w, int64_t now_ms)
{
	int64_t passed = now_ms - w->begin_ms;
	int quarter = (int)(passed * WATCH_QUARTERS / w->for_ms);

	if (quarter > WATCH_QUARTERS)
		quarter = WATCH_QUARTERS;
	if (quarter == w->quarter)
		return -1;
	w->quarter = quarter;
	return quarter;
}

static struct error *look(struct watching *w, bool whole)
{
	const struct survey *s = w->survey;
	int64_t now_ms = clock_mono_ns() / 1000000;
	struct error *err = NULL;

	watch_begin_look(w->watch, now_ms);
	for (size_t i = 0; i < s->n_sets && !err; i++)
		err = look_at_set(w, &s->sets[i], whole);
	watch_end_look(w->watch, quarter_now(w, now_ms));
	return err;
}

/* It ends, or cannot be read any more: what was seen until then is told. */
static struct error *as_end(struct watching *w, struct error *err)
{
	struct survey *s = w->survey;

	if (!err || error_code(err) == ERROR_NOMEM)
		return err;
	s->gone = !process_alive(s->process);
	gaps_add(&s->gaps, GAP_INCONSISTENT, 1, "%s",
		 s->gone ? "the process ended while it was watched"
			 : error_text(err));
	error_free(err);
	return NULL;
}

static struct error *watch(struct watching *w)
{
	int64_t next = clock_mono_ns();
	int64_t end = next + w->for_ms * INT64_C(1000000);
	struct error *err = NULL;

	w->begin_ms = next / 1000000;
	w->quarter = -1;
	while (!err) {
		bool last = next >= end;

		clock_sleep_until(last ? end : next);
		err = look(w, last || w->quarter < 0);
		if (last)
			break;
		next += w->every_ms * INT64_C(1000000);
		/* A look may take longer than that. */
		if (next < clock_mono_ns())
			next = clock_mono_ns();
	}
	return as_end(w, err);
}

static void report(const struct cli *cli, const struct survey *s,
		   const struct watch *w)
{
	const struct report r = { .survey = s, .verbose = cli->verbose };
	struct text t;

	if (cli->format == FORMAT_JSON) {
		report_watch_json(stdout, &r, w);
		return;
	}
	text_init(&t, stdout, cli->color);
	report_watch_text(&t, &r, w);
}

/* By default often enough for each quarter to have looks of its own. */
static int64_t every(const struct cli *cli, int64_t for_ms)
{
	if (cli->every_ms >= 0)
		return cli->every_ms;
	return for_ms / 8 < DEFAULT_EVERY_MS ? for_ms / 8 : DEFAULT_EVERY_MS;
}

static struct error *run(const struct cli *cli, int *status_ret)
{
	const struct survey_options opt = { .quick = true,
					    .need = NEED_RUNTIME,
					    .threads = THREADS_NONE,
					    .no_sockets = true };
	struct watching w = {
		.for_ms = cli->for_ms < 0 ? DEFAULT_FOR_MS : cli->for_ms,
	};
	w.every_ms = every(cli, w.for_ms);
	AUTO_SURVEY struct survey *s = NULL;
	AUTO_WATCH struct watch *seen = NULL;

	if (w.every_ms > w.for_ms / WATCH_QUARTERS)
		return error_new(ERROR_USAGE,
				 "--every must be a quarter of --for at most, "
				 "so that each quarter can be told");
	struct error *err = cmd_survey(cli, &opt, &s);

	if (!err)
		err = watch_create(&seen);
	if (err)
		return err;
	w.survey = s;
	w.watch = seen;
	err = watch(&w);
	if (err)
		return err;
	watch_finish(seen);
	gaps_merge(&s->gaps, &seen->gaps);
	s->duration_ms = seen->duration_ms;
	report(cli, s, seen);
	*status_ret = watch_growing(seen)     ? STATUS_FINDINGS
		      : gaps_matter(&s->gaps) ? STATUS_GAPS
					      : STATUS_CLEAN;
	return NULL;
}

int cmd_watch_tasks(const struct cli *cli)
{
	int status = STATUS_NOTHING;
	struct error *err = run(cli, &status);

	return cmd_finish(err, status);
}
