/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime-hooks/coroutine/lines_priv.h"

#include <errno.h>

#include "runtime-hooks/coroutine/variant.h"

#define STACK_MAX ((uint64_t)1 << 30)
#define PAGE ((raddr_t)4096)

static bool wants_stack(const struct item *it)
{
	return item_is_live(it) && (it->line.v.state == HOOK_PARKED ||
				    it->line.v.state == HOOK_SEEN);
}

/* How much of its stack to read at first; 0: it makes no sense. */
static uint32_t stack_want(const struct stranded_task *v)
{
	uint64_t used = STACK_BYTES;

	if (!live_plausible(v->sp, 1) || !live_plausible(v->pc, 1))
		return 0;
	if (v->stack_hi) {
		if (v->sp >= v->stack_hi || v->stack_hi - v->sp > STACK_MAX)
			return 0;
		used = v->stack_hi - v->sp;
	}
	return used < STACK_BYTES ? (uint32_t)used : STACK_BYTES;
}

/* A piece had a hole: as far as the end of the page it begins in. */
static uint32_t read_first_page(struct pass *pass, raddr_t sp, uint8_t *to)
{
	uint32_t len = (uint32_t)(PAGE - sp % PAGE);

	return live_read(pass->in->mem, sp, to, len) ? len : 0;
}

static void read_stacks(struct pass *pass)
{
	struct process_read_req *reqs = pass->reqs;
	size_t n = 0;

	for (size_t i = 0; i < pass->n_todo; i++) {
		struct item *it = &pass->items[pass->todo[i]];

		if (!wants_stack(it))
			continue;
		it->stack_len = stack_want(&it->line.v);
		if (!it->stack_len)
			continue;
		reqs[n++] = (struct process_read_req){
			.addr = it->line.v.sp,
			.buf = pass->stacks +
			       (size_t)pass->todo[i] * STACK_BYTES,
			.len = it->stack_len,
		};
	}
	live_pieces(pass->in->mem, reqs, n);
	n = 0;
	for (size_t i = 0; i < pass->n_todo; i++) {
		struct item *it = &pass->items[pass->todo[i]];

		if (!it->stack_len || reqs[n++].ok)
			continue;
		it->stack_len =
			read_first_page(pass, it->line.v.sp, reqs[n - 1].buf);
	}
}

static bool is_marked(const struct item *it)
{
	return item_is_live(it) && it->line.v.flags & HOOK_FLAG_MARKED;
}

/*
 * Nobody tells the hook that a stack was freed. But what it wrote above a
 * stack stands there only while that is the coroutine's.
 */
static void read_marks(struct pass *pass)
{
	size_t n = 0;

	for (size_t i = 0; i < pass->n_todo; i++)
		if (is_marked(&pass->items[pass->todo[i]])) {
			pass->reqs[n] = (struct process_read_req){
				.addr = pass->items[pass->todo[i]]
						.line.v.stack_hi,
				.buf = pass->marks[n],
				.len = sizeof(pass->marks[n]),
			};
			n++;
		}
	live_pieces(pass->in->mem, pass->reqs, n);
	n = 0;
	for (size_t i = 0; i < pass->n_todo; i++) {
		struct item *it = &pass->items[pass->todo[i]];
		uint64_t id;

		if (!is_marked(it))
			continue;
		id = (uint64_t)it->line.v.incarnation << 32 | it->line.index;
		it->gone = !pass->reqs[n].ok || pass->marks[n][0] != id ||
			   pass->marks[n][1] != (id ^ HOOK_MARK);
		n++;
	}
	// that nothing could be read at all says nothing about them
	if (pass->in->mem->error)
		for (size_t i = 0; i < pass->n_todo; i++)
			pass->items[pass->todo[i]].gone = false;
}

/* Where a call was made that it may have gone on from. */
static void doubt(struct frame *frame)
{
	frame->uncertain = true;
}

static void unwind(struct pass *pass, uint32_t k)
{
	struct item *it = &pass->items[k];
	const struct stranded_task *v = &it->line.v;
	struct native_regs regs = {
		.pc_is_return = v->flags & HOOK_FLAG_PC_RETURN,
	};
	struct native_copy copy = {
		.base = v->sp,
		.bytes = pass->stacks + (size_t)k * STACK_BYTES,
		.len = it->stack_len,
		.hi = v->stack_hi,
	};
	struct native_result result;
	int rc;

	native_regs_set(&regs, NATIVE_RIP, v->pc);
	native_regs_set(&regs, NATIVE_RSP, v->sp);
	native_regs_set(&regs, NATIVE_RBP, v->bp);
	rc = native_unwind(pass->in->native, NATIVE_FAST, &regs, &copy,
			   &result);
	pass->nomem |= rc == -ENOMEM;
	if (rc || !result.stack->n)
		return;
	it->line.stack = result.stack;
	if (v->state != HOOK_SEEN)
		return;
	it->line.stack = variant_of(pass->in->uncertain, pass->in->arena,
				    result.stack, doubt);
	pass->nomem |= !it->line.stack;
}

void lines_find_stacks(struct pass *pass)
{
	if (!pass->in->stacks)
		return;
	read_marks(pass);
	read_stacks(pass);
	for (size_t i = 0; i < pass->n_todo; i++) {
		struct item *it = &pass->items[pass->todo[i]];

		if (it->stack_len && pass->in->native)
			unwind(pass, pass->todo[i]);
		it->line.unreadable = wants_stack(it) && !it->stack_len &&
				      !pass->in->mem->error;
	}
}
