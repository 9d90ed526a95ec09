/* SPDX-License-Identifier: Apache-2.0 */
#include "detector/report.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "detector/judge.h"
#include "detector/waiters.h"

/**
 * `sockets` as a table: one row for each, and on a narrow terminal a second
 * line for the columns that found no room.
 */

enum {
	COL_FD,
	COL_STATE,
	COL_LOCAL,
	COL_REMOTE,
	COL_VERDICT,
	COL_QUEUES,
	COL_IDLE,
	COL_TIMER,
	COL_KEEPALIVE,
	COL_WAITS,
};
#define N_COLUMNS (COL_WAITS + 1)

static const struct table_column columns[N_COLUMNS] = {
	[COL_FD] = { .title = "FD", .right = true },
	[COL_STATE] = { .title = "STATE", .min = 11 },
	[COL_LOCAL] = { .title = "LOCAL", .min = 21 },
	[COL_REMOTE] = { .title = "REMOTE", .min = 21 },
	[COL_VERDICT] = { .title = "VERDICT", .min = 11 },
	[COL_QUEUES] = { .title = "RECV/SEND", .drop = 2 },
	[COL_IDLE] = { .title = "IDLE", .drop = 3 },
	[COL_TIMER] = { .title = "TIMER", .drop = 4 },
	[COL_KEEPALIVE] = { .title = "KEEPALIVE", .drop = 5 },
	[COL_WAITS] = { .title = "WAITS", .min = 20, .drop = 6 },
};

struct rows {
	const struct report *r;
	struct waiters *waiters;
};

static void describe_timer(char cell[TEXT_CELL], const struct tcp_sample *s)
{
	char expires[CLOCK_TEXT_MAX];

	clock_format_duration(s->expires_ms, expires);
	if (s->timer == TCP_TIMER_OFF)
		snprintf(cell, TEXT_CELL, "-");
	else if (s->retrans)
		snprintf(cell, TEXT_CELL, "%s in %s, %u unanswered",
			 tcp_timer_name(s->timer), expires, s->retrans);
	else
		snprintf(cell, TEXT_CELL, "%s in %s", tcp_timer_name(s->timer),
			 expires);
}

/* Since when the peer gave no sign of life. */
static void describe_idle(char cell[TEXT_CELL], const struct tcp_sample *s)
{
	char text[CLOCK_TEXT_MAX];
	uint32_t ms = s->info.last_data_recv_ms < s->info.last_ack_recv_ms
			      ? s->info.last_data_recv_ms
			      : s->info.last_ack_recv_ms;

	if (!(s->info.known & TCP_INFO_BASE) || s->state == TCP_STATE_LISTEN ||
	    s->state == TCP_STATE_SYN_SENT) {
		snprintf(cell, TEXT_CELL, "-");
		return;
	}
	clock_format_duration(ms, text);
	snprintf(cell, TEXT_CELL, "%s", text);
}

static void describe_keepalive(char cell[TEXT_CELL], const struct tcp_socket *s)
{
	const struct tcp_options *o = &s->options;

	if (tcp_socket_latest(s)->state == TCP_STATE_LISTEN)
		snprintf(cell, TEXT_CELL, "-");
	else if (o->known && o->keepalive)
		snprintf(cell, TEXT_CELL,
			 "%" PRIu32 " s + %" PRIu32 " x %" PRIu32 " s",
			 o->keepidle_s, o->keepcnt, o->keepintvl_s);
	else if (socket_keepalive(s) == KEEPALIVE_ON)
		snprintf(cell, TEXT_CELL, "on");
	else if (socket_keepalive(s) == KEEPALIVE_OFF)
		snprintf(cell, TEXT_CELL, "off");
	else
		snprintf(cell, TEXT_CELL, "?");
}

static void fill_row(void *arg, size_t i, struct table_row *row)
{
	const struct rows *rows = arg;
	const struct survey *survey = rows->r->survey;
	const struct tcp_socket *s = &survey->sockets->v[i];
	const struct tcp_sample *sample = tcp_socket_latest(s);
	enum verdict_kind verdict = survey->verdicts[i].kind;
	int fd = waiters_fd(rows->waiters, i);

	if (fd < 0)
		snprintf(row->cell[COL_FD], TEXT_CELL, "-");
	else
		snprintf(row->cell[COL_FD], TEXT_CELL, "%d", fd);
	snprintf(row->cell[COL_STATE], TEXT_CELL, "%s",
		 tcp_state_name(sample->state));
	endpoint_format(&s->local, row->cell[COL_LOCAL]);
	if (sample->state == TCP_STATE_LISTEN)
		snprintf(row->cell[COL_REMOTE], TEXT_CELL, "-");
	else
		endpoint_format(&s->remote, row->cell[COL_REMOTE]);
	snprintf(row->cell[COL_VERDICT], TEXT_CELL, "%s",
		 verdict_name(verdict));
	snprintf(row->cell[COL_QUEUES], TEXT_CELL, "%" PRIu32 "/%" PRIu32,
		 sample->rqueue, sample->wqueue);
	describe_idle(row->cell[COL_IDLE], sample);
	describe_timer(row->cell[COL_TIMER], sample);
	describe_keepalive(row->cell[COL_KEEPALIVE], s);
	report_waits(row->cell[COL_WAITS], rows->r, rows->waiters, i);
	row->style[COL_FD] = STYLE_BOLD;
	row->style[COL_VERDICT] = report_verdict_style(verdict);
}

static void add_detail(char *buf, size_t size, const char *name,
		       const char *value)
{
	size_t len = strlen(buf);

	if (strcmp(value, "-") != 0)
		snprintf(buf + len, size - len, "%s%s %s", len ? ", " : "",
			 name, value);
}

/* What had no column, in one more line. */
static void put_details(void *arg, size_t i, struct text *t, const bool *shown)
{
	static const char *const names[N_COLUMNS] = {
		[COL_QUEUES] = "queues",      [COL_IDLE] = "idle",
		[COL_TIMER] = "timer",	      [COL_KEEPALIVE] = "keepalive",
		[COL_WAITS] = "waited on by",
	};
	const struct rows *rows = arg;
	struct table_row *row = calloc(1, sizeof(*row));
	char buf[2 * TEXT_CELL] = "";

	if (!row)
		return;
	fill_row(arg, i, row);
	for (size_t c = 0; c < N_COLUMNS; c++)
		if (!shown[c] && names[c])
			add_detail(buf, sizeof(buf), names[c], row->cell[c]);
	if (*buf && tcp_socket_latest(&rows->r->survey->sockets->v[i])->state !=
			    TCP_STATE_LISTEN)
		text_wrap(t, "      ", buf);
	if (rows->r->verbose)
		for (uint32_t e = 0;
		     e < rows->r->survey->verdicts[i].n_evidence; e++)
			text_wrap(
				t, "      ",
				rows->r->survey->verdicts[i].evidence[e].text);
	free(row);
}

void report_sockets_text(struct text *t, const struct report *r)
{
	const struct survey *s = r->survey;
	size_t n = s->sockets ? s->sockets->n : 0;
	struct rows rows = { .r = r, .waiters = waiters_create(s) };
	char what[64], count[TEXT_COUNT];

	if (!rows.waiters)
		return;
	snprintf(what, sizeof(what), "%s TCP socket%s", text_count(count, n),
		 PLURAL(n));
	report_head(t, r, what);
	fputc('\n', t->out);
	const struct table table = {
		.columns = columns,
		.n_columns = N_COLUMNS,
		.n_rows = n,
		.row = fill_row,
		.after = put_details,
		.arg = &rows,
	};
	if (n)
		table_print(t, &table);
	if (s->gaps.n)
		fputc('\n', t->out);
	report_gaps(t, "", &s->gaps);
	waiters_destroy(rows.waiters);
}
