/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "runtime-hooks/native/native_priv.h"

static bool window_word(struct walk *w, raddr_t addr, uint64_t *ret)
{
	raddr_t page = addr & ~(raddr_t)(WINDOW_BYTES - 1);

	if (!w->window_len || w->window_base != page) {
		ssize_t n = process_read_some(w->native->p, page, w->window,
					      WINDOW_BYTES);

		w->read_beyond = true;
		w->window_base = page;
		w->window_len = n > 0 ? (size_t)n : 0;
	}
	if (addr - page + 8 > w->window_len)
		return false;
	memcpy(ret, w->window + (addr - page), 8);
	return true;
}

bool walk_word(struct walk *w, raddr_t addr, uint64_t *ret)
{
	const struct native_copy *copy = w->copy;
	raddr_t off = addr - copy->base;
	bool ok;

	if (addr >= copy->base && copy->len >= 8 && off <= copy->len - 8) {
		memcpy(ret, (const uint8_t *)copy->bytes + off, 8);
		return true;
	}
	ok = addr % 8 == 0 && (!copy->hi || addr < copy->hi) &&
	     window_word(w, addr, ret);
	w->unreadable |= !ok;
	return ok;
}

bool walk_note(struct walk *w, enum native_end *end_ret)
{
	const struct code *code;
	raddr_t pc = w->regs.r[NATIVE_RIP];

	if (!pc) {
		*end_ret = NATIVE_END_OUTERMOST;
		return false;
	}
	code = native_code(w->native, walk_lookup_pc(&w->regs));
	if (!code) {
		*end_ret = NATIVE_END_CORRUPT;
		return false;
	}
	if (w->n == TASK_MAX_FRAMES) {
		*end_ret = NATIVE_END_LIMIT;
		return false;
	}
	w->object = code->object;
	w->flags[w->n] = (uint8_t)((w->regs.pc_is_return ? FRAME_RETURN : 0) |
				   (w->uncertain ? FRAME_UNCERTAIN : 0));
	w->pcs[w->n++] = pc;
	return true;
}

static bool saved_registers(struct walk *w, const struct rule *rule,
			    raddr_t cfa, struct native_regs *to)
{
	for (size_t i = 0; i < SAVED_N; i++) {
		enum native_reg reg = native_saved[i];

		if (rule->save[i] == RULE_SAME)
			continue;
		if (rule->save[i] == RULE_UNDEFINED) {
			to->known &= ~(1u << reg);
			continue;
		}
		if (!walk_word(w, cfa + (uint64_t)(int64_t)rule->save[i],
			       &to->r[reg]))
			return false;
		to->known |= 1u << reg;
	}
	return true;
}

static bool plain_step(struct walk *w, const struct rule *rule,
		       enum native_end *end_ret)
{
	struct native_regs to = w->regs;
	raddr_t cfa;

	*end_ret = NATIVE_END_UNKNOWN_REG;
	if (!native_regs_has(&w->regs, rule->cfa_reg) &&
	    (rule->cfa_reg != NATIVE_RBP || !walk_recover_rbp(w, rule)))
		return false;
	cfa = w->regs.r[rule->cfa_reg] + (uint64_t)(int64_t)rule->cfa_offset;
	// the caller's frame is above, and has room for the return address
	*end_ret = NATIVE_END_CORRUPT;
	if (cfa <= w->regs.r[NATIVE_RSP] || cfa % 8)
		return false;
	*end_ret = NATIVE_END_UNREADABLE;
	to.r[NATIVE_RBP] = w->regs.r[NATIVE_RBP];
	to.known = w->regs.known;
	if (!saved_registers(w, rule, cfa, &to) ||
	    !walk_word(w, cfa + (uint64_t)(int64_t)rule->ret,
		       &to.r[NATIVE_RIP]))
		return false;
	// the rest did not survive the call
	to.known &= SAVED_MASK | 1u << NATIVE_RIP;
	native_regs_set(&to, NATIVE_RSP, cfa);
	to.pc_is_return = true;
	w->regs = to;
	return true;
}

static bool fast_step(struct walk *w, const struct rule *rule,
		      enum native_end *end_ret)
{
	switch (rule->kind) {
	case RULE_PLAIN:
		return plain_step(w, rule, end_ret);
	case RULE_LIBUNWIND:
		return remote_step(w, rule, end_ret);
	case RULE_NONE:
		*end_ret = NATIVE_END_NO_CFI;
		return false;
	case RULE_UNREADABLE:
		*end_ret = NATIVE_END_UNREADABLE;
		return false;
	case RULE_CORRUPT:
	default:
		*end_ret = NATIVE_END_CORRUPT;
		return false;
	}
}

int walk_fast(struct walk *w)
{
	enum native_end end;

	while (walk_note(w, &end)) {
		const struct rule *rule =
			native_rule(w->native, walk_lookup_pc(&w->regs));

		if (!rule)
			return -ENOMEM;
		if (rule->outermost)
			return NATIVE_END_OUTERMOST;
		if (!fast_step(w, rule, &end))
			return (int)end;
	}
	return (int)end;
}
