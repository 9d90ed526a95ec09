/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DETECTOR_PRELOAD_H
#define DETECTOR_PRELOAD_H

/**
 * Whether LD_PRELOAD reaches a program, told from its file before it starts.
 * Nothing is run. Who is about to exec it says so; the file may be another by
 * then, so that this is a courtesy and no check of security.
 */

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/error.h"

/** What ld.so(8) does with LD_PRELOAD in that program. */
enum preload_reach {
	PRELOAD_REACHES,
	PRELOAD_UNKNOWN,       /* may be executed, but not read */
	PRELOAD_SETUID,	       /* secure execution: ignored with its slashes */
	PRELOAD_SETGID,	       /* the same */
	PRELOAD_CAPABILITIES,  /* the same */
	PRELOAD_STATIC,	       /* no PT_INTERP: no ld.so at all */
	PRELOAD_OTHER_MACHINE, /* 32 bits, or another machine's */
	PRELOAD_OTHER_LIBC,    /* musl's loader; glibc's libraries break it */
	PRELOAD_NOT_ELF,       /* the kernel may know it: binfmt_misc(5) */
};

struct preload {
	enum preload_reach reach;
	/* the file that decides: the program, or the interpreter of its script;
	 * the arena's */
	const char *file;
	bool script;	    /* @file is the interpreter of a script */
	const char *loader; /* of PRELOAD_OTHER_LIBC, else NULL; the arena's */
};

/**
 * Find the file that execvp(3) would run: @name itself when there is a slash
 * in it, else the first executable of that name in the folders of @path.
 *
 * @param path as in PATH; NULL: "/bin:/usr/bin", as glibc's execvp does.
 * @param ret the arena's; untouched on failure.
 * Returns: 0, -ENOENT, -EACCES (there, but not executable), -ENOMEM.
 */
int preload_find(const char *name, const char *path, struct arena *arena,
		 const char **ret) __attribute__((warn_unused_result));

/**
 * Look at @file, and when it begins with "#!", at its interpreter, and so on
 * as often as the kernel does (fs/exec.c, exec_binprm(): 5 times).
 *
 * Secure execution is as the kernel sets AT_SECURE (security/commoncap.c,
 * cap_bprm_creds_from_file(), 6.1): an effective id other than the real one,
 * or capabilities of the file for who is not root; neither on a nosuid mount
 * or with no_new_privs.
 *
 * Fails: ERROR_NOMEM only; a file that cannot be read is PRELOAD_UNKNOWN.
 */
struct error *preload_look(const char *file, struct arena *arena,
			   struct preload *ret);

/**
 * Why it does not reach, as a line for people: "'sudo' is setuid, ...".
 *
 * Returns: the arena's; NULL when it reaches, or out of memory.
 */
const char *preload_text(const struct preload *p, struct arena *arena);

/**
 * The new value of LD_PRELOAD: @library first, then what @old had; @old itself
 * when @library is in there already.
 *
 * @param old the value so far; may be NULL.
 * Fails: ERROR_USAGE (a path that LD_PRELOAD cannot hold: with a space or a
 * colon, which separate its entries, or a dollar sign), ERROR_NOMEM.
 */
struct error *preload_join(const char *library, const char *old,
			   struct arena *arena, const char **ret);

#endif
