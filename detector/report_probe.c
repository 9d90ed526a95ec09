/* SPDX-License-Identifier: Apache-2.0 */
#include "detector/report.h"

#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "base/escape.h"
#include "detector/waiters.h"

/** `probe` as text, and what it adds to the JSON of `sockets`. */

#define REASONS_MAX 32 /* different reasons for not probing, told apart */

static bool was_probed(const struct survey_probe_of *probe)
{
	return probe->facts && probe->facts->sent > 0;
}

/* Was it to be probed, or asked for by name? Then it is told of by itself. */
static bool has_story(const struct survey_probe_of *probe)
{
	return probe->facts && (probe->named || !probe->why);
}

/* --- JSON --- */

static json_t *wall_json(int64_t wall_ms)
{
	char buf[CLOCK_TEXT_MAX];

	clock_format_rfc3339(wall_ms, buf);
	return json_pack("{s:s}", "at", buf);
}

static json_t *probe_json(const struct survey_probe_of *probe)
{
	static const struct probe_facts none = { .result = PROBE_REFUSED,
						 .answered_ms = -1 };
	const struct probe_facts *f = probe->facts && probe->facts->result !=
							      PROBE_NOT_ASKED
					      ? probe->facts
					      : &none;
	const char *why = probe->why ? probe->why : f->why;
	json_t *probes = json_array();

	for (uint32_t i = 0; i < f->sent && i < PROBE_MAX; i++)
		json_array_append_new(probes, wall_json(f->at_wall_ms[i]));
	return json_pack(
		"{s:s, s:s, s:b, s:I, s:o, s:I, s:o, s:o}", "method",
		probe_method_name(f->method), "result",
		probe_result_name(f->result), "shielded", (int)f->shielded,
		"sent", (json_int_t)f->sent, "answered_ms",
		f->answered_ms < 0 ? json_null() : json_integer(f->answered_ms),
		"window_ms", (json_int_t)f->window_ms, "probes", probes, "why",
		why ? json_string(why) : json_null());
}

void report_probe_json(json_t *row, const struct survey *s, size_t i)
{
	if (!s->probes)
		return;
	json_object_set_new(
		row, "before",
		s->probes[i].facts
			? json_string(verdict_name(s->probes[i].before.kind))
			: json_null());
	json_object_set_new(row, "probe", probe_json(&s->probes[i]));
}

/* --- text --- */

/* "22:19:00.123", of the day in UTC. */
static void clock_time(int64_t wall_ms, char buf[CLOCK_TEXT_MAX])
{
	char whole[CLOCK_TEXT_MAX];

	clock_format_rfc3339(wall_ms, whole);
	const char *t = strchr(whole, 'T');
	snprintf(buf, CLOCK_TEXT_MAX, "%.12s", t ? t + 1 : whole);
}

/* What came of the @i-th of them: the answer is to all that were sent. */
static void answer_text(const struct probe_facts *f, uint32_t i, char *buf,
			size_t size)
{
	char after[CLOCK_TEXT_MAX];

	clock_format_duration(f->answered_ms, after);
	if (i + 1 < f->sent || f->result == PROBE_SILENCE)
		snprintf(buf, size, "no answer");
	else if (f->result == PROBE_RST)
		snprintf(buf, size, "a reset, %s after the first probe%s",
			 after, f->shielded ? " (kept from the program)" : "");
	else if (f->result == PROBE_ANSWERED)
		snprintf(buf, size, "answered, %s after the first probe",
			 after);
	else
		snprintf(buf, size, "the connection ended");
}

static void put_probes(struct text *t, const struct survey_probe_of *probe)
{
	const struct probe_facts *f = probe->facts;
	const char *why = probe->why ? probe->why : f->why;

	for (uint32_t i = 0; i < f->sent && i < PROBE_MAX; i++) {
		char at[CLOCK_TEXT_MAX], answer[128];
		char first[CLOCK_TEXT_MAX + 32];

		clock_time(f->at_wall_ms[i], at);
		answer_text(f, i, answer, sizeof(answer));
		snprintf(first, sizeof(first), "  %-6s  %s UTC  ",
			 i ? "" : "probe", at);
		text_wrapf(t, first, "%s: %s", probe_method_name(f->method),
			   answer);
	}
	if (!f->sent && f->result == PROBE_ANSWERED)
		text_wrap(t, "  probe   ", "not needed: a segment arrived");
	else if (!f->sent)
		text_wrapf(t, "  probe   ", "not sent: %s",
			   why ? why : "it is not known why");
}

static void put_connection(struct text *t, const struct report *r,
			   const struct waiters *waiters, size_t i)
{
	const struct survey *s = r->survey;
	const struct tcp_socket *socket = &s->sockets->v[i];
	const struct verdict *after = &s->verdicts[i];
	char local[ENDPOINT_TEXT_MAX], remote[ENDPOINT_TEXT_MAX];

	endpoint_format(&socket->local, local);
	endpoint_format(&socket->remote, remote);
	fprintf(t->out, "\n%s -> %s  fd %d  %s\n", local, remote,
		waiters_fd(waiters, i),
		tcp_state_name(tcp_socket_latest(socket)->state));
	fprintf(t->out, "  before  %s\n",
		verdict_name(s->probes[i].before.kind));
	put_probes(t, &s->probes[i]);
	fprintf(t->out, "  after   ");
	text_put(t, report_verdict_style(after->kind),
		 verdict_name(after->kind));
	fputc('\n', t->out);
	uint32_t n = r->verbose ? after->n_evidence : 3;
	for (uint32_t e = 0; e < n && e < after->n_evidence; e++)
		text_wrap(t, e ? "          " : "  why     ",
			  after->evidence[e].text);
}

/* The rest in one line for each reason. */
static void put_others(struct text *t, const struct survey *s)
{
	struct {
		const char *why;
		size_t n;
	} reasons[REASONS_MAX] = { { NULL, 0 } };
	size_t n = 0;

	for (size_t i = 0; i < s->sockets->n; i++) {
		const struct survey_probe_of *probe = &s->probes[i];
		size_t k = 0;

		if (has_story(probe))
			continue;
		while (k < n && strcmp(reasons[k].why, probe->why) != 0)
			k++;
		if (k == REASONS_MAX)
			continue;
		if (k == n)
			reasons[n++].why = probe->why;
		reasons[k].n++;
	}
	for (size_t k = 0; k < n; k++) {
		char count[TEXT_COUNT];

		fprintf(t->out, "%snot probed: %s connection%s: %s\n",
			k ? "" : "\n", text_count(count, reasons[k].n),
			PLURAL(reasons[k].n), reasons[k].why);
	}
}

void report_probe_text(struct text *t, const struct report *r)
{
	const struct survey *s = r->survey;
	size_t n = s->sockets ? s->sockets->n : 0, probed = 0;
	char what[96], count[TEXT_COUNT], of[TEXT_COUNT];
	struct waiters *waiters = waiters_create(s);

	if (!waiters)
		return;
	for (size_t i = 0; i < n; i++)
		probed += was_probed(&s->probes[i]);
	snprintf(what, sizeof(what), "%s of %s TCP socket%s probed",
		 text_count(count, probed), text_count(of, n), PLURAL(n));
	report_head(t, r, what);
	for (size_t i = 0; i < n; i++)
		if (has_story(&s->probes[i]))
			put_connection(t, r, waiters, i);
	if (n)
		put_others(t, s);
	if (s->gaps.n)
		fputc('\n', t->out);
	report_gaps(t, "", &s->gaps);
	waiters_destroy(waiters);
}
