/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_PROCESS_H
#define BASE_PROCESS_H

/**
 * A process that is looked at from outside: its identity, memory, mappings,
 * threads, file descriptors and namespaces.
 *
 * Everything here goes through /proc, pidfds and process_vm_readv(2): no
 * ptrace attach, no stop, no signal, nothing written. The process moves while
 * it is read; each function says what it does then. A `struct process` is a
 * handle (it may be used from one thread at a time), the lists that it returns
 * are values in the caller's arena.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "base/arena.h"
#include "base/error.h"

/** An address in the target. Never cast to a pointer. */
typedef uint64_t raddr_t;

/* Limits on what a hostile or huge target can make us hold. */
#define PROCESS_MAX_MAPS 262144	   /* vm.max_map_count is 65530 by default */
#define PROCESS_MAX_FDS 1100000	   /* fs.nr_open is 1048576 by default */
#define PROCESS_MAX_THREADS 262144 /* above pid_max on most machines */
#define PROCESS_MAX_PIDS 4194304   /* PID_MAX_LIMIT of the kernel */
#define PROCESS_MAX_TEXT 4096	   /* command lines and links, in bytes */

struct process {
	pid_t pid;
	int pidfd;  /* refers to this very process, also after reuse */
	int procfd; /* O_PATH on /proc/PID, for the openat family */
	uint64_t start_ticks; /* field 22 of /proc/PID/stat: identity */
	int64_t start_wall_ms;
	char comm[64];	  /* as the kernel has it, not escaped */
	char *exe;	  /* target of /proc/PID/exe, " (deleted)" cut off */
	bool exe_deleted; /* the file was unlinked or replaced */
	char *cmdline;	  /* arguments joined by spaces, not escaped */
	uid_t uid;	  /* real uid of the owner */
	uint64_t netns;	  /* inode of /proc/PID/ns/net, 0 if not readable */
	uint64_t pidns;	  /* inode of /proc/PID/ns/pid, 0 if not readable */
	/* Of the program that is run: tell an execve(2) meanwhile. */
	uint64_t exe_dev, exe_ino;
	uint64_t stack_start; /* field 28 of /proc/PID/stat, 0 if not shown */
	int memfd; /* /proc/PID/mem where process_vm_readv is not, or -1 */
	int memfd_errno; /* why memfd could not be opened */
};

/**
 * Open the process @pid.
 *
 * Fails: ERROR_GONE (no such process; a zombie, said so), ERROR_DENIED (names
 * CAP_SYS_PTRACE, Yama or the owner, with the remedy), ERROR_USAGE (@pid is a
 * thread of another process, or not positive), ERROR_UNSUPPORTED (kernel
 * thread), ERROR_OS.
 */
struct error *process_open(pid_t pid, struct process **ret);
void process_close(struct process *p);

/**
 * Is it still the process that was opened, running the same program (no
 * execve(2) since), and not a zombie?
 */
bool process_alive(const struct process *p);

/**
 * The error to report after a failed read: ERROR_GONE when the process has
 * ended or called execve(2) meanwhile, else from @errnum, with the remedy
 * for EPERM (run as root, CAP_SYS_PTRACE, Yama's ptrace_scope as it is).
 *
 * @param what what was being read, for the text: "memory of", "file
 * descriptors of".
 */
struct error *process_error(const struct process *p, int errnum,
			    const char *what);

/*
 * Reading memory. The kernel is asked by pid: once the process has ended and
 * its number is another's, that one is read. So judge what was read only after
 * process_alive() has said yes, once for all that belongs together.
 *
 * Where process_vm_readv(2) cannot be had (seccomp, kernel configuration), or
 * with STRANDED_MEM=proc in the environment, /proc/PID/mem is read instead.
 */

/**
 * Read @len bytes at @addr.
 *
 * Returns: 0 when all was read; -EFAULT when some of it is not readable (what
 * precedes the hole may be in @buf), -ESRCH, -EPERM, or another -errno.
 */
int process_read(const struct process *p, raddr_t addr, void *buf, size_t len)
	__attribute__((warn_unused_result));

/**
 * Read as much as possible of @len bytes at @addr, up to the first hole.
 *
 * Returns: the number of bytes read (0 at a hole), or -errno.
 */
ssize_t process_read_some(const struct process *p, raddr_t addr, void *buf,
			  size_t len) __attribute__((warn_unused_result));

struct process_read_req {
	raddr_t addr;
	void *buf;
	uint32_t len;
	bool ok; /* out: all of it was read */
};

/**
 * Read many pieces with few system calls (process_vm_readv with up to
 * IOV_MAX pieces each). A hole fails its own request only.
 *
 * Returns: 0 and each request's ok, or -errno (-ESRCH, -EPERM) when nothing
 * more can be read at all; ok is then false for the rest.
 */
int process_read_batch(const struct process *p, struct process_read_req *reqs,
		       size_t n) __attribute__((warn_unused_result));

/**
 * Read a NUL-terminated string of at most @size - 1 bytes; reads that would
 * cross a page are split there, so a hole after the NUL does not matter.
 *
 * Returns: its length, -E2BIG if there is no NUL in range (@buf is then
 * terminated all the same), or -errno.
 */
ssize_t process_read_string(const struct process *p, raddr_t addr, char *buf,
			    size_t size) __attribute__((warn_unused_result));

struct process_map {
	raddr_t start, end;
	uint64_t offset; /* in the file */
	uint64_t inode;
	uint32_t dev_major, dev_minor;
	bool read, write, exec, shared;
	const char *path; /* "" when anonymous; "[stack]"; " (deleted)" kept */
};

struct process_maps {
	struct process_map *v; /* ascending by start */
	size_t n;
};

/**
 * The memory mappings. Fails: ERROR_GONE, ERROR_DENIED, ERROR_CORRUPT (a line
 * that does not parse), ERROR_NOMEM, ERROR_OS.
 */
struct error *process_maps(const struct process *p, struct arena *arena,
			   struct process_maps *ret);
/** The parser behind it: @text is any bytes, also hostile ones. */
struct error *process_maps_parse(const char *text, size_t len,
				 struct arena *arena, struct process_maps *ret);
/** The mapping that holds @addr, or NULL. */
const struct process_map *process_maps_find(const struct process_maps *maps,
					    raddr_t addr);

enum process_fd_kind {
	PROCESS_FD_OTHER,
	PROCESS_FD_SOCKET,    /* inode is the socket's */
	PROCESS_FD_PIPE,      /* inode is the pipe's */
	PROCESS_FD_EVENTPOLL, /* an epoll instance */
	PROCESS_FD_EVENTFD,
	PROCESS_FD_FILE, /* has a path */
};

struct process_fd {
	int fd;
	enum process_fd_kind kind;
	uint64_t inode;	  /* sockets and pipes, else 0 */
	const char *text; /* the link as /proc shows it; never NULL */
};

struct process_fds {
	struct process_fd *v; /* ascending by fd */
	size_t n;
	size_t unreadable; /* entries that vanished or were refused */
};

/**
 * The open file descriptors. Fails: ERROR_GONE, ERROR_DENIED, ERROR_NOMEM,
 * ERROR_OS. An fd that closes meanwhile is counted in unreadable.
 */
struct error *process_fds(const struct process *p, struct arena *arena,
			  struct process_fds *ret);
const struct process_fd *process_fds_find(const struct process_fds *fds,
					  int fd);
/** One fd's present link: has it been closed or reused since? */
struct error *process_fd_link(const struct process *p, int fd,
			      struct process_fd *ret, char *text, size_t size);

/**
 * A duplicate of the target's @fd by pidfd_getfd(2). It is a reference: close
 * it at once, never hold it across a wait.
 *
 * Returns: a close-on-exec fd, or -errno (-EPERM, -EBADF, -ESRCH).
 */
int process_dup_fd(const struct process *p, int fd)
	__attribute__((warn_unused_result));

struct process_syscall {
	bool running; /* on a CPU or about to be: nothing else is set */
	int64_t nr;   /* -1: blocked, but not in a system call */
	uint64_t args[6];
	raddr_t sp, pc;
};

/** Thread ids, ascending. Fails as process_fds(). */
struct error *process_threads(const struct process *p, struct arena *arena,
			      pid_t **ret, size_t *n_ret);
/**
 * What /proc/PID/task/TID/syscall says. Returns: 0 or -errno (-ESRCH: that
 * thread has ended; -EPERM; -EPROTO: not understood).
 */
int process_thread_syscall(const struct process *p, pid_t tid,
			   struct process_syscall *ret)
	__attribute__((warn_unused_result));

/**
 * The text of the line "@key:" in the status file of thread @tid (the pid: of
 * the first one), from after the colon, cut at @size.
 *
 * Returns: whether there is one.
 */
bool process_thread_status(const struct process *p, pid_t tid, const char *key,
			   char *buf, size_t size);

/**
 * Find processes by name: equal to comm or to the last component of exe.
 * @name NULL: every process but kernel threads and ourselves.
 *
 * Returns pids ascending in @arena; none is no error.
 */
struct error *process_find(const char *name, struct arena *arena, pid_t **ret,
			   size_t *n_ret);

/**
 * Read a small file under /proc/PID (maps, status, fdinfo/5 ...) whole.
 *
 * @param max refuse (-E2BIG) more than that many bytes.
 * Returns: the length (a NUL follows it) or -errno; *ret is malloc()ed.
 */
ssize_t process_slurp(const struct process *p, const char *name, size_t max,
		      char **ret) __attribute__((warn_unused_result));

static inline void process_closep(struct process **p)
{
	process_close(*p);
}
#define AUTO_PROCESS __attribute__((cleanup(process_closep)))

#endif
