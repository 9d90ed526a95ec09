/* SPDX-License-Identifier: Apache-2.0 */
#include "base/pagecache.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct page {
	raddr_t addr; /* 1 (never a page's address): empty */
	uint8_t data[PAGECACHE_PAGE];
};

struct pagecache {
	const struct process *process; /* NULL: bytes */
	const uint8_t *bytes;
	size_t len;
	raddr_t base;
	int errnum;
	void (*seen)(void *arg, raddr_t addr, const void *bytes, size_t len);
	void *seen_arg;
	struct page *pages[PAGECACHE_PAGES];
};

struct pagecache *pagecache_create(const struct process *p)
{
	struct pagecache *mem = calloc(1, sizeof(*mem));

	if (mem)
		mem->process = p;
	return mem;
}

struct pagecache *pagecache_create_bytes(const void *bytes, size_t len,
					 raddr_t base)
{
	struct pagecache *mem = calloc(1, sizeof(*mem));

	if (mem) {
		mem->bytes = bytes;
		mem->len = len;
		mem->base = base;
	}
	return mem;
}

void pagecache_destroy(struct pagecache *mem)
{
	if (!mem)
		return;
	for (size_t i = 0; i < PAGECACHE_PAGES; i++)
		free(mem->pages[i]);
	free(mem);
}

int pagecache_errno(const struct pagecache *mem)
{
	return mem->errnum;
}

static size_t read_bytes(const struct pagecache *mem, raddr_t addr, void *buf,
			 size_t len)
{
	if (addr < mem->base || addr - mem->base >= mem->len)
		return 0;

	size_t offset = addr - mem->base;
	size_t n = mem->len - offset < len ? mem->len - offset : len;

	memcpy(buf, mem->bytes + offset, n);
	return n;
}

void pagecache_trace(struct pagecache *mem,
		     void (*seen)(void *arg, raddr_t addr, const void *bytes,
				  size_t len),
		     void *arg)
{
	mem->seen = seen;
	mem->seen_arg = arg;
}

static size_t read_past_cache(struct pagecache *mem, raddr_t addr, void *buf,
			      size_t len)
{
	if (!mem->process)
		return read_bytes(mem, addr, buf, len);

	ssize_t n = process_read_some(mem->process, addr, buf, len);

	if (n < 0) {
		mem->errnum = (int)-n;
		return 0;
	}
	return (size_t)n;
}

size_t pagecache_scan(struct pagecache *mem, raddr_t addr, void *buf,
		      size_t len)
{
	size_t n = read_past_cache(mem, addr, buf, len);

	if (mem->seen)
		mem->seen(mem->seen_arg, addr, buf, n);
	return n;
}

// A page is there as a whole or not at all, so a slot is never half good.
static const struct page *fetch(struct pagecache *mem, raddr_t addr)
{
	size_t slot = (addr / PAGECACHE_PAGE) % PAGECACHE_PAGES;
	struct page *page = mem->pages[slot];

	if (page && page->addr == addr)
		return page;
	if (!page) {
		page = malloc(sizeof(*page));
		if (!page) {
			mem->errnum = ENOMEM;
			return NULL;
		}
		mem->pages[slot] = page;
	}
	page->addr = 1;
	if (read_past_cache(mem, addr, page->data, sizeof(page->data)) !=
	    sizeof(page->data))
		return NULL;
	page->addr = addr;
	return page;
}

static size_t read_cached(struct pagecache *mem, raddr_t addr, void *buf,
			  size_t len)
{
	size_t done = 0;

	while (done < len) {
		raddr_t at = addr + done;
		size_t offset = at % PAGECACHE_PAGE;
		size_t n = PAGECACHE_PAGE - offset;

		if (at < addr)
			break; // past the end of the address space
		if (n > len - done)
			n = len - done;

		const struct page *page = fetch(mem, at - offset);

		if (!page)
			break;
		memcpy((uint8_t *)buf + done, page->data + offset, n);
		done += n;
	}
	return done;
}

size_t pagecache_read_some(struct pagecache *mem, raddr_t addr, void *buf,
			   size_t len)
{
	size_t n = mem->process ? read_cached(mem, addr, buf, len)
				: read_bytes(mem, addr, buf, len);

	if (mem->seen)
		mem->seen(mem->seen_arg, addr, buf, n);
	return n;
}

bool pagecache_read(struct pagecache *mem, raddr_t addr, void *buf, size_t len)
{
	return pagecache_read_some(mem, addr, buf, len) == len;
}
