/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_LIB_GOMEM_H
#define TESTS_LIB_GOMEM_H

/**
 * A recorded piece of a Go program's memory: exactly the bytes that its image
 * was asked for while some goroutines were symbolized. For unit tests and
 * fuzzers; made by tests/fixtures/go/record.
 *
 * The file: "gomem 1\n", u64 number of segments, for each u64 start, size and
 * writable; then records of u64 address, u64 length and the bytes, to the end.
 * Any other file is read as far as it goes, for fuzzers.
 */

#include <stdlib.h>
#include <string.h>

#include "runtime-hooks/go/image_priv.h"

#define GOMEM_MAGIC "gomem 1\n"
#define GOMEM_MAX_SEGMENTS 16
#define GOMEM_SPAN (8u << 20) /* from the lowest address to the highest */

struct gomem {
	uint8_t *bytes; /* what was not recorded is zero */
	raddr_t base;
	size_t len;
	struct elf_head head;
};

static inline bool gomem_word(const uint8_t **p, size_t *left, uint64_t *ret)
{
	if (*left < 8)
		return false;
	memcpy(ret, *p, 8);
	*p += 8;
	*left -= 8;
	return true;
}

static inline bool gomem_segments(const uint8_t **p, size_t *left,
				  struct gomem *mem)
{
	uint64_t n, w[3];

	if (*left < 8 || memcmp(*p, GOMEM_MAGIC, 8) != 0)
		return false;
	*p += 8;
	*left -= 8;
	if (!gomem_word(p, left, &n) || n > GOMEM_MAX_SEGMENTS)
		return false;
	for (uint64_t i = 0; i < n; i++) {
		for (int k = 0; k < 3; k++)
			if (!gomem_word(p, left, &w[k]))
				return false;
		mem->head.segments[mem->head.n++] = (struct elf_segment){
			.vaddr = w[0],
			.memsz = w[1],
			.filesz = w[1],
			.write = w[2] & 1,
		};
		if (!mem->base || w[0] < mem->base)
			mem->base = w[0];
	}
	return true;
}

/* Copy the records, or only find out how far they reach (no bytes yet). */
static inline void gomem_records(const uint8_t *p, size_t left,
				 struct gomem *mem)
{
	uint64_t addr, n;

	while (gomem_word(&p, &left, &addr) && gomem_word(&p, &left, &n)) {
		uint64_t at = addr - mem->base;

		if (n > left || at > GOMEM_SPAN || n > GOMEM_SPAN - at)
			break;
		if (mem->bytes)
			memcpy(mem->bytes + at, p, n);
		else if (at + n > mem->len)
			mem->len = at + n;
		p += n;
		left -= n;
	}
}

/** Free mem->bytes. Returns false when it is no such file, or out of memory. */
static inline bool gomem_parse(const void *data, size_t len, struct gomem *mem)
{
	const uint8_t *p = data;

	memset(mem, 0, sizeof(*mem));
	if (!gomem_segments(&p, &len, mem))
		return false;
	gomem_records(p, len, mem);
	mem->bytes = calloc(1, mem->len + 1);
	if (!mem->bytes)
		return false;
	gomem_records(p, len, mem);
	return true;
}

/** The image of @mem, which must outlive it; NULL: holds no Go program. */
static inline struct go_image *gomem_image(const struct gomem *mem)
{
	struct go_image *image = image_alloc(
		pagecache_create_bytes(mem->bytes, mem->len, mem->base));
	struct error *err;

	if (!image)
		return NULL;
	image->objects[0].head = mem->head;
	image->objects[0].path = "";
	image->n_objects = 1;
	err = image_search(image);
	if (!err && image->n_modules)
		err = image_settle(image);
	if (!err && image->n_modules)
		return image;
	error_free(err);
	go_image_destroy(image);
	return NULL;
}

#endif
