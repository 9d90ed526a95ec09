/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

/**
 * Diagnostics on standard error. Standard output is the report's alone.
 *
 * Library folders log at debug only; main and the subcommands say the rest.
 * Each line is formatted completely, escaped (base/escape.h) and written with
 * one write(2). Debug lines carry a token per subsystem ("go", "mem", "elf",
 * "net", "corr", "ctl") and are off until log_enable() or the environment
 * variable STRANDED_DEBUG ("go,net" or "all") turns the token on.
 */

#include <stdbool.h>
#include <stddef.h>

/** Turn on the tokens in the comma-separated list @tokens ("all" for each). */
void log_enable(const char *tokens);
bool log_enabled(const char *token);
void log_debug(const char *token, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/** "stranded: text" on standard error. */
void log_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/** Replace the sink (tests, fuzzers); NULL restores standard error. */
void log_set_sink(void (*sink)(const char *line, size_t len));

#endif
