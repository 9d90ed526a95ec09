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

static json_t *endpoint_json(const struct endpoint *e)
{
	char buf[ENDPOINT_TEXT_MAX];

	endpoint_format(e, buf);
	return json_string(buf);
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
	return json_pack("{s:b, s:I, s:I, s:I, s:I, s:I, s:I}", "keepalive",
			 (int)o->keepalive, "keepidle_s",
			 (json_int_t)o->keepidle_s, "keepintvl_s",
			 (json_int_t)o->keepintvl_s, "keepcnt",
			 (json_int_t)o->keepcnt, "user_timeout_ms",
			 (json_int_t)o->user_timeout_ms, "recv_timeout_ms",
			 (json_int_t)o->recv_timeout_ms, "send_timeout_ms",
			 (json_int_t)o->send_timeout_ms);
}

static json_t *socket_json(const struct tcp_socket *s, const struct verdict *v)
{
	json_t *o;

	if (!s)
		return json_null();
	o = json_pack("{s:o, s:o, s:s, s:s, s:b, s:o, s:s, s:o, s:o, s:o}",
		      "local", endpoint_json(&s->local), "remote",
		      endpoint_json(&s->remote), "state",
		      tcp_state_json(tcp_socket_latest(s)->state), "verdict",
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

static json_t *runtimes_json(const struct survey *s)
{
	json_t *a = json_array();

	for (size_t i = 0; i < s->n_sets; i++)
		json_array_append_new(a, text(s->sets[i].snapshot->runtime));
	return a;
}

static json_t *target_json(const struct survey *s)
{
	const struct process *p = s->process;
	const struct task_snapshot *runtime = survey_runtime(s);

	if (!p)
		return json_null();
	return json_pack(
		"{s:I, s:o, s:o, s:o, s:b, s:o, s:o}", "pid",
		(json_int_t)p->pid, "exe", text(p->exe), "runtime",
		runtime ? text(runtime->runtime) : json_null(), "started",
		wall_time(p->start_wall_ms), "gone", (int)s->gone, "no_runtime",
		s->no_runtime ? text(error_text(s->no_runtime)) : json_null(),
		"runtimes", runtimes_json(s));
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

static json_t *counts_json(const struct findings *f)
{
	json_t *o = json_object();

	for (enum task_runtime i = TASK_GO; i <= TASK_THREAD; i++)
		if (f->tasks.of[i])
			json_object_set_new(
				o, task_runtime_name(i),
				json_pack("{s:I, s:I}", "tasks",
					  (json_int_t)f->tasks.of[i], "blocked",
					  (json_int_t)f->blocked.of[i]));
	return o;
}

static json_t *summary_json(const struct report *r)
{
	const struct findings *f = r->findings;

	return json_pack(
		"{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o}", "tasks",
		(json_int_t)task_counts_sum(&f->tasks), "blocked",
		(json_int_t)task_counts_sum(&f->blocked), "findings",
		(json_int_t)f->n, "duration_ms",
		(json_int_t)r->survey->duration_ms, "stopped_ms",
		(json_int_t)r->survey->stopped_ms, "sockets",
		(json_int_t)(r->survey->sockets ? r->survey->sockets->n : 0),
		"moved", (json_int_t)f->moved, "ended_by_deadline",
		(json_int_t)f->deadline_soon, "too_young",
		(json_int_t)f->too_young, "by_runtime", counts_json(f));
}

static json_t *advice_json(const struct finding *f)
{
	json_t *a = json_array();

	for (size_t i = 0; i < f->n_advice; i++) {
		const struct frame *site = f->advice[i].site;
		AUTO_FREE char *line = NULL;

		if (!site ||
		    (site->line
			     ? asprintf(&line, "%s:%" PRIu32 ": %s", site->file,
					site->line, f->advice[i].text)
			     : asprintf(&line, "%s: %s", site->function,
					f->advice[i].text)) < 0)
			line = NULL;
		json_array_append_new(a, text(line ? line : f->advice[i].text));
	}
	return a;
}

static json_t *fd_json(int fd)
{
	return fd < 0 ? json_null() : json_integer(fd);
}

/* Whose event loop watches the connection that nobody reads. */
static json_t *holder_json(const struct finding_member *m)
{
	const struct task *h = m->holder;

	if (!h)
		return json_null();
	return json_pack("{s:s, s:o, s:o, s:s, s:o, s:o}", "runtime",
			 task_runtime_name(m->runtime), "task", u64_text(h->id),
			 "name", text(h->name), "wait_kind",
			 wait_kind_name(h->wait), "wait", text(h->reason), "fd",
			 fd_json(h->fd));
}

static json_t *member_socket_json(const struct finding_member *m)
{
	json_t *o = socket_json(m->socket, m->verdict);

	if (!m->socket || !o)
		return o;
	json_object_set_new(o, "fd", fd_json(m->fd));
	if (m->task)
		return o;
	json_object_set_new(o, "held_by", holder_json(m));
	if (m->holder) {
		json_object_set_new(o, "runtime",
				    json_string(task_runtime_name(m->runtime)));
		json_object_set_new(o, "name", text(m->holder->name));
	}
	return o;
}

static json_t *ends_json(const struct finding_member *m)
{
	json_t *o = json_pack("{s:o, s:o, s:o}", "local",
			      endpoint_json(&m->socket->local), "remote",
			      endpoint_json(&m->socket->remote), "fd",
			      fd_json(m->fd));

	if (o && m->holder)
		json_object_set_new(o, "held_by", holder_json(m));
	return o;
}

static void put_finding(struct frame_writer *outer, const struct report *r,
			const struct finding *f)
{
	const struct finding_member *first = &f->members[0];
	struct frame_writer w = open_frame(outer, NULL, '{');

	put(&w, "fingerprint", json_string(f->fingerprint));
	put(&w, "kind", json_string(finding_kind_name(f->kind)));
	put(&w, "grade", json_string(grade_name(f->grade)));
	put(&w, "runtime",
	    first->task || first->holder
		    ? json_string(task_runtime_name(f->runtime))
		    : json_null());
	put(&w, "count", json_integer((json_int_t)f->count));
	struct frame_writer tasks = open_frame(&w, "tasks", '[');
	for (size_t i = 0; i < f->count && first->task; i++)
		put(&tasks, NULL, report_json_member(r, &f->members[i]));
	close_frame(&tasks, ']');
	put(&w, "blocked_ms",
	    first->task ? report_json_blocked(&f->blocked) : json_null());
	put(&w, "stack", report_json_stack(f->stack));
	put(&w, "created_by", report_json_frame(f->created_by));
	put(&w, "socket", member_socket_json(first));
	struct frame_writer sockets = open_frame(&w, "sockets", '[');
	for (size_t i = 0; i < f->count && first->socket; i++)
		put(&sockets, NULL, ends_json(&f->members[i]));
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

static json_t *ps_summary_json(const struct survey *s)
{
	json_int_t n = 0;

	for (size_t i = 0; i < s->n_sets; i++)
		n += (json_int_t)s->sets[i].snapshot->n;
	return json_pack("{s:I, s:I, s:I}", "tasks", n, "duration_ms",
			 (json_int_t)s->duration_ms, "stopped_ms",
			 (json_int_t)s->stopped_ms);
}

void report_ps_json(FILE *out, const struct report *r)
{
	const struct survey *s = r->survey;
	struct frame_writer w = begin(out, s);

	put(&w, "summary", ps_summary_json(s));
	struct frame_writer tasks = open_frame(&w, "tasks", '[');

	for (size_t k = 0; k < s->n_sets; k++) {
		const struct task_snapshot *snap = s->sets[k].snapshot;

		for (size_t i = 0; i < snap->n; i++)
			put(&tasks, NULL,
			    report_json_ps_task(r, snap->kind,
						&snap->tasks[i]));
	}
	close_frame(&tasks, ']');
	end(&w, &s->gaps);
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
		o, "runtime",
		task ? json_string(task_runtime_name(
			       survey_set_of(s, task)->snapshot->kind))
		     : json_null());
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

json_t *report_json_time(int64_t wall_ms)
{
	return wall_time(wall_ms);
}

json_t *report_json_endpoint(const struct endpoint *e)
{
	return endpoint_json(e);
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
