/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_HOOKS_NATIVE_EH_READER_H
#define RUNTIME_HOOKS_NATIVE_EH_READER_H

/**
 * Numbers and pointers of .eh_frame, in order: LEB128 (DWARF 5, section 7.6)
 * and the DW_EH_PE_ encodings (LSB Core 5.0, section 10.5.1).
 */

#include "base/pagecache.h"

/* Bytes in order, up to an end; what lies beyond makes it bad, for good. */
struct eh_reader {
	struct pagecache *mem;
	raddr_t at, end;
	size_t n, i; /* of the window */
	int bad;     /* 0 or -errno */
	uint8_t window[64];
};

void eh_start(struct eh_reader *r, struct pagecache *mem, raddr_t at,
	      raddr_t end);
/** The address of the byte that is next. */
raddr_t eh_position(const struct eh_reader *r);
uint8_t eh_u8(struct eh_reader *r);
/** @bytes bytes, little-endian. */
uint64_t eh_fixed(struct eh_reader *r, unsigned int bytes);
uint64_t eh_uleb(struct eh_reader *r);
int64_t eh_sleb(struct eh_reader *r);
void eh_skip(struct eh_reader *r, uint64_t bytes);
/** A pointer without what it is relative to. */
uint64_t eh_raw_pointer(struct eh_reader *r, uint8_t encoding);
/** A pointer; @hdr is what "data" relative ones are relative to. */
uint64_t eh_pointer(struct eh_reader *r, uint8_t encoding, raddr_t hdr);

#endif
