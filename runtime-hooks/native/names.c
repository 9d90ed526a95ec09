/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime-hooks/native/names.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "runtime-hooks/native/elffile.h"
#include "runtime-hooks/native/lines.h"
#include "runtime-hooks/native/native_priv.h"

#define DEBUG_DIR "/usr/lib/debug"
#define CRC_MAX_BYTES ((uint64_t)2 << 30)

struct names {
	struct symtab symbols;
	struct lines *lines;
	struct arena *scratch;
};

static int open_by_id(int root, const struct object_build_id *id)
{
	char path[sizeof(DEBUG_DIR "/.build-id/xx/.debug") +
		  2 * OBJECT_MAX_BUILD_ID];
	struct object_build_id got = { .len = 0 };
	AUTO_CLOSE int fd = -1;
	int n;

	if (id->len < 2)
		return -1;
	n = snprintf(path, sizeof(path), DEBUG_DIR "/.build-id/%02x/",
		     id->bytes[0]);
	for (uint32_t i = 1; i < id->len; i++)
		n += snprintf(path + n, sizeof(path) - (size_t)n, "%02x",
			      id->bytes[i]);
	snprintf(path + n, sizeof(path) - (size_t)n, ".debug");
	fd = elffile_open(root, path);
	if (fd < 0 || !elffile_build_id(fd, &got) || got.len != id->len ||
	    memcmp(got.bytes, id->bytes, id->len) != 0)
		return -1;
	return TAKE_FD(fd);
}

/* The CRC-32 of .gnu_debuglink: that of IEEE 802.3, as in zlib. */
static uint32_t crc32_more(uint32_t crc, const uint8_t *p, size_t len)
{
	static uint32_t table[256];

	for (uint32_t i = 0; i < 256 && !table[255]; i++) {
		uint32_t v = i;

		for (int bit = 0; bit < 8; bit++)
			v = v >> 1 ^ (0xedb88320u & -(v & 1));
		table[i] = v;
	}
	crc = ~crc;
	for (; len; len--, p++)
		crc = crc >> 8 ^ table[(crc ^ *p) & 0xff];
	return ~crc;
}

static bool has_crc(int fd, uint32_t want)
{
	uint8_t buf[65536];
	uint64_t total = 0;
	uint32_t crc = 0;
	ssize_t n;

	while ((n = pread(fd, buf, sizeof(buf), (off_t)total)) > 0) {
		total += (uint64_t)n;
		if (total > CRC_MAX_BYTES)
			return false;
		crc = crc32_more(crc, buf, (size_t)n);
	}
	return !n && crc == want;
}

/* The separate file that .gnu_debuglink names: a name, a NUL, padding, CRC. */
static int open_by_link(const struct elffile *file, int root, const char *path)
{
	static const struct {
		const char *before, *between;
	} places[] = { { "", "/" }, { "", "/.debug/" }, { DEBUG_DIR, "/" } };
	const Elf64_Shdr *section = elffile_section(file, ".gnu_debuglink");
	AUTO_FREE char *link = NULL;
	const char *slash = path && root >= 0 ? strrchr(path, '/') : NULL;
	uint32_t crc;
	size_t len;

	if (!section || !slash || section->sh_size > PATH_MAX)
		return -1;
	link = elffile_bytes(file, section, &len);
	if (!link || len < 8 || strlen(link) + 5 > len || strchr(link, '/'))
		return -1;
	memcpy(&crc, link + len - 4, 4);
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		char at[3 * PATH_MAX];
		AUTO_CLOSE int fd = -1;

		snprintf(at, sizeof(at), "%s%.*s%s%s", places[i].before,
			 (int)(slash - path), path, places[i].between, link);
		fd = elffile_open(root, at);
		if (fd >= 0 && has_crc(fd, crc))
			return TAKE_FD(fd);
	}
	return -1;
}

static int open_debug(const struct elffile *file, int root, const char *path,
		      const struct object_build_id *build_id)
{
	int fd = open_by_id(root, build_id);

	// of a container, ours may know it
	if (fd < 0)
		fd = open_by_id(AT_FDCWD, build_id);
	return fd < 0 ? open_by_link(file, root, path) : fd;
}

/*
 * dwz(1) moves what files have in common to another one, which
 * .gnu_debugaltlink names: a path, a NUL, a build id. Only the latter is used.
 */
static struct lines *create_lines(const struct elffile *file)
{
	const Elf64_Shdr *section = elffile_section(file, ".gnu_debugaltlink");
	struct object_build_id id = { .len = 0 };
	AUTO_FREE char *link = NULL;
	AUTO_CLOSE int alt = -1;
	size_t len = 0, name;

	if (section && section->sh_size <= PATH_MAX + OBJECT_MAX_BUILD_ID)
		link = elffile_bytes(file, section, &len);
	name = link ? strlen(link) + 1 : 0;
	if (link && name < len && len - name <= OBJECT_MAX_BUILD_ID) {
		id.len = (uint32_t)(len - name);
		memcpy(id.bytes, link + name, id.len);
		alt = open_by_id(AT_FDCWD, &id);
	}
	return lines_create(file, alt);
}

static bool has_all_symbols(const struct elffile *file)
{
	const Elf64_Shdr *section = elffile_section(file, ".symtab");

	return section && section->sh_type == SHT_SYMTAB;
}

struct names *names_create(int fd, int root, const char *path,
			   const struct object_build_id *build_id, bool lines)
{
	AUTO_CLOSE int ours = fd, debug_fd = -1;
	AUTO_ELFFILE struct elffile file = { .fd = -1 }, debug = { .fd = -1 };
	struct names *names;

	if (elffile_read(ours, &file))
		return NULL;
	names = calloc(1, sizeof(*names));
	if (!names)
		return NULL;
	if (lines)
		names->lines = create_lines(&file);
	if ((lines && !names->lines) || !has_all_symbols(&file))
		debug_fd = open_debug(&file, root, path, build_id);
	if (debug_fd >= 0 && elffile_read(debug_fd, &debug))
		debug.n = 0;
	if (lines && !names->lines)
		names->lines = create_lines(&debug);
	if (!has_all_symbols(&debug) || symtab_read(&debug, &names->symbols))
		// without symbols there are lines, perhaps, or nothing
		(void)!symtab_read(&file, &names->symbols);
	return names;
}

void names_destroy(struct names *names)
{
	if (!names)
		return;
	lines_destroy(names->lines);
	symtab_clear(&names->symbols);
	arena_destroy(names->scratch);
	free(names);
}

bool names_have_lines(const struct names *names)
{
	return names->lines && !lines_failed(names->lines);
}

uint64_t names_bytes(const struct names *names)
{
	return names->symbols.bytes +
	       (names->lines ? lines_bytes(names->lines) : 0);
}

void names_find(struct names *names, uint64_t addr, uint64_t start,
		struct names_at *ret)
{
	const struct symbol *sym = symtab_find(&names->symbols, addr, start);

	ret->symbol = NULL;
	ret->n = 0;
	arena_destroy(names->scratch);
	names->scratch = arena_create();
	if (names->scratch && sym) {
		ret->symbol = names_demangle(names->scratch, sym->name,
					     sym->name_len);
		ret->offset = addr - sym->addr;
	}
	if (names->scratch && names->lines)
		ret->n = lines_find(names->lines, addr, names->scratch,
				    ret->frames, NAMES_MAX_INLINED);
	if (!ret->n) {
		ret->frames[0] = (struct names_frame){ .line = 0 };
		ret->n = 1;
	}
}

bool names_lines_failed(const struct names *names)
{
	return names->lines && lines_failed(names->lines);
}

int names_symbol(const struct names *names, const char *name,
		 uint64_t *addr_ret, uint64_t *size_ret)
{
	const struct symbol *sym = symtab_named(&names->symbols, name);

	if (!sym)
		return -ENOENT;
	*addr_ret = sym->addr;
	*size_ret = sym->size;
	return 0;
}

/* The vdso is in no file: put it into one. */
static int open_vdso(struct native *native, const struct object *object)
{
	AUTO_CLOSE int fd = memfd_create("vdso", MFD_CLOEXEC);
	uint64_t len = object->first_end - object->start;
	AUTO_FREE void *bytes = NULL;

	if (len > (1 << 20))
		return -EFBIG;
	bytes = malloc(len);
	if (!bytes)
		return -ENOMEM;
	if (fd < 0)
		return -errno;
	if (pagecache_scan(native->mem, object->start, bytes, len) != len ||
	    write(fd, bytes, len) != (ssize_t)len)
		return -EIO;
	return TAKE_FD(fd);
}

/* A crafted program could map thousands of objects, each with lines. */
static bool may_have_lines(struct native *native, const struct object *object)
{
	size_t n = 0;

	if (native_is_runtime(object))
		return false;
	for (size_t i = 0; i < native->objects.n; i++)
		n += native->objects.v[i].names &&
		     names_have_lines(native->objects.v[i].names);
	if (n < LINES_MAX_CHILDREN)
		return true;
	gaps_add(&native->gaps, GAP_LIMIT, 1,
		 "lines of more than %d objects of one process",
		 LINES_MAX_CHILDREN);
	return false;
}

static bool may_have_names(struct native *native, const struct object *object)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < native->objects.n; i++)
		if (native->objects.v[i].names)
			bytes += names_bytes(native->objects.v[i].names);
	if (bytes < NAMES_MAX_BYTES)
		return true;
	gaps_add(&native->gaps, GAP_LIMIT, 1,
		 "names of functions in %s: all names take more than %llu MB",
		 object->path, (unsigned long long)NAMES_MAX_BYTES >> 20);
	return false;
}

struct names *native_names(struct native *native, struct object *object)
{
	AUTO_CLOSE int root = -1;
	int fd;

	if (object->names_tried)
		return object->names;
	object->names_tried = true;
	if (!may_have_names(native, object))
		return NULL;
	fd = object->inode ? object_open(native->p, object)
			   : open_vdso(native, object);
	if (fd < 0) {
		gaps_add(
			&native->gaps,
			fd == -EACCES || fd == -EPERM ? GAP_DENIED : GAP_GONE,
			1, "names of functions in %s: its file %s",
			object->path,
			fd == -ESTALE || fd == -ENOENT
				? "was deleted or replaced; root can still read it"
				: "cannot be opened");
		return NULL;
	}
	root = openat(native->p->procfd, "root",
		      O_PATH | O_DIRECTORY | O_CLOEXEC);
	object->names = names_create(fd, root, object->path, &object->build_id,
				     may_have_lines(native, object));
	return object->names;
}
