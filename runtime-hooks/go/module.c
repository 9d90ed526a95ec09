/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime-hooks/go/module.h"

#include <string.h>

/* Words of moduledata, runtime/symtab.go; the same in Go 1.16 to 1.27. */
enum {
	W_PCHEADER,
	W_FUNCNAMETAB, /* slices are three words: address, length, capacity */
	W_CUTAB = 4,
	W_FILETAB = 7,
	W_PCTAB = 10,
	W_PCLNTABLE = 13,
	W_FTAB = 16,
	W_FINDFUNCTAB = 19,
	W_MINPC,
	W_MAXPC,
	W_TEXT,
	W_ETEXT,
	W_NOPTRDATA,
	W_DATA = 26,
	W_BSS = 28,
	W_NOPTRBSS = 30,
	W_MOVING = 32, /* from here on the order depends on the version */
};

/* The pcHeader is 64 or 72 bytes, and the name table follows it. */
#define MAX_HEADER_GAP 4096
#define MAX_TABLE (1ull << 30)

/* How many functions are asked about a candidate for gofunc. */
#define GOFUNC_SAMPLES 60
#define GOFUNC_ENOUGH 10
#define GOFUNC_MOST 16384
#define GOFUNC_WORDS 52 /* of moduledata: it was at 38, 40, 43 */
#define TYPE_SAMPLES 48

static bool slice_ok(const uint64_t *w)
{
	return w[0] && w[1] && w[1] == w[2] && w[1] < MAX_TABLE;
}

bool module_shape(const uint64_t w[MODULE_FIXED_WORDS])
{
	// The cheapest and strictest first: this runs on each word of data.
	if (w[W_FUNCNAMETAB] <= w[W_PCHEADER] ||
	    w[W_FUNCNAMETAB] - w[W_PCHEADER] > MAX_HEADER_GAP)
		return false;
	if (!w[W_PCHEADER] || w[W_PCHEADER] % 8)
		return false;
	for (int i = W_FUNCNAMETAB; i <= W_FTAB; i += 3)
		if (!slice_ok(w + i))
			return false;
	for (int i = W_FUNCNAMETAB; i < W_PCLNTABLE; i += 3)
		if (w[i + 3] <= w[i])
			return false;
	return w[W_FTAB + 1] > 1 && w[W_FTAB + 1] <= GO_MAX_FUNCS &&
	       w[W_MINPC] < w[W_MAXPC] && w[W_TEXT] <= w[W_MINPC] &&
	       w[W_MAXPC] <= w[W_ETEXT] && w[W_DATA] <= w[W_DATA + 1] &&
	       w[W_BSS] <= w[W_BSS + 1];
}

int64_t module_search(const void *bytes, size_t len)
{
	const size_t size = MODULE_FIXED_WORDS * sizeof(uint64_t);
	const uint8_t *p = bytes;

	for (size_t at = 0; at + size <= len; at += 8) {
		uint64_t w[MODULE_FIXED_WORDS];

		// Two words reject nearly everything; copy no more than that.
		memcpy(w, p + at, 16);
		if (w[1] - w[0] - 1 >= MAX_HEADER_GAP)
			continue;
		memcpy(w, p + at, sizeof(w));
		if (module_shape(w))
			return (int64_t)at;
	}
	return -1;
}

/* What precedes the offsets in all pcHeaders since 1.16. */
struct pc_header {
	uint32_t magic;
	uint8_t pad[2];
	uint8_t quantum, ptr_size;
	uint64_t nfunc, nfiles;
};

static bool read_header(struct module *m)
{
	struct pc_header h;
	uint8_t q;

	if (!pagecache_read(m->tab.mem, m->words[W_PCHEADER], &h, sizeof(h)))
		return false;
	q = h.quantum;
	if (!pclntab_version(h.magic, &m->tab.version) || h.pad[0] ||
	    h.pad[1] || h.ptr_size != 8 || (q != 1 && q != 2 && q != 4))
		return false;
	m->tab.quantum = q;
	// ftab has one entry more than there are functions.
	return h.nfunc + 1 == m->words[W_FTAB + 1];
}

static void fill_table(struct module *m)
{
	const uint64_t *w = m->words;
	struct pclntab *tab = &m->tab;

	tab->text = w[W_TEXT];
	tab->minpc = w[W_MINPC];
	tab->maxpc = w[W_MAXPC];
	tab->names = w[W_FUNCNAMETAB];
	tab->names_len = w[W_FUNCNAMETAB + 1];
	tab->cutab = w[W_CUTAB];
	tab->cutab_len = w[W_CUTAB + 1];
	tab->filetab = w[W_FILETAB];
	tab->filetab_len = w[W_FILETAB + 1];
	tab->pctab = w[W_PCTAB];
	tab->pctab_len = w[W_PCTAB + 1];
	tab->funcs = w[W_PCLNTABLE];
	tab->funcs_len = w[W_PCLNTABLE + 1];
	tab->ftab = w[W_FTAB];
	tab->nfunc = (uint32_t)(w[W_FTAB + 1] - 1);
}

static struct go_segment segment(const uint64_t *w)
{
	return (struct go_segment){ .start = w[0],
				    .end = w[1] < w[0] ? w[0] : w[1] };
}

static void fill_public(struct module *m)
{
	const uint64_t *w = m->words;

	m->public.text = w[W_TEXT];
	m->public.etext = w[W_ETEXT];
	m->public.minpc = w[W_MINPC];
	m->public.maxpc = w[W_MAXPC];
	m->public.noptrdata = segment(w + W_NOPTRDATA);
	m->public.data = segment(w + W_DATA);
	m->public.bss = segment(w + W_BSS);
	m->public.noptrbss = segment(w + W_NOPTRBSS);
	m->public.version = m->tab.version;
}

bool module_read(struct pagecache *mem, raddr_t addr, struct module *ret)
{
	struct pclntab_func first;
	size_t got;

	memset(ret, 0, sizeof(*ret));
	got = pagecache_scan(mem, addr, ret->words, sizeof(ret->words));
	ret->n_words = got / 8;
	if (ret->n_words < MODULE_FIXED_WORDS || !module_shape(ret->words))
		return false;
	ret->public.addr = addr;
	ret->tab.mem = mem;
	if (!read_header(ret))
		return false;
	fill_table(ret);
	fill_public(ret);
	// The first function begins where the module says.
	return pclntab_func_at(&ret->tab, 0, &first) &&
	       first.entry == ret->tab.minpc;
}

bool module_object_holds(const struct module_object *o, raddr_t addr)
{
	for (uint32_t i = 0; i < o->head.n; i++) {
		raddr_t start = o->head.segments[i].vaddr + o->bias;

		if (addr >= start && addr - start < o->head.segments[i].memsz)
			return true;
	}
	return false;
}

bool module_links_to(const struct module *m, raddr_t addr)
{
	for (size_t i = W_MOVING; i < m->n_words; i++)
		if (m->words[i] == addr)
			return true;
	return false;
}

/*
 * Try all words for gofunc on about @n functions. Returns the largest number of
 * functions that had an inline tree; sets gofunc when one word fits best.
 */
static size_t try_gofunc(struct module *m, size_t n)
{
	size_t best = 0, most = 0;

	m->tab.gofunc = 0;
	for (size_t i = W_MOVING; i < GOFUNC_WORDS && i < m->n_words; i++) {
		size_t seen, fit;

		if (!module_object_holds(m->object, m->words[i]) ||
		    m->words[i] == m->tab.gofunc)
			continue;
		fit = pclntab_try_gofunc(&m->tab, m->words[i], n, &seen);
		if (seen > most)
			most = seen;
		if (!seen)
			break; // says nothing about any other word either
		// All but a few must fit.
		if (fit * 10 < seen * 9 || fit < best)
			continue;
		m->tab.gofunc = fit > best ? m->words[i] : 0; // not: a tie
		best = fit;
	}
	return most;
}

void module_find_gofunc(struct module *m)
{
	size_t seen;

	m->inlines = true;
	if (m->tab.version == GO_PCLNTAB_116)
		return;
	seen = try_gofunc(m, GOFUNC_SAMPLES);
	// Programs built without optimization have few trees, or none.
	if (seen < GOFUNC_ENOUGH)
		seen = try_gofunc(m, GOFUNC_MOST);
	m->inlines = seen != 0;
	m->public.gofunc = m->tab.gofunc;
}

/* abi.Type (internal/abi/type.go): the same from 1.16 to 1.27. */
struct raw_type {
	uint64_t size, ptrdata;
	uint32_t hash;
	uint8_t tflag, align, field_align, kind;
	uint64_t equal, gcdata;
	int32_t name, ptr_to_this;
};

#define TFLAG_EXTRA_STAR 2

static bool type_plausible(const struct raw_type *t)
{
	unsigned int kind = t->kind & 31;

	return t->align && t->align <= 16 && !(t->align & (t->align - 1)) &&
	       t->field_align && t->field_align <= 16 && kind >= 1 &&
	       kind <= 26 && t->ptrdata <= t->size && t->size < 1ull << 40 &&
	       t->hash && t->name > 0;
}

/* reflect.name: flags, length, bytes. Returns where the bytes are, 0 none. */
static raddr_t name_head(struct pagecache *mem, raddr_t addr, bool long_names,
			 size_t *len_ret)
{
	uint8_t head[4];
	size_t used = 2;

	if (!pagecache_read(mem, addr, head, sizeof(head)) || head[0] >= 16)
		return 0;
	*len_ret = head[1];
	if (long_names) {
		*len_ret = (size_t)head[1] << 8 | head[2];
		used = 3;
	} else if (head[1] & 0x80) {
		*len_ret = (head[1] & 0x7f) | (size_t)(head[2] & 0x7f) << 7;
		used = 3;
		if (head[2] & 0x80) {
			*len_ret |= (size_t)(head[3] & 0x7f) << 14;
			used = 4;
			if (head[3] & 0x80)
				return 0;
		}
	}
	return *len_ret ? addr + used : 0;
}

static bool printable(const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if ((uint8_t)s[i] < 0x20 || s[i] == 0x7f)
			return false;
	return true;
}

ssize_t module_type_name(struct pagecache *mem, raddr_t types, raddr_t type,
			 bool long_names, char *buf, size_t size)
{
	struct raw_type t;
	size_t len;
	raddr_t at;

	if (!pagecache_read(mem, type, &t, sizeof(t)) || !type_plausible(&t))
		return -1;
	at = name_head(mem, types + (uint32_t)t.name, long_names, &len);
	if (!at || len > size || !pagecache_read(mem, at, buf, len) ||
	    !printable(buf, len))
		return -1;
	if (!(t.tflag & TFLAG_EXTRA_STAR))
		return (ssize_t)len;
	// One text serves T and *T: it is stored as "*T".
	if (len < 2 || buf[0] != '*')
		return -1;
	memmove(buf, buf + 1, len - 1);
	return (ssize_t)len - 1;
}

/* Addresses that look like type descriptors, out of the module's data. */
static size_t sample_types(const struct module *m, raddr_t *ret, size_t max)
{
	const struct go_segment *data = &m->public.data;
	uint64_t words[512];
	size_t n = 0;

	for (raddr_t at = data->start; at + 8 <= data->end && n < max;
	     at += sizeof(words)) {
		uint64_t left = data->end - at;
		size_t want = left < sizeof(words) ? left : sizeof(words);
		size_t got = pagecache_scan(m->tab.mem, at, words, want);

		for (size_t i = 0; i < got / 8 && n < max; i++) {
			struct raw_type t;
			uint64_t w = words[i];

			if (w % 8 || !module_object_holds(m->object, w) ||
			    (w >= m->public.text && w < m->public.etext) ||
			    (w >= data->start && w < data->end))
				continue;
			if (pagecache_read(m->tab.mem, w, &t, sizeof(t)) &&
			    type_plausible(&t))
				ret[n++] = w;
		}
		if (got < want || at - data->start > 1 << 20)
			break;
	}
	return n;
}

static size_t try_types(const struct module *m, raddr_t types,
			const raddr_t *sample, size_t n)
{
	char buf[1024];
	size_t fit = 0;

	for (size_t i = 0; i < n; i++)
		if (sample[i] >= types &&
		    module_type_name(m->tab.mem, types, sample[i],
				     m->long_names, buf, sizeof(buf)) > 0)
			fit++;
	return fit;
}

void module_find_types(struct module *m)
{
	raddr_t sample[TYPE_SAMPLES];
	size_t n = sample_types(m, sample, TYPE_SAMPLES);
	size_t best = 0;

	for (size_t i = W_MOVING; i < 48 && i + 2 < m->n_words; i++) {
		size_t fit;

		if (!module_object_holds(m->object, m->words[i]))
			continue;
		fit = try_types(m, m->words[i], sample, n);
		if (fit < 4 || fit * 10 < n * 8 || fit <= best)
			continue;
		best = fit;
		m->public.types = m->words[i];
		// 1.27 put typedesclen, a length, between the two.
		m->public.etypes = m->words[i + 1] > m->words[i]
					   ? m->words[i + 1]
					   : m->words[i + 2];
	}
}
