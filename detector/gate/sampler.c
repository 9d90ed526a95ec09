/* SPDX-License-Identifier: Apache-2.0 */
#include "detector/gate/sampler.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/process.h"
#include "detector/gate/lineage.h"
#include "detector/gate/program.h"
#include "detector/gate/tree.h"
#include "runtime-hooks/go/go.h"

#define NS_PER_MS INT64_C(1000000)
#define PAUSE_MS 20
#define PAUSE_PER_COST 60
/* The share of all processors' time that attaching may take, as 1/N. */
#define ATTACH_SHARE 40
/* One that has just begun has no goroutines yet. */
#define ATTACH_TRIES 10
#define MAX_KNOWN 4096 /* processes at once */

/* A process below the command. */
struct known {
	struct known *next;
	pid_t pid;
	uint64_t dev, ino; /* of what it runs */
	bool seen, is_test;
	int tries;		 /* to attach that failed */
	struct process *process; /* of a test that is attached to, else NULL */
	void *ctx;		 /* of runtime_go */
	struct lineage *lineage;
};

struct sampler {
	pthread_t thread;
	pid_t but;
	bool has_children; /* CONFIG_PROC_CHILDREN */
	int64_t began_ns, attach_ns;
	long processors;
	pid_t pids[MAX_KNOWN]; /* of this round */
	size_t n_pids;
	pthread_mutex_t lock; /* of what follows, and of each lineage */
	pthread_cond_t wake;
	bool stop;
	struct known *known; /* changed by the thread alone */
};

static int64_t cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (int64_t)ts.tv_sec * 1000 * NS_PER_MS + ts.tv_nsec;
}

static void find_by_list(struct sampler *s)
{
	AUTO_ARENA struct arena *arena = arena_create();
	struct tree_member *v;
	size_t n;

	if (!arena)
		return;
	AUTO_ERROR struct error *err = tree_list(s->but, arena, &v, &n);
	for (size_t i = 0; !err && i < n && s->n_pids < MAX_KNOWN; i++)
		s->pids[s->n_pids++] = v[i].pid;
}

/* Whoever is below us; one that forks at the moment is found the next time. */
static void find_pids(struct sampler *s)
{
	s->n_pids = 0;
	if (!s->has_children) {
		find_by_list(s);
		return;
	}
	s->n_pids = tree_children(getpid(), s->pids, MAX_KNOWN);
	for (size_t i = 0; i < s->n_pids; i++)
		s->n_pids += tree_children(s->pids[i], s->pids + s->n_pids,
					   MAX_KNOWN - s->n_pids);
}

static struct known *find_known(const struct sampler *s, pid_t pid)
{
	struct known *k = s->known;

	while (k && k->pid != pid)
		k = k->next;
	return k;
}

static bool is_test(pid_t pid)
{
	char path[40], exe[PROCESS_MAX_TEXT];
	struct program_info info;

	snprintf(path, sizeof(path), "/proc/%d/exe", (int)pid);
	ssize_t n = readlink(path, exe, sizeof(exe) - 1);
	if (n <= 0)
		return false;
	exe[n] = '\0';
	program_info(pid, &info);
	return program_is_test(&info, exe);
}

/* What it was, it is no longer. */
static void reset(struct sampler *s, struct known *k)
{
	pthread_mutex_lock(&s->lock);
	lineage_destroy(k->lineage);
	k->lineage = NULL;
	if (k->ctx)
		runtime_go.detach(k->ctx);
	k->ctx = NULL;
	process_close(k->process);
	k->process = NULL;
	pthread_mutex_unlock(&s->lock);
	k->tries = 0;
}

static struct known *add_known(struct sampler *s, pid_t pid)
{
	struct known *k = calloc(1, sizeof(*k));

	if (!k)
		return NULL;
	k->pid = pid;
	pthread_mutex_lock(&s->lock);
	k->next = s->known;
	s->known = k;
	pthread_mutex_unlock(&s->lock);
	return k;
}

/* Between fork and exec it runs what its parent runs. */
static void note(struct sampler *s, pid_t pid)
{
	struct known *k = find_known(s, pid);
	char path[40];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%d/exe", (int)pid);
	if (pid == s->but || stat(path, &st) < 0)
		return;
	if (!k)
		k = add_known(s, pid);
	if (!k)
		return;
	k->seen = true;
	if (k->process && !process_alive(k->process))
		reset(s, k);
	if (k->dev == st.st_dev && k->ino == st.st_ino)
		return;
	reset(s, k);
	k->dev = st.st_dev;
	k->ino = st.st_ino;
	k->is_test = is_test(pid);
}

static void forget_gone(struct sampler *s)
{
	struct known **at = &s->known;

	while (*at) {
		struct known *k = *at;

		if (k->seen) {
			k->seen = false;
			at = &k->next;
			continue;
		}
		reset(s, k);
		pthread_mutex_lock(&s->lock);
		*at = k->next;
		pthread_mutex_unlock(&s->lock);
		free(k);
	}
}

/* A live runtime has a second thread; what fork just made of one has not. */
static bool may_attach(const struct sampler *s, const struct known *k)
{
	char path[40];
	struct stat st;

	if (k->tries == ATTACH_TRIES ||
	    s->attach_ns * ATTACH_SHARE >
		    (clock_mono_ns() - s->began_ns) * s->processors)
		return false;
	snprintf(path, sizeof(path), "/proc/%d/task", (int)k->pid);
	/* fs/proc/base.c, proc_task_getattr(): one link for each thread */
	return !stat(path, &st) && st.st_nlink > 3;
}

static void attach(struct sampler *s, struct known *k)
{
	struct process *process = NULL;
	struct lineage *lineage = lineage_create();
	int64_t began = cpu_ns();
	void *ctx = NULL;
	AUTO_ERROR struct error *err = lineage ? process_open(k->pid, &process)
					       : &error_nomem;

	if (!err)
		err = runtime_go.attach(process, &ctx);
	s->attach_ns += cpu_ns() - began;
	if (err) {
		log_debug("ctl", "sampler: %d: %s", (int)k->pid,
			  error_text(err));
		k->tries++;
		process_close(process);
		lineage_destroy(lineage);
		return;
	}
	log_debug("ctl", "sampler: %d is a test program, %lld us", (int)k->pid,
		  (long long)(cpu_ns() - began) / 1000);
	pthread_mutex_lock(&s->lock);
	k->ctx = ctx;
	k->process = process;
	k->lineage = lineage;
	pthread_mutex_unlock(&s->lock);
}

static void sample_task(struct sampler *s, struct known *k,
			const struct task *t)
{
	enum lineage_state state = lineage_state(k->lineage, t->id);
	bool runs_test = t->start && go_test_role(t->start->function);
	char name[GO_TEST_NAME_MAX];
	bool parked = false;

	if (t->system || state == LINEAGE_NAMED ||
	    (state == LINEAGE_KNOWN && !runs_test))
		return;
	bool found = runs_test && go_test_name(k->ctx, t, &parked, name);
	pthread_mutex_lock(&s->lock);
	lineage_put(k->lineage, t->id, t->parent_id);
	if (found)
		lineage_name(k->lineage, t->id, name, parked);
	pthread_mutex_unlock(&s->lock);
}

static void sample(struct sampler *s, struct known *k)
{
	static const struct runtime_options opt = { 0 };
	AUTO_TASKS struct task_snapshot *snap = NULL;
	AUTO_ERROR struct error *err = runtime_go.snapshot(k->ctx, &opt, &snap);

	for (size_t i = 0; !err && i < snap->n; i++)
		sample_task(s, k, &snap->tasks[i]);
}

static void look_around(struct sampler *s)
{
	find_pids(s);
	for (size_t i = 0; i < s->n_pids; i++)
		note(s, s->pids[i]);
	forget_gone(s);
	for (struct known *k = s->known; k; k = k->next) {
		if (!k->is_test)
			continue;
		if (!k->process && may_attach(s, k))
			attach(s, k);
		if (k->process)
			sample(s, k);
	}
}

/* Returns false when it is to end. */
static bool wait_for(struct sampler *s, int64_t ns)
{
	int64_t until = clock_mono_ns() + ns;
	const struct timespec ts = { .tv_sec = until / (1000 * NS_PER_MS),
				     .tv_nsec = until % (1000 * NS_PER_MS) };
	int rc = 0;

	pthread_mutex_lock(&s->lock);
	while (!s->stop && !rc)
		rc = pthread_cond_timedwait(&s->wake, &s->lock, &ts);
	bool stop = s->stop;
	pthread_mutex_unlock(&s->lock);
	return !stop;
}

static void *sampler_thread(void *arg)
{
	struct sampler *s = arg;
	int64_t pause = PAUSE_MS * NS_PER_MS;

	while (wait_for(s, pause)) {
		int64_t began = cpu_ns(), attached = s->attach_ns;

		look_around(s);
		/* What it costs others, however long others kept it waiting. */
		pause = (cpu_ns() - began - (s->attach_ns - attached)) *
			PAUSE_PER_COST;
		if (pause < PAUSE_MS * NS_PER_MS)
			pause = PAUSE_MS * NS_PER_MS;
	}
	return NULL;
}

static void destroy(struct sampler *s)
{
	while (s->known) {
		struct known *k = s->known;

		reset(s, k);
		s->known = k->next;
		free(k);
	}
	pthread_cond_destroy(&s->wake);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

struct sampler *sampler_start(pid_t but)
{
	struct sampler *s = calloc(1, sizeof(*s));
	pthread_condattr_t attr;

	if (!s)
		return NULL;
	s->but = but;
	s->began_ns = clock_mono_ns();
	s->has_children = !access("/proc/thread-self/children", R_OK);
	s->processors = sysconf(_SC_NPROCESSORS_ONLN);
	if (s->processors < 1)
		s->processors = 1;
	pthread_mutex_init(&s->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&s->wake, &attr);
	pthread_condattr_destroy(&attr);
	if (!pthread_create(&s->thread, NULL, sampler_thread, s))
		return s;
	destroy(s);
	return NULL;
}

void sampler_stop(struct sampler *s)
{
	if (!s)
		return;
	pthread_mutex_lock(&s->lock);
	s->stop = true;
	pthread_cond_signal(&s->wake);
	pthread_mutex_unlock(&s->lock);
	pthread_join(s->thread, NULL);
	destroy(s);
}

bool sampler_name(void *sampled, uint64_t goid, char *buf, size_t size)
{
	const struct sampled *of = sampled;
	struct sampler *s = of->sampler;
	const char *name = NULL;

	if (!s)
		return false;
	pthread_mutex_lock(&s->lock);
	const struct known *k = find_known(s, of->pid);
	if (k && k->process && k->process->start_ticks == of->start_ticks)
		name = lineage_test(k->lineage, goid);
	bool fits = name && strlen(name) < size;
	if (fits)
		strcpy(buf, name);
	pthread_mutex_unlock(&s->lock);
	return fits;
}
