/* SPDX-License-Identifier: Apache-2.0 */
#include "detector/report_heal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "detector/frames.h"

/** `heal` in two halves: what will be done, and what came of it. */

enum { PLAN_FD, PLAN_LOCAL, PLAN_REMOTE, PLAN_VERDICT, PLAN_DO, PLAN_WAITS };

static const struct table_column plan_columns[] = {
	[PLAN_FD] = { .title = "FD", .right = true },
	[PLAN_LOCAL] = { .title = "LOCAL", .min = 21 },
	[PLAN_REMOTE] = { .title = "REMOTE", .min = 21 },
	[PLAN_VERDICT] = { .title = "VERDICT", .min = 11 },
	[PLAN_DO] = { .title = "DO", .min = 8 },
	[PLAN_WAITS] = { .title = "WAITS", .min = 16 },
};

struct rows {
	const struct report *r;
	const struct heal *heal;
};

static void describe_waits(char cell[TEXT_CELL], const struct report *r,
			   const struct heal_item *item)
{
	if (!r->survey->n_sets)
		snprintf(cell, TEXT_CELL, "?");
	else if (!item->n_tasks)
		snprintf(cell, TEXT_CELL, "-");
	else if (item->n_tasks > 1)
		snprintf(cell, TEXT_CELL, "%s %" PRIu64 " and %zu more",
			 report_task_word(item->tasks[0].runtime, 1),
			 item->tasks[0].task->id, item->n_tasks - 1);
	else
		snprintf(cell, TEXT_CELL, "%s %" PRIu64 " (%s)",
			 report_task_word(item->tasks[0].runtime, 1),
			 item->tasks[0].task->id,
			 wait_kind_name(item->tasks[0].task->wait));
}

static void plan_row(void *arg, size_t i, struct table_row *row)
{
	const struct rows *rows = arg;
	const struct heal_item *item = &rows->heal->v[i];
	bool refused = item->result == HEAL_REFUSED;

	snprintf(row->cell[PLAN_FD], TEXT_CELL, "%d", item->fd);
	endpoint_format(&item->socket->local, row->cell[PLAN_LOCAL]);
	endpoint_format(&item->socket->remote, row->cell[PLAN_REMOTE]);
	snprintf(row->cell[PLAN_VERDICT], TEXT_CELL, "%s",
		 verdict_name(item->verdict->kind));
	snprintf(row->cell[PLAN_DO], TEXT_CELL, "%s",
		 refused ? "refused" : heal_how_name(rows->heal->how));
	describe_waits(row->cell[PLAN_WAITS], rows->r, item);
	row->style[PLAN_FD] = STYLE_BOLD;
	row->style[PLAN_DO] = refused ? STYLE_WARN : STYLE_BOLD;
}

/* To the second, since it may be waited for. */
static int64_t seconds(int64_t ms)
{
	return (ms + 999) / 1000;
}

static void put_armed_time(struct text *t, const struct heal *h,
			   const struct heal_item *item)
{
	const struct tcp_keepalive *k = &h->keepalive;
	uint32_t limit_ms = item->socket->options.user_timeout_ms;
	struct tcp_options to = {
		.known = true,
		.keepalive = true,
		.keepidle_s = k->idle_s,
		.keepintvl_s = k->intvl_s,
		.keepcnt = k->cnt,
	};

	text_wrapf(t, "  ",
		   "keepalive %" PRIu32 " s + %" PRIu32 " x %" PRIu32
		   " s: unless its peer answers, the kernel ends it in at most "
		   "%" PRId64 " s",
		   k->idle_s, k->cnt, k->intvl_s,
		   seconds(keepalive_detects_ms(&to)));
	if (limit_ms)
		text_wrapf(t, "  ",
			   "the program has set TCP_USER_TIMEOUT to %" PRId64
			   " s, which takes the place of the count: when "
			   "nothing was received for that long, one unanswered "
			   "probe ends it, in %" PRId64 " s at the earliest",
			   seconds(limit_ms),
			   seconds((int64_t)1000 * (k->idle_s + k->intvl_s)));
	if (tcp_socket_latest(item->socket)->wqueue)
		text_wrap(t, "  ",
			  "data is in flight: until that is answered, "
			  "retransmissions count, and not keepalive");
}

/* What it means to those who wait. */
static void put_means(struct text *t, const struct heal *h)
{
	switch (h->how) {
	case HEAL_DESTROY:
		text_wrap(t, "  ",
			  "destroy: the kernel ends the connection; who waits "
			  "gets ECONNABORTED, the peer an RST");
		return;
	case HEAL_EOF:
		text_wrap(t, "  ",
			  "eof: who reads gets the end of file, as if the peer "
			  "had ended in order; who writes is not woken, and "
			  "nothing is sent");
		return;
	case HEAL_ARM:
		for (size_t i = 0; i < h->n; i++) {
			if (h->v[i].result != HEAL_PLANNED)
				continue;
			put_armed_time(t, h, &h->v[i]);
			return;
		}
	}
}

#define FDS_SHOWN 8

/* "fd 7", "fds 7, 8, 9 and 47 more": all with the reason of the @first. */
static void list_fds(char *buf, size_t size, const struct heal *h, size_t first)
{
	size_t n = 0;
	int len = 0;

	for (size_t i = first; i < h->n; i++) {
		if (h->v[i].leave_why != h->v[first].leave_why)
			continue;
		if (n++ < FDS_SHOWN)
			len += snprintf(buf + len, size - (size_t)len, "%s%d",
					n > 1 ? ", " : "fd ", h->v[i].fd);
	}
	if (n > FDS_SHOWN)
		snprintf(buf + len, size - (size_t)len, " and %zu more",
			 n - FDS_SHOWN);
}

/* Why it is refused, or would have been; once for each reason. */
static void put_refusal(struct text *t, const struct heal *h, size_t first)
{
	const struct heal_item *item = &h->v[first];
	const char *force = "";
	char fds[FDS_SHOWN * 16 + 64] = "";

	for (size_t i = 0; i < first; i++)
		if (h->v[i].leave_why == item->leave_why)
			return;
	list_fds(fds, sizeof(fds), h, first);
	if (item->leave == HEAL_ALIVE && item->result == HEAL_REFUSED)
		force = "; --force would cut a connection that works";
	else if (item->leave == HEAL_UNPROVEN && item->result == HEAL_REFUSED)
		force = "; --force does it all the same";
	text_wrapf(t, "  ", "%s %s: %s%s",
		   item->result == HEAL_REFUSED ? "refused"
						: "--force overrides:",
		   fds, item->leave_why, force);
	if (item->verdict->kernel_gives_up_ms >= 0) {
		char text[CLOCK_TEXT_MAX];

		clock_format_duration(item->verdict->kernel_gives_up_ms, text);
		text_wrapf(t, "    ",
			   "the kernel ends fd %d by itself in %s if nothing "
			   "answers until then",
			   item->fd, text);
	}
}

static void put_evidence(struct text *t, const struct verdict *v)
{
	for (uint32_t i = 0; i < v->n_evidence; i++)
		text_wrap(t, i ? "       " : "  why  ", v->evidence[i].text);
}

static void put_notes(struct text *t, const struct heal *h)
{
	if (heal_count(h, HEAL_PLANNED))
		put_means(t, h);
	for (size_t i = 0; i < h->n; i++)
		if (h->v[i].leave != HEAL_ALLOWED)
			put_refusal(t, h, i);
	if (h->left_alone)
		text_wrapf(
			t, "  ",
			"%zu more connection%s of this finding %s left alone: "
			"%s",
			h->left_alone, PLURAL(h->left_alone),
			h->left_alone == 1 ? "is" : "are", h->left_why);
	if (h->dry_run)
		text_wrap(t, "  ", "dry run: nothing was done");
}

void report_heal_plan(struct text *t, const struct report *r,
		      const struct heal *h)
{
	struct rows rows = { .r = r, .heal = h };
	size_t n = heal_count(h, HEAL_PLANNED);
	char what[96];

	if (n)
		snprintf(what, sizeof(what), "%zu connection%s to heal", n,
			 PLURAL(n));
	else
		snprintf(what, sizeof(what), "nothing to heal");
	report_head(t, r, what);
	fputc('\n', t->out);
	table_print(t, &(struct table){
			       .columns = plan_columns,
			       .n_columns = sizeof(plan_columns) /
					    sizeof(plan_columns[0]),
			       .n_rows = h->n,
			       .row = plan_row,
			       .arg = &rows,
		       });
	fputc('\n', t->out);
	if (h->n == 1 || r->verbose)
		put_evidence(t, h->v[0].verdict);
	put_notes(t, h);
}

enum { FATE_TASK, FATE_FD, FATE_NOW, FATE_WHERE };

static const struct table_column fate_columns[] = {
	[FATE_TASK] = { .title = "ID", .right = true },
	[FATE_FD] = { .title = "FD", .right = true },
	[FATE_NOW] = { .title = "NOW", .min = 8 },
	[FATE_WHERE] = { .title = "WHERE", .min = 20 },
};

static const char *fate_text(enum heal_fate fate)
{
	switch (fate) {
	case FATE_GONE:
		return "gone: it has returned";
	case FATE_MOVED:
		return "moved on";
	case FATE_STILL:
		return "still there";
	case FATE_UNKNOWN:
		return "not known";
	}
	return "?";
}

/* Rows of those who are gone say no more than the sum; this many may stay. */
#define GONE_SHOWN 10

/* One row: somebody who waited on what was healed. */
struct fate {
	const struct heal_item *item;
	const struct heal_task *task;
};

/* Fills @v unless NULL; without @gone only those who are not gone. */
static size_t list_fates(const struct heal *h, bool gone, struct fate *v)
{
	size_t n = 0;

	for (size_t i = 0; i < h->n; i++) {
		const struct heal_item *item = &h->v[i];

		for (size_t k = 0; heal_watches(h, item) && k < item->n_tasks;
		     k++) {
			if (!gone && item->tasks[k].fate == FATE_GONE)
				continue;
			if (v)
				v[n] = (struct fate){ item, &item->tasks[k] };
			n++;
		}
	}
	return n;
}

static void fate_row(void *arg, size_t i, struct table_row *row)
{
	const struct fate *fate = &((const struct fate *)arg)[i];
	const struct heal_task *t = fate->task;
	bool good = t->fate == FATE_GONE || t->fate == FATE_MOVED;

	snprintf(row->cell[FATE_TASK], TEXT_CELL, "%" PRIu64, t->task->id);
	snprintf(row->cell[FATE_FD], TEXT_CELL, "%d", fate->item->fd);
	snprintf(row->cell[FATE_NOW], TEXT_CELL, "%s", fate_text(t->fate));
	if (t->at && t->at->line)
		snprintf(row->cell[FATE_WHERE], TEXT_CELL, "%s  %s:%" PRIu32,
			 t->at->function, frame_short_file(t->at), t->at->line);
	else
		snprintf(row->cell[FATE_WHERE], TEXT_CELL, "%s",
			 t->at ? t->at->function : "-");
	row->style[FATE_TASK] = STYLE_BOLD;
	row->style[FATE_NOW] = good ? STYLE_GOOD : STYLE_BAD;
}

static void put_fates(struct text *t, const struct report *r,
		      const struct heal *h)
{
	bool gone = r->verbose || list_fates(h, true, NULL) <= GONE_SHOWN;
	size_t n = list_fates(h, gone, NULL);
	AUTO_FREE struct fate *v = calloc(n + 1, sizeof(*v));

	if (!n || !v)
		return;
	list_fates(h, gone, v);
	fputc('\n', t->out);
	table_print(t, &(struct table){
			       .columns = fate_columns,
			       .n_columns = sizeof(fate_columns) /
					    sizeof(fate_columns[0]),
			       .n_rows = n,
			       .row = fate_row,
			       .arg = v,
		       });
}

static const char *waiters_word(const struct heal *h, uint64_t n)
{
	struct task_counts counts = { 0 };

	for (size_t i = 0; i < h->n; i++)
		for (size_t t = 0; t < h->v[i].n_tasks; t++)
			counts.of[h->v[i].tasks[t].runtime]++;
	return report_any_word(&counts, n);
}

static void put_sum(struct text *t, const struct heal *h)
{
	size_t done = heal_count(h, HEAL_DONE);
	size_t still = heal_fates(h, FATE_STILL);
	size_t unknown = heal_fates(h, FATE_UNKNOWN);
	size_t moved = heal_fates(h, FATE_MOVED);
	size_t gone = heal_fates(h, FATE_GONE);
	size_t all = still + unknown + moved + gone;
	char took[CLOCK_TEXT_MAX];

	clock_format_duration(h->watched_ms, took);
	if (h->how == HEAL_ARM)
		text_wrapf(t, "",
			   "Keepalive is on for %zu of %zu connection%s.", done,
			   h->n, PLURAL(h->n));
	else if (!all)
		text_wrapf(t, "", "%zu of %zu connection%s healed.", done, h->n,
			   PLURAL(h->n));
	else
		text_wrapf(
			t, "",
			"%zu of %zu connection%s healed. %s later, of %zu %s "
			"that waited: %zu gone, %zu moved on, %zu still "
			"there, %zu not known.",
			done, h->n, PLURAL(h->n), took, all,
			waiters_word(h, all), gone, moved, still, unknown);
}

void report_heal_done(struct text *t, const struct report *r,
		      const struct heal *h)
{
	put_fates(t, r, h);
	fputc('\n', t->out);
	for (size_t i = 0; i < h->n; i++)
		if (h->v[i].why)
			text_wrapf(t, "  ", "fd %d: %s", h->v[i].fd,
				   h->v[i].why);
	if (h->process_ended)
		text_wrap(t, "  ",
			  "the process has ended meanwhile: it may have taken "
			  "the error for a reason to");
	put_sum(t, h);
	report_gaps(t, "", &r->survey->gaps);
}

static json_t *task_json(const struct heal_task *t, bool watched)
{
	json_t *o = json_pack("{s:o, s:s, s:s?, s:o}", "id",
			      json_sprintf("%" PRIu64, t->task->id), "wait",
			      wait_kind_name(t->task->wait), "fate",
			      watched ? heal_fate_name(t->fate) : NULL, "at",
			      report_json_frame(t->at));

	return o ? o : json_null();
}

static json_t *item_json(const struct heal *h, const struct heal_item *item)
{
	json_t *o = report_json_socket(item->socket, item->verdict);
	json_t *tasks = json_array();

	for (size_t i = 0; i < item->n_tasks; i++)
		json_array_append_new(tasks, task_json(&item->tasks[i],
						       heal_watches(h, item)));
	json_object_set_new(o, "fd", json_integer(item->fd));
	json_object_set_new(o, "allowed",
			    json_boolean(item->leave == HEAL_ALLOWED));
	json_object_set_new(o, "reason", report_json_text(item->leave_why));
	json_object_set_new(o, "result",
			    json_string(heal_result_name(item->result)));
	json_object_set_new(o, "error", report_json_text(item->why));
	json_object_set_new(
		o, "options",
		report_json_options(item->armed.known
					    ? &item->armed
					    : &item->socket->options));
	json_object_set_new(o, "tasks", tasks);
	return o;
}

void report_heal_json(FILE *out, const struct report *r, const struct heal *h)
{
	json_t *items = json_array();

	for (size_t i = 0; i < h->n; i++)
		json_array_append_new(items, item_json(h, &h->v[i]));
	json_t *sum = json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "healed",
				(json_int_t)heal_count(h, HEAL_DONE),
				"left_alone", (json_int_t)h->left_alone, "gone",
				(json_int_t)heal_fates(h, FATE_GONE), "moved",
				(json_int_t)heal_fates(h, FATE_MOVED), "still",
				(json_int_t)heal_fates(h, FATE_STILL),
				"unknown",
				(json_int_t)heal_fates(h, FATE_UNKNOWN));
	json_t *o = json_pack("{s:s, s:b, s:b, s:I, s:b, s:o, s:o}", "how",
			      heal_how_name(h->how), "dry_run", (int)h->dry_run,
			      "force", (int)h->force, "watched_ms",
			      (json_int_t)h->watched_ms, "process_ended",
			      (int)h->process_ended, "summary", sum,
			      "connections", items);
	report_json_document(out, r->survey, "heal", o);
}
