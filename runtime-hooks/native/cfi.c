/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime-hooks/native/cfi.h"

#include <dwarf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "runtime-hooks/native/eh_reader.h"

/* .eh_frame_hdr: version, three encodings, pointer, count, table */
#define HDR_TABLE 12
#define HDR_VERSION 1
/* The table is searched by halves, so it must have entries of one size. */
#define TABLE_ENCODING (DW_EH_PE_datarel | DW_EH_PE_sdata4)
#define MAX_ENTRIES ((uint64_t)1 << 28)
#define RETURN_COLUMN NATIVE_RIP

int cfi_open(struct pagecache *mem, struct cfi_section *section)
{
	uint8_t version, count_encoding, table_encoding;
	struct eh_reader r;
	uint64_t n;

	section->n = 0;
	eh_start(&r, mem, section->hdr, section->hi);
	version = eh_u8(&r);
	eh_u8(&r); // of the pointer to .eh_frame, which nobody needs
	count_encoding = eh_u8(&r);
	table_encoding = eh_u8(&r);
	eh_fixed(&r, 4);
	n = eh_fixed(&r, 4);
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

static bool table_entry(struct pagecache *mem,
			const struct cfi_section *section, uint64_t i,
			struct cfi_entry *ret)
{
	if (section->index) {
		*ret = section->index[i];
		return true;
	}
	return pagecache_read(mem, section->hdr + HDR_TABLE + i * sizeof(*ret),
			      ret, sizeof(*ret));
}

/* The last entry of the table that does not begin after @pc. */
static int search(struct pagecache *mem, const struct cfi_section *section,
		  raddr_t pc, raddr_t *fde_ret)
{
	uint64_t lo = 0, hi = section->n;
	int32_t found = 0;

	while (lo < hi) {
		uint64_t mid = lo + (hi - lo) / 2;
		struct cfi_entry entry;

		if (!table_entry(mem, section, mid, &entry))
			return -EFAULT;
		if (section->hdr + (uint64_t)(int64_t)entry.start <= pc) {
			found = entry.fde;
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
static bool enter(struct eh_reader *r, struct pagecache *mem,
		  const struct cfi_section *section, raddr_t at)
{
	uint64_t len;

	if (at < section->lo || at >= section->hi)
		return false;
	eh_start(r, mem, at, section->hi);
	len = eh_fixed(r, 4);
	if (r->bad || !len || len > CFI_MAX_ENTRY || len > section->hi - at - 4)
		return false;
	eh_start(r, mem, at + 4, at + 4 + len);
	return true;
}

static void read_augmentation(struct eh_reader *r, const char *text,
			      struct cie *cie)
{
	uint64_t len = eh_uleb(r);
	raddr_t end = eh_position(r) + len;

	if (len > r->end - eh_position(r))
		r->bad = -EPROTO;
	for (const char *p = text + 1; *p && !r->bad; p++) {
		if (*p == 'R')
			cie->encoding = eh_u8(r);
		else if (*p == 'L')
			eh_u8(r);
		else if (*p == 'P')
			eh_raw_pointer(r, eh_u8(r));
		else if (*p == 'S')
			cie->signal_frame = true;
		else // what follows cannot be told: R may be among it
			r->bad = -EPROTO;
	}
	if (!r->bad && eh_position(r) > end)
		r->bad = -EPROTO;
	if (!r->bad)
		eh_start(r, r->mem, end, r->end);
}

static int read_cie(struct pagecache *mem, const struct cfi_section *section,
		    raddr_t at, struct cie *cie)
{
	char text[8] = "";
	struct eh_reader r;
	uint64_t column;
	uint8_t version;
	size_t n = 0;

	memset(cie, 0, sizeof(*cie));
	if (!enter(&r, mem, section, at) || eh_fixed(&r, 4) != 0)
		return r.bad ? r.bad : -EPROTO;
	version = eh_u8(&r);
	while ((text[n] = (char)eh_u8(&r)))
		if (++n == sizeof(text) || r.bad)
			return -EPROTO;
	cie->code_align = eh_uleb(&r);
	cie->data_align = eh_sleb(&r);
	column = version == 1 ? eh_u8(&r) : eh_uleb(&r);
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
	cie->program = eh_position(&r);
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

static void set_rule(struct eh_reader *r, struct machine *m, uint64_t reg,
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

static void set_cfa(struct eh_reader *r, struct machine *m, uint64_t reg,
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

static void restore(struct eh_reader *r, struct machine *m, uint64_t reg)
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

static void remember(struct eh_reader *r, struct machine *m)
{
	if (m->n_states == CFI_MAX_STATES)
		r->bad = -EPROTO;
	else
		m->states[m->n_states++] = m->row;
}

static void recall(struct eh_reader *r, struct machine *m)
{
	if (!m->n_states)
		r->bad = -EPROTO;
	else
		m->row = m->states[--m->n_states];
}

/* Instructions whose first operand is a register. */
static void step_register(struct eh_reader *r, struct machine *m, uint8_t op)
{
	uint64_t reg = eh_uleb(r), other;

	switch (op) {
	case DW_CFA_offset_extended:
		set_rule(r, m, reg, CFI_AT, factored(m, positive(eh_uleb(r))));
		return;
	case DW_CFA_offset_extended_sf:
		set_rule(r, m, reg, CFI_AT, factored(m, eh_sleb(r)));
		return;
	case DW_CFA_GNU_negative_offset_extended:
		set_rule(r, m, reg, CFI_AT, -factored(m, positive(eh_uleb(r))));
		return;
	case DW_CFA_val_offset:
		set_rule(r, m, reg, CFI_VALUE,
			 factored(m, positive(eh_uleb(r))));
		return;
	case DW_CFA_val_offset_sf:
		set_rule(r, m, reg, CFI_VALUE, factored(m, eh_sleb(r)));
		return;
	case DW_CFA_expression:
	case DW_CFA_val_expression:
		set_rule(r, m, reg, CFI_EXPRESSION, 0);
		eh_skip(r, eh_uleb(r));
		return;
	case DW_CFA_register:
		other = eh_uleb(r);
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
		set_cfa(r, m, reg, positive(eh_uleb(r)));
		return;
	case DW_CFA_def_cfa_sf:
		set_cfa(r, m, reg, factored(m, eh_sleb(r)));
		return;
	case DW_CFA_def_cfa_register:
		set_cfa(r, m, reg, m->row.cfa_offset);
		return;
	default:
		r->bad = -EPROTO;
	}
}

static void step_extended(struct eh_reader *r, struct machine *m, uint8_t op)
{
	switch (op) {
	case DW_CFA_nop:
		return;
	case DW_CFA_set_loc:
		go_to(m, eh_pointer(r, m->cie->encoding, m->hdr));
		return;
	case DW_CFA_advance_loc1:
		go_to(m, m->loc + eh_fixed(r, 1) * m->cie->code_align);
		return;
	case DW_CFA_advance_loc2:
		go_to(m, m->loc + eh_fixed(r, 2) * m->cie->code_align);
		return;
	case DW_CFA_advance_loc4:
		go_to(m, m->loc + eh_fixed(r, 4) * m->cie->code_align);
		return;
	case DW_CFA_remember_state:
		remember(r, m);
		return;
	case DW_CFA_restore_state:
		recall(r, m);
		return;
	case DW_CFA_def_cfa_offset:
		set_cfa(r, m, m->row.cfa_reg, positive(eh_uleb(r)));
		return;
	case DW_CFA_def_cfa_offset_sf:
		set_cfa(r, m, m->row.cfa_reg, factored(m, eh_sleb(r)));
		return;
	case DW_CFA_def_cfa_expression:
		m->row.cfa_expression = true;
		eh_skip(r, eh_uleb(r));
		return;
	case DW_CFA_GNU_args_size:
		eh_uleb(r);
		return;
	default:
		step_register(r, m, op);
	}
}

/* Run the program in @r up to the row of m->pc. */
static int run(struct eh_reader *r, struct machine *m)
{
	while (!r->bad && !m->done && eh_position(r) < r->end) {
		uint8_t op = eh_u8(r), low = op & 0x3f;

		switch (op & 0xc0) {
		case DW_CFA_advance_loc:
			go_to(m, m->loc + low * m->cie->code_align);
			break;
		case DW_CFA_offset:
			set_rule(r, m, low, CFI_AT,
				 factored(m, positive(eh_uleb(r))));
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
		    const struct cie *cie, struct eh_reader *fde, raddr_t first,
		    raddr_t pc, struct cfi_row *ret)
{
	struct cfi_row states[CFI_MAX_STATES];
	struct machine m = { .cie = cie,
			     .hdr = section->hdr,
			     .loc = first,
			     .pc = pc,
			     .states = states };
	struct eh_reader r;
	int rc;

	m.row = *ret;
	eh_start(&r, mem, cie->program, cie->end);
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

/* Enter an FDE, up to its instructions: @row gets the function's bounds. */
static int enter_fde(struct pagecache *mem, const struct cfi_section *section,
		     raddr_t fde, struct eh_reader *r, struct cie *cie,
		     struct cfi_row *row)
{
	uint64_t len;
	raddr_t at;
	int rc;

	if (!enter(r, mem, section, fde))
		return r->bad ? r->bad : -EPROTO;
	at = eh_position(r);
	at -= eh_fixed(r, 4);
	rc = r->bad ? r->bad : read_cie(mem, section, at, cie);
	if (rc)
		return rc;
	row->start = eh_pointer(r, cie->encoding, section->hdr);
	len = eh_raw_pointer(r, cie->encoding);
	if (cie->augmented)
		eh_skip(r, eh_uleb(r));
	if (r->bad)
		return r->bad;
	if (row->start < section->lo || row->start >= section->hi ||
	    len > section->hi - row->start)
		return -EPROTO;
	row->end = row->start + len;
	row->signal_frame = cie->signal_frame;
	return 0;
}

int cfi_find(struct pagecache *mem, const struct cfi_section *section,
	     raddr_t pc, struct cfi_row *ret)
{
	struct cfi_row row = { .signal_frame = false };
	struct eh_reader r;
	struct cie cie;
	raddr_t fde;
	int rc = search(mem, section, pc, &fde);

	if (!rc)
		rc = enter_fde(mem, section, fde, &r, &cie, &row);
	if (!rc && (pc < row.start || pc >= row.end))
		rc = -ENOENT;
	if (!rc)
		rc = run_both(mem, section, &cie, &r, row.start, pc, &row);
	if (!rc)
		*ret = row;
	return rc;
}

static int compare(const void *a, const void *b)
{
	const struct cfi_entry *x = a, *y = b;

	return (x->start > y->start) - (x->start < y->start);
}

/*
 * Go through all entries. With @to NULL they are only counted; that count is
 * the room that @to must have.
 */
static uint64_t each_entry(struct pagecache *mem,
			   const struct cfi_section *section, raddr_t eh_frame,
			   uint64_t len, struct cfi_entry *to)
{
	raddr_t at = eh_frame, end = eh_frame + len;
	uint64_t n = 0;

	for (uint64_t i = 0; i < CFI_MAX_ENTRIES && at < end; i++) {
		struct cfi_row row;
		struct eh_reader r;
		struct cie cie;

		if (!enter(&r, mem, section, at) || r.end > end)
			break;
		if (!to) {
			n++;
		} else if (!enter_fde(mem, section, at, &r, &cie, &row)) {
			to[n].start = (int32_t)(row.start - section->hdr);
			to[n++].fde = (int32_t)(at - section->hdr);
		}
		at += 4;
		eh_start(&r, mem, at - 4, end);
		at += eh_fixed(&r, 4);
	}
	return n;
}

int cfi_index(struct pagecache *mem, struct arena *arena, raddr_t eh_frame,
	      uint64_t len, struct cfi_section *section)
{
	struct cfi_entry *index;
	uint64_t n;

	section->hdr = eh_frame;
	section->n = 0;
	section->index = NULL;
	if (eh_frame < section->lo || eh_frame >= section->hi ||
	    len > section->hi - eh_frame ||
	    section->hi - section->lo > INT32_MAX)
		return -ENOENT;
	n = each_entry(mem, section, eh_frame, len, NULL);
	index = arena_array(arena, n + 1, sizeof(*index));
	if (!index)
		return -ENOMEM;
	n = each_entry(mem, section, eh_frame, len, index);
	qsort(index, n, sizeof(*index), compare);
	section->index = index;
	section->n = n;
	return n ? 0 : -ENOENT;
}
