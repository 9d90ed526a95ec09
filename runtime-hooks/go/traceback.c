/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime-hooks/go/traceback.h"

#include <stdio.h>
#include <string.h>

/* A version that is not known is taken for a later one than all these. */
#define SINCE(minor, n) (!(minor) || (minor) >= (n))

static bool has_prefix(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

enum go_role go_role_of(const char *name)
{
	static const struct {
		const char *name;
		enum go_role role;
	} roles[] = {
		{ "runtime.gopanic", GO_ROLE_GOPANIC },
		{ "runtime.sigpanic", GO_ROLE_SIGPANIC },
		{ "runtime.panicwrap", GO_ROLE_PANICWRAP },
		{ "runtime.asyncPreempt", GO_ROLE_PREEMPT },
		{ "runtime.debugCallV2", GO_ROLE_PREEMPT },
		{ "runtime.runFinalizers", GO_ROLE_CLEANUPS },
		{ "runtime.runCleanups", GO_ROLE_CLEANUPS },
		{ "runtime.cgocallback", GO_ROLE_CGOCALLBACK },
	};

	for (size_t i = 0; i < sizeof(roles) / sizeof(roles[0]); i++)
		if (strcmp(name, roles[i].name) == 0)
			return roles[i].role;
	return GO_ROLE_NONE;
}

/* Where "]...[" divides the inside of the brackets in two; false: nowhere. */
static bool split_brackets(const char *in, size_t len, size_t *close_ret,
			   size_t *open_ret, bool *malformed)
{
	int depth = 1;
	bool closed = false;

	*malformed = false;
	for (size_t k = 0; k < len; k++) {
		if (in[k] == '[' && ++depth == 1) {
			*open_ret = k;
			return true;
		}
		if (in[k] == ']' && --depth == 0) {
			*close_ret = k;
			closed = true;
		}
		if (depth < 0)
			break;
	}
	*malformed = depth != 1 || closed;
	return false;
}

size_t go_print_name(const char *name, int minor, char *buf, size_t size)
{
	const char *open = strchr(name, '[');
	const char *close = strrchr(name, ']');
	const char *in = open ? open + 1 : NULL;
	size_t lbr = 0, rbr = 0;
	bool malformed = false;

	if (strcmp(name, "runtime.gopanic") == 0)
		return (size_t)snprintf(buf, size, "panic");
	if (!SINCE(minor, 21) || !open || !close || close <= open)
		return (size_t)snprintf(buf, size, "%s", name);
	if (SINCE(minor, 27) && memchr(in, '[', (size_t)(close - in)) &&
	    split_brackets(in, (size_t)(close - in), &rbr, &lbr, &malformed))
		return (size_t)snprintf(
			buf, size, "%.*s[...]%.*s[...]%s", (int)(open - name),
			name, (int)(lbr - rbr - 1), in + rbr + 1, close + 1);
	if (malformed)
		return (size_t)snprintf(buf, size, "%s", name);
	return (size_t)snprintf(buf, size, "%.*s[...]%s", (int)(open - name),
				name, close + 1);
}

bool go_role_is_trap(enum go_role role, int minor)
{
	return role == GO_ROLE_SIGPANIC ||
	       (role == GO_ROLE_PREEMPT && SINCE(minor, 21));
}

static bool upper(char c)
{
	return c >= 'A' && c <= 'Z';
}

/* isExportedRuntime; @name without "runtime.". */
static bool exported(const char *name, int minor)
{
	const char *dot = strrchr(name, '.');
	const char *receiver = name;

	// Before 1.23 only the first letter counted.
	if (!SINCE(minor, 23) || !dot)
		return upper(name[0]);
	if (dot - name >= 3 && name[0] == '(' && name[1] == '*' &&
	    dot[-1] == ')')
		receiver += 2;
	return upper(dot[1]) && (dot == name || upper(receiver[0]));
}

bool go_frame_shown(const char *name, enum go_role role, int minor, bool first,
		    enum go_role callee)
{
	bool panicked = callee == GO_ROLE_GOPANIC ||
			callee == GO_ROLE_SIGPANIC ||
			callee == GO_ROLE_PANICWRAP;

	if (role == GO_ROLE_WRAPPER && !panicked)
		return false;
	if (role == GO_ROLE_CLEANUPS && SINCE(minor, 25))
		return true;
	if (role == GO_ROLE_GOPANIC && !first)
		return true;
	return strchr(name, '.') &&
	       (!has_prefix(name, "runtime.") ||
		exported(name + strlen("runtime."), minor));
}

bool go_is_runtime(const char *name)
{
	return has_prefix(name, "runtime.") ||
	       has_prefix(name, "runtime/internal/") ||
	       has_prefix(name, "internal/runtime/");
}
