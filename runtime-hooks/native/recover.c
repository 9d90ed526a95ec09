/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "runtime-hooks/native/native_priv.h"

/*
 * A thread that was not stopped shows its stack and program counter, but not
 * RBP. Where a frame is told by RBP it must be found on the stack: the word
 * above it is the return address of the call to this very function.
 */

#define SCAN_BYTES 4096
#define PROLOGUE_BYTES 64
#define FRAME_OFFSET 16 /* CFA - RBP: return address and saved RBP */

/* What follows was encoded by hand from Intel's SDM, volume 2. */
static const uint8_t endbr64[] = { 0xf3, 0x0f, 0x1e, 0xfa };
static const uint8_t push_rbp_mov[] = { 0x55, 0x48, 0x89, 0xe5 };

static size_t skip_endbr(const uint8_t *code, size_t len)
{
	return len >= sizeof(endbr64) && !memcmp(code, endbr64, sizeof(endbr64))
		       ? sizeof(endbr64)
		       : 0;
}

/* Pushes of registers that the callee saves; *n_ret bytes of stack. */
static size_t skip_pushes(const uint8_t *code, size_t i, size_t len,
			  uint64_t *depth_ret)
{
	while (i + 2 <= len) {
		if (code[i] == 0x53) // rbx
			i++;
		else if (code[i] == 0x41 && code[i + 1] >= 0x54 &&
			 code[i + 1] <= 0x57) // r12 ... r15
			i += 2;
		else
			break;
		*depth_ret += 8;
	}
	return i;
}

/*
 * How far below RBP the stack pointer stands when the function at @start calls
 * another: from the instructions that it begins with, when these are the usual
 * ones and no others come between.
 */
static bool frame_depth(struct pagecache *mem, raddr_t start, raddr_t pc,
			uint64_t *ret)
{
	uint8_t code[PROLOGUE_BYTES];
	size_t len = pagecache_read_some(mem, start, code, sizeof(code));
	size_t i = skip_endbr(code, len);
	uint64_t depth = 0;
	int32_t imm;

	if (len < sizeof(code) ||
	    memcmp(code + i, push_rbp_mov, sizeof(push_rbp_mov)) != 0)
		return false;
	i = skip_pushes(code, i + sizeof(push_rbp_mov), len, &depth);
	if (i + 7 > len || code[i] != 0x48 || code[i + 2] != 0xec)
		return false;
	if (code[i + 1] == 0x83) { // sub $imm8,%rsp
		imm = (int8_t)code[i + 3];
		i += 4;
	} else if (code[i + 1] == 0x81) { // sub $imm32,%rsp
		memcpy(&imm, code + i + 3, 4);
		i += 7;
	} else {
		return false;
	}
	*ret = depth + (uint64_t)(int64_t)imm;
	return imm >= 0 && pc > start + i;
}

/* Where the stub of a procedure linkage table at @target leads. */
static raddr_t through_plt(struct pagecache *mem, raddr_t target)
{
	uint8_t code[16];
	size_t i;
	int32_t disp;
	uint64_t to;

	if (!pagecache_read(mem, target, code, sizeof(code)))
		return 0;
	i = skip_endbr(code, sizeof(code));
	if (code[i] == 0xf2) // bnd
		i++;
	if (code[i] != 0xff || code[i + 1] != 0x25) // jmp *disp(%rip)
		return 0;
	memcpy(&disp, code + i + 2, 4);
	if (!pagecache_read(mem, target + i + 6 + (uint64_t)(int64_t)disp, &to,
			    sizeof(to)))
		return 0;
	return to;
}

/* Is @ret what a direct call of the function at @start would return to? */
static bool returns_from(struct native *native, raddr_t ret, raddr_t start)
{
	struct pagecache *mem = native->mem;
	uint8_t code[5];
	int32_t disp;
	raddr_t target;

	if (ret < sizeof(code) || !objects_find(&native->objects, ret - 1) ||
	    !pagecache_read(mem, ret - sizeof(code), code, sizeof(code)) ||
	    code[0] != 0xe8)
		return false;
	memcpy(&disp, code + 1, 4);
	target = ret + (uint64_t)(int64_t)disp;
	return target == start || through_plt(mem, target) == start;
}

static bool fits(struct walk *w, raddr_t rbp, raddr_t start)
{
	uint64_t ret;

	return walk_word(w, rbp + 8, &ret) &&
	       returns_from(w->native, ret, start);
}

/*
 * The only place up the stack that fits. One that is left over from an earlier
 * call would fit too, so this proves nothing by itself.
 */
static bool scan(struct walk *w, raddr_t start, raddr_t *ret)
{
	raddr_t sp = (w->regs.r[NATIVE_RSP] + 7) & ~(raddr_t)7, found = 0;
	uint64_t word;

	for (raddr_t at = sp; at < sp + SCAN_BYTES; at += 8) {
		if (!walk_word(w, at + 8, &word))
			break;
		if (!returns_from(w->native, word, start))
			continue;
		if (found)
			return false;
		found = at;
	}
	*ret = found;
	return found != 0;
}

bool walk_recover_rbp(struct walk *w, const struct rule *rule)
{
	raddr_t pc = walk_lookup_pc(&w->regs), rbp;
	uint64_t depth;

	if (rule->cfa_offset != FRAME_OFFSET || rule->ret != -8 ||
	    rule->save[1] != -FRAME_OFFSET || !rule->start)
		return false;
	if (frame_depth(w->native->mem, rule->start, pc, &depth)) {
		rbp = w->regs.r[NATIVE_RSP] + depth;
		if (fits(w, rbp, rule->start)) {
			native_regs_set(&w->regs, NATIVE_RBP, rbp);
			return true;
		}
	}
	if (!scan(w, rule->start, &rbp))
		return false;
	native_regs_set(&w->regs, NATIVE_RBP, rbp);
	w->uncertain = true;
	return true;
}
