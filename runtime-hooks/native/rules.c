/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "runtime-hooks/native/native_priv.h"

const uint8_t native_saved[SAVED_N] = { NATIVE_RBX, NATIVE_RBP, NATIVE_R12,
					NATIVE_R13, NATIVE_R14, NATIVE_R15 };

static bool compile_save(const struct cfi_rule *from, int32_t *to)
{
	if (from->how == CFI_SAME)
		*to = RULE_SAME;
	else if (from->how == CFI_UNDEFINED)
		*to = RULE_UNDEFINED;
	else if (from->how == CFI_AT)
		*to = from->offset;
	else
		return false;
	return true;
}

/* Does @row say no more than struct rule can hold? */
static bool compile_plain(const struct cfi_row *row, struct rule *rule)
{
	const struct cfi_rule *ret = &row->rule[NATIVE_RIP];

	if (row->cfa_expression || row->signal_frame ||
	    row->rule[NATIVE_RSP].how != CFI_SAME ||
	    (ret->how != CFI_AT && ret->how != CFI_UNDEFINED))
		return false;
	for (size_t i = 0; i < SAVED_N; i++)
		if (!compile_save(&row->rule[native_saved[i]], &rule->save[i]))
			return false;
	rule->cfa_reg = row->cfa_reg;
	rule->cfa_offset = row->cfa_offset;
	rule->ret = ret->offset;
	return true;
}

static void compile(struct native *native, raddr_t pc, struct rule *rule)
{
	const struct code *code = native_code(native, pc);
	struct cfi_row row;
	int rc = -ENOENT;

	if (code && code->object && object_parse(native->mem, code->object) &&
	    code->object->has_cfi)
		rc = cfi_find(native->mem, &code->object->cfi, pc, &row);
	if (rc) {
		rule->kind = rc == -ENOENT   ? RULE_NONE
			     : rc == -EFAULT ? RULE_UNREADABLE
					     : RULE_CORRUPT;
		return;
	}
	rule->start = row.start;
	rule->signal_frame = row.signal_frame;
	rule->outermost = row.rule[NATIVE_RIP].how == CFI_UNDEFINED;
	rule->kind = compile_plain(&row, rule) ? RULE_PLAIN : RULE_LIBUNWIND;
}

const struct rule *native_rule(struct native *native, raddr_t pc)
{
	struct rule *rule = intern_get(&native->rules, pc);

	if (rule)
		return rule;
	rule = arena_alloc(native->rules_arena, sizeof(*rule));
	if (!rule)
		return NULL;
	compile(native, pc, rule);
	return intern_add(&native->rules, pc, rule) ? rule : NULL;
}
