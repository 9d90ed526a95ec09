/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime-hooks/coroutine/st.h"

#include <string.h>

#include "base/cleanup.h"
#include "runtime-hooks/coroutine/st_layout.h"
#include "runtime-hooks/native/elffile.h"

/* md.S, _st_md_cxt_save for x86-64: which register goes where. */
static const uint8_t save_code[] = {
	0x48, 0x89, 0x1f,				      // mov %rbx,(%rdi)
	0x48, 0x89, 0x6f, 0x08,				      // %rbp
	0x4c, 0x89, 0x67, 0x10,				      // %r12
	0x4c, 0x89, 0x6f, 0x18,				      // %r13
	0x4c, 0x89, 0x77, 0x20,				      // %r14
	0x4c, 0x89, 0x7f, 0x28,				      // %r15
	0x48, 0x8d, 0x54, 0x24, 0x08, 0x48, 0x89, 0x57, 0x30, // 8(%rsp)
	0x48, 0x8b, 0x04, 0x24, 0x48, 0x89, 0x47, 0x38,	      // (%rsp)
};

static void *bytes_of(const struct elffile *file, const char *section,
		      size_t *len_ret)
{
	const Elf64_Shdr *header = elffile_section(file, section);

	return header ? elffile_bytes(file, header, len_ret) : NULL;
}

static void take_symbol(const Elf64_Sym *sym, const char *name,
			struct st_symbols *ret)
{
	if (!strcmp(name, "_st_this_vp") &&
	    sym->st_size >= sizeof(struct st_vp))
		ret->vp = sym->st_value;
	else if (!strcmp(name, "_st_md_cxt_save"))
		ret->save = sym->st_value;
	else if (!strcmp(name, "_st_active_count"))
		ret->active = sym->st_value;
}

bool st_symbols(const struct process *p, struct st_symbols *ret)
{
	static const char name[] = "\0_st_this_vp";
	AUTO_CLOSE int fd = elffile_open_link(p->procfd, "exe");
	AUTO_ELFFILE struct elffile file = { .fd = -1 };
	AUTO_FREE char *strings = NULL;
	AUTO_FREE uint8_t *table = NULL;
	size_t len = 0, size = 0;

	memset(ret, 0, sizeof(*ret));
	if (fd < 0 || elffile_read(fd, &file) ||
	    elffile_section(&file, ".gopclntab"))
		return false;
	strings = bytes_of(&file, ".strtab", &len);
	if (!strings || !memmem(strings, len, name, sizeof(name)))
		return false;
	table = bytes_of(&file, ".symtab", &size);
	for (size_t at = 0; table && size - at >= sizeof(Elf64_Sym);
	     at += sizeof(Elf64_Sym)) {
		Elf64_Sym sym;

		memcpy(&sym, table + at, sizeof(sym));
		// there is a NUL after the last
		if (sym.st_name < len && sym.st_shndx != SHN_UNDEF)
			take_symbol(&sym, strings + sym.st_name, ret);
	}
	return ret->vp && ret->save;
}

static bool is_ring(struct live *mem, raddr_t head, const struct st_list *list)
{
	struct st_list next, prev;

	return live_plausible(list->next, 8) && live_plausible(list->prev, 8) &&
	       live_read(mem, list->next, &next, sizeof(next)) &&
	       live_read(mem, list->prev, &prev, sizeof(prev)) &&
	       next.prev == head && prev.next == head;
}

/* Its idle thread is there from the beginning to the end. */
static bool is_sound(struct live *mem, raddr_t at, const struct st_vp *vp)
{
	struct st_thread idle;
	struct st_stack stack;

	return live_plausible(vp->idle_thread, 8) &&
	       live_read(mem, vp->idle_thread, &idle, sizeof(idle)) &&
	       idle.flags & ST_IDLE && idle.state <= ST_SUSPENDED &&
	       live_plausible(idle.stack, 8) &&
	       live_read(mem, idle.stack, &stack, sizeof(stack)) &&
	       stack.stk_bottom < stack.stk_top &&
	       stack.stk_top - stack.stk_bottom == (uint64_t)stack.stk_size &&
	       vp->idle_thread > stack.stk_bottom &&
	       is_ring(mem, at + offsetof(struct st_vp, zombie_q),
		       &vp->zombie_q);
}

struct error *st_find(struct live *mem, struct native *native,
		      const struct st_symbols *sym, struct st *ret)
{
	uint8_t code[sizeof(save_code)];
	struct st_vp vp;
	struct st st = { 0 };
	raddr_t save;

	if (native_symbol(native, "", "_st_md_cxt_save", &save, NULL))
		return error_new(ERROR_ABSENT, "no State Threads");
	st.vp = sym->vp + (save - sym->save);
	if (sym->active)
		st.active = sym->active + (save - sym->save);
	if (!live_read(mem, save, code, sizeof(code)) ||
	    memcmp(code, save_code, sizeof(code)) != 0)
		return error_new(ERROR_CORRUPT,
				 "State Threads of another version than 1.9");
	if (!live_read(mem, st.vp, &vp, sizeof(vp)) || !vp.idle_thread)
		return error_new(ERROR_ABSENT,
				 "State Threads are not in use yet");
	// the rings move while it runs
	for (int i = 0; !is_sound(mem, st.vp, &vp); i++)
		if (i == ST_RETRIES || !live_read(mem, st.vp, &vp, sizeof(vp)))
			return error_new(ERROR_CORRUPT,
					 "State Threads of another version "
					 "than 1.9: its queues make no sense");
	*ret = st;
	return NULL;
}
