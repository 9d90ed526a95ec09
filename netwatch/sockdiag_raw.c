/* SPDX-License-Identifier: Apache-2.0 */
#include "netwatch/sockdiag_raw.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define KEEP_MAX (1 << 20) /* bytes that stay between two dumps */
#define ALIGN 8

static int reserve(void **v, size_t need, size_t *cap, size_t size)
{
	if (need <= *cap)
		return 0;
	size_t more = need * 2 > 64 ? need * 2 : 64;
	void *grown = reallocarray(*v, more, size);
	if (!grown)
		return -ENOMEM;
	*v = grown;
	*cap = more;
	return 0;
}

int raw_store_add(struct raw_store *raw, uint32_t inode, int64_t mono_ns,
		  int64_t wall_ms, const void *data, uint32_t len)
{
	size_t step = (sizeof(struct raw_message) + len + ALIGN - 1) &
		      ~(size_t)(ALIGN - 1);

	if (reserve((void **)&raw->data, raw->len + step, &raw->cap, 1) < 0 ||
	    reserve((void **)&raw->keys, raw->n + 1, &raw->cap_keys,
		    sizeof(*raw->keys)) < 0)
		return -ENOMEM;
	struct raw_message *m = (void *)(raw->data + raw->len);
	m->mono_ns = mono_ns;
	m->wall_ms = wall_ms;
	m->len = len;
	memcpy(m->data, data, len);
	raw->keys[raw->n++] = (struct raw_key){ inode, raw->len };
	raw->len += step;
	return 0;
}

/* One pass of a radix sort: stable, by one byte of the inode. */
static void sort_pass(const struct raw_key *from, struct raw_key *to, size_t n,
		      unsigned shift)
{
	size_t start[257] = { 0 };

	for (size_t i = 0; i < n; i++)
		start[(from[i].inode >> shift & 0xff) + 1]++;
	for (size_t i = 1; i < 257; i++)
		start[i] += start[i - 1];
	for (size_t i = 0; i < n; i++)
		to[start[from[i].inode >> shift & 0xff]++] = from[i];
}

int raw_store_sort(struct raw_store *raw)
{
	struct raw_key *spare = calloc(raw->n + 1, sizeof(*spare));

	if (!spare)
		return -ENOMEM;
	// an even number of passes, so that the result is where it began
	sort_pass(raw->keys, spare, raw->n, 0);
	sort_pass(spare, raw->keys, raw->n, 8);
	sort_pass(raw->keys, spare, raw->n, 16);
	sort_pass(spare, raw->keys, raw->n, 24);
	free(spare);
	return 0;
}

const struct raw_message *raw_store_get(const struct raw_store *raw, size_t i)
{
	// they lie in the order of the dump: fetch one that comes soon
	if (i + 4 < raw->n) {
		const unsigned char *next = raw->data + raw->keys[i + 4].at;

		for (size_t at = 0; at < 384; at += 64)
			__builtin_prefetch(next + at);
	}
	return (const void *)(raw->data + raw->keys[i].at);
}

void raw_store_clear(struct raw_store *raw)
{
	raw->len = 0;
	raw->n = 0;
	if (raw->cap > KEEP_MAX)
		raw_store_deinit(raw);
}

void raw_store_deinit(struct raw_store *raw)
{
	free(raw->data);
	free(raw->keys);
	*raw = (struct raw_store){ 0 };
}
