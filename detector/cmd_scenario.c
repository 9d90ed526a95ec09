/* SPDX-License-Identifier: Apache-2.0 */

/** `scenario`: every way in which a connection dies, played and judged. */

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "detector/cmd.h"
#include "scenarios/run/run.h"

#define WITHIN_DEFAULT_MS 60000
#define CLIENTS 4 /* from each side, to a server of the user's */

static const struct scenario *find(const struct scenario_list *all,
				   const char *name)
{
	for (size_t i = 0; i < all->n; i++)
		if (!strcmp(all->v[i].name, name))
			return &all->v[i];
	return NULL;
}

static struct error *list(const struct cli *cli,
			  const struct scenario_list *all, int *status_ret)
{
	if (cli->n_args > 1)
		return error_new(ERROR_USAGE,
				 "'scenario list' takes no argument: '%s'",
				 cli->args[1]);
	if (cli->format == FORMAT_JSON)
		run_print_list_json(stdout, all, stranded_version());
	for (size_t i = 0; cli->format == FORMAT_TEXT && i < all->n; i++)
		printf("%-28s %-4s %s\n", all->v[i].name, all->v[i].row,
		       all->v[i].title);
	*status_ret = STATUS_CLEAN;
	return NULL;
}

/* On each of the families that are wanted. */
static void add_items(const struct cli *cli, const struct scenario *s,
		      struct run_item *items, size_t *n)
{
	if (s->family4 && cli->family != AF_INET6)
		items[(*n)++] =
			(struct run_item){ .scenario = s, .family = AF_INET };
	if (s->family6 && cli->family != AF_INET)
		items[(*n)++] =
			(struct run_item){ .scenario = s, .family = AF_INET6 };
}

static struct error *add_named(const struct cli *cli,
			       const struct scenario_list *all,
			       const char *name, struct run_item *items,
			       size_t *n)
{
	const struct scenario *s = find(all, name);

	if (!s)
		return error_new(ERROR_USAGE,
				 "no scenario '%s'; 'stranded scenario list' "
				 "shows them",
				 name);
	if (cli->victim && !run_user_fits(s))
		return error_new(ERROR_USAGE,
				 "in '%s' no connection dies that a program "
				 "could let go of; not with --victim",
				 name);
	add_items(cli, s, items, n);
	return NULL;
}

/* For a program of the user's: twins differ by our victim alone. */
static bool is_of_its_own(const struct scenario *s)
{
	return run_user_fits(s) && s->victim != VICTIM_TWIN;
}

static struct error *choose(const struct cli *cli,
			    const struct scenario_list *all,
			    struct arena *arena, struct run_item **ret,
			    size_t *n_ret)
{
	size_t names = cli->n_args - 1;
	struct error *err = NULL;

	if ((cli->given & OPT_WITHIN) && !cli->victim)
		return error_new(ERROR_USAGE, "--within goes with --victim");
	if (!names && !cli->all)
		return error_new(ERROR_USAGE,
				 "which scenario? name one, or use --all; "
				 "'stranded scenario list' shows them");
	if (names && cli->all)
		return error_new(ERROR_USAGE,
				 "--all and '%s' exclude each other",
				 cli->args[1]);
	*ret = arena_array(arena, 2 * (names + all->n), sizeof(**ret));
	if (!*ret)
		return &error_nomem;
	for (size_t i = 0; cli->all && i < all->n; i++)
		if (!cli->victim || is_of_its_own(&all->v[i]))
			add_items(cli, &all->v[i], *ret, n_ret);
	for (size_t i = 0; !err && i < names; i++)
		err = add_named(cli, all, cli->args[i + 1], *ret, n_ret);
	if (!err && !*n_ret)
		err = error_new(ERROR_USAGE,
				"no scenario here is for that family");
	return err;
}

static void show(void *arg, const struct run_item *item)
{
	run_print_row(arg, item);
}

/* What could not be run is no pass where nothing may be skipped. */
static int status_of(const struct run_item *items, size_t n)
{
	struct run_count c = run_count(items, n);
	const char *strict = getenv("STRANDED_TEST_STRICT");

	if (c.n[OUTCOME_WRONG] || c.n[OUTCOME_FALSE_ALARM])
		return STATUS_FINDINGS;
	if (c.n[OUTCOME_NOT_RUN] == n)
		return STATUS_NOTHING;
	if (!c.n[OUTCOME_NOT_RUN])
		return STATUS_CLEAN;
	return strict && !strcmp(strict, "1") ? STATUS_FINDINGS : STATUS_GAPS;
}

static struct error *play_them(const struct cli *cli, const struct place *place,
			       struct run_item *items, size_t n,
			       int *status_ret)
{
	int64_t start = clock_mono_ns();
	bool text = cli->format == FORMAT_TEXT;
	const struct run_options opt = {
		.place = place,
		.jobs = cli->jobs ? cli->jobs : RUN_JOBS_DEFAULT,
		.done = text ? show : NULL,
		.arg = stdout,
	};

	if (text)
		run_print_head(stdout);
	struct error *err = run_all(items, n, &opt);
	if (err)
		return err;
	int64_t took = (clock_mono_ns() - start) / 1000000;
	if (text)
		run_print_summary(stdout, items, n, took);
	else
		run_print_json(stdout, items, n, took, stranded_version());
	*status_ret = status_of(items, n);
	return NULL;
}

/* The user's program in the victim's place, in each scenario that is named. */
static int try_user(const struct cli *cli, const struct place *place,
		    const struct run_item *items, size_t n)
{
	const struct run_user user = {
		.command = cli->victim,
		.within_ms = cli->within_ms >= 0 ? cli->within_ms
						 : WITHIN_DEFAULT_MS,
		.connections = CLIENTS,
	};
	int status = STATUS_CLEAN;

	for (size_t i = 0; i < n; i++) {
		struct user_result r;

		run_user(items[i].scenario, items[i].family, place, &user, &r);
		if (cli->format == FORMAT_JSON)
			run_print_user_json(stdout, items[i].scenario,
					    items[i].family, &r,
					    stranded_version());
		else
			run_print_user(stdout, items[i].scenario,
				       items[i].family, &r);
		free(r.report);
		if (r.outcome == USER_HOLDS)
			status = STATUS_FINDINGS;
		else if (r.outcome == USER_NOT_RUN && status == STATUS_CLEAN)
			status = STATUS_NOTHING;
	}
	return status;
}

static struct error *run(const struct cli *cli, struct arena *arena,
			 int *status_ret)
{
	struct place place = { 0 };
	struct scenario_list all = { 0 };
	struct run_item *items = NULL;
	size_t n = 0;
	struct error *err = place_find(arena, &place);

	if (!err)
		err = scenario_load_all(place.scenarios, arena, &all);
	if (err)
		return err;
	if (!strcmp(cli->args[0], "list"))
		return list(cli, &all, status_ret);
	if (strcmp(cli->args[0], "run"))
		return error_new(ERROR_USAGE, "'%s' is neither list nor run",
				 cli->args[0]);
	err = choose(cli, &all, arena, &items, &n);
	if (err)
		return err;
	if (!cli->victim)
		return play_them(cli, &place, items, n, status_ret);
	*status_ret = try_user(cli, &place, items, n);
	return NULL;
}

int cmd_scenario(const struct cli *cli)
{
	AUTO_ARENA struct arena *arena = arena_create();
	int status = STATUS_NOTHING;
	struct error *err = arena ? run(cli, arena, &status) : &error_nomem;

	return cmd_finish(err, status);
}
