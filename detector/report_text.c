/* SPDX-License-Identifier: Apache-2.0 */
#include "detector/report.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "detector/frames.h"
#include "detector/judge.h"

#define IDS_SHOWN 6

/* Indents of the blocks of a finding. */
#define WHO "  who  "
#define WHY "  why  "
#define FIX "  fix  "
#define MORE "       "

static enum text_style grade_style(enum grade grade)
{
	switch (grade) {
	case GRADE_PROVEN:
		return STYLE_BAD;
	case GRADE_LIKELY:
		return STYLE_WARN;
	case GRADE_POSSIBLE:
		return STYLE_NOTE;
	}
	return STYLE_PLAIN;
}

static const char *grade_label(enum grade grade)
{
	switch (grade) {
	case GRADE_PROVEN:
		return "PROVEN";
	case GRADE_LIKELY:
		return "LIKELY";
	case GRADE_POSSIBLE:
		return "POSSIBLE";
	}
	return "?";
}

/* Why they wait, for one and for many. */
static const char *cause(const struct finding *f)
{
	bool one = f->count == 1;

	switch (f->verdict) {
	case VERDICT_HALF_OPEN:
		return one ? "its connection is half-open"
			   : "their connections are half-open";
	case VERDICT_UNREACHABLE:
		return one ? "its peer does not answer"
			   : "their peers do not answer";
	case VERDICT_LOCAL_CAUSE:
		return one ? "its connection is cut off at this end"
			   : "their connections are cut off at this end";
	case VERDICT_HALF_CLOSED:
		if (tcp_socket_latest(f->members[0].socket)->state ==
		    TCP_STATE_FIN_WAIT2)
			return one ? "its peer has not closed its side yet"
				   : "their peers have not closed their sides "
				     "yet";
		return one ? "its peer has closed the connection"
			   : "their peers have closed the connections";
	case VERDICT_PEER_NOT_READING:
		return one ? "its peer does not read"
			   : "their peers do not read";
	case VERDICT_PATH_MTU:
		return one ? "its large packets are lost"
			   : "their large packets are lost";
	case VERDICT_SILENT:
		return one ? "its connection is silent, and nothing would end "
			     "the wait"
			   : "their connections are silent, and nothing would "
			     "end the wait";
	case VERDICT_CONNECTING:
		return one ? "its handshake is not answered"
			   : "their handshakes are not answered";
	case VERDICT_DATA_WAITING:
	case VERDICT_ALIVE:
	case VERDICT_UNKNOWN:
	case VERDICT_LISTENING:
		break;
	}
	return verdict_name(f->verdict);
}

/* What a connection is that nobody waits on. */
static const char *condition(const struct finding *f)
{
	if (f->verdict == VERDICT_HALF_OPEN)
		return "half-open";
	if (f->verdict == VERDICT_LOCAL_CAUSE)
		return "cut off at this end";
	return "unanswered";
}

/* Between "3 goroutines" and "their connections are half-open". */
static const char *fate(const struct finding *f)
{
	bool one = f->count == 1;

	/* An address or a carrier may come back. */
	if (f->grade == GRADE_PROVEN && f->verdict != VERDICT_LOCAL_CAUSE)
		return "can never return";
	if (f->grade == GRADE_POSSIBLE)
		return "may wait for ever";
	switch (f->kind) {
	case FINDING_STRANDED_WRITER:
		return "cannot send";
	case FINDING_STRANDED_CONNECT:
		return one ? "gets no connection" : "get no connection";
	case FINDING_STRANDED_READER:
	case FINDING_HALF_CLOSED_HELD:
	case FINDING_DEAD_IDLE:
	case FINDING_BLOCKED_GROUP:
		break;
	}
	return one ? "waits in vain" : "wait in vain";
}

/* The runtime's words for what a blocked group waits at. */
static const char *group_reason(const struct finding *f)
{
	return f->members[0].task->reason;
}

static char *headline(const struct finding *f)
{
	char n[TEXT_COUNT], *s = NULL;
	const char *count = text_count(n, f->count);
	const char *who = report_task_word(f->runtime, f->count);
	bool one = f->count == 1;
	int len;

	if (f->kind == FINDING_BLOCKED_GROUP && f->grade == GRADE_PROVEN)
		len = asprintf(&s,
			       "%s %s can never return: the runtime has "
			       "proven %s leaked",
			       count, who, one ? "it" : "them");
	else if (f->kind == FINDING_BLOCKED_GROUP)
		len = asprintf(&s, "%s %s wait%s at the same place: %s", count,
			       who, one ? "s" : "", group_reason(f));
	else if (!f->members[0].task && f->kind == FINDING_HALF_CLOSED_HELD)
		len = asprintf(&s,
			       "%s connection%s %s held though the peer has "
			       "closed %s",
			       count, PLURAL(f->count), one ? "is" : "are",
			       one ? "it" : "them");
	else if (!f->members[0].task)
		len = asprintf(&s,
			       "%s connection%s that nobody waits on %s "
			       "%s: the next use hangs",
			       count, PLURAL(f->count), one ? "is" : "are",
			       condition(f));
	else if (f->verdict == VERDICT_DATA_WAITING)
		len = asprintf(&s, "%s %s %s not woken although data is there",
			       count, who, one ? "is" : "are");
	else
		len = asprintf(&s, "%s %s %s: %s", count, who, fate(f),
			       cause(f));
	return len < 0 ? NULL : s;
}

static const char *doing(const struct finding *f)
{
	switch (f->kind) {
	case FINDING_STRANDED_READER:
		return "reading";
	case FINDING_STRANDED_WRITER:
		return "writing";
	case FINDING_STRANDED_CONNECT:
		return "connecting";
	case FINDING_HALF_CLOSED_HELD:
	case FINDING_DEAD_IDLE:
	case FINDING_BLOCKED_GROUP:
		break;
	}
	return f->members[0].task->reason;
}

static const char *deadline_text(const struct finding *f)
{
	switch (f->members[0].deadline.state) {
	case DEADLINE_UNKNOWN:
		return ", deadline not known";
	case DEADLINE_NONE:
		return ", no deadline";
	case DEADLINE_SET:
		return ", deadline far off";
	case DEADLINE_EXPIRED:
		return ", deadline past";
	}
	return "";
}

static const char *keepalive_text(const struct finding *f)
{
	switch (f->keepalive) {
	case KEEPALIVE_UNKNOWN:
		return ", keepalive not known";
	case KEEPALIVE_OFF:
		return ", keepalive off";
	case KEEPALIVE_ON:
		return ", keepalive on";
	}
	return "";
}

/* How an end of the interval is known. */
static const char *source_text(enum blocked_source source)
{
	switch (source) {
	case BLOCKED_UNKNOWN:
		return "nothing that is known";
	case BLOCKED_WAITSINCE:
		return "the runtime's own mark";
	case BLOCKED_OBSERVED:
		return "our two looks";
	case BLOCKED_LAST_DATA:
		return "the last data received";
	case BLOCKED_PROCESS:
		return "the age of the process";
	}
	return "?";
}

static void put_blocked(struct text *t, const struct finding *f, bool verbose)
{
	char blocked[REPORT_BLOCKED];
	bool network = f->members[0].socket;

	if (!f->members[0].task) {
		text_wrapf(t, "  ", "no task waits on %s%s",
			   f->count == 1 ? "it" : "them", keepalive_text(f));
		return;
	}
	report_blocked(blocked, &f->blocked);
	text_wrapf(t, "  ", "blocked %s, %s%s%s", blocked, doing(f),
		   network ? deadline_text(f) : "",
		   network ? keepalive_text(f) : "");
	if (verbose)
		text_wrapf(t, "  ", "at least by %s, at most by %s",
			   source_text(f->blocked.at_least_source),
			   source_text(f->blocked.at_most_source));
}

static void put_socket(struct text *t, const struct finding *f)
{
	const struct tcp_socket *s = f->members[0].socket;
	char local[ENDPOINT_TEXT_MAX], remote[ENDPOINT_TEXT_MAX];
	char n[TEXT_COUNT], more[160] = "";

	if (!s)
		return;
	endpoint_format(&s->local, local);
	endpoint_format(&s->remote, remote);
	if (f->sockets > 1 && f->remotes == 1)
		snprintf(more, sizeof(more), " (+%s more to %s)",
			 text_count(n, f->sockets - 1), remote);
	else if (f->sockets > 1)
		snprintf(more, sizeof(more), " (+%s more, %zu peers in all)",
			 text_count(n, f->sockets - 1), f->remotes);
	text_wrapf(t, "  ", "%s -> %s%s  %s", local, remote, more,
		   tcp_state_name(tcp_socket_latest(s)->state));
}

static void put_object(struct text *t, const struct finding *f)
{
	const struct task *task = f->members[0].task;
	const struct wait_object *o;

	if (!task || f->members[0].socket || !task->n_objects)
		return;
	o = &task->objects[0];
	if (o->kind != OBJECT_CHAN)
		text_wrapf(t, "  ", "on the object at 0x%" PRIx64, o->addr);
	else
		text_wrapf(t, "  ",
			   "on a channel of %s%s, %" PRIu64 " of %" PRIu64
			   " used, at 0x%" PRIx64,
			   o->element_type ? o->element_type : "?",
			   o->closed ? ", closed" : "", o->length, o->capacity,
			   o->addr);
}

static void put_who(struct text *t, const struct finding *f)
{
	char buf[512], n[TEXT_COUNT];
	size_t len = 0, shown = f->count < IDS_SHOWN ? f->count : IDS_SHOWN;

	for (size_t i = 0; i < shown; i++) {
		const struct finding_member *m = &f->members[i];
		const char *sep = i ? ", " : "";

		if (m->task && m->fd >= 0)
			len += (size_t)snprintf(buf + len, sizeof(buf) - len,
						"%s%" PRIu64 " (fd %d)", sep,
						m->task->id, m->fd);
		else if (m->task)
			len += (size_t)snprintf(buf + len, sizeof(buf) - len,
						"%s%" PRIu64, sep, m->task->id);
		else
			len += (size_t)snprintf(buf + len, sizeof(buf) - len,
						"%sfd %d", sep, m->fd);
	}
	if (f->count > shown)
		snprintf(buf + len, sizeof(buf) - len, " and %s more",
			 text_count(n, f->count - shown));
	text_wrapf(t, WHO, "%s%s%s",
		   f->members[0].task ? report_task_word(f->runtime, f->count)
				      : "",
		   f->members[0].task ? " " : "", buf);
}

/* Who would be told of the connection's end, if the kernel knew of it. */
static void put_holder(struct text *t, const struct finding *f)
{
	const struct task *h = f->members[0].holder;
	char id[64];

	if (!h)
		return;
	snprintf(id, sizeof(id), "%s %" PRIu64, report_task_word(f->runtime, 1),
		 h->id);
	if (h->wait == WAIT_EPOLL)
		text_wrapf(t, MORE, "held by the epoll set of fd %d (%s in %s)",
			   h->fd, id, h->reason);
	else
		text_wrapf(t, MORE, "held by the set of %s in %s", id,
			   h->reason);
}

static void put_why(struct text *t, const struct finding *f)
{
	const struct verdict *v = f->members[0].verdict;

	for (uint32_t i = 0; v && i < v->n_evidence; i++)
		text_wrap(t, i ? MORE : WHY, v->evidence[i].text);
}

static char *advice_site(const struct frame *site)
{
	char *s;

	if (site && !site->line)
		return strdup(site->function);
	if (!site ||
	    asprintf(&s, "%s:%" PRIu32, frame_short_file(site), site->line) < 0)
		return NULL;
	return s;
}

/* The sites in one column, as long as that leaves room for the text. */
static void put_fix(struct text *t, const struct finding *f)
{
	char *site[FINDING_MAX_ADVICE], buf[TEXT_CELL], first[2 * TEXT_CELL];
	int width = 0;

	for (size_t i = 0; i < f->n_advice; i++) {
		site[i] = advice_site(f->advice[i].site);
		int w = site[i] ? text_columns(site[i]) : 0;
		width = w > width ? w : width;
	}
	if (width > t->width * 2 / 5)
		width = t->width * 2 / 5;
	for (size_t i = 0; i < f->n_advice; i++) {
		const char *lead = i ? MORE : FIX;

		if (site[i]) {
			int used = text_fit(buf, site[i], width);
			snprintf(first, sizeof(first), "%s%s%*s", lead, buf,
				 width - used + 2, "");
		} else {
			snprintf(first, sizeof(first), "%s", lead);
		}
		text_wrap(t, first, f->advice[i].text);
		free(site[i]);
	}
}

static void put_finding(struct text *t, const struct report *r,
			const struct finding *f)
{
	AUTO_FREE char *head = headline(f);

	fputc('\n', t->out);
	text_put(t, grade_style(f->grade), grade_label(f->grade));
	fputs("  ", t->out);
	text_wrap_from(t, (int)strlen(grade_label(f->grade)) + 2,
		       head ? head : "?");
	put_blocked(t, f, r->verbose);
	put_socket(t, f);
	put_object(t, f);
	report_stack(t, f->stack, f->created_by, r->stacks, r->verbose);
	put_who(t, f);
	put_holder(t, f);
	put_why(t, f);
	put_fix(t, f);
	if (r->verbose)
		text_wrapf(t, "  id   ", "%s %s", f->fingerprint,
			   finding_kind_name(f->kind));
}

static void put_benign(struct text *t, const struct report *r)
{
	const struct findings *f = r->findings;
	uint64_t total = 0;
	char n[TEXT_COUNT];

	for (size_t i = 0; i < f->n_benign; i++)
		total += f->benign[i].tasks;
	if (!total)
		return;
	if (!r->verbose) {
		text_wrapf(t, "",
			   "Held to be benign by rules: %s %s "
			   "(--verbose tells which and why).",
			   text_count(n, total),
			   report_any_word(&f->tasks, total));
		return;
	}
	fprintf(t->out, "Held to be benign by rules:\n");
	for (size_t i = 0; i < f->n_benign; i++)
		text_wrapf(t, "  - ", "%s %s, rule %s: %s",
			   text_count(n, f->benign[i].tasks),
			   report_task_word(f->benign[i].runtime,
					    f->benign[i].tasks),
			   f->benign[i].rule, f->benign[i].reason);
}

/* "3 findings (1 proven, 2 possible)." */
static void count_findings(char *buf, size_t size, const struct report *r)
{
	const struct findings *f = r->findings;
	size_t len;

	if (!f->n) {
		/* Not judged is not the same as clean. */
		snprintf(buf, size, "%s",
			 r->survey->n_sets ? "No findings."
					   : "No findings among its "
					     "connections; nothing else could "
					     "be judged.");
		return;
	}
	len = (size_t)snprintf(buf, size, "%zu finding%s", f->n, PLURAL(f->n));
	const char *sep = " (";
	for (enum grade g = GRADE_PROVEN; g <= GRADE_POSSIBLE; g++) {
		size_t n = findings_count(f, g);

		if (!n)
			continue;
		len += (size_t)snprintf(buf + len, size - len, "%s%zu %s", sep,
					n, grade_name(g));
		sep = ", ";
	}
	snprintf(buf + len, size - len, ").");
}

/* "No findings" must not be taken for "all is well" where it is too early. */
static void put_young(struct text *t, const struct report *r)
{
	const struct findings *f = r->findings;

	if (f->too_young)
		text_wrapf(t, "",
			   "%" PRIu64 " %s wait%s with nothing to end it, on "
			   "connections that may be dead, and not for long "
			   "enough to be a finding (--min-blocked); --probe "
			   "tells dead from idle.",
			   f->too_young,
			   report_any_word(&f->tasks, f->too_young),
			   f->too_young == 1 ? "s" : "");
}

static void put_summary(struct text *t, const struct report *r)
{
	const struct findings *f = r->findings;
	char lead[160];

	fputc('\n', t->out);
	put_benign(t, r);
	if (f->deadline_soon)
		text_wrapf(t, "",
			   "%" PRIu64 " %s on a dead connection will be "
			   "woken by a deadline: no finding.",
			   f->deadline_soon,
			   report_any_word(&f->tasks, f->deadline_soon));
	put_young(t, r);
	count_findings(lead, sizeof(lead), r);
	report_gaps(t, lead, &r->survey->gaps);
}

void report_check_text(struct text *t, const struct report *r)
{
	char n[TEXT_COUNT], what[REPORT_COUNTS];
	const struct survey *s = r->survey;
	size_t n_sockets = s->sockets ? s->sockets->n : 0;

	if (s->n_sets)
		report_counts(what, &r->findings->tasks, &r->findings->blocked);
	else
		snprintf(what, sizeof(what), "%s TCP socket%s",
			 text_count(n, n_sockets), PLURAL(n_sockets));
	report_head(t, r, what);
	for (size_t i = 0; i < r->findings->n; i++)
		put_finding(t, r, &r->findings->v[i]);
	put_summary(t, r);
}

void report_sum_text(struct text *t, const struct report_sum *sum)
{
	char a[TEXT_COUNT], b[TEXT_COUNT], lead[160];

	snprintf(lead, sizeof(lead),
		 "%s processes looked at, %s of them read: %" PRIu64
		 " finding%s.",
		 text_count(a, sum->processes), text_count(b, sum->judged),
		 sum->findings, PLURAL(sum->findings));
	fputc('\n', t->out);
	report_gaps(t, lead, &sum->gaps);
}
