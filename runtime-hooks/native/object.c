/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime-hooks/native/object.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "runtime-hooks/native/elffile.h"

#define PAGE ((raddr_t)4096)
#define MAX_ADDRESS ((raddr_t)1 << 56)

static bool is_vdso(const struct process_map *map)
{
	return !strcmp(map->path, "[vdso]");
}

static bool same_file(const struct process_map *a, const struct process_map *b)
{
	return a->inode == b->inode && a->dev_major == b->dev_major &&
	       a->dev_minor == b->dev_minor;
}

/* As d_path() of the kernel's fs/d_path.c marks what was unlinked. */
#define DELETED " (deleted)"

static const char *short_name(struct arena *arena, const char *path)
{
	const char *slash = strrchr(path, '/');
	const char *name = slash ? slash + 1 : path;
	size_t len = strlen(name), mark = strlen(DELETED);

	if (len > mark && !strcmp(name + len - mark, DELETED))
		len -= mark;
	return arena_strndup(arena, name, len);
}

static struct object *add_object(struct objects *objects,
				 const struct process *p,
				 const struct process_map *map)
{
	struct object *object = &objects->v[objects->n];

	object->start = map->start;
	object->first_end = map->end;
	object->inode = map->inode;
	object->dev_major = map->dev_major;
	object->dev_minor = map->dev_minor;
	object->path = map->path;
	object->name = short_name(objects->arena, map->path);
	object->main = map->inode && map->inode == p->exe_ino;
	// never without a name: then there is no object either
	if (!object->name)
		return NULL;
	objects->n++;
	return object;
}

/*
 * The object of each executable mapping is the one whose header was mapped
 * last before it from the same file. An ELF file that was merely read into
 * memory has a header, but no code, and does not get in.
 */
static void add_code(struct objects *objects, const struct process *p,
		     const struct process_maps *maps)
{
	const struct process_map *header = NULL;
	struct object *object = NULL;

	for (size_t i = 0; i < maps->n; i++) {
		const struct process_map *map = &maps->v[i];
		bool backed = map->inode || is_vdso(map);

		if (backed && !map->offset && map->read) {
			header = map;
			object = NULL;
		}
		if (!map->exec)
			continue;
		if (backed && header && same_file(header, map) && !object)
			object = add_object(objects, p, header);
		objects->code[objects->n_code++] = (struct code){
			.start = map->start,
			.end = map->end,
			.object = backed && header && same_file(header, map)
					  ? object
					  : NULL,
		};
	}
}

struct error *objects_read(const struct process *p, struct objects *ret)
{
	AUTO_ARENA struct arena *arena = arena_create();
	struct objects objects = { 0 };
	struct process_maps maps;
	struct error *err;

	if (!arena)
		return &error_nomem;
	err = process_maps(p, arena, &maps);
	if (err)
		return err;
	objects.code = arena_array(arena, maps.n, sizeof(*objects.code));
	objects.v = arena_array(arena, maps.n, sizeof(*objects.v));
	if (!objects.code || !objects.v)
		return &error_nomem;
	objects.arena = arena;
	add_code(&objects, p, &maps);
	objects.arena = TAKE(arena);
	*ret = objects;
	return NULL;
}

void objects_clear(struct objects *objects)
{
	arena_destroy(objects->arena);
	memset(objects, 0, sizeof(*objects));
}

const struct code *objects_find(const struct objects *objects, raddr_t pc)
{
	size_t lo = 0, hi = objects->n_code;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		const struct code *code = &objects->code[mid];

		if (pc < code->start)
			hi = mid;
		else if (pc >= code->end)
			lo = mid + 1;
		else
			return code;
	}
	return NULL;
}

static bool same_object(const struct object *a, const struct object *b)
{
	return a->start == b->start && a->first_end == b->first_end &&
	       a->inode == b->inode && a->dev_major == b->dev_major &&
	       a->dev_minor == b->dev_minor && !strcmp(a->path, b->path);
}

/* Was code made at run time replaced by that of an object? */
static bool anonymous_kept(const struct objects *was, const struct objects *now)
{
	for (size_t i = 0; i < was->n_code; i++) {
		const struct code *code = &was->code[i], *at;

		if (code->object)
			continue;
		at = objects_find(now, code->start);
		if (at && at->object)
			return false;
	}
	return true;
}

bool objects_kept(const struct objects *was, const struct objects *now)
{
	size_t j = 0;

	for (size_t i = 0; i < was->n; i++) {
		while (j < now->n && now->v[j].start < was->v[i].start)
			j++;
		if (j == now->n || !same_object(&was->v[i], &now->v[j]))
			return false;
	}
	return anonymous_kept(was, now);
}

bool object_find_build_id(const void *notes, size_t len,
			  struct object_build_id *ret)
{
	const uint8_t *p = notes;
	Elf64_Nhdr nh;

	while (len >= sizeof(nh)) {
		uint64_t name, desc;

		memcpy(&nh, p, sizeof(nh));
		name = ((uint64_t)nh.n_namesz + 3) & ~3ull;
		desc = ((uint64_t)nh.n_descsz + 3) & ~3ull;
		if (name + desc > len - sizeof(nh))
			return false;
		if (nh.n_type == NT_GNU_BUILD_ID && nh.n_namesz == 4 &&
		    !memcmp(p + sizeof(nh), "GNU", 4) && nh.n_descsz &&
		    nh.n_descsz <= OBJECT_MAX_BUILD_ID) {
			ret->len = nh.n_descsz;
			memcpy(ret->bytes, p + sizeof(nh) + name, ret->len);
			return true;
		}
		p += sizeof(nh) + name + desc;
		len -= sizeof(nh) + name + desc;
	}
	return false;
}

static void parse_notes(struct pagecache *mem, struct object *object,
			const Elf64_Phdr *ph)
{
	AUTO_FREE uint8_t *notes = NULL;
	size_t len = ph->p_memsz < OBJECT_MAX_NOTES ? ph->p_memsz
						    : OBJECT_MAX_NOTES;

	if (object->build_id.len)
		return;
	notes = malloc(len + 1);
	if (!notes)
		return;
	len = pagecache_read_some(mem, object->bias + ph->p_vaddr, notes, len);
	object_find_build_id(notes, len, &object->build_id);
}

static bool read_headers(struct pagecache *mem, const struct object *object,
			 Elf64_Phdr *ph, size_t *n_ret)
{
	Elf64_Ehdr eh;

	if (!pagecache_read(mem, object->start, &eh, sizeof(eh)) ||
	    memcmp(eh.e_ident, ELFMAG, SELFMAG) != 0 ||
	    eh.e_ident[EI_CLASS] != ELFCLASS64 || eh.e_machine != EM_X86_64 ||
	    eh.e_phentsize != sizeof(*ph) || eh.e_phnum > OBJECT_MAX_HEADERS ||
	    eh.e_phoff > PAGE)
		return false;
	*n_ret = eh.e_phnum;
	return pagecache_read(mem, object->start + eh.e_phoff, ph,
			      eh.e_phnum * sizeof(*ph));
}

/* From the segments: how far the object was moved, and where it lies. */
static bool place(struct object *object, const Elf64_Phdr *ph, size_t n)
{
	raddr_t lo = MAX_ADDRESS, hi = 0;
	bool based = false;

	for (size_t i = 0; i < n; i++) {
		if (ph[i].p_type != PT_LOAD)
			continue;
		if (ph[i].p_vaddr >= MAX_ADDRESS ||
		    ph[i].p_memsz >= MAX_ADDRESS)
			return false;
		if (!based && ph[i].p_offset < PAGE) {
			object->bias = object->start -
				       ((ph[i].p_vaddr - ph[i].p_offset) &
					~(PAGE - 1));
			based = true;
		}
		if (ph[i].p_vaddr < lo)
			lo = ph[i].p_vaddr;
		if (ph[i].p_vaddr + ph[i].p_memsz > hi)
			hi = ph[i].p_vaddr + ph[i].p_memsz;
	}
	object->lo = object->bias + lo;
	object->hi = object->bias + hi;
	return based && lo < hi && object->lo < object->hi;
}

static void add_fixed(struct object *object, const Elf64_Phdr *ph)
{
	if (ph->p_flags & PF_W || object->n_fixed == OBJECT_MAX_FIXED)
		return;
	object->fixed[object->n_fixed++] = (struct object_range){
		.lo = object->bias + ph->p_vaddr,
		.hi = object->bias + ph->p_vaddr + ph->p_memsz,
	};
}

bool object_fixed(const struct object *object, raddr_t addr)
{
	for (uint32_t i = 0; i < object->n_fixed; i++)
		if (addr >= object->fixed[i].lo && addr < object->fixed[i].hi)
			return true;
	return false;
}

bool object_parse(struct pagecache *mem, struct object *object)
{
	Elf64_Phdr ph[OBJECT_MAX_HEADERS];
	size_t n;

	if (object->parsed)
		return object->valid;
	object->parsed = true;
	if (!read_headers(mem, object, ph, &n) || !place(object, ph, n))
		return false;
	object->valid = true;
	for (size_t i = 0; i < n; i++) {
		if (ph[i].p_type == PT_LOAD)
			add_fixed(object, &ph[i]);
		if (ph[i].p_type == PT_NOTE)
			parse_notes(mem, object, &ph[i]);
		if (ph[i].p_type != PT_GNU_EH_FRAME)
			continue;
		object->cfi = (struct cfi_section){
			.hdr = object->bias + ph[i].p_vaddr,
			.lo = object->lo,
			.hi = object->hi,
		};
		object->has_cfi = object->cfi.hdr >= object->lo &&
				  object->cfi.hdr < object->hi &&
				  !cfi_open(mem, &object->cfi);
	}
	return true;
}

/* Its file by what the mapping refers to; needs CAP_CHECKPOINT_RESTORE. */
static int open_mapped(const struct process *p, const struct object *object)
{
	char name[64];

	snprintf(name, sizeof(name), "map_files/%llx-%llx",
		 (unsigned long long)object->start,
		 (unsigned long long)object->first_end);
	return elffile_open_link(p->procfd, name);
}

/* Its file by name, as the target sees it and never outside of its root. */
static int open_named(const struct process *p, const struct object *object)
{
	AUTO_CLOSE int root =
		openat(p->procfd, "root", O_PATH | O_DIRECTORY | O_CLOEXEC);

	return root < 0 ? -errno : elffile_open(root, object->path);
}

static bool is_the_file(int fd, const struct object *object)
{
	struct object_build_id id = { .len = 0 };
	struct stat st;

	if (fstat(fd, &st) || !S_ISREG(st.st_mode))
		return false;
	if (!object->build_id.len)
		return st.st_ino == object->inode;
	return elffile_build_id(fd, &id) && id.len == object->build_id.len &&
	       !memcmp(id.bytes, object->build_id.bytes, id.len);
}

int object_open(const struct process *p, const struct object *object)
{
	int why = ESTALE;

	for (int named = 0; named < 2; named++) {
		AUTO_CLOSE int fd = named ? open_named(p, object)
					  : open_mapped(p, object);

		if (fd < 0)
			why = -fd;
		else if (is_the_file(fd, object))
			return TAKE_FD(fd);
		else
			why = ESTALE;
	}
	return -why;
}
