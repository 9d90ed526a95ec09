/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DETECTOR_INIFILE_H
#define DETECTOR_INIFILE_H

/**
 * Files of rules in the form of ini, read by inih: sections "[name]" and
 * entries "key = value". Beyond what inih does, lines are counted and bounded,
 * and every complaint has the number of its line. The text may be any bytes.
 */

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

#define INIFILE_MAX_LINE 180	 /* inih cuts longer lines silently */
#define INIFILE_MAX_LINES 100000 /* of one file */

struct inifile;

/** Each may call inifile_fail(), after which none is called any more. */
struct inifile_reader {
	/** A line that begins with '['; @len of it, without its newline. */
	void (*section)(struct inifile *f, const char *line, size_t len);
	/** Returns false to refuse the line (with inifile_fail() or not). */
	bool (*entry)(struct inifile *f, const char *section, const char *key,
		      const char *value);
	/** After the last line, unless out of memory. */
	void (*end)(struct inifile *f);
};

/** One text on its way. A reader sees arg and line, and leaves the rest be. */
struct inifile {
	void *arg;	   /* the reader's */
	const char *name;  /* of the file, for complaints */
	int line;	   /* the last one that was handed out, from 1 */
	struct error *err; /* the first complaint */
	int err_line;
	const struct inifile_reader *reader;
	const char *p, *end;
};

/** "name:line: ..."; only the first one counts. */
void inifile_fail(struct inifile *f, int line, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/**
 * Read @len bytes at @text. Fails: ERROR_USAGE (with file and line),
 * ERROR_NOMEM; the reader may have taken in what came before.
 */
struct error *inifile_parse(const struct inifile_reader *reader, void *arg,
			    const char *name, const char *text, size_t len);

/**
 * Read the file @path whole, at most 1 MiB; *text_ret is malloc()ed.
 *
 * @param what "rules", "policy": which file could not be read.
 * Fails: ERROR_USAGE, ERROR_NOMEM.
 */
struct error *inifile_load(const char *what, const char *path, char **text_ret,
			   size_t *len_ret);

#endif
