/* SPDX-License-Identifier: Apache-2.0 */
#include "base/process.h"
#include "base/process_priv.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

_Static_assert(sizeof(pid_t) == sizeof(int), "thread ids are ints");

struct error *process_threads(const struct process *p, struct arena *arena,
			      pid_t **ret, size_t *n_ret)
{
	size_t n, more;
	int *tids;
	int rc;

	rc = process_numbers(p->procfd, "task", PROCESS_MAX_THREADS, arena,
			     &tids, &n, &more);
	if (rc)
		return process_error(p, -rc, "threads of");
	if (!n)
		return process_error(p, ESRCH, "threads of");
	if (more)
		return error_new(ERROR_CORRUPT,
				 "process %d has more than %d threads",
				 (int)p->pid, PROCESS_MAX_THREADS);
	*ret = tids;
	*n_ret = n;
	return NULL;
}

/* proc_pid_syscall() of the kernel's fs/proc/base.c writes the text. */
static int parse_syscall(const char *text, struct process_syscall *ret)
{
	struct process_syscall sc = { 0 };
	uint64_t *a = sc.args;
	int n;

	if (!strcmp(text, "running\n")) {
		sc.running = true;
		*ret = sc;
		return 0;
	}
	n = sscanf(text,
		   "%" SCNd64 " %" SCNx64 " %" SCNx64 " %" SCNx64 " %" SCNx64
		   " %" SCNx64 " %" SCNx64 " %" SCNx64 " %" SCNx64,
		   &sc.nr, &a[0], &a[1], &a[2], &a[3], &a[4], &a[5], &sc.sp,
		   &sc.pc);
	if (n == 3 && sc.nr == -1) {
		// blocked outside of a system call: only sp and pc are told
		sc.sp = a[0];
		sc.pc = a[1];
		a[0] = a[1] = 0;
	} else if (n != 9 || sc.nr < 0) {
		return -EPROTO;
	}
	*ret = sc;
	return 0;
}

int process_thread_syscall(const struct process *p, pid_t tid,
			   struct process_syscall *ret)
{
	AUTO_FREE char *text = NULL;
	char name[48];
	ssize_t len;

	snprintf(name, sizeof(name), "task/%d/syscall", (int)tid);
	len = process_slurp(p, name, PROCESS_MAX_TEXT, &text);
	if (len < 0)
		return len == -ENOENT ? -ESRCH : (int)len;
	// the thread ended between open and read
	if (!len)
		return -ESRCH;
	return parse_syscall(text, ret);
}
