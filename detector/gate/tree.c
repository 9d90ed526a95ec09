/* SPDX-License-Identifier: Apache-2.0 */
#include "detector/gate/tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/process.h"

struct node {
	pid_t pid, parent;
	bool below;
};

/* /proc/PID/stat: "pid (comm) state ppid ...", where comm may hold anything. */
pid_t tree_parent(pid_t pid)
{
	char path[40], text[512];

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (n <= 0)
		return 0;
	text[n] = '\0';
	const char *close = strrchr(text, ')');
	char state;
	int parent;
	if (!close || sscanf(close + 1, " %c %d", &state, &parent) != 2 ||
	    state == 'Z' || state == 'X')
		return 0;
	return parent;
}

static int compare_pids(const void *a, const void *b)
{
	const struct node *x = a, *y = b;

	return x->pid < y->pid ? -1 : x->pid > y->pid;
}

static bool is_below(const struct node *v, size_t n, pid_t pid)
{
	const struct node key = { .pid = pid };
	const struct node *found =
		bsearch(&key, v, n, sizeof(*v), compare_pids);

	return found && found->below;
}

/* Parents may have greater pids than their children: until nothing changes. */
static void mark(struct node *v, size_t n, pid_t but)
{
	bool changed = true;

	for (size_t rounds = 0; changed && rounds <= n; rounds++) {
		changed = false;
		for (size_t i = 0; i < n; i++) {
			if (v[i].below || !v[i].parent || v[i].pid == but)
				continue;
			v[i].below = v[i].parent == getpid() ||
				     is_below(v, n, v[i].parent);
			changed |= v[i].below;
		}
	}
}

const char *tree_cmdline(pid_t pid, struct arena *arena)
{
	char path[40], text[PROCESS_MAX_TEXT];

	snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)pid);
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text));
	while (n > 0 && !text[n - 1])
		n--;
	for (ssize_t i = 0; i < n; i++)
		if (!text[i])
			text[i] = ' ';
	const char *s = n > 0 ? arena_strndup(arena, text, (size_t)n) : NULL;
	return s ? s : "?";
}

struct error *tree_list(pid_t but, struct arena *arena,
			struct tree_member **ret, size_t *n_ret)
{
	pid_t *pids;
	size_t n, kept = 0;
	struct error *err = process_find(NULL, arena, &pids, &n);

	if (err)
		return err;
	struct node *v = arena_array(arena, n + 1, sizeof(*v));
	*ret = arena_array(arena, n + 1, sizeof(**ret));
	if (!v || !*ret)
		return &error_nomem;
	for (size_t i = 0; i < n; i++)
		v[i] = (struct node){ pids[i], tree_parent(pids[i]), false };
	mark(v, n, but);
	for (size_t i = 0; i < n; i++) {
		if (!v[i].below || kept == TREE_MAX)
			continue;
		(*ret)[kept++] = (struct tree_member){
			.pid = v[i].pid,
			.cmdline = tree_cmdline(v[i].pid, arena),
		};
	}
	*n_ret = kept;
	return NULL;
}

/* "12 14 ", in pieces of whatever size. */
static size_t children_of(int dirfd, const char *tid, pid_t *ret, size_t max)
{
	char path[300], text[4096];
	size_t n = 0;
	long pid = 0;
	ssize_t len;

	snprintf(path, sizeof(path), "%s/children", tid);
	AUTO_CLOSE int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC);
	while (fd >= 0 && n < max && (len = read(fd, text, sizeof(text))) > 0)
		for (ssize_t i = 0; i < len && n < max; i++) {
			if (text[i] >= '0' && text[i] <= '9') {
				pid = pid * 10 + (text[i] - '0');
			} else if (pid) {
				ret[n++] = (pid_t)pid;
				pid = 0;
			}
		}
	return n;
}

size_t tree_children(pid_t pid, pid_t *ret, size_t max)
{
	char path[40];
	size_t n = 0;
	const struct dirent *e;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	DIR *dir = opendir(path);
	while (dir && n < max && (e = readdir(dir)) != NULL)
		if (*e->d_name != '.')
			n += children_of(dirfd(dir), e->d_name, ret + n,
					 max - n);
	if (dir)
		closedir(dir);
	return n;
}

void tree_signal(pid_t but, int sig)
{
	AUTO_ARENA struct arena *arena = arena_create();
	struct tree_member *v;
	size_t n;

	if (!arena)
		return;
	AUTO_ERROR struct error *err = tree_list(but, arena, &v, &n);
	for (size_t i = 0; !err && i < n; i++)
		kill(v[i].pid, sig);
}
