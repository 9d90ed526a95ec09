/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "runtime-hooks/native/dwarf_lines.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_CLOSE int fd = memfd_create("fuzz", MFD_CLOEXEC);
	AUTO_ARENA struct arena *arena = arena_create();
	struct names_frame frames[8];
	struct dwarf_lines *lines;

	if (fd < 0 || write(fd, data, size) != (ssize_t)size)
		return 0;
	lines = dwarf_lines_create(fd, -1);
	for (uint64_t addr = 0x400160; lines && addr < 0x4001a0; addr += 7)
		if (dwarf_lines_find(lines, addr, arena, frames, 8) > 8)
			abort();
	dwarf_lines_destroy(lines);
	return 0;
}
