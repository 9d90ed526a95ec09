/* SPDX-License-Identifier: Apache-2.0 */
#include "base/process.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

/* A line has at most 73 bytes and a path of PATH_MAX, escaped at most 4:1. */
#define MAPS_BYTES_MAX ((size_t)256 << 20)

struct cursor {
	const char *p, *end;
};

static bool take_char(struct cursor *c, char want)
{
	if (c->p == c->end || *c->p != want)
		return false;
	c->p++;
	return true;
}

/* One of the two characters of a permission; *ret: was it @yes? */
static bool take_flag(struct cursor *c, char yes, char no, bool *ret)
{
	*ret = take_char(c, yes);
	return *ret || take_char(c, no);
}

static int digit_value(char ch)
{
	if (ch >= '0' && ch <= '9')
		return ch - '0';
	if (ch >= 'a' && ch <= 'f')
		return ch - 'a' + 10;
	return 16;
}

/* A number without sign or prefix; false if none is there or it is too big. */
static bool take_number(struct cursor *c, unsigned int base, uint64_t max,
			uint64_t *ret)
{
	const char *first = c->p;
	uint64_t v = 0;

	for (; c->p < c->end; c->p++) {
		unsigned int d = (unsigned int)digit_value(*c->p);

		if (d >= base)
			break;
		if (v > (max - d) / base)
			return false;
		v = v * base + d;
	}
	*ret = v;
	return c->p > first;
}

static bool take_perms(struct cursor *c, struct process_map *map)
{
	return take_flag(c, 'r', '-', &map->read) &&
	       take_flag(c, 'w', '-', &map->write) &&
	       take_flag(c, 'x', '-', &map->exec) &&
	       take_flag(c, 's', 'p', &map->shared);
}

/* show_map_vma() of the kernel's fs/proc/task_mmu.c writes the line. */
static bool parse_line(const char *line, size_t len, struct arena *arena,
		       struct process_map *map)
{
	struct cursor c = { line, line + len };
	uint64_t major, minor;

	if (!take_number(&c, 16, UINT64_MAX, &map->start) ||
	    !take_char(&c, '-') ||
	    !take_number(&c, 16, UINT64_MAX, &map->end) ||
	    !take_char(&c, ' ') || !take_perms(&c, map) ||
	    !take_char(&c, ' ') ||
	    !take_number(&c, 16, UINT64_MAX, &map->offset) ||
	    !take_char(&c, ' ') || !take_number(&c, 16, UINT32_MAX, &major) ||
	    !take_char(&c, ':') || !take_number(&c, 16, UINT32_MAX, &minor) ||
	    !take_char(&c, ' ') ||
	    !take_number(&c, 10, UINT64_MAX, &map->inode))
		return false;
	if (c.p < c.end && *c.p != ' ')
		return false;
	while (take_char(&c, ' '))
		;
	map->dev_major = (uint32_t)major;
	map->dev_minor = (uint32_t)minor;
	map->path = "";
	if (c.p < c.end)
		map->path = arena_strndup(arena, c.p, (size_t)(c.end - c.p));
	return map->start < map->end;
}

/*
 * The kernel looks up where it left off for each page of text. A mapping that
 * was merged with its neighbour in between is shown again from its start:
 * keep the part that is new. Anything else that goes back is no maps file.
 */
static bool follow(const struct process_map *prev, struct process_map *map)
{
	if (map->start >= prev->end)
		return true;
	if (map->end <= prev->end)
		return false;
	map->offset += prev->end - map->start;
	map->start = prev->end;
	return true;
}

static size_t count_lines(const char *text, size_t len)
{
	size_t n = 0;

	for (const char *p = text, *end = text + len; p < end; n++) {
		p = memchr(p, '\n', (size_t)(end - p));
		if (!p)
			return n + 1;
		p++;
	}
	return n;
}

struct error *process_maps_parse(const char *text, size_t len,
				 struct arena *arena, struct process_maps *ret)
{
	const char *end = text + len;
	struct process_maps maps = { 0 };
	size_t cap = count_lines(text, len);

	if (cap > PROCESS_MAX_MAPS)
		return error_new(ERROR_CORRUPT, "more than %d memory mappings",
				 PROCESS_MAX_MAPS);
	maps.v = arena_array(arena, cap, sizeof(*maps.v));
	if (!maps.v)
		return &error_nomem;
	for (const char *p = text; p < end;) {
		struct process_map *map = &maps.v[maps.n];
		const char *eol = memchr(p, '\n', (size_t)(end - p));

		if (!eol)
			eol = end;
		if (!parse_line(p, (size_t)(eol - p), arena, map) ||
		    (maps.n && !follow(map - 1, map)))
			return error_new(ERROR_CORRUPT,
					 "line %zu of the memory mappings "
					 "makes no sense",
					 maps.n + 1);
		if (!map->path)
			return &error_nomem;
		maps.n++;
		p = eol + 1;
	}
	*ret = maps;
	return NULL;
}

struct error *process_maps(const struct process *p, struct arena *arena,
			   struct process_maps *ret)
{
	AUTO_FREE char *text = NULL;
	struct error *err;
	ssize_t len;

	len = process_slurp(p, "maps", MAPS_BYTES_MAX, &text);
	if (len < 0)
		return process_error(p, (int)-len, "memory mappings of");
	// a process that is ending has no mappings, and says so without error
	if (!len)
		return process_error(p, ESRCH, "memory mappings of");
	err = process_maps_parse(text, (size_t)len, arena, ret);
	if (err)
		return error_wrap(err, "process %d", (int)p->pid);
	return NULL;
}

const struct process_map *process_maps_find(const struct process_maps *maps,
					    raddr_t addr)
{
	size_t lo = 0, hi = maps->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		const struct process_map *map = &maps->v[mid];

		if (addr < map->start)
			hi = mid;
		else if (addr >= map->end)
			lo = mid + 1;
		else
			return map;
	}
	return NULL;
}
