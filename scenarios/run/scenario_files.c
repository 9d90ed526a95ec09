/* SPDX-License-Identifier: Apache-2.0 */

/** Reading scenario.ini files from folders; their text is parsed elsewhere. */

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "scenarios/run/scenario.h"

struct error *scenario_load(const char *folder, struct arena *arena,
			    struct scenario *ret)
{
	char *path = arena_printf(arena, "%s/scenario.ini", folder);
	char *text = arena_alloc(arena, SCENARIO_FILE_MAX + 1);

	if (!path || !text)
		return &error_nomem;
	AUTO_FCLOSE FILE *f = fopen(path, "re");
	if (!f)
		return error_os(errno, "cannot open '%s'", path);
	size_t n = fread(text, 1, SCENARIO_FILE_MAX + 1, f);
	if (ferror(f))
		return error_os(EIO, "cannot read '%s'", path);
	return scenario_parse(path, text, n, arena, ret);
}

static int has_scenario(const char *root, const char *name, struct arena *arena)
{
	const char *path =
		arena_printf(arena, "%s/%s/scenario.ini", root, name);

	return *name != '.' && path && !access(path, F_OK);
}

static int by_name(const void *a, const void *b)
{
	const struct scenario *x = a, *y = b;

	return strcmp(x->name, y->name);
}

struct error *scenario_load_all(const char *root, struct arena *arena,
				struct scenario_list *ret)
{
	struct error *err = NULL;
	const struct dirent *entry;
	DIR *dir = opendir(root);

	if (!dir)
		return error_os(errno, "cannot open '%s'", root);
	ret->n = 0;
	ret->v = arena_array(arena, SCENARIO_MAX, sizeof(*ret->v));
	if (!ret->v)
		err = &error_nomem;
	while (!err && (entry = readdir(dir))) {
		if (!has_scenario(root, entry->d_name, arena))
			continue;
		const char *folder =
			arena_printf(arena, "%s/%s", root, entry->d_name);
		if (ret->n == SCENARIO_MAX)
			err = error_new(ERROR_USAGE,
					"more than %d scenarios in '%s'",
					SCENARIO_MAX, root);
		else if (!folder)
			err = &error_nomem;
		else
			err = scenario_load(folder, arena, &ret->v[ret->n]);
		ret->n += !err;
	}
	closedir(dir);
	if (!err)
		qsort(ret->v, ret->n, sizeof(*ret->v), by_name);
	return err;
}
