/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "runtime-hooks/go/image_priv.h"
#include "runtime-hooks/intern.h"
#include "runtime-hooks/go/traceback.h"

/*
 * All that is asked about a pc is kept by pc: a snapshot asks for few distinct
 * ones a million times. A target that makes up pcs is stopped at this many.
 */
#define MAX_PCS (1u << 20)

/* What is known about a pc. Key: pc << 1 | is_return. */
struct pc_entry {
	raddr_t pc;
	const struct go_func *func; /* NULL: in no function */
	struct module *module;
	int64_t delta;	/* frame size; -1 corrupt, -2 not asked yet */
	uint32_t n;	/* logical frames; 0: not asked yet */
	uint8_t *roles; /* enum go_role of each */
	const struct frame **frames;
	const struct frame **flipped;	     /* with hidden inverted, or NULL */
	const struct frame *creator, *start; /* NULL: not asked yet */
};

struct stack_entry {
	struct stack stack;
	size_t n;
	uint8_t flags;
	raddr_t pcs[];
};

struct intern {
	struct arena *arena;
	struct intern_table strings, pcs, stacks, funcs_by_name, types;
	char *text; /* GO_MAX_NAME bytes to read a name into */
	char *printed;
};

struct intern *intern_create(void)
{
	struct intern *in = calloc(1, sizeof(*in));

	if (!in)
		return NULL;
	in->arena = arena_create();
	in->text = malloc(GO_MAX_NAME);
	in->printed = malloc(GO_MAX_NAME + 16);
	if (in->arena && in->text && in->printed)
		return in;
	intern_destroy(in);
	return NULL;
}

void intern_destroy(struct intern *in)
{
	if (!in)
		return;
	arena_destroy(in->arena);
	intern_free(&in->strings);
	intern_free(&in->pcs);
	intern_free(&in->stacks);
	intern_free(&in->funcs_by_name);
	intern_free(&in->types);
	free(in->text);
	free(in->printed);
	free(in);
}

size_t intern_bytes(const struct intern *in)
{
	size_t slots = in->strings.cap + in->pcs.cap + in->stacks.cap +
		       in->funcs_by_name.cap + in->types.cap;

	return arena_bytes(in->arena) + slots * sizeof(struct intern_slot);
}

/* The one copy of the @len bytes at @s; NULL: out of memory. */
static const char *intern_string(struct intern *in, const char *s, size_t len)
{
	uint64_t key = intern_hash(s, len), at = UINT64_MAX;
	char *old, *copy;

	while ((old = intern_next(&in->strings, key, &at)))
		if (strncmp(old, s, len) == 0 && !old[len])
			return old;
	copy = arena_strndup(in->arena, s, len);
	if (!copy || !intern_add(&in->strings, key, copy))
		return NULL;
	return copy;
}

/* The raw name at offset @name of @m's table; "?" when it is corrupt. */
static const char *raw_name(struct go_image *image, const struct module *m,
			    uint32_t name)
{
	struct intern *in = image->intern;
	ssize_t len = pclntab_name(&m->tab, name, in->text, GO_MAX_NAME);

	if (len <= 0)
		return intern_string(in, "?", 1);
	return intern_string(in, in->text, (size_t)len);
}

/* Before 1.17 nothing marks them. */
static bool top_by_name(const char *name)
{
	return strcmp(name, "runtime.goexit") == 0 ||
	       strcmp(name, "runtime.mstart") == 0 ||
	       strcmp(name, "runtime.rt0_go") == 0;
}

static bool fill_func(struct go_image *image, const struct module *m,
		      const struct pclntab_func *f, struct go_func *ret)
{
	const char *name = raw_name(image, m, f->name);

	if (!name)
		return false;
	*ret = (struct go_func){
		.entry = f->entry,
		.module = (uint32_t)(m - image->modules),
		.index = f->index,
		.name = name,
		.func_id = f->id,
		.top_frame =
			f->flags & PCLNTAB_FLAG_TOP_FRAME ||
			(m->tab.version == GO_PCLNTAB_116 && top_by_name(name)),
		// cgocallback keeps both stacks valid for unwinding.
		.sp_write = f->flags & PCLNTAB_FLAG_SP_WRITE &&
			    go_role_of(name) != GO_ROLE_CGOCALLBACK,
	};
	return true;
}

static struct pc_entry *add_pc(struct go_image *image, raddr_t pc, uint64_t key)
{
	struct intern *in = image->intern;
	struct module *m = image_module(image, pc);
	struct pclntab_func f;
	struct pc_entry *e;
	struct go_func *func;

	if (!m || in->pcs.n >= MAX_PCS || !pclntab_find(&m->tab, pc, &f))
		return NULL;
	e = arena_alloc(in->arena, sizeof(*e));
	func = arena_alloc(in->arena, sizeof(*func));
	if (!e || !func || !fill_func(image, m, &f, func))
		return NULL;
	e->pc = pc;
	e->module = m;
	e->func = func;
	e->delta = -2;
	return intern_add(&in->pcs, key, e) ? e : NULL;
}

/* NULL: @pc is in no function, or there is no memory. */
static inline struct pc_entry *lookup(struct go_image *image, raddr_t pc,
				      bool is_return)
{
	uint64_t key = pc << 1 | is_return;
	struct pc_entry *e = intern_get(&image->intern->pcs, key);

	return e ? e : add_pc(image, pc, key);
}

bool go_image_func(struct go_image *image, raddr_t pc, struct go_func *ret)
{
	struct pc_entry *e = lookup(image, pc, false);

	if (!e)
		return false;
	*ret = *e->func;
	return true;
}

bool go_image_is_entry(struct go_image *image, raddr_t pc)
{
	struct module *m = image_module(image, pc);
	struct pclntab_func f;

	// Not kept: calibration asks this of any word.
	return m && pclntab_find(&m->tab, pc, &f) && f.entry == pc;
}

static struct go_func *search_name(struct go_image *image, const char *name)
{
	struct go_func *func = arena_alloc(image->intern->arena, sizeof(*func));

	for (size_t i = 0; func && i < image->n_modules; i++) {
		struct module *m = &image->modules[i];
		int64_t offset = pclntab_name_offset(&m->tab, name);
		struct pclntab_func f;

		if (offset >= 0 &&
		    pclntab_func_named(&m->tab, (uint32_t)offset, &f) &&
		    fill_func(image, m, &f, func))
			return func;
	}
	// Kept as well: that there is none.
	return func;
}

bool go_image_func_by_name(struct go_image *image, const char *name,
			   struct go_func *ret)
{
	struct intern *in = image->intern;
	const char *key = intern_string(in, name, strlen(name));
	struct go_func *func;

	if (!key)
		return false;
	func = intern_get(&in->funcs_by_name, (uintptr_t)key);
	if (!func) {
		func = search_name(image, name);
		if (!func ||
		    !intern_add(&in->funcs_by_name, (uintptr_t)key, func))
			return false;
	}
	if (!func->name)
		return false;
	*ret = *func;
	return true;
}

/* What must be read again to decode a pc of @e's function. */
static bool func_of(const struct pc_entry *e, struct pclntab_func *ret)
{
	return pclntab_func_at(&e->module->tab, e->func->index, ret);
}

static int64_t frame_size(const struct pc_entry *e)
{
	struct pclntab_func f;
	int32_t delta;

	if (!func_of(e, &f) ||
	    !pclntab_value(&e->module->tab, &f, f.pcsp, e->pc, &delta) ||
	    delta < 0 || delta % 8)
		return -1;
	return (int64_t)delta + 8; // the call pushed its return address
}

bool go_image_frame_size(struct go_image *image, raddr_t pc, bool is_return,
			 uint32_t *delta_ret)
{
	struct pc_entry *e = lookup(image, pc, is_return);

	if (!e)
		return false;
	if (e->delta == -2)
		e->delta = frame_size(e);
	if (e->delta < 0)
		return false;
	*delta_ret = (uint32_t)e->delta;
	return true;
}

static const char *printed_name(struct go_image *image, const char *raw)
{
	struct intern *in = image->intern;
	size_t len =
		go_print_name(raw, image->minor, in->printed, GO_MAX_NAME + 16);

	return intern_string(in, in->printed, len);
}

/* Set file and line of @frame to those of @call in @f. */
static bool fill_line(struct go_image *image, const struct module *m,
		      const struct pclntab_func *f, raddr_t call,
		      struct frame *frame)
{
	struct intern *in = image->intern;
	ssize_t len = pclntab_line(&m->tab, f, call, in->text, GO_MAX_NAME,
				   &frame->line);

	frame->file = len > 0 ? intern_string(in, in->text, (size_t)len)
			      : intern_string(in, "?", 1);
	return frame->file != NULL;
}

static struct frame *make_frame(struct go_image *image,
				const struct pc_entry *e,
				const struct pclntab_func *f,
				const struct pclntab_frame *logical,
				uint8_t *role_ret)
{
	struct frame *frame = arena_alloc(image->intern->arena, sizeof(*frame));
	const char *raw = raw_name(image, e->module, logical->name);
	enum go_role role;

	if (!frame || !raw)
		return NULL;
	role = logical->id ? go_role_of(raw) : GO_ROLE_NONE;
	if (logical->id == image->wrapper_id)
		role = GO_ROLE_WRAPPER;
	*role_ret = (uint8_t)role;
	frame->pc = e->pc;
	frame->offset = (uint32_t)(e->pc - f->entry);
	frame->inlined = logical->inlined;
	frame->runtime = go_is_runtime(raw);
	frame->hidden =
		!go_frame_shown(raw, role, image->minor, false, GO_ROLE_NONE);
	frame->function = printed_name(image, raw);
	if (!frame->function ||
	    !fill_line(image, e->module, f, logical->call, frame))
		return NULL;
	return frame;
}

static bool fill_frames(struct go_image *image, struct pc_entry *e,
			bool is_return)
{
	struct arena *arena = image->intern->arena;
	struct pclntab_frame logical[GO_MAX_INLINE_DEPTH];
	struct pclntab_func f;
	raddr_t call = e->pc;
	size_t n;

	if (!func_of(e, &f))
		return false;
	// As unwinder.symPC: a pc at the entry has called nothing yet.
	if (is_return && e->pc > f.entry)
		call--;
	n = pclntab_inlined(&e->module->tab, &f, call, logical,
			    GO_MAX_INLINE_DEPTH);
	e->frames = arena_array(arena, n, sizeof(*e->frames));
	e->roles = arena_alloc(arena, n);
	if (!e->frames || !e->roles)
		return false;
	for (size_t i = 0; i < n; i++) {
		e->frames[i] =
			make_frame(image, e, &f, &logical[i], &e->roles[i]);
		if (!e->frames[i])
			return false;
	}
	e->n = (uint32_t)n;
	return true;
}

size_t go_image_frames(struct go_image *image, raddr_t pc, bool is_return,
		       const struct frame *const **ret)
{
	struct pc_entry *e = lookup(image, pc, is_return);

	*ret = NULL;
	if (!e || (!e->n && !fill_frames(image, e, is_return)))
		return 0;
	*ret = (const struct frame *const *)e->frames;
	return e->n;
}

/* A frame of the physical function of @e, with the line of pc - @back. */
static const struct frame *site(struct go_image *image,
				const struct pc_entry *e, unsigned int back)
{
	struct pclntab_frame logical;
	struct pclntab_func f;
	uint8_t role;

	if (!func_of(e, &f))
		return NULL;
	logical = (struct pclntab_frame){
		.name = f.name,
		.id = f.id,
		.call = e->pc > f.entry ? e->pc - back : e->pc,
	};
	return make_frame(image, e, &f, &logical, &role);
}

const struct frame *go_image_creator(struct go_image *image, raddr_t gopc)
{
	struct pc_entry *e = gopc ? lookup(image, gopc, true) : NULL;

	if (e && !e->creator)
		e->creator = site(image, e, 1);
	return e ? e->creator : NULL;
}

const struct frame *go_image_start(struct go_image *image, raddr_t startpc)
{
	struct pc_entry *e = startpc ? lookup(image, startpc, true) : NULL;

	if (e && !e->start)
		e->start = site(image, e, 0);
	return e ? e->start : NULL;
}

/* A stack while it is put together. */
struct builder {
	struct go_image *image;
	const struct frame *frames[TASK_MAX_FRAMES];
	uint32_t n, shown;
	enum go_role callee;
	bool truncated, incomplete, failed;
};

/* Frame @i of @e with the other hidden mark. */
static const struct frame *flip(struct go_image *image, struct pc_entry *e,
				uint32_t i)
{
	struct arena *arena = image->intern->arena;
	struct frame *copy;

	if (!e->flipped)
		e->flipped = arena_array(arena, e->n, sizeof(*e->flipped));
	if (!e->flipped)
		return NULL;
	if (!e->flipped[i]) {
		copy = arena_memdup(arena, e->frames[i], sizeof(*copy));
		if (copy)
			copy->hidden = !copy->hidden;
		e->flipped[i] = copy;
	}
	return e->flipped[i];
}

/* Most frames are shown or hidden wherever they are; these are not. */
static bool hidden_here(const struct builder *b, const struct frame *frame,
			enum go_role role)
{
	if (role == GO_ROLE_GOPANIC)
		return b->shown == 0;
	if (role == GO_ROLE_WRAPPER &&
	    (b->callee == GO_ROLE_GOPANIC || b->callee == GO_ROLE_SIGPANIC ||
	     b->callee == GO_ROLE_PANICWRAP))
		return !go_frame_shown(frame->function, GO_ROLE_NONE,
				       b->image->minor, false, GO_ROLE_NONE);
	return frame->hidden;
}

static void push(struct builder *b, const struct frame *frame)
{
	if (b->n == TASK_MAX_FRAMES) {
		b->truncated = true;
		return;
	}
	if (!frame) {
		b->failed = true;
		return;
	}
	b->frames[b->n++] = frame;
	b->shown += !frame->hidden;
}

static void push_unknown(struct builder *b, raddr_t pc)
{
	struct frame *frame =
		arena_alloc(b->image->intern->arena, sizeof(*frame));

	b->incomplete = true;
	b->callee = GO_ROLE_NONE;
	if (frame)
		*frame = (struct frame){ .pc = pc,
					 .function = "?",
					 .file = "?" };
	push(b, frame);
}

static void push_pc(struct builder *b, raddr_t pc, bool is_return)
{
	struct pc_entry *e = lookup(b->image, pc, is_return);

	if (!e || (!e->n && !fill_frames(b->image, e, is_return))) {
		push_unknown(b, pc);
		return;
	}
	for (uint32_t i = 0; i < e->n; i++) {
		const struct frame *frame = e->frames[i];
		enum go_role role = e->roles[i];

		if (hidden_here(b, frame, role) != frame->hidden)
			frame = flip(b->image, e, i);
		b->callee = role;
		push(b, frame);
	}
}

static bool same(const struct stack_entry *e, const raddr_t *pcs, size_t n,
		 uint8_t flags)
{
	return e->n == n && e->flags == flags &&
	       memcmp(e->pcs, pcs, n * sizeof(*pcs)) == 0;
}

static const struct stack *finish(struct builder *b, uint64_t key,
				  const raddr_t *pcs, size_t n, uint8_t flags)
{
	struct arena *arena = b->image->intern->arena;
	struct stack_entry *e =
		arena_alloc(arena, sizeof(*e) + n * sizeof(*pcs));
	const struct frame **frames =
		arena_memdup(arena, b->frames, b->n * sizeof(*b->frames));

	if (!e || !frames || b->failed)
		return NULL;
	memcpy(e->pcs, pcs, n * sizeof(*pcs));
	e->n = n;
	e->flags = flags;
	e->stack.n = b->n;
	e->stack.truncated = b->truncated;
	e->stack.incomplete = b->incomplete;
	e->stack.frames = frames;
	if (!intern_add(&b->image->intern->stacks, key, e))
		return NULL;
	return &e->stack;
}

const struct stack *go_image_stack(struct go_image *image, const raddr_t *pcs,
				   size_t n, bool first_is_return,
				   bool incomplete, bool truncated)
{
	uint64_t key, at = UINT64_MAX;
	struct stack_entry *e;
	struct builder b;
	uint8_t flags;

	if (n > TASK_MAX_FRAMES) {
		n = TASK_MAX_FRAMES;
		truncated = true;
	}
	flags = (uint8_t)(first_is_return | incomplete << 1 | truncated << 2);
	key = intern_hash(pcs, n * sizeof(*pcs)) + flags;
	while ((e = intern_next(&image->intern->stacks, key, &at)))
		if (same(e, pcs, n, flags))
			return &e->stack;
	b.image = image;
	b.n = b.shown = 0;
	b.callee = GO_ROLE_NONE;
	b.failed = false;
	b.truncated = truncated;
	b.incomplete = incomplete;
	for (size_t i = 0; i < n; i++) {
		bool trap = i ? go_role_is_trap(b.callee, image->minor)
			      : !first_is_return;

		push_pc(&b, pcs[i], !trap);
	}
	return finish(&b, key, pcs, n, flags);
}

const char *go_image_type_name(struct go_image *image, raddr_t type)
{
	struct intern *in = image->intern;
	const char *name = intern_get(&in->types, type);

	for (size_t i = 0; !name && i < image->n_modules; i++) {
		const struct module *m = &image->modules[i];
		ssize_t len;

		if (type < m->public.types || type >= m->public.etypes)
			continue;
		len = module_type_name(image->mem, m->public.types, type,
				       m->long_names, in->text, GO_MAX_NAME);
		if (len <= 0)
			return NULL;
		name = intern_string(in, in->text, (size_t)len);
		if (name && !intern_add(&in->types, type, (void *)name))
			return NULL;
	}
	return name;
}
