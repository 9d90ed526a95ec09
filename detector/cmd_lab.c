/* SPDX-License-Identifier: Apache-2.0 */

/** `lab`: hosts, cables between them, and how these break. */

#include <errno.h>
#include <jansson.h>
#include <string.h>

#include "base/clock.h"
#include "base/exec_status.h"
#include "detector/cmd.h"
#include "scenarios/lab/lab.h"

struct lab_verb {
	const char *name, *args;
	size_t least, most; /* arguments after the verb */
	struct error *(*run)(const struct cli *cli, const char *const *args,
			     size_t n, int *status_ret);
};

static struct error *lab_cmd_up(const struct cli *cli, const char *const *args,
				size_t n, int *status_ret)
{
	struct lab_options opt = {
		.name = cli->lab_name,
		.topology = args[0],
		.owner = cli->lab_owner,
	};
	AUTO_LAB struct lab *lab = NULL;
	struct error *err = lab_up(&opt, &lab);

	(void)n;
	(void)status_ret;
	if (err)
		return err;
	if (cli->format == FORMAT_JSON)
		printf("{\"schema\":%d,\"name\":\"%s\"}\n", REPORT_SCHEMA,
		       lab_name(lab));
	else
		printf("%s\n", lab_name(lab));
	return NULL;
}

static struct error *lab_cmd_down(const struct cli *cli,
				  const char *const *args, size_t n,
				  int *status_ret)
{
	(void)args;
	(void)n;
	(void)status_ret;
	return lab_down(cli->lab_name);
}

static struct error *lab_cmd_exec(const struct cli *cli,
				  const char *const *args, size_t n,
				  int *status_ret)
{
	AUTO_LAB struct lab *lab = NULL;
	int errnum = 0;
	struct error *err = lab_open(cli->lab_name, &lab);

	(void)n;
	if (!err)
		err = lab_exec(lab, args[0], (char *const *)(args + 1),
			       &errnum);
	if (errnum)
		*status_ret = exec_status(errnum);
	return err;
}

static struct error *lab_cmd_fault(const struct cli *cli,
				   const char *const *args, size_t n,
				   int *status_ret)
{
	AUTO_LAB struct lab *lab = NULL;
	struct error *err = lab_open(cli->lab_name, &lab);

	(void)status_ret;
	return err ? err : lab_fault(lab, args[0], args + 1, n - 1);
}

static struct error *lab_cmd_heal(const struct cli *cli,
				  const char *const *args, size_t n,
				  int *status_ret)
{
	AUTO_LAB struct lab *lab = NULL;
	struct error *err = lab_open(cli->lab_name, &lab);

	(void)n;
	(void)status_ret;
	return err ? err : lab_heal_fault(lab, args[0]);
}

/* Status */

static void put_host(const struct lab_host_info *h)
{
	printf("  %-6s", h->name);
	if (h->pid)
		printf(" pid %-8d", h->pid);
	else
		printf(" %-12s", "gone");
	for (size_t i = 0; h->addresses[i]; i++)
		printf(" %s", h->addresses[i]);
	printf("\n");
}

static void put_lab(const struct lab_info *info)
{
	char age[CLOCK_TEXT_MAX];

	clock_format_duration(info->age_ms, age);
	printf("lab %s: %s, up for %s, keeper %d", info->name, info->topology,
	       age, info->keeper);
	if (info->owner)
		printf(", owner %d", info->owner);
	printf("\n");
	for (size_t i = 0; i < info->n_hosts; i++)
		put_host(&info->hosts[i]);
	printf("  faults ");
	for (size_t i = 0; i < info->n_faults; i++)
		printf("%s%s%s%s", i ? ", " : "", info->faults[i].name,
		       info->faults[i].args[0] ? " " : "",
		       info->faults[i].args[0] ? info->faults[i].args[0] : "");
	printf("%s\n", info->n_faults ? "" : "none");
}

static json_t *host_json(const struct lab_host_info *h)
{
	json_t *addresses = json_array();

	for (size_t i = 0; h->addresses[i]; i++)
		json_array_append_new(addresses, json_string(h->addresses[i]));
	return json_pack("{s:s, s:o, s:o}", "name", h->name, "pid",
			 h->pid ? json_integer(h->pid) : json_null(),
			 "addresses", addresses);
}

static json_t *lab_json(const struct lab_info *info)
{
	json_t *hosts = json_array(), *faults = json_array();

	for (size_t i = 0; i < info->n_hosts; i++)
		json_array_append_new(hosts, host_json(&info->hosts[i]));
	for (size_t i = 0; i < info->n_faults; i++) {
		const struct lab_fault_info *f = &info->faults[i];
		json_t *args = json_array();

		if (f->args[0])
			json_array_append_new(args, json_string(f->args[0]));
		json_array_append_new(faults, json_pack("{s:s, s:o}", "name",
							f->name, "args", args));
	}
	return json_pack(
		"{s:s, s:s, s:i, s:o, s:I, s:o, s:o}", "name", info->name,
		"topology", info->topology, "keeper", info->keeper, "owner",
		info->owner ? json_integer(info->owner) : json_null(), "age_ms",
		(json_int_t)info->age_ms, "hosts", hosts, "faults", faults);
}

/* Takes both values; the second key may be NULL. */
static void put_json(const char *key, json_t *value, const char *other_key,
		     json_t *other)
{
	json_t *doc = json_pack("{s:i, s:{s:s, s:s}, s:o}", "schema",
				REPORT_SCHEMA, "tool", "name", "stranded",
				"version", stranded_version(), key, value);

	if (other_key)
		json_object_set_new(doc, other_key, other);
	json_dumpf(doc, stdout, JSON_COMPACT);
	putchar('\n');
	json_decref(doc);
}

static struct error *lab_cmd_status(const struct cli *cli,
				    const char *const *args, size_t n,
				    int *status_ret)
{
	AUTO_ARENA struct arena *arena = arena_create();
	AUTO_LAB struct lab *lab = NULL;
	struct lab_info info;
	struct error *err = arena ? lab_open(cli->lab_name, &lab)
				  : &error_nomem;

	(void)args;
	(void)n;
	(void)status_ret;
	if (!err)
		err = lab_info(lab, arena, &info);
	if (err)
		return err;
	if (cli->format == FORMAT_JSON)
		put_json("labs", json_pack("[o]", lab_json(&info)), NULL, NULL);
	else
		put_lab(&info);
	return NULL;
}

/* One of several; it may have gone down meanwhile. */
static struct error *list_one(const struct cli *cli, const char *name,
			      struct arena *arena, json_t *labs)
{
	AUTO_LAB struct lab *lab = NULL;
	struct lab_info info;
	struct error *err = lab_open(name, &lab);

	if (!err)
		err = lab_info(lab, arena, &info);
	if (err)
		return error_catch(&err, ERROR_GONE) ? NULL : err;
	if (cli->format == FORMAT_JSON)
		json_array_append_new(labs, lab_json(&info));
	else
		printf("%s %s\n", info.name, info.topology);
	return NULL;
}

static struct error *lab_cmd_list(const struct cli *cli,
				  const char *const *args, size_t n,
				  int *status_ret)
{
	AUTO_ARENA struct arena *arena = arena_create();
	const char *const *names;
	size_t n_names = 0;
	struct error *err = arena ? lab_list(arena, &names, &n_names)
				  : &error_nomem;
	json_t *labs = json_array();

	(void)args;
	(void)n;
	(void)status_ret;
	for (size_t i = 0; !err && i < n_names; i++)
		err = list_one(cli, names[i], arena, labs);
	if (!err && cli->format == FORMAT_JSON)
		put_json("labs", json_incref(labs), NULL, NULL);
	json_decref(labs);
	return err;
}

static void faults_json(void)
{
	json_t *topologies = json_array(), *faults = json_array();

	for (const struct lab_topology *p = lab_topologies; p->name; p++)
		json_array_append_new(topologies,
				      json_pack("{s:s, s:s}", "name", p->name,
						"summary", p->summary));
	for (const struct lab_fault *f = lab_faults; f->name; f++)
		json_array_append_new(faults,
				      json_pack("{s:s, s:s, s:s}", "name",
						f->name, "args", f->args,
						"summary", f->summary));
	put_json("topologies", topologies, "faults", faults);
}

static void faults_text(enum color_mode color)
{
	char left[48], first[64];
	struct text t;

	text_init(&t, stdout, color);
	printf("Topologies; c is joined to a in each:\n");
	for (const struct lab_topology *p = lab_topologies; p->name; p++) {
		snprintf(first, sizeof(first), "  %-8s%-27s", p->name,
			 p->picture);
		text_wrap(&t, first, p->summary);
	}
	printf("\nFaults:\n");
	for (const struct lab_fault *f = lab_faults; f->name; f++) {
		snprintf(left, sizeof(left), "%s%s%s", f->name,
			 *f->args ? " " : "", f->args);
		snprintf(first, sizeof(first), "  %-27s ", left);
		text_wrap(&t, first, f->summary);
	}
}

static struct error *lab_cmd_faults(const struct cli *cli,
				    const char *const *args, size_t n,
				    int *status_ret)
{
	(void)args;
	(void)n;
	(void)status_ret;
	if (cli->format == FORMAT_JSON)
		faults_json();
	else
		faults_text(cli->color);
	return NULL;
}

static const struct lab_verb verbs[] = {
	{ "up", "TOPOLOGY", 1, 1, lab_cmd_up },
	{ "exec", "HOST -- CMD...", 2, SIZE_MAX, lab_cmd_exec },
	{ "fault", "NAME [ARG]", 1, 8, lab_cmd_fault },
	{ "heal-fault", "NAME", 1, 1, lab_cmd_heal },
	{ "status", "", 0, 0, lab_cmd_status },
	{ "list", "", 0, 0, lab_cmd_list },
	{ "faults", "", 0, 0, lab_cmd_faults },
	{ "down", "", 0, 0, lab_cmd_down },
};

static struct error *run(const struct cli *cli, int *status_ret)
{
	size_t n = cli->n_args;

	if (n == 0)
		return error_new(ERROR_USAGE, "what of the lab? 'stranded help "
					      "lab' explains");
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
		const struct lab_verb *v = &verbs[i];

		if (strcmp(v->name, cli->args[0]) != 0)
			continue;
		if (n - 1 < v->least || n - 1 > v->most)
			return error_new(ERROR_USAGE,
					 "usage: stranded lab %s %s", v->name,
					 v->args);
		if ((cli->given & OPT_OWNER) && v->run != lab_cmd_up)
			return error_new(ERROR_USAGE,
					 "'lab %s' takes no option '--owner'",
					 v->name);
		return v->run(cli, cli->args + 1, n - 1, status_ret);
	}
	return error_new(ERROR_USAGE,
			 "no 'lab %s'; 'stranded help lab' explains",
			 cli->args[0]);
}

int cmd_lab(const struct cli *cli)
{
	int status = STATUS_CLEAN;
	struct error *err = run(cli, &status);
	int failed = err ? status : 0;
	int ret = cmd_finish(err, status);

	return failed ? failed : ret;
}
