/* SPDX-License-Identifier: Apache-2.0 */

/** `run`: become a program whose coroutines can be seen. */

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/exec_status.h"
#include "base/log.h"
#include "base/open_files.h"
#include "detector/cmd.h"
#include "detector/preload.h"

#define HOOK_LIBRARY "libstranded-hook.so"
/* From the Makefile; this is for tools that read the source without it. */
#ifndef STRANDED_LIBDIR
#define STRANDED_LIBDIR "/usr/local/lib"
#endif

/* Absolute: the program may change its folder and start others there. */
static struct error *take_hook(const char *path, struct arena *arena,
			       const char **ret)
{
	char buf[PATH_MAX];

	if (!realpath(path, buf))
		return error_new(ERROR_USAGE,
				 "no " HOOK_LIBRARY " at '%s': %s; run 'make', "
				 "or name it in STRANDED_HOOK",
				 path, strerror(errno));
	*ret = arena_strdup(arena, buf);
	return *ret ? NULL : &error_nomem;
}

/*
 * The one beside the binary, in its build folder, comes before the installed
 * one, so that what was just built is not tried with an older hook.
 */
struct error *cmd_find_hook(struct arena *arena, const char **ret)
{
	const char *env = getenv("STRANDED_HOOK");
	char self[PATH_MAX];

	if (env && *env)
		return take_hook(env, arena, ret);
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	if (n < 0)
		return error_os(errno, "cannot read /proc/self/exe");
	self[n] = '\0';
	char *slash = strrchr(self, '/');
	const char *beside = arena_printf(arena, "%.*s/" HOOK_LIBRARY,
					  slash ? (int)(slash - self) : 0,
					  self);
	if (!beside)
		return &error_nomem;
	return take_hook(access(beside, R_OK) ? STRANDED_LIBDIR "/" HOOK_LIBRARY
					      : beside,
			 arena, ret);
}

/* glibc's library would keep a program of musl's from starting, and its own
 * loader complains once more about that of another machine. */
static bool keeps_out(enum preload_reach reach)
{
	return reach == PRELOAD_OTHER_LIBC || reach == PRELOAD_OTHER_MACHINE;
}

static struct error *prepare(const char *file, const char *hook,
			     struct arena *arena)
{
	struct preload p;
	const char *value;
	struct error *err = preload_look(file, arena, &p);

	if (err)
		return err;
	if (p.reach != PRELOAD_REACHES) {
		const char *text = preload_text(&p, arena);
		if (!text)
			return &error_nomem;
		log_error("%s", text);
	}
	if (keeps_out(p.reach))
		return NULL;
	err = preload_join(hook, getenv("LD_PRELOAD"), arena, &value);
	if (err)
		return err;
	return setenv("LD_PRELOAD", value, 1) ? &error_nomem : NULL;
}

/* Returns only when @name could not be run. */
static int become(const char *name, const char *const *args)
{
	open_files_restore();
	execvp(name, (char *const *)args);

	int errnum = errno;
	log_error("cannot run '%s': %s", name, strerror(errnum));
	return exec_status(errnum);
}

int cmd_run(const struct cli *cli)
{
	AUTO_ARENA struct arena *arena = arena_create();
	const char *hook, *file;
	const char *name = cli->args[0];

	if (!arena)
		return cmd_finish(&error_nomem, STATUS_NOTHING);
	/* what is not there is said without a word on the hook */
	int rc = preload_find(name, getenv("PATH"), arena, &file);
	if (rc == -ENOENT || rc == -EACCES)
		return become(name, cli->args);
	struct error *err = rc ? error_os(-rc, "cannot look for '%s'", name)
			       : cmd_find_hook(arena, &hook);
	if (!err)
		err = prepare(file, hook, arena);
	return err ? cmd_finish(err, STATUS_NOTHING) : become(name, cli->args);
}
