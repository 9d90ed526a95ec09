/* SPDX-License-Identifier: Apache-2.0 */
#include "detector/report.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "detector/frames.h"
#include "detector/waiting.h"

/** `ps` as a table: one row for each task. */

enum { COL_ID, COL_WAIT, COL_BLOCKED, COL_ON, COL_AT, COL_START };

static const struct table_column columns[] = {
	[COL_ID] = { .title = "ID", .right = true },
	[COL_WAIT] = { .title = "WAIT", .min = 12 },
	[COL_BLOCKED] = { .title = "BLOCKED", .min = 9 },
	[COL_ON] = { .title = "ON", .min = 23 },
	[COL_AT] = { .title = "AT", .min = 22 },
	[COL_START] = { .title = "CREATED BY", .min = 20, .drop = 1 },
};

struct ps {
	const struct report *r;
	struct ps_task {
		const struct task *task;
		enum task_runtime runtime;
	} * v; /* those that are listed */
	size_t n;
	bool mixed; /* of several kinds: the ID alone does not tell */
	bool wide;  /* room for both ends of a connection */
};

static void describe_wait(char cell[TEXT_CELL], const struct task *task)
{
	const char *word = task->state == TASK_WAITING ||
					   task->state == TASK_LEAKED
				   ? task->reason
				   : task_state_name(task->state);

	snprintf(cell, TEXT_CELL, "%s%s%s%s", word,
		 task->leaked ? " (leaked)" : "",
		 task->locked_to_thread ? ", locked" : "",
		 task->torn ? ", torn" : "");
}

static void describe_socket(char cell[TEXT_CELL], const struct ps *ps, int fd,
			    const struct tcp_socket *s)
{
	char local[ENDPOINT_TEXT_MAX], remote[ENDPOINT_TEXT_MAX];

	endpoint_format(&s->local, local);
	endpoint_format(&s->remote, remote);
	if (tcp_socket_latest(s)->state == TCP_STATE_LISTEN)
		snprintf(cell, TEXT_CELL, "fd %d on %s", fd, local);
	else if (ps->wide)
		snprintf(cell, TEXT_CELL, "fd %d %s -> %s", fd, local, remote);
	else
		snprintf(cell, TEXT_CELL, "fd %d -> %s", fd, remote);
}

static void describe_object(char cell[TEXT_CELL], const struct task *task)
{
	const struct wait_object *o = &task->objects[0];

	if (task->n_objects > 1)
		snprintf(cell, TEXT_CELL, "%" PRIu32 " channels",
			 task->n_objects);
	else if (o->kind == OBJECT_CHAN && o->counts_known)
		snprintf(cell, TEXT_CELL, "chan %s %" PRIu64 "/%" PRIu64,
			 o->element_type ? o->element_type : "?", o->length,
			 o->capacity);
	else
		snprintf(cell, TEXT_CELL, "%s 0x%" PRIx64,
			 wait_object_name(o->kind), o->addr);
}

static void describe_on(char cell[TEXT_CELL], const struct ps *ps,
			const struct task *task)
{
	const struct survey *s = ps->r->survey;
	const struct waiting w = waiting_of(task, &s->fds, s->sockets);
	const struct process_fd *fd =
		task->fd >= 0 ? process_fds_find(&s->fds, task->fd) : NULL;

	if (w.socket)
		describe_socket(cell, ps, w.fd, w.socket);
	else if (task->wait == WAIT_EPOLL && task->fd >= 0)
		snprintf(cell, TEXT_CELL, "epoll fd %d, %" PRIu32 "%s fds",
			 task->fd, task->n_fds, task->fds_cut ? "+" : "");
	else if (task->n_fds)
		snprintf(cell, TEXT_CELL, "%" PRIu32 "%s fds", task->n_fds,
			 task->fds_cut ? "+" : "");
	else if (fd)
		snprintf(cell, TEXT_CELL, "fd %d %s", task->fd, fd->text);
	else if (task->fd >= 0)
		snprintf(cell, TEXT_CELL, "fd %d", task->fd);
	else if (task->n_objects)
		describe_object(cell, task);
	else
		snprintf(cell, TEXT_CELL, "-");
}

/*
 * Function and file. On a narrow terminal the program's functions go without
 * their package, which the file tells, and the library's without its path.
 */
static void describe_frame(char cell[TEXT_CELL], const struct frame *f,
			   bool wide)
{
	const char *name = f ? f->function : "-";
	const char *file = f ? frame_short_file(f) : "";

	if (f && !wide && !f->object) {
		size_t package = frame_package_len(name);

		if (frame_classify(name) == FRAME_PROGRAM) {
			name += package + (name[package] == '.');
		} else {
			while (package && name[package - 1] != '/')
				package--;
			name += package;
			file = strrchr(file, '/') ? strrchr(file, '/') + 1
						  : file;
		}
	}
	if (f && f->line)
		snprintf(cell, TEXT_CELL, "%s %s:%" PRIu32, name, file,
			 f->line);
	else
		snprintf(cell, TEXT_CELL, "%s", name);
}

/* The program's own code, else what of the library it called, else its start. */
static const struct frame *place(const struct task *task)
{
	const struct stack *stack = task->stack;
	const struct frame *own = stack_own_frame(stack);

	if (own)
		return own;
	for (uint32_t i = stack ? stack->n : 0; i-- > 0;)
		if (!stack->frames[i]->hidden)
			return stack->frames[i];
	return task->start;
}

/* So that goroutine 1 and thread 1 are two. */
static const char *id_prefix(enum task_runtime runtime)
{
	switch (runtime) {
	case TASK_GO:
		return "g";
	case TASK_COROUTINE:
		return "co";
	case TASK_THREAD:
		return "tid ";
	}
	return "";
}

static void fill_row(void *arg, size_t i, struct table_row *row)
{
	const struct ps *ps = arg;
	const struct task *task = ps->v[i].task;
	char blocked[REPORT_BLOCKED] = "-";

	snprintf(row->cell[COL_ID], TEXT_CELL, "%s%" PRIu64,
		 ps->mixed ? id_prefix(ps->v[i].runtime) : "", task->id);
	describe_wait(row->cell[COL_WAIT], task);
	if (task->wait != WAIT_NONE) {
		struct blocked_for b = report_interval(ps->r, task);
		report_blocked_short(blocked, &b);
	}
	snprintf(row->cell[COL_BLOCKED], TEXT_CELL, "%s", blocked);
	describe_on(row->cell[COL_ON], ps, task);
	describe_frame(row->cell[COL_AT], place(task), ps->wide);
	describe_frame(row->cell[COL_START], task->created_by, ps->wide);
	row->style[COL_ID] = STYLE_BOLD;
	row->style[COL_START] = STYLE_DIM;
	if (task->leaked)
		row->style[COL_WAIT] = STYLE_BAD;
}

static void put_stack(void *arg, size_t i, struct text *t, const bool *shown)
{
	const struct ps *ps = arg;
	const struct task *task = ps->v[i].task;

	(void)shown;
	report_stack(t, task->stack, task->created_by, true, ps->r->verbose);
	fputc('\n', t->out);
}

/* A goroutine in a system call may be stuck, but is not parked. */
static bool is_parked(const struct ps_task *t)
{
	return task_is_blocked(t->task) &&
	       (t->runtime != TASK_GO || t->task->state != TASK_SYSCALL);
}

static size_t select_tasks(const struct report *r, struct ps_task *v)
{
	const struct survey *s = r->survey;
	size_t n = 0;

	for (size_t k = 0; k < s->n_sets; k++) {
		const struct task_snapshot *snap = s->sets[k].snapshot;

		for (size_t i = 0; i < snap->n; i++)
			if (r->verbose || !snap->tasks[i].system)
				v[n++] = (struct ps_task){ &snap->tasks[i],
							   snap->kind };
	}
	return n;
}

void report_ps_text(struct text *t, const struct report *r)
{
	struct task_counts all = { 0 }, blocked = { 0 };
	char what[REPORT_COUNTS];
	struct ps ps = { .r = r, .wide = t->width >= 120 };
	size_t total = 0;

	for (size_t i = 0; i < r->survey->n_sets; i++)
		total += r->survey->sets[i].snapshot->n;
	ps.v = calloc(total + 1, sizeof(*ps.v));
	if (!ps.v)
		return;
	ps.n = select_tasks(r, ps.v);
	for (size_t i = 0; i < ps.n; i++) {
		all.of[ps.v[i].runtime]++;
		blocked.of[ps.v[i].runtime] += is_parked(&ps.v[i]);
		ps.mixed |= ps.v[i].runtime != ps.v[0].runtime;
	}
	report_counts(what, &all, &blocked);
	report_head(t, r, what);
	fputc('\n', t->out);
	const struct table table = {
		.columns = columns,
		.n_columns = sizeof(columns) / sizeof(columns[0]),
		.n_rows = ps.n,
		.row = fill_row,
		.after = r->stacks ? put_stack : NULL,
		.arg = &ps,
	};
	if (ps.n)
		table_print(t, &table);
	if (r->survey->gaps.n)
		fputc('\n', t->out);
	report_gaps(t, "", &r->survey->gaps);
	free(ps.v);
}
