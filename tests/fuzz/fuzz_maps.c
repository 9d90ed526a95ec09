/* SPDX-License-Identifier: Apache-2.0 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/process.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Whatever the text: no crash, and what is accepted is in order. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct arena *arena = arena_create();
	struct process_maps maps;
	struct error *err;

	err = process_maps_parse((const char *)data, size, arena, &maps);
	if (err) {
		error_free(err);
		arena_destroy(arena);
		return 0;
	}
	for (size_t i = 0; i < maps.n; i++) {
		const struct process_map *map = &maps.v[i];

		if (map->start >= map->end || !map->path ||
		    (i && map->start < map[-1].end) ||
		    process_maps_find(&maps, map->start) != map ||
		    process_maps_find(&maps, map->end - 1) != map)
			abort();
	}
	arena_destroy(arena);
	return 0;
}
