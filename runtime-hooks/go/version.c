/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "runtime-hooks/go/image_priv.h"

/* A build info block up to the end of the version; a multiple of 16. */
#define BLOCK_BYTES 256
/* Data that is searched for it, and then for runtime.buildVersion. */
#define MAX_DATA (64u << 20)

/* The string whose header {address, length} is at @addr in the target. */
static bool read_version(struct pagecache *mem, raddr_t addr,
			 char version[GO_VERSION_MAX])
{
	uint64_t header[2];
	char text[GO_VERSION_MAX];

	if (pagecache_scan(mem, addr, header, sizeof(header)) !=
		    sizeof(header) ||
	    header[1] >= sizeof(text) ||
	    !pagecache_read(mem, header[0], text, header[1]) ||
	    !go_version_plausible(text, header[1]))
		return false;
	memcpy(version, text, header[1]);
	version[header[1]] = 0;
	return true;
}

static bool parse_block(struct go_image *image, const uint8_t *p, size_t len)
{
	uint64_t pointer;

	if (!go_buildinfo_parse(p, len, image->version, &pointer))
		return false;
	if (pointer)
		read_version(image->mem, pointer, image->version);
	return image->version[0] != 0;
}

/* Mostly at the start, but a linker may put relocated tables before it. */
static bool from_segment(struct go_image *image, raddr_t start, uint64_t size)
{
	uint8_t buf[16384];
	uint64_t at = -start & 15; // segments begin anywhere

	while (at < size && at < MAX_DATA) {
		uint64_t left = size - at;
		size_t want = left < sizeof(buf) ? left : sizeof(buf);
		size_t got = pagecache_scan(image->mem, start + at, buf, want);

		for (size_t i = 0; i + GO_BUILDINFO_HEAD <= got; i += 16)
			if (parse_block(image, buf + i, got - i))
				return true;
		if (got < want || got == left)
			return false;
		at += got - BLOCK_BYTES;
	}
	return false;
}

static bool from_buildinfo(struct go_image *image)
{
	const struct module_object *o = image->modules[0].object;

	for (uint32_t i = 0; i < o->head.n; i++) {
		const struct elf_segment *seg = &o->head.segments[i];

		if (seg->write &&
		    from_segment(image, o->bias + seg->vaddr, seg->filesz))
			return true;
	}
	return false;
}

/* Of two versions found, which is the more likely the program's own? */
static bool better(const struct module *m, const char *a, const char *b)
{
	int minor = go_version_minor(a);
	bool fits = m->tab.version == GO_PCLNTAB_116   ? minor <= 17
		    : m->tab.version == GO_PCLNTAB_118 ? minor <= 19
						       : minor >= 20;

	// Programs also hold versions of the language, "go1.21": prefer those
	// with a patch number, then later ones.
	if (!fits)
		return false;
	if (!b[0])
		return true;
	if (!!strchr(a + 4, '.') != !!strchr(b + 4, '.'))
		return strchr(a + 4, '.') != NULL;
	return strverscmp(a, b) > 0;
}

static void try_words(struct go_image *image, const uint64_t *w, size_t n,
		      raddr_t addr)
{
	const struct module *m = &image->modules[0];

	for (size_t i = 0; i + 1 < n; i++) {
		char version[GO_VERSION_MAX];
		char head[4];

		if (w[i + 1] < 5 || w[i + 1] >= 48 ||
		    !go_image_holds(image, w[i]) ||
		    !pagecache_read(image->mem, w[i], head, 4) ||
		    memcmp(head, "go1.", 4) != 0)
			continue;
		if (read_version(image->mem, addr + 8 * i, version) &&
		    better(m, version, image->version))
			memcpy(image->version, version, sizeof(version));
	}
}

/* runtime.buildVersion: a string variable in the data of the module. */
static bool from_data(struct go_image *image)
{
	const struct go_segment *data = &image->modules[0].public.data;
	uint64_t words[2048];
	raddr_t at = data->start;

	while (at < data->end && at - data->start < MAX_DATA) {
		uint64_t left = data->end - at;
		size_t want = left < sizeof(words) ? left : sizeof(words);
		size_t got = pagecache_scan(image->mem, at, words, want);

		try_words(image, words, got / 8, at);
		if (got < want || got == left)
			break;
		at += got - 8; // headers may straddle
	}
	return image->version[0] != 0;
}

void image_find_version(struct go_image *image)
{
	static const char *const ranges[] = {
		[GO_PCLNTAB_116] = "go1.16-1.17",
		[GO_PCLNTAB_118] = "go1.18-1.19",
		[GO_PCLNTAB_120] = "go1.20 or later",
	};

	if (from_buildinfo(image)) {
		image->version_from = "build info";
	} else if (from_data(image)) {
		image->version_from = "runtime.buildVersion";
	} else {
		image->version_from = "format of the pc tables";
		snprintf(image->version, sizeof(image->version), "%s",
			 ranges[image->modules[0].tab.version]);
		return;
	}
	image->minor = go_version_minor(image->version);
}
