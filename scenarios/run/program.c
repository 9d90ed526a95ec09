/* SPDX-License-Identifier: Apache-2.0 */
#include "scenarios/run/program.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"

#define MAX_ARGV 64
#define ALONE_READY_MS 5000
#define WAIT_STEP_NS 2000000

static struct error *open_pipes(struct program *p, int theirs[2])
{
	int in[2] = { -1, -1 }, out[2] = { -1, -1 };

	p->in = p->out = -1;
	p->err = memfd_create("stderr", MFD_CLOEXEC);
	if (p->err < 0 || pipe2(in, O_CLOEXEC))
		return error_os(errno, "cannot make a pipe");
	theirs[0] = in[0];
	p->in = in[1];
	if (pipe2(out, O_CLOEXEC))
		return error_os(errno, "cannot make a pipe");
	p->out = out[0];
	theirs[1] = out[1];
	return NULL;
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

struct error *program_start(struct lab *lab, const char *host,
			    const struct alone *alone, const char *const *argv,
			    struct program *ret)
{
	char pid[16];
	const char *full[MAX_ARGV + 8];
	size_t n = 0;
	int theirs[2] = { -1, -1 };

	*ret = (struct program){ .name = base_name(argv[0]) };
	if (alone) {
		snprintf(pid, sizeof(pid), "%d", (int)alone->inside);
		const char *const enter[] = { "nsenter", "-t", pid,
					      "-m",	 "-p", "--" };
		memcpy(full, enter, sizeof(enter));
		n = sizeof(enter) / sizeof(enter[0]);
	}
	for (size_t i = 0; argv[i]; i++) {
		if (i == MAX_ARGV)
			return error_new(ERROR_USAGE, "too many arguments");
		full[n++] = argv[i];
	}
	full[n] = NULL;
	struct error *err = open_pipes(ret, theirs);
	const struct lab_spawn what = {
		.host = host,
		.argv = (char *const *)full,
		.in = theirs[0],
		.out = theirs[1],
		.err = ret->err,
		.die_with_us = true,
	};
	if (!err)
		err = lab_spawn(lab, &what, &ret->pid);
	for (int i = 0; i < 2; i++)
		if (theirs[i] >= 0)
			close(theirs[i]);
	return err ? error_wrap(err, "cannot start %s in host %s", ret->name,
				host)
		   : NULL;
}

/* Read once. Returns 1, 0 at the time's end, -EPIPE at the end, -errno. */
static int read_more(struct program *p, int64_t until_ns)
{
	struct pollfd pfd = { .fd = p->out, .events = POLLIN };
	int64_t left = (until_ns - clock_mono_ns()) / 1000000;

	if (p->out < 0)
		return -EPIPE;
	if (p->len >= PROGRAM_OUTPUT_MAX)
		return -E2BIG;
	int rc = poll(&pfd, 1, left > 0 ? (int)left : 0);
	if (rc <= 0)
		return rc < 0 && errno != EINTR ? -errno : -ETIMEDOUT;
	if (p->cap - p->len < 4097) {
		size_t cap = 2 * p->cap + 8192;
		char *buf = realloc(p->buf, cap);
		if (!buf)
			return -ENOMEM;
		p->buf = buf;
		p->cap = cap;
	}
	ssize_t n = read(p->out, p->buf + p->len, p->cap - p->len - 1);
	if (n <= 0)
		return n ? -errno : -EPIPE;
	p->len += (size_t)n;
	p->buf[p->len] = '\0';
	return 1;
}

int program_line(struct program *p, int64_t timeout_ms, const char **ret)
{
	int64_t until = clock_mono_ns() + timeout_ms * 1000000;

	// What was handed out last is marked by the NUL that ends it.
	if (p->len && memchr(p->buf, '\0', p->len)) {
		size_t used = strlen(p->buf) + 1;
		memmove(p->buf, p->buf + used, p->len - used);
		p->len -= used;
		p->buf[p->len] = '\0';
	}
	for (;;) {
		char *nl = p->len ? memchr(p->buf, '\n', p->len) : NULL;
		if (nl) {
			*nl = '\0';
			*ret = p->buf;
			return 1;
		}
		int rc = read_more(p, until);
		if (rc == -ETIMEDOUT)
			return 0;
		if (rc < 0)
			return rc;
	}
}

int program_read_all(struct program *p, int64_t timeout_ms)
{
	int64_t until = clock_mono_ns() + timeout_ms * 1000000;
	int rc;

	do {
		rc = read_more(p, until);
	} while (rc > 0);
	return rc == -EPIPE ? 0 : rc;
}

int program_tell(struct program *p, const char *text)
{
	size_t len = strlen(text);
	// Its end must not be ours; ignored for good, children would inherit it.
	void (*before)(int) = signal(SIGPIPE, SIG_IGN);
	ssize_t n = write(p->in, text, len);

	signal(SIGPIPE, before);
	return n == (ssize_t)len ? 0 : -EPIPE;
}

void program_errors(const struct program *p, char *buf, size_t size)
{
	ssize_t n = p->err >= 0 ? pread(p->err, buf, size - 1, 0) : 0;

	buf[n > 0 ? n : 0] = '\0';
	// One line: it goes behind an error of ours.
	for (char *c = buf; *c; c++)
		if (*c == '\n')
			*c = c[1] ? ' ' : '\0';
}

int program_wait(struct program *p, int64_t timeout_ms)
{
	int64_t until = clock_mono_ns() + timeout_ms * 1000000;
	int status;

	while (p->pid > 0) {
		pid_t rc = waitpid(p->pid, &status, WNOHANG);
		if (rc == p->pid) {
			p->pid = 0;
			return status;
		}
		if (rc < 0 && errno != EINTR)
			break;
		if (clock_mono_ns() > until)
			break;
		clock_sleep_until(clock_mono_ns() + WAIT_STEP_NS);
	}
	return -1;
}

void program_end(struct program *p)
{
	if (!p || !p->name)
		return;
	if (p->pid > 0) {
		kill(p->pid, SIGKILL);
		while (waitpid(p->pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	if (p->in >= 0)
		close(p->in);
	if (p->out >= 0)
		close(p->out);
	if (p->err >= 0)
		close(p->err);
	free(p->buf);
	*p = (struct program){ .in = -1, .out = -1, .err = -1 };
}

/* --- a machine of its own --- */

/* The only child of @pid; 0: none yet. */
static pid_t child_of(pid_t pid)
{
	char path[64];
	int child = 0;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)pid,
		 (int)pid);
	AUTO_FCLOSE FILE *f = fopen(path, "re");
	if (!f || fscanf(f, "%d", &child) != 1)
		return 0;
	return child;
}

struct error *alone_start(struct lab *lab, const char *host, struct alone *ret)
{
	/* The shell says when the namespaces and /proc are there, then is the
	 * first process, which reaps what is left behind by others. */
	static const char *const argv[] = {
		"unshare",	"--pid",	"--fork",
		"--kill-child", "--mount-proc", "--",
		"sh",		"-c",		"echo ready; read -r _",
		NULL,
	};
	const char *line;
	char why[256];

	*ret = (struct alone){ 0 };
	struct error *err = program_start(lab, host, NULL, argv, &ret->keeper);
	if (err)
		return err;
	if (program_line(&ret->keeper, ALONE_READY_MS, &line) == 1)
		ret->inside = child_of(ret->keeper.pid);
	if (ret->inside)
		return NULL;
	program_errors(&ret->keeper, why, sizeof(why));
	return error_new(ERROR_DENIED,
			 "cannot make a pid namespace with its own /proc (%s); "
			 "run as root, outside of a container that masks /proc",
			 *why ? why : "no answer");
}

void alone_end(struct alone *alone)
{
	program_end(&alone->keeper);
	alone->inside = 0;
}
