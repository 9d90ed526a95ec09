/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/cleanup.h"
#include "scenarios/lab/lab_priv.h"

#define LIMIT_NS (10 * INT64_C(1000000000))
#define STEP_NS 5000000
#define ENVIRON_MAX (1 << 20)

static bool spared(const struct lab_sweep *s, pid_t pid)
{
	for (size_t i = 0; i < s->n_spare; i++) {
		if (s->spare[i] == pid)
			return true;
	}
	return pid == getpid();
}

static bool is_ours(const struct lab_sweep *s, uint64_t inode)
{
	for (size_t i = 0; i < s->n; i++) {
		if (s->netns[i] == inode)
			return true;
	}
	return false;
}

/* The network namespace below /proc; 0: a zombie, gone, or not for us. */
static uint64_t netns_of(const char *dir)
{
	char path[400];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%s/ns/net", dir);
	return stat(path, &st) ? 0 : st.st_ino;
}

/* A main thread that has ended leaves the others behind; ask those. */
static uint64_t netns_of_threads(pid_t pid)
{
	char path[300];
	struct dirent *e;
	uint64_t inode = 0;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	DIR *dir = opendir(path);
	if (!dir)
		return 0;
	while (!inode && (e = readdir(dir))) {
		if (e->d_name[0] < '1' || e->d_name[0] > '9')
			continue;
		snprintf(path, sizeof(path), "%d/task/%.20s", pid, e->d_name);
		inode = netns_of(path);
	}
	closedir(dir);
	return inode;
}

/* Is STRANDED_LAB_ID=@id in its environment? */
static bool has_id(pid_t pid, const char *id)
{
	char path[64], want[64];
	AUTO_FREE char *line = NULL;
	size_t size = 0, total = 0;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/environ", pid);
	snprintf(want, sizeof(want), "STRANDED_LAB_ID=%s", id);
	AUTO_FCLOSE FILE *f = fopen(path, "re");
	while (f && total < ENVIRON_MAX &&
	       (n = getdelim(&line, &size, '\0', f)) > 0) {
		if (!strcmp(line, want))
			return true;
		total += (size_t)n;
	}
	return false;
}

static bool matches(const struct lab_sweep *s, pid_t pid)
{
	char dir[24];

	if (pid <= 1 || spared(s, pid))
		return false;
	snprintf(dir, sizeof(dir), "%d", pid);
	uint64_t inode = netns_of(dir);
	if (!inode)
		inode = netns_of_threads(pid);
	return inode && is_ours(s, inode) && (!s->id || has_id(pid, s->id));
}

static size_t walk(const struct lab_sweep *s, void (*fn)(pid_t, void *),
		   void *arg)
{
	DIR *dir = opendir("/proc");
	struct dirent *e;
	size_t n = 0;

	if (!dir)
		return 0;
	while ((e = readdir(dir))) {
		pid_t pid = atoi(e->d_name);

		if (pid <= 0 || !matches(s, pid))
			continue;
		n++;
		fn(pid, arg);
	}
	closedir(dir);
	return n;
}

static void signal_one(pid_t pid, void *arg)
{
	const struct lab_sweep *s = arg;
	AUTO_CLOSE int fd = pidfd_open(pid, 0);

	// the number may be another's by now: look again, with it held
	if (fd >= 0 && matches(s, pid))
		pidfd_send_signal(fd, s->signal, NULL, 0);
}

size_t lab_sweep(const struct lab_sweep *sweep)
{
	struct lab_sweep s = *sweep;
	int64_t end = clock_mono_ns() + LIMIT_NS;

	for (;;) {
		size_t n = walk(&s, signal_one, &s);

		if (n == 0 || s.signal != SIGKILL || clock_mono_ns() > end)
			return n;
		clock_sleep_until(clock_mono_ns() + STEP_NS);
	}
}

void lab_sweep_each(const struct lab_sweep *sweep,
		    void (*fn)(pid_t pid, void *arg), void *arg)
{
	walk(sweep, fn, arg);
}

static void add_host(struct lab_sweep *s, const struct lab_host *h, bool keep)
{
	if (!h->netns)
		return;
	s->netns[s->n++] = h->netns;
	if (keep && h->holder.pid)
		s->spare[s->n_spare++] = h->holder.pid;
}

void lab_sweep_init(struct lab_sweep *sweep, const struct lab_state *st,
		    bool keep_holders)
{
	*sweep = (struct lab_sweep){ .signal = SIGKILL };
	for (size_t i = 0; i < st->n_hosts; i++)
		add_host(sweep, &st->hosts[i], keep_holders);
	add_host(sweep, &st->spare, keep_holders);
}
