/* SPDX-License-Identifier: Apache-2.0 */
#include "detector/text.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <wchar.h>

#include "base/cleanup.h"
#include "base/escape.h"

/* Longer foreign texts are cut: nobody reads 4,000 columns. */
#define CLEAN_MAX 4096

static int terminal_width(FILE *out)
{
	struct winsize ws;
	const char *columns = getenv("COLUMNS");
	long n = 0;

	if (isatty(fileno(out)) && !ioctl(fileno(out), TIOCGWINSZ, &ws))
		n = ws.ws_col;
	if (n <= 0 && columns)
		n = strtol(columns, NULL, 10);
	if (n <= 0)
		n = 80;
	if (n < TEXT_MIN_WIDTH)
		return TEXT_MIN_WIDTH;
	return n > TEXT_MAX_WIDTH ? TEXT_MAX_WIDTH : (int)n;
}

static bool wants_color(FILE *out, enum color_mode mode)
{
	const char *no_color = getenv("NO_COLOR");
	const char *term = getenv("TERM");

	if (mode != COLOR_AUTO)
		return mode == COLOR_ALWAYS;
	if (no_color && *no_color)
		return false;
	return isatty(fileno(out)) && term && strcmp(term, "dumb") != 0;
}

void text_init(struct text *t, FILE *out, enum color_mode mode)
{
	*t = (struct text){
		.out = out,
		.width = terminal_width(out),
		.color = wants_color(out, mode),
	};
}

/* One character of clean text: its bytes and its columns. */
static size_t next_char(const char *s, int *columns)
{
	mbstate_t state = { 0 };
	wchar_t wc;
	size_t n = mbrtowc(&wc, s, MB_CUR_MAX, &state);

	if (n == 0 || n > MB_CUR_MAX) {
		*columns = 1;
		return 1;
	}
	int w = wcwidth(wc);
	*columns = w < 0 ? 1 : w;
	return n;
}

static int clean_columns(const char *s)
{
	int columns = 0, w;

	while (*s) {
		s += next_char(s, &w);
		columns += w;
	}
	return columns;
}

int text_columns(const char *s)
{
	char clean[CLEAN_MAX];

	escape_text(clean, sizeof(clean), s);
	return clean_columns(clean);
}

/* Bytes of @s that fit in @columns. */
static size_t head_bytes(const char *s, int columns, int *used)
{
	const char *p = s;
	int w;

	*used = 0;
	while (*p) {
		size_t n = next_char(p, &w);

		if (*used + w > columns)
			break;
		*used += w;
		p += n;
	}
	return (size_t)(p - s);
}

/* The longest tail of @s (@total columns wide) that fits in @columns. */
static const char *tail_of(const char *s, int total, int columns)
{
	int w;

	while (*s && total > columns) {
		s += next_char(s, &w);
		total -= w;
	}
	return s;
}

int text_fit(char buf[TEXT_CELL], const char *s, int columns)
{
	char clean[CLEAN_MAX];
	int head, total;

	escape_text(clean, sizeof(clean), s);
	total = clean_columns(clean);
	if (columns > TEXT_MAX_WIDTH)
		columns = TEXT_MAX_WIDTH;
	if (total <= columns) {
		snprintf(buf, TEXT_CELL, "%.*s", TEXT_CELL - 1, clean);
		return total;
	}
	if (columns < 5) {
		size_t n = head_bytes(clean, columns, &head);
		snprintf(buf, TEXT_CELL, "%.*s", (int)n, clean);
		return head;
	}
	/* The end of a name tells more than its middle. */
	size_t n = head_bytes(clean, (columns - 3) / 2, &head);
	const char *tail = tail_of(clean, total, columns - 3 - head);
	snprintf(buf, TEXT_CELL, "%.*s...%.*s", (int)n, clean,
		 TEXT_CELL - 4 - (int)n, tail);
	return head + 3 + clean_columns(tail);
}

static const char *style_code(enum text_style style)
{
	switch (style) {
	case STYLE_PLAIN:
		return "";
	case STYLE_BOLD:
		return "\033[1m";
	case STYLE_DIM:
		return "\033[2m";
	case STYLE_BAD:
		return "\033[1;31m";
	case STYLE_WARN:
		return "\033[1;33m";
	case STYLE_NOTE:
		return "\033[1;36m";
	case STYLE_GOOD:
		return "\033[32m";
	}
	return "";
}

static void put_clean(struct text *t, enum text_style style, const char *clean)
{
	bool styled = t->color && style != STYLE_PLAIN && *clean;

	fprintf(t->out, "%s%s%s", styled ? style_code(style) : "", clean,
		styled ? "\033[0m" : "");
}

int text_put(struct text *t, enum text_style style, const char *s)
{
	char clean[CLEAN_MAX];

	escape_text(clean, sizeof(clean), s);
	put_clean(t, style, clean);
	return clean_columns(clean);
}

/* Bytes of the next line of @s: up to the last space that fits. */
static size_t line_bytes(const char *s, int columns)
{
	int used;
	size_t n = head_bytes(s, columns, &used);

	if (!s[n] || s[n] == ' ')
		return n;
	for (size_t i = n; i > 0; i--)
		if (s[i - 1] == ' ')
			return i - 1;
	return n ? n : strlen(s); /* one word, wider than the line */
}

void text_wrap_from(struct text *t, int indent, const char *s)
{
	char clean[CLEAN_MAX];
	const char *p = clean;

	escape_text(clean, sizeof(clean), s);
	for (;;) {
		size_t n = line_bytes(p, t->width - indent);

		size_t end = n;
		while (end && p[end - 1] == ' ')
			end--;
		fprintf(t->out, "%.*s\n", (int)end, p);
		p += n;
		p += strspn(p, " ");
		if (!*p)
			return;
		fprintf(t->out, "%*s", indent, "");
	}
}

void text_wrap(struct text *t, const char *first, const char *s)
{
	fputs(first, t->out);
	text_wrap_from(t, clean_columns(first), s);
}

void text_wrapf(struct text *t, const char *first, const char *fmt, ...)
{
	char *s;
	va_list ap;

	va_start(ap, fmt);
	int n = vasprintf(&s, fmt, ap);
	va_end(ap);
	if (n < 0)
		return;
	text_wrap(t, first, s);
	free(s);
}

const char *text_count(char buf[TEXT_COUNT], uint64_t n)
{
	char *p = buf + TEXT_COUNT - 1;
	int digits = 0;

	*p = '\0';
	do {
		if (digits && digits % 3 == 0)
			*--p = ',';
		*--p = (char)('0' + n % 10);
		n /= 10;
		digits++;
	} while (n);
	return p;
}

struct layout {
	int width[TABLE_MAX_COLUMNS];
	bool shown[TABLE_MAX_COLUMNS];
};

static int total_width(const struct table *table, const struct layout *l)
{
	int total = -2;

	for (size_t i = 0; i < table->n_columns; i++)
		if (l->shown[i])
			total += l->width[i] + 2;
	return total;
}

/* The widest column that may still shrink to its own minimum or, if that is
 * not enough, to @least; -1: none.
 */
static int widest(const struct table *table, const struct layout *l, int least)
{
	int found = -1;

	for (size_t i = 0; i < table->n_columns; i++) {
		int min = table->columns[i].min;

		if (l->shown[i] && min &&
		    l->width[i] > (min < least ? min : least) &&
		    (found < 0 || l->width[i] > l->width[found]))
			found = (int)i;
	}
	return found;
}

/* What is left out first on a narrow terminal; -1: nothing. */
static int first_to_drop(const struct table *table, const struct layout *l)
{
	int found = -1;

	for (size_t i = 0; i < table->n_columns; i++)
		if (l->shown[i] && table->columns[i].drop &&
		    (found < 0 ||
		     table->columns[i].drop > table->columns[found].drop))
			found = (int)i;
	return found;
}

/* How wide the columns are when all shrinkable ones have shrunk. */
static int least_width(const struct table *table, const struct layout *l)
{
	int total = -2;

	for (size_t i = 0; i < table->n_columns; i++) {
		int min = table->columns[i].min;

		if (l->shown[i])
			total += 2 +
				 (min && min < l->width[i] ? min : l->width[i]);
	}
	return total;
}

static void fit_layout(const struct table *table, struct layout *l, int width)
{
	int i;

	while (least_width(table, l) > width &&
	       (i = first_to_drop(table, l)) >= 0)
		l->shown[i] = false;
	while (total_width(table, l) > width &&
	       (i = widest(table, l, INT_MAX)) >= 0)
		l->width[i]--;
	while (total_width(table, l) > width &&
	       (i = widest(table, l, TABLE_LEAST)) >= 0)
		l->width[i]--;
}

static void measure(const struct table *table, struct layout *l,
		    struct table_row *row)
{
	for (size_t c = 0; c < table->n_columns; c++) {
		l->shown[c] = true;
		l->width[c] = text_columns(table->columns[c].title);
	}
	for (size_t i = 0; i < table->n_rows; i++) {
		table->row(table->arg, i, row);
		for (size_t c = 0; c < table->n_columns; c++) {
			int w = text_columns(row->cell[c]);

			if (w > l->width[c])
				l->width[c] = w;
		}
	}
}

static void print_row(struct text *t, const struct table *table,
		      const struct layout *l, const struct table_row *row)
{
	char buf[TEXT_CELL];
	int pad = 0;

	for (size_t c = 0; c < table->n_columns; c++) {
		if (!l->shown[c])
			continue;
		int w = text_fit(buf, row->cell[c], l->width[c]);
		int space = l->width[c] - w;

		if (table->columns[c].right) {
			pad += space;
			space = 0;
		}
		/* Padding is owed, so that no line ends in spaces. */
		if (*buf) {
			fprintf(t->out, "%*s", pad, "");
			put_clean(t, row->style[c], buf);
			pad = 0;
		}
		pad += space + 2;
	}
	fputc('\n', t->out);
}

void table_print(struct text *t, const struct table *table)
{
	struct layout l;
	AUTO_FREE struct table_row *row = calloc(1, sizeof(*row));

	if (!row)
		return;
	measure(table, &l, row);
	fit_layout(table, &l, t->width);
	for (size_t c = 0; c < table->n_columns; c++) {
		snprintf(row->cell[c], TEXT_CELL, "%s",
			 table->columns[c].title);
		row->style[c] = STYLE_DIM;
	}
	print_row(t, table, &l, row);
	for (size_t i = 0; i < table->n_rows; i++) {
		memset(row->style, 0, sizeof(row->style));
		table->row(table->arg, i, row);
		print_row(t, table, &l, row);
		if (table->after)
			table->after(table->arg, i, t, l.shown);
	}
}
