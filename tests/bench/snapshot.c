/* SPDX-License-Identifier: Apache-2.0 */

/**
 * Takes snapshots without a report around them, and says how long each took:
 *
 *   snapshot tasks PID N      N snapshots of a process, stacks and all
 *   snapshot sockets N        N dumps of the TCP sockets of this namespace
 *   snapshot lookup N         N exact lookups of one of them
 *
 * Prints one line each: milliseconds, and how many there were.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/process.h"
#include "netwatch/sockdiag.h"
#include "runtime-hooks/runtime.h"

static int fail(struct error *err)
{
	fprintf(stderr, "snapshot: %s\n", error_text(err));
	error_free(err);
	return 1;
}

static void print(int64_t begin_ns, size_t n, uint64_t odd)
{
	printf("%.3f %zu %llu\n", (clock_mono_ns() - begin_ns) / 1e6, n,
	       (unsigned long long)odd);
	fflush(stdout);
}

/* The first line has the attaching in it, as a first look has. */
static int bench_tasks(pid_t pid, long n)
{
	struct runtime_attached v[RUNTIME_MAX_SOURCES];
	int64_t begin = clock_mono_ns();
	struct process *p;
	struct error *err;
	size_t n_sources = 0;

	err = process_open(pid, &p);
	if (!err)
		err = runtime_attach_all(p, v, &n_sources, NULL);
	if (err)
		return fail(err);
	const struct runtime_source *source = v[0].source;
	void *ctx = v[0].context;
	for (long i = 0; i < n; i++) {
		struct task_snapshot *snap;

		if (i)
			begin = clock_mono_ns();
		err = source->snapshot(ctx, &runtime_everything, &snap);
		if (err)
			return fail(err);
		print(begin, snap->n, snap->torn);
		task_snapshot_destroy(snap);
	}
	runtime_detach_all(v, n_sources);
	process_close(p);
	return 0;
}

static int bench_sockets(long n)
{
	struct sockdiag *diag;
	struct error *err = sockdiag_open(-1, NULL, &diag);

	for (long i = 0; !err && i < n; i++) {
		int64_t begin = clock_mono_ns();
		struct tcp_snapshot *snap;

		err = sockdiag_dump(diag, NULL, &snap);
		if (err)
			break;
		print(begin, snap->n, !snap->consistent);
		tcp_snapshot_destroy(snap);
	}
	if (err)
		return fail(err);
	sockdiag_close(diag);
	return 0;
}

static int bench_lookup(long n)
{
	struct tcp_snapshot *snap;
	struct sockdiag *diag;
	struct error *err = sockdiag_open(-1, NULL, &diag);

	if (!err)
		err = sockdiag_dump(diag, NULL, &snap);
	if (err)
		return fail(err);
	size_t at = 0;
	while (at < snap->n && snap->v[at].first.state != TCP_STATE_ESTABLISHED)
		at++;
	if (at == snap->n) {
		fputs("snapshot: no established socket here\n", stderr);
		return 1;
	}
	struct tcp_socket *s = &snap->v[at], found;
	int64_t begin = clock_mono_ns();
	for (long i = 0; !err && i < n; i++)
		err = sockdiag_lookup(diag, &s->local, &s->remote, 0, s->cookie,
				      &found);
	if (err)
		return fail(err);
	print(begin, (size_t)n, 0);
	tcp_snapshot_destroy(snap);
	sockdiag_close(diag);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 4 && !strcmp(argv[1], "tasks"))
		return bench_tasks((pid_t)atol(argv[2]), atol(argv[3]));
	if (argc == 3 && !strcmp(argv[1], "sockets"))
		return bench_sockets(atol(argv[2]));
	if (argc == 3 && !strcmp(argv[1], "lookup"))
		return bench_lookup(atol(argv[2]));
	fputs("usage: snapshot tasks PID N | sockets N | lookup N\n", stderr);
	return 64;
}
