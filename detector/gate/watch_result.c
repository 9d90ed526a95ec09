/* SPDX-License-Identifier: Apache-2.0 */
#include "detector/gate/watch.h"

#include <stdlib.h>

struct watch_result *watch_result_create(void)
{
	struct watch_result *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->arena = arena_create();
	if (!r->arena) {
		free(r);
		return NULL;
	}
	r->gaps.arena = r->arena;
	return r;
}

static void destroy_list(struct gate_process *p)
{
	while (p) {
		struct gate_process *next = p->next;

		gate_process_destroy(p);
		p = next;
	}
}

void watch_result_destroy(struct watch_result *r)
{
	if (!r)
		return;
	destroy_list(r->processes);
	destroy_list(r->hung);
	arena_destroy(r->arena);
	free(r);
}
