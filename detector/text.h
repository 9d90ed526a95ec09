/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DETECTOR_TEXT_H
#define DETECTOR_TEXT_H

/**
 * Text for a terminal: its width, colours, wrapping, and tables that never
 * break. Every foreign byte is escaped here. Widths are columns of the
 * terminal, not bytes (wcwidth(3), so LC_CTYPE must be a UTF-8 locale).
 */

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "detector/cli.h"

/** Room for any cell, in bytes, with its NUL. */
#define TEXT_CELL 1024
#define TEXT_MIN_WIDTH 60
#define TEXT_MAX_WIDTH 240

enum text_style {
	STYLE_PLAIN,
	STYLE_BOLD,
	STYLE_DIM,
	STYLE_BAD,  /* proven */
	STYLE_WARN, /* likely */
	STYLE_NOTE, /* possible */
	STYLE_GOOD,
};

struct text {
	FILE *out;
	int width;
	bool color;
};

/**
 * Width: of the terminal that @out is, else $COLUMNS, else 80. Colour: by
 * @mode; auto is a terminal, NO_COLOR unset or empty, TERM not "dumb".
 */
void text_init(struct text *t, FILE *out, enum color_mode mode);

/** Columns that @s takes once it is escaped. */
int text_columns(const char *s);

/**
 * Escape @s into @buf, at most @columns wide; what is too long loses its
 * middle to "...". Returns the columns used.
 */
int text_fit(char buf[TEXT_CELL], const char *s, int columns);

/** Print escaped, in @style; returns the columns used. */
int text_put(struct text *t, enum text_style style, const char *s);

/**
 * Print @s escaped and broken at spaces so that no line is wider than the
 * terminal, ending in a newline.
 *
 * @param first what the first line begins with; later ones begin with as many
 * spaces. Already safe to print.
 */
void text_wrap(struct text *t, const char *first, const char *s);
void text_wrapf(struct text *t, const char *first, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/** The same when @indent columns of the first line are printed already. */
void text_wrap_from(struct text *t, int indent, const char *s);

/** 1234567 as "1,234,567". */
#define TEXT_COUNT 32
const char *text_count(char buf[TEXT_COUNT], uint64_t n);

#define TABLE_MAX_COLUMNS 12
#define TABLE_LEAST 8

struct table_column {
	const char *title;
	int min;    /* shrinks to this many columns, or to TABLE_LEAST when
		       there is nothing left to drop; 0: never shrinks */
	bool right; /* aligned right */
	int drop;   /* left out on narrow terminals, highest first; 0 never */
};

/** Cells of one row, escaped when they are printed, not before. */
struct table_row {
	char cell[TABLE_MAX_COLUMNS][TEXT_CELL];
	enum text_style style[TABLE_MAX_COLUMNS];
};

struct table {
	const struct table_column *columns;
	size_t n_columns, n_rows;
	/** Fill @row with row @i; called twice for each, in order. */
	void (*row)(void *arg, size_t i, struct table_row *row);
	/** Printed after row @i, or NULL. @shown: which columns have room. */
	void (*after)(void *arg, size_t i, struct text *t, const bool *shown);
	void *arg;
};

void table_print(struct text *t, const struct table *table);

#endif
