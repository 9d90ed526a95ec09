/* SPDX-License-Identifier: Apache-2.0 */
#include "detector/gate/gotest.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/process.h"
#include "detector/gate/catch.h"
#include "detector/gate/watch.h"

#define ENVIRON_MAX (1u << 20)
#define TEXT_MAX 199 /* of a command line that is shown */

/* The next argument at *@at, which is moved behind it; NULL: no more. */
static const char *next_arg(const char *args, size_t len, size_t *at)
{
	const char *arg = args + *at;
	size_t left = len - *at;
	size_t n = left ? strnlen(arg, left) : 0;

	if (!left || n == left)
		return NULL;
	*at += n + 1;
	return arg;
}

/* -count, --count, -count=1; also -test.count, as the test binary has it. */
static bool is_flag(const char *arg, const char *name)
{
	size_t len = strlen(name);

	if (*arg++ != '-')
		return false;
	arg += *arg == '-';
	arg += strncmp(arg, "test.", 5) ? 0 : 5;
	return !strncmp(arg, name, len) && (!arg[len] || arg[len] == '=');
}

static bool is_go(const char *arg)
{
	const char *slash = strrchr(arg, '/');

	return !strcmp(slash ? slash + 1 : arg, "go");
}

bool gotest_is_cacheable(const char *args, size_t len)
{
	static const char *const fresh[] = { "count", "c", "n", "exec" };
	bool packages = false;
	size_t at = 0;
	const char *arg = next_arg(args, len, &at);

	if (!arg || !is_go(arg))
		return false;
	arg = next_arg(args, len, &at);
	if (arg && !strcmp(arg, "-C")) { /* go -C DIR test, since Go 1.20 */
		next_arg(args, len, &at);
		arg = next_arg(args, len, &at);
	}
	if (!arg || strcmp(arg, "test") != 0)
		return false;
	while ((arg = next_arg(args, len, &at)) && !is_flag(arg, "args")) {
		packages |= *arg != '-'; /* or a flag's value, as well */
		for (size_t i = 0; i < sizeof(fresh) / sizeof(fresh[0]); i++)
			if (is_flag(arg, fresh[i]))
				return false;
	}
	return packages;
}

static ssize_t slurp(pid_t tid, const char *name, char *buf, size_t size)
{
	char path[40];
	size_t n = 0;
	ssize_t got;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)tid, name);
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	while (n < size && (got = read(fd, buf + n, size - n)) > 0)
		n += (size_t)got;
	return (ssize_t)n;
}

static bool counts_by_environment(pid_t tid)
{
	AUTO_FREE char *text = malloc(ENVIRON_MAX);
	ssize_t len = text ? slurp(tid, "environ", text, ENVIRON_MAX) : -1;
	const char *arg;

	for (size_t at = 0;
	     len > 0 && (arg = next_arg(text, (size_t)len, &at));)
		if (!strncmp(arg, "GOFLAGS=", 8) && strstr(arg, "-count"))
			return true;
	return false;
}

pid_t gotest_may_be_cached(pid_t tid)
{
	char args[PROCESS_MAX_TEXT];
	struct catch_thread thread;
	ssize_t len = slurp(tid, "cmdline", args, sizeof(args));

	if (len <= 0 || !gotest_is_cacheable(args, (size_t)len) ||
	    counts_by_environment(tid))
		return 0;
	/* what vfork made of it, to try the kernel, has its command line, too */
	if (!catch_thread(tid, &thread) || thread.threads == 1)
		return 0;
	return thread.pid;
}

void gotest_note(struct watch_result *r, pid_t pid, const char *cmdline)
{
	struct gotest *g = arena_alloc(r->arena, sizeof(*g));
	const char *copy = arena_strndup(r->arena, cmdline, TEXT_MAX);

	if (!g || !copy) {
		gaps_add(&r->gaps, GAP_LIMIT, 1,
			 "whether go test ran its tests, for want of memory");
		return;
	}
	*g = (struct gotest){ r->gotests, pid, copy };
	r->gotests = g;
}

static bool has_run(const struct watch_result *r, const struct gotest *g)
{
	for (const struct gate_process *p = r->processes; p; p = p->next)
		if (p->is_test && p->parent == g->pid)
			return true;
	return false;
}

size_t gotest_judge(struct watch_result *r)
{
	size_t partly = 0;

	for (const struct gotest *g = r->gotests; g; g = g->next) {
		if (has_run(r, g)) {
			partly++;
			continue;
		}
		gaps_add(
			&r->gaps, GAP_UNSUPPORTED, 1,
			"tests that '%s' did not run: its results are those of "
			"an earlier run (cached), or there are none; add "
			"-count=1",
			g->cmdline);
	}
	return partly;
}
