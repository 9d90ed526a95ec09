/* SPDX-License-Identifier: Apache-2.0 */
#include "base/escape.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/*
 * The length of the UTF-8 sequence at @s (1 to 4) and its code point, or 0 if
 * the bytes are not one: overlong forms, surrogates and what lies above
 * U+10FFFF are refused (RFC 3629 section 4).
 */
static size_t utf8_next(const unsigned char *s, size_t len, uint32_t *cp)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	uint32_t c = s[0];
	size_t n;

	if (c < 0x80) {
		*cp = c;
		return 1;
	}
	n = c >= 0xf8 ? 0 : c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : c >= 0xc0 ? 2 : 0;
	if (!n || n > len)
		return 0;
	c &= 0x7fu >> n;
	for (size_t i = 1; i < n; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (s[i] & 0x3f);
	}
	if (c < least[n] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
		return 0;
	*cp = c;
	return n;
}

static bool is_control(uint32_t cp)
{
	return cp < 0x20 || (cp >= 0x7f && cp <= 0x9f);
}

/* Embeddings, overrides and isolates: they make text read other than it is. */
static bool is_bidi(uint32_t cp)
{
	return (cp >= 0x202a && cp <= 0x202e) || (cp >= 0x2066 && cp <= 0x2069);
}

/* Enough for the escape of one sequence: four times "\xNN", and a NUL. */
#define PIECE_MAX 17

/*
 * Escape what stands at @s (@len > 0 bytes) into @piece.
 *
 * Returns: the bytes of @s used; *@n_ret is the length of @piece.
 */
static size_t escape_one(const unsigned char *s, size_t len,
			 char piece[PIECE_MAX], size_t *n_ret)
{
	static const char hex[] = "0123456789abcdef";
	uint32_t cp = 0;
	size_t used = utf8_next(s, len, &cp);
	char *p = piece;

	if (used && !is_control(cp) && !is_bidi(cp)) {
		memcpy(piece, s, used);
		*n_ret = used;
		return used;
	}
	if (!used)
		used = 1;
	if (s[0] == '\n' || s[0] == '\t' || s[0] == '\r') {
		*p++ = '\\';
		*p++ = s[0] == '\n' ? 'n' : s[0] == '\t' ? 't' : 'r';
	} else {
		for (size_t i = 0; i < used; i++) {
			*p++ = '\\';
			*p++ = 'x';
			*p++ = hex[s[i] >> 4];
			*p++ = hex[s[i] & 15];
		}
	}
	*n_ret = (size_t)(p - piece);
	return used;
}

void escape_print(FILE *out, const char *s, size_t max)
{
	char piece[PIECE_MAX];
	size_t len, n;

	if (!s) {
		fputc('?', out);
		return;
	}
	len = strnlen(s, max);
	while (len) {
		size_t used =
			escape_one((const unsigned char *)s, len, piece, &n);

		fwrite(piece, 1, n, out);
		s += used;
		len -= used;
	}
}

size_t escape_text(char *buf, size_t size, const char *s)
{
	size_t len, n, total = 0, put = 0;
	char piece[PIECE_MAX];
	bool full = false;

	if (!s)
		s = "?";
	len = strlen(s);
	while (len) {
		size_t used =
			escape_one((const unsigned char *)s, len, piece, &n);

		// cut between sequences, so that what is left is valid
		full = full || put + n >= size;
		if (!full) {
			memcpy(buf + put, piece, n);
			put += n;
		}
		total += n;
		s += used;
		len -= used;
	}
	if (size)
		buf[put] = '\0';
	return total;
}

char *escape_utf8(const char *s)
{
	size_t len = strlen(s);
	uint32_t cp;
	char *buf, *p;

	if (len > SIZE_MAX / 3 - 1)
		return NULL;
	buf = malloc(3 * len + 1); // U+FFFD has three bytes
	if (!buf)
		return NULL;
	p = buf;
	while (len) {
		size_t used = utf8_next((const unsigned char *)s, len, &cp);

		if (used) {
			memcpy(p, s, used);
			p += used;
		} else {
			memcpy(p, "\xef\xbf\xbd", 3);
			p += 3;
			used = 1;
		}
		s += used;
		len -= used;
	}
	*p = '\0';
	return buf;
}
