/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime-hooks/go/live.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PAGE_SHIFT 12
#define PAGE_BYTES ((size_t)1 << PAGE_SHIFT)
#define PAGES 1024 /* 4 MB: sudogs of 40,000 goroutines */

/* Neighbours this close are read in one piece: g's of one span are 0 apart,
 * what we read of each ends some 100 bytes before the next. */
#define GATHER_GAP 256

struct go_page {
	uint64_t number;
	uint32_t when; /* generation; 0 never */
	bool ok;
	uint8_t *bytes;
};

int go_live_init(struct go_live *mem, go_read_fn *read, void *arg)
{
	*mem = (struct go_live){ .read = read, .arg = arg, .now = 1 };
	mem->pages = calloc(PAGES, sizeof(*mem->pages));
	return mem->pages ? 0 : -ENOMEM;
}

void go_live_deinit(struct go_live *mem)
{
	for (size_t i = 0; mem->pages && i < PAGES; i++)
		free(mem->pages[i].bytes);
	free(mem->pages);
	mem->pages = NULL;
}

static void read_batch(struct go_live *mem, struct process_read_req *reqs,
		       size_t n)
{
	int rc = mem->read(mem->arg, reqs, n);

	if (rc < 0)
		mem->error = rc;
}

bool go_live_read(struct go_live *mem, raddr_t addr, void *buf, size_t len)
{
	struct process_read_req req = { .addr = addr,
					.buf = buf,
					.len = (uint32_t)len };

	if (len > UINT32_MAX || addr + len < addr)
		return false;
	read_batch(mem, &req, 1);
	return req.ok;
}

void go_live_forget(struct go_live *mem)
{
	if (++mem->now)
		return;
	mem->now = 1;
	for (size_t i = 0; i < PAGES; i++)
		mem->pages[i].when = 0;
}

static struct go_page *find_page(struct go_live *mem, uint64_t number)
{
	struct go_page *page =
		&mem->pages[(number * 0x9e3779b97f4a7c15ULL) >> 54];

	_Static_assert(PAGES == 1 << (64 - 54), "the hash fits the table");
	if (page->when == mem->now && page->number == number)
		return page;
	if (!page->bytes)
		page->bytes = malloc(PAGE_BYTES);
	if (!page->bytes)
		return NULL;
	page->number = number;
	page->when = mem->now;
	page->ok = go_live_read(mem, number << PAGE_SHIFT, page->bytes,
				PAGE_BYTES);
	return page;
}

bool go_live_peek(struct go_live *mem, raddr_t addr, void *buf, size_t len)
{
	uint8_t *out = buf;

	if (addr + len < addr)
		return false;
	while (len) {
		size_t off = addr & (PAGE_BYTES - 1);
		size_t part = PAGE_BYTES - off < len ? PAGE_BYTES - off : len;
		struct go_page *page = find_page(mem, addr >> PAGE_SHIFT);

		if (!page || !page->ok)
			return false;
		memcpy(out, page->bytes + off, part);
		out += part;
		addr += part;
		len -= part;
	}
	return true;
}

bool go_live_word(struct go_live *mem, raddr_t addr, uint64_t *ret)
{
	*ret = 0;
	return go_live_peek(mem, addr, ret, sizeof(*ret));
}

size_t go_live_gather_size(size_t n, size_t len)
{
	return n * (len + GATHER_GAP);
}

/* Length of the run of neighbours that starts at @addrs[0]. */
static size_t run_length(const raddr_t *addrs, size_t n, size_t len)
{
	size_t i = 1;

	while (i < n && addrs[i] >= addrs[i - 1] + len &&
	       addrs[i] - (addrs[i - 1] + len) <= GATHER_GAP)
		i++;
	return i;
}

/* One record of a run that was not readable as a whole. */
static void read_singly(struct go_live *mem, const raddr_t *addrs, size_t n,
			size_t len, uint8_t *buf, const uint8_t **at)
{
	for (size_t i = 0; i < n; i++) {
		uint8_t *to = buf + (addrs[i] - addrs[0]);

		at[i] = go_live_read(mem, addrs[i], to, len) ? to : NULL;
	}
}

void go_live_gather(struct go_live *mem, const raddr_t *addrs, size_t n,
		    size_t len, uint8_t *buf, const uint8_t **at)
{
	struct process_read_req reqs[GO_GATHER_MAX];
	uint32_t first[GO_GATHER_MAX + 1];
	size_t n_runs = 0;

	for (size_t i = 0; i < n;) {
		size_t run = run_length(addrs + i, n - i, len);
		raddr_t span = addrs[i + run - 1] + len - addrs[i];

		reqs[n_runs] = (struct process_read_req){
			.addr = addrs[i], .buf = buf, .len = (uint32_t)span
		};
		for (size_t k = 0; k < run; k++)
			at[i + k] = buf + (addrs[i + k] - addrs[i]);
		buf += span;
		first[n_runs++] = (uint32_t)i;
		i += run;
	}
	first[n_runs] = (uint32_t)n;
	if (n_runs)
		read_batch(mem, reqs, n_runs);
	for (size_t r = 0; r < n_runs; r++)
		if (!reqs[r].ok)
			read_singly(mem, addrs + first[r],
				    first[r + 1] - first[r], len, reqs[r].buf,
				    at + first[r]);
}
