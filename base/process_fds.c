/* SPDX-License-Identifier: Apache-2.0 */
#include "base/process.h"
#include "base/process_priv.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"

static bool parse_number(const char *s, int *ret)
{
	long v = 0;

	if (!*s)
		return false;
	for (; *s; s++) {
		if (!isdigit((unsigned char)*s))
			return false;
		v = 10 * v + (*s - '0');
		if (v > INT_MAX)
			return false;
	}
	*ret = (int)v;
	return true;
}

static int compare_ints(const void *a, const void *b)
{
	int x = *(const int *)a, y = *(const int *)b;

	return (x > y) - (x < y);
}

struct numbers {
	int *v;
	size_t n, cap;
};

static int numbers_push(struct numbers *numbers, int number)
{
	if (numbers->n == numbers->cap) {
		size_t cap = numbers->cap ? 2 * numbers->cap : 256;
		int *v = realloc(numbers->v, cap * sizeof(*v));

		if (!v)
			return -ENOMEM;
		numbers->v = v;
		numbers->cap = cap;
	}
	numbers->v[numbers->n++] = number;
	return 0;
}

/* All numeric entries of @dir, also those beyond @max, which are counted. */
static int scan(DIR *dir, size_t max, struct numbers *numbers, size_t *more_ret)
{
	struct dirent *de;
	int number, rc = 0;

	*more_ret = 0;
	for (;;) {
		errno = 0;
		de = readdir(dir);
		if (!de)
			return -errno;
		if (!parse_number(de->d_name, &number))
			continue;
		if (numbers->n >= max) {
			++*more_ret;
			continue;
		}
		rc = numbers_push(numbers, number);
		if (rc)
			return rc;
	}
}

int process_numbers(int dirfd, const char *name, size_t max,
		    struct arena *arena, int **ret, size_t *n_ret,
		    size_t *more_ret)
{
	int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct numbers numbers = { 0 };
	DIR *dir;
	int rc;

	if (fd < 0)
		return errno == ENOENT ? -ESRCH : -errno;
	dir = fdopendir(fd);
	if (!dir) {
		rc = -errno;
		close(fd);
		return rc;
	}
	rc = scan(dir, max, &numbers, more_ret);
	closedir(dir);
	if (rc == -ENOENT)
		rc = -ESRCH; // proc_readfd_common(): the task has gone
	if (!rc) {
		if (numbers.n)
			qsort(numbers.v, numbers.n, sizeof(int), compare_ints);
		*ret = arena_memdup(arena, numbers.v, numbers.n * sizeof(int));
		*n_ret = numbers.n;
		rc = *ret ? 0 : -ENOMEM;
	}
	free(numbers.v);
	return rc;
}

static bool parse_inode(const char *s, const char *prefix, uint64_t *ret)
{
	size_t n = strlen(prefix);
	char *end;

	if (strncmp(s, prefix, n) || !isdigit((unsigned char)s[n]))
		return false;
	errno = 0;
	*ret = strtoull(s + n, &end, 10);
	return !errno && !strcmp(end, "]");
}

/* What the link says; sockfs_dname(), pipefs_dname(), anon_inodefs_dname(). */
static void classify(struct process_fd *fd)
{
	fd->inode = 0;
	if (parse_inode(fd->text, "socket:[", &fd->inode))
		fd->kind = PROCESS_FD_SOCKET;
	else if (parse_inode(fd->text, "pipe:[", &fd->inode))
		fd->kind = PROCESS_FD_PIPE;
	else if (!strcmp(fd->text, "anon_inode:[eventpoll]"))
		fd->kind = PROCESS_FD_EVENTPOLL;
	else if (!strcmp(fd->text, "anon_inode:[eventfd]"))
		fd->kind = PROCESS_FD_EVENTFD;
	else if (fd->text[0] == '/')
		fd->kind = PROCESS_FD_FILE;
	else
		fd->kind = PROCESS_FD_OTHER;
}

/* Returns the length of the link's text or -errno; a long one is cut. */
static ssize_t read_link(const struct process *p, int fd, char *text,
			 size_t size)
{
	char name[32];
	ssize_t n;

	snprintf(name, sizeof(name), "fd/%d", fd);
	n = readlinkat(p->procfd, name, text, size - 1);
	if (n < 0)
		return -errno;
	text[n] = '\0';
	return n;
}

struct error *process_fds(const struct process *p, struct arena *arena,
			  struct process_fds *ret)
{
	struct process_fds fds = { 0 };
	char text[PROCESS_MAX_TEXT];
	int *numbers;
	size_t n;
	int rc;

	rc = process_numbers(p->procfd, "fd", PROCESS_MAX_FDS, arena, &numbers,
			     &n, &fds.unreadable);
	if (rc)
		return process_error(p, -rc, "file descriptors of");
	fds.v = arena_array(arena, n, sizeof(*fds.v));
	if (!fds.v)
		return &error_nomem;
	for (size_t i = 0; i < n; i++) {
		struct process_fd *fd = &fds.v[fds.n];

		if (read_link(p, numbers[i], text, sizeof(text)) < 0) {
			fds.unreadable++;
			continue;
		}
		fd->fd = numbers[i];
		fd->text = arena_strdup(arena, text);
		if (!fd->text)
			return &error_nomem;
		classify(fd);
		fds.n++;
	}
	// every single one refused: the process has ended, or may not be seen
	if (n && !fds.n && !process_alive(p))
		return process_error(p, ESRCH, "file descriptors of");
	*ret = fds;
	return NULL;
}

const struct process_fd *process_fds_find(const struct process_fds *fds, int fd)
{
	size_t lo = 0, hi = fds->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (fds->v[mid].fd == fd)
			return &fds->v[mid];
		if (fds->v[mid].fd < fd)
			lo = mid + 1;
		else
			hi = mid;
	}
	return NULL;
}

struct error *process_fd_link(const struct process *p, int fd,
			      struct process_fd *ret, char *text, size_t size)
{
	struct process_fd link = { .fd = fd, .text = text };
	ssize_t n;

	if (!size)
		return error_new(ERROR_USAGE, "no room for a link");
	n = read_link(p, fd, text, size);
	if (n == -ENOENT && process_alive(p))
		return error_new(ERROR_GONE,
				 "process %d (%s) has no file descriptor %d",
				 (int)p->pid, p->comm, fd);
	if (n < 0)
		return process_error(p, n == -ENOENT ? ESRCH : (int)-n,
				     "a file descriptor of");
	classify(&link);
	*ret = link;
	return NULL;
}

int process_dup_fd(const struct process *p, int fd)
{
	long rc = syscall(SYS_pidfd_getfd, p->pidfd, fd, 0);

	return rc < 0 ? -errno : (int)rc;
}
