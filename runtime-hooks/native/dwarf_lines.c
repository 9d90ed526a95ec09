/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime-hooks/native/dwarf_lines.h"

#include <dwarf.h>
#include <elfutils/libdw.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

#define MAX_SCOPES 16
#define MAX_NAME 4096

/* Code of one compilation unit. */
struct unit_range {
	uint64_t lo, hi;
	Dwarf_Off unit; /* offset of its DIE */
};

struct dwarf_lines {
	Dwarf *dwarf, *alt;
	bool indexed;
	struct unit_range *v; /* ascending by lo */
	size_t n, cap;
};

static bool add_range(struct dwarf_lines *lines, uint64_t lo, uint64_t hi,
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

/* For what .debug_aranges does not tell: clang writes none. */
static bool index_units(struct dwarf_lines *lines)
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
		// a skeleton has the lines, its other file the rest
		if (type != DW_UT_compile && type != DW_UT_skeleton)
			continue;
		while ((at = dwarf_ranges(&die, at, &base, &lo, &hi)) > 0)
			if (!add_range(lines, lo, hi, dwarf_dieoffset(&die)))
				return false;
	}
	if (lines->n)
		qsort(lines->v, lines->n, sizeof(*lines->v), compare);
	return true;
}

struct dwarf_lines *dwarf_lines_create(int fd, int alt_fd)
{
	struct dwarf_lines *lines = calloc(1, sizeof(*lines));

	if (!lines)
		return NULL;
	// to read, not to map: a file that is cut short would raise SIGBUS
	lines->dwarf = dwarf_begin(fd, DWARF_C_READ);
	if (!lines->dwarf) {
		dwarf_lines_destroy(lines);
		return NULL;
	}
	lines->alt = alt_fd < 0 ? NULL : dwarf_begin(alt_fd, DWARF_C_READ);
	if (lines->alt)
		dwarf_setalt(lines->dwarf, lines->alt);
	return lines;
}

void dwarf_lines_destroy(struct dwarf_lines *lines)
{
	if (!lines)
		return;
	if (lines->dwarf)
		dwarf_end(lines->dwarf);
	if (lines->alt)
		dwarf_end(lines->alt);
	free(lines->v);
	free(lines);
}

static bool find_unit(struct dwarf_lines *lines, uint64_t addr, Dwarf_Die *ret)
{
	size_t lo = 0, hi;

	if (dwarf_addrdie(lines->dwarf, addr, ret))
		return true;
	if (!lines->indexed) {
		lines->indexed = true;
		if (!index_units(lines))
			lines->n = 0;
	}
	hi = lines->n;
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

/* The DIE that declares the function: where its name and its scope are. */
static void declaration(Dwarf_Die *die, Dwarf_Die *ret)
{
	static const unsigned int links[] = { DW_AT_abstract_origin,
					      DW_AT_specification };

	*ret = *die;
	for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++) {
		Dwarf_Attribute attr;
		Dwarf_Die to;

		if (dwarf_formref_die(dwarf_attr(ret, links[i], &attr), &to))
			*ret = to;
	}
}

static bool names_a_scope(Dwarf_Die *die)
{
	switch (dwarf_tag(die)) {
	case DW_TAG_namespace:
	case DW_TAG_class_type:
	case DW_TAG_structure_type:
	case DW_TAG_union_type:
		return true;
	default:
		return false;
	}
}

/* "name" with the namespaces and classes that it is in. */
static const char *qualified(Dwarf_Die *die, const char *name,
			     struct arena *arena)
{
	AUTO_FREE Dwarf_Die *scopes = NULL;
	Dwarf_Die declared;
	int n;

	declaration(die, &declared);
	n = dwarf_getscopes_die(&declared, &scopes);
	for (int i = 1; i < n && i < MAX_SCOPES && name; i++) {
		const char *scope;

		if (!names_a_scope(&scopes[i]))
			continue;
		scope = dwarf_diename(&scopes[i]);
		name = arena_printf(arena, "%.*s::%s", DEMANGLE_MAX,
				    scope ? scope : "(anonymous)", name);
	}
	return name;
}

static const char *name_of(Dwarf_Die *die, struct arena *arena)
{
	Dwarf_Attribute attr;
	const char *name = NULL;

	if (dwarf_attr_integrate(die, DW_AT_linkage_name, &attr) ||
	    dwarf_attr_integrate(die, DW_AT_MIPS_linkage_name, &attr))
		name = dwarf_formstring(&attr);
	if (name)
		return names_demangle(arena, name, strnlen(name, MAX_NAME));
	name = dwarf_diename(die);
	if (name)
		name = arena_strndup(arena, name, DEMANGLE_MAX);
	return name ? qualified(die, name, arena) : NULL;
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

size_t dwarf_lines_find(struct dwarf_lines *lines, uint64_t addr,
			struct arena *arena, struct names_frame *frames,
			size_t max)
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
