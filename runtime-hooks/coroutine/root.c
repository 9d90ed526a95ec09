/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime-hooks/coroutine/root.h"

#include <elf.h>
#include <stdlib.h>
#include <string.h>

#define MAX_HEADERS 128	  /* program headers; real objects have under 20 */
#define MAX_NOTES 65536	  /* bytes of notes that are looked through */
#define MAX_OBJECTS 16384 /* a hostile process may map files by the thousand */

/* Where in @len bytes of notes is ours? Offset of its 8 bytes, or 0. */
static size_t find_note(const uint8_t *notes, size_t len)
{
	size_t at = 0;

	while (len - at >= sizeof(Elf64_Nhdr)) {
		Elf64_Nhdr head;
		size_t name, desc, rest;

		memcpy(&head, notes + at, sizeof(head));
		at += sizeof(head);
		rest = len - at;
		if (head.n_namesz > rest || head.n_descsz > rest)
			return 0;
		name = (head.n_namesz + 3ul) & ~3ul;
		desc = (head.n_descsz + 3ul) & ~3ul;
		if (name + desc > rest)
			return 0;
		if (head.n_type == HOOK_NOTE_TYPE && head.n_descsz == 8 &&
		    head.n_namesz == sizeof(HOOK_NOTE_OWNER) &&
		    !memcmp(notes + at, HOOK_NOTE_OWNER,
			    sizeof(HOOK_NOTE_OWNER)))
			return at + name;
		at += name + desc;
	}
	return 0;
}

/* The root that the notes at @at point to, or 0. */
static raddr_t note_root(struct live *mem, raddr_t at, uint64_t size)
{
	size_t len = size < MAX_NOTES ? size : MAX_NOTES, found;
	uint8_t *notes = malloc(len ? len : 1);
	raddr_t root = 0;
	int64_t distance;

	if (notes && live_read(mem, at, notes, len)) {
		found = find_note(notes, len);
		if (found) {
			memcpy(&distance, notes + found, sizeof(distance));
			root = at + found + (uint64_t)distance;
		}
	}
	free(notes);
	return live_plausible(root, 8) ? root : 0;
}

/* What to add to addresses of the file: they count from the first segment. */
static raddr_t bias_of(const Elf64_Phdr *headers, size_t n, raddr_t start)
{
	for (size_t i = 0; i < n; i++)
		if (headers[i].p_type == PT_LOAD)
			return start -
			       (headers[i].p_vaddr - headers[i].p_offset);
	return start;
}

/* The root of the ELF object whose header is mapped at @start, or 0. */
static raddr_t object_root(struct live *mem, raddr_t start)
{
	Elf64_Phdr headers[MAX_HEADERS];
	Elf64_Ehdr head;
	raddr_t bias, root;

	if (!live_read(mem, start, &head, sizeof(head)) ||
	    memcmp(head.e_ident, ELFMAG, SELFMAG) != 0 ||
	    head.e_ident[EI_CLASS] != ELFCLASS64 ||
	    head.e_phentsize != sizeof(headers[0]) ||
	    head.e_phnum > MAX_HEADERS ||
	    !live_read(mem, start + head.e_phoff, headers,
		       head.e_phnum * sizeof(headers[0])))
		return 0;
	bias = bias_of(headers, head.e_phnum, start);
	for (size_t i = 0; i < head.e_phnum; i++) {
		if (headers[i].p_type != PT_NOTE)
			continue;
		root = note_root(mem, bias + headers[i].p_vaddr,
				 headers[i].p_filesz);
		if (root)
			return root;
	}
	return 0;
}

size_t root_find(struct live *mem, const struct process_maps *maps, raddr_t *v,
		 size_t max)
{
	size_t n = 0, objects = 0;

	for (size_t i = 0; i < maps->n && n < max && objects < MAX_OBJECTS;
	     i++) {
		const struct process_map *map = &maps->v[i];
		raddr_t root;

		if (map->offset || map->path[0] != '/' || !map->read)
			continue;
		objects++;
		root = object_root(mem, map->start);
		for (size_t k = 0; k < n; k++)
			if (v[k] == root)
				root = 0;
		if (root)
			v[n++] = root;
	}
	return n;
}

static bool good_stride(uint32_t size, size_t least)
{
	return size >= least && size <= ROOT_MAX_STRIDE && size % 8 == 0;
}

/* What contradicts itself, or NULL. */
static const char *bad_sizes(const struct hook_root *r)
{
	if (r->root_size < sizeof(*r) || r->root_size > 1u << 20)
		return "the size of the root";
	if (!good_stride(r->line_size, sizeof(struct stranded_task)) ||
	    !good_stride(r->more_size, sizeof(struct hook_more)) ||
	    !good_stride(r->site_size, sizeof(struct hook_site)))
		return "the size of a line";
	if (!r->chunk_lines || r->chunk_lines > ROOT_MAX_CHUNK ||
	    r->max_chunks > HOOK_MAX_CHUNKS)
		return "the size of a chunk";
	if (r->n_lines > (uint64_t)r->chunk_lines * r->max_chunks ||
	    r->n_lines > HOOK_MAX_CHUNKS * HOOK_CHUNK_LINES)
		return "the number of lines";
	if (r->max_sites > HOOK_MAX_SITES || r->n_sites > r->max_sites ||
	    (r->n_sites && !r->sites))
		return "the number of creation sites";
	if (r->activity > HOOK_ACTIVE)
		return "whether it is active";
	return NULL;
}

struct area {
	raddr_t lo, hi;
};

static int by_lo(const void *a, const void *b)
{
	const struct area *x = a, *y = b;

	return x->lo < y->lo ? -1 : x->lo > y->lo;
}

static bool add_area(struct area *v, size_t *n, raddr_t lo, uint64_t len)
{
	if (!lo)
		return true;
	if (!live_plausible(lo, 8))
		return false;
	v[(*n)++] = (struct area){ lo, lo + len };
	return true;
}

/* A chunk that is the root, or another chunk, lists things twice. */
static const char *bad_addresses(const struct root *root)
{
	const struct hook_root *r = &root->v;
	struct area v[2 * HOOK_MAX_CHUNKS + 2];
	size_t n = 0;

	v[n++] = (struct area){ root->at, root->at + r->root_size };
	if (!add_area(v, &n, r->sites, (uint64_t)r->max_sites * r->site_size))
		return "the address of the creation sites";
	for (uint32_t i = 0; i < r->max_chunks; i++)
		if (!add_area(v, &n, r->lines[i],
			      (uint64_t)r->chunk_lines * r->line_size) ||
		    !add_area(v, &n, r->more[i],
			      (uint64_t)r->chunk_lines * r->more_size))
			return "the address of a chunk";
	qsort(v, n, sizeof(v[0]), by_lo);
	for (size_t i = 1; i < n; i++)
		if (v[i].lo < v[i - 1].hi)
			return "parts that overlap";
	return NULL;
}

static struct error *corrupt(raddr_t at, const char *what)
{
	return error_new(ERROR_CORRUPT,
			 "the coroutine table at 0x%llx makes no sense: %s",
			 (unsigned long long)at, what);
}

static bool all_zero(const char *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (bytes[i])
			return false;
	return true;
}

struct error *root_read(struct live *mem, raddr_t at, struct root *ret)
{
	struct root root = { .at = at };
	const struct hook_root *r = &root.v;
	const char *bad;

	// as far as every version has it; the rest may end at a page
	if (!live_read(mem, at, &root.v, offsetof(struct hook_root, root_size)))
		return error_new(ERROR_FAULT,
				 "cannot read the coroutine table at 0x%llx",
				 (unsigned long long)at);
	if (all_zero(r->magic, sizeof(r->magic)))
		return error_new(ERROR_UNSUPPORTED,
				 "the coroutine hook in this process has not "
				 "begun yet; try again");
	if (memcmp(r->magic, HOOK_MAGIC, strlen("stranded hook")) != 0)
		return corrupt(at, "no magic number");
	if (r->version != HOOK_VERSION)
		return error_new(ERROR_UNSUPPORTED,
				 "the coroutine hook in this process has table "
				 "version %u, which is not known; use a newer "
				 "stranded",
				 r->version);
	if (memcmp(r->magic, HOOK_MAGIC, sizeof(r->magic)) != 0)
		return corrupt(at, "no magic number");
	if (!live_read(mem, at, &root.v, sizeof(root.v)))
		return corrupt(at, "it ends early");
	bad = bad_sizes(r);
	if (!bad)
		bad = bad_addresses(&root);
	if (bad)
		return corrupt(at, bad);
	*ret = root;
	return NULL;
}
