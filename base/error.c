/* SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct error {
	enum error_code code;
	char *text;
};

static char nomem_text[] = "out of memory";

struct error error_nomem = {
	.code = ERROR_NOMEM,
	.text = nomem_text,
};

/* Takes ownership of @text; NULL means that there was no memory for it. */
static struct error *error_make(enum error_code code, char *text)
{
	struct error *err;

	if (!text)
		return &error_nomem;
	err = malloc(sizeof(*err));
	if (!err) {
		free(text);
		return &error_nomem;
	}
	err->code = code;
	err->text = text;
	return err;
}

static char *format(const char *fmt, va_list ap)
	__attribute__((format(printf, 1, 0)));

static char *format(const char *fmt, va_list ap)
{
	char *text;

	return vasprintf(&text, fmt, ap) < 0 ? NULL : text;
}

struct error *error_new(enum error_code code, const char *fmt, ...)
{
	va_list ap;
	char *text;

	va_start(ap, fmt);
	text = format(fmt, ap);
	va_end(ap);
	return error_make(code, text);
}

static enum error_code code_of_errno(int errnum)
{
	switch (errnum) {
	case ESRCH:
		return ERROR_GONE;
	case EPERM:
	case EACCES:
		return ERROR_DENIED;
	case EFAULT:
	case EIO:
		return ERROR_FAULT;
	case ENOMEM:
		return ERROR_NOMEM;
	default:
		return ERROR_OS;
	}
}

struct error *error_os(int errnum, const char *fmt, ...)
{
	const char *why = strerrordesc_np(errnum);
	char number[32];
	char *head, *text;
	va_list ap;
	int rc;

	va_start(ap, fmt);
	head = format(fmt, ap);
	va_end(ap);
	if (!head)
		return &error_nomem;
	if (!why) {
		snprintf(number, sizeof(number), "error number %d", errnum);
		why = number;
	}
	// ours are lower case: "permission denied", but not "iD ..." of an ID
	if (isupper((unsigned char)why[0]) && !isupper((unsigned char)why[1]))
		rc = asprintf(&text, "%s: %c%s", head,
			      tolower((unsigned char)why[0]), why + 1);
	else
		rc = asprintf(&text, "%s: %s", head, why);
	free(head);
	return error_make(code_of_errno(errnum), rc < 0 ? NULL : text);
}

struct error *error_wrap(struct error *err, const char *fmt, ...)
{
	char *head, *text;
	va_list ap;
	int rc;

	va_start(ap, fmt);
	head = format(fmt, ap);
	va_end(ap);
	if (!head)
		return err; // less context, but the cause is kept
	rc = asprintf(&text, "%s: %s", head, err->text);
	free(head);
	if (rc < 0)
		return err;
	if (err == &error_nomem)
		return error_make(ERROR_NOMEM, text);
	free(err->text);
	err->text = text;
	return err;
}

enum error_code error_code(const struct error *err)
{
	return err->code;
}

const char *error_text(const struct error *err)
{
	return err->text;
}

bool error_catch(struct error **err, enum error_code code)
{
	if (!*err || (*err)->code != code)
		return false;
	error_free(*err);
	*err = NULL;
	return true;
}

const char *error_code_name(enum error_code code)
{
	switch (code) {
	case ERROR_NOMEM:
		return "nomem";
	case ERROR_OS:
		return "os";
	case ERROR_GONE:
		return "gone";
	case ERROR_DENIED:
		return "denied";
	case ERROR_FAULT:
		return "fault";
	case ERROR_ABSENT:
		return "absent";
	case ERROR_UNSUPPORTED:
		return "unsupported";
	case ERROR_CORRUPT:
		return "corrupt";
	case ERROR_INCONSISTENT:
		return "inconsistent";
	case ERROR_USAGE:
		return "usage";
	}
	return "?";
}

void error_free(struct error *err)
{
	if (!err || err == &error_nomem)
		return;
	free(err->text);
	free(err);
}
