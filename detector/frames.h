/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DETECTOR_FRAMES_H
#define DETECTOR_FRAMES_H

/**
 * What a frame is to the reader of a report: the program's own code, the
 * standard library's, or the runtime's. Of Go decided by the function's name
 * alone, so that it holds for stripped and trimmed binaries; of native code by
 * the object that it lies in. Pure.
 */

#include <stdbool.h>
#include <stddef.h>

#include "runtime-hooks/task.h"

enum frame_class {
	FRAME_RUNTIME, /* runtime, internal/..., syscall, sync: never a cause */
	FRAME_STANDARD, /* the standard library: net, bufio, crypto/tls ... */
	FRAME_PROGRAM,	/* everything else */
};

enum frame_class frame_classify(const char *function);
/**
 * The same of a frame: of native code, the program's executable and its own
 * libraries are the program, but for what headers of the system brought into
 * it; libc and what makes coroutines and threads are the runtime, all other
 * libraries of the system the standard library.
 */
enum frame_class frame_class(const struct frame *frame);
/**
 * How much of the function's name tells it, whatever the build: all of it, but
 * not the offset of "libpq.so.5+0x1234".
 */
size_t frame_stable_len(const struct frame *frame);

/**
 * Length of the package path in a function name: 3 for "net.(*conn).Read",
 * 8 for "net/http.(*conn).serve", 21 for "gopkg.in/yaml%2ev3..." alike.
 */
size_t frame_package_len(const char *function);

/** The innermost frame of the program's own code; NULL when there is none. */
const struct frame *stack_own_frame(const struct stack *stack);

/** Does any frame's function equal @name? */
bool stack_has(const struct stack *stack, const char *name);
/** Does any frame's function start with @prefix? */
bool stack_has_prefix(const struct stack *stack, const char *prefix);

/** Does any frame lie in an ELF object whose file name starts with @prefix? */
bool stack_has_object(const struct stack *stack, const char *prefix);

/**
 * A file name for people, a tail of frame->file: below GOROOT/src or the
 * module cache; the base name in package main; else with its folder.
 */
const char *frame_short_file(const struct frame *frame);

/**
 * The frames that Go's own dump would print: not the runtime's innards and not
 * wrappers, unless there is nothing else.
 *
 * @param v room for TASK_MAX_FRAMES.
 * Returns: their number; 0 for NULL.
 */
size_t stack_visible(const struct stack *stack,
		     const struct frame *v[TASK_MAX_FRAMES]);

/** A frame chosen for display. */
struct shown_frame {
	const struct frame *frame; /* NULL: @skipped frames were left out */
	bool own;		   /* mark it: stack_own_frame() */
	size_t skipped;
};

#define FRAMES_SHOWN 10

/**
 * Fold a stack for display: no runtime frames, of each run of standard library
 * frames only the call that enters each package, then the program's frames, in
 * all at most FRAMES_SHOWN rows.
 *
 * @param ret room for FRAMES_SHOWN.
 * Returns: the number of rows; 0 for NULL or an all-runtime stack that has no
 * frames at all.
 */
size_t stack_fold(const struct stack *stack,
		  struct shown_frame ret[FRAMES_SHOWN]);

#endif
