/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <stdbool.h>
#include <locale.h>

#include "tests/unit/unit.h"

#include "base/cleanup.h"
#include "base/log.h"
#include "detector/cli.h"

#define MAX_ARGS 16

/* cli_parse() reorders argv: give it an array of its own. */
static struct error *parse(const char *line, struct cli *cli)
{
	static char buf[512];
	static char *argv[MAX_ARGS + 1];
	int argc = 0;

	snprintf(buf, sizeof(buf), "%s", line);
	for (char *p = strtok(buf, " "); p; p = strtok(NULL, " "))
		argv[argc++] = p;
	argv[argc] = NULL;
	return cli_parse(argc, argv, cli);
}

static void test_check_is_implied(void **state)
{
	struct cli cli;

	(void)state;
	assert_ok(parse("stranded 4242 -q", &cli));
	assert_string_equal(cli.command->name, "check");
	assert_false(cli.command_named);
	assert_true(cli.quick);
	assert_int_equal(cli.n_args, 1);
	assert_string_equal(cli.args[0], "4242");
	assert_int_equal(cli.min_blocked_ms, -1);
}

static void test_options_may_stand_before_the_command(void **state)
{
	struct cli cli;

	(void)state;
	assert_ok(parse("stranded --format json ps 4242", &cli));
	assert_string_equal(cli.command->name, "ps");
	assert_int_equal(cli.format, FORMAT_JSON);
	assert_string_equal(cli.args[0], "4242");
}

static void test_a_process_may_bear_the_name_of_a_command(void **state)
{
	struct cli cli;

	(void)state;
	assert_ok(parse("stranded check ps", &cli));
	assert_string_equal(cli.command->name, "check");
	assert_string_equal(cli.args[0], "ps");
}

static void test_what_follows_the_command_of_run_is_its_own(void **state)
{
	static const char *const lines[] = {
		"stranded run ls -l --format xml",
		"stranded run -- ls -l --format xml",
	};
	struct cli cli;

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		assert_ok(parse(lines[i], &cli));
		assert_string_equal(cli.command->name, "run");
		assert_true(cli.command_named);
		assert_int_equal(cli.given, 0);
		assert_int_equal(cli.n_args, 4);
		assert_string_equal(cli.args[0], "ls");
		assert_string_equal(cli.args[3], "xml");
		assert_null(cli.args[4]);
	}
	assert_ok(parse("stranded run -- -x --help", &cli));
	assert_string_equal(cli.args[0], "-x");
	/* the options of run itself stand before */
	assert_ok(parse("stranded run --help ls", &cli));
	assert_int_equal(cli.given, OPT_HELP);
}

static void test_values_are_taken_with_their_units(void **state)
{
	struct cli cli;

	(void)state;
	assert_ok(parse("stranded --min-blocked=1m30s --min-group 7 "
			"--rules a --rules=b api",
			&cli));
	assert_int_equal(cli.min_blocked_ms, 90000);
	assert_int_equal(cli.min_group, 7);
	assert_int_equal(cli.n_rules, 2);
	assert_string_equal(cli.rules[1], "b");
}

static void test_heal_takes_one_thing_to_do(void **state)
{
	struct cli cli;

	(void)state;
	assert_ok(parse("stranded heal api --fd 0", &cli));
	assert_int_equal(cli.fd, 0);
	assert_int_equal(cli.how, HEAL_DESTROY);
	assert_false(cli.dry_run || cli.force);
	assert_ok(parse("stranded heal api --finding ab -n --how eof", &cli));
	assert_int_equal(cli.fd, -1);
	assert_string_equal(cli.finding, "ab");
	assert_int_equal(cli.how, HEAL_EOF);
	assert_true(cli.dry_run);
	assert_ok(parse("stranded heal api --fd 7 --arm-keepalive 15s,16s,9",
			&cli));
	assert_int_equal(cli.how, HEAL_ARM);
	assert_int_equal(cli.keepalive.intvl_s, 16);
}

static const struct {
	const char *line, *error;
} wrong[] = {
	{ "stranded check", "which process? usage: stranded check" },
	{ "stranded ps", "which process?" },
	{ "stranded sockets", "which process?" },
	{ "stranded run", "which command? usage: stranded run" },
	{ "stranded run --", "which command?" },
	{ "stranded run --quick ls", "'run' takes no option '--quick'" },
	{ "stranded --all run ls", "'run' takes no option '--all'" },
	{ "stranded --nonsense 1", "unknown option '--nonsense'" },
	{ "stranded -Z 1", "unknown option '-Z'" },
	{ "stranded --format", "option '--format' needs an argument" },
	{ "stranded --quick=yes 1", "option '--quick' takes no argument" },
	{ "stranded --format xml 1", "unknown format 'xml'" },
	{ "stranded --format debug2 1", "'check' has no such format" },
	{ "stranded --color maybe 1", "unknown colour mode 'maybe'" },
	{ "stranded --min-blocked 30 1", "'30' is no duration" },
	{ "stranded --min-blocked -5s 1", "'-5s' is no duration" },
	{ "stranded --min-group 0 1", "'0' is no group size" },
	{ "stranded --min-group -1 1", "'-1' is no group size" },
	{ "stranded --min-group 1x 1", "'1x' is no group size" },
	{ "stranded ps --quick 1", "'ps' takes no option '--quick'" },
	{ "stranded ps 1 2", "too many arguments for 'ps': '2'" },
	{ "stranded version 1", "too many arguments for 'version'" },
	{ "stranded --all 1", "--all and '1' exclude each other" },
	{ "stranded --net-from a --net-record b 1", "exclude each other" },
	{ "stranded probe", "which process?" },
	{ "stranded probe --fd -1 1", "'-1' is no file descriptor" },
	{ "stranded probe --fd +1 1", "'+1' is no file descriptor" },
	{ "stranded probe --fd 9x 1", "'9x' is no file descriptor" },
	{ "stranded probe --fd 99999999 1", "is no file descriptor" },
	{ "stranded probe --fd 1 --remote ::1 1", "exclude each other" },
	{ "stranded probe --remote redis 1", "'redis' is no address" },
	{ "stranded probe --window 15 1", "'15' is no time to wait" },
	{ "stranded probe --window 999ms 1", "use 1s to 60s" },
	{ "stranded probe --window 61s 1", "use 1s to 60s" },
	{ "stranded probe --net-from a 1", "'probe' takes no option" },
	{ "stranded sockets --probe 1", "'sockets' takes no option '--probe'" },
	{ "stranded check --window 5s 1", "say --probe, too" },
	{ "stranded check --rst-shield 1", "say --probe, too" },
	{ "stranded check --probe --quick 1", "exclude each other" },
	{ "stranded check --probe --net-from a 1", "exclude each other" },
	{ "stranded heal", "which process?" },
	{ "stranded heal 1", "which connection? give --fd N" },
	{ "stranded heal 1 --fd 3 --finding a", "--finding excludes" },
	{ "stranded heal 1 --fd 3 --remote ::1", "exclude each other" },
	{ "stranded heal 1 --fd 3 --rst-shield", "say --probe, too" },
	{ "stranded heal 1 --fd -3", "'-3' is no file descriptor" },
	{ "stranded heal 1 --fd 3x", "'3x' is no file descriptor" },
	{ "stranded heal 1 --fd 2147483648",
	  "'2147483648' is no file descriptor" },
	{ "stranded heal 1 --fd 3 --how kill", "unknown way to heal 'kill'" },
	{ "stranded heal 1 --fd 3 --how eof --arm-keepalive 1s,1s,1",
	  "--how and --arm-keepalive exclude each other" },
	{ "stranded heal 1 --fd 3 --arm-keepalive 1,1,1", "is no keepalive" },
	{ "stranded sockets 1 --force", "'sockets' takes no option '--force'" },
	{ "stranded check 1 --force", "--force is for --stop" },
	{ "stranded ps 1 --for 1s", "'ps' takes no option '--for'" },
	{ "stranded watch-tasks 1 --for 1ms", "is no duration from 1.0 s to" },
	{ "stranded watch-tasks 1 --every x", "is no duration from 200 ms to" },
	{ "stranded sockets 1 --policy keepalive<60s", "is no policy" },
};

static const struct {
	const char *text, *shown; /* NULL: refused */
} remotes[] = {
	{ "10.0.0.1:6379", "10.0.0.1:6379" },
	{ "10.0.0.1", "10.0.0.1:0" },
	{ "fd00::1", "[fd00::1]:0" },
	{ "[fd00::1]", "[fd00::1]:0" },
	{ "[fd00::1]:65535", "[fd00::1]:65535" },
	{ "::ffff:10.0.0.1", "10.0.0.1:0" },
	{ "[::ffff:10.0.0.1]:80", "10.0.0.1:80" },
	{ "", NULL },
	{ ":", NULL },
	{ ":80", NULL },
	{ "10.0.0.1:", NULL },
	{ "10.0.0.1:0", NULL },
	{ "10.0.0.1:65536", NULL },
	{ "10.0.0.1:99999999999999999999", NULL },
	{ "10.0.0.1:8O", NULL },
	{ "10.0.0.1:-1", NULL },
	{ "10.0.0", NULL },
	{ "10.0.0.256", NULL },
	{ "[", NULL },
	{ "[]", NULL },
	{ "[fd00::1", NULL },
	{ "[fd00::1]80", NULL },
	{ "[fd00::1]:", NULL },
	{ "[10.0.0.1]:80", NULL },
	{ "fd00::1]:80", NULL },
	{ "fd00:::1", NULL },
	{ "fe80::1%eth0", NULL },
	{ "1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb", NULL },
};

static void test_remote_addresses(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_OF(remotes); i++) {
		struct endpoint e = { 0 };
		char text[ENDPOINT_TEXT_MAX];
		bool ok = endpoint_parse(remotes[i].text, &e);

		if (ok != (remotes[i].shown != NULL))
			fail_msg("'%s' is %s", remotes[i].text,
				 ok ? "taken" : "refused");
		if (!ok)
			continue;
		endpoint_format(&e, text);
		assert_string_equal(text, remotes[i].shown);
	}
}

static void test_probe_is_asked_for_by_name(void **state)
{
	struct cli cli;

	(void)state;
	assert_ok(parse("stranded 4242", &cli));
	assert_false(cli.probe);
	assert_ok(parse("stranded check --probe --rst-shield 4242", &cli));
	assert_true(cli.probe);
	assert_true(cli.rst_shield);
	assert_int_equal(cli.window_ms, 15000);
	assert_int_equal(cli.fd, -1);
	assert_ok(parse("stranded probe --window 1m --fd 0 4242", &cli));
	assert_int_equal(cli.window_ms, 60000);
	assert_int_equal(cli.fd, 0);
	assert_ok(parse("stranded probe --remote [::1]:80 4242", &cli));
	assert_int_equal(cli.remote.port, 80);
}

static void test_wrong_usage_names_what_is_wrong(void **state)
{
	struct cli cli;

	(void)state;
	for (size_t i = 0; i < N_OF(wrong); i++)
		assert_error(parse(wrong[i].line, &cli), ERROR_USAGE,
			     wrong[i].error);
}

static char logged[512];

static void keep_log(const char *line, size_t len)
{
	snprintf(logged, sizeof(logged), "%.*s", (int)len, line);
}

/* Run the whole program; its report is not looked at here. */
static int status_of(const char *line)
{
	char buf[256], *argv[MAX_ARGS + 1];
	int argc = 0;

	logged[0] = '\0';
	log_set_sink(keep_log);
	snprintf(buf, sizeof(buf), "%s", line);
	for (char *p = strtok(buf, " "); p; p = strtok(NULL, " "))
		argv[argc++] = p;
	argv[argc] = NULL;
	fflush(stdout);
	int saved = dup(1);
	FILE *null = fopen("/dev/null", "w");
	dup2(fileno(null), 1);
	int status = cli_main(argc, argv);
	fflush(stdout);
	dup2(saved, 1);
	close(saved);
	fclose(null);
	log_set_sink(NULL);
	return status;
}

static void test_exit_status_of_usage_is_64(void **state)
{
	(void)state;
	assert_int_equal(status_of("stranded --nonsense"), STATUS_USAGE);
	assert_non_null(strstr(logged, "unknown option"));
	assert_int_equal(status_of("stranded --rules /nonexistent 1"),
			 STATUS_USAGE);
	assert_int_equal(status_of("stranded help nonsense"), STATUS_USAGE);
}

static void test_exit_status_of_help_and_version_is_0(void **state)
{
	(void)state;
	assert_int_equal(status_of("stranded help"), STATUS_CLEAN);
	assert_int_equal(status_of("stranded help ps"), STATUS_CLEAN);
	assert_int_equal(status_of("stranded --help"), STATUS_CLEAN);
	assert_int_equal(status_of("stranded check --help"), STATUS_CLEAN);
	assert_int_equal(status_of("stranded version"), STATUS_CLEAN);
	assert_int_equal(status_of("stranded --version"), STATUS_CLEAN);
}

static void test_exit_status_of_nobody_is_2_and_says_why(void **state)
{
	(void)state;
	assert_int_equal(status_of("stranded 2147483646"), STATUS_NOTHING);
	assert_non_null(strstr(logged, "2147483646"));
	assert_int_equal(status_of("stranded heal 2147483646 --fd 3"),
			 STATUS_NOTHING);
	assert_non_null(strstr(logged, "2147483646"));
	assert_int_equal(status_of("stranded no-such-name-here"),
			 STATUS_NOTHING);
	assert_non_null(strstr(logged, "no process is named"));
}

/* It has threads, and none of them is stuck; goroutines it has none. */
static void test_a_program_that_is_not_go_is_judged_by_its_threads(void **state)
{
	char line[64];
	pid_t pid = child_start(NULL, NULL);

	(void)state;
	snprintf(line, sizeof(line), "stranded --quick %d", (int)pid);
	assert_int_equal(status_of(line), STATUS_CLEAN);
	snprintf(line, sizeof(line), "stranded ps %d", (int)pid);
	assert_int_equal(status_of(line), STATUS_CLEAN);
	snprintf(line, sizeof(line), "stranded ps -f debug2 %d", (int)pid);
	assert_int_equal(status_of(line), STATUS_NOTHING);
	assert_non_null(strstr(logged, "not a Go program"));
	snprintf(line, sizeof(line), "stranded watch-tasks %d", (int)pid);
	assert_int_equal(status_of(line), STATUS_NOTHING);
	child_end(pid);
}

static void test_a_report_that_cannot_be_written_is_not_clean(void **state)
{
	char *argv[] = { (char *)"stranded", (char *)"version", NULL };

	(void)state;
	fflush(stdout);
	int saved = dup(1);
	FILE *full = fopen("/dev/full", "w");
	dup2(fileno(full), 1);
	log_set_sink(keep_log);
	int status = cli_main(2, argv);
	log_set_sink(NULL);
	dup2(saved, 1);
	close(saved);
	fclose(full);
	clearerr(stdout);
	assert_int_equal(status, STATUS_NOTHING);
	assert_non_null(strstr(logged, "cannot write the report"));
}

static char *slurp(const char *path)
{
	FILE *f = fopen(path, "r");
	char *text = calloc(1, 1 << 17);

	if (!f)
		fail_msg("no %s here", path);
	assert_true(fread(text, 1, (1 << 17) - 1, f) > 1000);
	fclose(f);
	return text;
}

/* The page writes - as \-; undo that to look for words. */
static char *man_page(void)
{
	char *text = slurp("detector/stranded.1"), *out = text;

	for (const char *in = text; *in; in++)
		if (*in != '\\' || in[1] != '-')
			*out++ = *in;
	*out = '\0';
	return text;
}

static char *help_text(const struct command *command)
{
	char *out = NULL;
	size_t len;
	FILE *mem = open_memstream(&out, &len);

	cli_print_help(mem, command);
	fclose(mem);
	return out;
}

static void test_every_command_is_in_the_man_page_and_in_help(void **state)
{
	AUTO_FREE char *man = man_page();
	AUTO_FREE char *help = help_text(NULL);
	char buf[128];

	(void)state;
	for (const struct command *c = cli_commands; c->name; c++) {
		snprintf(buf, sizeof(buf), "\n.TP\n.B %s\n", c->name);
		if (!strstr(man, buf))
			fail_msg("'%s' has no section in stranded.1", c->name);
		snprintf(buf, sizeof(buf), "\n  %s ", c->name);
		if (!strstr(help, buf))
			fail_msg("'%s' is not in help", c->name);
	}
}

/* As a whole word: --all is not in --allow-gaps. */
static bool has_option(const char *text, const char *option)
{
	size_t len = strlen(option);

	while (text && (text = strstr(text, option)) != NULL) {
		if (!isalnum((unsigned char)text[len]) && text[len] != '-')
			return true;
		text += len;
	}
	return false;
}

static void test_every_option_is_in_the_man_page_and_in_help(void **state)
{
	AUTO_FREE char *man = man_page();
	AUTO_FREE char *overview = help_text(NULL);
	char buf[128];

	(void)state;
	for (const struct cli_option *o = cli_options; o->name; o++) {
		char *options = strstr(man, "\n.SH OPTIONS\n");

		snprintf(buf, sizeof(buf), "--%s", o->name);
		if (!has_option(overview, buf) || !has_option(options, buf))
			fail_msg("'%s' is not told everywhere", buf);
		for (const struct command *c = cli_commands; c->name; c++) {
			AUTO_FREE char *help = help_text(c);

			if (!(c->options & o->bit) == has_option(help, buf) &&
			    strcmp(o->name, "version") != 0)
				fail_msg("help on '%s' is wrong on '%s'",
					 c->name, buf);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_check_is_implied),
		cmocka_unit_test(test_options_may_stand_before_the_command),
		cmocka_unit_test(test_a_process_may_bear_the_name_of_a_command),
		cmocka_unit_test(
			test_what_follows_the_command_of_run_is_its_own),
		cmocka_unit_test(test_values_are_taken_with_their_units),
		cmocka_unit_test(test_heal_takes_one_thing_to_do),
		cmocka_unit_test(test_wrong_usage_names_what_is_wrong),
		cmocka_unit_test(test_remote_addresses),
		cmocka_unit_test(test_probe_is_asked_for_by_name),
		cmocka_unit_test(test_exit_status_of_usage_is_64),
		cmocka_unit_test(test_exit_status_of_help_and_version_is_0),
		cmocka_unit_test(test_exit_status_of_nobody_is_2_and_says_why),
		cmocka_unit_test(
			test_a_program_that_is_not_go_is_judged_by_its_threads),
		cmocka_unit_test(
			test_a_report_that_cannot_be_written_is_not_clean),
		cmocka_unit_test(
			test_every_command_is_in_the_man_page_and_in_help),
		cmocka_unit_test(
			test_every_option_is_in_the_man_page_and_in_help),
	};

	setlocale(LC_CTYPE, "C.UTF-8");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
