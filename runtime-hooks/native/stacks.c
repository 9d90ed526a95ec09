/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "runtime-hooks/native/native_priv.h"

/* The frames of one pc: of the function, and of what was inlined there. */
struct site {
	raddr_t pc;
	uint32_t flags;
	uint32_t n;
	const struct frame *const *frames;
};

/* A stack, and what it was made from. */
struct kept_stack {
	struct stack stack;
	uint32_t n;
	enum native_end end;
	const raddr_t *pcs;
	const uint8_t *flags;
};

/* Objects that are to C what the runtime package is to Go. */
static const char *const runtime_objects[] = {
	"libc.so.", "libc-", "libpthread", "ld-", "[vdso]", "libstranded-hook",
};

static bool is_runtime(const char *object)
{
	for (size_t i = 0;
	     i < sizeof(runtime_objects) / sizeof(runtime_objects[0]); i++)
		if (!strncmp(object, runtime_objects[i],
			     strlen(runtime_objects[i])))
			return true;
	return false;
}

static const char *keep(struct native *native, const char *text)
{
	return text ? arena_strdup(native->arena, text) : NULL;
}

/* What to call a function without a name: where it is. */
static const char *place_name(struct native *native,
			      const struct object *object, raddr_t pc)
{
	if (!object)
		return "?";
	return arena_printf(native->arena, "%s+0x%llx", object->name,
			    (unsigned long long)(pc - object->bias));
}

static struct frame *make_frame(struct native *native, const struct site *site,
				const struct object *object,
				const struct names_at *at, size_t i)
{
	struct frame *frame = arena_alloc(native->arena, sizeof(*frame));
	const struct names_frame *from = &at->frames[i];
	bool outermost = i + 1 == at->n;

	if (!frame)
		return NULL;
	frame->pc = site->pc;
	// what the linker calls it tells more (foo.cold) than what DWARF does
	frame->function = keep(
		native, outermost && at->symbol ? at->symbol : from->function);
	if (!frame->function)
		frame->function = place_name(native, object, site->pc);
	frame->file = keep(native, from->file);
	if (!frame->file)
		frame->file = "?";
	frame->line = from->line;
	if (at->symbol)
		frame->offset =
			(uint32_t)(at->offset + !!(site->flags & FRAME_RETURN));
	frame->inlined = from->inlined;
	frame->uncertain = site->flags & FRAME_UNCERTAIN;
	if (object) {
		frame->object = keep(native, object->name);
		frame->runtime = is_runtime(object->name);
	}
	return frame->function ? frame : NULL;
}

static void find_names(struct native *native, const struct code *code,
		       raddr_t pc, struct names_at *at)
{
	const struct rule *rule = native_rule(native, pc);
	struct object *object = code ? code->object : NULL;
	struct names *names = NULL;

	if (object && object_parse(native->mem, object))
		names = native_names(native, object);
	if (names) {
		raddr_t start = rule && rule->start ? rule->start : pc;

		names_find(names, pc - object->bias, start - object->bias, at);
		return;
	}
	at->symbol = NULL;
	at->n = 1;
	at->frames[0] = (struct names_frame){ .line = 0 };
}

static struct site *make_site(struct native *native, raddr_t pc, uint32_t flags)
{
	struct site *site = arena_alloc(native->arena, sizeof(*site));
	raddr_t lookup = pc - !!(flags & FRAME_RETURN);
	const struct code *code = native_code(native, lookup);
	const struct frame **frames;
	struct names_at at;

	if (!site)
		return NULL;
	native->unknown |= !code;
	find_names(native, code, lookup, &at);
	frames = arena_array(native->arena, at.n, sizeof(*frames));
	if (!frames)
		return NULL;
	site->pc = pc;
	site->flags = flags;
	site->n = (uint32_t)at.n;
	site->frames = frames;
	for (size_t i = 0; i < at.n; i++) {
		frames[i] = make_frame(native, site, code ? code->object : NULL,
				       &at, i);
		if (!frames[i])
			return NULL;
	}
	return site;
}

static const struct site *find_site(struct native *native, raddr_t pc,
				    uint32_t flags)
{
	uint64_t key = pc << 2 | flags, at = UINT64_MAX;
	struct site *site;

	while ((site = intern_next(&native->sites, key, &at)))
		if (site->pc == pc && site->flags == flags)
			return site;
	site = make_site(native, pc, flags);
	if (!site || !intern_add(&native->sites, key, site))
		return NULL;
	return site;
}

const struct frame *native_frame(struct native *native, raddr_t pc,
				 bool is_return)
{
	const struct site *site =
		find_site(native, pc, is_return ? FRAME_RETURN : 0);

	return site ? site->frames[0] : NULL;
}

static bool fill_frames(struct native *native, const struct walk *w,
			struct kept_stack *kept)
{
	const struct frame **frames;
	size_t n = 0;

	for (uint32_t i = 0; i < w->n; i++) {
		const struct site *site =
			find_site(native, w->pcs[i], w->flags[i]);

		if (!site)
			return false;
		n += site->n;
	}
	kept->stack.truncated = kept->end == NATIVE_END_LIMIT ||
				n > TASK_MAX_FRAMES;
	if (n > TASK_MAX_FRAMES)
		n = TASK_MAX_FRAMES;
	frames = arena_array(native->arena, n, sizeof(*frames));
	if (!frames)
		return false;
	kept->stack.frames = frames;
	for (uint32_t i = 0; i < w->n; i++) {
		const struct site *site =
			find_site(native, w->pcs[i], w->flags[i]);

		for (uint32_t j = 0; site && j < site->n; j++)
			if (kept->stack.n < n)
				frames[kept->stack.n++] = site->frames[j];
	}
	return true;
}

static bool same(const struct kept_stack *kept, const struct walk *w,
		 enum native_end end)
{
	return kept->n == w->n && kept->end == end &&
	       !memcmp(kept->pcs, w->pcs, w->n * sizeof(w->pcs[0])) &&
	       !memcmp(kept->flags, w->flags, w->n);
}

const struct stack *native_intern(struct walk *w, enum native_end end)
{
	struct native *native = w->native;
	uint64_t key = intern_hash(w->pcs, w->n * sizeof(w->pcs[0]));
	uint64_t at = UINT64_MAX;
	struct kept_stack *kept;

	while ((kept = intern_next(&native->stacks, key, &at)))
		if (same(kept, w, end))
			return &kept->stack;
	kept = arena_alloc(native->arena, sizeof(*kept));
	if (!kept)
		return NULL;
	kept->n = w->n;
	kept->end = end;
	kept->pcs =
		arena_memdup(native->arena, w->pcs, w->n * sizeof(w->pcs[0]));
	kept->flags = arena_memdup(native->arena, w->flags, w->n);
	kept->stack.incomplete = end != NATIVE_END_OUTERMOST;
	if (!kept->pcs || !kept->flags || !fill_frames(native, w, kept) ||
	    !intern_add(&native->stacks, key, kept))
		return NULL;
	return &kept->stack;
}
