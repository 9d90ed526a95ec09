/* SPDX-License-Identifier: Apache-2.0 */
#include <libiberty/demangle.h>
#include <setjmp.h>
#include <string.h>

#include "runtime-hooks/native/names.h"

#define MANGLED_MAX 4096

struct output {
	char text[DEMANGLE_MAX + 4];
	size_t len;
	jmp_buf full;
};

/*
 * A crafted name of 1 KiB can stand for terabytes, by references to what came
 * before. The demangler cannot be told to stop, so it is left: it allocates
 * nothing for a callback but its stack.
 */
static void append(const char *text, size_t len, void *arg)
{
	struct output *out = arg;

	if (!len) // then @text may be NULL
		return;
	if (len > DEMANGLE_MAX - out->len) {
		memcpy(out->text + out->len, text, DEMANGLE_MAX - out->len);
		memcpy(out->text + DEMANGLE_MAX, "...", 4);
		longjmp(out->full, 1);
	}
	memcpy(out->text + out->len, text, len);
	out->len += len;
	out->text[out->len] = '\0';
}

static bool demangle(const char *mangled, struct output *out)
{
	const int options = DMGL_ANSI;

	if (setjmp(out->full))
		return true;
	// Rust's old names are C++ ones with a hash: ask for them first
	if (rust_demangle_callback(mangled, options, append, out) && out->len)
		return true;
	out->len = 0;
	return cplus_demangle_v3_callback(mangled, options, append, out) &&
	       out->len;
}

char *names_demangle(struct arena *arena, const char *name, size_t len)
{
	char mangled[MANGLED_MAX];
	struct output out = { .len = 0 };

	if (len >= sizeof(mangled) || len < 3 || name[0] != '_' ||
	    (name[1] != 'Z' && name[1] != 'R'))
		return arena_strndup(arena, name, len);
	memcpy(mangled, name, len);
	mangled[len] = '\0';
	return demangle(mangled, &out) ? arena_strdup(arena, out.text)
				       : arena_strdup(arena, mangled);
}
