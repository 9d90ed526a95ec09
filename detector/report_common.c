/* SPDX-License-Identifier: Apache-2.0 */
#include "detector/report.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "detector/blocked.h"
#include "detector/frames.h"
#include "detector/waiting.h"

const char *report_task_word(enum task_runtime runtime, uint64_t n)
{
	switch (runtime) {
	case TASK_GO:
		return n == 1 ? "goroutine" : "goroutines";
	case TASK_COROUTINE:
		return n == 1 ? "coroutine" : "coroutines";
	case TASK_THREAD:
		return n == 1 ? "thread" : "threads";
	}
	return n == 1 ? "task" : "tasks";
}

const char *report_word_of(const struct report *r, const struct task *task,
			   uint64_t n)
{
	const struct task_set *set = survey_set_of(r->survey, task);

	return report_task_word(set ? set->snapshot->kind : TASK_THREAD, n);
}

#define N_RUNTIMES (sizeof(((struct task_counts *)0)->of) / sizeof(uint64_t))

const char *report_any_word(const struct task_counts *counts, uint64_t n)
{
	size_t kinds = 0, last = TASK_GO;

	for (size_t i = 0; i < N_RUNTIMES; i++) {
		if (!counts->of[i])
			continue;
		kinds++;
		last = i;
	}
	if (kinds > 1)
		return n == 1 ? "task" : "tasks";
	return report_task_word((enum task_runtime)last, n);
}

void report_counts(char buf[REPORT_COUNTS], const struct task_counts *all,
		   const struct task_counts *blocked)
{
	char n[TEXT_COUNT];
	size_t len = 0;

	*buf = '\0';
	for (size_t i = 0; i < N_RUNTIMES; i++)
		if (all->of[i])
			len += (size_t)snprintf(
				buf + len, REPORT_COUNTS - len, "%s%s %s",
				len ? " and " : "", text_count(n, all->of[i]),
				report_task_word((enum task_runtime)i,
						 all->of[i]));
	if (!len)
		len = (size_t)snprintf(buf, REPORT_COUNTS, "0 %s",
				       report_any_word(all, 0));
	bool threads = all->of[TASK_THREAD] &&
		       all->of[TASK_THREAD] == task_counts_sum(all);
	snprintf(buf + len, REPORT_COUNTS - len, ", %s %s",
		 text_count(n, task_counts_sum(blocked)),
		 threads ? "blocked" : "parked");
}

struct blocked_for report_interval(const struct report *r,
				   const struct task *task)
{
	const struct survey *s = r->survey;
	struct waiting w = waiting_of(task, &s->fds, s->sockets);

	return blocked_interval(&(struct blocked_input){
		.task = task,
		.wait = w.wait,
		.socket = w.socket,
		.now_mono_ns = r->survey->now_mono_ns,
		.process_age_ms = r->survey->process_age_ms,
	});
}

static const char *last_part(const char *path)
{
	const char *slash = path ? strrchr(path, '/') : NULL;

	return slash && slash[1] ? slash + 1 : path;
}

/*
 * As people know it: the file's name, or what it was started as where that is
 * another (Debian's redis-server is a link to redis-check-rdb) and the kernel
 * says so, too. comm has 15 characters at most.
 */
static const char *process_name(const struct process *p)
{
	const char *file = last_part(p->exe);
	char started[64] = "";

	if (!file || !*file)
		return p->comm;
	snprintf(started, sizeof(started), "%.*s",
		 (int)strcspn(p->cmdline ? p->cmdline : "", " "),
		 p->cmdline ? p->cmdline : "");
	return *p->comm && !strcmp(last_part(started), p->comm) ? p->comm
								: file;
}

static void put_times(struct text *t, const struct survey *s, int used)
{
	char took[CLOCK_TEXT_MAX], buf[96];

	clock_format_duration(s->duration_ms, took);
	if (s->n_sets)
		snprintf(buf, sizeof(buf), "%s, stopped %" PRId64 " ms", took,
			 s->stopped_ms);
	else
		snprintf(buf, sizeof(buf), "%s", took);
	int room = (t->width < 100 ? t->width : 100) - used;
	if (room < (int)strlen(buf) + 2)
		fprintf(t->out, "\n  "), room = 0;
	fprintf(t->out, "%*s", room > 0 ? room - (int)strlen(buf) : 0, "");
	text_put(t, STYLE_DIM, buf);
	fputc('\n', t->out);
}

void report_head(struct text *t, const struct report *r, const char *what)
{
	const struct survey *s = r->survey;
	int used = 0;

	if (s->process) {
		char name[TEXT_CELL];

		text_fit(name, process_name(s->process), 40);
		used += text_put(t, STYLE_BOLD, name);
		used += fprintf(t->out, " (pid %d", (int)s->process->pid);
		for (size_t i = 0; i < s->n_sets; i++) {
			if (s->sets[i].snapshot->kind == TASK_THREAD)
				continue;
			used += fprintf(t->out, ", ");
			used += text_put(t, STYLE_PLAIN,
					 s->sets[i].snapshot->runtime);
		}
		used += fprintf(t->out, "): ");
	} else {
		used += fprintf(t->out, "recording: ");
	}
	used += text_put(t, STYLE_PLAIN, what);
	put_times(t, s, used);
	/* A program in C has no goroutines, and that is no news. */
	if (s->no_runtime &&
	    (!s->n_sets || error_code(s->no_runtime) != ERROR_ABSENT))
		text_wrapf(t, "  ", "no goroutines are shown: %s",
			   error_text(s->no_runtime));
	if (s->process && s->process->exe_deleted && r->verbose)
		text_wrap(t, "  ",
			  "its executable was deleted or replaced "
			  "since it started");
	if (s->gone)
		text_wrap(t, "  ",
			  "the process ended while it was looked at: "
			  "this is what was read until then");
}

/* Gap texts speak of many; here for the case of one. */
static const char *const singular[][2] = {
	{ "goroutines were ", "goroutine was " },
	{ "goroutines wait ", "goroutine waits " },
	{ "goroutines have ", "goroutine has " },
	{ "goroutines ", "goroutine " },
	{ "coroutines were ", "coroutine was " },
	{ "coroutines wait ", "coroutine waits " },
	{ "coroutines have ", "coroutine has " },
	{ "coroutines ", "coroutine " },
	{ "threads were ", "thread was " },
	{ "threads wait ", "thread waits " },
	{ "threads have ", "thread has " },
	{ "threads ", "thread " },
	{ "stacks were ", "stack was " },
	{ "stacks ", "stack " },
	{ "connections were ", "connection was " },
	{ "connections ", "connection " },
	{ "sockets that are ", "socket that is " },
	{ "sockets that were ", "socket that was " },
	{ "sockets were ", "socket was " },
	{ "TCP sockets ", "TCP socket " },
	{ "sockets ", "socket " },
	{ "processes ", "process " },
	{ "namespaces ", "namespace " },
	{ "file descriptors ", "file descriptor " },
};

/* Does @text begin with the thing that is counted? */
static const char *counted(const char *text, uint64_t count, const char **rest)
{
	for (size_t i = 0; i < sizeof(singular) / sizeof(singular[0]); i++) {
		size_t len = strlen(singular[i][0]);

		if (strncmp(text, singular[i][0], len) != 0)
			continue;
		*rest = text + len;
		return singular[i][count == 1];
	}
	return NULL;
}

static char *gap_text(const struct gap *gap)
{
	char n[TEXT_COUNT], *s;
	const char *rest;
	const char *subject = counted(gap->text, gap->count, &rest);
	int len;

	if (subject)
		len = asprintf(&s, "%s %s%s", text_count(n, gap->count),
			       subject, rest);
	else if (gap->count > 1)
		len = asprintf(&s, "%s (%s times)", gap->text,
			       text_count(n, gap->count));
	else
		len = asprintf(&s, "%s", gap->text);
	return len < 0 ? NULL : s;
}

void report_gaps(struct text *t, const char *lead, const struct gaps *gaps)
{
	const char *sep = *lead && gaps->n ? " " : "";

	if (gaps->n == 1) {
		AUTO_FREE char *text = gap_text(&gaps->v[0]);

		text_wrapf(t, "", "%s%sNot seen: %s.", lead, sep,
			   text ? text : "?");
		return;
	}
	if (gaps->n || *lead)
		text_wrapf(t, "", "%s%s%s", lead, sep,
			   gaps->n ? "Not seen:" : "");
	for (size_t i = 0; i < gaps->n; i++) {
		AUTO_FREE char *text = gap_text(&gaps->v[i]);

		text_wrap(t, "  - ", text ? text : "?");
	}
}

struct stack_row {
	const char *left; /* function, or "created by" with it */
	char *made;	  /* owned copy behind left, or NULL */
	char *where;	  /* file:line; NULL none */
	int indent;
	bool own;
};

/* Room for a folded stack, or a whole one, and its creator. */
#define STACK_ROWS (TASK_MAX_FRAMES + 2)

/* file:line, or of native code without that the object it lies in. */
static char *location(const struct frame *f, bool verbose)
{
	char *s;
	const char *file = verbose ? f->file : frame_short_file(f);

	if (!f->line)
		return f->object && strncmp(f->function, f->object,
					    strlen(f->object)) != 0
			       ? strdup(f->object)
			       : NULL;
	if (asprintf(&s, "%s:%" PRIu32, file, f->line) < 0)
		return NULL;
	return s;
}

static void fill_row(struct stack_row *row, const struct frame *f, bool verbose)
{
	row->left = f->function;
	row->where = location(f, verbose);
	if (f->uncertain &&
	    asprintf(&row->made, "%s (uncertain)", f->function) >= 0)
		row->left = row->made;
}

static size_t whole_rows(const struct stack *stack, bool verbose,
			 struct stack_row *rows)
{
	const struct frame *own = stack_own_frame(stack);
	const struct frame *v[TASK_MAX_FRAMES];
	size_t n = stack_visible(stack, v);

	for (size_t i = 0; i < n; i++) {
		rows[i] = (struct stack_row){ .indent = 6, .own = v[i] == own };
		fill_row(&rows[i], v[i], verbose);
	}
	/* Go says so itself, of a whole stack; here it is our own limit. */
	if (n && stack->incomplete && v[0]->object)
		rows[n++] = (struct stack_row){
			.left = "... its callers could not be told",
			.indent = 6,
		};
	return n;
}

static size_t folded_rows(const struct stack *stack, bool verbose,
			  struct stack_row *rows)
{
	struct shown_frame v[FRAMES_SHOWN];
	size_t n = stack_fold(stack, v);

	for (size_t i = 0; i < n; i++) {
		rows[i] = (struct stack_row){ .indent = 6, .own = v[i].own };
		if (v[i].frame)
			fill_row(&rows[i], v[i].frame, verbose);
		else if (asprintf(&rows[i].made, "... %zu more frames",
				  v[i].skipped) >= 0)
			rows[i].left = rows[i].made;
	}
	return n;
}

static void put_stack_row(struct text *t, const struct stack_row *row, int left,
			  int where)
{
	char buf[TEXT_CELL];
	int used = text_fit(buf, row->left, left - row->indent);

	fprintf(t->out, "%*s", row->indent - 2, "");
	text_put(t, row->own ? STYLE_BAD : STYLE_PLAIN, row->own ? ">" : " ");
	fputc(' ', t->out);
	text_put(t, row->own ? STYLE_BOLD : STYLE_PLAIN, buf);
	if (row->where) {
		fprintf(t->out, "%*s", left - row->indent - used + 2, "");
		text_fit(buf, row->where, where);
		text_put(t, row->own ? STYLE_BOLD : STYLE_DIM, buf);
	}
	fputc('\n', t->out);
}

/* Both columns as wide as they need, or as there is room for. */
static void put_stack_rows(struct text *t, const struct stack_row *rows,
			   size_t n)
{
	int left = 0, where = 0;

	for (size_t i = 0; i < n; i++) {
		int w = rows[i].indent + text_columns(rows[i].left);

		if (rows[i].where && w > left)
			left = w;
		w = rows[i].where ? text_columns(rows[i].where) : 0;
		if (w > where)
			where = w;
	}
	if (left + 2 + where > t->width && where > t->width * 2 / 5)
		where = left + 2 + t->width * 2 / 5 > t->width
				? t->width * 2 / 5
				: t->width - left - 2;
	if (left + 2 + where > t->width)
		left = t->width - where - 2;
	for (size_t i = 0; i < n; i++)
		put_stack_row(t, &rows[i], rows[i].where ? left : t->width,
			      where);
}

void report_stack(struct text *t, const struct stack *stack,
		  const struct frame *created_by, bool whole, bool verbose)
{
	AUTO_FREE struct stack_row *rows = calloc(STACK_ROWS, sizeof(*rows));

	if (!rows)
		return;
	size_t n = whole ? whole_rows(stack, verbose, rows)
			 : folded_rows(stack, verbose, rows);
	if (created_by) {
		struct stack_row *row = &rows[n++];

		*row = (struct stack_row){ .indent = 4 };
		row->where = location(created_by, verbose);
		if (asprintf(&row->made, "created by %s",
			     created_by->function) < 0)
			row->made = NULL;
		row->left = row->made ? row->made : "created by ?";
	}
	for (size_t i = 0; i < n; i++)
		if (!rows[i].left)
			rows[i].left = "...";
	put_stack_rows(t, rows, n);
	for (size_t i = 0; i < n; i++) {
		free(rows[i].made);
		free(rows[i].where);
	}
}

void report_blocked(char buf[REPORT_BLOCKED], const struct blocked_for *b)
{
	char least[CLOCK_TEXT_MAX], most[CLOCK_TEXT_MAX];

	clock_format_duration(b->at_least_ms, least);
	clock_format_duration(b->at_most_ms, most);
	if (b->at_least_ms <= 0 && b->at_most_ms < 0)
		snprintf(buf, REPORT_BLOCKED, "for an unknown time");
	else if (b->at_most_ms < 0)
		snprintf(buf, REPORT_BLOCKED, "at least %s", least);
	else if (b->at_least_ms <= 0)
		snprintf(buf, REPORT_BLOCKED, "at most %s", most);
	else if (!strcmp(least, most))
		snprintf(buf, REPORT_BLOCKED, "%s", most);
	else
		snprintf(buf, REPORT_BLOCKED, "%s to %s", least, most);
}

void report_blocked_short(char buf[REPORT_BLOCKED], const struct blocked_for *b)
{
	char least[CLOCK_TEXT_MAX], most[CLOCK_TEXT_MAX];

	clock_format_duration(b->at_least_ms, least);
	clock_format_duration(b->at_most_ms, most);
	if (b->at_least_ms > 0)
		snprintf(buf, REPORT_BLOCKED, ">= %s", least);
	else if (b->at_most_ms >= 0)
		snprintf(buf, REPORT_BLOCKED, "<= %s", most);
	else
		snprintf(buf, REPORT_BLOCKED, "?");
}

void report_waits(char cell[TEXT_CELL], const struct report *r,
		  const struct waiters *waiters, size_t i)
{
	const struct task *task = waiters_of(waiters, i);
	size_t n = waiters_count(waiters, i);

	if (!task)
		snprintf(cell, TEXT_CELL, "-");
	else if (n > 1)
		snprintf(cell, TEXT_CELL, "%s %" PRIu64 " and %zu more",
			 report_word_of(r, task, 1), task->id, n - 1);
	else
		snprintf(cell, TEXT_CELL, "%s %" PRIu64 " (%s)",
			 report_word_of(r, task, 1), task->id,
			 wait_kind_name(task->wait));
}

enum text_style report_verdict_style(enum verdict_kind kind)
{
	switch (kind) {
	case VERDICT_HALF_OPEN:
	case VERDICT_LOCAL_CAUSE:
	case VERDICT_HALF_CLOSED:
		return STYLE_BAD;
	case VERDICT_UNREACHABLE:
	case VERDICT_PEER_NOT_READING:
	case VERDICT_PATH_MTU:
	case VERDICT_DATA_WAITING:
		return STYLE_WARN;
	case VERDICT_ALIVE:
		return STYLE_GOOD;
	case VERDICT_SILENT:
	case VERDICT_UNKNOWN:
	case VERDICT_LISTENING:
	case VERDICT_CONNECTING:
		break;
	}
	return STYLE_PLAIN;
}
