/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime-hooks/go/image.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "runtime-hooks/go/image_priv.h"

/* A moduledata is looked for in pieces of this size, which overlap. */
#define SCAN_BYTES (256u << 10)
/* Initialised data of all objects together that is looked through. */
#define SCAN_LIMIT (1ull << 30)
/* An execve(2) or a loader at work is given this long. */
#define RETRIES 4
#define RETRY_NS 5000000
#define YOUNG_MS 2000

/* Anonymous mappings that are asked for an ELF header (packed programs). */
#define MAX_ANONYMOUS 64

static bool worth_a_look(const struct process_map *map, size_t *anonymous)
{
	if (!map->read || map->offset)
		return false;
	if (map->path[0] == '/')
		return true;
	return !map->path[0] && (*anonymous)++ < MAX_ANONYMOUS;
}

static bool add_object(struct go_image *image, const struct process_map *map)
{
	struct module_object *o = &image->objects[image->n_objects];
	uint8_t head[ELF_HEAD_BYTES];
	size_t len = pagecache_scan(image->mem, map->start, head, 64);

	if (len < 64 || memcmp(head, "\177ELF", 4) != 0)
		return true;
	len = pagecache_scan(image->mem, map->start, head, sizeof(head));
	if (elf_parse(head, len, &o->head) != ELF_OK)
		return true;
	o->bias = map->start - elf_first_page(&o->head);
	o->path = arena_strdup(image->arena, map->path);
	image->n_objects++;
	return o->path != NULL;
}

static struct error *find_objects(struct go_image *image,
				  const struct process_maps *maps)
{
	size_t anonymous = 0;

	image->n_objects = 0;
	for (size_t i = 0; i < maps->n; i++) {
		if (image->n_objects == IMAGE_MAX_OBJECTS)
			break;
		if (worth_a_look(&maps->v[i], &anonymous) &&
		    !add_object(image, &maps->v[i]))
			return &error_nomem;
	}
	return NULL;
}

/**
 * Look through one stretch of initialised data of @o for a moduledata. Its
 * text must be in @o: a program may have mapped executables only to read them.
 */
static bool scan_data(struct go_image *image, struct module_object *o,
		      raddr_t start, uint64_t size, uint8_t *buf,
		      struct module *ret)
{
	const size_t overlap = MODULE_FIXED_WORDS * 8;
	uint64_t done = 0;

	while (size - done >= overlap) {
		uint64_t left = size - done;
		size_t want = left < SCAN_BYTES ? left : SCAN_BYTES;
		size_t got =
			pagecache_scan(image->mem, start + done, buf, want);
		size_t from = 0;
		int64_t hit;

		while ((hit = module_search(buf + from, got - from)) >= 0) {
			from += (size_t)hit;
			if (module_read(image->mem, start + done + from, ret) &&
			    module_object_holds(o, ret->public.text)) {
				ret->object = o;
				return true;
			}
			from += 8;
		}
		if (got < want || got == left)
			break;
		done += (got - overlap + 8) & ~7ull;
	}
	return false;
}

/* An object holds at most one module. */
static void scan_object(struct go_image *image, struct module_object *o,
			uint8_t *buf, uint64_t *budget)
{
	struct module *m = &image->modules[image->n_modules];

	for (uint32_t i = 0; i < o->head.n; i++) {
		const struct elf_segment *seg = &o->head.segments[i];
		raddr_t start = (o->bias + seg->vaddr + 7) & ~7ull;

		if (!seg->write || seg->filesz > *budget)
			continue;
		*budget -= seg->filesz;
		if (scan_data(image, o, start, seg->filesz, buf, m)) {
			image->n_modules++;
			return;
		}
	}
}

struct error *image_search(struct go_image *image)
{
	uint8_t *buf = malloc(SCAN_BYTES);
	uint64_t budget = SCAN_LIMIT;

	if (!buf)
		return &error_nomem;
	image->n_modules = 0;
	for (size_t i = 0; i < image->n_objects; i++) {
		if (image->n_modules == GO_MAX_MODULES)
			break;
		scan_object(image, &image->objects[i], buf, &budget);
	}
	free(buf);
	return NULL;
}

static bool is_successor(const struct go_image *image, size_t k)
{
	for (size_t i = 0; i < image->n_modules; i++)
		if (i != k && module_links_to(&image->modules[i],
					      image->modules[k].public.addr))
			return true;
	return false;
}

static void swap_modules(struct go_image *image, size_t a, size_t b)
{
	struct module tmp = image->modules[a];

	image->modules[a] = image->modules[b];
	image->modules[b] = tmp;
}

/**
 * Order the modules along the runtime's chain (moduledata.next). A module that
 * no other links to is the first of a runtime; several such are several
 * runtimes in one process (c-shared libraries), of which one is read.
 */
static void order_modules(struct go_image *image)
{
	size_t n = 1;

	for (size_t i = 0; i < image->n_modules; i++) {
		if (is_successor(image, i))
			continue;
		if (!image->n_runtimes++)
			swap_modules(image, 0, i);
	}
	for (size_t last = 0; last < n && n < image->n_modules; last++)
		for (size_t i = n; i < image->n_modules; i++)
			if (module_links_to(&image->modules[last],
					    image->modules[i].public.addr))
				swap_modules(image, n++, i);
	image->n_modules = n;
}

static void calibrate(struct go_image *image)
{
	for (size_t i = 0; i < image->n_modules; i++) {
		struct module *m = &image->modules[i];

		m->long_names = image->minor == 16;
		module_find_gofunc(m);
		module_find_types(m);
		image->public[i] = m->public;
	}
}

/**
 * FuncIDs are numbered in alphabetical order but for wrapper, which is last:
 * systemstack, systemstack_switch, wrapper in 1.17 to 1.27
 * (internal/abi/symtab.go). systemstack_switch itself bears its id only since
 * 1.19: the table before had a wrong name for it (cmd/internal/objabi).
 */
static void find_wrapper_id(struct go_image *image)
{
	struct go_func func;

	image->wrapper_id = -1;
	if (!go_image_func_by_name(image, "runtime.systemstack", &func) ||
	    !func.func_id)
		return;
	image->wrapper_id = func.func_id + 2;
	if (go_image_func_by_name(image, "runtime.systemstack_switch", &func) &&
	    func.func_id && func.func_id + 1 != image->wrapper_id)
		image->wrapper_id = -1;
}

static struct error *describe(struct go_image *image)
{
	const struct module *m = &image->modules[0];

	image->how = arena_printf(
		image->arena, "%s from %s; %u functions, %zu module%s%s%s%s%s",
		image->version, image->version_from, m->tab.nfunc,
		image->n_modules, image->n_modules == 1 ? "" : "s",
		image->n_runtimes > 1
			? "; several Go runtimes in one process, one is read"
			: "",
		m->tab.gofunc || m->tab.version == GO_PCLNTAB_116 || !m->inlines
			? ""
			: "; inline trees not found: inlined calls are missing",
		m->public.types ? "" : "; type names not found",
		image->wrapper_id < 0 ? "; wrappers not recognised" : "");
	return image->how ? NULL : &error_nomem;
}

struct go_image *image_alloc(struct pagecache *mem)
{
	struct go_image *image = calloc(1, sizeof(*image));

	if (!image || !mem) {
		pagecache_destroy(mem);
		free(image);
		return NULL;
	}
	image->arena = arena_create();
	image->mem = mem;
	image->intern = intern_create();
	image->objects = calloc(IMAGE_MAX_OBJECTS, sizeof(*image->objects));
	image->modules = calloc(GO_MAX_MODULES, sizeof(*image->modules));
	image->public = calloc(GO_MAX_MODULES, sizeof(*image->public));
	if (image->arena && image->intern && image->objects && image->modules &&
	    image->public)
		return image;
	go_image_destroy(image);
	return NULL;
}

void go_image_destroy(struct go_image *image)
{
	if (!image)
		return;
	intern_destroy(image->intern);
	pagecache_destroy(image->mem);
	arena_destroy(image->arena);
	free(image->objects);
	free(image->modules);
	free(image->public);
	free(image);
}

struct error *image_settle(struct go_image *image)
{
	order_modules(image);
	image_find_version(image);
	calibrate(image);
	find_wrapper_id(image);
	return describe(image);
}

static bool is_young(const struct process *p)
{
	return clock_wall_ms() - p->start_wall_ms < YOUNG_MS;
}

/* Has the address space become another one, by execve(2) or a loader? */
static bool has_changed(const struct process *p, struct arena *arena,
			const struct process_maps *old)
{
	struct process_maps maps;
	struct error *err = process_maps(p, arena, &maps);

	if (err) {
		error_free(err);
		return false;
	}
	return maps.n != old->n ||
	       (maps.n && (maps.v[0].start != old->v[0].start ||
			   maps.v[0].inode != old->v[0].inode));
}

/* One look. *ret is NULL and no error when there may be Go in it soon. */
static struct error *try_create(const struct process *p, bool last,
				struct go_image **ret)
{
	AUTO_ARENA struct arena *arena = arena_create();
	AUTO_GO_IMAGE struct go_image *image = image_alloc(pagecache_create(p));
	struct process_maps maps;
	struct error *err;

	if (!arena || !image)
		return &error_nomem;
	err = process_maps(p, arena, &maps);
	if (!err)
		err = find_objects(image, &maps);
	if (!err)
		err = image_search(image);
	if (err)
		return err;
	if (!image->n_modules && !last &&
	    (is_young(p) || has_changed(p, arena, &maps)))
		return NULL;
	if (!image->n_modules)
		return image_refuse(p, &maps, image);
	err = image_settle(image);
	if (err)
		return err;
	log_debug("go", "%s", image->how);
	*ret = TAKE(image);
	return NULL;
}

struct error *go_image_create(const struct process *p, struct go_image **ret)
{
	struct go_image *image = NULL;

	// A program that is being started has its tables in place only after
	// the loader has relocated them: look again for a moment.
	for (int i = 0; !image; i++) {
		struct error *err = try_create(p, i == RETRIES, &image);

		if (err)
			return err;
		if (!image)
			clock_sleep_until(clock_mono_ns() + RETRY_NS);
	}
	*ret = image;
	return NULL;
}

const char *go_image_version(const struct go_image *image)
{
	return image->version;
}

int go_image_minor(const struct go_image *image)
{
	return image->minor;
}

const char *go_image_how(const struct go_image *image)
{
	return image->how;
}

const struct go_module *go_image_modules(const struct go_image *image,
					 size_t *n_ret)
{
	*n_ret = image->n_modules;
	return image->public;
}

bool go_image_holds(const struct go_image *image, raddr_t addr)
{
	for (size_t i = 0; i < image->n_modules; i++)
		if (module_object_holds(image->modules[i].object, addr))
			return true;
	return false;
}

struct module *image_module(const struct go_image *image, raddr_t pc)
{
	for (size_t i = 0; i < image->n_modules; i++) {
		struct module *m = &image->modules[i];

		if (pc >= m->tab.minpc && pc < m->tab.maxpc)
			return m;
	}
	return NULL;
}

size_t go_image_bytes(const struct go_image *image)
{
	return intern_bytes(image->intern) + arena_bytes(image->arena);
}
