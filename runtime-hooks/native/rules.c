/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "runtime-hooks/native/elffile.h"
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

/*
 * An object without .eh_frame_hdr (a static program) has no sorted table. Its
 * file tells where .eh_frame is; the table is made from that.
 */
static void index_cfi(struct native *native, struct object *object)
{
	AUTO_ELFFILE struct elffile file = { .fd = -1 };
	AUTO_CLOSE int fd = -1;
	const Elf64_Shdr *section;

	object->cfi_tried = true;
	fd = object_open(native->p, object);
	if (fd < 0 || elffile_read(fd, &file))
		return;
	section = elffile_section(&file, ".eh_frame");
	if (!section || !(section->sh_flags & SHF_ALLOC))
		return;
	object->cfi.lo = object->lo;
	object->cfi.hi = object->hi;
	object->has_cfi = !cfi_index(native->mem, native->arena,
				     object->bias + section->sh_addr,
				     section->sh_size, &object->cfi);
}

static int find_row(struct native *native, raddr_t pc, struct cfi_row *row)
{
	const struct code *code = native_code(native, pc);
	struct object *object = code ? code->object : NULL;

	if (!object || !object_parse(native->mem, object))
		return -ENOENT;
	if (!object->has_cfi && !object->cfi_tried)
		index_cfi(native, object);
	if (!object->has_cfi)
		return -ENOENT;
	return cfi_find(native->mem, &object->cfi, pc, row);
}

enum call_kind native_call_before(struct pagecache *mem, raddr_t pc,
				  raddr_t *target_ret)
{
	static const uint8_t lengths[] = { 2, 3, 4, 6, 7 };
	uint8_t code[7];
	int32_t disp;

	// Intel SDM, volume 2, CALL: E8 rel32, FF /2
	if (pc < sizeof(code) ||
	    !pagecache_read(mem, pc - sizeof(code), code, sizeof(code)))
		return CALL_NONE;
	if (code[2] == 0xe8) {
		memcpy(&disp, code + 3, 4);
		*target_ret = pc + (uint64_t)(int64_t)disp;
		return CALL_DIRECT;
	}
	for (size_t i = 0; i < sizeof(lengths); i++) {
		const uint8_t *p = code + sizeof(code) - lengths[i];

		if (p[0] == 0xff && (p[1] >> 3 & 7) == 2)
			return CALL_INDIRECT;
	}
	return CALL_NONE;
}

/*
 * A return address that no call has left, but whoever made the stack: the
 * function that takes over when the first one returns (__start_context of
 * makecontext(3)). What lies further up is no frame, whatever the call frame
 * information of that function says.
 */
static bool is_entry(struct native *native, raddr_t pc, struct cfi_row *row)
{
	raddr_t target;

	return !find_row(native, pc, row) && row->start == pc &&
	       native_call_before(native->mem, pc, &target) == CALL_NONE;
}

static void compile(struct native *native, raddr_t pc, bool is_return,
		    struct rule *rule)
{
	struct cfi_row row;
	int rc;

	rule->entry = is_return && is_entry(native, pc, &row);
	rc = rule->entry ? 0 : find_row(native, pc - is_return, &row);
	if (rc) {
		rule->kind = rc == -ENOENT   ? RULE_NONE
			     : rc == -EFAULT ? RULE_UNREADABLE
					     : RULE_CORRUPT;
		return;
	}
	rule->start = row.start;
	rule->end = row.end;
	rule->signal_frame = row.signal_frame;
	rule->outermost = rule->entry ||
			  row.rule[NATIVE_RIP].how == CFI_UNDEFINED;
	rule->kind = compile_plain(&row, rule) ? RULE_PLAIN : RULE_LIBUNWIND;
}

const struct rule *native_rule(struct native *native, raddr_t pc,
			       bool is_return)
{
	uint64_t key = native_rule_key(pc, is_return);
	struct rule *rule = intern_get(&native->rules, key);

	if (rule)
		return rule;
	rule = arena_alloc(native->rules_arena, sizeof(*rule));
	if (!rule)
		return NULL;
	compile(native, pc, is_return, rule);
	return intern_add(&native->rules, key, rule) ? rule : NULL;
}
