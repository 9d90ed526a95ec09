/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime-hooks/coroutine/lines_priv.h"

#include <stdlib.h>
#include <string.h>

static uint32_t key_byte(const struct task *t, int byte)
{
	return (uint32_t)(t->id >> (32 + 8 * byte)) & 0xff;
}

/* One round of a radix sort: lines ascend, so incarnations are what is left. */
static void sort_byte(const struct task *tasks, const uint32_t *from,
		      uint32_t *to, size_t n, int byte)
{
	size_t at[256] = { 0 }, sum = 0;

	for (size_t i = 0; i < n; i++)
		at[key_byte(&tasks[from[i]], byte)]++;
	for (size_t b = 0; b < 256; b++) {
		size_t count = at[b];

		at[b] = sum;
		sum += count;
	}
	for (size_t i = 0; i < n; i++)
		to[at[key_byte(&tasks[from[i]], byte)]++] = from[i];
}

static bool is_sorted(const struct task *tasks, size_t n)
{
	for (size_t i = 1; i < n; i++)
		if (tasks[i - 1].id >= tasks[i].id)
			return false;
	return true;
}

bool lines_sort(struct task *tasks, size_t n)
{
	uint32_t *a, *b;
	struct task *copy;

	if (is_sorted(tasks, n))
		return true;
	a = malloc(n * sizeof(*a));
	b = malloc(n * sizeof(*b));
	copy = malloc(n * sizeof(*copy));
	for (size_t i = 0; a && b && copy && i < n; i++)
		a[i] = (uint32_t)i;
	for (int byte = 0; a && b && copy && byte < 4; byte++) {
		uint32_t *other = a;

		sort_byte(tasks, a, b, n, byte);
		a = b;
		b = other;
	}
	if (a && b && copy) {
		memcpy(copy, tasks, n * sizeof(*copy));
		for (size_t i = 0; i < n; i++)
			tasks[i] = copy[a[i]];
	}
	free(a);
	free(b);
	free(copy);
	return a && b && copy;
}

struct error *lines_sites(struct live *mem, const struct root *root,
			  struct hook_site **ret)
{
	const struct hook_root *r = &root->v;
	struct hook_site *v;
	uint8_t *raw;
	bool ok;

	*ret = NULL;
	if (!r->sites || !r->max_sites)
		return NULL;
	v = calloc(r->max_sites, sizeof(*v));
	raw = malloc((size_t)r->max_sites * r->site_size);
	ok = v && raw &&
	     live_read(mem, r->sites, raw, (size_t)r->max_sites * r->site_size);
	for (uint32_t i = 0; ok && i < r->max_sites; i++)
		memcpy(&v[i], raw + (size_t)i * r->site_size, sizeof(v[i]));
	if (ok)
		*ret = v;
	else
		free(v);
	free(raw);
	if (ok)
		return NULL;
	return v && raw ? error_new(ERROR_FAULT, "cannot read where coroutines "
						 "are created")
			: &error_nomem;
}
