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

bool native_is_runtime(const struct object *object)
{
	for (size_t i = 0;
	     i < sizeof(runtime_objects) / sizeof(runtime_objects[0]); i++)
		if (!strncmp(object->name, runtime_objects[i],
			     strlen(runtime_objects[i])))
			return true;
	return false;
}

/* Where distributions have their libraries. */
static const char *const system_folders[] = {
	"/lib/",       "/lib32/",     "/lib64/",       "/usr/lib/",
	"/usr/lib32/", "/usr/lib64/", "/usr/libexec/", "[",
};

/* What stranded/hook.h puts into a program is not the program's own. */
static bool is_hook_inline(const struct names_frame *from)
{
	static const char header[] = "stranded/hook.h";
	size_t len = from->file ? strlen(from->file) : 0;

	return from->inlined && len >= strlen(header) &&
	       !strcmp(from->file + len - strlen(header), header);
}

/* Nor is what stands in front of the calls of a program that is hooked. */
static bool is_hook(const struct object *object)
{
	static const char library[] = "libstranded-hook.";

	return !strncmp(object->name, library, strlen(library));
}

static bool is_own(const struct object *object)
{
	if (object->main)
		return true;
	for (size_t i = 0;
	     i < sizeof(system_folders) / sizeof(system_folders[0]); i++)
		if (!strncmp(object->path, system_folders[i],
			     strlen(system_folders[i])))
			return false;
	return true;
}

/*
 * Functions of assembly without call frame information that stacks begin
 * with. Boost.Context has its coroutines return into the middle of
 * make_fcontext (libs/context/src/asm/make_x86_64_sysv_elf_gas.S, "finish").
 */
static const char *const bottoms[] = { "make_fcontext" };

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
		frame->hidden = is_hook(object) || is_hook_inline(from);
		frame->runtime = native_is_runtime(object) || frame->hidden;
		frame->own = !frame->runtime && is_own(object);
	}
	return frame->function ? frame : NULL;
}

static void find_names(struct native *native, const struct code *code,
		       raddr_t pc, struct names_at *at)
{
	struct object *object = code ? code->object : NULL;
	const struct rule *rule = object ? native_rule(native, pc, false)
					 : NULL;
	struct names *names = NULL;

	if (object && object_parse(native->mem, object))
		names = native_names(native, object);
	if (names) {
		raddr_t start = rule && rule->start ? rule->start : pc;

		bool failed = names_lines_failed(names);

		names_find(names, pc - object->bias, start - object->bias, at);
		if (!failed && names_lines_failed(names))
			gaps_add(&native->gaps, GAP_CORRUPT, 1,
				 "lines of %s: its debug information cannot "
				 "be read",
				 object->path);
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
	uint32_t i = 0;

	while (site && i + 1 < site->n && site->frames[i]->inlined &&
	       site->frames[i]->runtime)
		i++;
	return site ? site->frames[i] : NULL;
}

bool walk_made_by_hand(const struct walk *w)
{
	const struct site *site;

	if (!w->n || !(w->flags[w->n - 1] & FRAME_RETURN))
		return false;
	site = find_site(w->native, w->pcs[w->n - 1], w->flags[w->n - 1]);
	for (size_t i = 0; site && i < sizeof(bottoms) / sizeof(bottoms[0]);
	     i++)
		if (!strcmp(site->frames[0]->function, bottoms[i]))
			return true;
	return false;
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
