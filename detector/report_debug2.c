/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/escape.h"
#include "detector/frames.h"
#include "detector/report.h"

/**
 * Go's own dump, /debug/pprof/goroutine?debug=2, as runtime/traceback.go
 * (goroutineheader, traceback2, printcreatedby; Go 1.17 to 1.27) prints it, so
 * that what reads that reads this. Arguments are not known: "(...)".
 */

/* Go 1.21 and later: tracebackInnerFrames, tracebackOuterFrames. */
#define INNER_FRAMES 50
#define OUTER_FRAMES 50
/* Before: _TracebackMaxFrames. */
#define MAX_FRAMES 100

/* The minor number in "go1.22.5"; 0 when there is none. */
static int minor_of(const char *runtime)
{
	return strncmp(runtime, "go1.", 4) ? 0 : atoi(runtime + 4);
}

static const char *status_word(const struct task *task)
{
	switch (task->state) {
	case TASK_WAITING:
	case TASK_LEAKED:
		return *task->reason ? task->reason : "waiting";
	case TASK_RUNNABLE:
		return "runnable";
	case TASK_RUNNING:
		return "running";
	case TASK_SYSCALL:
		return "syscall";
	case TASK_PREEMPTED:
		return "preempted";
	case TASK_COPYSTACK:
		return "copystack";
	case TASK_IDLE:
		return "idle";
	case TASK_UNKNOWN:
		return "???";
	}
	return "???";
}

static void put_header(FILE *out, const struct task *task, int64_t now_ns)
{
	int64_t minutes = 0;

	if ((task->state == TASK_WAITING || task->state == TASK_SYSCALL) &&
	    task->wait_since_mono_ns > 0)
		minutes = (now_ns - task->wait_since_mono_ns) / 60000000000;
	fprintf(out, "goroutine %" PRIu64 " [", task->id);
	escape_print(out, status_word(task), SIZE_MAX);
	if (task->leaked || task->state == TASK_LEAKED)
		fputs(" (leaked)", out);
	if (task->scan_bit)
		fputs(" (scan)", out);
	if (minutes >= 1)
		fprintf(out, ", %" PRId64 " minutes", minutes);
	if (task->locked_to_thread)
		fputs(", locked to thread", out);
	fputs("]:\n", out);
}

static void put_place(FILE *out, const struct frame *f, bool offset)
{
	fputc('\t', out);
	escape_print(out, f->file, SIZE_MAX);
	fprintf(out, ":%" PRIu32, f->line);
	if (offset && f->offset)
		fprintf(out, " +0x%" PRIx32, f->offset);
	fputc('\n', out);
}

static void put_frame(FILE *out, const struct frame *f)
{
	const char *name = strcmp(f->function, "runtime.gopanic") ? f->function
								  : "panic";

	escape_print(out, name, SIZE_MAX);
	fputs("(...)\n", out);
	put_place(out, f, !f->inlined);
}

static void put_stack_new(FILE *out, const struct stack *stack,
			  const struct frame *const *v, size_t n)
{
	size_t tail = n > INNER_FRAMES + OUTER_FRAMES ? n - OUTER_FRAMES : 0;

	for (size_t i = 0; i < n; i++) {
		if (i == INNER_FRAMES && tail && !stack->truncated) {
			fprintf(out, "...%zu frames elided...\n", tail - i);
			i = tail;
		}
		if (i == INNER_FRAMES && stack->truncated)
			break;
		put_frame(out, v[i]);
	}
	if (stack->truncated)
		fputs("...additional frames elided...\n", out);
}

/*
 * Until Go 1.20 the limit is one of physical frames, hidden ones included, but
 * its mark stands there only when as many were printed.
 */
static void put_stack_old(FILE *out, const struct stack *stack,
			  const struct frame *const *v, size_t n)
{
	bool all = n && v[0]->hidden;
	uint32_t physical = 0;
	size_t printed = 0;

	for (uint32_t i = 0; i < stack->n && physical < MAX_FRAMES; i++) {
		physical += !stack->frames[i]->inlined;
		if (!all && stack->frames[i]->hidden)
			continue;
		put_frame(out, stack->frames[i]);
		printed++;
	}
	if (printed == MAX_FRAMES)
		fputs("...additional frames elided...\n", out);
}

static void put_creator(FILE *out, const struct task *task)
{
	if (!task->created_by || task->created_by->hidden || task->id == 1)
		return;
	fputs("created by ", out);
	escape_print(out, task->created_by->function, SIZE_MAX);
	if (task->parent_id)
		fprintf(out, " in goroutine %" PRIu64, task->parent_id);
	fputc('\n', out);
	put_place(out, task->created_by, true);
}

static void put_task(FILE *out, const struct task *task, int minor,
		     int64_t now_ns)
{
	const struct frame *v[TASK_MAX_FRAMES];

	put_header(out, task, now_ns);
	if (task->state == TASK_RUNNING || !task->stack) {
		fputs("\tgoroutine running on other thread; stack "
		      "unavailable\n",
		      out);
	} else {
		size_t n = stack_visible(task->stack, v);

		if (minor && minor < 21)
			put_stack_old(out, task->stack, v, n);
		else
			put_stack_new(out, task->stack, v, n);
	}
	put_creator(out, task);
}

void report_debug2(FILE *out, const struct report *r)
{
	const struct task_set *set = survey_set(r->survey, TASK_GO);
	const struct task_snapshot *snap = set ? set->snapshot : NULL;
	bool first = true;

	for (size_t i = 0; snap && i < snap->n; i++) {
		if (snap->tasks[i].system)
			continue;
		if (!first)
			fputc('\n', out);
		first = false;
		put_task(out, &snap->tasks[i], minor_of(snap->runtime),
			 snap->taken_mono_ns);
	}
}
