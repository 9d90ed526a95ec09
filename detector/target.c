/* SPDX-License-Identifier: Apache-2.0 */
#include "detector/target.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/process.h"

/* Is @arg a pid as people write them: digits only? */
static bool parse_pid(const char *arg, pid_t *ret)
{
	char *end;

	if (!*arg || strspn(arg, "0123456789") != strlen(arg))
		return false;
	errno = 0;
	unsigned long n = strtoul(arg, &end, 10);
	*ret = errno || n > INT_MAX ? INT_MAX : (pid_t)n;
	return true;
}

static bool holds(const struct targets *t, pid_t pid)
{
	for (size_t i = 0; i < t->n; i++)
		if (t->v[i] == pid)
			return true;
	return false;
}

static struct error *find_arg(const char *arg, struct arena *arena, pid_t **ret,
			      size_t *n_ret)
{
	pid_t pid;

	if (parse_pid(arg, &pid)) {
		if (pid == INT_MAX) /* more than the kernel ever gives out */
			return error_new(ERROR_GONE, "no process %.32s", arg);
		*ret = arena_memdup(arena, &pid, sizeof(pid));
		*n_ret = 1;
		return *ret ? NULL : &error_nomem;
	}
	struct error *err = process_find(arg, arena, ret, n_ret);
	if (!err && !*n_ret)
		return error_new(ERROR_GONE,
				 "no process is named '%s'; give its pid", arg);
	return err;
}

struct error *targets_find(const char *const *args, size_t n_args,
			   struct arena *arena, struct targets *ret)
{
	*ret = (struct targets){ .v = arena_array(arena, TARGET_MAX,
						  sizeof(pid_t)) };
	if (!ret->v)
		return &error_nomem;
	for (size_t i = 0; i < n_args; i++) {
		pid_t *found;
		size_t n;
		struct error *err = find_arg(args[i], arena, &found, &n);

		if (err)
			return err;
		for (size_t j = 0; j < n && ret->n < TARGET_MAX; j++)
			if (!holds(ret, found[j]))
				ret->v[ret->n++] = found[j];
	}
	return NULL;
}

struct error *targets_all(struct arena *arena, struct targets *ret)
{
	return process_find(NULL, arena, &ret->v, &ret->n);
}

struct error *targets_one(const char *arg, struct arena *arena, pid_t *ret)
{
	pid_t *found;
	size_t n;
	struct error *err = find_arg(arg, arena, &found, &n);

	if (err)
		return err;
	if (n > 1)
		return error_new(ERROR_USAGE,
				 "%zu processes are named '%s'; give a pid, "
				 "such as %d or %d",
				 n, arg, (int)found[0], (int)found[1]);
	*ret = found[0];
	return NULL;
}
