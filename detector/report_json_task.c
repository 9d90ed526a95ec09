/* SPDX-License-Identifier: Apache-2.0 */
#include "detector/report.h"

#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/escape.h"
#include "detector/frames.h"
#include "detector/judge.h"
#include "detector/waiting.h"

/** One task, its stack and its wait in JSON, for `check` and `ps`. */

static json_t *id_json(uint64_t n)
{
	return json_sprintf("%" PRIu64, n);
}

static json_t *millis(int64_t ms)
{
	return ms < 0 ? json_null() : json_integer(ms);
}

static json_t *address(raddr_t addr)
{
	return json_sprintf("0x%" PRIx64, addr);
}

json_t *report_json_frame(const struct frame *f)
{
	if (!f)
		return json_null();
	json_t *o = json_pack(
		"{s:o, s:o, s:I}", "function", report_json_text(f->function),
		"file", report_json_text(f->file), "line", (json_int_t)f->line);
	if (o && f->object)
		json_object_set_new(o, "object", report_json_text(f->object));
	if (o && f->uncertain)
		json_object_set_new(o, "uncertain", json_true());
	return o;
}

/* As Go's own dump shows it. */
json_t *report_json_stack(const struct stack *stack)
{
	const struct frame *v[TASK_MAX_FRAMES];
	size_t n = stack_visible(stack, v);
	json_t *a = json_array();

	for (size_t i = 0; i < n; i++) {
		json_t *f = report_json_frame(v[i]);

		if (v[i]->inlined)
			json_object_set_new(f, "inlined", json_true());
		json_array_append_new(a, f);
	}
	return a;
}

json_t *report_json_blocked(const struct blocked_for *b)
{
	return json_pack(
		"{s:I, s:o, s:s, s:s}", "at_least", (json_int_t)b->at_least_ms,
		"at_most", millis(b->at_most_ms), "at_least_source",
		blocked_source_name(b->at_least_source), "at_most_source",
		blocked_source_name(b->at_most_source));
}

static const char *deadline_word(enum deadline_state state)
{
	switch (state) {
	case DEADLINE_UNKNOWN:
		return "unknown";
	case DEADLINE_NONE:
		return "none";
	case DEADLINE_SET:
		return "set";
	case DEADLINE_EXPIRED:
		return "expired";
	}
	return "unknown";
}

static json_t *deadline_json(const struct report *r, const struct deadline *d)
{
	const struct survey *s = r->survey;

	if (d->state != DEADLINE_SET)
		return json_null();
	return report_json_time(s->now_wall_ms +
				(d->at_mono_ns - s->now_mono_ns) / 1000000);
}

/* How the fd is known, where that is not plain. */
static const char *proof_word(enum fd_proof proof)
{
	switch (proof) {
	case FD_HOOK:
		return "hook";
	case FD_LAST_IO:
		return "last-io";
	case FD_UNKNOWN:
	case FD_NONE:
	case FD_PROVEN:
	case FD_SYSCALL:
		break;
	}
	return NULL;
}

/* What tasks of `check` and of `ps` have in common. */
static json_t *task_json(const struct report *r, enum task_runtime runtime,
			 const struct finding_member *m)
{
	const struct task *task = m->task;
	json_t *o = json_pack(
		"{s:o, s:s, s:o, s:o, s:o, s:o, s:s}", "id", id_json(task->id),
		"runtime", task_runtime_name(runtime), "blocked_ms",
		report_json_blocked(&m->blocked), "wait",
		report_json_text(task->reason), "fd", millis(m->fd), "deadline",
		deadline_json(r, &m->deadline), "deadline_state",
		deadline_word(m->deadline.state));

	if (!o)
		return NULL;
	if (!task_waits_on_network(task) && !m->socket)
		json_object_set_new(o, "deadline_state", json_null());
	if (task->name)
		json_object_set_new(o, "name", report_json_text(task->name));
	if (proof_word(task->fd_proof))
		json_object_set_new(o, "fd_proof",
				    json_string(proof_word(task->fd_proof)));
	if (m->socket) {
		json_object_set_new(o, "local",
				    report_json_endpoint(&m->socket->local));
		json_object_set_new(o, "remote",
				    report_json_endpoint(&m->socket->remote));
	}
	return o;
}

json_t *report_json_member(const struct report *r,
			   const struct finding_member *m)
{
	return task_json(r, m->runtime, m);
}

static json_t *object_json(const struct wait_object *w)
{
	json_t *o = json_pack("{s:s, s:o}", "kind", wait_object_name(w->kind),
			      "address", address(w->addr));

	if (o && w->kind == OBJECT_CHAN) {
		json_object_set_new(o, "direction",
				    json_string(w->send ? "send" : "recv"));
		json_object_set_new(o, "closed", json_boolean(w->closed));
		json_object_set_new(o, "element",
				    report_json_text(w->element_type));
	}
	if (o && w->counts_known) {
		json_object_set_new(o, "length",
				    json_integer((json_int_t)w->length));
		json_object_set_new(o, "capacity",
				    json_integer((json_int_t)w->capacity));
		json_object_set_new(o, "waiters", json_integer(w->waiters));
	}
	return o;
}

static json_t *labels_json(const struct task *task)
{
	json_t *o = json_object();

	for (uint32_t i = 0; i < task->n_labels; i++) {
		AUTO_FREE char *key = escape_utf8(task->labels[i].key);

		if (key)
			json_object_set_new(
				o, key,
				report_json_text(task->labels[i].value));
	}
	return o;
}

static json_t *objects_json(const struct task *task)
{
	json_t *a = json_array();

	for (uint32_t i = 0; i < task->n_objects; i++)
		json_array_append_new(a, object_json(&task->objects[i]));
	return a;
}

static void set_marks(json_t *o, const struct task *task)
{
	const struct {
		const char *key;
		bool set;
	} marks[] = {
		{ "locked_to_thread", task->locked_to_thread },
		{ "leaked", task->leaked },
		{ "system", task->system },
		{ "torn", task->torn },
		{ "partial", task->partial },
	};

	for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++)
		if (marks[i].set)
			json_object_set_new(o, marks[i].key, json_true());
}

static json_t *events_json(uint32_t events)
{
	static const struct {
		uint32_t bit;
		const char *name;
	} names[] = {
		{ POLLIN, "in" },	{ POLLPRI, "pri" }, { POLLOUT, "out" },
		{ POLLRDHUP, "rdhup" }, { POLLERR, "err" }, { POLLHUP, "hup" },
	};
	json_t *a = json_array();

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (events & names[i].bit)
			json_array_append_new(a, json_string(names[i].name));
	return a;
}

/* What a poll, select or epoll set watches, and for how long. */
static void set_set(json_t *o, const struct task *task)
{
	bool set = task->wait == WAIT_POLL || task->wait == WAIT_EPOLL;

	if (!set && task->wait != WAIT_IO_URING && task->wait != WAIT_FUTEX)
		return;
	json_object_set_new(o, "timeout_ms", millis(task->timeout_ms));
	if (!set)
		return;
	json_t *a = json_array();
	for (uint32_t i = 0; i < task->n_fds; i++)
		json_array_append_new(
			a,
			json_pack("{s:i, s:o}", "fd", task->fds[i].fd, "events",
				  events_json(task->fds[i].events)));
	json_object_set_new(o, "fds", a);
	if (task->fds_cut)
		json_object_set_new(o, "fds_cut", json_true());
}

json_t *report_json_ps_task(const struct report *r, enum task_runtime runtime,
			    const struct task *task)
{
	const struct survey *s = r->survey;
	const struct waiting w = waiting_of(task, &s->fds, s->sockets);
	const struct finding_member m = {
		.task = task,
		.socket = w.socket,
		.blocked = report_interval(r, task),
		.deadline = waiting_deadline(task, &w, s->now_mono_ns),
		.fd = w.fd >= 0 ? w.fd : task->fd,
	};
	json_t *o = task_json(r, runtime, &m);

	if (!o)
		return NULL;
	json_object_set_new(o, "state",
			    json_string(task_state_name(task->state)));
	json_object_set_new(o, "wait_kind",
			    json_string(wait_kind_name(task->wait)));
	json_object_set_new(o, "parent",
			    task->parent_id ? id_json(task->parent_id)
					    : json_null());
	json_object_set_new(o, "labels", labels_json(task));
	json_object_set_new(o, "start", report_json_frame(task->start));
	json_object_set_new(o, "created_by",
			    report_json_frame(task->created_by));
	json_object_set_new(o, "object",
			    task->n_objects ? object_json(&task->objects[0])
					    : json_null());
	if (task->n_objects > 1)
		json_object_set_new(o, "objects", objects_json(task));
	if (task->tid)
		json_object_set_new(o, "tid", json_integer(task->tid));
	set_marks(o, task);
	set_set(o, task);
	if (r->stacks)
		json_object_set_new(o, "stack", report_json_stack(task->stack));
	return o;
}
