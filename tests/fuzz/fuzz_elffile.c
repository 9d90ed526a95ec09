/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "runtime-hooks/native/elffile.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void ask(const struct symtab *tab)
{
	for (size_t i = 0; i < tab->n; i++) {
		const struct symbol *sym = &tab->v[i], *found;

		if (i && sym->addr < sym[-1].addr)
			abort();
		// of what lies in it, it or a better one is the name
		found = symtab_find(tab, sym->addr, sym->addr);
		if (found && found->addr > sym->addr)
			abort();
		if (strnlen(sym->name, sym->name_len) != sym->name_len)
			abort();
	}
	symtab_named(tab, "main");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_CLOSE int fd = memfd_create("fuzz", MFD_CLOEXEC);
	AUTO_ELFFILE struct elffile file = { .fd = -1 };
	struct object_build_id id = { .len = 0 };
	struct symtab tab = { .n = 0 };
	const Elf64_Shdr *link;
	size_t len;

	if (fd < 0 || write(fd, data, size) != (ssize_t)size)
		return 0;
	if (elffile_build_id(fd, &id) &&
	    (!id.len || id.len > OBJECT_MAX_BUILD_ID))
		abort();
	if (elffile_read(fd, &file))
		return 0;
	link = elffile_section(&file, ".gnu_debuglink");
	if (link)
		free(elffile_bytes(&file, link, &len));
	if (!symtab_read(&file, &tab))
		ask(&tab);
	symtab_clear(&tab);
	return 0;
}
