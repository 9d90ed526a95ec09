/* SPDX-License-Identifier: Apache-2.0 */

/** The lab's tables and state, and the C interface on the real kernel. */

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "scenarios/lab/lab_priv.h"
#include "tests/unit/unit.h"

static void test_names_are_letters_digits_dash_and_underscore(void **state)
{
	static const char *const good[] = { "a", "A-b_9", "0",
					    "1234567890123456789012345678901" };
	static const char *const bad[] = {
		"",    "-a",	   ".",
		"..",  "a/b",	   "a b",
		"a\n", "\xc3\xa9", "12345678901234567890123456789012"
	};

	(void)state;
	for (size_t i = 0; i < N_OF(good); i++)
		assert_true(lab_name_ok(good[i]));
	for (size_t i = 0; i < N_OF(bad); i++)
		assert_false(lab_name_ok(bad[i]));
}

static void test_every_topology_has_a_plan_in_which_a_reaches_b(void **state)
{
	(void)state;
	for (const struct lab_topology *t = lab_topologies; t->name; t++) {
		const struct lab_plan *plan = lab_plan_find(t->name);
		struct lab_end a, b, c;

		assert_non_null(plan);
		assert_true(lab_plan_towards(plan, "a", "b", &a));
		assert_true(lab_plan_towards(plan, "b", "a", &b));
		assert_true(lab_plan_towards(plan, "c", "a", &c));
		// one network, or a gateway into the other
		assert_true(a.net == b.net || (a.gateway && b.gateway));
		assert_string_equal(c.to, "a");
		assert_int_not_equal(c.net, a.net);
	}
}

static void test_the_router_knows_which_side_is_which(void **state)
{
	const struct lab_plan *plan = lab_plan_find("proxy");
	struct lab_end end;

	(void)state;
	assert_true(lab_plan_towards(plan, "r", "a", &end));
	assert_string_equal(end.device, "to-s");
	assert_true(lab_plan_towards(plan, "r", "b", &end));
	assert_string_equal(end.device, "to-b");
	assert_true(lab_plan_towards(plan, "s", "a", &end));
	assert_string_equal(end.device, "to-a");
	assert_true(lab_plan_towards(plan, "s", "b", &end));
	assert_string_equal(end.device, "to-r");
}

static void test_every_fault_has_a_row_and_fits_its_buffers(void **state)
{
	size_t i = 0;

	(void)state;
	for (; lab_faults[i].name; i++) {
		const struct lab_fault_row *row = &lab_fault_rows[i];

		assert_string_equal(lab_faults[i].name, row->name);
		assert_true(strlen(row->name) < LAB_FAULT_MAX);
		assert_non_null(row->run);
		assert_true(row->shapes & LAB_ANY);
		assert_true(row->least <= row->most);
	}
	assert_null(lab_fault_rows[i].name);
	assert_true(i <= LAB_MAX_FAULTS);
}

static void test_every_fault_and_topology_is_in_the_man_page(void **state)
{
	static char man[32768];
	AUTO_FCLOSE FILE *f = fopen("detector/stranded-lab.1", "re");
	size_t len = 0;
	char want[64];

	(void)state;
	assert_non_null(f);
	// the page writes - as \-
	for (int c; (c = fgetc(f)) != EOF && len < sizeof(man) - 1;)
		if (c != '\\')
			man[len++] = (char)c;
	for (const struct lab_fault *l = lab_faults; l->name; l++) {
		snprintf(want, sizeof(want), "\n.B %s", l->name);
		if (!strstr(man, want))
			fail_msg("'%s' is not in the page", l->name);
	}
	for (const struct lab_topology *t = lab_topologies; t->name; t++) {
		snprintf(want, sizeof(want), "\n.B %s\n", t->name);
		if (!strstr(man, want))
			fail_msg("'%s' is not in the page", t->name);
	}
}

static struct lab_state some_state(void)
{
	struct lab_state st = {
		.name = "some",
		.id = "0123456789abcdef",
		.plan = lab_plan_find("lan"),
		.keeper = { 4711, UINT64_C(1) << 40 },
		.warden = { 4710, 17 },
		.owner = 5,
		.since_ms = 12345,
		.hosts = { { "a", { 7, 8 }, 4026532000u },
			   { "b", { 0, 0 }, 0 },
			   { "c", { 11, 8 }, 4026532002u },
			   { "s", { 12, 8 }, 4026532003u } },
		.n_hosts = 4,
		.spare = { "limbo", { 9, 10 }, 4026532001u },
		.faults = { { "outage", "5", { 0, 0 }, 99 } },
		.n_faults = 1,
	};

	return st;
}

static void test_a_state_survives_being_written_and_read(void **state)
{
	struct lab_state st = some_state(), back;
	json_t *doc = lab_state_pack(&st);

	(void)state;
	assert_true(lab_state_unpack(doc, &back));
	json_decref(doc);
	assert_memory_equal(&st, &back, sizeof(st));
}

static void test_a_state_that_makes_no_sense_is_refused(void **state)
{
	static const char *const changes[] = {
		"{\"schema\":2}",
		"{\"schema\":\"1\"}",
		"{\"name\":\"../x\"}",
		"{\"name\":7}",
		"{\"id\":\"\"}",
		"{\"id\":\"0123456789abcdef0\"}",
		"{\"topology\":\"ring\"}",
		"{\"keeper\":{\"pid\":1,\"start\":0}}",
		"{\"keeper\":{\"pid\":-1,\"start\":0}}",
		"{\"keeper\":{\"pid\":4294967297,\"start\":0}}",
		"{\"keeper\":[]}",
		"{\"owner\":1.5}",
		"{\"since\":-1}",
		"{\"hosts\":5}",
		"{\"hosts\":[]}",
		"{\"hosts\":[{},{},{},{},{},{},{},{},{}]}",
		"{\"hosts\":[{\"name\":\"z\",\"netns\":3}]}",
		"{\"spare\":{\"name\":\"limbo\",\"netns\":3}}",
		"{\"faults\":{}}",
		"{\"faults\":[{\"name\":\"x\"}]}",
	};
	struct lab_state st = some_state(), back;

	(void)state;
	for (size_t i = 0; i < N_OF(changes); i++) {
		json_t *doc = lab_state_pack(&st);
		json_t *change = json_loads(changes[i], 0, NULL);

		assert_non_null(change);
		assert_int_equal(json_object_update(doc, change), 0);
		if (lab_state_unpack(doc, &back))
			fail_msg("was taken: %s", changes[i]);
		json_decref(change);
		json_decref(doc);
	}
}

/* The real thing. */

static struct lab *up(const char *topology)
{
	struct lab_options opt = { .topology = topology, .owned = true };
	struct lab *lab = NULL;

	NEEDS("root", geteuid() == 0);
	assert_ok(lab_up(&opt, &lab));
	return lab;
}

/* The program's output and wait status, by lab_spawn(). */
static int run(struct lab *lab, const char *host, const char *script, char *buf,
	       size_t size)
{
	char sh[] = "sh", c[] = "-c";
	AUTO_FREE char *copy = strdup(script);
	char *argv[] = { sh, c, copy, NULL };
	int out[2], status;
	pid_t pid;

	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	struct lab_spawn what = {
		.host = host, .argv = argv, .in = -1, .out = out[1], .err = 2
	};
	assert_ok(lab_spawn(lab, &what, &pid));
	close(out[1]);
	ssize_t n = read(out[0], buf, size - 1);
	buf[n > 0 ? n : 0] = '\0';
	close(out[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void test_a_spawned_program_is_a_child_in_the_host(void **state)
{
	AUTO_LAB struct lab *lab = up("pair");
	char buf[200], want[200];

	(void)state;
	int status = run(lab, "b", "readlink /proc/self/ns/net; exit 3", buf,
			 sizeof(buf));
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 3);
	char path[64];
	snprintf(path, sizeof(path), "/proc/%d/ns/net", lab_host_pid(lab, "b"));
	ssize_t n = readlink(path, want, sizeof(want) - 2);
	assert_true(n > 0);
	strcpy(want + n, "\n");
	assert_string_equal(buf, want);
	assert_string_equal(lab_address(lab, "b", AF_INET), "10.90.1.2");
	assert_string_equal(lab_address(lab, "c", AF_INET6), "fd90:3::2");
	assert_null(lab_address(lab, "r", AF_INET));
	assert_int_equal(lab_host_pid(lab, "r"), 0);
}

static void test_what_cannot_be_spawned_is_an_error_and_no_child(void **state)
{
	AUTO_LAB struct lab *lab = up("pair");
	char name[] = "/no/such/program";
	char *argv[] = { name, NULL };
	struct lab_spawn what = {
		.host = "a", .argv = argv, .in = -1, .out = -1, .err = -1
	};
	pid_t pid = 0;

	(void)state;
	assert_error(lab_spawn(lab, &what, &pid), ERROR_OS, name);
	assert_int_equal(pid, 0);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
	what.host = "x";
	assert_error(lab_spawn(lab, &what, &pid), ERROR_USAGE, "no host 'x'");
}

static void test_closing_an_owned_lab_takes_it_down(void **state)
{
	struct lab *lab = up("lan"), *other;
	char name[LAB_NAME_MAX];

	(void)state;
	pid_t a = lab_host_pid(lab, "a");
	snprintf(name, sizeof(name), "%s", lab_name(lab));
	assert_int_equal(kill(a, 0), 0);
	lab_close(lab);
	// the number may be another's, or a zombie's, but no host's
	struct lab_process p = lab_process_of(a);
	assert_int_equal(p.pid, 0);
	assert_error(lab_open(name, &other), ERROR_GONE, name);
}

static void own_a_lab(void *arg)
{
	struct lab_options opt = { .name = arg,
				   .topology = "nat",
				   .owned = true };
	struct lab *lab;

	if (lab_up(&opt, &lab))
		_exit(1);
}

static void test_an_owned_lab_ends_with_a_process_that_is_killed(void **state)
{
	char name[LAB_NAME_MAX];
	struct lab *lab = NULL;

	(void)state;
	NEEDS("root", geteuid() == 0);
	snprintf(name, sizeof(name), "u-%d", getpid());
	pid_t owner = child_start(own_a_lab, name);
	assert_ok(lab_open(name, &lab));
	pid_t b = lab_host_pid(lab, "b");
	lab_close(lab);
	child_end(owner);
	int64_t end = clock_mono_ns() + INT64_C(10000000000);
	struct error *err;
	// its keeper may still be clearing up
	while (!(err = lab_open(name, &lab)) && clock_mono_ns() < end) {
		lab_close(lab);
		clock_sleep_until(clock_mono_ns() + 1000000);
	}
	assert_error(err, ERROR_GONE, name);
	assert_int_equal(lab_process_of(b).pid, 0);
}

static void test_a_rebooted_b_is_another_process(void **state)
{
	AUTO_LAB struct lab *lab = up("routed");
	char buf[64];

	(void)state;
	pid_t before = lab_host_pid(lab, "b");
	assert_ok(lab_fault(lab, "peer-rebooted", NULL, 0));
	assert_int_not_equal(lab_host_pid(lab, "b"), before);
	assert_int_equal(
		run(lab, "b", "ip -o addr | grep -c 90:2::2", buf, sizeof(buf)),
		0);
	assert_string_equal(buf, "1\n");
	assert_error(lab_fault(lab, "peer-machine-gone", NULL, 0), ERROR_USAGE,
		     "rebooted once");
}

/* Exit status 0: the switch has b's port up as soon as b has rebooted. */
static int reboot_one(void)
{
	AUTO_LAB struct lab *lab = up("lan");
	char buf[64];

	assert_ok(lab_fault(lab, "peer-rebooted", NULL, 0));
	return run(lab, "s", "ip -o link show to-b | grep -c 'state UP'", buf,
		   sizeof(buf));
}

/* Who looks at the way to b right then must not see it cut. Many at once: the
 * kernel has to be busy for it to be late. */
static void test_the_switch_sees_that_b_is_back(void **state)
{
	pid_t pids[16];
	int status;

	(void)state;
	NEEDS("root", geteuid() == 0);
	for (size_t i = 0; i < N_OF(pids); i++) {
		pids[i] = fork();
		assert_return_code(pids[i], errno);
		if (!pids[i])
			_exit(reboot_one() != 0);
	}
	for (size_t i = 0; i < N_OF(pids); i++) {
		assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
		assert_int_equal(status, 0);
	}
}

static void test_a_program_that_dies_with_us_does(void **state)
{
	AUTO_LAB struct lab *lab = up("pair");
	int ends[2];
	pid_t program;

	(void)state;
	assert_int_equal(pipe(ends), 0);
	pid_t parent = fork();
	if (!parent) {
		char sleep[] = "sleep", time[] = "100";
		char *argv[] = { sleep, time, NULL };
		struct lab_spawn what = { .host = "a",
					  .argv = argv,
					  .in = -1,
					  .out = -1,
					  .err = -1,
					  .die_with_us = true };
		pid_t pid = 0;

		error_free(lab_spawn(lab, &what, &pid));
		if (write(ends[1], &pid, sizeof(pid)) < 0)
			_exit(1);
		_exit(0);
	}
	assert_int_equal(read(ends[0], &program, sizeof(program)),
			 sizeof(program));
	close(ends[0]);
	close(ends[1]);
	assert_true(program > 0);
	waitpid(parent, NULL, 0);
	int64_t end = clock_mono_ns() + INT64_C(10000000000);
	while (lab_process_of(program).pid && clock_mono_ns() < end)
		clock_sleep_until(clock_mono_ns() + 1000000);
	assert_int_equal(lab_process_of(program).pid, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			test_names_are_letters_digits_dash_and_underscore),
		cmocka_unit_test(
			test_every_topology_has_a_plan_in_which_a_reaches_b),
		cmocka_unit_test(test_the_router_knows_which_side_is_which),
		cmocka_unit_test(
			test_every_fault_has_a_row_and_fits_its_buffers),
		cmocka_unit_test(
			test_every_fault_and_topology_is_in_the_man_page),
		cmocka_unit_test(test_a_state_survives_being_written_and_read),
		cmocka_unit_test(test_a_state_that_makes_no_sense_is_refused),
		cmocka_unit_test(test_a_spawned_program_is_a_child_in_the_host),
		cmocka_unit_test(
			test_what_cannot_be_spawned_is_an_error_and_no_child),
		cmocka_unit_test(test_closing_an_owned_lab_takes_it_down),
		cmocka_unit_test(
			test_an_owned_lab_ends_with_a_process_that_is_killed),
		cmocka_unit_test(test_a_rebooted_b_is_another_process),
		cmocka_unit_test(test_the_switch_sees_that_b_is_back),
		cmocka_unit_test(test_a_program_that_dies_with_us_does),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
