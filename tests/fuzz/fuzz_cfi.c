/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "base/arena.h"
#include "runtime-hooks/native/cfi.h"
#include "runtime-hooks/native/native_priv.h"

#define BASE 0x10000ull
#define ASKED 64 /* entries whose functions are looked up */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What those who step by a row rely on. */
static void check_row(const struct cfi_section *section, raddr_t pc,
		      const struct cfi_row *row)
{
	if (pc < row->start || pc >= row->end || row->start < section->lo ||
	    row->end > section->hi || row->cfa_reg >= NATIVE_N_REGS ||
	    row->cfa_offset > CFI_MAX_OFFSET ||
	    row->cfa_offset < -CFI_MAX_OFFSET)
		abort();
	for (int i = 0; i < NATIVE_N_REGS; i++)
		if (row->rule[i].reg >= NATIVE_N_REGS ||
		    row->rule[i].offset > CFI_MAX_OFFSET ||
		    row->rule[i].offset < -CFI_MAX_OFFSET)
			abort();
}

static void ask(struct pagecache *mem, const struct cfi_section *section)
{
	for (uint64_t i = 0; i < section->n && i < ASKED; i++) {
		raddr_t at = section->hdr + 12 + i * 8;
		struct cfi_row row;
		int32_t start;

		if (section->index)
			start = section->index[i].start;
		else if (!pagecache_read(mem, at, &start, sizeof(start)))
			return;
		for (raddr_t off = 0; off < 64; off += 9) {
			raddr_t pc =
				section->hdr + (uint64_t)(int64_t)start + off;

			if (!cfi_find(mem, section, pc, &row))
				check_row(section, pc, &row);
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_PAGECACHE struct pagecache *mem =
		pagecache_create_bytes(data, size, BASE);
	AUTO_ARENA struct arena *arena = arena_create();
	// code lies around it, unreadable
	struct cfi_section section = { .hdr = BASE,
				       .lo = 0,
				       .hi = BASE + size + 0x100000 };
	uint64_t depth;

	if (!cfi_open(mem, &section))
		ask(mem, &section);
	// the same bytes as an .eh_frame without a table
	if (!cfi_index(mem, arena, BASE, size, &section))
		ask(mem, &section);
	if (prologue_depth(mem, BASE, BASE + size, BASE + size, &depth) &&
	    depth > (1ull << 32))
		abort();
	return 0;
}
