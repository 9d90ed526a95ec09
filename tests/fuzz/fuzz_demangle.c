/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "runtime-hooks/native/names.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_ARENA struct arena *arena = arena_create();
	size_t len = strnlen((const char *)data, size);
	const char *name;

	if (!len)
		return 0;
	name = names_demangle(arena, (const char *)data, len);
	if (name && strlen(name) > DEMANGLE_MAX + 3 && strlen(name) > len)
		abort();
	return 0;
}
