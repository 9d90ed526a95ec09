/* SPDX-License-Identifier: Apache-2.0 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "runtime-hooks/thread/sets.h"
#include "runtime-hooks/thread/syscalls.h"

/** What the kernel writes of an epoll set, and code in front of a syscall. */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct arena *arena = arena_create();
	struct wait_set set = { 0 };
	char *text = malloc(size + 1);

	if (!arena || !text)
		abort();
	if (size)
		memcpy(text, data, size);
	text[size] = '\0';
	if (wait_set_epoll_parse(text, arena, &set) ||
	    set.n > TASK_MAX_WAIT_FDS)
		abort();
	for (uint32_t i = 0; i < set.n; i++)
		if (set.v[i].fd < 0)
			abort();
	if (size >= SYSCALL_CODE) {
		const struct syscall_kind *kind = syscall_restarted(data);

		if (kind && kind != syscall_kind(kind->nr))
			abort();
	}
	free(text);
	arena_destroy(arena);
	return 0;
}
