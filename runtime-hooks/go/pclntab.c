/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime-hooks/go/pclntab.h"

#include <string.h>

/* runtime/symtab.go, the same in 1.16 to 1.27. */
#define PCDATA_INLINE_INDEX 2
#define FUNCDATA_INLINE_TREE 3

/* A pc-value table of one function; the longest ones are generated code's. */
#define MAX_STEPS (1u << 20)
/* The largest programs have some 50 MB of names. */
#define MAX_NAMES_SEARCHED (256ull << 20)

bool pclntab_version(uint32_t magic, enum go_pclntab_version *ret)
{
	switch (magic) {
	case 0xfffffffa:
		*ret = GO_PCLNTAB_116;
		return true;
	case 0xfffffff0:
		*ret = GO_PCLNTAB_118;
		return true;
	case 0xfffffff1:
		*ret = GO_PCLNTAB_120;
		return true;
	default:
		return false;
	}
}

/* Entry pc and _func offset of ftab[i]; the last one (nfunc) has only a pc. */
static bool ftab_entry(const struct pclntab *tab, uint32_t i, raddr_t *entry,
		       uint64_t *func)
{
	if (tab->version == GO_PCLNTAB_116) {
		uint64_t e[2];

		if (!pagecache_read(tab->mem, tab->ftab + 16ull * i, e,
				    sizeof(e)))
			return false;
		*entry = e[0];
		*func = e[1];
		return true;
	}

	uint32_t e[2];

	if (!pagecache_read(tab->mem, tab->ftab + 8ull * i, e, sizeof(e)))
		return false;
	*entry = tab->text + e[0];
	*func = e[1];
	return true;
}

/* The part of _func that all versions share, after the entry. */
struct raw_func {
	uint32_t name, args, deferreturn;
	uint32_t pcsp, pcfile, pcln, npcdata, cu;
};

static bool read_func(const struct pclntab *tab, uint64_t offset,
		      struct pclntab_func *ret)
{
	bool old = tab->version == GO_PCLNTAB_116;
	bool has_start_line = tab->version == GO_PCLNTAB_120;
	size_t head = old ? 8 : 4;
	size_t size =
		head + sizeof(struct raw_func) + (has_start_line ? 4 : 0) + 4;
	uint8_t bytes[8 + sizeof(struct raw_func) + 8];
	struct raw_func raw;

	if (offset > tab->funcs_len || tab->funcs_len - offset < size)
		return false;
	if (!pagecache_read(tab->mem, tab->funcs + offset, bytes, size))
		return false;
	memcpy(&raw, bytes + head, sizeof(raw));
	ret->name = raw.name;
	ret->pcsp = raw.pcsp;
	ret->pcfile = raw.pcfile;
	ret->pcln = raw.pcln;
	ret->cu = raw.cu;
	ret->npcdata = raw.npcdata;
	ret->id = bytes[size - 4];
	ret->flags = bytes[size - 3];
	ret->nfuncdata = bytes[size - 1];
	ret->tables = tab->funcs + offset + size;
	// The tables that follow must lie inside as well.
	return raw.npcdata <= 64 && raw.name < tab->names_len;
}

bool pclntab_func_at(const struct pclntab *tab, uint32_t index,
		     struct pclntab_func *ret)
{
	uint64_t offset;

	if (index >= tab->nfunc)
		return false;
	ret->index = index;
	return ftab_entry(tab, index, &ret->entry, &offset) &&
	       read_func(tab, offset, ret);
}

bool pclntab_find(const struct pclntab *tab, raddr_t pc,
		  struct pclntab_func *ret)
{
	uint32_t lo = 0, hi = tab->nfunc;
	raddr_t entry;
	uint64_t offset;

	if (pc < tab->minpc || pc >= tab->maxpc || !tab->nfunc)
		return false;
	// The last entry with entry <= pc.
	while (hi - lo > 1) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (!ftab_entry(tab, mid, &entry, &offset))
			return false;
		if (entry <= pc)
			lo = mid;
		else
			hi = mid;
	}
	return pclntab_func_at(tab, lo, ret) && ret->entry <= pc;
}

ssize_t pclntab_name(const struct pclntab *tab, uint32_t name, char *buf,
		     size_t size)
{
	size_t done = 0;

	if (name >= tab->names_len || !size)
		return -1;
	if (size > tab->names_len - name)
		size = tab->names_len - name;
	while (done < size) {
		// Names are short: do not copy the table for each.
		size_t want = size - done < 128 ? size - done : 128;
		size_t got = pagecache_read_some(
			tab->mem, tab->names + name + done, buf + done, want);
		char *nul = memchr(buf + done, 0, got);

		if (nul)
			return nul - buf;
		if (got < want)
			return -1;
		done += got;
	}
	return -1;
}

int64_t pclntab_name_offset(const struct pclntab *tab, const char *name)
{
	size_t len = strlen(name) + 1; // the NUL is searched for as well
	uint64_t at = 0;
	char buf[16384];

	if (len >= sizeof(buf))
		return -1;
	while (at < tab->names_len && at < MAX_NAMES_SEARCHED) {
		uint64_t left = tab->names_len - at;
		size_t want = left < sizeof(buf) ? left : sizeof(buf);
		size_t got =
			pagecache_scan(tab->mem, tab->names + at, buf, want);
		size_t from = 0;

		while (from < got) {
			char *hit = memmem(buf + from, got - from, name, len);

			if (!hit)
				break;
			// Whole names only: the table begins with one.
			if (hit == buf ? at == 0 : hit[-1] == 0)
				return (int64_t)at + (hit - buf);
			from = (size_t)(hit - buf) + 1;
		}
		if (got < want || got == left)
			break;
		// Overlap by a name and the NUL before it.
		at += got - len;
	}
	return -1;
}

bool pclntab_func_named(const struct pclntab *tab, uint32_t name,
			struct pclntab_func *ret)
{
	for (uint32_t i = 0; i < tab->nfunc; i++)
		if (pclntab_func_at(tab, i, ret) && ret->name == name)
			return true;
	return false;
}

/* Walks a table of varints, some bytes at a time. */
struct cursor {
	struct pagecache *mem;
	raddr_t next;  /* of the bytes that follow buf */
	uint64_t left; /* of the table from there on */
	size_t pos, len;
	uint8_t buf[64];
};

static bool cursor_byte(struct cursor *c, uint8_t *ret)
{
	if (c->pos == c->len) {
		size_t want = c->left < sizeof(c->buf) ? c->left
						       : sizeof(c->buf);

		c->len = pagecache_read_some(c->mem, c->next, c->buf, want);
		c->pos = 0;
		c->next += c->len;
		c->left -= c->len;
		if (!c->len)
			return false;
	}
	*ret = c->buf[c->pos++];
	return true;
}

static bool cursor_varint(struct cursor *c, uint32_t *ret)
{
	uint32_t value = 0;

	for (unsigned int shift = 0; shift < 35; shift += 7) {
		uint8_t b;

		if (!cursor_byte(c, &b))
			return false;
		value |= (uint32_t)(b & 0x7f) << shift;
		if (!(b & 0x80)) {
			*ret = value;
			return true;
		}
	}
	return false;
}

bool pclntab_value(const struct pclntab *tab, const struct pclntab_func *func,
		   uint32_t table, raddr_t pc, int32_t *ret)
{
	struct cursor c = { .mem = tab->mem };
	uint32_t value = (uint32_t)-1;
	raddr_t end = func->entry;

	if (!table || table >= tab->pctab_len || pc < func->entry)
		return false;
	c.next = tab->pctab + table;
	c.left = tab->pctab_len - table;
	for (size_t i = 0; i < MAX_STEPS; i++) {
		uint32_t delta, step;

		if (!cursor_varint(&c, &delta))
			return false;
		if (!delta && i) // the end; a first 0 is a value of -1
			return false;
		value += (delta & 1) ? ~(delta >> 1) : delta >> 1;
		if (!cursor_varint(&c, &step))
			return false;
		end += (uint64_t)step * tab->quantum;
		if (pc < end) {
			*ret = (int32_t)value;
			return true;
		}
	}
	return false;
}

/* Where funcdata @i of @func is, 0 for none (runtime.funcdata). */
static raddr_t funcdata(const struct pclntab *tab,
			const struct pclntab_func *func, raddr_t gofunc,
			uint8_t i)
{
	raddr_t at = func->tables + 4ull * func->npcdata;

	if (i >= func->nfuncdata)
		return 0;
	if (tab->version == GO_PCLNTAB_116) {
		uint64_t addr;

		at = (at + 7) & ~7ull;
		return pagecache_u64(tab->mem, at + 8ull * i, &addr) ? addr : 0;
	}

	uint32_t offset;

	if (!gofunc || !pagecache_u32(tab->mem, at + 4ull * i, &offset) ||
	    offset == UINT32_MAX)
		return 0;
	return gofunc + offset;
}

struct inlined_call {
	uint32_t name;
	int32_t parent_pc;
	uint8_t id;
};

static bool read_inlined(const struct pclntab *tab, raddr_t tree, int32_t index,
			 struct inlined_call *ret)
{
	bool new_form = tab->version == GO_PCLNTAB_120;
	size_t size = new_form ? 16 : 20;
	uint8_t raw[20];

	if (index < 0 || index > 1 << 20)
		return false;
	if (!pagecache_read(tab->mem, tree + (uint64_t)index * size, raw, size))
		return false;
	ret->id = raw[new_form ? 0 : 2];
	memcpy(&ret->name, raw + (new_form ? 4 : 12), 4);
	memcpy(&ret->parent_pc, raw + (new_form ? 8 : 16), 4);
	return ret->name < tab->names_len && ret->parent_pc >= 0;
}

/* The table offset of pcdata @i, 0 for none. */
static uint32_t pcdata(const struct pclntab *tab,
		       const struct pclntab_func *func, uint32_t i)
{
	uint32_t offset;

	if (i >= func->npcdata ||
	    !pagecache_u32(tab->mem, func->tables + 4ull * i, &offset))
		return 0;
	return offset;
}

size_t pclntab_inlined(const struct pclntab *tab,
		       const struct pclntab_func *func, raddr_t pc,
		       struct pclntab_frame *ret, size_t max)
{
	uint32_t table = pcdata(tab, func, PCDATA_INLINE_INDEX);
	raddr_t tree = funcdata(tab, func, tab->gofunc, FUNCDATA_INLINE_TREE);
	size_t n = 0;

	// A cycle of parents ends at the bound, like the runtime's own limit.
	while (tree && n + 1 < max) {
		struct inlined_call call;
		int32_t index;

		if (!pclntab_value(tab, func, table, pc, &index) || index < 0)
			break;
		if (!read_inlined(tab, tree, index, &call))
			break;
		ret[n++] = (struct pclntab_frame){
			.name = call.name,
			.id = call.id,
			.inlined = true,
			.call = pc,
		};
		pc = func->entry + (uint32_t)call.parent_pc;
	}
	ret[n++] = (struct pclntab_frame){
		.name = func->name,
		.id = func->id,
		.call = pc,
	};
	return n;
}

ssize_t pclntab_line(const struct pclntab *tab, const struct pclntab_func *func,
		     raddr_t pc, char *buf, size_t size, uint32_t *line_ret)
{
	int32_t file, line;
	uint32_t offset;
	struct pclntab files = *tab;

	*line_ret = 0;
	if (!pclntab_value(tab, func, func->pcfile, pc, &file) || file < 0)
		return -1;
	if (pclntab_value(tab, func, func->pcln, pc, &line) && line > 0)
		*line_ret = (uint32_t)line;
	if ((uint64_t)func->cu + (uint32_t)file >= tab->cutab_len)
		return -1;
	if (!pagecache_u32(tab->mem,
			   tab->cutab + 4ull * func->cu + 4ull * (uint32_t)file,
			   &offset) ||
	    offset == UINT32_MAX)
		return -1;
	// The file table has the shape of the name table.
	files.names = tab->filetab;
	files.names_len = tab->filetab_len;
	return pclntab_name(&files, offset, buf, size);
}

/* Does the whole tree at @tree fit function @func? 1 yes, 0 no. */
static bool tree_fits(const struct pclntab *tab,
		      const struct pclntab_func *func, raddr_t tree,
		      uint64_t func_size)
{
	struct inlined_call call;
	char before;

	if (!read_inlined(tab, tree, 0, &call))
		return false;
	if (!call.name ||
	    !pagecache_read(tab->mem, tab->names + call.name - 1, &before, 1))
		return false;
	return before == 0 && (uint64_t)call.parent_pc < func_size &&
	       func->nfuncdata > FUNCDATA_INLINE_TREE;
}

size_t pclntab_try_gofunc(const struct pclntab *tab, raddr_t gofunc, size_t n,
			  size_t *with_tree_ret)
{
	size_t fit = 0, seen = 0;
	uint32_t step = tab->nfunc / (4 * n) + 1;

	// Not all functions inline something: look at four times as many.
	for (uint32_t i = 0; i + 1 < tab->nfunc && seen < n; i += step) {
		struct pclntab_func func;
		raddr_t tree, next;
		uint64_t offset;

		if (!pclntab_func_at(tab, i, &func) ||
		    !ftab_entry(tab, i + 1, &next, &offset))
			continue;
		if (!pcdata(tab, &func, PCDATA_INLINE_INDEX))
			continue;
		tree = funcdata(tab, &func, gofunc, FUNCDATA_INLINE_TREE);
		if (!tree)
			continue;
		seen++;
		if (next > func.entry &&
		    tree_fits(tab, &func, tree, next - func.entry))
			fit++;
	}
	*with_tree_ret = seen;
	return fit;
}
