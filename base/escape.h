/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_ESCAPE_H
#define BASE_ESCAPE_H

/**
 * Making foreign bytes fit to print. Whatever came from a target (function and
 * file names, labels, thread names, paths) passes here at the writer, and
 * nowhere else: snapshots hold the bytes as they were read.
 */

#include <stddef.h>
#include <stdio.h>

/**
 * Write @s for a terminal or a log: control characters (C0, DEL, C1), invalid
 * UTF-8 and the bidirectional overrides become \xNN, \n, \t ...; all else,
 * also valid UTF-8, is unchanged. A NULL @s prints "?".
 *
 * @param max at most this many bytes of @s are looked at.
 */
void escape_print(FILE *out, const char *s, size_t max);

/**
 * The same into a buffer; always ends in NUL, cuts at @size.
 *
 * Returns: the length that the whole text would have.
 */
size_t escape_text(char *buf, size_t size, const char *s);

/**
 * Valid UTF-8 for JSON: invalid bytes become U+FFFD. Control characters stay,
 * the JSON library escapes them.
 *
 * Returns: a malloc()ed string (the caller frees it), NULL if out of memory.
 */
char *escape_utf8(const char *s);

#endif
