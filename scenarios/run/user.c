/* SPDX-License-Identifier: Apache-2.0 */

/**
 * A program of the user's under a scenario's faults. What it holds is asked of
 * stranded itself, process by process: a connection counts while a descriptor
 * of the program refers to it, whatever the kernel still does with it.
 */

#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "scenarios/run/stage.h"

#define START_MS 20000	/* until it listens, or has called */
#define ACCEPT_MS 10000 /* until it has accepted all calls */
#define LOOK_MS 20000
#define STEP_MS 100
#define MAX_PROCESSES 64

/** One user's program under test. */
struct trial {
	struct stage stage;
	struct scenario scenario;
	struct program program;
	const struct run_user *user;
	struct user_result *r;
	const char *port; /* that it listens on; NULL: it does not */
	pid_t holder; /* a process that holds dead ones, as it sees itself */
	bool ended;
	int status;
};

__attribute__((format(printf, 3, 4))) static void
finish(struct trial *t, enum user_outcome outcome, const char *fmt, ...)
{
	va_list ap;

	t->r->outcome = outcome;
	va_start(ap, fmt);
	vsnprintf(t->r->why, sizeof(t->r->why), fmt, ap);
	va_end(ap);
}

/* --- its processes --- */

static ino_t pid_ns(pid_t pid)
{
	char path[64];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%d/ns/pid", (int)pid);
	return stat(path, &st) ? 0 : st.st_ino;
}

/* The pid that @pid has in its innermost namespace; 0: it is gone. */
static pid_t inner_pid(pid_t pid)
{
	char path[64], line[256];
	int inner = 0;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	AUTO_FCLOSE FILE *f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, "NSpid:", 6) && strrchr(line, '\t'))
			inner = atoi(strrchr(line, '\t') + 1);
	return inner;
}

/* All processes of the machine but its first; as they see themselves. */
static size_t processes(const struct trial *t, pid_t v[MAX_PROCESSES])
{
	ino_t ns = pid_ns(t->stage.alone.inside);
	const struct dirent *e;
	DIR *dir = opendir("/proc");
	size_t n = 0;

	while (dir && (e = readdir(dir)) && n < MAX_PROCESSES) {
		pid_t pid = atoi(e->d_name);
		if (pid <= 0 || !ns || pid_ns(pid) != ns)
			continue;
		v[n] = inner_pid(pid);
		n += v[n] > 1;
	}
	if (dir)
		closedir(dir);
	return n;
}

/* --- its connections --- */

/** What all of its processes hold, at one moment. */
struct held {
	size_t dead, living; /* to the host that dies, to the healthy one */
	const char *port;    /* it listens for others here; NULL: it does not */
	char first[160];     /* one of the dead ones, for people */
	bool unknown;	     /* one of them could not be looked at */
	char why[200];	     /* unknown: why not */
};

static bool is_at(const char *end, const char *addr)
{
	size_t len = addr ? strlen(addr) : 0;

	end += *end == '[';
	return len && !strncmp(end, addr, len) &&
	       (end[len] == ':' ? !strchr(addr, ':') : end[len] == ']');
}

static bool is_loopback(const char *end)
{
	return !strncmp(end, "127.", 4) || !strncmp(end, "[::1]", 5);
}

static void count(struct trial *t, pid_t pid, const struct seen_conn *c,
		  struct held *h)
{
	const struct stage *st = &t->stage;
	const char *target = t->scenario.target_host;

	if (c->verdict == SAYS_LISTENING && !is_loopback(c->local)) {
		const char *colon = strrchr(c->local, ':');
		h->port = colon && !h->port ? colon + 1 : h->port;
	} else if (is_at(c->remote, lab_address(st->lab, target, st->family))) {
		h->dead++;
		t->holder = pid;
		snprintf(h->first, sizeof(h->first), "%s -> %s  %s", c->local,
			 c->remote, c->state);
	} else if (is_at(c->remote, lab_address(st->lab, "c", st->family))) {
		h->living++;
	}
}

static bool is_there(const struct trial *t, pid_t inner)
{
	pid_t pids[MAX_PROCESSES];
	size_t n = processes(t, pids);

	for (size_t i = 0; i < n; i++)
		if (pids[i] == inner)
			return true;
	return false;
}

/* A process that ended while it was looked at holds nothing; one that goes on
 * and could not be looked at may hold anything. */
static void look_at(struct trial *t, pid_t inner, struct held *h)
{
	char pid[16];
	const char *const args[] = { "sockets", "--quick", "--format",
				     "json",	pid,	   NULL };
	struct seen seen = { 0 };

	snprintf(pid, sizeof(pid), "%d", (int)inner);
	AUTO_ERROR struct error *err =
		stage_ask(&t->stage, args, LOOK_MS, &seen);
	for (size_t i = 0; !err && i < seen.n_conns; i++)
		count(t, inner, &seen.conns[i], h);
	if (!err || !is_there(t, inner))
		return;
	h->unknown = true;
	snprintf(h->why, sizeof(h->why), "%s", error_text(err));
}

static void look(struct trial *t, struct held *ret)
{
	pid_t pids[MAX_PROCESSES];
	size_t n = processes(t, pids);

	*ret = (struct held){ 0 };
	for (size_t i = 0; i < n; i++)
		look_at(t, pids[i], ret);
}

/* What it writes is read, so that it does not stand still. */
static void drain(struct trial *t)
{
	program_read_all(&t->program, 0);
	t->program.len = 0;
	if (!t->ended) {
		t->status = program_wait(&t->program, 0);
		t->ended = t->status >= 0;
	}
}

/* Look until @enough says so, it ends, or the time is over. */
static bool look_until(struct trial *t, int64_t timeout_ms,
		       bool (*enough)(const struct trial *t,
				      const struct held *h),
		       struct held *h)
{
	int64_t until = clock_mono_ns() + timeout_ms * 1000000;

	do {
		stage_sleep(STEP_MS);
		drain(t);
		look(t, h);
		if (enough(t, h))
			return true;
	} while (!t->ended && clock_mono_ns() < until);
	return false;
}

/* --- the trial --- */

static bool is_up(const struct trial *t, const struct held *h)
{
	(void)t;
	return h->port || h->dead;
}

static bool all_accepted(const struct trial *t, const struct held *h)
{
	size_t n = (size_t)t->user->connections;

	return h->dead >= n && h->living >= n;
}

static bool none_dead(const struct trial *t, const struct held *h)
{
	(void)t;
	return !h->dead && !h->unknown;
}

static bool serves_again(const struct trial *t, const struct held *h)
{
	(void)t;
	return h->living;
}

/* The command with each {peer} replaced. */
static const char *fill_in(struct trial *t, const char *peer)
{
	struct arena *arena = t->stage.arena;
	const char *text = "", *p = t->user->command, *at;

	while (text && (at = strstr(p, "{peer}"))) {
		text = arena_printf(arena, "%s%.*s%s", text, (int)(at - p), p,
				    peer);
		p = at + strlen("{peer}");
	}
	return text ? arena_printf(arena, "%s%s", text, p) : NULL;
}

static struct error *start(struct trial *t)
{
	struct error *err = stage_peers(&t->stage);
	if (err)
		return err;
	const char *peer =
		stage_end(&t->stage, t->scenario.target_host, RUN_PORT);
	if (!peer)
		return error_new(ERROR_USAGE, "no host '%s' in the topology %s",
				 t->scenario.target_host, t->scenario.topology);
	const char *command = fill_in(t, peer);
	const char *env =
		arena_printf(t->stage.arena, "STRANDED_PEER=%s", peer);
	const char *const argv[] = { "env", env, "sh", "-c", command, NULL };
	if (!command || !env)
		return &error_nomem;
	return stage_start(&t->stage, argv, &t->program);
}

/* Returns false with the reason said. */
static bool get_ready(struct trial *t, struct held *h)
{
	char why[256];

	if (!look_until(t, START_MS, is_up, h)) {
		program_errors(&t->program, why, sizeof(why));
		finish(t, USER_NOT_RUN, "%s%s%s",
		       t->ended ? "it ended before it listened or called"
				: "it neither listens where others can call "
				  "it, nor calls {peer}",
		       *why ? ": " : "", why);
		return false;
	}
	if (!h->port || h->dead)
		return true;
	t->r->serves = true;
	t->port = arena_strdup(t->stage.arena, h->port);
	struct error *err = stage_callers(&t->stage, t->port ? t->port : "0",
					  t->user->connections);
	if (!err && look_until(t, ACCEPT_MS, all_accepted, h))
		return true;
	finish(t, USER_NOT_RUN, "it accepts %zu of %d calls to port %s: %s",
	       h->dead + h->living, 2 * t->user->connections, t->port,
	       err ? error_text(err) : "the rest waits");
	error_free(err);
	return false;
}

/* It has let go of the dead; but it must not have done so by giving up. */
static void check_service(struct trial *t, struct held *h)
{
	struct program again = { .in = -1, .out = -1, .err = -1 };
	struct error *err = NULL;
	bool ok = h->living > 0;

	t->r->kept = h->living;
	finish(t, USER_LET_GO, "%s", "");
	if (!t->r->serves)
		return;
	if (!ok && !t->ended) {
		err = stage_call_again(&t->stage, t->port, &again);
		ok = !err && look_until(t, ACCEPT_MS, serves_again, h);
		stage_sleep(STEP_MS); // who refuses calls may just be ending
		drain(t);
	}
	if (t->ended)
		finish(t, USER_HOLDS, "it ended, with %s %d",
		       WIFSIGNALED(t->status) ? "signal" : "status",
		       WIFSIGNALED(t->status) ? WTERMSIG(t->status)
					      : WEXITSTATUS(t->status));
	else if (!ok)
		finish(t, USER_HOLDS,
		       "it let go of the dead, and serves nobody any more: %s",
		       err ? error_text(err) : "a new call is not accepted");
	error_free(err);
	program_end(&again);
}

/* What stranded has to say of those that are left, as people read it. */
static void add_report(struct trial *t)
{
	char pid[16];
	const char *const argv[] = {
		t->stage.place->self, "check", "--min-blocked", "0s", pid, NULL
	};
	struct program p = { 0 };

	snprintf(pid, sizeof(pid), "%d", (int)t->holder);
	struct error *err = stage_start(&t->stage, argv, &p);
	if (!err && !program_read_all(&p, LOOK_MS) && p.len)
		t->r->report = strdup(p.buf);
	error_free(err);
	program_end(&p);
}

static struct error *judge(struct trial *t, struct held *h)
{
	t->r->dead = h->dead;
	t->r->living = h->living;
	stage_sleep(t->scenario.ready_ms);
	struct error *err = stage_faults(&t->stage);
	if (err)
		return err;
	int64_t start_ns = clock_mono_ns();
	bool let_go = look_until(t, t->user->within_ms, none_dead, h);
	t->r->took_ms = (clock_mono_ns() - start_ns) / 1000000;
	t->r->held = h->dead;
	if (let_go || (t->ended && !h->dead)) {
		check_service(t, h);
		return NULL;
	}
	t->r->kept = h->living;
	if (h->unknown) {
		finish(t, USER_NOT_RUN, "it cannot be looked at: %s", h->why);
		return NULL;
	}
	finish(t, USER_HOLDS, "still held: %s", h->first);
	add_report(t);
	return NULL;
}

bool run_user_fits(const struct scenario *s)
{
	const uint32_t dead = SAYS_HALF_OPEN | SAYS_UNREACHABLE |
			      SAYS_LOCAL_CAUSE | SAYS_HALF_CLOSED;

	return s->n_faults && !s->write_bytes &&
	       ((s->after ? s->after : s->before) & dead);
}

void run_user(const struct scenario *s, int family, const struct place *place,
	      const struct run_user *user, struct user_result *ret)
{
	struct trial t = { .scenario = *s, .user = user, .r = ret };
	struct held h = { 0 };

	*ret = (struct user_result){ .outcome = USER_NOT_RUN };
	t.scenario.view = VIEW_ALONE; // its processes are found by that
	struct error *err = stage_open(&t.scenario, family, place, &t.stage);
	if (!err)
		err = start(&t);
	if (!err && get_ready(&t, &h))
		err = judge(&t, &h);
	if (err)
		finish(&t, USER_NOT_RUN, "%s", error_text(err));
	error_free(err);
	program_end(&t.program);
	stage_close(&t.stage);
}
