/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The processes of a lab:
 *
 *	warden		waits for the keeper's end, then clears up
 *	  keeper	builds the lab; waits for its owner's end, for SIGTERM,
 *			and for the warden's end, then clears up
 *	    a, b ...	each holds the namespaces of a host; dies with the keeper
 *
 * Two that watch each other, because the programs in a lab are not their
 * children: when one is killed, the other ends what still runs there. Both hold
 * an fd on each network namespace, so that its inode number cannot become
 * another's before they have looked for it.
 */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "netwatch/netns.h"
#include "scenarios/lab/lab_priv.h"

#define END_MS 15000
#define PROXY_NS (5 * INT64_C(1000000000))
#define STEP_NS 2000000

/* The fds that a process of the lab keeps, in this order from 3 on. */
enum { FD_READY = 3, FD_DIR, FD_WATCH, FD_OWNER, FD_GO, FD_FIRST_FREE };

static void set_name(const struct lab_state *st, const char *role)
{
	char comm[16];

	// the kernel keeps 15 bytes: better a part of the lab's name is missing
	snprintf(comm, sizeof(comm), "lab-%.*s-%s",
		 (int)(sizeof(comm) - 6 - strlen(role)), st->name, role);
	prctl(PR_SET_NAME, comm);
}

/* Nothing of the caller's: no signal handler, terminal, directory, fd. */
static void detach(void)
{
	sigset_t none;

	for (int sig = 1; sig < NSIG; sig++)
		signal(sig, SIG_DFL);
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setsid();
	if (chdir("/"))
		return;
}

/* Arrange fds[0..n) as FD_READY ... and close all others. */
static void keep_fds(const int *fds, int n)
{
	int high[FD_FIRST_FREE];

	for (int i = 0; i < n; i++)
		high[i] = fds[i] < 0 ? -1 : fcntl(fds[i], F_DUPFD_CLOEXEC, 100);
	for (int fd = 0; fd < 3; fd++) {
		int null = open("/dev/null", O_RDWR | O_CLOEXEC);

		dup2(null, fd);
		if (null > 2)
			close(null);
	}
	for (int i = 0; i < n; i++) {
		if (high[i] < 0)
			close(FD_READY + i);
		else
			dup3(high[i], FD_READY + i, O_CLOEXEC);
	}
	close_range((unsigned)(FD_READY + n), ~0u, 0);
}

/* Pins and numbers of the namespaces. */
struct pins {
	int fd[LAB_MAX_HOSTS + 1];
	struct lab_sweep sweep;
};

static void pin(struct pins *p, const struct lab_host *h)
{
	int fd;
	AUTO_ERROR struct error *err = lab_host_netns(h, &fd);

	if (err)
		return;
	p->fd[p->sweep.n] = fd;
	p->sweep.netns[p->sweep.n++] = h->netns;
}

static void pin_all(struct pins *p, const struct lab_state *st)
{
	*p = (struct pins){ .sweep.signal = SIGKILL };
	for (size_t i = 0; i < st->n_hosts; i++)
		pin(p, &st->hosts[i]);
	pin(p, &st->spare);
}

/* All that runs in the lab ends. */
static void clear_up(struct pins *p)
{
	/* A closed connection that cannot say so holds its namespace: for a
	 * minute and more, with the default.
	 */
	for (size_t i = 0; i < p->sweep.n; i++)
		error_free(lab_net_sysctl(p->fd[i],
					  "net/ipv4/tcp_orphan_retries", "1"));
	lab_sweep(&p->sweep);
}

/* A host. */

static void hold(const struct lab_state *st, const char *name, int ready,
		 pid_t keeper)
{
	sigset_t all;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != keeper)
		_exit(1);
	set_name(st, name);
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	int rc = unshare(CLONE_NEWNET) ? errno : 0;
	if (write(ready, &rc, sizeof(rc)) != sizeof(rc))
		_exit(1);
	close_range(FD_READY, ~0u, 0);
	for (;;)
		pause();
}

static struct error *host_error(int errnum)
{
	if (errnum == EPERM)
		return error_new(ERROR_DENIED,
				 "cannot make a network namespace; run as "
				 "root");
	if (errnum == EINVAL)
		return error_new(ERROR_UNSUPPORTED,
				 "this kernel has no network namespaces");
	return error_os(errnum, "cannot make a network namespace");
}

static struct error *start_host(const struct lab_state *st, const char *name,
				struct lab_host *ret)
{
	struct lab_host h = { 0 };
	int ends[2], rc = ECHILD;

	snprintf(h.name, sizeof(h.name), "%s", name);
	if (pipe2(ends, O_CLOEXEC))
		return error_os(errno, "cannot make a pipe");
	pid_t keeper = getpid(), pid = fork();
	if (pid == 0)
		hold(st, name, ends[1], keeper);
	close(ends[1]);
	if (pid < 0 || read(ends[0], &rc, sizeof(rc)) != sizeof(rc))
		rc = rc ? rc : ECHILD;
	close(ends[0]);
	if (pid < 0 || rc)
		return host_error(pid < 0 ? EAGAIN : rc);
	char path[64];
	snprintf(path, sizeof(path), "/proc/%d/ns/net", pid);
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
	h.holder = lab_process_of(pid);
	h.netns = fd < 0 ? 0 : netns_inode(fd);
	if (!h.holder.pid || !h.netns || h.netns == netns_own())
		return error_new(ERROR_OS, "cannot hold host '%s'", name);
	*ret = h;
	return NULL;
}

static struct error *start_hosts(struct lab_state *st)
{
	struct error *err = start_host(st, "limbo", &st->spare);

	for (size_t i = 0; !err && st->plan->hosts[i]; i++) {
		err = start_host(st, st->plan->hosts[i], &st->hosts[i]);
		st->n_hosts = i + (err ? 0 : 1);
	}
	return err;
}

/* Building. */

static struct error *netns_of(struct lab_state *st, const char *host, int *ret)
{
	return lab_host_netns(lab_state_host(st, host), ret);
}

static struct error *lay_cable(struct lab_state *st, const struct lab_cable *c)
{
	AUTO_CLOSE int x = -1;
	AUTO_CLOSE int y = -1;
	struct error *err = netns_of(st, c->x, &x);

	if (!err)
		err = netns_of(st, c->y, &y);
	return err ? err : lab_net_cable(c, x, y);
}

static struct error *
each_host(struct lab_state *st,
	  struct error *(*fn)(int, const struct lab_state *, const char *))
{
	struct error *err = NULL;

	for (size_t i = 0; !err && i < st->n_hosts; i++) {
		AUTO_CLOSE int fd = -1;

		err = lab_host_netns(&st->hosts[i], &fd);
		if (!err)
			err = fn(fd, st, st->hosts[i].name);
	}
	return err;
}

static struct error *set_up_host(int fd, const struct lab_state *st,
				 const char *host)
{
	return lab_net_host(fd, st->plan, host);
}

static struct error *set_up_ends(int fd, const struct lab_state *st,
				 const char *host)
{
	struct error *err = NULL;
	struct lab_end end;

	for (size_t i = 0; !err && lab_plan_end(st->plan, host, i, &end); i++)
		err = lab_net_end(fd, &end);
	return err;
}

static struct error *await_ends(int fd, const struct lab_state *st,
				const char *host)
{
	struct error *err = NULL;
	struct lab_end end;

	for (size_t i = 0; !err && lab_plan_end(st->plan, host, i, &end); i++)
		err = lab_net_carrier(fd, end.device);
	if (!err && !strcmp(host, "s"))
		err = lab_net_carrier(fd, LAB_SWITCH);
	return err;
}

/* The proxy: one for each family, so that neither becomes the other. */

static bool listens(pid_t pid, const char *table)
{
	char path[64], want[16], line[512];

	snprintf(path, sizeof(path), "/proc/%d/net/%s", pid, table);
	snprintf(want, sizeof(want), ":%04X ", LAB_PROXY_PORT);
	AUTO_FCLOSE FILE *f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f)) {
		// "sl local_address rem_address st": 0A is LISTEN
		if (strstr(line, want) && strstr(line, " 0A "))
			return true;
	}
	return false;
}

static struct error *start_proxy(struct lab_state *st, int family)
{
	bool six = family == AF_INET6;
	char b[LAB_ADDRESS_MAX], from[64], to[LAB_ADDRESS_MAX + 32];
	pid_t pid;

	lab_address_text(family, 2, 2, false, b);
	snprintf(from, sizeof(from), "TCP%d-LISTEN:%d,fork,reuseaddr%s",
		 six ? 6 : 4, LAB_PROXY_PORT, six ? ",ipv6only=1" : "");
	snprintf(to, sizeof(to), six ? "TCP6:[%s]:%d" : "TCP4:%s:%d", b,
		 LAB_PROXY_PORT);
	char socat[] = "socat";
	char *argv[] = { socat, from, to, NULL };
	struct lab_spawn what = {
		.host = "p",
		.argv = argv,
		.in = -1,
		.out = -1,
		.err = -1,
		.die_with_us = true,
	};
	struct error *err = lab_start(st, &what, &pid);
	if (err) {
		error_free(err);
		return error_new(ERROR_UNSUPPORTED,
				 "the topology proxy needs the program socat; "
				 "install it (Debian: socat)");
	}
	int64_t end = clock_mono_ns() + PROXY_NS;
	while (!listens(pid, six ? "tcp6" : "tcp")) {
		if (clock_mono_ns() > end)
			return error_new(ERROR_OS, "socat does not listen");
		clock_sleep_until(clock_mono_ns() + STEP_NS);
	}
	return NULL;
}

static struct error *set_up_role(struct lab_state *st)
{
	struct error *err = NULL;

	if (st->plan->shape == LAB_NAT) {
		AUTO_CLOSE int r = -1;

		err = netns_of(st, "r", &r);
		return err ? err : lab_rules_masquerade(r, 0, 0);
	}
	if (st->plan->shape == LAB_PROXY) {
		err = start_proxy(st, AF_INET);
		if (!err)
			err = start_proxy(st, AF_INET6);
	}
	return err;
}

static struct error *build(struct lab_state *st)
{
	struct error *err = lab_become_admin();

	if (!err)
		err = start_hosts(st);
	if (!err)
		err = each_host(st, set_up_host);
	for (size_t i = 0; !err && st->plan->cables[i].x; i++)
		err = lay_cable(st, &st->plan->cables[i]);
	if (!err)
		err = each_host(st, set_up_ends);
	if (!err)
		err = each_host(st, await_ends);
	if (!err)
		err = set_up_role(st);
	return err;
}

/* The keeper. */

/* Until one of the two ends, or we are asked to. */
static void keep(bool owned)
{
	struct pollfd fds[] = {
		{ .fd = FD_WATCH, .events = POLLIN },
		{ .fd = owned ? FD_OWNER : -1, .events = POLLIN },
		{ .fd = -1, .events = POLLIN },
	};
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	fds[2].fd = signalfd(-1, &set, SFD_CLOEXEC);
	for (;;) {
		if (poll(fds, 3, -1) > 0)
			break;
	}
	close(fds[2].fd);
}

static void run_keeper(struct lab_state *st, bool owned)
{
	struct pins pins;

	set_name(st, "keeper");
	st->keeper = lab_process_of(getpid());
	st->warden = lab_process_of(getppid());
	struct error *err = build(st);
	st->since_ms = clock_boot_ns() / 1000000;
	if (!err)
		err = lab_state_write(FD_DIR, st);
	pin_all(&pins, st);
	if (!err && write(FD_GO, "", 1) != 1)
		err = error_new(ERROR_OS, "the warden of the lab was killed");
	bool failed = err != NULL;
	// who asked for the lab may have been killed: then nobody wants it
	if (!lab_error_send(FD_READY, err, NULL))
		failed = true;
	// the lock is one, however many fds there are: who built it lets go
	if (!failed)
		flock(FD_DIR, LOCK_UN);
	close(FD_READY);
	close(FD_GO);
	// killed hosts are not waited for
	signal(SIGCHLD, SIG_IGN);
	if (!failed)
		keep(owned);
	clear_up(&pins);
	struct pollfd warden = { .fd = FD_WATCH, .events = POLLIN };
	if (poll(&warden, 1, 0) > 0)
		lab_dir_remove(st->name); // what the warden would have done
	_exit(0);
}

/* The warden. */

static void watch(struct lab_state *st, int keeper_fd, int go)
{
	struct pollfd fds[] = {
		{ .fd = keeper_fd, .events = POLLIN },
		{ .fd = go, .events = POLLIN },
	};
	struct pins pins = { .sweep.signal = SIGKILL };
	char c;

	for (;;) {
		if (poll(fds, 2, -1) < 0)
			continue;
		if (fds[1].revents && read(go, &c, 1) == 1 &&
		    lab_state_peek(FD_DIR, st))
			pin_all(&pins, st);
		// once is all that there is to hear
		if (fds[1].revents)
			fds[1].fd = -1;
		if (fds[0].revents)
			break;
	}
	waitpid(-1, NULL, 0);
	clear_up(&pins);
	lab_dir_remove(st->name);
}

static void run_warden(struct lab_state *st, int ready, int dirfd, int owner_fd)
{
	int go[2];

	detach();
	set_name(st, "warden");
	AUTO_CLOSE int self = pidfd_open(getpid(), 0);
	if (self < 0 || pipe2(go, O_CLOEXEC))
		_exit(1);
	pid_t pid = fork();
	if (pid == 0) {
		int fds[] = { ready, dirfd, self, owner_fd, go[1] };

		detach();
		keep_fds(fds, FD_FIRST_FREE - FD_READY);
		run_keeper(st, owner_fd >= 0);
	}
	int keeper_fd = pid < 0 ? -1 : pidfd_open(pid, 0);
	int fds[] = { ready, dirfd, keeper_fd, -1, go[0] };
	keep_fds(fds, FD_FIRST_FREE - FD_READY);
	if (keeper_fd >= 0)
		watch(st, FD_WATCH, FD_GO);
	else
		lab_dir_remove(st->name);
	_exit(0);
}

struct error *lab_keeper_start(struct lab_state *st, int dirfd, int owner_fd)
{
	struct error *err = NULL;
	int ends[2];

	if (pipe2(ends, O_CLOEXEC))
		return error_os(errno, "cannot make a pipe");
	pid_t pid = fork();
	if (pid == 0) {
		// twice: the warden is nobody's child, and nobody waits for it
		if (fork() == 0)
			run_warden(st, ends[1], dirfd, owner_fd);
		_exit(0);
	}
	int fork_errno = errno;
	close(ends[1]);
	if (pid < 0) {
		close(ends[0]);
		return error_os(fork_errno, "cannot fork");
	}
	waitpid(pid, NULL, 0);
	if (!lab_error_receive(ends[0], NULL, &err))
		err = error_new(ERROR_OS, "the keeper of the lab was killed");
	// what failed has been cleared up once all have ended
	char c;
	while (err && read(ends[0], &c, 1) > 0)
		;
	close(ends[0]);
	return err ? err : lab_state_read(dirfd, st->name, st);
}

static bool await_end(int fd, int ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	int64_t end = clock_mono_ns() + ms * INT64_C(1000000);

	if (fd < 0)
		return true;
	for (;;) {
		int64_t left = (end - clock_mono_ns()) / 1000000;

		if (left <= 0)
			return false;
		if (poll(&p, 1, (int)left) > 0)
			return true;
	}
}

void lab_keeper_end(const struct lab_state *st)
{
	AUTO_CLOSE int keeper = lab_process_open(&st->keeper);
	AUTO_CLOSE int warden = lab_process_open(&st->warden);

	if (keeper >= 0)
		pidfd_send_signal(keeper, SIGTERM, NULL, 0);
	if (!await_end(keeper, END_MS)) {
		pidfd_send_signal(keeper, SIGKILL, NULL, 0);
		await_end(keeper, END_MS);
	}
	if (!await_end(warden, END_MS)) {
		pidfd_send_signal(warden, SIGKILL, NULL, 0);
		await_end(warden, END_MS);
	}
}
