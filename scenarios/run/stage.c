/* SPDX-License-Identifier: Apache-2.0 */
#include "scenarios/run/stage.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "scenarios/run/truth.h"

#define PEER_READY_MS 40000 /* initdb takes seconds on a busy machine */
#define CALLER_READY_MS 5000
#define PEER_MAX_LINES 1000 /* that a server says before it is ready */
#define MAX_ARGV 32

void stage_sleep(int64_t ms)
{
	if (ms > 0)
		clock_sleep_until(clock_mono_ns() + ms * 1000000);
}

/* --- what it needs --- */

static bool in_path(const char *name)
{
	const char *path = getenv("PATH");
	char buf[512];

	for (const char *p = path; p && *p;) {
		size_t len = strcspn(p, ":");
		snprintf(buf, sizeof(buf), "%.*s/%s", (int)len, p, name);
		if (!access(buf, X_OK))
			return true;
		p += len + (p[len] == ':');
	}
	return false;
}

static struct error *check_needs(const struct scenario *s)
{
	for (size_t i = 0; i < s->needs.n; i++) {
		const char *need = s->needs.v[i];
		bool is_root = !strcmp(need, "root");

		if (is_root && geteuid())
			return error_new(ERROR_UNSUPPORTED, "needs root");
		if (*need == '/' && access(need, F_OK))
			return error_new(ERROR_UNSUPPORTED, "needs %s", need);
		if (*need != '/' && !is_root && !in_path(need))
			return error_new(ERROR_UNSUPPORTED,
					 "needs the program %s", need);
	}
	return NULL;
}

/* --- faults --- */

static struct error *apply_faults(struct stage *st, bool before)
{
	struct error *err = NULL;

	for (size_t i = 0; !err && i < st->scenario->n_faults; i++) {
		const struct scenario_fault *f = &st->scenario->faults[i];
		if (f->before == before)
			err = lab_fault(st->lab, f->name, f->args.v, f->args.n);
	}
	return err;
}

struct error *stage_faults(struct stage *st)
{
	return apply_faults(st, false);
}

struct error *stage_open(const struct scenario *s, int family,
			 const struct place *place, struct stage *ret)
{
	const struct lab_options opt = { .topology = s->topology,
					 .owned = true };
	struct error *err = check_needs(s);

	*ret = (struct stage){
		.scenario = s,
		.place = place,
		.family = family,
		.is_alone = s->view == VIEW_ALONE,
		.arena = arena_create(),
	};
	if (!err && !ret->arena)
		err = &error_nomem;
	if (!err)
		err = lab_up(&opt, &ret->lab);
	if (!err && ret->is_alone)
		err = alone_start(ret->lab, "a", &ret->alone);
	return err;
}

void stage_close(struct stage *st)
{
	program_end(&st->peer);
	program_end(&st->healthy);
	program_end(&st->caller_b);
	program_end(&st->caller_c);
	alone_end(&st->alone);
	if (st->lab)
		lab_close(st->lab);
	arena_destroy(st->arena);
	st->lab = NULL;
	st->arena = NULL;
}

const char *stage_end(const struct stage *st, const char *host,
		      const char *port)
{
	const char *addr = lab_address(st->lab, host, st->family);

	if (!addr)
		return NULL;
	return arena_printf(st->arena,
			    st->family == AF_INET6 ? "[%s]:%s" : "%s:%s", addr,
			    port);
}

/* --- peers --- */

static struct error *wait_ready(struct program *p, const char *word,
				int64_t timeout_ms)
{
	int64_t until = clock_mono_ns() + timeout_ms * 1000000;
	char why[256];
	const char *line;

	for (int i = 0; i < PEER_MAX_LINES; i++) {
		int64_t left = (until - clock_mono_ns()) / 1000000;
		if (program_line(p, left > 0 ? left : 0, &line) != 1)
			break;
		if (strstr(line, word))
			return NULL;
	}
	program_errors(p, why, sizeof(why));
	return error_new(ERROR_OS, "the peer does not get ready: %s",
			 *why ? why : p->name);
}

/* What runs in b and c, and the word by which it says that it is ready. */
static struct error *peer_argv(struct stage *st,
			       const struct scenario_args *args,
			       const char *argv[MAX_ARGV], const char **word)
{
	static const char *const redis[] = {
		"redis-server", "--port",	    RUN_PORT, "--bind", "*",
		"-::*",		"--protected-mode", "no",     "--save", "",
	};
	static const char *const programs[] = { "peer", "redis", "postgres" };
	struct error *err = NULL;
	size_t n = 0;

	if (st->scenario->peer == PEER_REDIS) {
		memcpy(argv, redis, sizeof(redis));
		n = sizeof(redis) / sizeof(redis[0]);
		*word = "Ready to accept connections";
	} else {
		err = place_program(st->place, programs[st->scenario->peer],
				    st->arena, &argv[n++]);
		*word = st->scenario->peer == PEER_POSTGRES
				? "ready to accept connections"
				: "ready";
	}
	for (size_t i = 0; i < args->n; i++)
		argv[n++] = args->v[i];
	argv[n] = NULL;
	return err;
}

static struct error *start_peer(struct stage *st, const char *host,
				const struct scenario_args *args,
				struct program *ret, const char **word)
{
	const char *argv[MAX_ARGV];
	struct error *err = peer_argv(st, args, argv, word);

	return err ? err : program_start(st->lab, host, NULL, argv, ret);
}

struct error *stage_peers(struct stage *st)
{
	const char *word = "";
	struct error *err = start_peer(st, "c", &st->scenario->healthy_args,
				       &st->healthy, &word);

	if (!err)
		err = start_peer(st, "b", &st->scenario->peer_args, &st->peer,
				 &word);
	if (!err)
		err = wait_ready(&st->healthy, word, PEER_READY_MS);
	if (!err)
		err = wait_ready(&st->peer, word, PEER_READY_MS);
	return err ? err : apply_faults(st, true);
}

/* By which address c, on a cable of its own, calls a. */
static const char *address_of_a(const struct stage *st, const char *from)
{
	if (!strcmp(from, "b"))
		return lab_address(st->lab, "a", st->family);
	return st->family == AF_INET6 ? "fd90:3::1" : "10.90.3.1";
}

static struct error *start_caller(struct stage *st, const char *host,
				  const char *port, int n, struct program *ret)
{
	const struct scenario_args *args = &st->scenario->peer_args;
	char count[16];
	const char *argv[MAX_ARGV] = { NULL, "--connect", NULL, "--port",
				       port, "--count",	  count };
	size_t k = 7;
	struct error *err =
		place_program(st->place, "peer", st->arena, &argv[0]);

	argv[2] = address_of_a(st, host);
	snprintf(count, sizeof(count), "%d", n);
	for (size_t i = 0; i < args->n; i++)
		argv[k++] = args->v[i];
	argv[k] = NULL;
	if (!err)
		err = program_start(st->lab, host, NULL, argv, ret);
	return err;
}

struct error *stage_callers(struct stage *st, const char *port, int n)
{
	struct error *err = start_caller(st, "c", port, n, &st->caller_c);

	if (!err)
		err = start_caller(st, "b", port, n, &st->caller_b);
	if (!err)
		err = wait_ready(&st->caller_c, "ready", CALLER_READY_MS);
	if (!err)
		err = wait_ready(&st->caller_b, "ready", CALLER_READY_MS);
	return err;
}

struct error *stage_call_again(struct stage *st, const char *port,
			       struct program *ret)
{
	struct error *err = start_caller(st, "c", port, 1, ret);

	return err ? err : wait_ready(ret, "ready", CALLER_READY_MS);
}

/* --- host a --- */

struct error *stage_start(struct stage *st, const char *const *argv,
			  struct program *ret)
{
	return program_start(st->lab, "a", st->is_alone ? &st->alone : NULL,
			     argv, ret);
}

/* The status of stranded when there is nothing to read but its errors. */
static struct error *take_report(struct stage *st, struct program *p,
				 int64_t timeout_ms, struct seen *ret)
{
	int rc = program_read_all(p, timeout_ms);
	char why[300];

	if (rc)
		return error_os(-rc, "no report from stranded");
	int status = program_wait(p, 5000);
	if (status >= 0 && WIFEXITED(status) && p->len)
		return seen_parse(p->buf, p->len, st->arena, ret);
	program_errors(p, why, sizeof(why));
	return error_new(ERROR_OS, "stranded gives no report: %s",
			 *why ? why : "it was killed");
}

static struct error *start_ask(struct stage *st, const char *const *args,
			       struct program *ret)
{
	const char *argv[MAX_ARGV] = { st->place->self };
	size_t n = 1;

	for (size_t i = 0; args[i] && n < MAX_ARGV - 1; i++)
		argv[n++] = args[i];
	argv[n] = NULL;
	return stage_start(st, argv, ret);
}

struct error *stage_ask_two(struct stage *st, const char *const *args,
			    const char *const *args2, int64_t timeout_ms,
			    struct seen *ret)
{
	struct program p[2] = { 0 };
	struct error *err = start_ask(st, args, &p[0]);

	if (!err && args2)
		err = start_ask(st, args2, &p[1]);
	if (!err)
		err = take_report(st, &p[0], timeout_ms, ret);
	if (!err && args2)
		err = take_report(st, &p[1], timeout_ms, ret);
	program_end(&p[0]);
	program_end(&p[1]);
	return err;
}

struct error *stage_ask(struct stage *st, const char *const *args,
			int64_t timeout_ms, struct seen *ret)
{
	return stage_ask_two(st, args, NULL, timeout_ms, ret);
}
