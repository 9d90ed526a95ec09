/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "runtime-hooks/native/native_priv.h"

/*
 * A thread that was not stopped shows its stack and program counter, but not
 * RBP. Where a frame is told by RBP it must be found on the stack: the word
 * above it is the return address of the call to this very function.
 */

#define SCAN_BYTES 4096
#define FRAME_OFFSET 16 /* CFA - RBP: return address and saved RBP */

/* What follows was encoded by hand from Intel's SDM, volume 2. */
static const uint8_t endbr64[] = { 0xf3, 0x0f, 0x1e, 0xfa };

static size_t skip_endbr(const uint8_t *code, size_t len)
{
	return len >= sizeof(endbr64) && !memcmp(code, endbr64, sizeof(endbr64))
		       ? sizeof(endbr64)
		       : 0;
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

/*
 * Can the call that returns to @ret be one of the function at @start? A call
 * through a register may be of any.
 */
static enum call_kind called_from(struct native *native, raddr_t ret,
				  raddr_t start)
{
	enum call_kind kind;
	raddr_t target;

	if (!objects_find(&native->objects, ret - 1))
		return CALL_NONE;
	kind = native_call_before(native->mem, ret, &target);
	if (kind == CALL_DIRECT && target != start &&
	    through_plt(native->mem, target) != start)
		return CALL_NONE;
	return kind;
}

/*
 * The place is known from the code; that a call of this function, or one that
 * may be of it, left its return address there confirms it.
 */
static bool confirms(struct walk *w, raddr_t rbp, raddr_t start)
{
	uint64_t ret;

	return walk_word(w, rbp + 8, &ret) &&
	       called_from(w->native, ret, start) != CALL_NONE;
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
		if (called_from(w->native, word, start) != CALL_DIRECT)
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
	if (prologue_depth(w->native->mem, rule->start, rule->end, pc,
			   &depth)) {
		rbp = w->regs.r[NATIVE_RSP] + depth;
		if (confirms(w, rbp, rule->start)) {
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
