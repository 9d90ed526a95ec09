/* SPDX-License-Identifier: Apache-2.0 */
#include "detector/gate/report.h"

#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "base/escape.h"
#include "detector/report.h"

static const char *const format_names[GATE_N_FORMATS] = {
	[GATE_JUNIT] = "junit",
	[GATE_SARIF] = "sarif",
	[GATE_JSON] = "json",
	[GATE_MARKDOWN] = "markdown",
	[GATE_CODEQUALITY] = "codequality",
};

bool gate_format_parse(const char *name, size_t len, enum gate_format *ret)
{
	for (int i = 0; i < GATE_N_FORMATS; i++) {
		if (strlen(format_names[i]) != len ||
		    strncmp(name, format_names[i], len) != 0)
			continue;
		*ret = (enum gate_format)i;
		return true;
	}
	return false;
}

static void sum_leaks(const struct gate_process *p, struct gate_sums *s)
{
	for (size_t i = 0; i < p->n_leaks; i++) {
		const struct leak *l = &p->leaks[i];

		if (l->ignored) {
			s->ignored++;
		} else if (l->known) {
			s->known++;
		} else {
			s->leaks++;
			s->tasks += l->kind != LEAK_CONNECTION ? l->count : 0;
		}
	}
	s->leaks += p->leaks_cut ? 1 : 0;
	s->tasks += p->leaks_cut;
}

static uint64_t count_gaps(const struct gaps *gaps)
{
	uint64_t n = 0;

	for (size_t i = 0; i < gaps->n; i++)
		n += gap_matters(gaps->v[i].kind);
	return n;
}

void gate_sum(const struct gate_report *r, struct gate_sums *ret)
{
	*ret = (struct gate_sums){ .gaps = count_gaps(&r->result->gaps),
				   .orphans = r->result->n_orphans,
				   .failed = r->result->failed };
	for (const struct gate_process *p = r->result->processes; p;
	     p = p->next) {
		ret->judged += p->outcome == GATE_JUDGED;
		ret->killed += p->outcome == GATE_KILLED;
		ret->not_read += p->outcome == GATE_NOT_READ;
		ret->gaps +=
			count_gaps(&p->gaps) + (p->outcome == GATE_NOT_READ);
		sum_leaks(p, ret);
	}
}

/* Below @root, at a slash? */
static const char *below(const char *file, const char *root)
{
	size_t len = strlen(root);

	return len && !strncmp(file, root, len) && file[len] == '/' &&
			       file[len + 1]
		       ? file + len + 1
		       : NULL;
}

const char *gate_file(const struct gate_report *r, const struct gate_process *p,
		      const struct leak_frame *f, char *buf, size_t size)
{
	const char *rest = NULL;
	const char *base = strrchr(f->file, '/');

	if (f->file[0] == '/') {
		rest = below(f->file, r->root);
	} else if (p->module && (rest = below(f->file, p->module))) {
		/* -trimpath: the module stands for its folder */
	} else if (p->cwd && p->is_test && base && f->own) {
		/* and in a test the package's is where it runs */
		const char *dir = below(p->cwd, r->root);
		if (dir || !strcmp(p->cwd, r->root)) {
			snprintf(buf, size, "%s%s%s", dir ? dir : "",
				 dir ? "/" : "", base + 1);
			return buf;
		}
	}
	if (!rest)
		return NULL;
	snprintf(buf, size, "%s", rest);
	return buf;
}

void gate_headline(const struct leak *leak, char *buf, size_t size)
{
	size_t n = leak->count;

	if (leak->kind == LEAK_CONNECTION)
		snprintf(buf, size, "%zu connection%s held open: %s", n,
			 PLURAL(n), leak->verdict ? leak->verdict : "dead");
	else if (leak->dead)
		snprintf(buf, size,
			 "%zu %s%s left behind: %s, on a %s connection", n,
			 leak_kind_name(leak->kind), PLURAL(n), leak->reason,
			 leak->verdict);
	else
		snprintf(buf, size, "%zu %s%s left behind: %s", n,
			 leak_kind_name(leak->kind), PLURAL(n), leak->reason);
}

void gate_print_stack(FILE *out, const struct leak *leak, const char *indent)
{
	for (size_t i = 0; i < leak->n_frames; i++) {
		const struct leak_frame *f = &leak->frames[i];

		fputs(indent, out);
		escape_print(out, f->function, SIZE_MAX);
		fprintf(out, "(...)\n%s    ", indent);
		escape_print(out, f->file, SIZE_MAX);
		fprintf(out, ":%" PRIu32 "\n", f->line);
	}
	if (!leak->has_creator)
		return;
	fprintf(out, "%screated by ", indent);
	escape_print(out, leak->creator.function, SIZE_MAX);
	fprintf(out, "\n%s    ", indent);
	escape_print(out, leak->creator.file, SIZE_MAX);
	fprintf(out, ":%" PRIu32 "\n", leak->creator.line);
}

const char *gate_rule_id(const struct leak *leak)
{
	if (leak->kind == LEAK_CONNECTION)
		return "leaked-connection";
	if (leak->kind == LEAK_COROUTINE)
		return leak->dead ? "stranded-coroutine" : "leaked-coroutine";
	return leak->dead ? "stranded-goroutine" : "leaked-goroutine";
}

const char *gate_command_failure(const struct gate_report *r, char *buf,
				 size_t size)
{
	const struct watch_result *w = r->result;

	if (w->exec_errno)
		snprintf(buf, size, "the command could not be run: %s",
			 strerror(w->exec_errno));
	else if (w->timed_out)
		snprintf(buf, size, "the command did not end in time");
	else if (WIFSIGNALED(w->wait_status))
		snprintf(buf, size, "the command was ended by signal %d (%s)",
			 WTERMSIG(w->wait_status),
			 strsignal(WTERMSIG(w->wait_status)));
	else
		return NULL;
	return buf;
}

const char *gate_process_name(const struct gate_process *p)
{
	return p->is_test && p->package ? p->package : p->cmdline;
}
