/* SPDX-License-Identifier: Apache-2.0 */
#include "detector/report.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/escape.h"
#include "detector/correlate.h"
#include "detector/frames.h"
#include "detector/judge.h"
#include "detector/waiters.h"

/**
 * jansson makes every value; only the outermost frame and the long arrays are
 * written by hand, one element at a time, so that a process with a million
 * tasks takes no more memory than one with ten.
 */

#define FLAGS (JSON_COMPACT | JSON_ENCODE_ANY)

struct frame_writer {
	FILE *out;
	bool some; /* an element was written: the next needs a comma */
};

/* Write @value (taken over) as the member @key, or as an element if NULL. */
static void put(struct frame_writer *w, const char *key, json_t *value)
{
	fputs(w->some ? "," : "", w->out);
	w->some = true;
	if (key)
		fprintf(w->out, "\"%s\":", key);
	if (!value || json_dumpf(value, w->out, FLAGS))
		fputs("null", w->out);
	json_decref(value);
}

static struct frame_writer open_frame(struct frame_writer *outer,
				      const char *key, char bracket)
{
	fputs(outer->some ? "," : "", outer->out);
	outer->some = true;
	if (key)
		fprintf(outer->out, "\"%s\":", key);
	fputc(bracket, outer->out);
	return (struct frame_writer){ .out = outer->out };
}

static void close_frame(const struct frame_writer *w, char bracket)
{
	fputc(bracket, w->out);
}

/* Foreign text as a JSON string; NULL as null. */
static json_t *text(const char *s)
{
	AUTO_FREE char *clean = s ? escape_utf8(s) : NULL;

	return clean ? json_string(clean) : json_null();
}

static json_t *wall_time(int64_t wall_ms)
{
	char buf[CLOCK_TEXT_MAX];

	if (wall_ms <= 0)
		return json_null();
	clock_format_rfc3339(wall_ms, buf);
	return json_string(buf);
}

static json_t *millis(int64_t ms)
{
	return ms < 0 ? json_null() : json_integer(ms);
}

static json_t *u64_text(uint64_t n)
{
	return json_sprintf("%" PRIu64, n);
}

static json_t *address(raddr_t addr)
{
	return json_sprintf("0x%" PRIx64, addr);
}

static json_t *frame_json(const struct frame *f)
{
	if (!f)
		return json_null();
	return json_pack("{s:o, s:o, s:I}", "function", text(f->function),
			 "file", text(f->file), "line", (json_int_t)f->line);
}

/* As Go's own dump shows it. */
static json_t *stack_json(const struct stack *stack)
{
	const struct frame *v[TASK_MAX_FRAMES];
	size_t n = stack_visible(stack, v);
	json_t *a = json_array();

	for (size_t i = 0; i < n; i++) {
		json_t *f = frame_json(v[i]);

		if (v[i]->inlined)
			json_object_set_new(f, "inlined", json_true());
		json_array_append_new(a, f);
	}
	return a;
}

static json_t *blocked_json(const struct blocked_for *b)
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

/* The deadline of what the task does now. */
static const struct deadline *deadline_of(const struct task *task)
{
	return task->wait == WAIT_WRITE || task->wait == WAIT_CONNECT
		       ? &task->write_deadline
		       : &task->read_deadline;
}

static json_t *deadline_json(const struct report *r, const struct task *task)
{
	const struct deadline *d = deadline_of(task);
	const struct survey *s = r->survey;

	if (d->state != DEADLINE_SET)
		return json_null();
	return wall_time(s->now_wall_ms +
			 (d->at_mono_ns - s->now_mono_ns) / 1000000);
}

static json_t *endpoint_json(const struct endpoint *e)
{
	char buf[ENDPOINT_TEXT_MAX];

	endpoint_format(e, buf);
	return json_string(buf);
}

/* What tasks of `check` and of `ps` have in common. */
static json_t *task_json(const struct report *r, const struct task *task,
			 const struct tcp_socket *socket,
			 const struct blocked_for *blocked)
{
	json_t *o = json_pack(
		"{s:o, s:o, s:o, s:o, s:o, s:s}", "id", u64_text(task->id),
		"blocked_ms", blocked_json(blocked), "wait", text(task->reason),
		"fd", task->fd >= 0 ? json_integer(task->fd) : json_null(),
		"deadline", deadline_json(r, task), "deadline_state",
		deadline_word(deadline_of(task)->state));

	if (o && !task_waits_on_network(task))
		json_object_set_new(o, "deadline_state", json_null());
	if (o && socket) {
		json_object_set_new(o, "local", endpoint_json(&socket->local));
		json_object_set_new(o, "remote",
				    endpoint_json(&socket->remote));
	}
	return o;
}

static json_t *evidence_json(const struct verdict *v)
{
	json_t *a = json_array();

	for (uint32_t i = 0; v && i < v->n_evidence; i++)
		json_array_append_new(
			a, json_pack("{s:s, s:o, s:o}", "kind",
				     evidence_kind_name(v->evidence[i].kind),
				     "text", text(v->evidence[i].text), "at",
				     wall_time(v->evidence[i].at_wall_ms)));
	return a;
}

static const char *keepalive_word(enum keepalive_state state)
{
	switch (state) {
	case KEEPALIVE_ON:
		return "on";
	case KEEPALIVE_OFF:
		return "off";
	case KEEPALIVE_UNKNOWN:
		return "unknown";
	}
	return "unknown";
}

static json_t *sample_json(const struct tcp_sample *s)
{
	json_t *o = json_pack(
		"{s:o, s:s, s:I, s:I, s:s, s:I, s:I}", "at",
		wall_time(s->at_wall_ms), "state", tcp_state_json(s->state),
		"recv_queue", (json_int_t)s->rqueue, "send_queue",
		(json_int_t)s->wqueue, "timer", tcp_timer_name(s->timer),
		"timer_ms", (json_int_t)s->expires_ms, "timer_retrans",
		(json_int_t)s->retrans);

	if (o && (s->info.known & TCP_INFO_BASE)) {
		json_object_set_new(o, "last_data_recv_ms",
				    json_integer(s->info.last_data_recv_ms));
		json_object_set_new(o, "last_ack_recv_ms",
				    json_integer(s->info.last_ack_recv_ms));
		json_object_set_new(o, "retransmits",
				    json_integer(s->info.retransmits));
		json_object_set_new(o, "probes", json_integer(s->info.probes));
	}
	if (o && (s->info.known & TCP_INFO_SEGS)) {
		json_object_set_new(o, "segs_in",
				    json_integer(s->info.segs_in));
		json_object_set_new(o, "segs_out",
				    json_integer(s->info.segs_out));
	}
	return o;
}

static json_t *options_json(const struct tcp_options *o)
{
	if (!o->known)
		return json_null();
	return json_pack(
		"{s:b, s:I, s:I, s:I, s:I}", "keepalive", (int)o->keepalive,
		"keepidle_s", (json_int_t)o->keepidle_s, "keepintvl_s",
		(json_int_t)o->keepintvl_s, "keepcnt", (json_int_t)o->keepcnt,
		"user_timeout_ms", (json_int_t)o->user_timeout_ms);
}

static json_t *socket_json(const struct tcp_socket *s, const struct verdict *v)
{
	json_t *o;

	if (!s)
		return json_null();
	o = json_pack("{s:o, s:o, s:s, s:s, s:b, s:o, s:s, s:o, s:o, s:o}",
		      "local", endpoint_json(&s->local), "remote",
		      endpoint_json(&s->remote), "state",
		      tcp_state_json(report_sample(s)->state), "verdict",
		      verdict_name(v->kind), "certain", (int)v->certain,
		      "evidence", evidence_json(v), "keepalive",
		      keepalive_word(socket_keepalive(s)), "netns",
		      u64_text(s->netns), "inode", u64_text(s->inode),
		      "kernel_gives_up_ms", millis(v->kernel_gives_up_ms));
	return o;
}

static json_t *gaps_json(const struct gaps *gaps)
{
	json_t *a = json_array();

	for (size_t i = 0; i < gaps->n; i++)
		json_array_append_new(
			a, json_pack("{s:s, s:I, s:o}", "kind",
				     gap_kind_name(gaps->v[i].kind), "count",
				     (json_int_t)gaps->v[i].count, "text",
				     text(gaps->v[i].text)));
	return a;
}

static json_t *tool_json(void)
{
	return json_pack("{s:s, s:s}", "name", "stranded", "version",
			 stranded_version());
}

static json_t *target_json(const struct survey *s)
{
	const struct process *p = s->process;

	if (!p)
		return json_null();
	return json_pack(
		"{s:I, s:o, s:o, s:o, s:b, s:o}", "pid", (json_int_t)p->pid,
		"exe", text(p->exe), "runtime",
		s->tasks ? text(s->tasks->runtime) : json_null(), "started",
		wall_time(p->start_wall_ms), "gone", (int)s->gone, "no_runtime",
		s->no_runtime ? text(error_text(s->no_runtime)) : json_null());
}

static struct frame_writer begin(FILE *out, const struct survey *s)
{
	struct frame_writer w = { .out = out };

	fputc('{', out);
	put(&w, "schema", json_integer(REPORT_SCHEMA));
	put(&w, "tool", tool_json());
	put(&w, "target", s ? target_json(s) : json_null());
	return w;
}

static void end(struct frame_writer *w, const struct gaps *gaps)
{
	put(w, "gaps", gaps_json(gaps));
	fputs("}\n", w->out);
}

static json_t *summary_json(const struct report *r)
{
	const struct findings *f = r->findings;

	return json_pack(
		"{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "tasks",
		(json_int_t)f->tasks, "blocked", (json_int_t)f->blocked,
		"findings", (json_int_t)f->n, "duration_ms",
		(json_int_t)r->survey->duration_ms, "stopped_ms",
		(json_int_t)r->survey->stopped_ms, "sockets",
		(json_int_t)(r->survey->sockets ? r->survey->sockets->n : 0),
		"moved", (json_int_t)f->moved, "ended_by_deadline",
		(json_int_t)f->deadline_soon, "too_young",
		(json_int_t)f->too_young);
}

static json_t *advice_json(const struct finding *f)
{
	json_t *a = json_array();

	for (size_t i = 0; i < f->n_advice; i++) {
		const struct frame *site = f->advice[i].site;
		AUTO_FREE char *line = NULL;

		if (!site || asprintf(&line, "%s:%" PRIu32 ": %s", site->file,
				      site->line, f->advice[i].text) < 0)
			line = NULL;
		json_array_append_new(a, text(line ? line : f->advice[i].text));
	}
	return a;
}

static void put_finding(struct frame_writer *outer, const struct report *r,
			const struct finding *f)
{
	const struct finding_member *first = &f->members[0];
	struct frame_writer w = open_frame(outer, NULL, '{');

	put(&w, "fingerprint", json_string(f->fingerprint));
	put(&w, "kind", json_string(finding_kind_name(f->kind)));
	put(&w, "grade", json_string(grade_name(f->grade)));
	put(&w, "runtime", first->task ? json_string("go") : json_null());
	put(&w, "count", json_integer((json_int_t)f->count));
	struct frame_writer tasks = open_frame(&w, "tasks", '[');
	for (size_t i = 0; i < f->count && first->task; i++)
		put(&tasks, NULL,
		    task_json(r, f->members[i].task, f->members[i].socket,
			      &f->members[i].blocked));
	close_frame(&tasks, ']');
	put(&w, "blocked_ms",
	    first->task ? blocked_json(&f->blocked) : json_null());
	put(&w, "stack", stack_json(f->stack));
	put(&w, "created_by", frame_json(f->created_by));
	put(&w, "socket", socket_json(first->socket, first->verdict));
	struct frame_writer sockets = open_frame(&w, "sockets", '[');
	for (size_t i = 0; i < f->count && first->socket; i++)
		put(&sockets, NULL,
		    json_pack("{s:o, s:o, s:o}", "local",
			      endpoint_json(&f->members[i].socket->local),
			      "remote",
			      endpoint_json(&f->members[i].socket->remote),
			      "fd",
			      f->members[i].fd >= 0
				      ? json_integer(f->members[i].fd)
				      : json_null()));
	close_frame(&sockets, ']');
	put(&w, "advice", advice_json(f));
	close_frame(&w, '}');
}

static json_t *benign_json(const struct findings *f)
{
	json_t *a = json_array();

	for (size_t i = 0; i < f->n_benign; i++)
		json_array_append_new(
			a, json_pack("{s:o, s:o, s:I}", "rule",
				     text(f->benign[i].rule), "reason",
				     text(f->benign[i].reason), "tasks",
				     (json_int_t)f->benign[i].tasks));
	return a;
}

void report_check_json(FILE *out, const struct report *r)
{
	struct frame_writer w = begin(out, r->survey);

	put(&w, "summary", summary_json(r));
	struct frame_writer findings = open_frame(&w, "findings", '[');
	for (size_t i = 0; i < r->findings->n; i++)
		put_finding(&findings, r, &r->findings->v[i]);
	close_frame(&findings, ']');
	put(&w, "benign", benign_json(r->findings));
	end(&w, &r->survey->gaps);
}

void report_sum_json(FILE *out, const struct report_sum *sum)
{
	struct frame_writer w = begin(out, NULL);

	put(&w, "summary",
	    json_pack("{s:I, s:I, s:I}", "processes",
		      (json_int_t)sum->processes, "judged",
		      (json_int_t)sum->judged, "findings",
		      (json_int_t)sum->findings));
	put(&w, "findings", json_array());
	end(&w, &sum->gaps);
}

static json_t *object_json(const struct wait_object *w)
{
	json_t *o = json_pack("{s:s, s:o}", "kind", wait_object_name(w->kind),
			      "address", address(w->addr));

	if (o && w->kind == OBJECT_CHAN) {
		json_object_set_new(o, "direction",
				    json_string(w->send ? "send" : "recv"));
		json_object_set_new(o, "closed", json_boolean(w->closed));
		json_object_set_new(o, "element", text(w->element_type));
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
			json_object_set_new(o, key,
					    text(task->labels[i].value));
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

static json_t *ps_task_json(const struct report *r, const struct task *task)
{
	const struct survey *s = r->survey;
	const struct tcp_socket *socket =
		correlate_socket(task, &s->fds, s->sockets);
	struct blocked_for blocked = report_interval(r, task, socket);
	json_t *o = task_json(r, task, socket, &blocked);

	if (!o)
		return NULL;
	json_object_set_new(o, "runtime", json_string("go"));
	json_object_set_new(o, "state",
			    json_string(task_state_name(task->state)));
	json_object_set_new(o, "wait_kind",
			    json_string(wait_kind_name(task->wait)));
	json_object_set_new(o, "parent",
			    task->parent_id ? u64_text(task->parent_id)
					    : json_null());
	json_object_set_new(o, "labels", labels_json(task));
	json_object_set_new(o, "start", frame_json(task->start));
	json_object_set_new(o, "created_by", frame_json(task->created_by));
	json_object_set_new(o, "object",
			    task->n_objects ? object_json(&task->objects[0])
					    : json_null());
	if (task->n_objects > 1)
		json_object_set_new(o, "objects", objects_json(task));
	if (task->tid)
		json_object_set_new(o, "tid", json_integer(task->tid));
	set_marks(o, task);
	if (r->stacks)
		json_object_set_new(o, "stack", stack_json(task->stack));
	return o;
}

void report_ps_json(FILE *out, const struct report *r)
{
	const struct task_snapshot *snap = r->survey->tasks;
	struct frame_writer w = begin(out, r->survey);
	struct frame_writer tasks = open_frame(&w, "tasks", '[');

	for (size_t i = 0; snap && i < snap->n; i++)
		put(&tasks, NULL, ps_task_json(r, &snap->tasks[i]));
	close_frame(&tasks, ']');
	end(&w, &r->survey->gaps);
}

static json_t *socket_row_json(const struct report *r,
			       const struct waiters *waiters, size_t i)
{
	const struct survey *s = r->survey;
	const struct tcp_socket *socket = &s->sockets->v[i];
	const struct task *task = waiters_of(waiters, i);
	int fd = waiters_fd(waiters, i);
	json_t *o = socket_json(socket, &s->verdicts[i]);

	if (!o)
		return NULL;
	json_object_set_new(o, "fd", fd < 0 ? json_null() : json_integer(fd));
	json_object_set_new(o, "task", task ? u64_text(task->id) : json_null());
	json_object_set_new(
		o, "tasks",
		json_integer((json_int_t)waiters_count(waiters, i)));
	json_object_set_new(o, "options", options_json(&socket->options));
	json_t *samples = json_array();
	json_array_append_new(samples, sample_json(&socket->first));
	if (socket->second_state == TCP_SAMPLED)
		json_array_append_new(samples, sample_json(&socket->second));
	json_object_set_new(o, "samples", samples);
	report_probe_json(o, s, i);
	if (r->policy)
		json_object_set_new(
			o, "policy",
			report_policy_answer_json(r->policy, socket));
	return o;
}

void report_sockets_json(FILE *out, const struct report *r)
{
	const struct tcp_snapshot *snap = r->survey->sockets;
	struct waiters *waiters = waiters_create(r->survey);
	struct frame_writer w = begin(out, r->survey);

	if (r->policy && snap)
		put(&w, "policy", report_policy_json(r->policy, r->survey));
	struct frame_writer sockets = open_frame(&w, "sockets", '[');

	for (size_t i = 0; waiters && snap && i < snap->n; i++)
		put(&sockets, NULL, socket_row_json(r, waiters, i));
	close_frame(&sockets, ']');
	end(&w, &r->survey->gaps);
	waiters_destroy(waiters);
}

json_t *report_json_text(const char *s)
{
	return text(s);
}

json_t *report_json_frame(const struct frame *f)
{
	return frame_json(f);
}

json_t *report_json_options(const struct tcp_options *o)
{
	return options_json(o);
}

json_t *report_json_socket(const struct tcp_socket *s, const struct verdict *v)
{
	return socket_json(s, v);
}

void report_json_document(FILE *out, const struct survey *s, const char *key,
			  json_t *value)
{
	struct frame_writer w = begin(out, s);

	put(&w, key, value);
	end(&w, &s->gaps);
}
