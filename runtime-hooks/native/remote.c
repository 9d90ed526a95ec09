/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "runtime-hooks/native/native_priv.h"

#if defined(__x86_64__)

#define HDR_TABLE 12 /* where the table of .eh_frame_hdr begins */

/* Where no program has memory, libunwind finds the table that we made. */
#define INDEX_BASE ((raddr_t)1 << 62)

/* Exported by libunwind-x86_64 since 1.0, and declared in no header of it. */
int _Ux86_64_dwarf_search_unwind_table(unw_addr_space_t as, unw_word_t ip,
				       unw_dyn_info_t *di, unw_proc_info_t *pi,
				       int need_unwind_info, void *arg);

static int find_proc_info(unw_addr_space_t as, unw_word_t ip,
			  unw_proc_info_t *pi, int need_unwind_info, void *arg)
{
	struct walk *w = arg;
	const struct code *code = native_code(w->native, ip);
	struct object *object = code ? code->object : NULL;
	unw_dyn_info_t di = { .format = UNW_INFO_FORMAT_REMOTE_TABLE };

	if (!object || !object_parse(w->native->mem, object) ||
	    !object->has_cfi)
		return -UNW_ENOINFO;
	di.start_ip = object->lo;
	di.end_ip = object->hi;
	di.u.rti.segbase = object->cfi.hdr;
	di.u.rti.table_data = object->cfi.index ? INDEX_BASE
						: object->cfi.hdr + HDR_TABLE;
	di.u.rti.table_len = object->cfi.n * 8 / sizeof(unw_word_t);
	return _Ux86_64_dwarf_search_unwind_table(as, ip, &di, pi,
						  need_unwind_info, arg);
}

static void put_unwind_info(unw_addr_space_t as, unw_proc_info_t *pi, void *arg)
{
	(void)as;
	(void)pi;
	(void)arg;
}

static int get_dyn_info_list_addr(unw_addr_space_t as, unw_word_t *addr,
				  void *arg)
{
	(void)as;
	(void)addr;
	(void)arg;
	return -UNW_ENOINFO;
}

/* A word of the table that we made for an object. */
static bool index_word(const struct object *object, uint64_t off, uint64_t *ret)
{
	if (!object || !object->cfi.index ||
	    off + sizeof(*ret) > object->cfi.n * sizeof(struct cfi_entry))
		return false;
	memcpy(ret, (const uint8_t *)object->cfi.index + off, sizeof(*ret));
	return true;
}

static int access_mem(unw_addr_space_t as, unw_word_t addr, unw_word_t *val,
		      int write, void *arg)
{
	struct walk *w = arg;
	uint64_t word;
	bool ok;

	(void)as;
	if (write)
		return -UNW_EINVAL;
	// its reads of code and tables are of any alignment
	if (addr >= INDEX_BASE)
		ok = index_word(w->object, addr - INDEX_BASE, &word);
	else if (w->object && object_fixed(w->object, addr))
		ok = pagecache_read(w->native->mem, addr, &word, sizeof(word));
	else
		ok = walk_word(w, addr, &word);
	if (!ok)
		return -UNW_EINVAL;
	*val = word;
	return 0;
}

static int access_reg(unw_addr_space_t as, unw_regnum_t reg, unw_word_t *val,
		      int write, void *arg)
{
	const struct native_regs *regs = &((const struct walk *)arg)->first;

	(void)as;
	// libunwind numbers them as DWARF does. To make one up would be to
	// make up a frame.
	if (write || reg < 0 || reg >= NATIVE_N_REGS ||
	    !native_regs_has(regs, (enum native_reg)reg))
		return -UNW_EBADREG;
	*val = reg == NATIVE_RIP ? walk_lookup_pc(regs) : regs->r[reg];
	return 0;
}

static int access_fpreg(unw_addr_space_t as, unw_regnum_t reg, unw_fpreg_t *val,
			int write, void *arg)
{
	(void)as;
	(void)reg;
	(void)val;
	(void)write;
	(void)arg;
	return -UNW_EBADREG;
}

static int resume(unw_addr_space_t as, unw_cursor_t *cursor, void *arg)
{
	(void)as;
	(void)cursor;
	(void)arg;
	return -UNW_EINVAL;
}

static int get_proc_name(unw_addr_space_t as, unw_word_t addr, char *buf,
			 size_t len, unw_word_t *off, void *arg)
{
	(void)as;
	(void)addr;
	(void)buf;
	(void)len;
	(void)off;
	(void)arg;
	return -UNW_ENOINFO;
}

bool remote_init(struct native *native)
{
	unw_accessors_t accessors = {
		.find_proc_info = find_proc_info,
		.put_unwind_info = put_unwind_info,
		.get_dyn_info_list_addr = get_dyn_info_list_addr,
		.access_mem = access_mem,
		.access_reg = access_reg,
		.access_fpreg = access_fpreg,
		.resume = resume,
		.get_proc_name = get_proc_name,
	};

	native->space = unw_create_addr_space(&accessors, 0);
	if (native->space)
		unw_set_caching_policy(native->space, UNW_CACHE_GLOBAL);
	return native->space != NULL;
}

void remote_deinit(struct native *native)
{
	if (native->space)
		unw_destroy_addr_space(native->space);
}

void remote_forget(struct native *native)
{
	unw_flush_cache(native->space, 0, 0);
}

static enum native_end reason(const struct walk *w, int rc)
{
	if (rc == -UNW_EBADREG)
		return NATIVE_END_UNKNOWN_REG;
	if (w->unreadable)
		return NATIVE_END_UNREADABLE;
	if (rc == -UNW_ENOINFO)
		return NATIVE_END_NO_CFI;
	return NATIVE_END_CORRUPT;
}

/* What the cursor stands on now, as far as it is known. */
static void take_registers(unw_cursor_t *cursor, struct native_regs *to)
{
	memset(to, 0, sizeof(*to));
	for (int reg = 0; reg < NATIVE_N_REGS; reg++) {
		unw_word_t value;

		if (!unw_get_reg(cursor, reg, &value))
			native_regs_set(to, (enum native_reg)reg, value);
	}
}

static bool step_cursor(struct walk *w, const struct rule *rule,
			unw_cursor_t *cursor, struct native_regs *to,
			enum native_end *end_ret)
{
	const uint32_t needed = 1u << NATIVE_RIP | 1u << NATIVE_RSP;
	const struct code *code =
		native_code(w->native, walk_lookup_pc(&w->regs));
	int rc;

	// without CFI it would follow RBP, whatever that is
	if (rule->kind == RULE_NONE) {
		*end_ret = walk_made_by_hand(w) ? NATIVE_END_OUTERMOST
						: NATIVE_END_NO_CFI;
		return false;
	}
	w->object = code ? code->object : NULL;
	w->unreadable = false;
	rc = unw_step(cursor);
	*end_ret = rc ? reason(w, rc) : NATIVE_END_OUTERMOST;
	if (rc <= 0)
		return false;
	take_registers(cursor, to);
	*end_ret = w->unreadable ? NATIVE_END_UNREADABLE : NATIVE_END_CORRUPT;
	if ((to->known & needed) != needed)
		return false;
	// a signal may have come on a stack of its own
	if (!rule->signal_frame &&
	    (to->r[NATIVE_RSP] <= w->regs.r[NATIVE_RSP] ||
	     to->r[NATIVE_RSP] % 8))
		return false;
	to->pc_is_return = !rule->signal_frame;
	if (to->pc_is_return)
		to->known &= SAVED_MASK | needed;
	return true;
}

bool remote_step(struct walk *w, const struct rule *rule,
		 enum native_end *end_ret)
{
	struct native_regs to;
	unw_cursor_t cursor;

	w->first = w->regs;
	if (unw_init_remote(&cursor, w->native->space, w)) {
		*end_ret = NATIVE_END_UNKNOWN_REG;
		return false;
	}
	if (!step_cursor(w, rule, &cursor, &to, end_ret))
		return false;
	w->regs = to;
	return true;
}

int walk_remote(struct walk *w)
{
	const struct rule *rule;
	enum native_end why;
	unw_cursor_t cursor;
	int end;

	w->first = w->regs;
	if (unw_init_remote(&cursor, w->native->space, w))
		return NATIVE_END_UNKNOWN_REG;
	while ((rule = walk_note(w, &end))) {
		struct native_regs to;

		// libunwind takes what was put there by hand for a call
		if (rule->entry)
			return NATIVE_END_OUTERMOST;
		if (!step_cursor(w, rule, &cursor, &to, &why))
			return (int)why;
		w->regs = to;
	}
	return end;
}

#else

bool remote_init(struct native *native)
{
	(void)native;
	return true;
}

void remote_deinit(struct native *native)
{
	(void)native;
}

void remote_forget(struct native *native)
{
	(void)native;
}

bool remote_step(struct walk *w, const struct rule *rule,
		 enum native_end *end_ret)
{
	(void)w;
	(void)rule;
	*end_ret = NATIVE_END_NO_CFI;
	return false;
}

int walk_remote(struct walk *w)
{
	(void)w;
	return NATIVE_END_NO_CFI;
}

#endif
