/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

/**
 * Errors of operations.
 *
 * A fallible operation returns `struct error *`; NULL is success. The code is
 * for the caller to branch on, the text is for a person: one line, the problem
 * first, lower case, no full stop, the remedy after a semicolon. Mechanisms
 * (hot, small, where a failure is normal) return 0 or -errno instead and have
 * no text; error_os() lifts such a number to an error.
 *
 * Not thread-local, not logged: whoever holds the pointer owns the error.
 */

#include <stdbool.h>

enum error_code {
	ERROR_NOMEM,	    /* out of memory */
	ERROR_OS,	    /* a system call failed; the text names it */
	ERROR_GONE,	    /* the target exited, or its pid is another's now */
	ERROR_DENIED,	    /* permission: ptrace access check, capability */
	ERROR_FAULT,	    /* bad address in the target */
	ERROR_UNSUPPORTED,  /* a runtime, version, kernel that we cannot read */
	ERROR_ABSENT,	    /* the target has no such thing: no Go, no hook */
	ERROR_CORRUPT,	    /* was read, and makes no sense */
	ERROR_INCONSISTENT, /* the kernel says the answer is not one picture */
	ERROR_USAGE,	    /* wrong command line or wrong file from the user */
};

struct error;

/** The out-of-memory error; static, so that failing needs no memory. */
extern struct error error_nomem;

/**
 * Make an error from a formatted text.
 *
 * Returns: never NULL (error_nomem if there is no memory); the caller owns it.
 */
struct error *error_new(enum error_code code, const char *fmt, ...)
	__attribute__((returns_nonnull, format(printf, 2, 3)));

/**
 * Make an error from an errno value; ": strerror" is appended to the text.
 *
 * @param errnum a positive errno value. ESRCH gives ERROR_GONE, EPERM and
 * EACCES ERROR_DENIED, EFAULT and EIO ERROR_FAULT, ENOMEM ERROR_NOMEM (with
 * the text), all else ERROR_OS.
 */
struct error *error_os(int errnum, const char *fmt, ...)
	__attribute__((returns_nonnull, format(printf, 2, 3)));

/**
 * Put context before the text of @err ("context: text"), keeping its code.
 *
 * Takes ownership of @err and returns the error to use from now on.
 */
struct error *error_wrap(struct error *err, const char *fmt, ...)
	__attribute__((returns_nonnull, format(printf, 2, 3)));

enum error_code error_code(const struct error *err);

/** The text; lives as long as @err. Not escaped: escape when printing. */
const char *error_text(const struct error *err);

/**
 * The only way to swallow an error: if *err has @code, free it, set it to
 * NULL and return true.
 */
bool error_catch(struct error **err, enum error_code code);

/** The code as a word for JSON and tests: "nomem", "gone", "denied" ... */
const char *error_code_name(enum error_code code);

/** Free @err; NULL and &error_nomem are fine. */
void error_free(struct error *err);

static inline void error_freep(struct error **err)
{
	error_free(*err);
}
#define AUTO_ERROR __attribute__((cleanup(error_freep)))

#endif
