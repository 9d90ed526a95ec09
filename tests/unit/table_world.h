/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_TABLE_WORLD_H
#define TESTS_UNIT_TABLE_WORLD_H

/**
 * A table of coroutines in a memory of our own, which may lie in every way and
 * change while it is read.
 */

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/gap.h"
#include "runtime-hooks/coroutine/ctask.h"
#include "runtime-hooks/coroutine/lines.h"
#include "runtime-hooks/coroutine/root.h"

#define TW_BASE 0x7f0000000000ull
#define TW_CHUNK 64u /* lines */
#define TW_CHUNKS 4u
#define TW_SITES 16u

struct table_world {
	struct hook_root root;
	struct stranded_task lines[TW_CHUNKS][TW_CHUNK];
	struct hook_more more[TW_CHUNKS][TW_CHUNK];
	struct hook_site sites[TW_SITES];
	char names[256];
	uint64_t stack[512];
};

struct table_look {
	struct table_world w;
	struct live mem;
	uint64_t reads;
	/* what happens before each piece is read */
	void (*meanwhile)(struct table_look *look);
	void *arg;
	struct tsc_moment begin; /* ours, before the table's */
};

#define TW_AT(field) (TW_BASE + offsetof(struct table_world, field))

static inline int tw_read(void *arg, struct process_read_req *reqs, size_t n)
{
	struct table_look *look = arg;

	for (size_t i = 0; i < n; i++) {
		uint64_t at = reqs[i].addr - TW_BASE;

		look->reads++;
		if (look->meanwhile)
			look->meanwhile(look);
		reqs[i].ok = reqs[i].addr >= TW_BASE && at <= sizeof(look->w) &&
			     reqs[i].len <= sizeof(look->w) - at;
		if (reqs[i].ok)
			memcpy(reqs[i].buf, (char *)&look->w + at, reqs[i].len);
	}
	return 0;
}

/* One that parked for a read of fd @index + 3. */
static inline struct stranded_task *tw_park(struct table_look *look,
					    uint32_t index)
{
	struct stranded_task *t =
		&look->w.lines[index / TW_CHUNK][index % TW_CHUNK];

	*t = (struct stranded_task){
		.seq = 4,
		.incarnation = 1,
		.sp = TW_AT(stack) + index % 256 * 8,
		.pc = 0x401000,
		.bp = 0,
		.stack_hi = TW_AT(stack[511]),
		.since = look->w.root.tsc + 1000,
		.state = HOOK_PARKED,
		.op = STRANDED_READ,
		.flags = HOOK_FLAG_FD_TOLD,
		.fd = (int32_t)index + 3,
		.site = index % TW_SITES,
		.parent = HOOK_NO_PARENT,
	};
	if (look->w.root.n_lines <= index)
		look->w.root.n_lines = index + 1;
	return t;
}

static inline void tw_begin(struct table_look *look)
{
	struct hook_root *r = &look->w.root;
	static struct tsc_moment begin; // so that only the first has to wait

	if (!begin.mono_ns)
		begin = tsc_now();
	memset(look, 0, sizeof(*look));
	look->begin = begin;
	look->mem = (struct live){ .read = tw_read, .arg = look };
	*r = (struct hook_root){
		.magic = HOOK_MAGIC,
		.version = HOOK_VERSION,
		.root_size = sizeof(*r),
		.line_size = sizeof(struct stranded_task),
		.more_size = sizeof(struct hook_more),
		.site_size = sizeof(struct hook_site),
		.chunk_lines = TW_CHUNK,
		.max_chunks = TW_CHUNKS,
		.max_sites = TW_SITES,
		.activity = HOOK_ACTIVE,
		.pid = 1,
		.tsc = begin.tsc,
		.mono_ns = begin.mono_ns,
		.n_sites = TW_SITES,
		.sites = TW_AT(sites),
	};
	for (uint32_t i = 0; i < TW_CHUNKS; i++) {
		r->lines[i] = TW_AT(lines[0]) + i * sizeof(look->w.lines[0]);
		r->more[i] = TW_AT(more[0]) + i * sizeof(look->w.more[0]);
	}
	for (uint32_t i = 0; i < TW_SITES; i++)
		look->w.sites[i] = (struct hook_site){ .pc = 0x401000 + i,
						       .start = 0x402000,
						       .created = 10,
						       .ended = 3 };
}

static inline struct task_snapshot *tw_snapshot(void)
{
	struct task_snapshot *snap = calloc(1, sizeof(*snap));

	if (!snap)
		abort();
	snap->arena = arena_create();
	snap->gaps.arena = snap->arena;
	snap->runtime = "test";
	return snap;
}

/** Read it all; NULL, and *err_ret, when the root is refused. */
static inline struct task_snapshot *tw_take(struct table_look *look,
					    struct error **err_ret)
{
	struct intern_table uncertain = { 0 };
	struct task_snapshot *snap;
	struct lines_out out;
	struct lines_in in;
	struct root root;

	*err_ret = root_read(&look->mem, TW_BASE, &root);
	if (*err_ret)
		return NULL;
	snap = tw_snapshot();
	out = (struct lines_out){ .snap = snap, .cap = lines_most(&root) };
	snap->tasks =
		arena_array(snap->arena, out.cap + 1, sizeof(*snap->tasks));
	in = (struct lines_in){
		.mem = &look->mem,
		.root = &root,
		.stacks = true,
		.tids = true,
		.rate = tsc_rate_find(
			look->begin,
			(struct tsc_moment){ root.v.tsc, root.v.mono_ns }),
		.alive_ns = 1000000000,
		.uncertain = &uncertain,
		.arena = snap->arena,
	};
	*err_ret = lines_read(&in, &out);
	intern_free(&uncertain);
	return snap;
}

#endif
