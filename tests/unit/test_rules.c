/* SPDX-License-Identifier: Apache-2.0 */
#include "detector/inifile.h"
#include "detector/patterns.h"
#include "tests/unit/detect.h"

static struct error *add(struct rules *r, const char *text)
{
	return rules_add_text(r, "my.rules", text, strlen(text));
}

static const struct {
	const char *text;
	const char *error; /* part of it, with the line */
} broken[] = {
	{ "[a]\nfunction = f\n", "my.rules:1: rule without a reason" },
	{ "# c\n\n[a]\nreason = r\nfunctoin = f\n",
	  "my.rules:5: unknown key 'functoin'" },
	{ "[a]\nreason = r\n", "my.rules:1: rule 'a' would match everything" },
	{ "[a]\nreason = r\nkind = stranded-reader\n",
	  "my.rules:1: rule 'a' would match everything" },
	{ "reason = r\n", "my.rules:1: 'reason' outside a rule" },
	{ "[a]\nreason = r\nfunction = f\nnonsense\n",
	  "my.rules:4: neither [name] nor key = value" },
	{ "[a\nreason = r\nfunction = f\n",
	  "my.rules:1: neither [name] nor key = value" },
	{ "[a]\nreason = r\nreason = s\nfunction = f\n",
	  "my.rules:3: a second reason" },
	{ "[a]\nreason =\nfunction = f\n", "my.rules:2: an empty reason" },
	{ "[a]\nreason = r\nfunction =\n",
	  "my.rules:3: 'function' has no value" },
	{ "[a]\nreason = r\nkind = reader\nfunction = f\n",
	  "my.rules:3: unknown kind 'reader'" },
	{ "[a]\nfunction = f\n[b]\nreason = r\nfunction = f\n",
	  "my.rules:1: rule without a reason" },
	{ "[]\n\n[b]\nreason = r\nfunction = f\n",
	  "my.rules:1: rule without a reason" },
};

static void test_errors_name_the_file_and_the_line(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_OF(broken); i++) {
		AUTO_RULES struct rules *r = NULL;

		assert_ok(rules_create(&r));
		assert_ok(add(r, "[ok]\nreason = r\nfunction = f\n"));
		assert_error(add(r, broken[i].text), ERROR_USAGE,
			     broken[i].error);
		/* A file that is refused leaves nothing behind. */
		assert_int_equal(rules_count(r), 1);
	}
}

static void test_lines_that_inih_would_cut_are_refused(void **state)
{
	AUTO_RULES struct rules *r = NULL;
	char text[512] = "[a]\nreason = ";

	(void)state;
	memset(text + strlen(text), 'x', INIFILE_MAX_LINE);
	strcat(text, "\nfunction = f\n");
	assert_ok(rules_create(&r));
	assert_error(add(r, text), ERROR_USAGE, "my.rules:2: line of more");
	snprintf(text, sizeof(text), "[%060d]\nreason = r\nfunction = f\n", 1);
	assert_error(add(r, text), ERROR_USAGE, "my.rules:1: name of more");
	assert_error(rules_add_text(r, "my.rules", "[a]\n\0x = 1\n", 11),
		     ERROR_USAGE, "my.rules:2: a NUL byte");
}

static void test_a_missing_file_is_a_usage_error(void **state)
{
	AUTO_RULES struct rules *r = NULL;

	(void)state;
	assert_ok(rules_create(&r));
	assert_error(rules_add_file(r, "/nonexistent/x.rules"), ERROR_USAGE,
		     "cannot open rules file '/nonexistent/x.rules'");
}

static void test_builtin_rules_are_sound(void **state)
{
	AUTO_RULES struct rules *r = NULL;

	(void)state;
	assert_ok(rules_create(&r));
	assert_ok(rules_add_builtin(r));
	assert_true(rules_count(r) >= 5);
}

static const struct {
	const char *pattern, *text;
	bool matches;
} globs[] = {
	{ "", "", true },
	{ "", "a", false },
	{ "a", "", false },
	{ "*", "", true },
	{ "*", "anything", true },
	{ "net/http.*", "net/http.(*conn).serve", true },
	{ "net/http.(*conn).serve", "net/http.(*conn).serve", true },
	{ "net/http.(\\*conn).serve", "net/http.(*conn).serve", true },
	{ "net/http.(\\*conn).serve", "net/http.(xconn).serve", false },
	{ "*.serve", "net/http.(*conn).serve", true },
	{ "*.serve", "net/http.(*conn).served", false },
	{ "a*b*c", "aXbXbXc", true },
	{ "a*b*c", "aXbXbX", false },
	{ "[a-z]", "b", false },
	{ "main.f?", "main.fx", false },
	{ "\\", "\\", true },
	{ "\\x", "\\x", false },
};

static void test_globs_know_the_star_only(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_OF(globs); i++)
		if (pattern_glob(globs[i].pattern, globs[i].text) !=
		    globs[i].matches)
			fail_msg("'%s' on '%s'", globs[i].pattern,
				 globs[i].text);
}

/* The pattern on which a recursive matcher takes for ever. */
static void test_many_stars_take_no_time(void **state)
{
	char text[20001];

	(void)state;
	memset(text, 'a', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	assert_false(pattern_glob("*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b", text));
}

static const struct {
	const char *what, *rule;
	enum finding_kind kind;
	bool matches;
} matches[] = {
	{ "any frame", "function = main.(*Pool).Get", FINDING_STRANDED_READER,
	  true },
	{ "one of two values", "function = nope\nfunction = main.*",
	  FINDING_STRANDED_READER, true },
	{ "all keys", "function = main.*\ncreated-by = nope",
	  FINDING_STRANDED_READER, false },
	{ "both keys", "function = main.*\ncreated-by = main.(*Pool).dial",
	  FINDING_STRANDED_READER, true },
	{ "top is the first that is not the runtime's",
	  "top = net.(*netFD).Read", FINDING_STRANDED_READER, true },
	{ "top is no deeper frame", "top = main.*", FINDING_STRANDED_READER,
	  false },
	{ "the runtime's words", "wait = IO wait", FINDING_STRANDED_READER,
	  true },
	{ "our word for it", "wait = read", FINDING_STRANDED_READER, true },
	{ "another kind", "function = main.*\nkind = blocked-group",
	  FINDING_STRANDED_READER, false },
	{ "this kind", "function = main.*\nkind = blocked-group",
	  FINDING_BLOCKED_GROUP, true },
};

static void test_rules_match_by_their_keys(void **state)
{
	AUTO_WORLD struct world *w = world_create();
	struct task *t = add_reader(w, VERDICT_SILENT, false);
	struct rule_hit hit;
	char text[256];

	(void)state;
	for (size_t i = 0; i < N_OF(matches); i++) {
		AUTO_RULES struct rules *r = NULL;

		assert_ok(rules_create(&r));
		snprintf(text, sizeof(text), "[x]\nreason = because\n%s\n",
			 matches[i].rule);
		assert_ok(add(r, text));
		if (rules_match(r, matches[i].kind, t, &hit) !=
		    matches[i].matches)
			fail_msg("%s", matches[i].what);
		if (matches[i].matches)
			assert_string_equal(hit.reason, "because");
	}
}

static void test_a_task_without_stack_or_creator_matches_no_frame(void **state)
{
	AUTO_RULES struct rules *r = NULL;
	struct task t = { .reason = "IO wait", .wait = WAIT_READ };
	struct rule_hit hit;

	(void)state;
	assert_ok(rules_create(&r));
	assert_ok(add(r, "[x]\nreason = r\nfunction = *\n"
			 "[y]\nreason = r\ncreated-by = *\n"
			 "[z]\nreason = r\ntop = *\n"));
	assert_false(rules_match(r, FINDING_STRANDED_READER, &t, &hit));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_errors_name_the_file_and_the_line),
		cmocka_unit_test(test_lines_that_inih_would_cut_are_refused),
		cmocka_unit_test(test_a_missing_file_is_a_usage_error),
		cmocka_unit_test(test_builtin_rules_are_sound),
		cmocka_unit_test(test_globs_know_the_star_only),
		cmocka_unit_test(test_many_stars_take_no_time),
		cmocka_unit_test(test_rules_match_by_their_keys),
		cmocka_unit_test(
			test_a_task_without_stack_or_creator_matches_no_frame),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
