/* SPDX-License-Identifier: Apache-2.0 */
#include "scenarios/run/compare.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Said of a connection that lives, each of these is a false alarm. */
#define ACCUSES                                                                \
	(SAYS_HALF_OPEN | SAYS_UNREACHABLE | SAYS_LOCAL_CAUSE | SAYS_PATH_MTU)

#define WORDS_MAX 200

void compare_raise(struct result *r, enum outcome outcome, const char *fmt, ...)
{
	va_list ap;

	if (outcome <= r->outcome)
		return;
	r->outcome = outcome;
	va_start(ap, fmt);
	vsnprintf(r->why, sizeof(r->why), fmt, ap);
	va_end(ap);
}

static bool same_ends(const struct truth_conn *t, const char *local,
		      const char *remote)
{
	return !strcmp(t->remote, remote) &&
	       (!*t->local || !strcmp(t->local, local));
}

static const struct seen_conn *find(const struct truth_conn *t,
				    const struct seen *seen)
{
	for (size_t i = 0; i < seen->n_conns; i++)
		if (same_ends(t, seen->conns[i].local, seen->conns[i].remote))
			return &seen->conns[i];
	return NULL;
}

static uint32_t verdict_of(const struct seen_conn *c)
{
	return c && strcmp(c->state, "close") ? c->verdict : SAYS_GONE;
}

static void check_never(const struct scenario *s, const char *when,
			const struct seen_conn *c, struct result *r)
{
	uint32_t v = verdict_of(c);

	if (!(v & s->never))
		return;
	compare_raise(r, v & ACCUSES ? OUTCOME_FALSE_ALARM : OUTCOME_WRONG,
		      "%s: must never say '%s', and does: %s", when,
		      scenario_verdict_name(v), c ? c->why : "");
}

static void check_healthy(const char *when, const struct truth_conn *t,
			  const struct seen_conn *c, bool probed,
			  struct result *r)
{
	uint32_t v = verdict_of(c);

	if (v & (ACCUSES | SAYS_GONE))
		compare_raise(r, OUTCOME_FALSE_ALARM,
			      "%s: the healthy connection to %s is '%s': %s",
			      when, t->remote, scenario_verdict_name(v),
			      c ? c->why : "");
	else if (probed && v == SAYS_SILENT)
		compare_raise(r, OUTCOME_WRONG,
			      "%s: the healthy connection to %s is still "
			      "'silent': %s",
			      when, t->remote, c->why);
}

static void check_target(const char *when, const struct truth_conn *t,
			 const struct seen_conn *c, uint32_t expected,
			 struct result *r)
{
	uint32_t v = verdict_of(c);
	char words[WORDS_MAX];

	scenario_verdicts_text(expected, words, sizeof(words));
	if (!(v & expected))
		compare_raise(r, OUTCOME_WRONG,
			      "%s: %s is '%s' and should be %s: %s", when,
			      t->remote, scenario_verdict_name(v), words,
			      c ? c->why : "");
	else if (v == SAYS_HALF_OPEN && c && !c->certain)
		compare_raise(r, OUTCOME_WRONG,
			      "%s: half-open without being certain", when);
}

/* An answer that comes too early: the fault was not on, the test is void. */
static void check_answer(const struct scenario *s, const struct seen_conn *c,
			 struct result *r)
{
	if (s->answer_after_ms && c && c->answered_ms < s->answer_after_ms)
		compare_raise(r, OUTCOME_WRONG,
			      "answered after %lld ms, should be %lld or more: "
			      "the fault was not on when it was probed",
			      (long long)c->answered_ms,
			      (long long)s->answer_after_ms);
}

/* Returns the verdicts on all targets. */
static uint32_t check_all(const struct scenario *s, const struct truth *t,
			  const struct seen *seen, bool probed,
			  struct result *r)
{
	const char *when = probed ? "after the probe" : "before";
	uint32_t expected = probed ? s->after : s->before, said = 0;

	for (size_t i = 0; i < t->n; i++) {
		const struct seen_conn *c = find(&t->v[i], seen);
		if (t->v[i].healthy) {
			check_healthy(when, &t->v[i], c, probed, r);
			continue;
		}
		said |= verdict_of(c);
		check_never(s, when, c, r);
		check_target(when, &t->v[i], c, expected, r);
		if (probed)
			check_answer(s, c, r);
	}
	return said;
}

/* Nothing tells the dead from the living: then it must say the same of both. */
static void check_alike(const struct truth *t, const struct seen *seen,
			struct result *r)
{
	uint32_t all[2] = { 0, 0 };

	for (size_t i = 0; i < t->n; i++)
		all[t->v[i].healthy] |= verdict_of(find(&t->v[i], seen));
	if (all[0] != all[1])
		compare_raise(r, OUTCOME_WRONG,
			      "before: looks like a healthy one, and is judged "
			      "'%s' where that is '%s'",
			      scenario_verdict_name(all[0]),
			      scenario_verdict_name(all[1]));
}

void compare_before(const struct scenario *s, const struct truth *t,
		    const struct seen *seen, struct result *r)
{
	r->before = check_all(s, t, seen, false, r);
	if (s->like_healthy)
		check_alike(t, seen, r);
}

void compare_after(const struct scenario *s, const struct truth *t,
		   const struct seen *seen, struct result *r)
{
	r->after = check_all(s, t, seen, true, r);
}

/* --- findings --- */

static const struct seen_finding *finding_on(const struct truth_conn *t,
					     const struct seen *seen,
					     const struct seen_task **task)
{
	for (size_t i = 0; i < seen->n_findings; i++) {
		const struct seen_finding *f = &seen->findings[i];
		for (size_t k = 0; k < f->n; k++) {
			*task = &f->tasks[k];
			if (same_ends(t, (*task)->local, (*task)->remote))
				return f;
		}
	}
	return NULL;
}

/* Is @function one whole line of @functions? No function always is. */
static bool names(const char *functions, const char *function)
{
	size_t len = strlen(function);
	const char *p = len ? strstr(functions, function) : NULL;

	for (; p; p = strstr(p + 1, function))
		if (p > functions && p[-1] == '\n' && p[len] == '\n')
			return true;
	return !len;
}

/* One wait for many connections: none of them has a task of its own. */
static bool is_loop(const char *blocked)
{
	return !strcmp(blocked, "poll") || !strcmp(blocked, "epoll");
}

/* Is it who the victim says that it is? */
static void check_task(const struct scenario *s, const struct truth_conn *t,
		       const struct seen_task *task, struct result *r)
{
	if (s->runtime && strcmp(s->runtime, task->runtime))
		compare_raise(r, OUTCOME_WRONG,
			      "who waits on %s is of the runtime '%s', should "
			      "be '%s'",
			      t->remote, task->runtime, s->runtime);
	if (t->fd >= 0 && t->fd != task->fd)
		compare_raise(r, OUTCOME_WRONG,
			      "the finding on %s has fd %d, should have %d",
			      t->remote, task->fd, t->fd);
	if (strcmp(is_loop(t->blocked) ? t->blocked : "", task->held_by))
		compare_raise(r, OUTCOME_WRONG,
			      "%s is held by '%s', and its program's wait is "
			      "'%s'",
			      t->remote, task->held_by, t->blocked);
	if (*t->task && strcmp(t->task, task->name))
		compare_raise(r, OUTCOME_WRONG,
			      "who waits on %s is named '%s', should be '%s'",
			      t->remote, task->name, t->task);
}

static void check_finding(const struct scenario *s, const struct truth_conn *t,
			  const struct seen_finding *f,
			  const struct seen_task *task, struct result *r)
{
	if (!s->finding && f)
		compare_raise(r, OUTCOME_WRONG,
			      "a finding on %s, and none should be: %s %s",
			      t->remote, f->grade, f->kind);
	else if (s->finding && !f)
		compare_raise(r, OUTCOME_WRONG,
			      "no finding on %s, should be %s %s", t->remote,
			      s->grade, s->finding);
	else if (f &&
		 (strcmp(f->kind, s->finding) || strcmp(f->grade, s->grade)))
		compare_raise(r, OUTCOME_WRONG,
			      "the finding on %s is %s %s, should be %s %s",
			      t->remote, f->grade, f->kind, s->grade,
			      s->finding);
	else if (f && !names(f->functions, t->function))
		compare_raise(r, OUTCOME_WRONG,
			      "the finding on %s does not name %s", t->remote,
			      t->function);
	else if (f)
		check_task(s, t, task, r);
}

/* None too many: two for one wait, or one on what nobody waits for. */
static void check_count(const struct scenario *s, const struct seen *seen,
			struct result *r)
{
	const struct seen_finding *f = seen->findings;

	if (s->findings < 0 || seen->n_findings == (size_t)s->findings)
		return;
	compare_raise(r, s->findings ? OUTCOME_WRONG : OUTCOME_FALSE_ALARM,
		      "%zu findings, should be %d; the first is %s %s on '%s'",
		      seen->n_findings, s->findings,
		      seen->n_findings ? f->grade : "-",
		      seen->n_findings ? f->kind : "-",
		      seen->n_findings ? f->tasks[0].remote : "-");
}

void compare_findings(const struct scenario *s, const struct truth *t,
		      const struct seen *seen, struct result *r)
{
	const struct seen_task *task = NULL;

	for (size_t i = 0; i < t->n; i++) {
		const struct seen_finding *f =
			finding_on(&t->v[i], seen, &task);
		if (!t->v[i].healthy)
			check_finding(s, &t->v[i], f, task, r);
		else if (f && strcmp(f->grade, "possible"))
			compare_raise(r, OUTCOME_FALSE_ALARM,
				      "a %s finding on the healthy connection "
				      "to %s: %s",
				      f->grade, t->v[i].remote, f->kind);
	}
	check_count(s, seen, r);
}
