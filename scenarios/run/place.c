/* SPDX-License-Identifier: Apache-2.0 */
#include "scenarios/run/place.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* From the Makefile; these are for tools that read the source without it. */
#ifndef STRANDED_DATADIR
#define STRANDED_DATADIR "/usr/local/share/stranded"
#define STRANDED_LIBEXECDIR "/usr/local/libexec/stranded"
#endif

static bool is_folder(const char *path)
{
	struct stat st;

	return path && !stat(path, &st) && S_ISDIR(st.st_mode);
}

/* @path without "..", or @path. */
static const char *tidy(const char *path, struct arena *arena)
{
	char buf[PATH_MAX];
	const char *copy = realpath(path, buf) ? arena_strdup(arena, buf)
					       : NULL;

	return copy ? copy : path;
}

static struct error *find_self(struct arena *arena, struct place *place)
{
	char buf[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", buf, sizeof(buf) - 1);

	if (n < 0)
		return error_os(errno, "cannot read /proc/self/exe");
	place->self = arena_strndup(arena, buf, (size_t)n);
	return place->self ? NULL : &error_nomem;
}

struct error *place_find(struct arena *arena, struct place *ret)
{
	const char *env = getenv("STRANDED_SCENARIOS");
	struct error *err = find_self(arena, ret);

	if (err)
		return err;
	size_t len = (size_t)(strrchr(ret->self, '/') - ret->self);
	const char *tree =
		arena_printf(arena, "%.*s/../scenarios", (int)len, ret->self);
	const char *built =
		arena_printf(arena, "%.*s/scenarios", (int)len, ret->self);
	bool in_tree = is_folder(tree) && is_folder(built);

	ret->scenarios = in_tree ? tidy(tree, arena)
				 : STRANDED_DATADIR "/scenarios";
	ret->programs = in_tree ? built : STRANDED_LIBEXECDIR;
	if (env && *env)
		ret->scenarios = arena_strdup(arena, env);
	if (!tree || !built || !ret->scenarios)
		return &error_nomem;
	if (!is_folder(ret->scenarios))
		return error_new(ERROR_USAGE,
				 "no scenarios in '%s'; run 'make install', or "
				 "name their folder in STRANDED_SCENARIOS",
				 ret->scenarios);
	return NULL;
}

struct error *place_program(const struct place *place, const char *name,
			    struct arena *arena, const char **ret)
{
	const char *path = arena_printf(arena, "%s/%s", place->programs, name);

	if (!path)
		return &error_nomem;
	if (access(path, X_OK))
		return error_new(ERROR_USAGE,
				 "'%s' is missing; run 'make scenarios'", path);
	*ret = path;
	return NULL;
}
