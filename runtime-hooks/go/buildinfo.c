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

bool go_buildinfo_string(const uint8_t **p, const uint8_t *end,
			 const uint8_t **text_ret, size_t *len_ret)
{
	uint64_t n = 0;

	for (int shift = 0; shift < 63 && *p < end; shift += 7) {
		uint8_t byte = *(*p)++;

		n |= (uint64_t)(byte & 0x7f) << shift;
		if (byte & 0x80)
			continue;
		if (n > (uint64_t)(end - *p))
			return false;
		*text_ret = *p;
		*len_ret = n;
		*p += n;
		return true;
	}
	return false;
}

static bool is_block(const uint8_t *p, size_t len)
{
	return len >= GO_BUILDINFO_HEAD &&
	       !memcmp(p, GO_BUILDINFO_MAGIC, GO_BUILDINFO_MAGIC_LEN);
}

const uint8_t *go_buildinfo_strings(const void *bytes, size_t len)
{
	const uint8_t *p = bytes;

	return is_block(p, len) && (p[15] & FLAG_INLINE) ? p + GO_BUILDINFO_HEAD
							 : NULL;
}

bool go_buildinfo_parse(const void *bytes, size_t len,
			char version[GO_VERSION_MAX], uint64_t *pointer_ret)
{
	const uint8_t *p = bytes, *at = go_buildinfo_strings(bytes, len);
	const uint8_t *text;
	size_t n;

	version[0] = 0;
	*pointer_ret = 0;
	if (!is_block(p, len))
		return false;
	if (at && go_buildinfo_string(&at, p + len, &text, &n))
		copy_version(text, n, version);
	else if (!at && p[14] == 8 && !(p[15] & FLAG_BIG_ENDIAN))
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
