/* SPDX-License-Identifier: Apache-2.0 */

/** `doctor`: what can be seen here, what is missing, and the remedy. */

#include <string.h>

#include "base/cleanup.h"
#include "base/escape.h"
#include "detector/cmd.h"
#include "detector/doctor.h"
#include "detector/target.h"

static enum text_style style_of(enum doctor_state state)
{
	switch (state) {
	case DOCTOR_OK:
		return STYLE_GOOD;
	case DOCTOR_NOTE:
		return STYLE_PLAIN;
	case DOCTOR_MISSING:
		return STYLE_BAD;
	}
	return STYLE_PLAIN;
}

static void put_text(const struct doctor *d, enum color_mode color)
{
	struct text t;

	text_init(&t, stdout, color);
	for (size_t i = 0; i < d->n; i++) {
		const struct doctor_line *l = &d->v[i];
		const char *word = doctor_state_name(l->state);

		text_put(&t, style_of(l->state), word);
		/* Column 9, whatever the word: the first line is shorter. */
		fprintf(t.out, "%*s", 9 - (int)strlen(word), "");
		text_wrap_from(&t, 9, l->text);
		if (l->remedy)
			text_wrap(&t, "           remedy: ", l->remedy);
	}
}

static json_t *line_json(const struct doctor_line *l)
{
	AUTO_FREE char *text = escape_utf8(l->text);

	return json_pack("{s:s, s:s, s:s, s:s?}", "name", l->name, "state",
			 doctor_state_name(l->state), "text", text ? text : "",
			 "remedy", l->remedy);
}

static void put_json(const struct doctor *d)
{
	json_t *lines = json_array();

	for (size_t i = 0; i < d->n; i++)
		json_array_append_new(lines, line_json(&d->v[i]));
	json_t *doc = json_pack("{s:i, s:{s:s, s:s}, s:o}", "schema",
				REPORT_SCHEMA, "tool", "name", "stranded",
				"version", stranded_version(), "checks", lines);
	json_dumpf(doc, stdout, JSON_COMPACT);
	putchar('\n');
	json_decref(doc);
}

static struct error *run(const struct cli *cli, int *status_ret)
{
	AUTO_ARENA struct arena *arena = arena_create();
	struct error *err = NULL;
	pid_t pid = 0;

	if (!arena)
		return &error_nomem;
	struct doctor *d = arena_alloc(arena, sizeof(*d));
	if (!d)
		return &error_nomem;
	d->arena = arena;
	if (cli->n_args)
		err = targets_one(cli->args[0], arena, &pid);
	if (err)
		return err;
	doctor_system(d);
	AUTO_ERROR struct error *unreadable = pid ? doctor_process(d, pid)
						  : NULL;
	if (cli->format == FORMAT_JSON)
		put_json(d);
	else
		put_text(d, cli->color);
	if (unreadable)
		*status_ret = STATUS_NOTHING;
	else
		*status_ret = doctor_count(d, DOCTOR_MISSING) ? STATUS_GAPS
							      : STATUS_CLEAN;
	return NULL;
}

int cmd_doctor(const struct cli *cli)
{
	int status = STATUS_NOTHING;
	struct error *err = run(cli, &status);

	return cmd_finish(err, status);
}
