/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime-hooks/native/native.h"

#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "runtime-hooks/native/native_priv.h"

const char *native_end_name(enum native_end end)
{
	switch (end) {
	case NATIVE_END_OUTERMOST:
		return "outermost";
	case NATIVE_END_NO_CFI:
		return "no call frame information";
	case NATIVE_END_UNKNOWN_REG:
		return "unknown register";
	case NATIVE_END_UNREADABLE:
		return "unreadable memory";
	case NATIVE_END_CORRUPT:
		return "corrupt stack";
	case NATIVE_END_LIMIT:
		return "too many frames";
	}
	return "?";
}

static void drop_names(struct objects *objects)
{
	for (size_t i = 0; i < objects->n; i++)
		names_destroy(objects->v[i].names);
}

/* What was learned of objects that are still there. */
static void carry_over(struct objects *from, struct objects *to)
{
	size_t j = 0;

	for (size_t i = 0; i < from->n; i++) {
		struct object *was = &from->v[i], *now;
		const char *path, *name;

		while (j < to->n && to->v[j].start < was->start)
			j++;
		if (j == to->n || to->v[j].start != was->start)
			continue;
		now = &to->v[j];
		path = now->path;
		name = now->name;
		*now = *was;
		now->path = path;
		now->name = name;
		was->names = NULL;
	}
}

static struct arena *fresh_arena(struct arena *old)
{
	arena_destroy(old);
	return arena_create();
}

/* Code went away: what was compiled or looked up may be of other code now. */
static bool forget(struct native *native)
{
	struct pagecache *mem = pagecache_create(native->p);

	if (!mem)
		return false;
	pagecache_destroy(native->mem);
	native->mem = mem;
	native->rules_arena = fresh_arena(native->rules_arena);
	intern_free(&native->rules);
	intern_free(&native->sites);
	intern_free(&native->stacks);
	native->generation++;
	if (native->space)
		remote_forget(native);
	return native->rules_arena != NULL;
}

static struct error *refresh(struct native *native)
{
	struct objects now;
	struct error *err = objects_read(native->p, &now);
	bool kept;

	if (err)
		return err;
	kept = objects_kept(&native->objects, &now);
	if (kept)
		carry_over(&native->objects, &now);
	drop_names(&native->objects);
	objects_clear(&native->objects);
	native->objects = now;
	// a name that was asked for where there was no code may be known now
	if (!kept || native->unknown) {
		native->unknown = false;
		if (!forget(native))
			return &error_nomem;
	}
	return NULL;
}

static struct error *check_machine(const struct native *native)
{
#if !defined(__x86_64__)
	(void)native;
	return error_new(ERROR_UNSUPPORTED,
			 "stacks of native code can be had on x86-64 only");
#else
	for (size_t i = 0; i < native->objects.n; i++) {
		const struct object *object = &native->objects.v[i];
		uint8_t ident[EI_CLASS + 1];

		if (!object->main ||
		    !pagecache_read(native->mem, object->start, ident,
				    sizeof(ident)) ||
		    memcmp(ident, ELFMAG, SELFMAG) != 0)
			continue;
		if (ident[EI_CLASS] == ELFCLASS32)
			return error_new(ERROR_UNSUPPORTED,
					 "process %d is a 32-bit program; its "
					 "stacks cannot be had",
					 (int)native->p->pid);
	}
	return NULL;
#endif
}

struct error *native_open(const struct process *p, struct native **ret)
{
	AUTO_NATIVE struct native *native = calloc(1, sizeof(*native));
	struct error *err;

	if (!native)
		return &error_nomem;
	native->p = p;
	native->mem = pagecache_create(p);
	native->arena = arena_create();
	native->rules_arena = arena_create();
	native->gaps.arena = native->arena;
	if (!native->mem || !native->arena || !native->rules_arena ||
	    !remote_init(native))
		return &error_nomem;
	err = objects_read(p, &native->objects);
	if (!err)
		err = check_machine(native);
	if (err)
		return err;
	*ret = TAKE(native);
	return NULL;
}

void native_close(struct native *native)
{
	if (!native)
		return;
	remote_deinit(native);
	drop_names(&native->objects);
	objects_clear(&native->objects);
	intern_free(&native->rules);
	intern_free(&native->sites);
	intern_free(&native->stacks);
	pagecache_destroy(native->mem);
	arena_destroy(native->rules_arena);
	arena_destroy(native->arena);
	free(native);
}

struct error *native_begin(struct native *native)
{
	native->refreshed = false;
	return refresh(native);
}

const struct code *native_code(struct native *native, raddr_t pc)
{
	const struct code *code = objects_find(&native->objects, pc);

	if (code)
		return code;
	if (!native->refreshed) {
		native->refreshed = true;
		error_free(refresh(native));
		code = objects_find(&native->objects, pc);
	}
	return code;
}

static int walk(struct walk *w, enum native_engine engine)
{
	return engine == NATIVE_LIBUNWIND ? walk_remote(w) : walk_fast(w);
}

static void begin_walk(struct walk *w, struct native *native,
		       const struct native_regs *regs,
		       const struct native_copy *copy)
{
	w->native = native;
	w->copy = copy;
	w->regs = *regs;
	w->uncertain = w->read_beyond = w->unreadable = false;
	w->object = NULL;
	w->n = 0;
	w->window_len = 0;
}

int native_unwind(struct native *native, enum native_engine engine,
		  const struct native_regs *regs,
		  const struct native_copy *copy, struct native_result *ret)
{
	uint64_t generation = native->generation;
	struct walk w;
	int end;

	if (!native_regs_has(regs, NATIVE_RIP) ||
	    !native_regs_has(regs, NATIVE_RSP))
		return -EINVAL;
	begin_walk(&w, native, regs, copy);
	end = walk(&w, engine);
	// code was replaced under our hands: the first frames went by the old
	if (native->generation != generation) {
		begin_walk(&w, native, regs, copy);
		end = walk(&w, engine);
	}
	if (end < 0)
		return end;
	ret->stack = native_intern(&w, (enum native_end)end);
	if (!ret->stack)
		return -ENOMEM;
	ret->end = (enum native_end)end;
	ret->end_pc = w.n ? w.pcs[w.n - 1] : regs->r[NATIVE_RIP];
	ret->read_beyond = w.read_beyond;
	ret->uncertain = w.uncertain;
	return 0;
}

const struct gaps *native_gaps(const struct native *native)
{
	return &native->gaps;
}

static bool is_meant(const struct object *object, const char *name)
{
	if (!name)
		return true;
	return *name ? !strncmp(object->name, name, strlen(name))
		     : object->main;
}

int native_symbol(struct native *native, const char *object, const char *name,
		  raddr_t *addr_ret, uint64_t *size_ret)
{
	for (size_t i = 0; i < native->objects.n; i++) {
		struct object *at = &native->objects.v[i];
		struct names *names;
		uint64_t addr, size;

		if (!is_meant(at, object) || !object_parse(native->mem, at))
			continue;
		names = native_names(native, at);
		if (!names || names_symbol(names, name, &addr, &size))
			continue;
		*addr_ret = at->bias + addr;
		if (size_ret)
			*size_ret = size;
		return 0;
	}
	return -ENOENT;
}
