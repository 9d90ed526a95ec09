/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime-hooks/go/since.h"

#include <stdlib.h>

#include "base/cleanup.h"

static int by_time(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return x < y ? -1 : x > y;
}

/* The times on @tasks, ascending. Most neighbours have the same one. */
static size_t collect(const struct task *tasks, size_t n, int64_t now,
		      int64_t *times)
{
	size_t used = 0;

	for (size_t i = 0; i < n; i++) {
		int64_t t = tasks[i].wait_since_mono_ns;

		if (t > 0 && t < now && (!used || times[used - 1] != t))
			times[used++] = t;
	}
	qsort(times, used, sizeof(*times), by_time);
	return used;
}

/* The smallest of @times that is larger than @since; 0 when there is none. */
static int64_t next_after(const int64_t *times, size_t n, int64_t since)
{
	size_t lo = 0, hi = n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (times[mid] > since)
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo < n ? times[lo] : 0;
}

static void raise_at_least(struct task *task, int64_t now)
{
	int64_t ms = (now - task->parked_before_mono_ns) / 1000000;

	if (ms <= task->blocked.at_least_ms)
		return;
	task->blocked.at_least_ms = ms;
	task->blocked.at_least_source = BLOCKED_WAITSINCE;
}

struct error *go_since_bound(struct task *tasks, size_t n, int64_t now_mono_ns)
{
	AUTO_FREE int64_t *times = malloc((n + 1) * sizeof(*times));

	if (!times)
		return &error_nomem;
	size_t used = collect(tasks, n, now_mono_ns, times);
	for (size_t i = 0; i < n; i++) {
		struct task *t = &tasks[i];

		if (t->wait_since_mono_ns <= 0)
			continue;
		t->parked_before_mono_ns =
			next_after(times, used, t->wait_since_mono_ns);
		if (t->parked_before_mono_ns)
			raise_at_least(t, now_mono_ns);
	}
	return NULL;
}
