/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime-hooks/go/elf.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct elf_head head;
	char buf[32];

	elf_parse(data, size, &head);
	if (head.n > ELF_MAX_SEGMENTS)
		abort();
	for (uint32_t i = 0; i < head.n; i++) {
		const struct elf_segment *seg = &head.segments[i];

		// What the callers rely on when they add these up.
		if (seg->filesz > seg->memsz ||
		    seg->vaddr < elf_first_page(&head) ||
		    seg->vaddr + seg->memsz < seg->vaddr)
			abort();
	}
	if (!elf_machine_name(head.machine, buf)[0])
		abort();
	return 0;
}
