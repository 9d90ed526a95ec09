/* SPDX-License-Identifier: Apache-2.0 */
#include "detector/gate/catch.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "base/cleanup.h"
#include "base/exec_status.h"
#include "base/open_files.h"
#include "base/process.h"

/* Kernel headers older than Linux 5.19 lack it. */
#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)
#endif

#if defined(__x86_64__)
#define NATIVE_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define NATIVE_ARCH AUDIT_ARCH_AARCH64
#else
#error "which AUDIT_ARCH_ is this machine?"
#endif

/* What the child says before it becomes the command. */
struct hello {
	int seccomp_errno; /* 0: the listener comes with it */
	bool no_new_privs;
};

/*
 * Programs of another architecture (i386, x32) pass: none of their runtimes
 * is read anyway.
 */
static int install(unsigned long flags)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, arch)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, NATIVE_ARCH, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	const struct sock_fprog prog = {
		.len = sizeof(code) / sizeof(code[0]),
		.filter = code,
	};
	long fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &prog);

	return fd < 0 ? -errno : (int)fd;
}

/* no_new_privs breaks setuid programs: only where nothing else will do. */
static int install_somehow(bool *no_new_privs_ret)
{
	unsigned long flags = SECCOMP_FILTER_FLAG_NEW_LISTENER |
			      SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
	int fd = install(flags);

	*no_new_privs_ret = false;
	if (fd != -EACCES)
		return fd;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	*no_new_privs_ret = true;
	return install(flags);
}

/* From here on nothing may exit but by way of our parent. */
static void say_hello(int to, const struct hello *hello, int fd)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct iovec iov = { (void *)hello, sizeof(*hello) };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (fd >= 0) {
		msg.msg_control = control.bytes;
		msg.msg_controllen = sizeof(control.bytes);
		struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof(int));
	}
	if (sendmsg(to, &msg, MSG_NOSIGNAL) < 0)
		kill(getpid(), SIGKILL);
}

/* Without anybody who answers no exit would come to an end, not even ours. */
static void wait_for_release(int from)
{
	char byte;
	ssize_t n;

	do {
		n = recv(from, &byte, 1, 0);
	} while (n < 0 && errno == EINTR);
	if (n != 1)
		kill(getpid(), SIGKILL);
}

static void __attribute__((noreturn))
be_command(int to, const char *const *argv, const sigset_t *mask)
{
	struct hello hello = { 0 };

	/* The parent blocks what it reads from a signalfd. */
	sigprocmask(SIG_SETMASK, mask, NULL);
	open_files_restore();
	int fd = install_somehow(&hello.no_new_privs);
	hello.seccomp_errno = fd < 0 ? -fd : 0;
	say_hello(to, &hello, fd);
	if (fd < 0)
		_exit(EXEC_CANNOT_RUN);
	close(fd);
	wait_for_release(to);
	execvp(argv[0], (char *const *)argv);
	int error = errno;
	if (send(to, &error, sizeof(error), MSG_NOSIGNAL) < 0)
		kill(getpid(), SIGKILL);
	_exit(exec_status(error));
}

static int hear_hello(int from, struct hello *hello, int *fd_ret)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = { hello, sizeof(*hello) };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes),
	};
	ssize_t n;

	*fd_ret = -1;
	do {
		n = recvmsg(from, &msg, MSG_CMSG_CLOEXEC);
	} while (n < 0 && errno == EINTR);
	if (n != sizeof(*hello))
		return n < 0 ? -errno : -ECHILD;
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
	if (c && c->cmsg_type == SCM_RIGHTS)
		memcpy(fd_ret, CMSG_DATA(c), sizeof(int));
	return 0;
}

/* The end of file says that the command runs. */
static int hear_exec(int from)
{
	int error = 0;
	ssize_t n;

	do {
		n = recv(from, &error, sizeof(error), 0);
	} while (n < 0 && errno == EINTR);
	return n == sizeof(error) ? error : 0;
}

static struct error *explain(int errnum)
{
	switch (errnum) {
	case EBUSY:
		return error_new(
			ERROR_UNSUPPORTED,
			"a seccomp listener is installed above this "
			"process already (another gate, or a container "
			"runtime); only one can be: --how ptrace");
	case EINVAL:
	case ENOSYS:
		return error_new(ERROR_UNSUPPORTED,
				 "this kernel has no seccomp notification that "
				 "signals do not break off; needs Linux 5.19 "
				 "with CONFIG_SECCOMP_FILTER, or --how ptrace");
	default:
		return error_os(errnum, "cannot install the seccomp filter");
	}
}

static struct error *meet(int from, struct catch *ret)
{
	struct hello hello = { 0 };
	int rc = hear_hello(from, &hello, &ret->listener);

	if (rc)
		return error_os(-rc, "the child of the gate said nothing");
	if (hello.seccomp_errno)
		return explain(hello.seccomp_errno);
	if (ret->listener < 0)
		return error_new(ERROR_OS, "the child of the gate sent no "
					   "listener; too many open files?");
	ret->no_new_privs = hello.no_new_privs;
	return NULL;
}

struct error *catch_start(const char *const *argv, const sigset_t *mask,
			  struct catch *ret)
{
	int ends[2];

	*ret = (struct catch){ .listener = -1, .to_child = -1 };
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		return error_os(errno, "cannot make a socket pair");
	ret->pid = fork();
	if (!ret->pid) {
		close(ends[0]);
		be_command(ends[1], argv, mask);
	}
	int error = errno;
	close(ends[1]);
	AUTO_CLOSE int from = ends[0];
	if (ret->pid < 0)
		return error_os(error, "cannot fork");
	struct error *err = meet(from, ret);
	if (!err)
		ret->to_child = TAKE_FD(from);
	return err;
}

void catch_release(struct catch *c)
{
	AUTO_CLOSE int to = TAKE_FD(c->to_child);

	/* a child that is gone shows in its exit status */
	if (send(to, "", 1, MSG_NOSIGNAL) == 1)
		c->exec_errno = hear_exec(to);
}

int catch_next(int listener, union catch_notice *notice, struct catch_exit *ret)
{
	const struct seccomp_notif *n = &notice->n;

	/* The kernel refuses what is not zero. */
	memset(notice, 0, sizeof(*notice));
	if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, notice) < 0)
		return errno == ENOENT || errno == EINTR ? -EAGAIN : -errno;
	*ret = (struct catch_exit){
		.id = n->id,
		.tid = (pid_t)n->pid,
		.status = (uint8_t)n->data.args[0],
	};
	return 0;
}

bool catch_valid(int listener, uint64_t id)
{
	return !ioctl(listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &id);
}

void catch_let_go(int listener, uint64_t id)
{
	struct seccomp_notif_resp answer = {
		.id = id,
		.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE,
	};

	while (ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer) < 0 &&
	       errno == EINTR)
		;
}

/* "NSpid:\t12\t3": the innermost namespace's comes last. */
static void take_line(const char *line, struct catch_thread *ret)
{
	const char *last = strrchr(line, '\t');

	if (sscanf(line, "Tgid: %d", &ret->pid) == 1 ||
	    sscanf(line, "Threads: %d", &ret->threads) == 1)
		return;
	if (!strncmp(line, "NSpid:", 6) && last)
		ret->ns_tid = atoi(last + 1);
}

bool catch_thread(pid_t tid, struct catch_thread *ret)
{
	char path[40], line[256];

	*ret = (struct catch_thread){ .ns_tid = tid };
	snprintf(path, sizeof(path), "/proc/%d/status", (int)tid);
	AUTO_FCLOSE FILE *f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f) && !ret->threads)
		take_line(line, ret);
	return ret->pid > 0 && ret->threads > 0;
}
