/* SPDX-License-Identifier: Apache-2.0 */
#include "detector/gate/goroutines.h"

#include <string.h>

#include "detector/fingerprint.h"
#include "detector/frames.h"

/* Ids of parents that are followed; a chain is a handful long. */
#define MAX_PARENTS 64

/* The innermost function that Go's own dump shows, as goleak reads it. */
static const char *first_function(const struct task *t)
{
	const struct stack *s = t->stack;

	for (uint32_t i = 0; s && i < s->n; i++)
		if (!s->frames[i]->hidden && !s->frames[i]->runtime)
			return s->frames[i]->function;
	return s && s->n ? s->frames[0]->function : "";
}

static bool is_test_runner(const struct task *t)
{
	static const char *const names[] = { "testing.RunTests",
					     "testing.(*T).Run",
					     "testing.(*T).Parallel" };
	const char *first = first_function(t);

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (!strcmp(first, names[i]))
			return !strncmp(t->reason, "chan receive", 12);
	return false;
}

/* The goroutine that cgo's threads leave in their stead. */
static bool is_cgo_syscall(const struct task *t)
{
	const struct stack *s = t->stack;

	return t->state == TASK_SYSCALL && s && s->n == 1 &&
	       !strcmp(s->frames[0]->function, "runtime.goexit");
}

/* It has returned, and only its runtime is to hear of it. */
static bool has_ended(const struct task *t)
{
	const struct stack *s = t->stack;

	for (uint32_t i = 0; s && i < s->n; i++)
		if (strncmp(s->frames[i]->function, "runtime.goexit", 14) != 0)
			return false;
	return s && s->n && t->state == TASK_RUNNABLE;
}

static bool is_standard(const struct task *t)
{
	const char *first = first_function(t);
	const char *start = t->start ? t->start->function : "";

	return !strcmp(first, "os/signal.signal_recv") ||
	       !strcmp(first, "os/signal.loop") ||
	       !strcmp(start, "os/signal.loop") ||
	       !strncmp(start, "runtime.ensureSigM", 18) ||
	       stack_has_prefix(t->stack, "runtime.ensureSigM") ||
	       stack_has(t->stack, "runtime.ReadTrace");
}

static bool is_main(const struct task *t)
{
	return t->id == 1 ||
	       (t->start && !strcmp(t->start->function, "runtime.main"));
}

bool goroutine_counts(const struct task *task, pid_t exiting)
{
	if (task->system || task->state == TASK_IDLE || is_main(task))
		return false;
	/* log.Fatal in a goroutine: it runs, on the very thread. */
	if (exiting && task->tid == exiting)
		return false;
	return !is_test_runner(task) && !is_cgo_syscall(task) &&
	       !has_ended(task) && !is_standard(task);
}

/* A coroutine that runs is who calls exit; one that is parked stays so. */
static bool task_counts(const struct task_snapshot *snap, const struct task *t,
			pid_t exiting)
{
	if (snap->kind == TASK_GO)
		return goroutine_counts(t, exiting);
	return t->state == TASK_WAITING && !t->system;
}

size_t goroutines_left(const struct task_snapshot *snap, pid_t exiting)
{
	size_t n = 0;

	for (size_t i = 0; i < snap->n; i++)
		n += task_counts(snap, &snap->tasks[i], exiting);
	return n;
}

/*
 * Who stops the world, or one P after the other, waits until each has come to a
 * safe point; that of the thread that exits never does. From Go 1.20 on it says
 * so (runtime/runtime2.go, waitReasonStrings).
 */
static bool stops_the_world(const struct task *t)
{
	static const char *const reasons[] = { "GC mark termination",
					       "stopping the world",
					       "flushing proc caches" };

	for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++)
		if (t->state == TASK_WAITING && !strcmp(t->reason, reasons[i]))
			return true;
	return false;
}

bool goroutines_starved(const struct task_snapshot *snap, pid_t exiting)
{
	bool waits = false;

	for (size_t i = 0; i < snap->n; i++)
		if (stops_the_world(&snap->tasks[i]))
			return true;
	for (size_t i = 0; i < snap->n; i++) {
		const struct task *t = &snap->tasks[i];

		if (t->state == TASK_RUNNABLE && !t->system)
			waits = true;
		if (t->state == TASK_RUNNING && t->tid != exiting &&
		    !t->system && !is_main(t))
			return false;
	}
	return waits;
}

static bool is_test_file(const struct frame *f)
{
	size_t len = strlen(f->file);

	return len > 8 && !strcmp(f->file + len - 8, "_test.go");
}

/* The test in the names of one goroutine: its creator's, then its stack's. */
static bool own_test(const struct task *t, char buf[GO_TEST_NAME_MAX])
{
	if (t->created_by && is_test_file(t->created_by)) {
		leak_test_name(t->created_by->function, buf, GO_TEST_NAME_MAX);
		if (*buf)
			return true;
	}
	/* The outermost says most: helpers lie further in. */
	for (uint32_t i = t->stack ? t->stack->n : 0; i-- > 0;) {
		const struct frame *f = t->stack->frames[i];

		if (!is_test_file(f))
			continue;
		leak_test_name(f->function, buf, GO_TEST_NAME_MAX);
		if (*buf)
			return true;
	}
	return false;
}

/* What tells groups apart: all functions of the stack, creator, test. */
struct group {
	uint64_t stack;
	const struct frame *created_by;
	char test[GO_TEST_NAME_MAX];
};

static bool same_group(const struct group *a, const struct group *b)
{
	return a->stack == b->stack && a->created_by == b->created_by &&
	       !strcmp(a->test, b->test);
}

struct collect {
	const struct task_snapshot *snap;
	pid_t exiting;
	bool all;
	struct goroutines_hooks hooks;
	struct gate_process *p;
	struct group *groups; /* one for each of p->leaks */
};

static const struct task *parent_of(const struct task_snapshot *snap,
				    const struct task *t)
{
	return t->parent_id ? task_snapshot_find(snap, t->parent_id) : NULL;
}

/* Up the chain of those who are still there. Go before 1.21: no parents. */
static bool test_by_frames(const struct task_snapshot *snap,
			   const struct task *t, char buf[GO_TEST_NAME_MAX])
{
	for (int i = 0; t && i < MAX_PARENTS; i++, t = parent_of(snap, t))
		if (own_test(t, buf))
			return true;
	*buf = '\0';
	return false;
}

/* The same chain, each with those who are not there any more. */
static bool test_by_sample(const struct task_snapshot *snap,
			   const struct goroutine_tests *tests,
			   const struct task *t, char buf[GO_TEST_NAME_MAX])
{
	for (int i = 0; t && i < MAX_PARENTS; i++, t = parent_of(snap, t))
		if (tests->name(tests->arg, t->id, buf, GO_TEST_NAME_MAX) ||
		    (t->parent_id && tests->name(tests->arg, t->parent_id, buf,
						 GO_TEST_NAME_MAX)))
			return true;
	return false;
}

/*
 * TestPool by the functions on the stack, TestPool/redial by the sampled T.
 * Where the two contradict each other, the stack is what is there now.
 */
static void find_test(const struct collect *c, const struct task *t,
		      char buf[GO_TEST_NAME_MAX])
{
	char sampled[GO_TEST_NAME_MAX];

	test_by_frames(c->snap, t, buf);
	size_t len = strlen(buf);
	if (c->hooks.tests &&
	    test_by_sample(c->snap, c->hooks.tests, t, sampled) &&
	    !strncmp(sampled, buf, len) &&
	    (!len || !sampled[len] || sampled[len] == '/'))
		strcpy(buf, sampled);
}

static void copy_frame(struct arena *arena, const struct frame *f,
		       struct leak_frame *ret)
{
	const char *function = arena_strdup(arena, f->function);
	const char *file = arena_strdup(arena, f->file);

	*ret = (struct leak_frame){
		.function = function ? function : "?",
		.file = file ? file : "?",
		.line = f->line,
		.own = f->object ? f->own
				 : frame_classify(f->function) == FRAME_PROGRAM,
	};
}

static struct error *copy_stack(struct arena *arena, const struct task *t,
				struct leak *leak)
{
	const struct frame *v[TASK_MAX_FRAMES];
	size_t n = stack_visible(t->stack, v);

	if (n > GATE_MAX_FRAMES)
		n = GATE_MAX_FRAMES;
	leak->frames = arena_array(arena, n + 1, sizeof(*leak->frames));
	if (!leak->frames)
		return &error_nomem;
	/* A goroutine that runs has no stack; where it began is known. */
	if (!n && t->start)
		copy_frame(arena, t->start, &leak->frames[leak->n_frames++]);
	for (size_t i = 0; i < n; i++)
		copy_frame(arena, v[i], &leak->frames[leak->n_frames++]);
	return NULL;
}

/*
 * Where to look first: the go statement, if it is the program's own; else the
 * innermost call of the program's.
 */
static void find_site(struct leak *leak)
{
	if (leak->has_creator && leak->creator.own) {
		leak->site = leak->creator;
		leak->has_site = true;
		return;
	}
	for (size_t i = 0; i < leak->n_frames && !leak->has_site; i++) {
		if (!leak->frames[i].own)
			continue;
		leak->site = leak->frames[i];
		leak->has_site = true;
	}
	if (!leak->has_site && leak->has_creator) {
		leak->site = leak->creator;
		leak->has_site = true;
	}
}

static const char *package_of(struct arena *arena, const struct leak *leak,
			      const struct gate_process *p)
{
	char buf[512] = "";

	if (leak->has_site && leak->site.own)
		leak_package_name(leak->site.function, buf, sizeof(buf));
	if (*buf && strcmp(buf, "main") != 0)
		return arena_strdup(arena, buf);
	return p->package;
}

static struct error *make_leak(enum leak_kind kind, const struct task *t,
			       const char *test, struct gate_process *p,
			       struct leak *leak)
{
	struct arena *arena = p->arena;

	*leak = (struct leak){ .kind = kind, .id = t->id };
	leak->reason = arena_strdup(arena, t->reason);
	leak->test = *test ? arena_strdup(arena, test) : NULL;
	if (!leak->reason || (*test && !leak->test))
		return &error_nomem;
	struct error *err = copy_stack(arena, t, leak);
	if (err)
		return err;
	if (t->created_by) {
		copy_frame(arena, t->created_by, &leak->creator);
		leak->has_creator = true;
	}
	find_site(leak);
	leak->package = package_of(arena, leak, p);
	leak_fingerprint(leak);
	return NULL;
}

static bool counts(const struct collect *c, const struct task *t)
{
	if (c->all)
		return !t->system && t->state != TASK_IDLE;
	return task_counts(c->snap, t, c->exiting) &&
	       !(c->hooks.skips && c->hooks.skips(c->hooks.arg, t));
}

static struct error *collect_one(struct collect *c, const struct task *t)
{
	struct gate_process *p = c->p;
	struct group g = { .stack = stack_identity(t->stack),
			   .created_by = t->created_by };
	size_t at = 0;

	find_test(c, t, g.test);
	while (at < p->n_leaks && !same_group(&c->groups[at], &g))
		at++;
	if (at == GATE_MAX_LEAKS) {
		p->leaks_cut++;
		return NULL;
	}
	if (at == p->n_leaks) {
		struct error *err = make_leak(c->snap->kind == TASK_GO
						      ? LEAK_GOROUTINE
						      : LEAK_COROUTINE,
					      t, g.test, p, &p->leaks[at]);

		if (err)
			return err;
		if (c->hooks.decorate)
			c->hooks.decorate(c->hooks.arg, t, &p->leaks[at]);
		c->groups[p->n_leaks++] = g;
	}
	p->leaks[at].count++;
	return NULL;
}

static struct error *collect(struct collect *c)
{
	struct gate_process *p = c->p;
	struct error *err = NULL;

	c->groups = arena_array(p->arena, GATE_MAX_LEAKS, sizeof(*c->groups));
	p->leaks = arena_array(p->arena, 2 * GATE_MAX_LEAKS, sizeof(*p->leaks));
	if (!c->groups || !p->leaks)
		return &error_nomem;
	for (size_t i = 0; i < c->snap->n && !err; i++)
		if (counts(c, &c->snap->tasks[i]))
			err = collect_one(c, &c->snap->tasks[i]);
	return err;
}

struct error *goroutines_collect(const struct task_snapshot *snap,
				 pid_t exiting,
				 const struct goroutines_hooks *hooks,
				 struct gate_process *p)
{
	struct collect c = {
		.snap = snap, .exiting = exiting, .hooks = *hooks, .p = p
	};

	return collect(&c);
}

struct error *goroutines_collect_all(const struct task_snapshot *snap,
				     const struct goroutine_tests *tests,
				     struct gate_process *p)
{
	struct collect c = {
		.snap = snap, .all = true, .hooks = { .tests = tests }, .p = p
	};

	return collect(&c);
}
