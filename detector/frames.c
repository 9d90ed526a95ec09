/* SPDX-License-Identifier: Apache-2.0 */
#include "detector/frames.h"

#include <string.h>

/* First path elements of the standard library (go list std, Go 1.27). */
static const char *const standard_roots[] = {
	"archive",   "arena",	"bufio",   "bytes",    "cmp",	   "compress",
	"container", "context", "crypto",  "database", "debug",	   "embed",
	"encoding",  "errors",	"expvar",  "flag",     "fmt",	   "go",
	"hash",	     "html",	"image",   "index",    "internal", "io",
	"iter",	     "log",	"maps",	   "math",     "mime",	   "net",
	"os",	     "path",	"plugin",  "reflect",  "regexp",   "runtime",
	"slices",    "sort",	"strconv", "strings",  "structs",  "sync",
	"syscall",   "testing", "text",	   "time",     "unicode",  "unique",
	"unsafe",    "vendor",	"weak",
};

size_t frame_package_len(const char *function)
{
	const char *after = function;

	/* Type parameters hold paths of their own: look before them only. */
	size_t end = strcspn(function, "[");
	for (size_t i = 0; i < end; i++)
		if (function[i] == '/')
			after = function + i + 1;
	const char *dot = strchr(after, '.');
	return dot ? (size_t)(dot - function) : strlen(function);
}

static bool root_is(const char *function, size_t len, const char *root)
{
	return strlen(root) == len && !memcmp(function, root, len);
}

enum frame_class frame_classify(const char *function)
{
	size_t package = frame_package_len(function);
	size_t root = strcspn(function, "/");

	if (root > package)
		root = package;
	if (root_is(function, root, "runtime") ||
	    root_is(function, root, "internal") ||
	    root_is(function, root, "syscall") ||
	    root_is(function, package, "sync") ||
	    root_is(function, package, "sync/atomic"))
		return FRAME_RUNTIME;
	for (size_t i = 0;
	     i < sizeof(standard_roots) / sizeof(standard_roots[0]); i++)
		if (root_is(function, root, standard_roots[i]))
			return FRAME_STANDARD;
	return FRAME_PROGRAM;
}

/* Templates and inline functions of a library: they lie in the program, but
 * were written in a header of the system's, Boost's or C++'s. */
static bool of_system_header(const struct frame *frame)
{
	static const char folder[] = "/usr/include/";

	return frame->file && !strncmp(frame->file, folder, sizeof(folder) - 1);
}

enum frame_class frame_class(const struct frame *frame)
{
	if (!frame->object)
		return frame_classify(frame->function);
	if (frame->own)
		return of_system_header(frame) ? FRAME_STANDARD : FRAME_PROGRAM;
	return frame->runtime ? FRAME_RUNTIME : FRAME_STANDARD;
}

size_t frame_stable_len(const struct frame *frame)
{
	const char *plus = frame->object ? strstr(frame->function, "+0x")
					 : NULL;

	return plus ? (size_t)(plus - frame->function)
		    : strlen(frame->function);
}

const struct frame *stack_own_frame(const struct stack *stack)
{
	for (uint32_t i = 0; stack && i < stack->n; i++)
		if (!stack->frames[i]->hidden &&
		    frame_class(stack->frames[i]) == FRAME_PROGRAM)
			return stack->frames[i];
	return NULL;
}

size_t stack_visible(const struct stack *stack,
		     const struct frame *v[TASK_MAX_FRAMES])
{
	uint32_t frames = stack ? stack->n : 0;
	size_t n = 0;

	if (frames > TASK_MAX_FRAMES)
		frames = TASK_MAX_FRAMES;
	for (uint32_t i = 0; i < frames; i++)
		if (!stack->frames[i]->hidden)
			v[n++] = stack->frames[i];
	if (n)
		return n;
	for (uint32_t i = 0; i < frames; i++)
		v[n++] = stack->frames[i];
	return n;
}

bool stack_has(const struct stack *stack, const char *name)
{
	for (uint32_t i = 0; stack && i < stack->n; i++)
		if (!strcmp(stack->frames[i]->function, name))
			return true;
	return false;
}

bool stack_has_prefix(const struct stack *stack, const char *prefix)
{
	size_t len = strlen(prefix);

	for (uint32_t i = 0; stack && i < stack->n; i++)
		if (!strncmp(stack->frames[i]->function, prefix, len))
			return true;
	return false;
}

bool stack_has_object(const struct stack *stack, const char *prefix)
{
	size_t len = strlen(prefix);

	for (uint32_t i = 0; stack && i < stack->n; i++)
		if (stack->frames[i]->object &&
		    !strncmp(stack->frames[i]->object, prefix, len))
			return true;
	return false;
}

/* The tail of @file after the last @mark, or NULL. */
static const char *after_last(const char *file, const char *mark)
{
	const char *found = NULL;

	for (const char *p = file; (p = strstr(p, mark)); p++)
		found = p + strlen(mark);
	return found;
}

/* The last @n components of @file. */
static const char *last_parts(const char *file, int n)
{
	for (const char *p = file + strlen(file); p > file; p--)
		if (p[-1] == '/' && --n == 0)
			return p;
	return file;
}

const char *frame_short_file(const struct frame *frame)
{
	const char *tail;

	if (frame->object)
		return last_parts(frame->file, 1);
	if (frame_classify(frame->function) != FRAME_PROGRAM) {
		tail = after_last(frame->file, "/src/");
		return tail ? tail : frame->file;
	}
	tail = after_last(frame->file, "/pkg/mod/");
	if (tail)
		return tail;
	return last_parts(frame->file,
			  strncmp(frame->function, "main.", 5) ? 2 : 1);
}

static bool same_package(const struct frame *a, const struct frame *b)
{
	if (a->object || b->object)
		return a->object && b->object && !strcmp(a->object, b->object);
	size_t len = frame_package_len(a->function);

	return len == frame_package_len(b->function) &&
	       !memcmp(a->function, b->function, len);
}

/* The caller of frame @i that is not a wrapper; NULL at the outermost. */
static const struct frame *caller_of(const struct stack *stack, uint32_t i)
{
	while (++i < stack->n)
		if (!stack->frames[i]->hidden)
			return stack->frames[i];
	return NULL;
}

/* Is frame @i of @stack worth a row? */
static bool shown(const struct stack *stack, uint32_t i)
{
	const struct frame *f = stack->frames[i];
	const struct frame *caller = caller_of(stack, i);

	if (f->hidden)
		return false;
	switch (frame_class(f)) {
	case FRAME_RUNTIME:
		return false;
	case FRAME_STANDARD:
		return !caller || !same_package(f, caller);
	case FRAME_PROGRAM:
		return true;
	}
	return true;
}

size_t stack_fold(const struct stack *stack,
		  struct shown_frame ret[FRAMES_SHOWN])
{
	const struct frame *own = stack_own_frame(stack);
	size_t n = 0, left_out = 0;

	for (uint32_t i = 0; stack && i < stack->n; i++) {
		if (!shown(stack, i))
			continue;
		if (n == FRAMES_SHOWN) {
			left_out++;
			continue;
		}
		ret[n++] = (struct shown_frame){
			.frame = stack->frames[i],
			.own = stack->frames[i] == own,
		};
	}
	if (left_out)
		ret[n - 1] = (struct shown_frame){ .skipped = left_out + 1 };
	/* All of it the runtime's: better its innermost frame than nothing. */
	if (!n && stack && stack->n)
		ret[n++] = (struct shown_frame){ .frame = stack->frames[0] };
	return n;
}
