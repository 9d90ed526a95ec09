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

bool walk_word_beyond(struct walk *w, raddr_t addr, uint64_t *ret)
{
	raddr_t hi = w->copy->hi;
	bool ok = addr % 8 == 0 && (!hi || addr < hi) &&
		  window_word(w, addr, ret);

	w->unreadable |= !ok;
	return ok;
}

/* The rule at w's pc. NULL: there is no frame, and why. */
static const struct rule *find_rule(struct walk *w, int *end_ret)
{
	raddr_t pc = w->regs.r[NATIVE_RIP];
	const struct rule *rule;

	*end_ret = NATIVE_END_OUTERMOST;
	if (!pc)
		return NULL;
	// a rule is kept only where there is code
	rule = native_rule_kept(w->native, pc, w->regs.pc_is_return);
	if (rule)
		return rule;
	*end_ret = NATIVE_END_CORRUPT;
	if (!native_code(w->native, walk_lookup_pc(&w->regs)))
		return NULL;
	*end_ret = -ENOMEM;
	return native_rule(w->native, pc, w->regs.pc_is_return);
}

const struct rule *walk_note(struct walk *w, int *end_ret)
{
	const struct rule *rule = find_rule(w, end_ret);
	uint32_t flags;

	if (!rule)
		return NULL;
	*end_ret = NATIVE_END_LIMIT;
	if (w->n == TASK_MAX_FRAMES)
		return NULL;
	w->regs.pc_is_return &= !rule->entry;
	flags = w->regs.pc_is_return ? FRAME_RETURN : 0;
	flags |= w->uncertain ? FRAME_UNCERTAIN : 0;
	w->flags[w->n] = (uint8_t)flags;
	w->pcs[w->n++] = w->regs.r[NATIVE_RIP];
	return rule;
}

static raddr_t at(raddr_t cfa, int32_t offset)
{
	return cfa + (uint64_t)(int64_t)offset;
}

/* The caller's registers, as far as a function gives them back. */
static bool restore(struct walk *w, const struct rule *rule, raddr_t cfa)
{
	uint64_t pc;

	if (!walk_word(w, at(cfa, rule->ret), &pc))
		return false;
	for (size_t i = 0; i < SAVED_N; i++) {
		enum native_reg reg = native_saved[i];

		if (rule->save[i] == RULE_SAME)
			continue;
		if (rule->save[i] == RULE_UNDEFINED)
			w->regs.known &= ~(1u << reg);
		else if (walk_word(w, at(cfa, rule->save[i]), &w->regs.r[reg]))
			w->regs.known |= 1u << reg;
		else
			return false;
	}
	// the rest did not survive the call
	w->regs.known &= SAVED_MASK;
	native_regs_set(&w->regs, NATIVE_RIP, pc);
	native_regs_set(&w->regs, NATIVE_RSP, cfa);
	w->regs.pc_is_return = true;
	return true;
}

static bool plain_step(struct walk *w, const struct rule *rule,
		       enum native_end *end_ret)
{
	raddr_t cfa;

	*end_ret = NATIVE_END_UNKNOWN_REG;
	if (!native_regs_has(&w->regs, rule->cfa_reg) &&
	    (rule->cfa_reg != NATIVE_RBP || !walk_recover_rbp(w, rule)))
		return false;
	cfa = at(w->regs.r[rule->cfa_reg], rule->cfa_offset);
	// the caller's frame is above, and has room for the return address
	*end_ret = NATIVE_END_CORRUPT;
	if (cfa <= w->regs.r[NATIVE_RSP] || cfa % 8)
		return false;
	*end_ret = NATIVE_END_UNREADABLE;
	return restore(w, rule, cfa);
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
		*end_ret = walk_made_by_hand(w) ? NATIVE_END_OUTERMOST
						: NATIVE_END_NO_CFI;
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
	const struct rule *rule;
	enum native_end why;
	int end;

	while ((rule = walk_note(w, &end))) {
		if (rule->outermost)
			return NATIVE_END_OUTERMOST;
		if (!fast_step(w, rule, &why))
			return (int)why;
	}
	return end;
}
