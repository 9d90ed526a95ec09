/* SPDX-License-Identifier: Apache-2.0 */
#include "detector/doctor.h"

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "detector/cmd.h"
#include "netwatch/heal.h"
#include "netwatch/netns.h"
#include "netwatch/netwatch.h"
#include "netwatch/sockdiag.h"
#include "netwatch/shield.h"
#include "runtime-hooks/runtime.h"

/* include/uapi/linux/capability.h */
#define CAP_NET_ADMIN_BIT 12
#define CAP_SYS_PTRACE_BIT 19
#define CAP_SYS_ADMIN_BIT 21

#define GRANT                                                                    \
	"run as root, or: setcap cap_sys_ptrace,cap_net_admin,cap_sys_admin+ep " \
	"stranded"

void doctor_add(struct doctor *d, enum doctor_state state, const char *name,
		const char *remedy, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	if (d->n == DOCTOR_MAX_LINES)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	const char *copy = arena_strdup(d->arena, text);
	d->v[d->n++] = (struct doctor_line){
		.state = state,
		.name = name,
		.text = copy ? copy : "(out of memory)",
		.remedy = remedy,
	};
}

size_t doctor_count(const struct doctor *d, enum doctor_state state)
{
	size_t n = 0;

	for (size_t i = 0; i < d->n; i++)
		n += d->v[i].state == state;
	return n;
}

const char *doctor_state_name(enum doctor_state state)
{
	switch (state) {
	case DOCTOR_OK:
		return "ok";
	case DOCTOR_NOTE:
		return "note";
	case DOCTOR_MISSING:
		return "missing";
	}
	return "?";
}

/* The first line of a small file that begins with @key, after it. */
static bool read_line(const char *path, const char *key, char *buf, size_t size)
{
	AUTO_FCLOSE FILE *f = fopen(path, "re");

	while (f && fgets(buf, (int)size, f)) {
		size_t len = strlen(key);

		if (strncmp(buf, key, len) != 0)
			continue;
		memmove(buf, buf + len, strlen(buf + len) + 1);
		buf[strcspn(buf, "\n")] = '\0';
		return true;
	}
	return false;
}

static void check_kernel(struct doctor *d)
{
	struct utsname u;

	if (!uname(&u))
		doctor_add(d, DOCTOR_OK, "kernel", NULL, "Linux %s, %s",
			   u.release, u.machine);
}

static void check_cap(struct doctor *d, uint64_t caps, int bit,
		      const char *name, const char *name_upper, const char *use)
{
	if (caps & UINT64_C(1) << bit)
		doctor_add(d, DOCTOR_OK, name, NULL, "%s: %s", name_upper, use);
	else
		doctor_add(d, DOCTOR_MISSING, name, GRANT,
			   "no %s, which allows %s", name_upper, use);
}

static void check_capabilities(struct doctor *d)
{
	char line[256];

	if (!read_line("/proc/self/status", "CapEff:", line, sizeof(line))) {
		doctor_add(d, DOCTOR_MISSING, "capabilities", "mount /proc",
			   "cannot read /proc/self/status");
		return;
	}
	uint64_t caps = strtoull(line, NULL, 16);
	check_cap(d, caps, CAP_SYS_PTRACE_BIT, "cap_sys_ptrace",
		  "CAP_SYS_PTRACE", "reading processes of other users");
	check_cap(d, caps, CAP_NET_ADMIN_BIT, "cap_net_admin", "CAP_NET_ADMIN",
		  "asking a socket for its namespace, and NAT for its table; "
		  "and, when asked for, window probes, the RST shield and "
		  "heal, to end a connection");
	check_cap(d, caps, CAP_SYS_ADMIN_BIT, "cap_sys_admin", "CAP_SYS_ADMIN",
		  "looking for the peer in other network namespaces");
}

static void check_yama(struct doctor *d)
{
	char line[64];

	if (!read_line("/proc/sys/kernel/yama/ptrace_scope", "", line,
		       sizeof(line)) ||
	    line[0] == '0')
		doctor_add(d, DOCTOR_OK, "yama", NULL,
			   "Yama does not restrict reading one's own "
			   "processes");
	else if (line[0] == '1')
		doctor_add(
			d, DOCTOR_NOTE, "yama",
			"CAP_SYS_PTRACE, or sysctl kernel.yama.ptrace_scope=0",
			"Yama ptrace_scope is 1: without CAP_SYS_PTRACE only "
			"children can be read");
	else
		doctor_add(
			d, DOCTOR_MISSING, "yama",
			"sysctl kernel.yama.ptrace_scope=1 (3 needs a reboot)",
			"Yama ptrace_scope is %s: %s", line,
			line[0] == '2' ? "only CAP_SYS_PTRACE may read"
				       : "nobody may read any process");
}

/* Both system calls on ourselves: a seccomp filter would show. */
static void check_syscalls(struct doctor *d)
{
	char in = 'x', out = 0;
	struct iovec local = { &out, 1 }, remote = { &in, 1 };

	if (process_vm_readv(getpid(), &local, 1, &remote, 1, 0) == 1)
		doctor_add(d, DOCTOR_OK, "process_vm_readv", NULL,
			   "process_vm_readv works");
	else
		doctor_add(d, DOCTOR_MISSING, "process_vm_readv",
			   "allow it in the seccomp profile of the container",
			   "process_vm_readv: %s", strerror(errno));
	AUTO_CLOSE int pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);
	AUTO_CLOSE int fd =
		pidfd < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, pidfd, pidfd, 0);
	if (fd >= 0)
		doctor_add(d, DOCTOR_OK, "pidfd_getfd", NULL,
			   "pidfd_getfd works: keepalive settings can be read");
	else
		doctor_add(d, DOCTOR_MISSING, "pidfd_getfd",
			   "Linux 5.6, and allow it in the seccomp profile",
			   "pidfd_getfd: %s; keepalive settings cannot be read",
			   strerror(errno));
}

static void check_sockdiag(struct doctor *d)
{
	const struct sockdiag_filter listeners = {
		.states = 1u << TCP_STATE_LISTEN
	};
	struct sockdiag *diag = NULL;
	AUTO_SOCKETS struct tcp_snapshot *snap = NULL;

	AUTO_ERROR struct error *err = sockdiag_open(-1, NULL, &diag);
	if (!err)
		err = sockdiag_dump(diag, &listeners, &snap);
	if (err)
		doctor_add(d, DOCTOR_MISSING, "sock_diag",
			   "modprobe tcp_diag inet_diag", "sock_diag: %s",
			   error_text(err));
	else
		doctor_add(d, DOCTOR_OK, "sock_diag", NULL,
			   "sock_diag works: %zu listeners in this namespace",
			   snap->n);
	sockdiag_close(diag);
}

static void check_destroy(struct doctor *d)
{
	int rc = tcp_destroy_supported();

	if (rc == 0)
		doctor_add(
			d, DOCTOR_OK, "sock_destroy", NULL,
			"the kernel can end connections: heal --how destroy");
	else
		doctor_add(d, DOCTOR_NOTE, "sock_destroy",
			   "heal --how eof, or a kernel with "
			   "CONFIG_INET_DIAG_DESTROY",
			   "the kernel cannot end connections for heal: %s",
			   strerror(-rc));
}

static void check_conntrack(struct doctor *d)
{
	char line[64];

	if (read_line("/proc/sys/net/netfilter/nf_conntrack_count", "", line,
		      sizeof(line)))
		doctor_add(d, DOCTOR_OK, "conntrack", NULL,
			   "conntrack is loaded, %s entries: peers behind NAT "
			   "on this host can be found",
			   line);
	else
		doctor_add(d, DOCTOR_NOTE, "conntrack", NULL,
			   "conntrack is not loaded here: no NAT to look "
			   "through");
}

static void check_nft(struct doctor *d)
{
	if (shield_has_nft())
		doctor_add(d, DOCTOR_OK, "nft", NULL,
			   "nft is there: probe --rst-shield can keep a reset "
			   "from the program");
	else
		doctor_add(d, DOCTOR_NOTE, "nft", "install nftables",
			   "no nft: probe --rst-shield cannot be had");
}

static bool may_trace_all(void)
{
	char line[64];

	return read_line("/proc/self/status", "CapEff:", line, sizeof(line)) &&
	       strtoull(line, NULL, 16) & UINT64_C(1) << CAP_SYS_PTRACE_BIT;
}

static void check_namespaces(struct doctor *d)
{
	struct gaps gaps = { .arena = d->arena };
	struct netns_list list = { 0 };
	uint64_t denied = 0;
	const char *why = "";

	AUTO_ERROR struct error *err = netns_enumerate(d->arena, &list, &gaps);
	if (err) {
		doctor_add(d, DOCTOR_MISSING, "namespaces", NULL, "%s",
			   error_text(err));
		return;
	}
	for (size_t i = 0; i < gaps.n; i++) {
		if (gaps.v[i].kind != GAP_DENIED)
			continue;
		denied += gaps.v[i].count;
		why = gaps.v[i].text;
	}
	if (denied && may_trace_all())
		doctor_add(d, DOCTOR_NOTE, "namespaces", NULL,
			   "network namespaces in reach: %zu; processes that "
			   "refuse to be looked at in spite of all rights, so "
			   "that theirs are not known: %" PRIu64,
			   list.n, denied);
	else if (denied)
		doctor_add(d, DOCTOR_MISSING, "namespaces", GRANT,
			   "network namespaces in reach: %zu; not seen: %.*s "
			   "(%" PRIu64 ")",
			   list.n, (int)strcspn(why, ";"), why, denied);
	else
		doctor_add(d, DOCTOR_OK, "namespaces", NULL,
			   "%zu network namespace%s in reach", list.n,
			   list.n == 1 ? "" : "s");
}

static void check_hook(struct doctor *d)
{
	const char *path = NULL;
	AUTO_ERROR struct error *err = cmd_find_hook(d->arena, &path);

	if (err)
		doctor_add(d, DOCTOR_NOTE, "hook", NULL, "%s", error_text(err));
	else
		doctor_add(d, DOCTOR_OK, "hook", NULL,
			   "%s: stranded run can show the coroutines of a C "
			   "program",
			   path);
}

static void check_threads(struct doctor *d)
{
	char line[256], runs[64];

	if (!read_line("/proc/thread-self/syscall", "", line, sizeof(line)))
		doctor_add(d, DOCTOR_MISSING, "threads",
			   "use a kernel with CONFIG_HAVE_ARCH_TRACEHOOK and "
			   "/proc mounted",
			   "no /proc/PID/syscall: what threads wait for cannot "
			   "be told");
	else if (!read_line("/proc/thread-self/schedstat", "", runs,
			    sizeof(runs)))
		doctor_add(d, DOCTOR_NOTE, "threads", NULL,
			   "no /proc/PID/schedstat (CONFIG_SCHED_INFO): a "
			   "thread that ran between two looks cannot be told "
			   "from one that waited all the time");
	else
		doctor_add(d, DOCTOR_OK, "threads", NULL,
			   "system calls of threads can be read, and whether "
			   "they ran in between");
}

/* In a child, which ends at once: 0, or errno. */
static int try_unshare(int flags)
{
	int status = 0;
	pid_t pid = fork();

	if (pid < 0)
		return errno;
	if (!pid)
		_exit(unshare(flags) ? errno : 0);
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : EIO;
}

static void check_lab(struct doctor *d)
{
	int as_is = try_unshare(CLONE_NEWNET);
	int user = as_is ? try_unshare(CLONE_NEWUSER | CLONE_NEWNET) : 0;

	if (as_is && user)
		doctor_add(d, DOCTOR_NOTE, "lab",
			   "run as root, or allow user namespaces "
			   "(kernel.unprivileged_userns_clone, "
			   "user.max_user_namespaces)",
			   "no network namespaces can be made: lab and "
			   "scenario cannot run: %s",
			   strerror(user));
	else if (!shield_has_nft())
		doctor_add(d, DOCTOR_NOTE, "lab", "install nftables",
			   "network namespaces can be made; without nft some "
			   "faults of lab and scenario cannot be had");
	else
		doctor_add(d, DOCTOR_OK, "lab", NULL,
			   "network namespaces can be made%s, and nft is "
			   "there: lab and scenario can run",
			   as_is ? " in user namespaces" : "");
}

void doctor_system(struct doctor *d)
{
	check_kernel(d);
	check_capabilities(d);
	check_yama(d);
	check_syscalls(d);
	check_sockdiag(d);
	check_destroy(d);
	check_conntrack(d);
	check_nft(d);
	check_namespaces(d);
	check_threads(d);
	check_hook(d);
	check_lab(d);
}

static void explain_line(void *arg, const char *text)
{
	doctor_add(arg, DOCTOR_NOTE, "layout", NULL, "%s", text);
}

static void check_tasks(struct doctor *d, const struct runtime_source *source,
			void *context)
{
	AUTO_TASKS struct task_snapshot *snap = NULL;
	AUTO_ERROR struct error *err =
		source->snapshot(context, &runtime_everything, &snap);

	if (err) {
		doctor_add(d, DOCTOR_MISSING, "tasks", NULL, "%s",
			   error_text(err));
		return;
	}
	doctor_add(d, DOCTOR_OK, "tasks", NULL,
		   "%zu tasks read in %.1f ms, %" PRIu64
		   " of them torn; stopped %" PRId64 " ms",
		   snap->n, (double)snap->duration_ns / 1e6, snap->torn,
		   snap->stopped_ns / 1000000);
	for (size_t i = 0; i < snap->gaps.n; i++)
		doctor_add(d, DOCTOR_NOTE, "gap", NULL, "%" PRIu64 ": %s",
			   snap->gaps.v[i].count, snap->gaps.v[i].text);
}

static void check_runtime(struct doctor *d, const struct process *p)
{
	struct runtime_attached v[RUNTIME_MAX_SOURCES];
	AUTO_ERROR struct error *why = NULL;
	size_t n = 0;
	AUTO_ERROR struct error *err = runtime_attach_all(p, v, &n, &why);

	if (err || why)
		doctor_add(d, n ? DOCTOR_NOTE : DOCTOR_MISSING, "runtime", NULL,
			   "%s", error_text(err ? err : why));
	for (size_t i = 0; i < n; i++) {
		doctor_add(d, DOCTOR_OK, "runtime", NULL, "%s",
			   v[i].source->version(v[i].context));
		/* Some of the layout is learnt from the first snapshot. */
		check_tasks(d, v[i].source, v[i].context);
		v[i].source->explain(v[i].context, explain_line, d);
	}
	runtime_detach_all(v, n);
}

static void check_sockets(struct doctor *d, const struct process *p)
{
	static const struct netwatch_options none;
	struct process_fds fds = { 0 };
	struct netwatch *nw = NULL;
	AUTO_SOCKETS struct tcp_snapshot *snap = NULL;

	AUTO_ERROR struct error *err = process_fds(p, d->arena, &fds);
	if (!err)
		err = netwatch_open(p, &none, &nw);
	if (!err)
		err = netwatch_take(nw, &fds, &snap);
	if (err) {
		doctor_add(d, DOCTOR_MISSING, "sockets", NULL, "%s",
			   error_text(err));
	} else {
		doctor_add(d, DOCTOR_OK, "sockets", NULL,
			   "%zu file descriptors, %zu TCP sockets seen", fds.n,
			   snap->n);
		for (size_t i = 0; i < snap->gaps.n; i++)
			doctor_add(d, DOCTOR_MISSING, "sockets", NULL, "%s",
				   snap->gaps.v[i].text);
	}
	netwatch_close(nw);
}

struct error *doctor_process(struct doctor *d, pid_t pid)
{
	AUTO_PROCESS struct process *p = NULL;
	struct error *err = process_open(pid, &p);

	if (err) {
		doctor_add(d, DOCTOR_MISSING, "process", NULL, "%s",
			   error_text(err));
		return err;
	}
	doctor_add(d, DOCTOR_OK, "process", NULL, "pid %d, %s%s, uid %u",
		   (int)pid, p->exe && *p->exe ? p->exe : p->comm,
		   p->exe_deleted ? " (deleted)" : "", (unsigned int)p->uid);
	check_runtime(d, p);
	check_sockets(d, p);
	return NULL;
}
