/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <locale.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "detector/report_heal.h"
#include "tests/unit/detect.h"
#include "tests/unit/sockets.h"

/** Which connections heal picks, and which it lets be. */

static const struct {
	enum verdict_kind kind;
	bool certain;
	enum heal_leave leave;
} verdicts[] = {
	{ VERDICT_HALF_OPEN, true, HEAL_ALLOWED },
	{ VERDICT_HALF_OPEN, false, HEAL_UNPROVEN },
	{ VERDICT_LOCAL_CAUSE, true, HEAL_ALLOWED },
	{ VERDICT_LOCAL_CAUSE, false, HEAL_UNPROVEN },
	{ VERDICT_UNREACHABLE, false, HEAL_UNPROVEN },
	{ VERDICT_UNREACHABLE, true, HEAL_ALLOWED },
	/* All of these are certain, of something else than death. */
	{ VERDICT_HALF_CLOSED, true, HEAL_UNPROVEN },
	{ VERDICT_PEER_NOT_READING, true, HEAL_ALIVE },
	{ VERDICT_PATH_MTU, false, HEAL_ALIVE },
	{ VERDICT_DATA_WAITING, true, HEAL_ALIVE },
	{ VERDICT_ALIVE, true, HEAL_ALIVE },
	{ VERDICT_SILENT, false, HEAL_UNPROVEN },
	{ VERDICT_UNKNOWN, false, HEAL_UNPROVEN },
	{ VERDICT_CONNECTING, false, HEAL_UNPROVEN },
	{ VERDICT_LISTENING, true, HEAL_IMPOSSIBLE },
};

static void test_only_what_is_proven_dead_may_be_ended(void **state UNUSED)
{
	const struct tcp_socket s = { .first.state = TCP_STATE_ESTABLISHED };

	for (size_t i = 0; i < N_OF(verdicts); i++) {
		const struct verdict v = { .kind = verdicts[i].kind,
					   .certain = verdicts[i].certain };
		const char *why = NULL;

		assert_int_equal(heal_allowed(&v, &s, NULL, HEAL_DESTROY, &why),
				 verdicts[i].leave);
		assert_non_null(why);
		assert_int_equal(heal_allowed(&v, &s, NULL, HEAL_EOF, &why),
				 verdicts[i].leave);
	}
}

static void test_what_did_not_answer_a_probe_may_be_ended(void **state UNUSED)
{
	const struct tcp_socket s = { .first.state = TCP_STATE_ESTABLISHED };
	const struct verdict v = { .kind = VERDICT_UNREACHABLE };
	const struct verdict alive = { .kind = VERDICT_ALIVE };
	const struct probe_facts silence = {
		.method = PROBE_BY_WINDOW,
		.result = PROBE_SILENCE,
		.sent = 3,
		.waited_ms = 15000,
		.window_ms = 15000,
	};
	struct probe_facts p = silence;
	const char *why;

	assert_int_equal(heal_allowed(&v, &s, &p, HEAL_DESTROY, &why),
			 HEAL_ALLOWED);
	assert_non_null(strstr(why, "probed"));
	assert_int_equal(heal_allowed(&alive, &s, &p, HEAL_DESTROY, &why),
			 HEAL_ALIVE);
	p.sent = 2;
	assert_int_equal(heal_allowed(&v, &s, &p, HEAL_DESTROY, &why),
			 HEAL_UNPROVEN);
	p = silence;
	p.waited_ms = 5000;
	assert_int_equal(heal_allowed(&v, &s, &p, HEAL_DESTROY, &why),
			 HEAL_UNPROVEN);
	p = silence;
	p.result = PROBE_REFUSED;
	assert_int_equal(heal_allowed(&v, &s, &p, HEAL_DESTROY, &why),
			 HEAL_UNPROVEN);
}

static void test_keepalive_may_be_armed_on_any_connection(void **state UNUSED)
{
	struct tcp_socket s = { .first.state = TCP_STATE_ESTABLISHED };
	struct verdict v = { .kind = VERDICT_ALIVE, .certain = true };
	const char *why;

	for (size_t i = 0; i < N_OF(verdicts); i++) {
		v.kind = verdicts[i].kind;
		bool may = v.kind != VERDICT_LISTENING &&
			   v.kind != VERDICT_CONNECTING;

		assert_int_equal(heal_allowed(&v, &s, NULL, HEAL_ARM, &why),
				 may ? HEAL_ALLOWED : HEAL_IMPOSSIBLE);
	}
	v.kind = VERDICT_UNKNOWN;
	s.first.state = TCP_STATE_CLOSE;
	assert_int_equal(heal_allowed(&v, &s, NULL, HEAL_ARM, &why),
			 HEAL_IMPOSSIBLE);
	s.first.state = TCP_STATE_LISTEN;
	assert_int_equal(heal_allowed(&v, &s, NULL, HEAL_ARM, &why),
			 HEAL_IMPOSSIBLE);
}

static struct process process = { .pid = 4242, .exe = (char *)"/usr/bin/api" };

static struct survey survey_of(struct world *w)
{
	return (struct survey){
		.process = &process,
		.sets = { { .snapshot = &w->snap } },
		.n_sets = 1,
		.fds = w->fds,
		.sockets = &w->tcp,
		.verdicts = w->verdicts,
		.gaps = { .arena = w->arena },
		.duration_ms = 1000,
	};
}

/* Three readers that are proven stranded, two silent ones at the same place. */
static struct world *mixed_world(void)
{
	struct world *w = world_create();

	w->limits.min_blocked_ms = 0;
	for (int i = 0; i < 3; i++)
		add_reader(w, VERDICT_HALF_OPEN, true);
	for (int i = 0; i < 2; i++)
		add_reader(w, VERDICT_SILENT, false);
	return w;
}

static void test_of_a_finding_the_unproven_are_left_alone(void **state UNUSED)
{
	AUTO_WORLD struct world *w = mixed_world();
	AUTO_FINDINGS struct findings *f = world_judge(w);
	AUTO_HEAL struct heal *h = NULL;
	struct survey s = survey_of(w);
	struct cli cli = { .finding = f->v[0].fingerprint };

	assert_int_equal(f->n, 2);
	assert_string_equal(f->v[0].fingerprint, f->v[1].fingerprint);
	assert_ok(heal_plan(&cli, &s, f, &h));
	assert_int_equal(h->n, 3);
	assert_int_equal(h->left_alone, 2);
	assert_non_null(strstr(h->left_why, "silent"));
	for (size_t i = 0; i < h->n; i++) {
		assert_int_equal(h->v[i].verdict->kind, VERDICT_HALF_OPEN);
		assert_int_equal(h->v[i].result, HEAL_PLANNED);
		assert_int_equal(h->v[i].n_tasks, 1);
		assert_int_equal(h->v[i].tasks[0].task->fd, h->v[i].fd);
	}
}

static void test_force_takes_all_of_a_finding(void **state UNUSED)
{
	AUTO_WORLD struct world *w = mixed_world();
	AUTO_FINDINGS struct findings *f = world_judge(w);
	AUTO_HEAL struct heal *h = NULL;
	struct survey s = survey_of(w);
	struct cli cli = { .finding = f->v[0].fingerprint, .force = true };

	assert_ok(heal_plan(&cli, &s, f, &h));
	assert_int_equal(heal_count(h, HEAL_PLANNED), 5);
	assert_int_equal(h->left_alone, 0);
}

static void test_finding_without_proof_is_refused(void **state UNUSED)
{
	AUTO_WORLD struct world *w = world_create();
	AUTO_HEAL struct heal *h = NULL;

	w->limits.min_blocked_ms = 0;
	add_reader(w, VERDICT_SILENT, false);
	add_reader(w, VERDICT_SILENT, false);
	AUTO_FINDINGS struct findings *f = world_judge(w);
	struct survey s = survey_of(w);
	struct cli cli = { .finding = f->v[0].fingerprint };

	assert_ok(heal_plan(&cli, &s, f, &h));
	assert_int_equal(heal_count(h, HEAL_REFUSED), 2);
	assert_int_equal(heal_status(h), STATUS_NOTHING);
	h->dry_run = true;
	assert_int_equal(heal_status(h), STATUS_NOTHING);
}

static void test_connection_of_several_readers_is_one_item(void **state UNUSED)
{
	AUTO_WORLD struct world *w = world_create();
	AUTO_HEAL struct heal *h = NULL;

	add_reader(w, VERDICT_HALF_OPEN, true);
	add_task(w, WAIT_READ, 9);
	AUTO_FINDINGS struct findings *f = world_judge(w);
	struct survey s = survey_of(w);
	struct cli cli = { .finding = f->v[0].fingerprint };

	assert_int_equal(f->v[0].count, 2);
	assert_ok(heal_plan(&cli, &s, f, &h));
	assert_int_equal(h->n, 1);
	assert_int_equal(h->v[0].n_tasks, 2);
}

static void test_who_moved_between_the_looks_does_not_wait(void **state UNUSED)
{
	AUTO_WORLD struct world *w = world_create();
	AUTO_HEAL struct heal *h = NULL;
	struct cli cli = { .fd = 9 };

	add_reader(w, VERDICT_HALF_OPEN, true);
	add_task(w, WAIT_READ, 9);
	struct survey s = survey_of(w);
	s.sets[0].marks = correlate_marks(&w->snap, w->arena);
	s.sets[0].n_marks = w->snap.n;
	s.sets[0].marks[0].sp += 64;
	assert_ok(heal_plan(&cli, &s, NULL, &h));
	assert_int_equal(h->v[0].n_tasks, 1);
	assert_int_equal(h->v[0].tasks[0].task->id, w->tasks[1].id);
}

static void test_id_must_fit_one_finding(void **state UNUSED)
{
	static const char *const other[] = { "net.(*conn).Read", "main.other",
					     NULL };
	AUTO_WORLD struct world *w = world_create();
	struct heal *h = NULL;
	struct cli cli = { .finding = "" };

	add_reader(w, VERDICT_HALF_OPEN, true);
	add_reader(w, VERDICT_HALF_OPEN, true)->stack = make_stack(w, 7, other);
	AUTO_FINDINGS struct findings *f = world_judge(w);
	struct survey s = survey_of(w);
	assert_int_equal(f->n, 2);
	/* Both begin alike. */
	snprintf(f->v[1].fingerprint, sizeof(f->v[1].fingerprint), "%.16s",
		 f->v[0].fingerprint);
	f->v[1].fingerprint[15] ^= 1;
	char prefix[17];
	snprintf(prefix, sizeof(prefix), "%.15s", f->v[0].fingerprint);

	assert_error(heal_plan(&cli, &s, f, &h), ERROR_GONE,
		     "there is no finding ''");
	cli.finding = prefix;
	assert_error(heal_plan(&cli, &s, f, &h), ERROR_USAGE,
		     "fits several findings");
	cli.finding = "not hex at all, and longer than any fingerprint is";
	assert_error(heal_plan(&cli, &s, f, &h), ERROR_GONE,
		     "there is no finding 'not hex");
	cli.finding = f->v[1].fingerprint;
	assert_ok(heal_plan(&cli, &s, f, &h));
	assert_int_equal(h->n, 1);
	heal_destroy(h);
}

static void test_finding_without_a_connection_is_refused(void **state UNUSED)
{
	AUTO_WORLD struct world *w = world_create();
	struct heal *h = NULL;

	w->limits.min_group = 2;
	w->limits.min_blocked_ms = 0;
	for (int i = 0; i < 3; i++)
		add_task(w, WAIT_CHAN_SEND, -1)->parked_before_mono_ns = 1;
	AUTO_FINDINGS struct findings *f = world_judge(w);
	struct survey s = survey_of(w);
	assert_int_equal(f->n, 1);
	struct cli cli = { .finding = f->v[0].fingerprint };
	assert_error(heal_plan(&cli, &s, f, &h), ERROR_UNSUPPORTED,
		     "is about no connection");
}

static void test_writer_is_judged_as_a_writer(void **state UNUSED)
{
	AUTO_WORLD struct world *w = world_create();
	AUTO_HEAL struct heal *h = NULL;
	struct verdict dead = { .kind = VERDICT_HALF_OPEN, .certain = true };
	const struct verdict *writer[] = { &dead };
	struct cli cli = { .fd = 9 };

	/* Unread data is no excuse for a blocked write. */
	add_reader(w, VERDICT_DATA_WAITING, true)->wait = WAIT_WRITE;
	struct survey s = survey_of(w);
	s.writer_verdicts = writer;
	assert_ok(heal_plan(&cli, &s, NULL, &h));
	assert_int_equal(h->v[0].leave, HEAL_ALLOWED);
}

/* What each result makes of the exit status. */
static void test_exit_status_tells_all_some_and_none(void **state UNUSED)
{
	AUTO_WORLD struct world *w = mixed_world();
	AUTO_FINDINGS struct findings *f = world_judge(w);
	AUTO_HEAL struct heal *h = NULL;
	struct survey s = survey_of(w);
	struct cli cli = { .finding = f->v[0].fingerprint };

	assert_ok(heal_plan(&cli, &s, f, &h));
	assert_int_equal(heal_status(h), STATUS_NOTHING);
	for (size_t i = 0; i < h->n; i++)
		h->v[i].result = HEAL_FAILED;
	assert_int_equal(heal_status(h), STATUS_NOTHING);
	h->v[0].result = HEAL_DONE;
	h->v[0].tasks[0].fate = FATE_GONE;
	assert_int_equal(heal_status(h), STATUS_FINDINGS);
	for (size_t i = 0; i < h->n; i++) {
		h->v[i].result = HEAL_DONE;
		h->v[i].tasks[0].fate = FATE_MOVED;
	}
	h->v[1].result = HEAL_ENDED;
	assert_int_equal(heal_status(h), STATUS_CLEAN);
	/* Not known is no all-clear. */
	h->v[1].tasks[0].fate = FATE_UNKNOWN;
	assert_int_equal(heal_status(h), STATUS_FINDINGS);
	h->v[1].tasks[0].fate = FATE_STILL;
	assert_int_equal(heal_status(h), STATUS_FINDINGS);
	h->v[1].tasks[0].fate = FATE_GONE;
	h->process_ended = true;
	assert_int_equal(heal_status(h), STATUS_FINDINGS);
}

/* A survey of this very process, and a connection within it. */
struct alive {
	struct pair pair;
	struct survey *survey;
	struct heal *heal;
};

static struct alive alive_open(void)
{
	static const struct survey_options opt = { .examine = true };
	struct alive a = { .pair = make_pair(PLAIN4) };
	const struct cli cli = { .fd = a.pair.client };

	assert_ok(survey_take(getpid(), &opt, &a.survey));
	assert_ok(heal_plan(&cli, a.survey, NULL, &a.heal));
	assert_int_equal(a.heal->v[0].result, HEAL_REFUSED);
	/* As if it had been proven dead. */
	a.heal->v[0].result = HEAL_PLANNED;
	return a;
}

static void alive_close(struct alive *a)
{
	heal_destroy(a->heal);
	survey_destroy(a->survey);
	close_pair(&a->pair);
}

static void test_segment_after_the_verdict_saves_it(void **state UNUSED)
{
	char byte;

	NEEDS("root", geteuid() == 0);
	struct alive a = alive_open();
	assert_int_equal(write(a.pair.server, "x", 1), 1);
	assert_ok(heal_act(a.heal));
	assert_int_equal(a.heal->v[0].result, HEAL_FAILED);
	assert_non_null(strstr(a.heal->v[0].why, "a segment has arrived"));
	assert_int_equal(read(a.pair.client, &byte, 1), 1);
	/* Whoever forces it has been told. */
	a.heal->v[0].result = HEAL_PLANNED;
	a.heal->force = true;
	assert_ok(heal_act(a.heal));
	assert_int_equal(a.heal->v[0].result, HEAL_DONE);
	assert_int_equal(read(a.pair.client, &byte, 1), -1);
	assert_int_equal(errno, ECONNABORTED);
	alive_close(&a);
}

static void test_what_ended_or_was_closed_is_said_so(void **state UNUSED)
{
	NEEDS("root", geteuid() == 0);
	struct alive a = alive_open();
	abort_fd(a.pair.server);
	clock_sleep_until(clock_mono_ns() + 20000000);
	assert_ok(heal_act(a.heal));
	assert_int_equal(a.heal->v[0].result, HEAL_ENDED);
	assert_non_null(strstr(a.heal->v[0].why, "has ended by itself"));
	alive_close(&a);

	/* The number is another connection's by now, and that one lives. */
	a = alive_open();
	struct pair other = make_pair(PLAIN4);
	char byte = 0;
	assert_int_equal(dup2(other.client, a.pair.client), a.pair.client);
	a.heal->force = true;
	assert_ok(heal_act(a.heal));
	assert_int_equal(a.heal->v[0].result, HEAL_ENDED);
	assert_non_null(strstr(a.heal->v[0].why, "another connection now"));
	assert_int_equal(write(other.server, "x", 1), 1);
	assert_int_equal(read(other.client, &byte, 1), 1);
	alive_close(&a);
	close_pair(&other);
}

#define HOSTILE "main.\033]0;owned\a\nPWNED\xff"

static void test_report_escapes_what_the_program_says(void **state UNUSED)
{
	AUTO_WORLD struct world *w = mixed_world();
	AUTO_FINDINGS struct findings *f = world_judge(w);
	AUTO_HEAL struct heal *h = NULL;
	struct survey s = survey_of(w);
	struct cli cli = { .finding = f->v[0].fingerprint };
	const struct report r = { .survey = &s, .findings = f };
	AUTO_FREE char *text = NULL;
	AUTO_FREE char *json = NULL;
	size_t len;

	assert_ok(heal_plan(&cli, &s, f, &h));
	h->v[0].result = HEAL_DONE;
	h->v[0].tasks[0].fate = FATE_MOVED;
	h->v[0].tasks[0].at = make_frame(w, HOSTILE, HOSTILE, 7);
	h->v[1].result = HEAL_FAILED;
	h->v[1].why = HOSTILE;
	FILE *mem = open_memstream(&text, &len);
	struct text t = { .out = mem, .width = 80 };
	report_heal_plan(&t, &r, h);
	report_heal_done(&t, &r, h);
	fclose(mem);
	mem = open_memstream(&json, &len);
	report_heal_json(mem, &r, h);
	fclose(mem);
	for (const char *p = text; *p; p++)
		assert_true(*p == '\n' || (*p >= ' ' && *p < 127));
	for (const char *p = text; *p; p += strcspn(p, "\n") + 1) {
		assert_true(strcspn(p, "\n") <= 80);
		if (!p[strcspn(p, "\n")])
			break;
	}
	json_t *doc = json_loadb(json, len, 0, NULL);
	assert_non_null(doc);
	json_decref(doc);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_only_what_is_proven_dead_may_be_ended),
		cmocka_unit_test(test_what_did_not_answer_a_probe_may_be_ended),
		cmocka_unit_test(test_keepalive_may_be_armed_on_any_connection),
		cmocka_unit_test(test_of_a_finding_the_unproven_are_left_alone),
		cmocka_unit_test(test_force_takes_all_of_a_finding),
		cmocka_unit_test(test_finding_without_proof_is_refused),
		cmocka_unit_test(
			test_connection_of_several_readers_is_one_item),
		cmocka_unit_test(
			test_who_moved_between_the_looks_does_not_wait),
		cmocka_unit_test(test_id_must_fit_one_finding),
		cmocka_unit_test(test_finding_without_a_connection_is_refused),
		cmocka_unit_test(test_writer_is_judged_as_a_writer),
		cmocka_unit_test(test_exit_status_tells_all_some_and_none),
		cmocka_unit_test(test_segment_after_the_verdict_saves_it),
		cmocka_unit_test(test_what_ended_or_was_closed_is_said_so),
		cmocka_unit_test(test_report_escapes_what_the_program_says),
	};

	setlocale(LC_CTYPE, "C.UTF-8");
	return cmocka_run_group_tests(tests, own_netns, NULL);
}
