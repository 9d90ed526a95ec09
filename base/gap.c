/* SPDX-License-Identifier: Apache-2.0 */
#include "base/gap.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* Texts are ours with a number or a name in them: a line, not a page. */
#define TEXT_MAX 512

static struct gap *last_of_kind(struct gaps *gaps, enum gap_kind kind)
{
	for (size_t i = gaps->n; i-- > 0;) {
		if (gaps->v[i].kind == kind)
			return &gaps->v[i];
	}
	return NULL;
}

static struct gap *find(struct gaps *gaps, enum gap_kind kind, const char *text)
{
	for (size_t i = 0; i < gaps->n; i++) {
		if (gaps->v[i].kind == kind && !strcmp(gaps->v[i].text, text))
			return &gaps->v[i];
	}
	return NULL;
}

static bool grow(struct gaps *gaps)
{
	size_t cap = gaps->cap ? 2 * gaps->cap : 8;
	struct gap *v;

	if (gaps->n < gaps->cap)
		return true;
	v = arena_array(gaps->arena, cap, sizeof(*v));
	if (!v)
		return false;
	if (gaps->n)
		memcpy(v, gaps->v, gaps->n * sizeof(*v));
	gaps->v = v;
	gaps->cap = cap;
	return true;
}

static void add(struct gaps *gaps, enum gap_kind kind, uint64_t count,
		const char *text)
{
	struct gap *gap = find(gaps, kind, text);
	const char *copy;

	// one more of a kind that is not there yet is let in: a count that has
	// no gap of its kind would be lost
	if (!gap && gaps->n >= GAPS_MAX)
		gap = last_of_kind(gaps, kind);
	if (!gap && grow(gaps)) {
		copy = arena_strdup(gaps->arena, text);
		gap = &gaps->v[gaps->n++];
		gap->kind = kind;
		gap->text = copy ? copy : "(out of memory)";
	}
	if (!gap)
		gap = last_of_kind(gaps, kind);
	if (gap && __builtin_add_overflow(gap->count, count, &gap->count))
		gap->count = UINT64_MAX;
}

void gaps_add(struct gaps *gaps, enum gap_kind kind, uint64_t count,
	      const char *fmt, ...)
{
	char text[TEXT_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	add(gaps, kind, count, text);
}

void gaps_merge(struct gaps *gaps, const struct gaps *from)
{
	for (size_t i = 0; i < from->n; i++)
		add(gaps, from->v[i].kind, from->v[i].count, from->v[i].text);
}

const char *gap_kind_name(enum gap_kind kind)
{
	switch (kind) {
	case GAP_RUNNING:
		return "running";
	case GAP_TORN:
		return "torn";
	case GAP_GONE:
		return "gone";
	case GAP_DENIED:
		return "denied";
	case GAP_UNSUPPORTED:
		return "unsupported";
	case GAP_CORRUPT:
		return "corrupt";
	case GAP_INCONSISTENT:
		return "inconsistent";
	case GAP_LIMIT:
		return "limit";
	}
	return "?";
}
