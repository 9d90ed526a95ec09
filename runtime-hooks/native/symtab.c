/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "runtime-hooks/native/elffile.h"

/* Symbols may lie in each other, but not often and not deeply. */
#define MAX_NESTING 16
/* Longer ones are cut: they would not be read anyway. */
#define MAX_NAME 4096

/*
 * Of the names of one function people know that with the fewest underscores
 * in front: poll, not __poll or __GI___poll; then the most public one.
 */
static uint8_t rank(const Elf64_Sym *sym, const char *name)
{
	size_t underscores = 0;
	uint8_t binding = 2;

	while (underscores < 15 && name[underscores] == '_')
		underscores++;
	// those of C++ and Rust begin with one
	if (underscores == 1 && (name[1] == 'Z' || name[1] == 'R'))
		underscores = 0;
	if (ELF64_ST_BIND(sym->st_info) == STB_GLOBAL)
		binding = 0;
	else if (ELF64_ST_BIND(sym->st_info) == STB_WEAK)
		binding = 1;
	return (uint8_t)(underscores * 8 + binding * 2 + !sym->st_size);
}

/* Bounded, since a crafted table has one long name for a million symbols. */
static uint32_t name_length(const char *name)
{
	uint32_t n = 0;

	while (n < MAX_NAME && name[n] && name[n] != '@')
		n++;
	return n;
}

static bool is_code(const struct elffile *file, const Elf64_Sym *sym)
{
	switch (ELF64_ST_TYPE(sym->st_info)) {
	case STT_FUNC:
	case STT_GNU_IFUNC:
		return sym->st_shndx != SHN_UNDEF;
	case STT_NOTYPE: // labels of assembly
		return sym->st_shndx != SHN_UNDEF && sym->st_shndx < file->n &&
		       file->sections[sym->st_shndx].sh_flags & SHF_EXECINSTR;
	default:
		return false;
	}
}

static int compare(const void *a, const void *b)
{
	const struct symbol *x = a, *y = b;

	if (x->addr != y->addr)
		return x->addr < y->addr ? -1 : 1;
	if (x->rank != y->rank)
		return x->rank < y->rank ? -1 : 1;
	return (x->name > y->name) - (x->name < y->name);
}

static size_t add_symbols(const struct elffile *file, const Elf64_Sym *syms,
			  size_t n, const char *strings, size_t strings_len,
			  struct symbol *to)
{
	size_t count = 0;

	for (size_t i = 0; i < n; i++) {
		const Elf64_Sym *sym = &syms[i];
		const char *name;

		if (!is_code(file, sym) || sym->st_name >= strings_len)
			continue;
		name = strings + sym->st_name;
		if (!*name || *name == '@')
			continue;
		to[count++] = (struct symbol){
			.addr = sym->st_value,
			.size = sym->st_size,
			.name = name,
			.name_len = name_length(name),
			.rank = rank(sym, name),
		};
	}
	return count;
}

static const Elf64_Shdr *find_type(const struct elffile *file, uint32_t type)
{
	for (size_t i = 0; i < file->n; i++)
		if (file->sections[i].sh_type == type &&
		    file->sections[i].sh_link < file->n)
			return &file->sections[i];
	return NULL;
}

int symtab_read(const struct elffile *file, struct symtab *ret)
{
	const Elf64_Shdr *section = find_type(file, SHT_SYMTAB);
	AUTO_FREE struct symbol *v = NULL;
	AUTO_FREE char *strings = NULL;
	AUTO_FREE Elf64_Sym *syms = NULL;
	size_t len, strings_len;

	if (!section)
		section = find_type(file, SHT_DYNSYM);
	if (!section)
		return -ENOENT;
	syms = elffile_bytes(file, section, &len);
	strings = elffile_bytes(file, &file->sections[section->sh_link],
				&strings_len);
	if (!syms || !strings)
		return -ENOENT;
	v = calloc(len / sizeof(*syms) + 1, sizeof(*v));
	if (!v)
		return -ENOMEM;
	ret->n = add_symbols(file, syms, len / sizeof(*syms), strings,
			     strings_len, v);
	qsort(v, ret->n, sizeof(*v), compare);
	ret->bytes = len / sizeof(*syms) * sizeof(*v) + strings_len;
	ret->v = TAKE(v);
	ret->strings = TAKE(strings);
	return 0;
}

void symtab_clear(struct symtab *tab)
{
	free(tab->v);
	free(tab->strings);
	memset(tab, 0, sizeof(*tab));
}

/* How many symbols begin at or before @addr. */
static size_t count_until(const struct symtab *tab, uint64_t addr)
{
	size_t lo = 0, hi = tab->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (tab->v[mid].addr <= addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static bool covers(const struct symbol *sym, uint64_t addr, uint64_t start,
		   bool nearest)
{
	if (sym->size)
		return addr - sym->addr < sym->size;
	return nearest && sym->addr == start;
}

const struct symbol *symtab_find(const struct symtab *tab, uint64_t addr,
				 uint64_t start)
{
	size_t i = count_until(tab, addr);
	uint64_t nearest = i ? tab->v[i - 1].addr : 0;
	const struct symbol *best = NULL;
	int starts = 0;

	while (i-- > 0 && starts < MAX_NESTING) {
		const struct symbol *sym = &tab->v[i];

		if (best && sym->addr != best->addr)
			break;
		// sorted: the best of one address comes last from here
		if (covers(sym, addr, start, sym->addr == nearest))
			best = sym;
		if (i && tab->v[i - 1].addr != sym->addr)
			starts++;
	}
	return best;
}

const struct symbol *symtab_named(const struct symtab *tab, const char *name)
{
	size_t len = strlen(name);

	for (size_t i = 0; i < tab->n; i++)
		if (tab->v[i].name_len == len &&
		    !memcmp(tab->v[i].name, name, len))
			return &tab->v[i];
	return NULL;
}
