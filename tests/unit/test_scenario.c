/* SPDX-License-Identifier: Apache-2.0 */
#include "base/cleanup.h"
#include "scenarios/run/scenario.h"
#include "tests/unit/unit.h"

#define HEAD                                                                   \
	"[scenario]\ntitle = t\ntopology = pair\n"                             \
	"[victim]\nargs = reader\n"
#define EXPECT "[expect]\nbefore = silent\nnever = half-open\nfinding = none\n"

static struct error *parse(struct arena *arena, const char *text,
			   struct scenario *ret)
{
	return scenario_parse("/x/some-name/scenario.ini", text, strlen(text),
			      arena, ret);
}

static const struct {
	const char *text;
	const char *error; /* part of it, with the line */
} broken[] = {
	{ "[scenario]\ntitel = t\n", ":2: unknown key 'titel' in [scenario]" },
	{ "[scenery]\ntitle = t\n", ":2: unknown key 'title' in [scenery]" },
	{ "title = t\n", ":1: unknown key 'title' in []" },
	{ HEAD "title = u\n" EXPECT, ":6: unknown key 'title' in [victim]" },
	{ "[scenario]\ntitle = t\ntitle = u\n", ":3: a second 'title'" },
	{ "[scenario]\ntitle =\n", ":2: 'title' has no value" },
	{ "[scenario]\nnonsense\n", ":2: neither [section] nor key = value" },
	{ "[scenario\ntitle = t\n", ":1: neither [section] nor key = value" },
	{ HEAD "", "no 'before' in [expect]" },
	{ "[victim]\nargs = r\n" EXPECT, "no 'title' in [scenario]" },
	{ "[scenario]\ntitle = t\ntopology = pair\n" EXPECT,
	  "no 'args' in [victim]" },
	{ "[scenario]\nview = both\n", ":2: 'both' is no view" },
	{ "[scenario]\nfamilies = 5\n", ":2: '5' is no family" },
	{ "[scenario]\nlike-healthy = maybe\n", "neither yes nor no" },
	{ "[peer]\nprogram = mysql\n", ":2: unknown peer 'mysql'" },
	{ "[victim]\nprogram = x\n", ":2: unknown victim 'x'" },
	{ "[fault]\nsettle = 5\n", ":2: '5' is no duration" },
	{ "[fault]\nsettle = 3m\n", ":2: '3m' is no duration from 0 to 2m" },
	{ "[fault]\nwrite = -1\n", ":2: '-1' is no number" },
	{ "[fault]\nwrite = 1x\n", ":2: '1x' is no number" },
	{ "[fault]\nfault = a\nfault = b\nfault = c\nfault = d\nfault = e\n",
	  ":6: more than 4 faults" },
	{ "[expect]\nbefore = dead\n", ":2: unknown verdict 'dead'" },
	{ "[expect]\nfinding = stranded-reader\n", ":2: a finding is" },
	{ HEAD "[expect]\nbefore = silent\nnever = silent\nfinding = none\n",
	  "is expected, and must never be said" },
	{ HEAD EXPECT "after = alive half-open\n",
	  "is expected, and must never be said" },
	{ HEAD EXPECT "shield = yes\n", "a shield, and no probe" },
	{ HEAD EXPECT "runtime = thread\n", "a runtime, and no finding" },
	{ "[victim]\nprogram = twin-../x\n", ":2: unknown victim 'twin-../x'" },
	{ HEAD EXPECT "answer-after = 1s\n", "an answer, and no probe" },
	{ HEAD EXPECT "looks = 0\n", "from 1 to 20 looks" },
	{ HEAD "connections = 1001\n" EXPECT, "from 1 to 1000 connections" },
	{ "[victim]\nargs = a b c d e f g h i j k l m n o p\n",
	  ":2: more than 15 words" },
	{ "[scenario]\ntitle = a\n  b\n", ":3: a line that starts with" },
};

static void test_errors_name_the_file_and_the_line(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_OF(broken); i++) {
		AUTO_ARENA struct arena *arena = arena_create();
		struct scenario s;
		char whole[256];

		snprintf(whole, sizeof(whole), "%s%s",
			 broken[i].error[0] == ':' ? "/x/some-name/scenario.ini"
						   : "",
			 broken[i].error);
		assert_error(parse(arena, broken[i].text, &s), ERROR_USAGE,
			     whole);
	}
}

static void test_lines_that_inih_would_cut_are_refused(void **state)
{
	AUTO_ARENA struct arena *arena = arena_create();
	struct scenario s;
	char text[400] = "[scenario]\ntitle = ";

	(void)state;
	memset(text + strlen(text), 'x', 200);
	assert_error(parse(arena, text, &s), ERROR_USAGE,
		     ":2: line of more than");
	assert_error(scenario_parse("/x/y/z", "[a]\n\0x = 1\n", 11, arena, &s),
		     ERROR_USAGE, "/x/y/z:2: a NUL byte");
}

static void test_a_file_that_is_too_big_is_refused(void **state)
{
	AUTO_ARENA struct arena *arena = arena_create();
	AUTO_FREE char *text = malloc(SCENARIO_FILE_MAX + 1);
	struct scenario s;

	(void)state;
	memset(text, '\n', SCENARIO_FILE_MAX + 1);
	assert_error(scenario_parse("/x/y/z", text, SCENARIO_FILE_MAX + 1,
				    arena, &s),
		     ERROR_USAGE, "/x/y/z: more than 65536 bytes");
}

static void test_all_keys_are_read(void **state)
{
	AUTO_ARENA struct arena *arena = arena_create();
	struct scenario s;

	(void)state;
	assert_ok(parse(
		arena,
		"; a comment\n[scenario]\ntitle = a b\nrow = 4b\n"
		"topology = routed\nview = host\nfamilies = 6\n"
		"needs = nft root\nlike-healthy = yes\n"
		"[victim]\nprogram = victim\nargs = reader  --count 3\n"
		"target = p\nserves = yes\nconnections = 7\n"
		"[peer]\nprogram = redis\nargs = --a\nhealthy-args = --b\n"
		"[fault]\nbefore = x 1\nready = 1s\nfault = y\nwrite = 5\n"
		"settle = 2s\n"
		"[expect]\nbefore = silent alive\nafter = unreachable\n"
		"never = half-open\nanswer-after = 3s\nlooks = 3\nshield = yes\n"
		"finding = stranded-reader likely\nfindings = 2\n"
		"runtime = thread\nreturns = EOF\n",
		&s));
	assert_string_equal(s.name, "some-name");
	assert_string_equal(s.path, "/x/some-name");
	assert_string_equal(s.title, "a b");
	assert_string_equal(s.row, "4b");
	assert_int_equal(s.view, VIEW_HOST);
	assert_true(!s.family4 && s.family6 && s.like_healthy);
	assert_int_equal(s.needs.n, 2);
	assert_int_equal(s.victim_args.n, 3);
	assert_string_equal(s.victim_args.v[1], "--count");
	assert_string_equal(s.target_host, "p");
	assert_true(s.victim_serves && s.connections == 7);
	assert_int_equal(s.peer, PEER_REDIS);
	assert_string_equal(s.healthy_args.v[0], "--b");
	assert_int_equal(s.n_faults, 2);
	assert_true(s.faults[0].before && !s.faults[1].before);
	assert_string_equal(s.faults[0].args.v[0], "1");
	assert_true(s.ready_ms == 1000 && s.settle_ms == 2000);
	assert_int_equal(s.write_bytes, 5);
	assert_int_equal(s.before, SAYS_SILENT | SAYS_ALIVE);
	assert_int_equal(s.after, SAYS_UNREACHABLE);
	assert_int_equal(s.never, SAYS_HALF_OPEN);
	assert_int_equal(s.answer_after_ms, 3000);
	assert_true(s.looks == 3 && s.shield);
	assert_string_equal(s.finding, "stranded-reader");
	assert_string_equal(s.grade, "likely");
	assert_int_equal(s.findings, 2);
	assert_string_equal(s.runtime, "thread");
	assert_string_equal(s.returns, "EOF");
}

static void test_a_twin_is_started_under_the_hook_when_told(void **state)
{
	AUTO_ARENA struct arena *arena = arena_create();
	struct scenario s;

	(void)state;
	// it has no modes, so that it needs no arguments
	assert_ok(parse(arena,
			"[scenario]\ntitle = t\ntopology = pair\n"
			"[victim]\nprogram = twin-pth\nhook = yes\n" EXPECT,
			&s));
	assert_int_equal(s.victim, VICTIM_TWIN);
	assert_string_equal(s.program, "twin-pth");
	assert_true(s.hook);
}

static void test_what_is_not_said_has_a_default(void **state)
{
	AUTO_ARENA struct arena *arena = arena_create();
	struct scenario s;

	(void)state;
	assert_ok(parse(arena, HEAD "[peer]\nargs = --x\n" EXPECT, &s));
	assert_int_equal(s.view, VIEW_ALONE);
	assert_true(s.family4 && s.family6);
	assert_string_equal(s.target_host, "b");
	assert_int_equal(s.connections, 1);
	assert_int_equal(s.looks, 1);
	assert_int_equal(s.after, 0);
	assert_null(s.finding);
	assert_null(s.returns);
	assert_int_equal(s.victim, VICTIM_GO);
	assert_string_equal(s.program, "victim");
	assert_false(s.hook);
	assert_int_equal(s.findings, -1);
	assert_null(s.runtime);
	// c does what b does
	assert_string_equal(s.healthy_args.v[0], "--x");
}

static void test_verdicts_have_names(void **state)
{
	char buf[64];

	(void)state;
	for (uint32_t i = 0; i < 32; i++) {
		const char *name = scenario_verdict_name(1u << i);
		if (name)
			assert_int_equal(scenario_verdict_bit(name), 1u << i);
	}
	assert_string_equal(scenario_verdict_name(SAYS_GONE), "gone");
	assert_null(scenario_verdict_name(0));
	assert_null(scenario_verdict_name(SAYS_GONE | SAYS_ALIVE));
	scenario_verdicts_text(SAYS_SILENT | SAYS_ALIVE, buf, sizeof(buf));
	assert_string_equal(buf, "alive|silent");
	scenario_verdicts_text(0, buf, sizeof(buf));
	assert_string_equal(buf, "-");
	scenario_verdicts_text(~0u, buf, 8);
	assert_string_equal(buf, "half-op");
}

/* Those that are shipped: all of them are sound, and cover the table. */
static void test_every_row_of_the_table_has_a_scenario(void **state)
{
	static const char *const rows[] = {
		"1",   "2",   "3",  "4",   "4b",  "5",	"6",  "7",  "8",
		"9",   "10",  "11", "11b", "11c", "12", "13", "14", "15",
		"15b", "16",  "17", "17b", "18",  "19", "20", "21", "21b",
		"22",  "22b", "23", "24",  "25",  "26", "27", "28", "29",
	};
	AUTO_ARENA struct arena *arena = arena_create();
	struct scenario_list all;

	(void)state;
	assert_ok(scenario_load_all("scenarios", arena, &all));
	for (size_t i = 0; i < N_OF(rows); i++) {
		bool found = false;
		for (size_t k = 0; k < all.n; k++)
			found |= !strcmp(all.v[k].row, rows[i]);
		if (!found)
			fail_msg("no scenario for row %s", rows[i]);
	}
	for (size_t k = 0; k < all.n; k++) {
		char path[512];
		snprintf(path, sizeof(path), "%s/README.md", all.v[k].path);
		if (access(path, R_OK))
			fail_msg("no %s", path);
		assert_true(all.v[k].family4 && all.v[k].family6);
	}
}

static const struct scenario *healthy_twin(const struct scenario_list *all,
					   const char *name)
{
	for (size_t i = 0; i < all->n; i++) {
		const char *other = all->v[i].name;
		size_t len = strlen(name);

		if (!strncmp(other, name, len) &&
		    !strcmp(other + len, "-healthy"))
			return &all->v[i];
	}
	return NULL;
}

static bool is_stranded(const struct scenario *s, const char *program)
{
	return !strcmp(s->program, program) && s->finding;
}

static void test_every_kind_of_task_has_a_leaky_and_a_healthy_twin(void **state)
{
	static const char *const programs[] = {
		"twin-ucontext",
		"twin-pth",
		"twin-state-threads",
		"twin-pcl",
		"twin-boost-fiber",
		"twin-header",
		"twin-state-threads-stripped",
		"twin-threads",
		"twin-poll-loop",
		"twin-epoll-loop",
		"twin-python",
		"twin-java",
	};
	AUTO_ARENA struct arena *arena = arena_create();
	struct scenario_list all;

	(void)state;
	assert_ok(scenario_load_all("scenarios", arena, &all));
	for (size_t i = 0; i < N_OF(programs); i++) {
		const struct scenario *leaky = NULL, *healthy;

		for (size_t k = 0; k < all.n; k++)
			if (is_stranded(&all.v[k], programs[i]))
				leaky = &all.v[k];
		assert_non_null(leaky);
		assert_true(leaky->n_faults && leaky->findings > 0);
		assert_non_null(leaky->runtime);
		healthy = healthy_twin(&all, leaky->name);
		assert_non_null(healthy);
		// the same program, and nothing that happens to it
		assert_string_equal(healthy->program, leaky->program);
		assert_int_equal(healthy->hook, leaky->hook);
		assert_int_equal(healthy->connections, leaky->connections);
		assert_int_equal(healthy->n_faults, 0);
		assert_int_equal(healthy->findings, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_errors_name_the_file_and_the_line),
		cmocka_unit_test(test_lines_that_inih_would_cut_are_refused),
		cmocka_unit_test(test_a_file_that_is_too_big_is_refused),
		cmocka_unit_test(test_all_keys_are_read),
		cmocka_unit_test(
			test_a_twin_is_started_under_the_hook_when_told),
		cmocka_unit_test(test_what_is_not_said_has_a_default),
		cmocka_unit_test(test_verdicts_have_names),
		cmocka_unit_test(test_every_row_of_the_table_has_a_scenario),
		cmocka_unit_test(
			test_every_kind_of_task_has_a_leaky_and_a_healthy_twin),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
