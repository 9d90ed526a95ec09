/* SPDX-License-Identifier: Apache-2.0 */
#include "detector/gate/leak.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fnv.h"
#include "detector/frames.h"

/* Of the stack, in a fingerprint: past errgroup.(*Group).Go.func1 and kin. */
#define OUTERMOST 3

struct gate_process *gate_process_create(pid_t pid)
{
	struct gate_process *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->arena = arena_create();
	if (!p->arena) {
		free(p);
		return NULL;
	}
	p->pid = pid;
	p->gaps.arena = p->arena;
	return p;
}

void gate_process_destroy(struct gate_process *p)
{
	if (!p)
		return;
	arena_destroy(p->arena);
	free(p);
}

const char *leak_kind_name(enum leak_kind kind)
{
	static const char *const names[] = {
		[LEAK_GOROUTINE] = "goroutine",
		[LEAK_COROUTINE] = "coroutine",
		[LEAK_CONNECTION] = "connection",
	};

	return names[kind];
}

size_t gate_process_new_leaks(const struct gate_process *p)
{
	size_t n = 0;

	for (size_t i = 0; i < p->n_leaks; i++)
		n += !p->leaks[i].known && !p->leaks[i].ignored;
	return n;
}

/* go help testfunc: the prefix, and then no lower case letter. */
static bool is_test_name(const char *s, size_t len)
{
	static const char *const prefixes[] = { "Test", "Benchmark", "Fuzz",
						"Example" };

	for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++) {
		size_t n = strlen(prefixes[i]);

		if (len >= n && !strncmp(s, prefixes[i], n))
			return len == n || !islower((unsigned char)s[n]);
	}
	return false;
}

void leak_test_name(const char *function, char *buf, size_t size)
{
	const char *name = function + frame_package_len(function);

	*buf = '\0';
	if (*name != '.')
		return;
	name++;
	size_t len = strcspn(name, ".[(\xc2"); // \xc2: go1.17's ·dwrap·
	if (len && len < size && is_test_name(name, len)) {
		memcpy(buf, name, len);
		buf[len] = '\0';
	}
}

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)tolower((unsigned char)c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The linker escapes dots in the last element: gopkg.in/yaml%2ev3. */
void leak_package_name(const char *function, char *buf, size_t size)
{
	size_t len = frame_package_len(function), n = 0;

	for (size_t i = 0; i < len && n + 1 < size; i++) {
		if (function[i] == '%' && i + 2 < len &&
		    hex(function[i + 1]) >= 0 && hex(function[i + 2]) >= 0) {
			buf[n++] = (char)(hex(function[i + 1]) * 16 +
					  hex(function[i + 2]));
			i += 2;
		} else {
			buf[n++] = function[i];
		}
	}
	buf[n] = '\0';
}

/* Go names these by its version, and by where it inlines. */
static bool is_wrapper(const char *function)
{
	return strstr(function, ".gowrap") || strstr(function, ".deferwrap") ||
	       strstr(function, "\xc2\xb7"
				"dwrap");
}

/* The outermost calls of the program's own code. 0: there is none. */
static uint64_t hash_own(uint64_t hash, const struct leak *leak)
{
	size_t taken = 0;

	for (size_t i = leak->n_frames; i-- > 0 && taken < OUTERMOST;) {
		const struct leak_frame *f = &leak->frames[i];

		if (!f->own || is_wrapper(f->function))
			continue;
		hash = fnv_text(hash, f->function);
		taken++;
	}
	return taken ? hash : 0;
}

/* Each Go version counts its closures anew: Start.func1, Start.func2. */
static uint64_t hash_standard(uint64_t hash, const char *function)
{
	const char *closure = strstr(function, ".func");
	char name[512];

	snprintf(name, sizeof(name), "%.*s",
		 (int)(closure ? closure - function + 5 : 500), function);
	return fnv_text(hash, name);
}

/*
 * None of the stack is the program's: an http connection that somebody left
 * open. It is told by how it began and by the package whose tests did it.
 */
static uint64_t hash_foreign(uint64_t hash, const struct leak *leak)
{
	hash = fnv_text(hash, leak->package ? leak->package : "");
	for (size_t i = leak->n_frames; i-- > 0;)
		if (!is_wrapper(leak->frames[i].function))
			return hash_standard(hash, leak->frames[i].function);
	return fnv_text(hash, leak->verdict ? leak->verdict : "");
}

void leak_fingerprint(struct leak *leak)
{
	uint64_t hash = fnv_text(FNV_OFFSET, leak_kind_name(leak->kind));

	if (leak->has_creator)
		hash = hash_standard(hash, leak->creator.function);
	if (leak->has_creator && leak->creator.own)
		hash = fnv_text(hash, leak->creator.function);
	uint64_t with = hash_own(hash, leak);
	if (!with)
		with = hash_foreign(hash, leak);
	snprintf(leak->fingerprint, GATE_FINGERPRINT, "%016" PRIx64, with);
}
