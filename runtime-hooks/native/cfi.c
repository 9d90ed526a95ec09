/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime-hooks/native/cfi.h"

#include <dwarf.h>
#include <errno.h>
#include <string.h>

/* .eh_frame_hdr: version, three encodings, pointer, count, table */
#define HDR_TABLE 12
#define HDR_VERSION 1
/* The table is searched by halves, so it must have entries of one size. */
#define TABLE_ENCODING (DW_EH_PE_datarel | DW_EH_PE_sdata4)
#define MAX_ENTRIES ((uint64_t)1 << 28)
#define RETURN_COLUMN NATIVE_RIP

/* Bytes in order, up to an end; what lies beyond makes it bad, for good. */
struct reader {
	struct pagecache *mem;
	raddr_t at, end;
	size_t n, i; /* of the window */
	int bad;     /* 0 or -errno */
	uint8_t window[64];
};

static void start(struct reader *r, struct pagecache *mem, raddr_t at,
		  raddr_t end)
{
	r->mem = mem;
	r->at = at;
	r->end = end;
	r->n = r->i = 0;
	r->bad = 0;
}

static raddr_t position(const struct reader *r)
{
	return r->at - (r->n - r->i);
}

static bool refill(struct reader *r)
{
	uint64_t left = r->end > r->at ? r->end - r->at : 0;
	size_t want = left < sizeof(r->window) ? left : sizeof(r->window);

	if (!r->bad && !want)
		r->bad = -EPROTO;
	if (r->bad)
		return false;
	r->n = pagecache_read_some(r->mem, r->at, r->window, want);
	r->i = 0;
	r->at += r->n;
	if (!r->n)
		r->bad = -EFAULT;
	return r->n > 0;
}

static uint8_t u8(struct reader *r)
{
	if (r->i == r->n && !refill(r))
		return 0;
	return r->window[r->i++];
}

static uint64_t fixed(struct reader *r, unsigned int bytes)
{
	uint64_t v = 0;

	for (unsigned int i = 0; i < bytes; i++)
		v |= (uint64_t)u8(r) << 8 * i;
	return v;
}

static uint64_t leb(struct reader *r, bool is_signed)
{
	uint64_t v = 0;
	unsigned int shift = 0;
	uint8_t b;

	do {
		b = u8(r);
		if (shift < 64)
			v |= (uint64_t)(b & 0x7f) << shift;
		shift += 7;
		// padding is allowed, but not for ever
		if (shift > 140)
			r->bad = -EPROTO;
	} while (b & 0x80 && !r->bad);
	if (is_signed && shift < 64 && b & 0x40)
		v |= -(uint64_t)1 << shift;
	return v;
}

static uint64_t uleb(struct reader *r)
{
	return leb(r, false);
}

static int64_t sleb(struct reader *r)
{
	return (int64_t)leb(r, true);
}

static void skip(struct reader *r, uint64_t bytes)
{
	raddr_t at = position(r);

	if (bytes > r->end - at)
		r->bad = -EPROTO;
	else if (!r->bad)
		start(r, r->mem, at + bytes, r->end);
}

/* A pointer without what it is relative to. */
static uint64_t raw_pointer(struct reader *r, uint8_t encoding)
{
	switch (encoding & 0x0f) {
	case DW_EH_PE_absptr:
	case DW_EH_PE_udata8:
	case DW_EH_PE_sdata8:
		return fixed(r, 8);
	case DW_EH_PE_uleb128:
		return uleb(r);
	case DW_EH_PE_sleb128:
		return (uint64_t)sleb(r);
	case DW_EH_PE_udata2:
		return fixed(r, 2);
	case DW_EH_PE_sdata2:
		return (uint64_t)(int64_t)(int16_t)fixed(r, 2);
	case DW_EH_PE_udata4:
		return fixed(r, 4);
	case DW_EH_PE_sdata4:
		return (uint64_t)(int64_t)(int32_t)fixed(r, 4);
	default:
		r->bad = -EPROTO;
		return 0;
	}
}

static uint64_t pointer(struct reader *r, uint8_t encoding, raddr_t hdr)
{
	raddr_t here = position(r);
	uint64_t v = raw_pointer(r, encoding);

	switch (encoding & 0xf0) {
	case DW_EH_PE_absptr:
		return v;
	case DW_EH_PE_pcrel:
		return here + v;
	case DW_EH_PE_datarel:
		return hdr + v;
	default: // of others compilers for x86-64 make no use here
		r->bad = -EPROTO;
		return 0;
	}
}

int cfi_open(struct pagecache *mem, struct cfi_section *section)
{
	uint8_t version, count_encoding, table_encoding;
	struct reader r;
	uint64_t n;

	section->n = 0;
	start(&r, mem, section->hdr, section->hi);
	version = u8(&r);
	u8(&r); // of the pointer to .eh_frame, which nobody needs
	count_encoding = u8(&r);
	table_encoding = u8(&r);
	fixed(&r, 4);
	n = fixed(&r, 4);
	if (r.bad)
		return r.bad;
	if (version != HDR_VERSION)
		return -EPROTO;
	if (table_encoding != TABLE_ENCODING ||
	    count_encoding != DW_EH_PE_udata4)
		return -ENOENT;
	if (n > MAX_ENTRIES || n * 8 > section->hi - (section->hdr + HDR_TABLE))
		return -EPROTO;
	section->n = n;
	return 0;
}

/* The last entry of the table that does not begin after @pc. */
static int search(struct pagecache *mem, const struct cfi_section *section,
		  raddr_t pc, raddr_t *fde_ret)
{
	uint64_t lo = 0, hi = section->n;
	int32_t entry[2], found = 0;

	while (lo < hi) {
		uint64_t mid = lo + (hi - lo) / 2;

		if (!pagecache_read(mem, section->hdr + HDR_TABLE + mid * 8,
				    entry, sizeof(entry)))
			return -EFAULT;
		if (section->hdr + (uint64_t)(int64_t)entry[0] <= pc) {
			found = entry[1];
			lo = mid + 1;
		} else {
			hi = mid;
		}
	}
	if (!lo)
		return -ENOENT;
	*fde_ret = section->hdr + (uint64_t)(int64_t)found;
	return 0;
}

/* What a CIE says (LSB 10.6.1.1.1). */
struct cie {
	uint64_t code_align;
	int64_t data_align;
	uint8_t encoding; /* of pointers in the FDEs */
	bool augmented;	  /* 'z': their augmentation has a length */
	bool signal_frame;
	raddr_t program, end;
};

/* Enter the entry at @at: its length, then bytes up to its end. */
static bool enter(struct reader *r, struct pagecache *mem,
		  const struct cfi_section *section, raddr_t at)
{
	uint64_t len;

	if (at < section->lo || at >= section->hi)
		return false;
	start(r, mem, at, section->hi);
	len = fixed(r, 4);
	if (r->bad || !len || len > CFI_MAX_ENTRY || len > section->hi - at - 4)
		return false;
	start(r, mem, at + 4, at + 4 + len);
	return true;
}

static void read_augmentation(struct reader *r, const char *text,
			      struct cie *cie)
{
	uint64_t len = uleb(r);
	raddr_t end = position(r) + len;

	if (len > r->end - position(r))
		r->bad = -EPROTO;
	for (const char *p = text + 1; *p && !r->bad; p++) {
		if (*p == 'R')
			cie->encoding = u8(r);
		else if (*p == 'L')
			u8(r);
		else if (*p == 'P')
			raw_pointer(r, u8(r));
		else if (*p == 'S')
			cie->signal_frame = true;
		else // what follows cannot be told: R may be among it
			r->bad = -EPROTO;
	}
	if (!r->bad && position(r) > end)
		r->bad = -EPROTO;
	if (!r->bad)
		start(r, r->mem, end, r->end);
}

static int read_cie(struct pagecache *mem, const struct cfi_section *section,
		    raddr_t at, struct cie *cie)
{
	char text[8] = "";
	struct reader r;
	uint64_t column;
	uint8_t version;
	size_t n = 0;

	memset(cie, 0, sizeof(*cie));
	if (!enter(&r, mem, section, at) || fixed(&r, 4) != 0)
		return r.bad ? r.bad : -EPROTO;
	version = u8(&r);
	while ((text[n] = (char)u8(&r)))
		if (++n == sizeof(text) || r.bad)
			return -EPROTO;
	cie->code_align = uleb(&r);
	cie->data_align = sleb(&r);
	column = version == 1 ? u8(&r) : uleb(&r);
	if (text[0] == 'z') {
		cie->augmented = true;
		read_augmentation(&r, text, cie);
	} else if (text[0]) {
		return -EPROTO;
	}
	if (r.bad)
		return r.bad;
	if ((version != 1 && version != 3) || column != RETURN_COLUMN)
		return -EPROTO;
	cie->program = position(&r);
	cie->end = r.end;
	return 0;
}

/* The state of a program of call frame instructions. */
struct machine {
	const struct cie *cie;
	raddr_t hdr, loc, pc;
	struct cfi_row row, initial;
	struct cfi_row *states;
	uint32_t n_states;
	bool done;
};

static void set_rule(struct reader *r, struct machine *m, uint64_t reg,
		     enum cfi_how how, int64_t offset)
{
	if (offset > CFI_MAX_OFFSET || offset < -CFI_MAX_OFFSET) {
		r->bad = -EPROTO;
		return;
	}
	// vector registers and the like: no caller's frame depends on them
	if (reg < NATIVE_N_REGS)
		m->row.rule[reg] =
			(struct cfi_rule){ .how = how,
					   .offset = (int32_t)offset };
}

static void set_cfa(struct reader *r, struct machine *m, uint64_t reg,
		    int64_t offset)
{
	if (reg >= NATIVE_N_REGS || offset > CFI_MAX_OFFSET ||
	    offset < -CFI_MAX_OFFSET) {
		r->bad = -EPROTO;
		return;
	}
	m->row.cfa_expression = false;
	m->row.cfa_reg = (uint8_t)reg;
	m->row.cfa_offset = (int32_t)offset;
}

static void restore(struct reader *r, struct machine *m, uint64_t reg)
{
	(void)r;
	if (reg < NATIVE_N_REGS)
		m->row.rule[reg] = m->initial.rule[reg];
}

static void go_to(struct machine *m, raddr_t loc)
{
	// rows ascend; what comes after the pc is not for it
	m->done = loc > m->pc || loc < m->loc;
	if (!m->done)
		m->loc = loc;
}

static int64_t factored(const struct machine *m, int64_t n)
{
	int64_t v;

	// beyond any offset, so that the limit catches it
	return __builtin_mul_overflow(n, m->cie->data_align, &v) ? INT64_MAX
								 : v;
}

static int64_t positive(uint64_t n)
{
	return n > INT64_MAX ? INT64_MAX : (int64_t)n;
}

static void remember(struct reader *r, struct machine *m)
{
	if (m->n_states == CFI_MAX_STATES)
		r->bad = -EPROTO;
	else
		m->states[m->n_states++] = m->row;
}

static void recall(struct reader *r, struct machine *m)
{
	if (!m->n_states)
		r->bad = -EPROTO;
	else
		m->row = m->states[--m->n_states];
}

/* Instructions whose first operand is a register. */
static void step_register(struct reader *r, struct machine *m, uint8_t op)
{
	uint64_t reg = uleb(r), other;

	switch (op) {
	case DW_CFA_offset_extended:
		set_rule(r, m, reg, CFI_AT, factored(m, positive(uleb(r))));
		return;
	case DW_CFA_offset_extended_sf:
		set_rule(r, m, reg, CFI_AT, factored(m, sleb(r)));
		return;
	case DW_CFA_GNU_negative_offset_extended:
		set_rule(r, m, reg, CFI_AT, -factored(m, positive(uleb(r))));
		return;
	case DW_CFA_val_offset:
		set_rule(r, m, reg, CFI_VALUE, factored(m, positive(uleb(r))));
		return;
	case DW_CFA_val_offset_sf:
		set_rule(r, m, reg, CFI_VALUE, factored(m, sleb(r)));
		return;
	case DW_CFA_expression:
	case DW_CFA_val_expression:
		set_rule(r, m, reg, CFI_EXPRESSION, 0);
		skip(r, uleb(r));
		return;
	case DW_CFA_register:
		other = uleb(r);
		set_rule(r, m, reg, CFI_REGISTER, 0);
		if (other >= NATIVE_N_REGS)
			r->bad = -EPROTO;
		else if (reg < NATIVE_N_REGS)
			m->row.rule[reg].reg = (uint8_t)other;
		return;
	case DW_CFA_restore_extended:
		restore(r, m, reg);
		return;
	case DW_CFA_undefined:
		set_rule(r, m, reg, CFI_UNDEFINED, 0);
		return;
	case DW_CFA_same_value:
		set_rule(r, m, reg, CFI_SAME, 0);
		return;
	case DW_CFA_def_cfa:
		set_cfa(r, m, reg, positive(uleb(r)));
		return;
	case DW_CFA_def_cfa_sf:
		set_cfa(r, m, reg, factored(m, sleb(r)));
		return;
	case DW_CFA_def_cfa_register:
		set_cfa(r, m, reg, m->row.cfa_offset);
		return;
	default:
		r->bad = -EPROTO;
	}
}

static void step_extended(struct reader *r, struct machine *m, uint8_t op)
{
	switch (op) {
	case DW_CFA_nop:
		return;
	case DW_CFA_set_loc:
		go_to(m, pointer(r, m->cie->encoding, m->hdr));
		return;
	case DW_CFA_advance_loc1:
		go_to(m, m->loc + fixed(r, 1) * m->cie->code_align);
		return;
	case DW_CFA_advance_loc2:
		go_to(m, m->loc + fixed(r, 2) * m->cie->code_align);
		return;
	case DW_CFA_advance_loc4:
		go_to(m, m->loc + fixed(r, 4) * m->cie->code_align);
		return;
	case DW_CFA_remember_state:
		remember(r, m);
		return;
	case DW_CFA_restore_state:
		recall(r, m);
		return;
	case DW_CFA_def_cfa_offset:
		set_cfa(r, m, m->row.cfa_reg, positive(uleb(r)));
		return;
	case DW_CFA_def_cfa_offset_sf:
		set_cfa(r, m, m->row.cfa_reg, factored(m, sleb(r)));
		return;
	case DW_CFA_def_cfa_expression:
		m->row.cfa_expression = true;
		skip(r, uleb(r));
		return;
	case DW_CFA_GNU_args_size:
		uleb(r);
		return;
	default:
		step_register(r, m, op);
	}
}

/* Run the program in @r up to the row of m->pc. */
static int run(struct reader *r, struct machine *m)
{
	while (!r->bad && !m->done && position(r) < r->end) {
		uint8_t op = u8(r), low = op & 0x3f;

		switch (op & 0xc0) {
		case DW_CFA_advance_loc:
			go_to(m, m->loc + low * m->cie->code_align);
			break;
		case DW_CFA_offset:
			set_rule(r, m, low, CFI_AT,
				 factored(m, positive(uleb(r))));
			break;
		case DW_CFA_restore:
			restore(r, m, low);
			break;
		default:
			step_extended(r, m, op);
		}
	}
	return r->bad;
}

static int run_both(struct pagecache *mem, const struct cfi_section *section,
		    const struct cie *cie, struct reader *fde, raddr_t first,
		    raddr_t pc, struct cfi_row *ret)
{
	struct cfi_row states[CFI_MAX_STATES];
	struct machine m = { .cie = cie,
			     .hdr = section->hdr,
			     .loc = first,
			     .pc = pc,
			     .states = states };
	struct reader r;
	int rc;

	m.row = *ret;
	start(&r, mem, cie->program, cie->end);
	rc = run(&r, &m);
	if (rc)
		return rc;
	m.initial = m.row;
	m.n_states = 0;
	m.done = false;
	m.loc = first;
	rc = run(fde, &m);
	if (!rc)
		*ret = m.row;
	return rc;
}

int cfi_find(struct pagecache *mem, const struct cfi_section *section,
	     raddr_t pc, struct cfi_row *ret)
{
	struct cfi_row row = { .signal_frame = false };
	raddr_t fde, first, at;
	struct reader r;
	struct cie cie;
	uint64_t len;
	int rc = search(mem, section, pc, &fde);

	if (rc)
		return rc;
	if (!enter(&r, mem, section, fde))
		return r.bad ? r.bad : -EPROTO;
	at = position(&r);
	at -= fixed(&r, 4);
	rc = r.bad ? r.bad : read_cie(mem, section, at, &cie);
	if (rc)
		return rc;
	first = pointer(&r, cie.encoding, section->hdr);
	len = raw_pointer(&r, cie.encoding);
	if (cie.augmented)
		skip(&r, uleb(&r));
	if (r.bad)
		return r.bad;
	if (pc < first || pc - first >= len)
		return -ENOENT;
	if (first < section->lo || len > section->hi - first)
		return -EPROTO;
	row.start = first;
	row.end = first + len;
	row.signal_frame = cie.signal_frame;
	rc = run_both(mem, section, &cie, &r, first, pc, &row);
	if (!rc)
		*ret = row;
	return rc;
}
