/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_HOOKS_GO_TRACEBACK_H
#define RUNTIME_HOOKS_GO_TRACEBACK_H

/**
 * How the Go runtime's own dump (debug=2, runtime.Stack, a crash) prints a
 * frame, at the default GOTRACEBACK=single: what it calls the function, and
 * which frames it leaves out. Pure; after runtime/traceback.go of each version,
 * as noted at each rule.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** What a function is to the rules; from its name. */
enum go_role {
	GO_ROLE_NONE,
	GO_ROLE_WRAPPER,  /* compiler-made; hidden unless it panicked */
	GO_ROLE_GOPANIC,  /* shown in the middle of a stack */
	GO_ROLE_SIGPANIC, /* its caller was cut off by a signal */
	GO_ROLE_PANICWRAP,
	GO_ROLE_PREEMPT,  /* asyncPreempt, debugCallV2: as sigpanic, 1.21+ */
	GO_ROLE_CLEANUPS, /* runFinalizers, runCleanups: shown, 1.25+ */
	GO_ROLE_CGOCALLBACK,
};

/** The role that follows from a special function's name; never WRAPPER. */
enum go_role go_role_of(const char *name);

/**
 * The name as printed: "panic" for runtime.gopanic; type arguments are "[...]"
 * since 1.21, twice in a generic method of a generic type since 1.27.
 *
 * @param minor of the Go version, 0: not known, taken for the newest.
 * Returns: the length that @buf would need, as snprintf.
 */
size_t go_print_name(const char *name, int minor, char *buf, size_t size);

/** Does the caller of a function with @role have no call at its pc? */
bool go_role_is_trap(enum go_role role, int minor);

/**
 * Is the frame shown? (showfuncinfo)
 *
 * @param first no frame was shown before it.
 * @param callee role of the frame before it, shown or not.
 */
bool go_frame_shown(const char *name, enum go_role role, int minor, bool first,
		    enum go_role callee);

/** Is it a function of the runtime's own packages? */
bool go_is_runtime(const char *name);

#endif
