/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_TESTNAME_WORLD_H
#define TESTS_UNIT_TESTNAME_WORLD_H

/**
 * The memory of a goroutine that runs a test: its stack, its T and the chain of
 * parents, with the fields where testing/testing.go of one version has them.
 */

#include <stdint.h>
#include <string.h>

#include "runtime-hooks/go/testname.h"

#define TESTS_BASE 0xc000100000ULL
#define TESTS_BYTES 0x10000u
#define TESTS_LO (TESTS_BASE + 0x8000) /* of the stack */
#define TESTS_HI (TESTS_LO + 0x800)
#define TESTS_OBJECT 0x240u /* the size class of a T, of 520 bytes */

/* As reflect has testing.T on amd64. */
struct tests_shape {
	const char *name;
	int minor;
	unsigned parent;
	int runner, title;
};

static const struct tests_shape tests_shapes[] = {
	{ "go1.17", 17, 200, -16, 40 }, { "go1.19", 19, 200, -16, 40 },
	{ "go1.20", 20, 216, -24, 40 }, { "go1.24", 24, 208, -24, 40 },
	{ "go1.26", 26, 216, -24, 72 }, { "go1.27", 27, 216, -24, 72 },
};
#define TESTS_SHAPES (sizeof(tests_shapes) / sizeof(tests_shapes[0]))

struct tests_world {
	const struct tests_shape *shape;
	uint8_t bytes[TESTS_BYTES];
	raddr_t next; /* free */
	uint64_t reads, bytes_read;
	struct go_live live;
	struct go_testname names;
};

static inline void tests_put(struct tests_world *w, raddr_t at, uint64_t v)
{
	memcpy(w->bytes + (at - TESTS_BASE), &v, 8);
}

static inline uint64_t tests_get(const struct tests_world *w, raddr_t at)
{
	return go_word(w->bytes + (at - TESTS_BASE));
}

static inline int tests_read(void *arg, struct process_read_req *reqs, size_t n)
{
	struct tests_world *w = arg;

	for (size_t i = 0; i < n; i++) {
		struct process_read_req *r = &reqs[i];

		w->reads++;
		r->ok = r->addr >= TESTS_BASE &&
			r->addr <= TESTS_BASE + TESTS_BYTES &&
			r->len <= TESTS_BASE + TESTS_BYTES - r->addr;
		if (!r->ok)
			continue;
		memcpy(r->buf, w->bytes + (r->addr - TESTS_BASE), r->len);
		w->bytes_read += r->len;
	}
	return 0;
}

static inline void tests_put_string(struct tests_world *w, raddr_t header,
				    const char *s)
{
	memcpy(w->bytes + (w->next - TESTS_BASE), s, strlen(s));
	tests_put(w, header, *s ? w->next : 0);
	tests_put(w, header + 8, strlen(s));
	w->next += (strlen(s) + 15) & ~15ULL;
}

/* A T below @parent; 0: the root, which has no name and no creator. */
static inline raddr_t tests_t(struct tests_world *w, raddr_t parent,
			      const char *name)
{
	const struct tests_shape *s = w->shape;
	raddr_t t = w->next, at = t + s->parent;

	w->next += TESTS_OBJECT;
	tests_put_string(w, at + (uint64_t)s->runner, "testing.tRunner");
	tests_put(w, at, parent);
	if (s->title == 72)
		tests_put_string(w, at + 40, "example.com/x");
	tests_put_string(w, at + (uint64_t)s->title, name);
	if (!parent)
		return t;
	tests_put(w, at + 8, tests_get(w, parent + s->parent + 8) + 1);
	tests_put(w, at + 16, w->next);
	tests_put(w, at + 24, 6);
	tests_put(w, at + 32, 50);
	w->next += 50 * 8;
	return t;
}

/* The word @i of the stack, from its top. */
static inline void tests_stack(struct tests_world *w, unsigned i, uint64_t v)
{
	tests_put(w, TESTS_HI - 8 * (i + 1), v);
}

static inline bool tests_init(struct tests_world *w,
			      const struct tests_shape *shape)
{
	memset(w, 0, sizeof(*w));
	w->shape = shape;
	w->next = TESTS_BASE + 0x1000;
	w->names.mem = &w->live;
	w->names.minor = shape->minor;
	return !go_live_init(&w->live, tests_read, w);
}

static inline bool tests_name(struct tests_world *w, enum go_test_role role,
			      char buf[GO_TEST_NAME_MAX])
{
	return go_testname_read(&w->names, role, TESTS_LO, TESTS_HI,
				TESTS_HI - 0x400, buf);
}

#endif
