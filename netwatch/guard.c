/* SPDX-License-Identifier: Apache-2.0 */
#include "netwatch/guard.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "netwatch/shield.h"

#define NS_PER_MS INT64_C(1000000)

struct guard {
	const struct process *p;
	pid_t guardian;
	int guardian_fd; /* pidfd of it, -1 none */
	int pipe;	 /* our end: its closing is the signal */
	size_t n, n_shields;
	size_t bytes;
	struct guard_shield *shields; /* start of the shared memory */
	struct guard_entry *entries;
	char name[GUARD_NAME_MAX];
};

struct guard_entry *guard_entry(struct guard *guard, size_t i)
{
	return &guard->entries[i];
}

struct guard_shield *guard_shield(struct guard *guard, size_t i)
{
	return &guard->shields[i];
}

size_t guard_n_shields(const struct guard *guard)
{
	return guard->n_shields;
}

const char *guard_name(const struct guard *guard)
{
	return guard->name;
}

int guard_pipe(const struct guard *guard)
{
	return guard->pipe;
}

void guard_note(struct guard_entry *e, enum guard_kind kind)
{
	atomic_store(&e->kind, kind);
}

void guard_clear(struct guard_entry *e)
{
	atomic_store(&e->kind, GUARD_NOTHING);
}

/* --- putting back --- */

static int put_back(int dup, int level, int name, int value)
{
	int now = -1;
	socklen_t len = sizeof(now);

	if (setsockopt(dup, level, name, &value, sizeof(value)) < 0 ||
	    getsockopt(dup, level, name, &now, &len) < 0)
		return -errno;
	return now == value ? 0 : -EPROTO;
}

static int put_back_keepalive(const struct guard_entry *e, int dup)
{
	int rc = put_back(dup, SOL_SOCKET, SO_KEEPALIVE, 0);

	if (!rc)
		rc = put_back(dup, IPPROTO_TCP, TCP_KEEPCNT, (int)e->keepcnt);
	if (!rc)
		rc = put_back(dup, IPPROTO_TCP, TCP_KEEPINTVL,
			      (int)e->keepintvl_s);
	if (!rc)
		rc = put_back(dup, IPPROTO_TCP, TCP_KEEPIDLE,
			      (int)e->keepidle_s);
	return rc;
}

int guard_restore_dup(struct guard_entry *e, int dup)
{
	int rc = 0;

	switch ((enum guard_kind)atomic_load(&e->kind)) {
	case GUARD_NOTHING:
		break;
	case GUARD_REUSEADDR:
		rc = put_back(dup, SOL_SOCKET, SO_REUSEADDR, 1);
		break;
	case GUARD_KEEPALIVE:
		rc = put_back_keepalive(e, dup);
		break;
	}
	if (!rc)
		guard_clear(e);
	return rc;
}

/* The program may have closed that fd and kept another of the same socket. */
static int dup_of_inode(const struct process *p, const struct socket_ref *ref)
{
	AUTO_ARENA struct arena *arena = arena_create();
	struct process_fds fds;
	int dup = -EBADF;

	if (!arena)
		return -ENOMEM;
	AUTO_ERROR struct error *err = process_fds(p, arena, &fds);
	if (err)
		return error_code(err) == ERROR_GONE ? -ESRCH : -EIO;
	for (size_t i = 0; i < fds.n && dup < 0; i++) {
		const struct socket_ref other = { .fd = fds.v[i].fd,
						  .inode = ref->inode,
						  .cookie = ref->cookie };

		if (fds.v[i].kind == PROCESS_FD_SOCKET &&
		    fds.v[i].inode == ref->inode)
			dup = socket_ref_dup(p, &other);
	}
	return dup;
}

static bool is_gone(int rc)
{
	return rc == -EBADF || rc == -ESTALE || rc == -ESRCH;
}

int guard_restore(const struct process *p, struct guard_entry *e)
{
	if (atomic_load(&e->kind) == GUARD_NOTHING)
		return 0;
	AUTO_CLOSE int dup = socket_ref_dup(p, &e->ref);
	if (dup == -EBADF || dup == -ESTALE)
		dup = dup_of_inode(p, &e->ref);
	if (dup < 0) {
		if (!is_gone(dup))
			return dup;
		guard_clear(e);
		return 0;
	}
	return guard_restore_dup(e, dup);
}

/* --- the guardian --- */

static int compare_int(const void *a, const void *b)
{
	int x = *(const int *)a, y = *(const int *)b;

	return x < y ? -1 : x > y;
}

/*
 * Whatever else is open must not be kept from its other end: a pipe to which
 * we write the report, the recording, a duplicate of the target's socket.
 */
static void close_others(const struct guard *g, int pipe_end)
{
	size_t n = 0, max = g->n_shields + 8;
	int *keep = calloc(max, sizeof(*keep)); // the guardian never frees it
	unsigned from = 3;

	if (!keep)
		return;
	keep[n++] = pipe_end;
	keep[n++] = g->p->pidfd;
	keep[n++] = g->p->procfd;
	for (size_t i = 0; i < g->n_shields; i++)
		keep[n++] = g->shields[i].netns_fd;
	qsort(keep, n, sizeof(*keep), compare_int);
	for (size_t i = 0; i < n; i++) {
		if (keep[i] < (int)from)
			continue;
		if ((unsigned)keep[i] > from)
			syscall(SYS_close_range, from, keep[i] - 1, 0);
		from = (unsigned)keep[i] + 1;
	}
	syscall(SYS_close_range, from, ~0U, 0);
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	for (int fd = 0; null >= 0 && fd < 3; fd++)
		dup2(null, fd);
}

static void ignore_signals(void)
{
	static const int signals[] = { SIGINT,	SIGTERM, SIGHUP, SIGQUIT,
				       SIGPIPE, SIGUSR1, SIGUSR2 };

	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		signal(signals[i], SIG_IGN);
	signal(SIGCHLD, SIG_DFL);
}

enum heard { HEARD_END, HEARD_ARMED, HEARD_NOTHING };

/* What comes first: word, the end of all who could send it, or @until. */
static enum heard listen_until(int pipe_end, int64_t until)
{
	struct pollfd p = { .fd = pipe_end, .events = POLLIN };
	int64_t left;
	char word;

	while ((left = until - clock_mono_ns()) > 0) {
		int rc = poll(&p, 1, (int)(left / 1000000) + 1);

		if (rc > 0)
			return recv(pipe_end, &word, 1, 0) == 1 ? HEARD_ARMED
								: HEARD_END;
		if (rc < 0 && errno != EINTR)
			return HEARD_END;
	}
	return HEARD_NOTHING;
}

/* The owner has had its time: it may be stopped, and the kernel is not. */
static void disarm_late(struct guard *g)
{
	for (size_t i = 0; i < g->n; i++)
		if (atomic_load(&g->entries[i].kind) == GUARD_KEEPALIVE &&
		    guard_restore(g->p, &g->entries[i]))
			log_debug("net", "guardian: keepalive stays on");
}

static void wait_for_end(struct guard *g, int pipe_end, int64_t until)
{
	int64_t disarm = INT64_MAX;

	for (;;) {
		switch (listen_until(pipe_end,
				     disarm < until ? disarm : until)) {
		case HEARD_END:
			return;
		case HEARD_ARMED:
			disarm = clock_mono_ns() + GUARD_ARMED_MS * NS_PER_MS;
			break;
		case HEARD_NOTHING:
			if (disarm >= until)
				return;
			disarm_late(g);
			disarm = INT64_MAX;
			break;
		}
	}
}

void guard_armed(const struct guard *guard)
{
	// its failure is the guardian's death, which nothing here can mend
	if (send(guard->pipe, "k", 1, MSG_NOSIGNAL) != 1)
		log_debug("net", "the guardian does not listen");
}

static void __attribute__((noreturn))
be_guardian(struct guard *g, int pipe_end, int64_t until)
{
	setsid();
	ignore_signals();
	close_others(g, pipe_end);
	wait_for_end(g, pipe_end, until);
	int failed = 0;
	for (size_t i = 0; i < g->n; i++)
		failed |= guard_restore(g->p, &g->entries[i]) != 0;
	for (size_t i = 0; i < g->n_shields; i++)
		failed |= shield_remove(g, i) != 0;
	_exit(failed);
}

static struct error *share_memory(struct guard *g, const int *netns_fds)
{
	g->bytes = g->n_shields * sizeof(*g->shields) +
		   (g->n + 1) * sizeof(*g->entries);
	void *v = mmap(NULL, g->bytes, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (v == MAP_FAILED)
		return error_os(errno, "cannot share memory with the guardian");
	g->shields = v;
	g->entries = (void *)(g->shields + g->n_shields);
	for (size_t i = 0; i < g->n_shields; i++)
		g->shields[i].netns_fd = netns_fds[i];
	return NULL;
}

static struct error *fork_guardian(struct guard *g, int64_t window_ms)
{
	int64_t until =
		clock_mono_ns() + (window_ms + GUARD_MARGIN_MS) * NS_PER_MS;
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
		return error_os(errno, "cannot make a pipe to the guardian");
	g->pipe = ends[1];
	g->guardian = fork();
	if (!g->guardian) {
		close(ends[1]);
		be_guardian(g, ends[0], until);
	}
	int error = errno;
	close(ends[0]);
	if (g->guardian < 0)
		return error_os(error, "cannot start the guardian");
	g->guardian_fd = (int)syscall(SYS_pidfd_open, g->guardian, 0);
	return NULL;
}

static void guard_free(struct guard *g)
{
	if (g->pipe >= 0)
		close(g->pipe);
	if (g->guardian_fd >= 0)
		close(g->guardian_fd);
	if (g->shields)
		munmap(g->shields, g->bytes);
	free(g);
}

struct error *guard_create(const struct process *p, size_t n,
			   const int *netns_fds, size_t n_netns,
			   int64_t window_ms, struct guard **ret)
{
	struct guard *g = calloc(1, sizeof(*g));
	uint32_t random = 0;

	if (!g)
		return &error_nomem;
	*g = (struct guard){ .p = p,
			     .guardian = -1,
			     .guardian_fd = -1,
			     .pipe = -1,
			     .n = n,
			     .n_shields = n_netns };
	if (getrandom(&random, sizeof(random), 0) != sizeof(random))
		random = (uint32_t)clock_mono_ns();
	snprintf(g->name, sizeof(g->name), "stranded_%d_%08x", (int)getpid(),
		 random);
	struct error *err = share_memory(g, netns_fds);
	if (!err)
		err = fork_guardian(g, window_ms);
	if (err) {
		guard_free(g);
		return err;
	}
	*ret = g;
	return NULL;
}

/* It has only to read a table, unless it is stopped: then it is left behind. */
static void wait_for_guardian(const struct guard *g)
{
	struct pollfd p = { .fd = g->guardian_fd, .events = POLLIN };
	int64_t until = clock_mono_ns() + GUARD_END_MS * NS_PER_MS;
	int64_t left;

	while (g->guardian_fd >= 0 && (left = until - clock_mono_ns()) > 0) {
		if (poll(&p, 1, (int)(left / 1000000) + 1) > 0)
			break;
	}
	while (waitpid(g->guardian, NULL, g->guardian_fd < 0 ? 0 : WNOHANG) <
		       0 &&
	       errno == EINTR)
		;
}

static size_t still_noted(const struct guard *g)
{
	size_t n = 0;

	for (size_t i = 0; i < g->n; i++)
		n += atomic_load(&g->entries[i].kind) != GUARD_NOTHING;
	return n;
}

struct error *guard_finish(struct guard *guard)
{
	struct error *err = NULL;
	size_t left, tables = 0;

	if (!guard)
		return NULL;
	close(guard->pipe);
	guard->pipe = -1;
	wait_for_guardian(guard);
	left = still_noted(guard);
	for (size_t i = 0; i < guard->n_shields; i++)
		tables += atomic_load(&guard->shields[i].armed) != 0;
	if (left)
		err = error_new(ERROR_OS,
				"the options of %zu sockets could not be put "
				"back; SO_REUSEADDR or keepalive may differ "
				"from what the program had set",
				left);
	else if (tables)
		err = error_new(ERROR_OS,
				"the RST shield could not be removed; nft "
				"delete table inet %s",
				guard->name);
	guard_free(guard);
	return err;
}
