/* SPDX-License-Identifier: Apache-2.0 */
#include "detector/inifile.h"

#include <errno.h>
#include <ini.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

#define FILE_MAX (1 << 20)

void inifile_fail(struct inifile *f, int line, const char *fmt, ...)
{
	char *text;
	va_list ap;

	if (f->err)
		return;
	va_start(ap, fmt);
	int len = vasprintf(&text, fmt, ap);
	va_end(ap);
	f->err_line = line;
	if (len < 0) {
		f->err = &error_nomem;
		return;
	}
	f->err = error_new(ERROR_USAGE, "%s:%d: %s", f->name, line, text);
	free(text);
}

/* inih's reader, as fgets(3); also where lines are counted and measured. */
static char *read_line(char *buf, int size, void *arg)
{
	struct inifile *f = arg;

	if (f->err || f->p == f->end)
		return NULL;
	const char *nl = memchr(f->p, '\n', (size_t)(f->end - f->p));
	size_t len = (size_t)((nl ? nl : f->end) - f->p);
	f->line++;
	if (f->line > INIFILE_MAX_LINES) {
		inifile_fail(f, f->line, "more than %d lines",
			     INIFILE_MAX_LINES);
		return NULL;
	}
	if (len > INIFILE_MAX_LINE || len + 2 > (size_t)size) {
		inifile_fail(f, f->line, "line of more than %d bytes",
			     INIFILE_MAX_LINE);
		return NULL;
	}
	if (memchr(f->p, '\0', len)) {
		inifile_fail(f, f->line, "a NUL byte; is this a text file?");
		return NULL;
	}
	if (len && *f->p == '[')
		f->reader->section(f, f->p, len);
	memcpy(buf, f->p, len);
	buf[len] = '\n';
	buf[len + 1] = '\0';
	f->p = nl ? nl + 1 : f->end;
	return buf;
}

/* inih's handler: one "key = value". Returns 0 to refuse the line. */
static int handle(void *arg, const char *section, const char *key,
		  const char *value)
{
	struct inifile *f = arg;

	return !f->err && f->reader->entry(f, section, key, value);
}

struct error *inifile_parse(const struct inifile_reader *reader, void *arg,
			    const char *name, const char *text, size_t len)
{
	struct inifile f = { .arg = arg,
			     .name = name,
			     .reader = reader,
			     .p = text,
			     .end = text + len };
	int bad = ini_parse_stream(read_line, &f, handle, &f);

	if (bad > 0 && (!f.err || bad < f.err_line)) {
		error_free(TAKE(f.err));
		inifile_fail(&f, bad, "neither [name] nor key = value");
	}
	reader->end(&f);
	if (bad < 0 && !f.err)
		f.err = &error_nomem;
	return f.err;
}

struct error *inifile_load(const char *what, const char *path, char **text_ret,
			   size_t *len_ret)
{
	AUTO_FCLOSE FILE *f = fopen(path, "re");

	if (!f)
		return error_new(ERROR_USAGE, "cannot open %s file '%s': %s",
				 what, path, strerror(errno));
	AUTO_FREE char *text = malloc(FILE_MAX);
	if (!text)
		return &error_nomem;
	size_t len = fread(text, 1, FILE_MAX, f);
	if (ferror(f))
		return error_new(ERROR_USAGE, "cannot read %s file '%s': %s",
				 what, path, strerror(errno));
	if (len == FILE_MAX)
		return error_new(ERROR_USAGE,
				 "%s file '%s' is too large; at most 1 MiB",
				 what, path);
	*text_ret = TAKE(text);
	*len_ret = len;
	return NULL;
}
