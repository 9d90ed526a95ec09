/* SPDX-License-Identifier: Apache-2.0 */

/*
 * usage: stop PID ROUNDS
 *
 * Stop every thread of PID by turns and let it go, as `--stop` does. Prints
 * "P50 P99 MAX N": for how long each was stopped, in microseconds.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "runtime-hooks/thread/stop.h"

static int by_size(const void *a, const void *b)
{
	const int64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

int main(int argc, char **argv)
{
	AUTO_ARENA struct arena *arena = arena_create();
	AUTO_PROCESS struct process *p = NULL;
	static char copy[64 * 1024];
	pid_t *tids;
	size_t n_tids, n = 0;
	size_t rounds = argc > 2 ? (size_t)atoi(argv[2]) : 20;

	if (argc < 2 || !arena || process_open(atoi(argv[1]), &p) ||
	    process_threads(p, arena, &tids, &n_tids))
		return 1;
	int64_t *ns = calloc(rounds * n_tids + 1, sizeof(*ns));
	for (size_t r = 0; ns && r < rounds; r++) {
		for (size_t i = 0; i < n_tids; i++) {
			struct native_regs regs;
			size_t len;

			if (!thread_stop(p, tids[i], &regs, copy, 8192, &len,
					 &ns[n]))
				n++;
		}
	}
	if (!n)
		return 1;
	qsort(ns, n, sizeof(*ns), by_size);
	printf("%.1f %.1f %.1f %zu\n", (double)ns[n / 2] / 1e3,
	       (double)ns[n * 99 / 100] / 1e3, (double)ns[n - 1] / 1e3, n);
	free(ns);
	return 0;
}
