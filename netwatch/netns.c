/* SPDX-License-Identifier: Apache-2.0 */
#include "netwatch/netns.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/netlink.h>
#include <linux/sockios.h>
#include <netlink/errno.h>
#include <netlink/netlink.h>
#include <netlink/socket.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>

#include "base/cleanup.h"

#define ANSWER_TIMEOUT_S 5
/*
 * Enough for what the kernel prepares ahead of a dump (it stops at half of
 * it), and for the answers to a few hundred lookups.
 */
#define RECEIVE_BUFFER (1 << 20)
#define MOUNTINFO_LINE_MAX 8192

uint64_t netns_inode(int netns_fd)
{
	struct stat st;

	return fstat(netns_fd, &st) == 0 ? st.st_ino : 0;
}

uint64_t netns_own(void)
{
	struct stat st;

	return stat("/proc/thread-self/ns/net", &st) == 0 ? st.st_ino : 0;
}

struct error *netns_open_process(const struct process *p, int *fd_ret)
{
	int fd = openat(p->procfd, "ns/net", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return process_error(p, errno, "network namespace of");
	*fd_ret = fd;
	return NULL;
}

struct error *netns_open_socket(const struct process *p, int fd, int *fd_ret)
{
	AUTO_CLOSE int dup = process_dup_fd(p, fd);

	if (dup < 0)
		return process_error(p, -dup, "a socket of");
	int ns = ioctl(dup, SIOCGSKNS);
	if (ns < 0 && errno == EPERM)
		return error_new(ERROR_DENIED,
				 "cannot learn the network namespace of fd %d "
				 "of process %d; CAP_NET_ADMIN is needed there",
				 fd, p->pid);
	if (ns < 0)
		return error_os(errno,
				"cannot learn the network namespace of fd %d "
				"of process %d",
				fd, p->pid);
	*fd_ret = ns;
	return NULL;
}

struct visit {
	int netns_fd;
	struct error *(*fn)(void *arg);
	void *arg;
	struct error *err;
};

static struct error *enter_error(int errnum)
{
	if (errnum == EPERM)
		return error_new(ERROR_DENIED,
				 "cannot enter a network namespace; run as "
				 "root, or grant CAP_SYS_ADMIN");
	if (errnum == EINVAL)
		return error_new(ERROR_USAGE, "not a network namespace");
	return error_os(errnum, "cannot enter a network namespace");
}

static void *visit_thread(void *arg)
{
	struct visit *v = arg;

	// the namespace is this thread's alone, and ends with it
	if (setns(v->netns_fd, CLONE_NEWNET) < 0)
		v->err = enter_error(errno);
	else
		v->err = v->fn(v->arg);
	return NULL;
}

struct error *netns_run(int netns_fd, struct error *(*fn)(void *arg), void *arg)
{
	struct visit v = { .netns_fd = netns_fd, .fn = fn, .arg = arg };
	uint64_t own = netns_own();
	pthread_t thread;

	if (netns_fd < 0 || (own != 0 && netns_inode(netns_fd) == own))
		return fn(arg);
	int rc = pthread_create(&thread, NULL, visit_thread, &v);
	if (rc != 0)
		return error_os(rc, "cannot start a thread");
	pthread_join(thread, NULL);
	return v.err;
}

struct connect_arg {
	struct nl_sock *sk;
	int protocol;
};

/* Not by nl_geterror(): that text is for the programmer of a netlink client. */
static struct error *connect_error(int nlerr, int protocol)
{
	if (nlerr == -NLE_PROTO_MISMATCH || nlerr == -NLE_AF_NOSUPPORT)
		return error_new(ERROR_UNSUPPORTED,
				 "this kernel has no netlink protocol %d",
				 protocol);
	return error_new(ERROR_OS, "cannot open a netlink socket: %s",
			 nl_geterror(nlerr));
}

static struct error *connect_in_place(void *arg)
{
	struct connect_arg *c = arg;
	int rc = nl_connect(c->sk, c->protocol);

	return rc < 0 ? connect_error(rc, c->protocol) : NULL;
}

struct error *netns_netlink(int netns_fd, int protocol, struct nl_sock **ret)
{
	struct connect_arg c = { nl_socket_alloc(), protocol };
	struct timeval timeout = { .tv_sec = ANSWER_TIMEOUT_S };

	if (!c.sk)
		return &error_nomem;
	struct error *err = netns_run(netns_fd, connect_in_place, &c);
	if (!err && setsockopt(nl_socket_get_fd(c.sk), SOL_SOCKET, SO_RCVTIMEO,
			       &timeout, sizeof(timeout)) < 0)
		err = error_os(errno, "cannot bound the wait for netlink");
	if (err) {
		nl_socket_free(c.sk);
		return err;
	}
	// a wish: the kernel cuts it at net.core.rmem_max
	nl_socket_set_buffer_size(c.sk, RECEIVE_BUFFER, 0);
	*ret = c.sk;
	return NULL;
}

/* A growing list while /proc and the mounts are walked. */
struct walk {
	struct arena *arena;
	struct netns_ref *v;
	size_t n;
	uint64_t denied, cut;
};

static struct netns_ref *walk_find(struct walk *w, uint64_t inode)
{
	for (size_t i = 0; i < w->n; i++) {
		if (w->v[i].inode == inode)
			return &w->v[i];
	}
	return NULL;
}

static struct error *walk_add(struct walk *w, uint64_t inode, pid_t pid,
			      const char *name)
{
	if (w->n == NETNS_MAX) {
		w->cut++;
		return NULL;
	}
	char *copy = arena_strdup(w->arena, name);
	if (!copy)
		return &error_nomem;
	w->v[w->n++] = (struct netns_ref){ inode, pid, copy };
	return NULL;
}

/* mountinfo writes space, tab, newline and backslash as \ooo. */
static void unescape_octal(char *s)
{
	char *to = s;

	for (; *s; s++) {
		if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] >= '0' &&
		    s[2] <= '7' && s[3] >= '0' && s[3] <= '7') {
			*to++ = (s[1] - '0') << 6 | (s[2] - '0') << 3 |
				(s[3] - '0');
			s += 3;
		} else {
			*to++ = *s;
		}
	}
	*to = '\0';
}

/* "36 35 0:4 net:[4026532] /run/netns/blue rw ... - nsfs nsfs rw" */
static struct error *walk_mount(struct walk *w, char *line)
{
	uint64_t inode;
	int at = 0;

	if (sscanf(line, "%*d %*d %*s net:[%" SCNu64 "] %n", &inode, &at) < 1 ||
	    at == 0)
		return NULL;
	char *path = line + at;
	path[strcspn(path, " \n")] = '\0';
	unescape_octal(path);
	return walk_find(w, inode) ? NULL : walk_add(w, inode, 0, path);
}

static struct error *walk_mounts(struct walk *w)
{
	AUTO_FCLOSE FILE *f = fopen("/proc/thread-self/mountinfo", "re");
	char line[MOUNTINFO_LINE_MAX];

	if (!f)
		return NULL; // then /proc/PID/ns/net is all there is
	while (fgets(line, sizeof(line), f)) {
		struct error *err = walk_mount(w, line);
		if (err)
			return err;
	}
	return NULL;
}

static void process_name(pid_t pid, char *buf, size_t size)
{
	char path[64], comm[64] = "?";

	snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	AUTO_FCLOSE FILE *f = fopen(path, "re");
	if (f && fgets(comm, sizeof(comm), f))
		comm[strcspn(comm, "\n")] = '\0';
	snprintf(buf, size, "pid %d (%s)", pid, comm);
}

static struct error *walk_process(struct walk *w, int proc, const char *dir)
{
	char path[300], name[128];
	struct stat st;
	pid_t pid = atoi(dir);

	snprintf(path, sizeof(path), "%s/ns/net", dir);
	if (fstatat(proc, path, &st, 0) < 0) {
		if (errno == EACCES || errno == EPERM)
			w->denied++;
		return NULL; // a zombie or a kernel thread, or it has ended
	}
	struct netns_ref *known = walk_find(w, st.st_ino);
	if (known) {
		if (known->pid == 0)
			known->pid = pid;
		return NULL;
	}
	process_name(pid, name, sizeof(name));
	return walk_add(w, st.st_ino, pid, name);
}

static struct error *walk_processes(struct walk *w)
{
	DIR *dir = opendir("/proc");
	struct error *err = NULL;
	struct dirent *e;

	if (!dir)
		return error_os(errno, "cannot list /proc");
	while (!err && (e = readdir(dir))) {
		if (e->d_name[0] >= '1' && e->d_name[0] <= '9')
			err = walk_process(w, dirfd(dir), e->d_name);
	}
	closedir(dir);
	return err;
}

static int compare_refs(const void *a, const void *b)
{
	const struct netns_ref *x = a, *y = b;

	return x->inode < y->inode ? -1 : x->inode > y->inode;
}

struct error *netns_enumerate(struct arena *arena, struct netns_list *ret,
			      struct gaps *gaps)
{
	struct walk w = { .arena = arena };

	w.v = arena_array(arena, NETNS_MAX, sizeof(*w.v));
	if (!w.v)
		return &error_nomem;
	struct error *err = walk_add(&w, netns_own(), getpid(), "our own");
	if (!err)
		err = walk_mounts(&w);
	if (!err)
		err = walk_processes(&w);
	if (err)
		return err;
	if (w.denied)
		gaps_add(gaps, GAP_DENIED, w.denied,
			 "network namespaces of processes that may not be "
			 "looked at; run as root");
	if (w.cut)
		gaps_add(gaps, GAP_LIMIT, w.cut,
			 "network namespaces beyond the first %d", NETNS_MAX);
	qsort(w.v + 1, w.n - 1, sizeof(*w.v), compare_refs);
	*ret = (struct netns_list){ w.v, w.n };
	return NULL;
}

/* Open @path if it is the namespace @inode. Returns: an fd or -errno. */
static int open_if(const char *path, uint64_t inode)
{
	// not blocking: what was a namespace may be a FIFO by now
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	if (netns_inode(fd) == inode)
		return fd;
	close(fd);
	return -ENOENT;
}

struct error *netns_open_ref(const struct netns_ref *ref, int *fd_ret)
{
	char path[64];
	int fd = -ENOENT;

	if (ref->name && ref->name[0] == '/')
		fd = open_if(ref->name, ref->inode);
	if (fd < 0 && ref->pid > 0) {
		snprintf(path, sizeof(path), "/proc/%d/ns/net", ref->pid);
		fd = open_if(path, ref->inode);
	}
	/* Not gone: refused, or a limit of ours. */
	if (fd == -EACCES || fd == -EPERM || fd == -EMFILE || fd == -ENFILE ||
	    fd == -ENOMEM)
		return error_os(-fd, "cannot open the network namespace %s",
				ref->name);
	if (fd < 0)
		return error_new(ERROR_GONE, "the network namespace %s is gone",
				 ref->name);
	*fd_ret = fd;
	return NULL;
}
