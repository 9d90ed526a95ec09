/* SPDX-License-Identifier: Apache-2.0 */
#include "base/process.h"
#include "base/process_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"

/* TASK_COMM_LEN of the kernel, without its NUL. */
#define COMM_LEN 15

/* Whether the last component of the link "exe" is @name; -1: not readable. */
static int exe_is(int procfd, const char *name)
{
	char text[PROCESS_MAX_TEXT];
	ssize_t n = readlinkat(procfd, "exe", text, sizeof(text) - 1);
	const char *base;
	size_t len = strlen(name);

	if (n < 0)
		return -1;
	text[n] = '\0';
	base = strrchr(text, '/');
	base = base ? base + 1 : text;
	if (strncmp(base, name, len))
		return 0;
	return !base[len] || !strcmp(base + len, " (deleted)");
}

static bool matches(int procfd, const struct process_stat *st, const char *name)
{
	int is;

	if (!name || !strcmp(st->comm, name))
		return true;
	is = exe_is(procfd, name);
	// the kernel keeps 15 bytes of a name; better is not to be had then
	if (is < 0)
		return strlen(name) > COMM_LEN &&
		       !strncmp(st->comm, name, COMM_LEN);
	return is;
}

static bool wanted(pid_t pid, const char *name)
{
	AUTO_FREE char *text = NULL;
	AUTO_CLOSE int procfd = -1;
	struct process_stat st;
	char path[32];

	if (pid == getpid())
		return false;
	snprintf(path, sizeof(path), "/proc/%d", (int)pid);
	procfd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (procfd < 0 ||
	    process_slurp_at(procfd, "stat", PROCESS_MAX_TEXT, &text) < 0 ||
	    process_stat_parse(text, &st))
		return false;
	if (st.flags & PROCESS_PF_KTHREAD || st.state == 'Z' || st.state == 'X')
		return false;
	return matches(procfd, &st, name);
}

struct error *process_find(const char *name, struct arena *arena, pid_t **ret,
			   size_t *n_ret)
{
	size_t n, more, kept = 0;
	int *pids;
	int rc;

	rc = process_numbers(AT_FDCWD, "/proc", PROCESS_MAX_PIDS, arena, &pids,
			     &n, &more);
	if (rc)
		return error_os(-rc, "cannot list /proc");
	for (size_t i = 0; i < n; i++) {
		if (wanted(pids[i], name))
			pids[kept++] = pids[i];
	}
	*ret = pids;
	*n_ret = kept;
	return NULL;
}
