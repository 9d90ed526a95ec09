/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime-hooks/coroutine/ctask.h"

#define PARENT_LINE ((1u << HOOK_PARENT_BITS) - 1)
#define PARENT_INCARNATIONS (1u << (32 - HOOK_PARENT_BITS))
/* The ids of a table have this much room: 268,435,456 lives of each line. The
 * rest tells tables of one process apart. */
#define NUMBER_SHIFT 60
#define MAX_PID 4194304 /* PID_MAX_LIMIT of the kernel */

static const struct {
	enum wait_kind kind;
	const char *reason;
	bool file; /* waits for one */
} ops[] = {
	[STRANDED_OTHER] = { WAIT_OTHER, "parked", false },
	[STRANDED_READ] = { WAIT_READ, "read", true },
	[STRANDED_WRITE] = { WAIT_WRITE, "write", true },
	[STRANDED_ACCEPT] = { WAIT_ACCEPT, "accept", true },
	[STRANDED_CONNECT] = { WAIT_CONNECT, "connect", true },
	[STRANDED_POLL] = { WAIT_POLL, "poll", true },
	[STRANDED_SLEEP] = { WAIT_SLEEP, "sleep", false },
	[STRANDED_MUTEX] = { WAIT_MUTEX, "mutex", false },
	[STRANDED_COND] = { WAIT_COND, "condition", false },
	[STRANDED_CHAN_SEND] = { WAIT_CHAN_SEND, "channel send", false },
	[STRANDED_CHAN_RECV] = { WAIT_CHAN_RECV, "channel receive", false },
	[STRANDED_JOIN] = { WAIT_OTHER, "join", false },
};
#define N_OPS (sizeof(ops) / sizeof(ops[0]))

uint64_t ctask_id(uint32_t number, uint32_t incarnation, uint32_t index)
{
	return (uint64_t)number << NUMBER_SHIFT ^
	       ((uint64_t)(incarnation - 1) << 32 | (index + 1ull));
}

uint64_t ctask_parent(uint32_t number, uint32_t parent,
		      const uint32_t *incarnations, uint32_t n)
{
	uint32_t line = parent & PARENT_LINE;
	uint32_t low = parent >> HOOK_PARENT_BITS, now, back;

	if (parent == HOOK_NO_PARENT || line >= n)
		return 0;
	now = incarnations[line];
	back = (now - low) % PARENT_INCARNATIONS;
	if (now <= back)
		return 0;
	return ctask_id(number, now - back, line);
}

static void set_fd(const struct ctask_line *line, bool file, struct task *t)
{
	bool told = line->v.flags & HOOK_FLAG_FD_TOLD;

	t->fd = -1;
	t->fd_proof = file ? FD_UNKNOWN : FD_NONE;
	if (line->v.fd < 0)
		return;
	if (!file && told) // "other", on a file that it names
		file = line->v.op == STRANDED_OTHER;
	if (!file)
		return;
	t->fd = line->v.fd;
	t->fd_proof = told && line->v.state == HOOK_PARKED ? FD_HOOK
							   : FD_LAST_IO;
}

static void set_object(struct arena *arena, uint64_t addr, struct task *t)
{
	struct wait_object object = { .addr = addr };
	struct wait_object *copy;

	if (!addr)
		return;
	if (t->wait == WAIT_MUTEX)
		object.kind = OBJECT_MUTEX;
	else if (t->wait == WAIT_COND)
		object.kind = OBJECT_COND;
	else if (t->wait == WAIT_CHAN_SEND || t->wait == WAIT_CHAN_RECV)
		object.kind = OBJECT_CHAN;
	else
		return;
	object.send = t->wait == WAIT_CHAN_SEND;
	copy = arena_memdup(arena, &object, sizeof(object));
	if (!copy)
		return;
	t->objects = copy;
	t->n_objects = 1;
}

static struct deadline deadline_at(int64_t at, int64_t now)
{
	if (at <= 0 || at >> 60)
		return (struct deadline){ .state = DEADLINE_UNKNOWN };
	if (at <= now)
		return (struct deadline){ .state = DEADLINE_EXPIRED };
	return (struct deadline){ .state = DEADLINE_SET, .at_mono_ns = at };
}

/* What the library told of the end of the wait. */
static void set_deadline(const struct lines_in *in, int64_t at, struct task *t)
{
	struct deadline deadline = deadline_at(at, in->rate.now.mono_ns);
	bool write = t->wait == WAIT_WRITE || t->wait == WAIT_CONNECT;

	if (t->wait == WAIT_POLL && at > 0 && t->wait_since_mono_ns &&
	    at > t->wait_since_mono_ns)
		t->timeout_ms = (at - t->wait_since_mono_ns) / 1000000;
	if (write || t->wait == WAIT_POLL)
		t->write_deadline = deadline;
	if (!write)
		t->read_deadline = deadline;
}

/*
 * The mark is of a moment before the park. Where the hook made it, that is the
 * call which would have blocked, and the park followed. Where the program did
 * (stranded_park()), it is its last stranded_tick(), and nobody knows whether
 * that is called as often as it should be: then it only bounds the wait from
 * above.
 */
static void set_since(const struct lines_in *in, const struct stranded_task *v,
		      struct task *t)
{
	int64_t since = tsc_mono_ns(&in->rate, v->since, in->alive_ns), ago;

	t->blocked.at_most_ms = in->alive_ns / 1000000;
	t->blocked.at_most_source = BLOCKED_PROCESS;
	if (!since)
		return;
	ago = in->rate.now.mono_ns - since;
	if (ago < 0) // while we were reading
		ago = 0;
	t->wait_since_mono_ns = since;
	t->blocked.at_most_ms = ago / 1000000 + 1;
	t->blocked.at_most_source = BLOCKED_WAITSINCE;
	if (!(v->flags & HOOK_FLAG_PC_RETURN))
		return;
	t->parked_before_mono_ns = since;
	t->blocked.at_least_ms = ago / 1000000;
	t->blocked.at_least_source = BLOCKED_WAITSINCE;
}

static void set_wait(const struct lines_in *in, struct arena *arena,
		     const struct ctask_line *line, struct task *t)
{
	size_t op = line->v.op < N_OPS ? line->v.op : STRANDED_OTHER;

	t->wait = ops[op].kind;
	t->reason = ops[op].reason;
	set_fd(line, ops[op].file, t);
	set_since(in, &line->v, t);
	if (line->more.incarnation && line->v.flags & HOOK_FLAG_MORE) {
		set_deadline(in, line->more.deadline_ns, t);
		set_object(arena, line->more.object, t);
	}
	t->sp = line->v.sp;
	t->pc = line->v.pc;
	t->stack = line->stack;
}

/*
 * One that is only seen by its calls may have gone on since: how long it has
 * been there is not known, and its first frames are those of the call.
 */
static void set_seen(const struct lines_in *in, struct arena *arena,
		     const struct ctask_line *line, struct task *t)
{
	set_wait(in, arena, line, t);
	t->wait_since_mono_ns = t->parked_before_mono_ns = 0;
	t->blocked.at_least_ms = 0;
	t->blocked.at_least_source = BLOCKED_UNKNOWN;
}

/* It cannot go on, so it waits for nothing; whatever its line says. */
static void set_gone(struct task *t)
{
	t->state = TASK_UNKNOWN;
	t->reason = "stack gone";
	t->fd_proof = FD_UNKNOWN;
}

static void set_running(const struct lines_in *in,
			const struct ctask_line *line, struct task *t)
{
	t->reason = "running";
	t->fd_proof = FD_NONE;
	if (in->tids && line->v.bp <= MAX_PID)
		t->tid = (pid_t)line->v.bp;
}

void ctask_fill(const struct lines_in *in, struct arena *arena,
		const struct ctask_line *line, const struct lines_site *site,
		struct task *t)
{
	t->id = ctask_id(in->number, line->v.incarnation, line->index);
	t->handle = in->root->v.lines[line->index / in->root->v.chunk_lines] +
		    (uint64_t)(line->index % in->root->v.chunk_lines) *
			    in->root->v.line_size;
	t->runs = 1ull << 32 | line->v.seq;
	t->name = line->name;
	t->fd = -1;
	t->timeout_ms = -1;
	t->blocked.at_most_ms = -1;
	t->torn = line->torn;
	t->partial = line->unreadable;
	t->system = line->v.flags & HOOK_FLAG_SYSTEM;
	if (site) {
		t->created_by = site->created_by;
		t->start = site->start;
	}
	if (line->unreadable) {
		set_gone(t);
		return;
	}
	switch (line->v.state) {
	case HOOK_CREATED:
		t->state = TASK_IDLE;
		t->reason = "not started";
		t->fd_proof = FD_NONE;
		break;
	case HOOK_RUNNING:
		t->state = TASK_RUNNING;
		set_running(in, line, t);
		break;
	case HOOK_PARKED:
		t->state = TASK_WAITING;
		set_wait(in, arena, line, t);
		break;
	case HOOK_SEEN:
		t->state = TASK_WAITING;
		set_seen(in, arena, line, t);
		break;
	default:
		t->state = TASK_UNKNOWN;
		t->reason = "unknown state";
		t->fd_proof = FD_UNKNOWN;
		break;
	}
}
