/* SPDX-License-Identifier: Apache-2.0 */
#include "detector/report_watch.h"

#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "detector/frames.h"

/** `watch-tasks` as a table: one row for each creation site. */

enum { COL_CREATED, COL_ENDED, COL_ALIVE, COL_OLDEST, COL_WHAT, COL_SITE };

static const struct table_column columns[] = {
	[COL_CREATED] = { .title = "CREATED", .right = true },
	[COL_ENDED] = { .title = "ENDED", .right = true },
	[COL_ALIVE] = { .title = "ALIVE", .right = true },
	[COL_OLDEST] = { .title = "OLDEST", .min = 9 },
	[COL_WHAT] = { .title = "", .min = 9 },
	[COL_SITE] = { .title = "CREATED BY", .min = 22 },
};

static void fill_row(void *arg, size_t i, struct table_row *row)
{
	const struct watch *w = arg;
	const struct watch_site *s = &w->v[i];
	char n[TEXT_COUNT], oldest[CLOCK_TEXT_MAX];

	snprintf(row->cell[COL_CREATED], TEXT_CELL, "%s",
		 text_count(n, s->created));
	snprintf(row->cell[COL_ENDED], TEXT_CELL, "%s",
		 text_count(n, s->ended));
	snprintf(row->cell[COL_ALIVE], TEXT_CELL, "%s",
		 text_count(n, s->alive));
	clock_format_duration(s->oldest_ms, oldest);
	if (s->oldest_ms < 0)
		snprintf(row->cell[COL_OLDEST], TEXT_CELL, "-");
	else
		snprintf(row->cell[COL_OLDEST], TEXT_CELL, ">= %s", oldest);
	snprintf(row->cell[COL_WHAT], TEXT_CELL, "%s",
		 s->grows		 ? "grows"
		 : s->created > s->ended ? "more"
					 : "");
	if (!s->frame)
		snprintf(row->cell[COL_SITE], TEXT_CELL, "-");
	else if (s->frame->line)
		snprintf(row->cell[COL_SITE], TEXT_CELL, "%s %s:%" PRIu32,
			 s->frame->function, frame_short_file(s->frame),
			 s->frame->line);
	else
		snprintf(row->cell[COL_SITE], TEXT_CELL, "%s",
			 s->frame->function);
	row->style[COL_WHAT] = s->grows ? STYLE_BAD : STYLE_DIM;
	row->style[COL_SITE] = s->grows ? STYLE_BOLD : STYLE_PLAIN;
}

static void put_sum(struct text *t, const struct report *r,
		    const struct watch *w)
{
	size_t n = watch_growing(w);
	char lead[200], count[TEXT_COUNT];

	fputc('\n', t->out);
	if (w->unseen_at_most)
		text_wrapf(t, "",
			   "Up to %s goroutines came and went between two "
			   "looks; by their ids, which are given out in blocks "
			   "of 16.",
			   text_count(count, w->unseen_at_most));
	if (n)
		snprintf(lead, sizeof(lead),
			 "%zu site%s only grow%s: what is created there does "
			 "not end.",
			 n, PLURAL(n), n == 1 ? "s" : "");
	else
		snprintf(lead, sizeof(lead), "No site only grows.");
	report_gaps(t, lead, &r->survey->gaps);
}

void report_watch_text(struct text *t, const struct report *r,
		       const struct watch *w)
{
	char what[160], took[CLOCK_TEXT_MAX];

	clock_format_duration(w->duration_ms, took);
	snprintf(what, sizeof(what),
		 "%" PRIu64 " look%s in %s, %zu creation site%s", w->looks,
		 PLURAL(w->looks), took, w->n, PLURAL(w->n));
	report_head(t, r, what);
	fputc('\n', t->out);
	const struct table table = {
		.columns = columns,
		.n_columns = sizeof(columns) / sizeof(columns[0]),
		.n_rows = w->n,
		.row = fill_row,
		.arg = (void *)w,
	};
	if (w->n)
		table_print(t, &table);
	put_sum(t, r, w);
}

static json_t *site_json(const struct watch_site *s)
{
	json_t *quarters = json_array();

	for (int i = 0; i <= WATCH_QUARTERS; i++)
		json_array_append_new(quarters,
				      json_integer((json_int_t)s->quarter[i]));
	return json_pack(
		"{s:s, s:o, s:I, s:I, s:I, s:I, s:o, s:o, s:o, s:b}", "runtime",
		task_runtime_name(s->runtime), "created_by",
		report_json_frame(s->frame), "created", (json_int_t)s->created,
		"ended", (json_int_t)s->ended, "alive", (json_int_t)s->alive,
		"alive_first", (json_int_t)s->alive_first, "oldest_task",
		s->oldest_id ? json_sprintf("%" PRIu64, s->oldest_id)
			     : json_null(),
		"oldest_at_least_ms",
		s->oldest_ms < 0 ? json_null() : json_integer(s->oldest_ms),
		"alive_at", quarters, "grows", (int)s->grows);
}

void report_watch_json(FILE *out, const struct report *r, const struct watch *w)
{
	json_t *sites = json_array();

	for (size_t i = 0; i < w->n; i++)
		json_array_append_new(sites, site_json(&w->v[i]));
	report_json_document(
		out, r->survey, "watch",
		json_pack("{s:I, s:I, s:I, s:I, s:o}", "looks",
			  (json_int_t)w->looks, "duration_ms",
			  (json_int_t)w->duration_ms, "growing",
			  (json_int_t)watch_growing(w), "unseen_at_most",
			  (json_int_t)w->unseen_at_most, "sites", sites));
}
