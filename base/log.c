/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/escape.h"

static const char *const tokens_known[] = {
	"go", "mem", "elf", "net", "corr", "ctl",
};
#define N_TOKENS (sizeof(tokens_known) / sizeof(tokens_known[0]))
#define BIT_ALL (1u << 31)

static _Atomic unsigned int enabled;
static void (*_Atomic sink)(const char *line, size_t len);
static pthread_once_t env_once = PTHREAD_ONCE_INIT;

static unsigned int token_bit(const char *token, size_t len)
{
	if (len == 3 && !memcmp(token, "all", 3))
		return BIT_ALL;
	for (size_t i = 0; i < N_TOKENS; i++) {
		if (strlen(tokens_known[i]) == len &&
		    !memcmp(tokens_known[i], token, len))
			return 1u << i;
	}
	return 0;
}

void log_enable(const char *tokens)
{
	while (*tokens) {
		size_t len = strcspn(tokens, ",");

		atomic_fetch_or(&enabled, token_bit(tokens, len));
		tokens += len;
		tokens += *tokens == ',';
	}
}

static void read_env(void)
{
	const char *tokens = getenv("STRANDED_DEBUG");

	if (tokens)
		log_enable(tokens);
}

bool log_enabled(const char *token)
{
	pthread_once(&env_once, read_env);
	return atomic_load(&enabled) &
	       (BIT_ALL | token_bit(token, strlen(token)));
}

static void emit(const char *line, size_t len)
{
	void (*to)(const char *, size_t) = atomic_load(&sink);
	ssize_t n;

	if (to) {
		to(line, len);
		return;
	}
	do {
		n = write(STDERR_FILENO, line, len);
	} while (n < 0 && errno == EINTR);
}

static void log_line(const char *token, const char *fmt, va_list ap)
	__attribute__((format(printf, 2, 0)));

static void log_line(const char *token, const char *fmt, va_list ap)
{
	AUTO_FREE char *text = NULL;
	AUTO_FREE char *line = NULL;
	size_t head, len, size;

	if (vasprintf(&text, fmt, ap) < 0) {
		text = NULL;
		return;
	}
	head = strlen("stranded: ") + (token ? strlen(token) + 2 : 0);
	size = head + escape_text(NULL, 0, text) + 2;
	line = malloc(size);
	if (!line)
		return;
	if (token)
		len = (size_t)snprintf(line, size, "stranded: %s: ", token);
	else
		len = (size_t)snprintf(line, size, "stranded: ");
	len += escape_text(line + len, size - len, text);
	line[len++] = '\n';
	emit(line, len);
}

void log_debug(const char *token, const char *fmt, ...)
{
	int saved = errno;
	va_list ap;

	if (!log_enabled(token))
		return;
	va_start(ap, fmt);
	log_line(token, fmt, ap);
	va_end(ap);
	errno = saved;
}

void log_error(const char *fmt, ...)
{
	int saved = errno;
	va_list ap;

	va_start(ap, fmt);
	log_line(NULL, fmt, ap);
	va_end(ap);
	errno = saved;
}

void log_set_sink(void (*to)(const char *line, size_t len))
{
	atomic_store(&sink, to);
}
