/* SPDX-License-Identifier: Apache-2.0 */
#include "base/process.h"
#include "base/process_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"

#define NS_PER_S 1000000000LL
#define NS_PER_MS 1000000LL
/* A status file has some 60 short lines; Groups can be long. */
#define STATUS_MAX ((size_t)1 << 20)
/* How often a process may call execve(2) while we look at it. */
#define IDENTITY_TRIES 3

int process_stat_parse(const char *text, struct process_stat *ret)
{
	const char *open = strchr(text, '('), *close = strrchr(text, ')');
	struct process_stat st = { 0 };
	size_t len;
	int n;

	if (!open || !close || close < open)
		return -EPROTO;
	len = (size_t)(close - open - 1);
	if (len >= sizeof(st.comm))
		len = sizeof(st.comm) - 1;
	memcpy(st.comm, open + 1, len);
	// fields 3, 4, 9, 20, 22 and 28 of proc(5)
	n = sscanf(close + 1,
		   " %c %d %*d %*d %*d %*d %" SCNu32 " %*u %*u %*u %*u %*u "
		   "%*u %*d %*d %*d %*d %" SCNu32 " %*d %" SCNu64 " %*u %*d "
		   "%*u %*u %*u %" SCNu64,
		   &st.state, &st.ppid, &st.flags, &st.n_threads,
		   &st.start_ticks, &st.stack_start);
	if (n != 6)
		return -EPROTO;
	*ret = st;
	return 0;
}

/* Read to the end of @fd; the buffer doubles as it fills. */
static ssize_t slurp_fd(int fd, size_t max, char **ret)
{
	AUTO_FREE char *buf = NULL;
	size_t len = 0, cap = 4096;

	buf = malloc(cap);
	if (!buf)
		return -ENOMEM;
	for (;;) {
		ssize_t n = read(fd, buf + len, cap - len - 1);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (!n)
			break;
		len += (size_t)n;
		if (len > max)
			return -E2BIG;
		if (cap - len < cap / 2) {
			char *more = realloc(buf, 2 * cap);

			if (!more)
				return -ENOMEM;
			buf = more;
			cap *= 2;
		}
	}
	buf[len] = '\0';
	*ret = TAKE(buf);
	return (ssize_t)len;
}

ssize_t process_slurp_at(int dirfd, const char *name, size_t max, char **ret)
{
	AUTO_CLOSE int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	return slurp_fd(fd, max, ret);
}

ssize_t process_slurp(const struct process *p, const char *name, size_t max,
		      char **ret)
{
	return process_slurp_at(p->procfd, name, max, ret);
}

static bool pidfd_ended(int pidfd)
{
	struct pollfd pfd = { .fd = pidfd, .events = POLLIN };

	return poll(&pfd, 1, 0) > 0;
}

static int read_stat(int procfd, struct process_stat *ret)
{
	AUTO_FREE char *text = NULL;
	ssize_t n = process_slurp_at(procfd, "stat", PROCESS_MAX_TEXT, &text);

	if (n < 0)
		return n == -ENOENT ? -ESRCH : (int)n;
	return process_stat_parse(text, ret);
}

bool process_alive(const struct process *p)
{
	struct process_stat now;
	struct stat exe;

	// The pidfd is the same process for ever, and so is procfd. The start
	// of the stack is drawn anew by each execve(2), also of the same file.
	if (pidfd_ended(p->pidfd))
		return false;
	int rc = read_stat(p->procfd, &now);
	// For want of descriptors or memory here, nobody ended there.
	if (rc)
		return rc == -EMFILE || rc == -ENFILE || rc == -ENOMEM;
	if (now.state == 'Z' || now.state == 'X' ||
	    now.start_ticks != p->start_ticks)
		return false;
	// 0 is what the kernel shows whoever may not trace it (do_task_stat()
	// in fs/proc/array.c): a lost permission is no execve.
	if (now.stack_start && p->stack_start &&
	    now.stack_start != p->stack_start)
		return false;
	return fstatat(p->procfd, "exe", &exe, 0) ||
	       (exe.st_dev == p->exe_dev && exe.st_ino == p->exe_ino);
}

static bool status_line(int procfd, const char *file, const char *key,
			char *buf, size_t size)
{
	AUTO_FREE char *status = NULL;
	size_t n = strlen(key);

	if (process_slurp_at(procfd, file, STATUS_MAX, &status) < 0)
		return false;
	for (char *p = status; p; p = strchr(p, '\n')) {
		p += *p == '\n';
		if (strncmp(p, key, n) || p[n] != ':')
			continue;
		p += n + 1;
		snprintf(buf, size, "%.*s", (int)strcspn(p, "\n"), p);
		return true;
	}
	return false;
}

bool process_status_line(int procfd, const char *key, char *buf, size_t size)
{
	return status_line(procfd, "status", key, buf, size);
}

bool process_thread_status(const struct process *p, pid_t tid, const char *key,
			   char *buf, size_t size)
{
	char file[32];

	snprintf(file, sizeof(file), "task/%d/status", (int)tid);
	return status_line(p->procfd, file, key, buf, size);
}

/* /proc may be that of another pid namespace: its numbers are not ours. */
static struct error *check_procfs(void)
{
	char text[32];
	ssize_t n = readlink("/proc/self", text, sizeof(text) - 1);

	if (n < 0)
		return error_os(errno, "cannot read /proc/self; mount /proc");
	text[n] = '\0';
	if (atoi(text) == getpid())
		return NULL;
	return error_new(ERROR_UNSUPPORTED,
			 "/proc belongs to another pid namespace than ours; "
			 "mount our own, or run in that namespace");
}

/* Does @pid name a process inside a container? Its pid out here, or 0. */
static pid_t find_inner_pid(pid_t pid)
{
	AUTO_ARENA struct arena *arena = arena_create();
	size_t n = 0, more;
	int *pids;

	if (!arena || process_numbers(AT_FDCWD, "/proc", PROCESS_MAX_PIDS,
				      arena, &pids, &n, &more))
		return 0;
	for (size_t i = 0; i < n; i++) {
		char name[32], line[256];
		const char *last;
		AUTO_CLOSE int fd = -1;

		snprintf(name, sizeof(name), "/proc/%d", pids[i]);
		fd = open(name, O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (fd < 0 ||
		    !process_status_line(fd, "NSpid", line, sizeof(line)))
			continue;
		last = strrchr(line, '\t');
		if (last && atoi(last) == pid && atoi(line) != pid)
			return pids[i];
	}
	return 0;
}

static struct error *no_such_process(pid_t pid)
{
	pid_t outer = find_inner_pid(pid);

	if (outer)
		return error_new(ERROR_GONE,
				 "no process %d; process %d has that number "
				 "in its own pid namespace, give %d",
				 (int)pid, (int)outer, (int)outer);
	return error_new(ERROR_GONE, "no process %d", (int)pid);
}

/* The pidfd and the directory; both refer to one process from then on. */
static struct error *open_handles(struct process *p)
{
	char name[32], tgid[64];
	int errnum, proc_errnum;

	p->pidfd = (int)syscall(SYS_pidfd_open, p->pid, 0);
	errnum = p->pidfd < 0 ? errno : 0;
	snprintf(name, sizeof(name), "/proc/%d", (int)p->pid);
	p->procfd = open(name, O_PATH | O_DIRECTORY | O_CLOEXEC);
	proc_errnum = p->procfd < 0 ? errno : 0;
	if (p->procfd < 0 && (errnum == ESRCH || pidfd_ended(p->pidfd)))
		return no_such_process(p->pid);
	if (p->procfd < 0 && !errnum && proc_errnum == ENOENT)
		return error_new(ERROR_DENIED,
				 "/proc hides process %d from us (hidepid); "
				 "run as root",
				 (int)p->pid);
	if (p->procfd < 0)
		return error_os(proc_errnum, "cannot open %s", name);
	if (process_status_line(p->procfd, "Tgid", tgid, sizeof(tgid)) &&
	    atoi(tgid) != p->pid)
		return error_new(ERROR_USAGE,
				 "%d is a thread of process %d; give that "
				 "number",
				 (int)p->pid, atoi(tgid));
	if (errnum == ENOSYS)
		return error_new(ERROR_UNSUPPORTED,
				 "this kernel has no pidfd_open; Linux 5.6 or "
				 "later is needed");
	if (errnum)
		return error_os(errnum, "cannot open process %d", (int)p->pid);
	return NULL;
}

static struct error *check_state(const struct process *p,
				 const struct process_stat *st)
{
	bool ended = st->state == 'Z' || st->state == 'X';

	if (st->flags & PROCESS_PF_KTHREAD)
		return error_new(ERROR_UNSUPPORTED,
				 "process %d (%s) is a kernel thread",
				 (int)p->pid, st->comm);
	if (ended && st->n_threads > 1)
		return error_new(ERROR_UNSUPPORTED,
				 "the first thread of process %d (%s) has "
				 "ended while others go on; such a process "
				 "cannot be read",
				 (int)p->pid, st->comm);
	if (ended)
		return error_new(ERROR_GONE,
				 "process %d (%s) is a zombie: it has ended, "
				 "and its parent %d has not noticed",
				 (int)p->pid, st->comm, (int)st->ppid);
	return NULL;
}

/* "x (deleted)" of d_path() may also be the name of a file that is there. */
static void cut_deleted(struct process *p)
{
	static const char suffix[] = " (deleted)";
	size_t len = strlen(p->exe), n = sizeof(suffix) - 1;
	AUTO_FREE char *path = NULL;
	struct stat st;

	if (len < n || strcmp(p->exe + len - n, suffix))
		return;
	if (asprintf(&path, "root%s", p->exe) < 0) {
		path = NULL;
		return;
	}
	if (!fstatat(p->procfd, path, &st, 0) && st.st_dev == p->exe_dev &&
	    st.st_ino == p->exe_ino)
		return;
	p->exe[len - n] = '\0';
	p->exe_deleted = true;
}

static int read_exe(struct process *p)
{
	char text[PROCESS_MAX_TEXT];
	struct stat st;
	ssize_t n = readlinkat(p->procfd, "exe", text, sizeof(text) - 1);

	if (n < 0 || fstatat(p->procfd, "exe", &st, 0))
		return errno == ENOENT ? -ESRCH : -errno;
	text[n] = '\0';
	free(p->exe);
	p->exe = strdup(text);
	if (!p->exe)
		return -ENOMEM;
	p->exe_dev = st.st_dev;
	p->exe_ino = st.st_ino;
	p->exe_deleted = false;
	cut_deleted(p);
	return 0;
}

/* At most PROCESS_MAX_TEXT bytes of the arguments; more are cut. */
static int read_cmdline(struct process *p)
{
	AUTO_CLOSE int fd = openat(p->procfd, "cmdline", O_RDONLY | O_CLOEXEC);
	char text[PROCESS_MAX_TEXT];
	ssize_t n;

	if (fd < 0)
		return errno == ENOENT ? -ESRCH : -errno;
	n = read(fd, text, sizeof(text) - 1);
	if (n < 0)
		return -errno;
	while (n && !text[n - 1])
		n--;
	for (ssize_t i = 0; i < n; i++) {
		if (!text[i])
			text[i] = ' ';
	}
	text[n] = '\0';
	free(p->cmdline);
	p->cmdline = strdup(text);
	return p->cmdline ? 0 : -ENOMEM;
}

static uint64_t ns_inode(const struct process *p, const char *name)
{
	struct stat st;

	return fstatat(p->procfd, name, &st, 0) ? 0 : st.st_ino;
}

static int64_t start_wall(uint64_t ticks)
{
	long hz = sysconf(_SC_CLK_TCK);
	int64_t start_ns;

	start_ns = (int64_t)(ticks / (uint64_t)hz) * NS_PER_S +
		   (int64_t)(ticks % (uint64_t)hz) * (NS_PER_S / hz);
	return clock_wall_ms() - (clock_boot_ns() - start_ns) / NS_PER_MS;
}

static struct error *read_identity(struct process *p)
{
	struct process_stat st;
	char uid[128];
	int rc = read_stat(p->procfd, &st);
	struct error *err;

	if (rc == -ESRCH)
		return no_such_process(p->pid);
	if (rc)
		return error_os(-rc, "cannot read /proc/%d/stat", (int)p->pid);
	memcpy(p->comm, st.comm, sizeof(p->comm));
	p->start_ticks = st.start_ticks;
	p->stack_start = st.stack_start;
	err = check_state(p, &st);
	if (err)
		return err;
	if (process_status_line(p->procfd, "Uid", uid, sizeof(uid)))
		p->uid = (uid_t)strtoul(uid, NULL, 10);
	rc = read_exe(p);
	if (!rc)
		rc = read_cmdline(p);
	if (rc)
		return process_error(p, -rc, "the executable of");
	p->start_wall_ms = start_wall(st.start_ticks);
	p->netns = ns_inode(p, "ns/net");
	p->pidns = ns_inode(p, "ns/pid");
	return NULL;
}

struct error *process_open(pid_t pid, struct process **ret)
{
	AUTO_PROCESS struct process *p = NULL;
	struct error *err;

	if (pid <= 0)
		return error_new(ERROR_USAGE, "%d is no process id", (int)pid);
	p = calloc(1, sizeof(*p));
	if (!p)
		return &error_nomem;
	p->pid = pid;
	p->pidfd = p->procfd = p->memfd = -1;
	err = check_procfs();
	if (!err)
		err = open_handles(p);
	for (int i = 0; !err && i < IDENTITY_TRIES; i++) {
		err = read_identity(p);
		// an execve(2) in the middle gives the parts of two programs
		if (!err && process_alive(p)) {
			process_mem_init(p);
			*ret = TAKE(p);
			return NULL;
		}
	}
	return err ? err : process_error(p, ESRCH, "the executable of");
}

void process_close(struct process *p)
{
	if (!p)
		return;
	cleanup_close(&p->pidfd);
	cleanup_close(&p->procfd);
	cleanup_close(&p->memfd);
	free(p->exe);
	free(p->cmdline);
	free(p);
}
