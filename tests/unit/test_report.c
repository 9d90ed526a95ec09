/* SPDX-License-Identifier: Apache-2.0 */
#include <jansson.h>
#include <locale.h>
#include <wchar.h>

#include "tests/unit/detect.h"

#include "base/cleanup.h"
#include "detector/report.h"

/** Reports are judged by their properties; what they say comes from a world. */

#define HOSTILE "main.\033]0;owned\a\nPWNED\xff\xe2\x80\xae"

static struct process process = { .pid = 4242,
				  .exe = (char *)"/usr/bin/api",
				  .start_wall_ms = 1700000000000 };

/* The report of @w, as check writes it, at @width columns. */
static char *check_text(struct world *w, int width, bool color, bool stacks)
{
	AUTO_FINDINGS struct findings *f = world_judge(w);
	struct survey s = {
		.process = &process,
		.sets = { { .snapshot = &w->snap } },
		.n_sets = 1,
		.fds = w->fds,
		.sockets = &w->tcp,
		.verdicts = w->verdicts,
		.gaps = { .arena = w->arena },
		.duration_ms = 1100,
		.process_age_ms = -1,
	};
	const struct report r = { .survey = &s,
				  .findings = f,
				  .stacks = stacks };
	char *out = NULL;
	size_t len;
	FILE *mem = open_memstream(&out, &len);
	struct text t = { .out = mem, .width = width, .color = color };

	gaps_add(&s.gaps, GAP_RUNNING, 2, "goroutines were running");
	report_check_text(&t, &r);
	fclose(mem);
	return out;
}

static json_t *json_of(struct world *w,
		       void (*write)(FILE *, const struct report *))
{
	AUTO_FINDINGS struct findings *f = world_judge(w);
	struct survey s = {
		.process = &process,
		.sets = { { .snapshot = &w->snap } },
		.n_sets = 1,
		.fds = w->fds,
		.sockets = &w->tcp,
		.verdicts = w->verdicts,
		.gaps = { .arena = w->arena },
		.now_mono_ns = DETECT_NOW_MS * 1000000,
		.now_wall_ms = 1700000000000,
		.process_age_ms = 20000000,
	};
	const struct report r = { .survey = &s, .findings = f, .stacks = true };
	AUTO_FREE char *out = NULL;
	size_t len;
	json_error_t error;
	FILE *mem = open_memstream(&out, &len);

	gaps_add(&s.gaps, GAP_DENIED, 1, "a thing; a remedy");
	write(mem, &r);
	fclose(mem);
	if (!len || out[len - 1] != '\n' || memchr(out, '\n', len - 1))
		fail_msg("a document is one line");
	json_t *doc = json_loadb(out, len, 0, &error);
	if (!doc)
		fail_msg("%s at %d: %.60s", error.text, error.position,
			 out + (error.position > 30 ? error.position - 30 : 0));
	return doc;
}

/* A world with every kind of finding and long, mixed names. */
static struct world *busy_world(void)
{
	static const char *const deep[] = {
		"net.(*conn).Read",
		"github.com/some-organisation/a-library-with-a-long-name/v12/"
		"internal/transport.(*verySpecificConnection).readNextMessage",
		"main.(*Pool).Get", NULL
	};
	static const char *const own[] = { "main.worker", NULL };
	struct world *w = world_create();

	for (int i = 0; i < 37; i++)
		add_reader(w, VERDICT_HALF_OPEN, true);
	add_reader(w, VERDICT_UNREACHABLE, false)->stack =
		make_stack(w, 7, deep);
	for (int i = 0; i < 3; i++)
		add_reader(w, VERDICT_SILENT, false);
	struct task *t = add_reader(w, VERDICT_PEER_NOT_READING, true);
	t->wait = WAIT_WRITE;
	struct tcp_socket *s = add_socket(w, 900, VERDICT_HALF_OPEN, true);
	s->local.family = s->remote.family = 10;
	memset(s->local.addr, 0xfe, 16);
	memset(s->remote.addr, 0xfd, 16);
	for (int i = 0; i < 120; i++) {
		t = add_task(w, WAIT_CHAN_SEND, -1);
		t->parked_before_mono_ns = 1;
		t->stack = make_stack(w, 9, own);
	}
	return w;
}

static int columns_of(const char *line, size_t len)
{
	char *copy = strndup(line, len);
	wchar_t wide[1024];
	size_t n = mbstowcs(wide, copy, N_OF(wide));
	int w = n == (size_t)-1 ? -1 : wcswidth(wide, n);

	free(copy);
	return w;
}

static void assert_fits(const char *text, int width)
{
	for (const char *p = text; *p;) {
		size_t len = strcspn(p, "\n");
		int w = columns_of(p, len);

		if (w < 0 || w > width)
			fail_msg("%d columns of %d: %.*s", w, width, (int)len,
				 p);
		if (len && p[len - 1] == ' ')
			fail_msg("ends in a space: %.*s", (int)len, p);
		p += len + (p[len] == '\n');
	}
}

static void test_no_line_is_wider_than_the_terminal(void **state)
{
	static const int widths[] = { 60, 72, 80, 100, 160, 240 };
	AUTO_WORLD struct world *w = busy_world();

	(void)state;
	for (size_t i = 0; i < N_OF(widths); i++) {
		AUTO_FREE char *text = check_text(w, widths[i], false, false);

		assert_fits(text, widths[i]);
		AUTO_FREE char *full = check_text(w, widths[i], false, true);
		assert_fits(full, widths[i]);
	}
}

static void test_a_finding_says_all_that_is_needed(void **state)
{
	static const char *const parts[] = {
		"api (pid 4242, go1.22.5): 37 goroutines, 37 parked",
		"1.1 s, stopped 0 ms\n",
		"\nPROVEN  37 goroutines can never return: their connections "
		"are half-open\n",
		"reading, no deadline, keepalive off\n",
		"\n  10.0.0.1:40000 -> 10.0.0.2:6379 (+36 more to "
		"10.0.0.2:6379)  ESTABLISHED\n",
		"\n    > main.(*Pool).readReply ",
		"\n      main.(*Pool).Get ",
		"\n    created by main.(*Pool).dial ",
		"\n  why  no segment for 3 h 02 min\n",
		"\n  fix  pool.go:106  set a deadline: conn.SetReadDeadline\n",
		"\n       pool.go:60   keep keepalive on",
		"\n1 finding (1 proven). Not seen: 2 goroutines were "
		"running.\n",
	};
	AUTO_WORLD struct world *w = world_create();

	(void)state;
	for (int i = 0; i < 37; i++)
		add_reader(w, VERDICT_HALF_OPEN, true);
	AUTO_FREE char *text = check_text(w, 80, false, false);
	for (size_t i = 0; i < N_OF(parts); i++)
		if (!strstr(text, parts[i]))
			fail_msg("'%s' is not in:\n%s", parts[i], text);
}

/* Waiting for the rest of the answer after CloseWrite: the peer did not close. */
static void test_half_closed_names_the_end_that_closed(void **state)
{
	AUTO_WORLD struct world *w = world_create();

	(void)state;
	add_reader(w, VERDICT_HALF_CLOSED, true);
	w->sockets[0].first.state = TCP_STATE_FIN_WAIT2;
	w->sockets[0].second.state = TCP_STATE_FIN_WAIT2;
	AUTO_FREE char *ours = check_text(w, 80, false, false);
	assert_non_null(strstr(ours, "its peer has not closed its side yet"));
	assert_null(strstr(ours, "has closed"));
	w->sockets[0].first.state = TCP_STATE_CLOSE_WAIT;
	w->sockets[0].second.state = TCP_STATE_CLOSE_WAIT;
	AUTO_FREE char *theirs = check_text(w, 80, false, false);
	assert_non_null(strstr(theirs, "its peer has closed the connection"));
}

static void test_no_finding_says_so_and_what_was_not_seen(void **state)
{
	AUTO_WORLD struct world *w = world_create();

	(void)state;
	add_reader(w, VERDICT_ALIVE, true);
	AUTO_FREE char *text = check_text(w, 80, false, false);
	assert_non_null(strstr(text, "\nNo findings. Not seen: 2 goroutines "
				     "were running.\n"));
}

/* Column where @what begins in the line that holds @mark. */
static int column_in(const char *text, const char *mark, const char *what)
{
	const char *at = strstr(text, mark);
	const char *line = at;

	assert_non_null(at);
	while (line > text && line[-1] != '\n')
		line--;
	return (int)(strstr(line, what) - line);
}

static void test_places_of_a_stack_stand_in_one_column(void **state)
{
	AUTO_WORLD struct world *w = world_create();

	(void)state;
	add_reader(w, VERDICT_HALF_OPEN, true);
	AUTO_FREE char *text = check_text(w, 80, false, false);
	int column = column_in(text, "> main.(*Pool).readReply", "pool.go:");
	assert_int_equal(column,
			 column_in(text, "main.(*Pool).Get", "pool.go:"));
	assert_int_equal(column, column_in(text, "created by", "pool.go:"));
}

static void test_hostile_names_reach_no_terminal(void **state)
{
	static const char *const evil[] = { HOSTILE, NULL };
	AUTO_WORLD struct world *w = world_create();
	struct task *t = add_reader(w, VERDICT_HALF_OPEN, true);

	(void)state;
	t->stack = make_stack(w, 1, evil);
	t->created_by = make_frame(w, HOSTILE, HOSTILE, 1);
	t->reason = HOSTILE;
	w->verdicts[0].evidence[0].text = HOSTILE;
	AUTO_FREE char *text = check_text(w, 80, false, true);
	for (const unsigned char *p = (unsigned char *)text; *p; p++)
		if ((*p < 32 && *p != '\n') || *p >= 127)
			fail_msg("byte 0x%02x in the report", *p);
	assert_null(strstr(text, "\nPWNED"));
}

static void test_colour_is_the_only_difference(void **state)
{
	AUTO_WORLD struct world *w = busy_world();
	AUTO_FREE char *plain = check_text(w, 80, false, false);
	AUTO_FREE char *colored = check_text(w, 80, true, false);
	char *out = colored;

	(void)state;
	assert_null(strchr(plain, '\033'));
	assert_non_null(strchr(colored, '\033'));
	for (const char *in = colored; *in; in++) {
		if (*in == '\033')
			in += strcspn(in, "m");
		else
			*out++ = *in;
	}
	*out = '\0';
	assert_string_equal(plain, colored);
}

static const char *string_at(json_t *doc, const char *key)
{
	return json_string_value(json_object_get(doc, key));
}

static void test_json_keeps_the_contract(void **state)
{
	AUTO_WORLD struct world *w = world_create();

	(void)state;
	add_reader(w, VERDICT_HALF_OPEN, true);
	add_reader(w, VERDICT_HALF_OPEN, true);
	json_t *doc = json_of(w, report_check_json);
	assert_int_equal(json_integer_value(json_object_get(doc, "schema")), 1);
	json_t *target = json_object_get(doc, "target");
	assert_int_equal(json_integer_value(json_object_get(target, "pid")),
			 4242);
	assert_string_equal(string_at(target, "exe"), "/usr/bin/api");
	assert_string_equal(string_at(target, "runtime"), "go1.22.5");
	assert_string_equal(string_at(target, "started"),
			    "2023-11-14T22:13:20.000Z");
	json_t *f = json_array_get(json_object_get(doc, "findings"), 0);
	assert_int_equal(strlen(string_at(f, "fingerprint")), 16);
	assert_string_equal(string_at(f, "kind"), "stranded-reader");
	assert_string_equal(string_at(f, "grade"), "proven");
	assert_int_equal(json_integer_value(json_object_get(f, "count")), 2);
	json_t *task = json_array_get(json_object_get(f, "tasks"), 0);
	assert_string_equal(string_at(task, "id"), "18");
	assert_string_equal(string_at(task, "wait"), "IO wait");
	assert_int_equal(json_integer_value(json_object_get(task, "fd")), 9);
	assert_true(json_is_null(json_object_get(task, "deadline")));
	json_t *blocked = json_object_get(task, "blocked_ms");
	assert_int_equal(
		json_integer_value(json_object_get(blocked, "at_least")), 1000);
	assert_int_equal(
		json_integer_value(json_object_get(blocked, "at_most")),
		11000000);
	json_t *frame = json_array_get(json_object_get(f, "stack"), 3);
	assert_string_equal(string_at(frame, "function"), "net.(*conn).Read");
	assert_string_equal(
		string_at(json_object_get(f, "created_by"), "function"),
		"main.(*Pool).dial");
	json_t *socket = json_object_get(f, "socket");
	assert_string_equal(string_at(socket, "local"), "10.0.0.1:40000");
	assert_string_equal(string_at(socket, "remote"), "10.0.0.2:6379");
	assert_string_equal(string_at(socket, "state"), "established");
	assert_string_equal(string_at(socket, "verdict"), "half-open");
	json_t *evidence =
		json_array_get(json_object_get(socket, "evidence"), 0);
	assert_string_equal(string_at(evidence, "kind"), "segments");
	assert_non_null(string_at(evidence, "at"));
	assert_true(json_array_size(json_object_get(f, "advice")) > 0);
	json_t *gap = json_array_get(json_object_get(doc, "gaps"), 0);
	assert_string_equal(string_at(gap, "kind"), "denied");
	assert_string_equal(string_at(gap, "text"), "a thing; a remedy");
	json_decref(doc);
}

static void test_json_is_utf8_whatever_the_target_holds(void **state)
{
	static const char *const evil[] = { HOSTILE, NULL };
	static const struct label labels[] = { { HOSTILE, HOSTILE } };
	AUTO_WORLD struct world *w = world_create();
	struct task *t = add_reader(w, VERDICT_HALF_OPEN, true);

	(void)state;
	t->stack = make_stack(w, 1, evil);
	t->reason = HOSTILE;
	t->labels = labels;
	t->n_labels = 1;
	json_t *doc = json_of(w, report_check_json);
	json_t *f = json_array_get(json_object_get(doc, "findings"), 0);
	json_t *frame = json_array_get(json_object_get(f, "stack"), 0);
	assert_non_null(strstr(string_at(frame, "function"), "\xef\xbf\xbd"));
	json_decref(doc);
	doc = json_of(w, report_ps_json);
	assert_int_equal(json_array_size(json_object_get(doc, "tasks")), 1);
	json_decref(doc);
}

static void test_json_of_ps_and_sockets_have_one_frame(void **state)
{
	AUTO_WORLD struct world *w = busy_world();
	size_t tasks = w->snap.n, sockets = w->tcp.n;

	(void)state;
	json_t *doc = json_of(w, report_ps_json);
	assert_int_equal(json_array_size(json_object_get(doc, "tasks")), tasks);
	json_t *t = json_array_get(json_object_get(doc, "tasks"), 0);
	static const char *const keys[] = {
		"id",	      "wait",  "fd",	 "blocked_ms", "deadline",
		"runtime",    "state", "parent", "labels",     "start",
		"created_by", "stack", "object"
	};
	for (size_t i = 0; i < N_OF(keys); i++)
		if (!json_object_get(t, keys[i]))
			fail_msg("a task has no '%s'", keys[i]);
	json_decref(doc);
	doc = json_of(w, report_sockets_json);
	assert_int_equal(json_array_size(json_object_get(doc, "sockets")),
			 sockets);
	json_t *s = json_array_get(json_object_get(doc, "sockets"), 0);
	assert_string_equal(string_at(s, "task"), "18");
	json_decref(doc);
}

static char *debug2(struct world *w)
{
	struct survey s = { .process = &process,
			    .sets = { { .snapshot = &w->snap } },
			    .n_sets = 1 };
	const struct report r = { .survey = &s };
	char *out = NULL;
	size_t len;
	FILE *mem = open_memstream(&out, &len);

	report_debug2(mem, &r);
	fclose(mem);
	return out;
}

/* Expected texts: runtime/traceback.go of Go 1.22, but for the arguments. */
static void test_debug2_is_what_the_runtime_prints(void **state)
{
	static const char *const functions_in[] = { "runtime.gopanic",
						    "main.inlined", "main.f",
						    NULL };
	AUTO_WORLD struct world *w = world_create();
	struct task *t = add_task(w, WAIT_READ, 9);

	(void)state;
	t->stack = make_stack(w, 16, functions_in);
	((struct frame *)t->stack->frames[1])->inlined = true;
	t->parent_id = 7;
	t->locked_to_thread = true;
	t->wait_since_mono_ns = (DETECT_NOW_MS - 200000) * 1000000;
	t = add_task(w, WAIT_NONE, -1);
	t->state = TASK_RUNNING;
	t = add_task(w, WAIT_CHAN_RECV, -1);
	t->stack = make_stack(w, 16, functions_in);
	((struct frame *)t->stack->frames[0])->hidden = true;
	t->reason = "chan receive";
	t->leaked = true;
	t->created_by = NULL;
	add_task(w, WAIT_RUNTIME, -1)->system = true;
	AUTO_FREE char *text = debug2(w);
	assert_string_equal(
		text,
		"goroutine 18 [IO wait, 3 minutes, locked to thread]:\n"
		"panic(...)\n\t/src/app/pool.go:16 +0x10\n"
		"main.inlined(...)\n\t/src/app/pool.go:17\n"
		"main.f(...)\n\t/src/app/pool.go:18 +0x12\n"
		"created by main.(*Pool).dial in goroutine 7\n"
		"\t/src/app/pool.go:60 +0x3c\n"
		"\n"
		"goroutine 19 [running]:\n"
		"\tgoroutine running on other thread; stack unavailable\n"
		"created by main.(*Pool).dial\n\t/src/app/pool.go:60 +0x3c\n"
		"\n"
		"goroutine 20 [chan receive (leaked)]:\n"
		"main.inlined(...)\n\t/src/app/pool.go:17 +0x11\n"
		"main.f(...)\n\t/src/app/pool.go:18 +0x12\n");
}

static int lines_with(const char *text, const char *part)
{
	int n = 0;

	for (const char *p = text; (p = strstr(p, part)); p++)
		n++;
	return n;
}

static void test_debug2_elides_as_the_version_does(void **state)
{
	const char *deep[121] = { 0 };
	AUTO_WORLD struct world *w = world_create();

	(void)state;
	for (size_t i = 0; i < 120; i++)
		deep[i] = "main.recurse";
	add_task(w, WAIT_CHAN_RECV, -1)->stack = make_stack(w, 1, deep);
	AUTO_FREE char *newer = debug2(w);
	assert_int_equal(lines_with(newer, "main.recurse(...)"), 100);
	assert_non_null(strstr(newer, "pool.go:50 +0x32\n...20 frames "
				      "elided...\nmain.recurse(...)\n"
				      "\t/src/app/pool.go:71 "));
	w->snap.runtime = "go1.19.8";
	AUTO_FREE char *older = debug2(w);
	assert_int_equal(lines_with(older, "main.recurse(...)"), 100);
	assert_non_null(strstr(older, "pool.go:100 +0x64\n...additional "
				      "frames elided...\ncreated by "));
}

static void test_tables_of_ps_and_sockets_fit(void **state)
{
	static const int widths[] = { 60, 80, 120, 160 };
	AUTO_WORLD struct world *w = busy_world();
	struct survey s = {
		.process = &process,
		.sets = { { .snapshot = &w->snap } },
		.n_sets = 1,
		.fds = w->fds,
		.sockets = &w->tcp,
		.verdicts = w->verdicts,
		.process_age_ms = 20000000,
		.now_mono_ns = DETECT_NOW_MS * 1000000,
	};
	const struct report r = { .survey = &s };

	(void)state;
	for (size_t i = 0; i < N_OF(widths); i++) {
		AUTO_FREE char *out = NULL;
		size_t len;
		FILE *mem = open_memstream(&out, &len);
		struct text t = { .out = mem, .width = widths[i] };

		report_ps_text(&t, &r);
		report_sockets_text(&t, &r);
		fclose(mem);
		assert_fits(out, widths[i]);
		assert_int_equal(lines_with(out, " chan send "), 120);
		assert_int_equal(lines_with(out, "\nID  "), 0);
	}
}

static void test_long_names_lose_their_middle(void **state)
{
	char buf[TEXT_CELL];

	(void)state;
	assert_int_equal(text_fit(buf, "github.com/a/b.(*T).Run", 15), 15);
	assert_string_equal(buf, "github...T).Run");
}

static void test_numbers_have_commas(void **state)
{
	char buf[TEXT_COUNT];

	(void)state;
	assert_string_equal(text_count(buf, 0), "0");
	assert_string_equal(text_count(buf, 999), "999");
	assert_string_equal(text_count(buf, 1000), "1,000");
	assert_string_equal(text_count(buf, UINT64_MAX),
			    "18,446,744,073,709,551,615");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_line_is_wider_than_the_terminal),
		cmocka_unit_test(test_a_finding_says_all_that_is_needed),
		cmocka_unit_test(test_half_closed_names_the_end_that_closed),
		cmocka_unit_test(test_no_finding_says_so_and_what_was_not_seen),
		cmocka_unit_test(test_places_of_a_stack_stand_in_one_column),
		cmocka_unit_test(test_hostile_names_reach_no_terminal),
		cmocka_unit_test(test_colour_is_the_only_difference),
		cmocka_unit_test(test_json_keeps_the_contract),
		cmocka_unit_test(test_json_is_utf8_whatever_the_target_holds),
		cmocka_unit_test(test_json_of_ps_and_sockets_have_one_frame),
		cmocka_unit_test(test_debug2_is_what_the_runtime_prints),
		cmocka_unit_test(test_debug2_elides_as_the_version_does),
		cmocka_unit_test(test_tables_of_ps_and_sockets_fit),
		cmocka_unit_test(test_long_names_lose_their_middle),
		cmocka_unit_test(test_numbers_have_commas),
	};

	setlocale(LC_CTYPE, "C.UTF-8");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
