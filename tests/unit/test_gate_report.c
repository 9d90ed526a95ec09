/* SPDX-License-Identifier: Apache-2.0 */

/* What the reports say of more than can be listed, and of what was not seen. */

#include "detector/gate/report.h"
#include "tests/unit/unit.h"

#include <stdlib.h>
#include <string.h>

struct world {
	struct gate_process *process;
	struct arena *arena;
	struct watch_result result;
	struct gate_report report;
};

static const char *const argv[] = { "make", "test", NULL };

static int set_up(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	w->process = gate_process_create(42);
	w->process->cmdline = "./server";
	w->process->outcome = GATE_JUDGED;
	w->process->gaps.arena = w->process->arena;
	w->arena = arena_create();
	w->result.gaps.arena = w->arena;
	w->result.processes = w->process;
	w->report = (struct gate_report){ .argv = argv,
					  .result = &w->result,
					  .root = "" };
	*state = w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;

	gate_process_destroy(w->process);
	arena_destroy(w->arena);
	free(w);
	return 0;
}

static char *written(const struct world *w, enum gate_format format)
{
	char *s = NULL;
	size_t len;
	FILE *out = open_memstream(&s, &len);

	assert_null(gate_report_write(format, out, &w->report));
	fclose(out);
	return s;
}

static void assert_written(const struct world *w, enum gate_format format,
			   const char *part, bool there)
{
	char *s = written(w, format);

	if (!strstr(s, part) == there)
		fail_msg("%s '%s' in:\n%s", there ? "no" : "a", part, s);
	free(s);
}

static void test_more_than_can_be_listed_is_a_failure(void **state)
{
	struct world *w = *state;

	w->process->leaks_cut = 7;
	assert_written(w, GATE_JUNIT, "tests=\"1\" failures=\"1\" errors=\"0\"",
		       true);
	assert_written(w, GATE_JUNIT, "and 7 more goroutines", true);
}

static void test_a_gap_is_an_error_unless_allowed(void **state)
{
	struct world *w = *state;

	gaps_add(&w->process->gaps, GAP_DENIED, 2, "maps of <process> 42");
	gaps_add(&w->result.gaps, GAP_LIMIT, 1, "processes beyond 65536");
	assert_written(w, GATE_JUNIT, "tests=\"2\" failures=\"0\" errors=\"1\"",
		       true);
	assert_written(w, GATE_JUNIT, "2 maps of &lt;process&gt; 42", true);
	assert_written(w, GATE_JUNIT, "1 processes beyond 65536", true);
	assert_written(w, GATE_SARIF, "maps of <process> 42", true);
	assert_written(w, GATE_SARIF, "processes beyond 65536", true);
	w->report.allow_gaps = true;
	assert_written(w, GATE_JUNIT, "<error", false);
	assert_written(w, GATE_JUNIT, "tests=\"1\" failures=\"0\" errors=\"0\"",
		       true);
	assert_written(w, GATE_SARIF, "maps of <process> 42", false);
}

/* A running goroutine has no stack, and is no reason to distrust the rest. */
static void test_a_gap_that_does_not_matter_is_no_error(void **state)
{
	struct world *w = *state;

	gaps_add(&w->process->gaps, GAP_RUNNING, 1, "goroutines were running");
	assert_written(w, GATE_JUNIT, "<error", false);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_more_than_can_be_listed_is_a_failure),
		TEST(test_a_gap_is_an_error_unless_allowed),
		TEST(test_a_gap_that_does_not_matter_is_no_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
