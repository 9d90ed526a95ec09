/* SPDX-License-Identifier: Apache-2.0 */
#include "detector/gate/trace.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/exec_status.h"
#include "base/open_files.h"

#define OPTIONS                                                                \
	(PTRACE_O_TRACEEXIT | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK |       \
	 PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC)

/* For a thread on its way into the kernel, 100 us each. */
#define EXEC_TRIES 100

/* A thread that dies because another one of its process has called exit. */
struct trace_held {
	pid_t tid, pid;
};

static void __attribute__((noreturn))
be_command(int go, int say, const char *const *argv, const sigset_t *mask)
{
	char byte;

	/* Until we are traced; or our parent has failed, and this ends. */
	if (read(go, &byte, 1) != 1)
		_exit(EXEC_CANNOT_RUN);
	sigprocmask(SIG_SETMASK, mask, NULL);
	open_files_restore();
	execvp(argv[0], (char *const *)argv);
	int error = errno;
	(void)!write(say, &error, sizeof(error));
	_exit(exec_status(error));
}

/* The only stops before the program runs are those of its execve. */
static int wait_for_exec(struct trace *t, int say)
{
	struct trace_exit e;
	int error = 0;
	ssize_t n;

	while ((n = read(say, &error, sizeof(error))) < 0 &&
	       (errno == EINTR || errno == EAGAIN)) {
		if (trace_next(t, &e) == TRACE_NOTHING)
			usleep(100);
	}
	return n == sizeof(error) ? error : 0;
}

static struct error *seize(struct trace *t, int go, int say)
{
	if (ptrace(PTRACE_SEIZE, t->pid, NULL, OPTIONS) < 0)
		return error_os(errno, "cannot trace the command");
	if (write(go, "g", 1) != 1)
		return error_os(errno, "cannot start the command");
	t->exec_errno = wait_for_exec(t, say);
	return NULL;
}

struct error *trace_start(const char *const *argv, const sigset_t *mask,
			  struct trace *ret)
{
	int go[2], say[2];

	*ret = (struct trace){ 0 };
	if (pipe2(go, O_CLOEXEC) < 0)
		return error_os(errno, "cannot make a pipe");
	AUTO_CLOSE int go_read = go[0], go_write = go[1];
	if (pipe2(say, O_CLOEXEC | O_NONBLOCK) < 0)
		return error_os(errno, "cannot make a pipe");
	AUTO_CLOSE int say_read = say[0], say_write = say[1];
	ret->pid = fork();
	if (!ret->pid) {
		close(go_write);
		be_command(go_read, say_write, argv, mask);
	}
	if (ret->pid < 0)
		return error_os(errno, "cannot fork");
	close(say_write);
	say_write = -1;
	return seize(ret, go_write, say_read);
}

static void go_on(pid_t tid, int sig)
{
	/* ESRCH: it was killed meanwhile, and its end will be told. */
	(void)!ptrace(PTRACE_CONT, tid, NULL, sig);
}

static size_t freed_index(const struct trace *t, pid_t pid)
{
	size_t i = 0;

	while (i < t->n_freed && t->freed[i] != pid)
		i++;
	return i;
}

/* Threads of it may come to their end only now: they are to pass. */
static void note_freed(struct trace *t, pid_t pid)
{
	if (t->n_freed == t->freed_cap) {
		size_t cap = t->freed_cap ? 2 * t->freed_cap : 64;
		void *v = realloc(t->freed, cap * sizeof(*t->freed));

		if (!v)
			return;
		t->freed = v;
		t->freed_cap = cap;
	}
	t->freed[t->n_freed++] = pid;
}

static void note_ended(struct trace *t, pid_t pid)
{
	size_t i = freed_index(t, pid);

	if (i < t->n_freed)
		t->freed[i] = t->freed[--t->n_freed];
}

/* The system call that the thread is in; -1: none, or it runs. */
static long syscall_by_proc(pid_t pid, const char *tid)
{
	char path[64], text[32];

	snprintf(path, sizeof(path), "/proc/%d/task/%.20s/syscall", (int)pid,
		 tid);
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (n <= 0)
		return -1;
	text[n] = '\0';
	return *text == 'r' ? -1 : atol(text);
}

/* SYS_exit_group or SYS_execve: which a thread of @pid is in; -1: neither. */
static long who_ends_it(pid_t pid)
{
	char path[40];
	struct dirent *e;
	long found = -1;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	DIR *dir = opendir(path);
	while (dir && found < 0 && (e = readdir(dir))) {
		long nr = syscall_by_proc(pid, e->d_name);

		if (nr == SYS_execve || nr == SYS_execveat)
			found = SYS_execve;
		else if (nr == SYS_exit_group)
			found = nr;
	}
	if (dir)
		closedir(dir);
	return found;
}

/*
 * execve ends all threads but its own, and waits for them: to hold one would
 * be for ever. It looks the same as exit_group with status 0, by what the
 * thread itself knows (kernel/signal.c, do_group_exit(), Linux 6.1), so the
 * thread that calls is looked for; it may be on its way there.
 */
static bool ends_by_exit_group(struct trace *t, pid_t pid)
{
	if (t->execing == pid)
		return false;
	for (int i = 0; i < EXEC_TRIES; i++) {
		long nr = who_ends_it(pid);

		if (nr == SYS_exit_group)
			return true;
		if (nr == SYS_execve) {
			t->execing = pid;
			return false;
		}
		usleep(100);
	}
	return false;
}

static bool is_held(const struct trace *t, pid_t pid)
{
	size_t i = 0;

	while (i < t->n_held && t->held[i].pid != pid)
		i++;
	return i < t->n_held;
}

/* Returns: false when it is to go on. */
static bool hold(struct trace *t, pid_t tid)
{
	struct catch_thread thread;

	if (!catch_thread(tid, &thread) ||
	    freed_index(t, thread.pid) < t->n_freed ||
	    (!is_held(t, thread.pid) && !ends_by_exit_group(t, thread.pid)))
		return false;

	if (t->n_held == t->cap) {
		size_t cap = t->cap ? 2 * t->cap : 64;
		void *v = realloc(t->held, cap * sizeof(*t->held));

		if (!v)
			return false;
		t->held = v;
		t->cap = cap;
	}
	t->held[t->n_held++] = (struct trace_held){ tid, thread.pid };
	return true;
}

void trace_let_go(struct trace *t, pid_t tid)
{
	struct catch_thread thread = { 0 };
	size_t kept = 0;

	if (catch_thread(tid, &thread))
		note_freed(t, thread.pid);
	go_on(tid, 0);
	for (size_t i = 0; i < t->n_held; i++) {
		if (t->held[i].pid == thread.pid)
			go_on(t->held[i].tid, 0);
		else
			t->held[kept++] = t->held[i];
	}
	t->n_held = kept;
}

static long syscall_of(pid_t tid)
{
#if defined(__x86_64__)
	struct user_regs_struct regs;

	if (!ptrace(PTRACE_GETREGS, tid, NULL, &regs))
		return (long)regs.orig_rax;
#else
	(void)tid;
#endif
	return -1;
}

/*
 * Of a thread: by itself (exit), by a signal, because it called exit_group, or
 * because another one did. The last must wait for that one: with the leader
 * gone, nothing of the process can be read any more.
 */
static enum trace_result on_exit_stop(struct trace *t, pid_t tid,
				      struct trace_exit *ret)
{
	unsigned long status = 0;

	if (ptrace(PTRACE_GETEVENTMSG, tid, NULL, &status) < 0)
		return TRACE_WENT_ON;
	long nr = syscall_of(tid);
	if (!(status & 0x7f) && nr == SYS_exit_group) {
		ret->tid = tid;
		ret->status = (uint8_t)(status >> 8);
		return TRACE_EXIT;
	}
	if (status & 0x7f || nr == SYS_exit || nr < 0 || !hold(t, tid))
		go_on(tid, 0);
	return TRACE_WENT_ON;
}

static bool is_stop_signal(int sig)
{
	return sig == SIGSTOP || sig == SIGTSTP || sig == SIGTTIN ||
	       sig == SIGTTOU;
}

static enum trace_result on_stop(struct trace *t, pid_t tid, int status,
				 struct trace_exit *ret)
{
	int sig = WSTOPSIG(status);

	switch (status >> 16) {
	case 0:
		go_on(tid, sig);
		return TRACE_WENT_ON;
	case PTRACE_EVENT_EXIT:
		return on_exit_stop(t, tid, ret);
	case PTRACE_EVENT_STOP:
		if (is_stop_signal(sig))
			(void)!ptrace(PTRACE_LISTEN, tid, NULL, 0);
		else
			go_on(tid, 0);
		return TRACE_WENT_ON;
	case PTRACE_EVENT_EXEC:
		t->execing = t->execing == tid ? 0 : t->execing;
		go_on(tid, 0);
		return TRACE_WENT_ON;
	default: /* fork, vfork, clone */
		go_on(tid, 0);
		return TRACE_WENT_ON;
	}
}

enum trace_result trace_next(struct trace *t, struct trace_exit *ret)
{
	int status;
	pid_t tid = waitpid(-1, &status, WNOHANG | __WALL);

	if (!tid || (tid < 0 && errno == EINTR))
		return TRACE_NOTHING;
	if (tid < 0)
		return TRACE_EMPTY;
	if (WIFSTOPPED(status))
		return on_stop(t, tid, status, ret);
	note_ended(t, tid);
	*ret = (struct trace_exit){ .tid = tid, .wait_status = status };
	return TRACE_ENDED;
}

void trace_deinit(struct trace *t)
{
	free(t->held);
	free(t->freed);
}
