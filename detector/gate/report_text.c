/* SPDX-License-Identifier: Apache-2.0 */
#include "detector/gate/report.h"

#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/escape.h"
#include "detector/report.h"

static void put_where(struct text *t, const struct gate_process *p,
		      const struct leak *l)
{
	if (l->test || p->is_test) {
		fputs("  in ", t->out);
		if (l->test) {
			text_put(t, STYLE_BOLD, l->test);
			fputs(" of ", t->out);
		}
		text_put(t, STYLE_PLAIN, p->package ? p->package : "?");
		fputc('\n', t->out);
	}
	fprintf(t->out, "  process %d (", (int)p->pid);
	text_put(t, STYLE_PLAIN, p->runtime);
	fputs("): ", t->out);
	text_put(t, STYLE_PLAIN, p->cmdline);
	if (p->looks > 1)
		fprintf(t->out, ", at the last of %" PRIu64 " looks", p->looks);
	fputc('\n', t->out);
}

static void put_task(struct text *t, const struct leak *l)
{
	fprintf(t->out, "  %s %" PRIu64 " in state ",
		l->kind == LEAK_GOROUTINE ? "Goroutine" : "Coroutine", l->id);
	text_put(t, STYLE_PLAIN, l->reason);
	fputs(", with ", t->out);
	text_put(t, STYLE_PLAIN, l->n_frames ? l->frames[0].function : "?");
	fputs(" on top of the stack:\n", t->out);
	gate_print_stack(t->out, l, "    ");
}

static void put_connection(struct text *t, const struct leak *l)
{
	if (!l->connection)
		return;
	fputs("  connection ", t->out);
	text_put(t, STYLE_PLAIN, l->connection);
	if (l->verdict)
		fprintf(t->out, ": %s%s", l->verdict,
			l->verdict_certain ? " (proven)" : "");
	fputc('\n', t->out);
	if (l->why)
		text_wrap(t, "  why  ", l->why);
}

static void put_leak(struct text *t, const struct gate_process *p,
		     const struct leak *l)
{
	char buf[TEXT_CELL];

	gate_headline(l, buf, sizeof(buf));
	fputc('\n', t->out);
	text_put(t, l->ignored || l->known ? STYLE_DIM : STYLE_BAD,
		 l->ignored ? "IGNORED"
		 : l->known ? "KNOWN"
			    : "LEAK");
	fputs("  ", t->out);
	text_put(t, STYLE_BOLD, buf);
	fputc('\n', t->out);
	put_where(t, p, l);
	if (l->before)
		fprintf(t->out, "  and %" PRIu64 " that were there before\n",
			l->before);
	if (l->kind != LEAK_CONNECTION)
		put_task(t, l);
	put_connection(t, l);
	if (l->ignored)
		text_wrapf(t, "  ", "ignored by [%s]: %s", l->ignored->name,
			   l->ignored->reason);
	fprintf(t->out, "  fingerprint %s\n", l->fingerprint);
}

static void put_no_grace(struct text *t, const struct gate_report *r,
			 const struct gate_process *p)
{
	if (!p->no_grace || !p->n_leaks)
		return;
	if (r->traced) {
		text_wrap(t, "  ",
			  "there is no time of grace with --how ptrace: some "
			  "of these may only have been slow to end");
		return;
	}
	if (p->starved) {
		text_wrapf(
			t, "  ",
			"no other goroutine of process %d ran in the time of "
			"grace: a garbage collection waits for the thread "
			"that exits, or it has a single P; some of these may "
			"only have been slow to end; run it again, or with "
			"GOGC=off",
			(int)p->pid);
		return;
	}
	text_wrapf(
		t, "  ",
		"process %d has a single P (GOMAXPROCS=1, or one "
		"processor), which the exit keeps: no other goroutine ran in "
		"the time of grace, and some of these may only have been "
		"slow to end; set GOMAXPROCS=2",
		(int)p->pid);
}

static void put_process(struct text *t, const struct gate_report *r,
			const struct gate_process *p)
{
	for (size_t i = 0; i < p->n_leaks; i++)
		if (r->verbose || (!p->leaks[i].known && !p->leaks[i].ignored))
			put_leak(t, p, &p->leaks[i]);
	if (p->leaks_cut)
		fprintf(t->out, "  and %" PRIu64 " more goroutines\n",
			p->leaks_cut);
	put_no_grace(t, r, p);
	if (p->outcome == GATE_NOT_READ)
		text_wrapf(t, "\n", "process %d (%s) was not judged: %s",
			   (int)p->pid, p->cmdline, p->why ? p->why : "?");
	if (p->outcome == GATE_KILLED)
		text_wrapf(t, "\n", "process %d (%s) was not judged: %s",
			   (int)p->pid, p->cmdline, p->why ? p->why : "?");
}

static void put_hung_one(struct text *t, const struct gate_process *p)
{
	fprintf(t->out, "\n  process %d: ", (int)p->pid);
	text_put(t, STYLE_BOLD, p->cmdline);
	fputc('\n', t->out);
	if (p->outcome == GATE_FOREIGN)
		text_wrap(
			t, "  ",
			"no goroutines or coroutines that can be read: no stacks");
	else if (p->why)
		text_wrapf(t, "  ", "no stacks: %s", p->why);
	for (size_t i = 0; i < p->n_leaks; i++) {
		const struct leak *l = &p->leaks[i];

		fprintf(t->out, "  %zu goroutine%s, ", l->count,
			PLURAL(l->count));
		text_put(t, STYLE_PLAIN, l->reason);
		if (l->test) {
			fputs(", in ", t->out);
			text_put(t, STYLE_BOLD, l->test);
		}
		fputs(":\n", t->out);
		gate_print_stack(t->out, l, "    ");
	}
}

static void put_hang(struct text *t, const struct gate_report *r)
{
	if (!r->result->timed_out)
		return;
	fputc('\n', t->out);
	text_put(t, STYLE_BAD, "HANG");
	fputs("  the command did not end in time; what it was stuck on:\n",
	      t->out);
	for (const struct gate_process *p = r->result->hung; p; p = p->next)
		put_hung_one(t, p);
}

static void put_end(struct text *t, const struct gate_report *r)
{
	char why[TEXT_CELL];

	if (!WIFSIGNALED(r->result->wait_status) || r->result->timed_out)
		return;
	fputc('\n', t->out);
	text_wrap(t, "", gate_command_failure(r, why, sizeof(why)));
}

static void put_orphans(struct text *t, const struct gate_report *r)
{
	const struct watch_result *w = r->result;

	if (!w->n_orphans)
		return;
	fprintf(t->out, "\n%zu process%s outlived the command%s:\n",
		w->n_orphans, w->n_orphans == 1 ? "" : "es",
		w->orphans_killed ? " and had to be ended" : "");
	for (size_t i = 0; i < w->n_orphans; i++) {
		fprintf(t->out, "  %d  ", (int)w->orphans[i].pid);
		text_put(t, STYLE_PLAIN, w->orphans[i].cmdline);
		fputc('\n', t->out);
	}
}

static void put_policy(struct text *t, const struct gate_policy *policy)
{
	for (size_t i = 0; policy && i < policy->n; i++) {
		const struct policy_rule *r = &policy->v[i];

		if (r->expired)
			text_wrapf(t, "",
				   "%s:%d: rule [%s] expired on %s and does "
				   "not count",
				   policy->path, r->line, r->name, r->expires);
		else if (!r->used)
			text_wrapf(t, "",
				   "%s:%d: rule [%s] matched nothing; remove "
				   "it",
				   policy->path, r->line, r->name);
		if (r->exceeded)
			text_wrapf(t, "",
				   "%s:%d: rule [%s] allows %" PRIu64
				   " and met more in %" PRIu64 " process%s",
				   policy->path, r->line, r->name, r->max,
				   r->exceeded, r->exceeded == 1 ? "" : "es");
	}
}

static void put_baseline(struct text *t, const struct gate_baseline *b)
{
	for (size_t i = 0; b && i < b->n; i++)
		/* what has a count is of one process, and comes and goes */
		if (!b->v[i].seen && !b->v[i].count)
			text_wrapf(t, "",
				   "%s: %s (%s) is gone; tighten with "
				   "--update-baseline",
				   b->path, b->v[i].fingerprint,
				   b->v[i].function ? b->v[i].function : "?");
}

static void put_gaps(struct text *t, const struct gate_report *r)
{
	report_gaps(t, "", &r->result->gaps);
	for (const struct gate_process *p = r->result->processes; p;
	     p = p->next) {
		struct gaps matter = { .arena = p->arena };

		for (size_t i = 0; i < p->gaps.n; i++)
			if (r->verbose || gap_matters(p->gaps.v[i].kind))
				gaps_add(&matter, p->gaps.v[i].kind,
					 p->gaps.v[i].count, "%s",
					 p->gaps.v[i].text);
		if (!matter.n)
			continue;
		text_wrapf(t, "", "In process %d (%s):", (int)p->pid,
			   p->cmdline);
		report_gaps(t, "", &matter);
	}
}

/* Some of its packages were tested; whether all were it alone knows. */
static void put_cached(struct text *t, const struct gate_report *r)
{
	if (r->result->cached)
		text_wrap(t, "",
			  "'go test' shows results of an earlier run (cached) "
			  "for packages that did not change, and these are not "
			  "judged; with -count=1 every test runs.");
}

static void put_not_all_seen(struct text *t, const struct gate_report *r)
{
	text_wrap(t, "",
		  r->allow_gaps ? "Not all was seen, which --allow-gaps allows."
				: "Not all was seen: that is a failure without "
				  "--allow-gaps.");
}

static void put_sum(struct text *t, const struct gate_report *r)
{
	struct gate_sums s;
	char buf[512];
	int n = 0;

	gate_sum(r, &s);
	n += snprintf(buf, sizeof(buf), "gate: ");
	if (s.leaks)
		n += snprintf(buf + n, sizeof(buf) - (size_t)n,
			      "%" PRIu64 " leak%s (%" PRIu64 " task%s)",
			      s.leaks, PLURAL(s.leaks), s.tasks,
			      PLURAL(s.tasks));
	else
		n += snprintf(buf + n, sizeof(buf) - (size_t)n, "no leak");
	n += snprintf(buf + n, sizeof(buf) - (size_t)n,
		      " in %" PRIu64 " process%s that %s judged", s.judged,
		      s.judged == 1 ? "" : "es",
		      s.judged == 1 ? "was" : "were");
	if (s.known)
		n += snprintf(buf + n, sizeof(buf) - (size_t)n,
			      ", %" PRIu64 " known", s.known);
	if (s.ignored)
		n += snprintf(buf + n, sizeof(buf) - (size_t)n,
			      ", %" PRIu64 " ignored", s.ignored);
	if (s.failed)
		n += snprintf(buf + n, sizeof(buf) - (size_t)n,
			      ", %" PRIu64
			      " not judged because it failed by itself",
			      s.failed);
	if (!r->result->exits)
		snprintf(buf + n, sizeof(buf) - (size_t)n, ".");
	else
		snprintf(buf + n, sizeof(buf) - (size_t)n,
			 ". %" PRIu64 " exit%s: %" PRIu64
			 " of other programs, %" PRIu64 " of Go's own tools.",
			 r->result->exits, PLURAL(r->result->exits),
			 r->result->foreign, r->result->toolchain);
	text_wrap(t, "", buf);
	if (s.gaps)
		put_not_all_seen(t, r);
}

/* A clean run that had nothing to look at needs no word. */
static bool silent(const struct gate_report *r)
{
	struct gate_sums s;

	gate_sum(r, &s);
	return !r->verbose && !r->result->processes && !s.gaps &&
	       !r->result->n_orphans && !r->result->timed_out &&
	       !WIFSIGNALED(r->result->wait_status) && !r->policy &&
	       !r->baseline;
}

void gate_report_text(struct text *t, const struct gate_report *r)
{
	if (silent(r))
		return;
	for (const struct gate_process *p = r->result->processes; p;
	     p = p->next)
		put_process(t, r, p);
	put_hang(t, r);
	put_end(t, r);
	put_orphans(t, r);
	fputc('\n', t->out);
	put_policy(t, r->policy);
	put_baseline(t, r->baseline);
	put_gaps(t, r);
	put_cached(t, r);
	put_sum(t, r);
}

void gate_report_snapshot(struct text *t, const struct gate_report *r,
			  const char *path)
{
	const struct gate_process *p = r->result->processes;
	struct gate_sums s;

	gate_sum(r, &s);
	put_gaps(t, r);
	text_wrapf(t, "",
		   "gate: %" PRIu64 " task%s of process %d (%s) are written to "
		   "%s; what is more later, 'stranded gate --pid %d --baseline "
		   "%s' tells.",
		   s.tasks, PLURAL(s.tasks), (int)p->pid, p->cmdline, path,
		   (int)p->pid, path);
	if (s.gaps)
		put_not_all_seen(t, r);
}
