/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "runtime-hooks/native/native_priv.h"

/*
 * What a function does to its stack before it does anything else: a decoder
 * for the few instructions that compilers put there (Intel SDM, volume 2,
 * appendix A). What it does not know ends it.
 */

#define PROLOGUE_BYTES 160
#define BODY_BYTES ((uint64_t)65536) /* of a function that is searched */

struct instruction {
	uint8_t opcode; /* the second byte of two-byte ones */
	bool two_byte;
	bool wide; /* REX.W */
	bool rex_r, rex_b;
	bool has_modrm;
	uint8_t modrm;
	size_t imm_at, imm_len, len;
};

enum shape {
	SHAPE_UNKNOWN,
	SHAPE_BARE,
	SHAPE_MODRM,
	SHAPE_IMM8,
	SHAPE_IMM32,
	SHAPE_MODRM_IMM8,
	SHAPE_MODRM_IMM32,
};

static enum shape one_byte_shape(uint8_t op)
{
	if (op < 0x40)
		return (op & 7) < 4    ? SHAPE_MODRM
		       : (op & 7) == 4 ? SHAPE_IMM8
		       : (op & 7) == 5 ? SHAPE_IMM32
				       : SHAPE_UNKNOWN;
	if ((op >= 0x50 && op < 0x60) || op == 0x90 || op == 0x98 || op == 0x99)
		return SHAPE_BARE;
	if ((op >= 0x84 && op <= 0x8b) || op == 0x63 || op == 0x8d ||
	    op == 0xd1 || op == 0xd3 || op == 0xff)
		return SHAPE_MODRM;
	if (op == 0x6b || op == 0x80 || op == 0x83 || op == 0xc0 ||
	    op == 0xc1 || op == 0xc6)
		return SHAPE_MODRM_IMM8;
	if (op == 0x69 || op == 0x81 || op == 0xc7)
		return SHAPE_MODRM_IMM32;
	if (op == 0x68 || op == 0xa9 || (op >= 0xb8 && op <= 0xbf))
		return SHAPE_IMM32;
	return op == 0x6a || op == 0xa8 ? SHAPE_IMM8 : SHAPE_UNKNOWN;
}

static enum shape two_byte_shape(uint8_t op)
{
	if ((op >= 0x70 && op <= 0x73) || op == 0xc6)
		return SHAPE_MODRM_IMM8;
	if ((op >= 0x10 && op <= 0x1f) || (op >= 0x28 && op <= 0x2f) ||
	    (op >= 0x40 && op <= 0x6f) || (op >= 0x74 && op <= 0x76) ||
	    op == 0x7e || op == 0x7f || (op >= 0x90 && op <= 0x9f) ||
	    op == 0xaf || op == 0xb6 || op == 0xb7 || op == 0xbe ||
	    op == 0xbf || op >= 0xd0)
		return SHAPE_MODRM;
	return SHAPE_UNKNOWN;
}

/* Bytes after a ModR/M byte: SIB and displacement. */
static size_t address_bytes(uint8_t modrm, uint8_t sib)
{
	uint8_t mod = modrm >> 6, rm = modrm & 7;
	size_t n = rm == 4 && mod != 3;

	if (mod == 1)
		return n + 1;
	if (mod == 2 || (mod == 0 && rm == 5) ||
	    (mod == 0 && rm == 4 && (sib & 7) == 5))
		return n + 4;
	return n;
}

static bool is_prefix(uint8_t byte)
{
	return byte == 0x66 || byte == 0xf2 || byte == 0xf3 || byte == 0x2e ||
	       byte == 0x64;
}

/* @code has 16 bytes at least. */
static bool decode(const uint8_t *code, struct instruction *in)
{
	bool narrow = false;
	enum shape shape;
	size_t i = 0;

	memset(in, 0, sizeof(*in));
	while (i < 4 && is_prefix(code[i]))
		narrow |= code[i++] == 0x66;
	if ((code[i] & 0xf0) == 0x40) {
		in->wide = code[i] & 8;
		in->rex_r = code[i] & 4;
		in->rex_b = code[i++] & 1;
	}
	in->two_byte = code[i] == 0x0f;
	i += in->two_byte;
	in->opcode = code[i++];
	shape = in->two_byte ? two_byte_shape(in->opcode)
			     : one_byte_shape(in->opcode);
	if (shape == SHAPE_UNKNOWN)
		return false;
	if (shape == SHAPE_MODRM || shape >= SHAPE_MODRM_IMM8) {
		in->has_modrm = true;
		in->modrm = code[i];
		i += 1 + address_bytes(code[i], code[i + 1]);
	}
	in->imm_at = i;
	if (shape == SHAPE_IMM8 || shape == SHAPE_MODRM_IMM8)
		in->imm_len = 1;
	else if (shape == SHAPE_IMM32 || shape == SHAPE_MODRM_IMM32)
		in->imm_len = narrow ? 2 : 4;
	if (!in->two_byte && in->wide && in->opcode >= 0xb8 &&
	    in->opcode <= 0xbf)
		in->imm_len = 8;
	in->len = i + in->imm_len;
	return true;
}

/* Can it write to RSP or RBP, other than by push? Rather yes than no. */
static bool moves_stack(const struct instruction *in)
{
	uint8_t reg = in->modrm >> 3 & 7, rm = in->modrm & 7;
	bool to_reg = in->opcode == 0x8b || in->opcode == 0x8d ||
		      in->opcode == 0x63 ||
		      (in->opcode < 0x40 && (in->opcode & 7) >= 2);

	if (in->two_byte)
		return in->opcode >= 0x40 && in->opcode <= 0x4f &&
		       (reg == 4 || reg == 5);
	if (in->opcode >= 0x58 && in->opcode <= 0x5f)
		return true; // pop
	if (!in->has_modrm)
		return in->opcode == 0xbc || in->opcode == 0xbd;
	if (to_reg)
		return !in->rex_r && (reg == 4 || reg == 5);
	// cmp and test write nothing, but are not seen here with RSP either
	return in->modrm >> 6 == 3 && !in->rex_b && (rm == 4 || rm == 5);
}

static bool is_push(const struct instruction *in)
{
	if (in->two_byte)
		return false;
	return (in->opcode >= 0x50 && in->opcode <= 0x57) ||
	       in->opcode == 0x68 || in->opcode == 0x6a ||
	       (in->opcode == 0xff && (in->modrm >> 3 & 7) == 6);
}

/* sub $imm,%rsp */
static bool is_sub_rsp(const struct instruction *in)
{
	return !in->two_byte && in->wide && !in->rex_b && in->modrm == 0xec &&
	       (in->opcode == 0x81 || in->opcode == 0x83);
}

static bool is_control_flow(const uint8_t *code)
{
	return code[0] == 0xe8 || code[0] == 0xe9 || code[0] == 0xeb ||
	       (code[0] & 0xf0) == 0x70 || code[0] == 0xc3 ||
	       (code[0] == 0x0f && (code[1] & 0xf0) == 0x80) ||
	       (code[0] == 0xff &&
		((code[1] >> 3 & 7) == 2 || (code[1] >> 3 & 7) == 4));
}

static int64_t immediate(const uint8_t *code, const struct instruction *in)
{
	int32_t imm;

	if (in->imm_len == 1)
		return (int8_t)code[in->imm_at];
	memcpy(&imm, code + in->imm_at, 4);
	return imm;
}

/* From after "mov %rsp,%rbp": pushes and one sub, until the first branch. */
static bool depth_from(const uint8_t *code, size_t len, size_t *used,
		       uint64_t *ret)
{
	uint64_t depth = 0;
	size_t i = 0;

	while (i + 16 <= len) {
		struct instruction in;

		if (is_control_flow(code + i))
			break;
		if (!decode(code + i, &in))
			return false;
		if (is_sub_rsp(&in)) {
			int64_t imm = immediate(code + i, &in);

			*ret = depth + (uint64_t)imm;
			*used = i + in.len;
			return imm > 0;
		}
		if (is_push(&in))
			depth += 8;
		else if (moves_stack(&in))
			return false;
		i += in.len;
	}
	*ret = depth;
	*used = i;
	return i + 16 <= len;
}

/* Is there anything that looks like "sub %reg,%rsp" in the function? */
static bool takes_stack(struct pagecache *mem, raddr_t start, raddr_t end)
{
	uint8_t bytes[4096];
	raddr_t at = start;

	if (end - start > BODY_BYTES)
		return true;
	while (at + 3 <= end) {
		size_t want = end - at < sizeof(bytes) ? end - at
						       : sizeof(bytes);
		size_t n = pagecache_read_some(mem, at, bytes, want);

		for (size_t i = 0; i + 3 <= n; i++)
			if ((bytes[i] == 0x48 || bytes[i] == 0x4c) &&
			    bytes[i + 1] == 0x29 &&
			    (bytes[i + 2] & 0xc7) == 0xc4)
				return true;
		if (n < 3)
			return true;
		at += n - 2;
	}
	return false;
}

bool prologue_depth(struct pagecache *mem, raddr_t start, raddr_t end,
		    raddr_t pc, uint64_t *ret)
{
	static const uint8_t endbr64[] = { 0xf3, 0x0f, 0x1e, 0xfa };
	static const uint8_t frame[] = { 0x55, 0x48, 0x89, 0xe5 };
	uint8_t code[PROLOGUE_BYTES];
	size_t n = pagecache_read_some(mem, start, code, sizeof(code));
	size_t i = 0, used;

	if (n < sizeof(code))
		return false;
	if (!memcmp(code, endbr64, sizeof(endbr64)))
		i = sizeof(endbr64);
	if (memcmp(code + i, frame, sizeof(frame)) != 0)
		return false;
	i += sizeof(frame);
	return depth_from(code + i, n - i, &used, ret) &&
	       pc >= start + i + used && !takes_stack(mem, start, end);
}
