/* SPDX-License-Identifier: Apache-2.0 */
#include "base/process.h"
#include "base/process_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"

#define YAMA_FILE "/proc/sys/kernel/yama/ptrace_scope"

static void yama_text(int scope, char *buf, size_t size)
{
	switch (scope) {
	case 1:
		snprintf(buf, size,
			 "kernel.yama.ptrace_scope is 1 (a process may look "
			 "at its children only); run as root, grant "
			 "CAP_SYS_PTRACE, or set it to 0");
		break;
	case 2:
		snprintf(buf, size,
			 "kernel.yama.ptrace_scope is 2 (administrators only); "
			 "run as root, grant CAP_SYS_PTRACE, or set it to 0");
		break;
	default:
		snprintf(buf, size,
			 "kernel.yama.ptrace_scope is %d (nobody may, root "
			 "neither); it can be changed by a reboot only",
			 scope);
	}
}

void process_denial_text(const struct process_denial *why, char *buf,
			 size_t size)
{
	if (why->yama >= 3)
		yama_text(why->yama, buf, size);
	else if (why->cap_ptrace && why->other_userns)
		snprintf(buf, size,
			 "it is in another user namespace, where our "
			 "CAP_SYS_PTRACE does not count; run in the first "
			 "user namespace, as root");
	else if (why->cap_ptrace)
		snprintf(buf, size,
			 "refused in spite of CAP_SYS_PTRACE, so by a security "
			 "module or a seccomp filter; see the audit log");
	else if (!why->our_uid)
		snprintf(buf, size,
			 "we are root, but without CAP_SYS_PTRACE; grant it "
			 "(in a container: --cap-add=SYS_PTRACE)");
	else if (why->our_uid != why->target_uid)
		snprintf(buf, size,
			 "it belongs to uid %u and we are uid %u; run as that "
			 "user or as root, or grant CAP_SYS_PTRACE",
			 (unsigned int)why->target_uid,
			 (unsigned int)why->our_uid);
	else if (why->non_dumpable)
		snprintf(buf, size,
			 "it is not dumpable (set-id or file capabilities, an "
			 "unreadable executable, or PR_SET_DUMPABLE); run as "
			 "root, or grant CAP_SYS_PTRACE");
	else if (why->more_caps)
		snprintf(buf, size,
			 "it has capabilities that we lack; run as root, or "
			 "grant CAP_SYS_PTRACE");
	else if (why->yama > 0)
		yama_text(why->yama, buf, size);
	else if (why->other_userns)
		snprintf(buf, size,
			 "it is in another user namespace; run as root there, "
			 "or grant CAP_SYS_PTRACE");
	else
		snprintf(buf, size,
			 "it is ours, so a security module or a seccomp "
			 "filter refuses; run as root, or see the audit log");
}

/* The first number of the line @key of a status file, or @otherwise. */
static uint64_t status_number(int procfd, const char *key, int base,
			      uint64_t otherwise)
{
	char line[128];

	if (!process_status_line(procfd, key, line, sizeof(line)))
		return otherwise;
	return strtoull(line, NULL, base);
}

static uint64_t our_caps(void)
{
	AUTO_CLOSE int fd =
		open("/proc/thread-self", O_PATH | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? 0 : status_number(fd, "CapEff", 16, 0);
}

static int yama_scope(void)
{
	AUTO_FREE char *text = NULL;

	if (process_slurp_at(AT_FDCWD, YAMA_FILE, 64, &text) <= 0)
		return -1;
	return atoi(text);
}

static bool same_userns(const struct process *p)
{
	struct stat ours, theirs;

	// the link itself may be refused: then nothing is known against it
	return fstatat(p->procfd, "ns/user", &theirs, 0) ||
	       stat("/proc/self/ns/user", &ours) ||
	       ours.st_ino == theirs.st_ino;
}

static void find_denial(const struct process *p, struct process_denial *why)
{
	uint64_t ours = our_caps();
	struct stat st;

	*why = (struct process_denial){
		.pid = p->pid,
		.comm = p->comm,
		.our_uid = geteuid(),
		.cap_ptrace = ours >> CAP_SYS_PTRACE & 1,
		.yama = yama_scope(),
		.other_userns = !same_userns(p),
	};
	why->target_uid = (uid_t)status_number(p->procfd, "Uid", 10, p->uid);
	why->more_caps = status_number(p->procfd, "CapPrm", 16, 0) & ~ours;
	// task_dump_owner(): root's when the process is not dumpable. The
	// directory itself is exempt, the files in it are not.
	if (!fstatat(p->procfd, "stat", &st, 0))
		why->non_dumpable = st.st_uid != why->target_uid;
}

static struct error *denied(const struct process *p, const char *what)
{
	struct process_denial why;
	char text[256];

	find_denial(p, &why);
	process_denial_text(&why, text, sizeof(text));
	return error_new(ERROR_DENIED,
			 "cannot read %s process %d (%s): permission denied: "
			 "%s",
			 what, (int)p->pid, p->comm, text);
}

struct error *process_error(const struct process *p, int errnum,
			    const char *what)
{
	AUTO_FREE char *stat = NULL;
	struct process_stat now;

	if (!process_alive(p)) {
		if (process_slurp_at(p->procfd, "stat", PROCESS_MAX_TEXT,
				     &stat) > 0 &&
		    !process_stat_parse(stat, &now) && now.state != 'Z' &&
		    now.state != 'X')
			return error_new(ERROR_GONE,
					 "process %d (%s) has started another "
					 "program (%s) by execve; try again",
					 (int)p->pid, p->comm, now.comm);
		return error_new(ERROR_GONE, "process %d (%s) has ended",
				 (int)p->pid, p->comm);
	}
	if (errnum == ESRCH)
		return error_new(ERROR_GONE, "process %d (%s) is ending",
				 (int)p->pid, p->comm);
	if (errnum == EPERM || errnum == EACCES)
		return denied(p, what);
	return error_os(errnum, "cannot read %s process %d (%s)", what,
			(int)p->pid, p->comm);
}
