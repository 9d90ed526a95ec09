/* SPDX-License-Identifier: Apache-2.0 */
#include "detector/report.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "detector/waiters.h"

/** `sockets --policy`: who violates it, by which settings, and who waits. */

enum { COL_FD, COL_LOCAL, COL_REMOTE, COL_NOTICES, COL_SETTINGS, COL_WAITS };

static const struct table_column columns[] = {
	[COL_FD] = { .title = "FD", .right = true },
	[COL_LOCAL] = { .title = "LOCAL", .min = 21 },
	[COL_REMOTE] = { .title = "REMOTE", .min = 21 },
	[COL_NOTICES] = { .title = "NOTICES", .min = 8 },
	[COL_SETTINGS] = { .title = "SETTINGS", .min = 13 },
	[COL_WAITS] = { .title = "WAITS", .min = 12 },
};
#define N_COLUMNS (sizeof(columns) / sizeof(columns[0]))

struct rows {
	const struct report *r;
	struct waiters *waiters;
	size_t *sockets; /* that violate it */
	size_t n;
};

/* Exact, where the reports' usual durations are cut to the minute. */
static void describe_notice(char cell[TEXT_CELL], int64_t ms)
{
	if (ms == POLICY_NEVER)
		snprintf(cell, TEXT_CELL, "never");
	else if (ms % 1000)
		snprintf(cell, TEXT_CELL, "%" PRId64 " ms", ms);
	else
		snprintf(cell, TEXT_CELL, "%" PRId64 " s", ms / 1000);
}

static void describe_settings(char cell[TEXT_CELL], const struct tcp_options *o)
{
	int len = o->keepalive
			  ? snprintf(cell, TEXT_CELL,
				     "keepalive %" PRIu32 " s + %" PRIu32
				     " x %" PRIu32 " s",
				     o->keepidle_s, o->keepcnt, o->keepintvl_s)
			  : snprintf(cell, TEXT_CELL, "keepalive off");

	if (o->user_timeout_ms)
		snprintf(cell + len, TEXT_CELL - (size_t)len,
			 ", user timeout %" PRIu32 " ms", o->user_timeout_ms);
}

static void fill_row(void *arg, size_t row_i, struct table_row *row)
{
	const struct rows *rows = arg;
	size_t i = rows->sockets[row_i];
	const struct tcp_socket *s = &rows->r->survey->sockets->v[i];
	int fd = waiters_fd(rows->waiters, i);
	int64_t ms;

	policy_judge(rows->r->policy, s, &ms);
	if (fd < 0)
		snprintf(row->cell[COL_FD], TEXT_CELL, "-");
	else
		snprintf(row->cell[COL_FD], TEXT_CELL, "%d", fd);
	endpoint_format(&s->local, row->cell[COL_LOCAL]);
	endpoint_format(&s->remote, row->cell[COL_REMOTE]);
	describe_notice(row->cell[COL_NOTICES], ms);
	describe_settings(row->cell[COL_SETTINGS], &s->options);
	report_waits(row->cell[COL_WAITS], rows->r, rows->waiters, i);
	row->style[COL_FD] = STYLE_BOLD;
	row->style[COL_NOTICES] = STYLE_BAD;
}

static void find_violations(struct rows *rows)
{
	const struct tcp_snapshot *snap = rows->r->survey->sockets;
	int64_t ms;

	for (size_t i = 0; i < snap->n; i++)
		if (policy_judge(rows->r->policy, &snap->v[i], &ms) ==
		    POLICY_VIOLATED)
			rows->sockets[rows->n++] = i;
}

static const char *subject_text(const struct policy *policy)
{
	return policy->subject == POLICY_KEEPALIVE ? "idle"
						   : "data is in flight";
}

void report_policy_text(struct text *t, const struct report *r)
{
	const struct survey *s = r->survey;
	size_t n = s->sockets ? s->sockets->n : 0;
	AUTO_FREE size_t *sockets = calloc(n + 1, sizeof(*sockets));
	struct rows rows = { r, waiters_create(s), sockets, 0 };
	char what[64];

	if (!rows.waiters || !sockets) {
		waiters_destroy(rows.waiters);
		return;
	}
	if (s->sockets)
		find_violations(&rows);
	const struct policy_count c =
		s->sockets ? policy_count(r->policy, s->sockets)
			   : (struct policy_count){ 0 };
	snprintf(what, sizeof(what), "%" PRIu64 " connection%s", c.checked,
		 PLURAL(c.checked));
	report_head(t, r, what);
	fputc('\n', t->out);
	const struct table table = {
		.columns = columns,
		.n_columns = N_COLUMNS,
		.n_rows = rows.n,
		.row = fill_row,
		.arg = &rows,
	};
	if (rows.n) {
		table_print(t, &table);
		fputc('\n', t->out);
	}
	if (s->sockets)
		text_wrapf(t, "",
			   "%" PRIu64 " of %" PRIu64
			   " connection%s would not notice a "
			   "dead peer in time while %s (%s).",
			   c.violations, c.checked, PLURAL(c.checked),
			   subject_text(r->policy), r->policy->text);
	report_gaps(t, "", &s->gaps);
	waiters_destroy(rows.waiters);
}

json_t *report_policy_answer_json(const struct policy *policy,
				  const struct tcp_socket *s)
{
	int64_t ms;
	enum policy_answer answer = policy_judge(policy, s, &ms);
	bool judged = answer == POLICY_KEPT || answer == POLICY_VIOLATED;

	return json_pack("{s:o, s:o}", "ok",
			 judged ? json_boolean(answer == POLICY_KEPT)
				: json_null(),
			 "detects_ms",
			 ms == POLICY_NEVER ? json_null() : json_integer(ms));
}

json_t *report_policy_json(const struct policy *policy, const struct survey *s)
{
	struct policy_count c = policy_count(policy, s->sockets);
	bool ok = !c.violations && !c.unknown && !gaps_matter(&s->gaps);

	return json_pack(
		"{s:s, s:b, s:I, s:I, s:I}", "expression", policy->text, "ok",
		(int)ok, "checked", (json_int_t)c.checked, "violations",
		(json_int_t)c.violations, "unknown", (json_int_t)c.unknown);
}
