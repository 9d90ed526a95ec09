/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime-hooks/go/buildinfo.h"

#include <ctype.h>
#include <string.h>

#define FLAG_BIG_ENDIAN 1
#define FLAG_INLINE 2 /* since 1.18 */

/* A version as the linker writes it: printable, short. */
static bool copy_version(const uint8_t *text, size_t len,
			 char version[GO_VERSION_MAX])
{
	if (!go_version_plausible((const char *)text, len))
		return false;
	memcpy(version, text, len);
	version[len] = 0;
	return true;
}

static void parse_inline(const uint8_t *p, size_t len,
			 char version[GO_VERSION_MAX])
{
	uint64_t n = 0;

	for (size_t i = 0; i < len && i < 9; i++) {
		n |= (uint64_t)(p[i] & 0x7f) << (7 * i);
		if (p[i] & 0x80)
			continue;
		if (n <= len - i - 1)
			copy_version(p + i + 1, n, version);
		return;
	}
}

bool go_buildinfo_parse(const void *bytes, size_t len,
			char version[GO_VERSION_MAX], uint64_t *pointer_ret)
{
	const uint8_t *p = bytes;
	uint8_t ptr_size, flags;

	version[0] = 0;
	*pointer_ret = 0;
	if (len < GO_BUILDINFO_HEAD ||
	    memcmp(p, GO_BUILDINFO_MAGIC, GO_BUILDINFO_MAGIC_LEN) != 0)
		return false;
	ptr_size = p[14];
	flags = p[15];
	if (flags & FLAG_INLINE)
		parse_inline(p + GO_BUILDINFO_HEAD, len - GO_BUILDINFO_HEAD,
			     version);
	else if (ptr_size == 8 && !(flags & FLAG_BIG_ENDIAN))
		memcpy(pointer_ret, p + 16, 8);
	return true;
}

bool go_version_plausible(const char *text, size_t len)
{
	if (len < 5 || len >= GO_VERSION_MAX)
		return false;
	for (size_t i = 0; i < len; i++)
		if (text[i] < 0x20 || text[i] > 0x7e)
			return false;
	if (memcmp(text, "devel", 5) == 0)
		return true;
	return memcmp(text, "go1.", 4) == 0 && isdigit((uint8_t)text[4]);
}

int go_version_minor(const char *version)
{
	const char *at = strstr(version, "go1.");
	int minor = 0;

	if (!at)
		return 0;
	for (at += 4; isdigit((uint8_t)*at) && minor < 1000; at++)
		minor = minor * 10 + (*at - '0');
	return minor;
}
