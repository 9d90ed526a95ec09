/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime-hooks/native/eh_reader.h"

#include <dwarf.h>
#include <errno.h>

void eh_start(struct eh_reader *r, struct pagecache *mem, raddr_t at,
	      raddr_t end)
{
	r->mem = mem;
	r->at = at;
	r->end = end;
	r->n = r->i = 0;
	r->bad = 0;
}

raddr_t eh_position(const struct eh_reader *r)
{
	return r->at - (r->n - r->i);
}

static bool refill(struct eh_reader *r)
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

uint8_t eh_u8(struct eh_reader *r)
{
	if (r->i == r->n && !refill(r))
		return 0;
	return r->window[r->i++];
}

uint64_t eh_fixed(struct eh_reader *r, unsigned int bytes)
{
	uint64_t v = 0;

	for (unsigned int i = 0; i < bytes; i++)
		v |= (uint64_t)eh_u8(r) << 8 * i;
	return v;
}

static uint64_t leb(struct eh_reader *r, bool is_signed)
{
	uint64_t v = 0;
	unsigned int shift = 0;
	uint8_t b;

	do {
		b = eh_u8(r);
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

uint64_t eh_uleb(struct eh_reader *r)
{
	return leb(r, false);
}

int64_t eh_sleb(struct eh_reader *r)
{
	return (int64_t)leb(r, true);
}

void eh_skip(struct eh_reader *r, uint64_t bytes)
{
	raddr_t at = eh_position(r);

	if (bytes > r->end - at)
		r->bad = -EPROTO;
	else if (!r->bad)
		eh_start(r, r->mem, at + bytes, r->end);
}

/* A pointer without what it is relative to. */
uint64_t eh_raw_pointer(struct eh_reader *r, uint8_t encoding)
{
	switch (encoding & 0x0f) {
	case DW_EH_PE_absptr:
	case DW_EH_PE_udata8:
	case DW_EH_PE_sdata8:
		return eh_fixed(r, 8);
	case DW_EH_PE_uleb128:
		return eh_uleb(r);
	case DW_EH_PE_sleb128:
		return (uint64_t)eh_sleb(r);
	case DW_EH_PE_udata2:
		return eh_fixed(r, 2);
	case DW_EH_PE_sdata2:
		return (uint64_t)(int64_t)(int16_t)eh_fixed(r, 2);
	case DW_EH_PE_udata4:
		return eh_fixed(r, 4);
	case DW_EH_PE_sdata4:
		return (uint64_t)(int64_t)(int32_t)eh_fixed(r, 4);
	default:
		r->bad = -EPROTO;
		return 0;
	}
}

uint64_t eh_pointer(struct eh_reader *r, uint8_t encoding, raddr_t hdr)
{
	raddr_t here = eh_position(r);
	uint64_t v = eh_raw_pointer(r, encoding);

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
