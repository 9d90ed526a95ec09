/* SPDX-License-Identifier: Apache-2.0 */

/** Several scenarios at once, each in a child that dies with us. */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "scenarios/run/run.h"

_Static_assert(sizeof(struct result) <= 4096, "fits a pipe at once");

struct job {
	size_t item;
	pid_t pid; /* 0: the slot is free */
	int fd;
	int64_t until_ns;
};

struct jobs {
	struct run_item *items;
	size_t n_items, next, shown;
	bool *done;
	const struct run_options *opt;
	struct job v[RUN_JOBS_MAX];
	size_t n; /* slots */
	size_t running;
};

static void work(const struct run_item *item, const struct run_options *opt,
		 pid_t parent, int fd)
{
	struct result r;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	play(item->scenario, item->family, opt->place, &r);
	_exit(write(fd, &r, sizeof(r)) != (ssize_t)sizeof(r));
}

static struct error *start(struct jobs *jobs, struct job *job)
{
	pid_t parent = getpid();
	int fds[2];

	if (pipe2(fds, O_CLOEXEC))
		return error_os(errno, "cannot make a pipe");
	fflush(NULL); // or the child would write it again
	*job = (struct job){
		.item = jobs->next,
		.fd = fds[0],
		.until_ns = clock_mono_ns() + RUN_LIMIT_MS * INT64_C(1000000),
		.pid = fork(),
	};
	if (!job->pid)
		work(&jobs->items[job->item], jobs->opt, parent, fds[1]);
	close(fds[1]);
	if (job->pid < 0) {
		job->pid = 0;
		close(fds[0]);
		return error_os(errno, "cannot fork");
	}
	jobs->next++;
	jobs->running++;
	return NULL;
}

static struct error *fill(struct jobs *jobs)
{
	struct error *err = NULL;

	for (size_t i = 0; !err && i < jobs->n; i++)
		if (!jobs->v[i].pid && jobs->next < jobs->n_items)
			err = start(jobs, &jobs->v[i]);
	return err;
}

static void show(struct jobs *jobs)
{
	for (; jobs->shown < jobs->n_items && jobs->done[jobs->shown];
	     jobs->shown++)
		if (jobs->opt->done)
			jobs->opt->done(jobs->opt->arg,
					&jobs->items[jobs->shown]);
}

/* Its pipe has something, or its time is over. */
static void finish(struct jobs *jobs, struct job *job, bool late)
{
	struct result *r = &jobs->items[job->item].result;
	int status;

	*r = (struct result){ .outcome = OUTCOME_RIGHT };
	if (late || read(job->fd, r, sizeof(*r)) != (ssize_t)sizeof(*r)) {
		*r = (struct result){ .outcome = OUTCOME_RIGHT };
		compare_raise(r, OUTCOME_WRONG,
			      late ? "took more than %d s and was ended"
				   : "its process died (limit %d s)",
			      RUN_LIMIT_MS / 1000);
		kill(job->pid, SIGKILL);
	}
	r->why[sizeof(r->why) - 1] = '\0';
	close(job->fd);
	while (waitpid(job->pid, &status, 0) < 0 && errno == EINTR)
		;
	job->pid = 0;
	jobs->running--;
	jobs->done[job->item] = true;
	show(jobs);
}

static struct error *wait_some(struct jobs *jobs)
{
	struct pollfd pfd[RUN_JOBS_MAX];

	for (size_t i = 0; i < jobs->n; i++)
		pfd[i] = (struct pollfd){
			.fd = jobs->v[i].pid ? jobs->v[i].fd : -1,
			.events = POLLIN,
		};
	if (poll(pfd, jobs->n, 1000) < 0 && errno != EINTR)
		return error_os(errno, "cannot poll");
	int64_t now = clock_mono_ns();
	for (size_t i = 0; i < jobs->n; i++) {
		bool late = jobs->v[i].pid && now > jobs->v[i].until_ns;
		if (late || (pfd[i].fd >= 0 && pfd[i].revents))
			finish(jobs, &jobs->v[i], late);
	}
	return NULL;
}

static void kill_all(struct jobs *jobs)
{
	for (size_t i = 0; i < jobs->n; i++) {
		if (!jobs->v[i].pid)
			continue;
		kill(jobs->v[i].pid, SIGKILL);
		waitpid(jobs->v[i].pid, NULL, 0);
		close(jobs->v[i].fd);
	}
}

struct error *run_all(struct run_item *items, size_t n,
		      const struct run_options *opt)
{
	struct jobs jobs = {
		.items = items,
		.n_items = n,
		.opt = opt,
		.n = opt->jobs < RUN_JOBS_MAX ? opt->jobs : RUN_JOBS_MAX,
		.done = calloc(n + 1, sizeof(*jobs.done)),
	};
	struct error *err = jobs.done ? fill(&jobs) : &error_nomem;

	while (!err && jobs.running) {
		err = wait_some(&jobs);
		if (!err)
			err = fill(&jobs);
	}
	kill_all(&jobs);
	free(jobs.done);
	return err;
}

struct run_count run_count(const struct run_item *items, size_t n)
{
	struct run_count c = { 0 };

	for (size_t i = 0; i < n; i++)
		c.n[items[i].result.outcome]++;
	return c;
}
