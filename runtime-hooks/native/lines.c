/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime-hooks/native/lines.h"

#include <dwarf.h>
#include <elfutils/libdw.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"

/* Code of one compilation unit. */
struct unit_range {
	uint64_t lo, hi;
	Dwarf_Off unit; /* offset of its DIE */
};

struct lines {
	int fd;
	Dwarf *dwarf;
	struct unit_range *v; /* ascending by lo */
	size_t n, cap;
};

static bool add_range(struct lines *lines, uint64_t lo, uint64_t hi,
		      Dwarf_Off unit)
{
	if (lo >= hi)
		return true;
	if (lines->n == lines->cap) {
		size_t cap = lines->cap ? lines->cap * 2 : 256;
		struct unit_range *v =
			reallocarray(lines->v, cap, sizeof(*lines->v));

		if (!v)
			return false;
		lines->v = v;
		lines->cap = cap;
	}
	lines->v[lines->n++] = (struct unit_range){ lo, hi, unit };
	return true;
}

static int compare(const void *a, const void *b)
{
	const struct unit_range *x = a, *y = b;

	return (x->lo > y->lo) - (x->lo < y->lo);
}

/*
 * .debug_aranges would tell the same faster, but clang writes none, and a
 * function that is missing there would be without a line.
 */
static bool index_units(struct lines *lines)
{
	Dwarf_CU *cu = NULL;
	Dwarf_Half version;
	uint8_t type;
	Dwarf_Die die;

	for (size_t i = 0; i < LINES_MAX_UNITS; i++) {
		Dwarf_Addr base, lo, hi;
		ptrdiff_t at = 0;

		if (dwarf_get_units(lines->dwarf, cu, &cu, &version, &type,
				    &die, NULL))
			break;
		if (type != DW_UT_compile)
			continue;
		while ((at = dwarf_ranges(&die, at, &base, &lo, &hi)) > 0)
			if (!add_range(lines, lo, hi, dwarf_dieoffset(&die)))
				return false;
	}
	qsort(lines->v, lines->n, sizeof(*lines->v), compare);
	return true;
}

/* Is there DWARF, and no more than we want to hold? */
static bool is_sensible(const struct elffile *file)
{
	uint64_t total = 0;
	bool any = false;

	for (size_t i = 0; i < file->n && file->names; i++) {
		const Elf64_Shdr *sh = &file->sections[i];
		uint64_t size = sh->sh_size;
		Elf64_Chdr ch;

		if (sh->sh_name >= file->names_len ||
		    strncmp(file->names + sh->sh_name, ".debug_", 7) != 0 ||
		    sh->sh_type == SHT_NOBITS)
			continue;
		// what it says is what is allocated to unpack it
		if (sh->sh_flags & SHF_COMPRESSED) {
			if (pread(file->fd, &ch, sizeof(ch),
				  (off_t)sh->sh_offset) != sizeof(ch))
				return false;
			size = ch.ch_size;
		}
		if (size > LINES_MAX_BYTES)
			return false;
		total += size;
		any |= !strcmp(file->names + sh->sh_name, ".debug_info");
	}
	return any && total <= LINES_MAX_BYTES;
}

struct lines *lines_create(const struct elffile *file)
{
	struct lines *lines;

	if (!is_sensible(file))
		return NULL;
	lines = calloc(1, sizeof(*lines));
	if (!lines)
		return NULL;
	lines->fd = fcntl(file->fd, F_DUPFD_CLOEXEC, 0);
	// to read, not to map: a file that is cut short would raise SIGBUS
	lines->dwarf = lines->fd < 0 ? NULL
				     : dwarf_begin(lines->fd, DWARF_C_READ);
	if (!lines->dwarf || !index_units(lines)) {
		lines_destroy(lines);
		return NULL;
	}
	return lines;
}

void lines_destroy(struct lines *lines)
{
	if (!lines)
		return;
	if (lines->dwarf)
		dwarf_end(lines->dwarf);
	if (lines->fd >= 0)
		close(lines->fd);
	free(lines->v);
	free(lines);
}

static bool find_unit(const struct lines *lines, uint64_t addr, Dwarf_Die *ret)
{
	size_t lo = 0, hi = lines->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (lines->v[mid].lo <= addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (!lo || addr >= lines->v[lo - 1].hi)
		return false;
	return dwarf_offdie(lines->dwarf, lines->v[lo - 1].unit, ret) != NULL;
}

static const char *name_of(Dwarf_Die *die, struct arena *arena)
{
	Dwarf_Attribute attr;
	const char *name = NULL;

	if (dwarf_attr_integrate(die, DW_AT_linkage_name, &attr) ||
	    dwarf_attr_integrate(die, DW_AT_MIPS_linkage_name, &attr))
		name = dwarf_formstring(&attr);
	if (!name)
		name = dwarf_diename(die);
	return name ? names_demangle(arena, name, strlen(name)) : NULL;
}

/* Where the function in @die was inlined: the place of the frame around it. */
static void call_site(Dwarf_Die *unit, Dwarf_Die *die, struct arena *arena,
		      struct names_frame *frame)
{
	Dwarf_Attribute attr;
	Dwarf_Word file, line;
	Dwarf_Files *files;
	size_t n;
	const char *path;

	if (dwarf_formudata(dwarf_attr(die, DW_AT_call_line, &attr), &line) ||
	    dwarf_formudata(dwarf_attr(die, DW_AT_call_file, &attr), &file) ||
	    dwarf_getsrcfiles(unit, &files, &n) || file >= n)
		return;
	path = dwarf_filesrc(files, file, NULL, NULL);
	if (!path)
		return;
	frame->file = arena_strdup(arena, path);
	frame->line = line > UINT32_MAX ? 0 : (uint32_t)line;
}

static void first_place(Dwarf_Die *unit, uint64_t addr, struct arena *arena,
			struct names_frame *frame)
{
	Dwarf_Line *line = dwarf_getsrc_die(unit, addr);
	const char *path = line ? dwarf_linesrc(line, NULL, NULL) : NULL;
	int number = 0;

	if (!path || dwarf_lineno(line, &number) || number <= 0)
		return;
	frame->file = arena_strdup(arena, path);
	frame->line = (uint32_t)number;
}

size_t lines_find(struct lines *lines, uint64_t addr, struct arena *arena,
		  struct names_frame *frames, size_t max)
{
	AUTO_FREE Dwarf_Die *scopes = NULL;
	Dwarf_Die unit;
	size_t n = 0;
	int n_scopes;

	if (!max || !find_unit(lines, addr, &unit))
		return 0;
	memset(&frames[0], 0, sizeof(frames[0]));
	first_place(&unit, addr, arena, &frames[0]);
	n_scopes = dwarf_getscopes(&unit, addr, &scopes);
	for (int i = 0; i < n_scopes; i++) {
		int tag = dwarf_tag(&scopes[i]);

		if (tag != DW_TAG_inlined_subroutine &&
		    tag != DW_TAG_subprogram)
			continue;
		frames[n].function = name_of(&scopes[i], arena);
		if (tag == DW_TAG_subprogram || n + 1 == max)
			return n + 1;
		frames[n++].inlined = true;
		memset(&frames[n], 0, sizeof(frames[n]));
		call_site(&unit, &scopes[i], arena, &frames[n]);
	}
	return n + 1;
}
