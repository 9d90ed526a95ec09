/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

/**
 * Time. Monotonic times are CLOCK_MONOTONIC nanoseconds, the clock that the Go
 * runtime's nanotime() uses on Linux; wall times are milliseconds since 1970.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

int64_t clock_mono_ns(void);
int64_t clock_wall_ms(void);
/** Nanoseconds since boot (CLOCK_BOOTTIME): the clock of /proc/PID/stat. */
int64_t clock_boot_ns(void);
/** Sleep until clock_mono_ns() reaches @mono_ns; goes on after signals. */
void clock_sleep_until(int64_t mono_ns);

/** Enough for any output of clock_format_*(). */
#define CLOCK_TEXT_MAX 40

/** RFC 3339 in UTC with milliseconds: 2026-11-22T22:19:00.123Z. */
void clock_format_rfc3339(int64_t wall_ms, char buf[CLOCK_TEXT_MAX]);
/** For people: "340 ms", "4.2 s", "41 min", "3 h 02 min", "5 d 3 h". */
void clock_format_duration(int64_t ms, char buf[CLOCK_TEXT_MAX]);
/**
 * Parse a duration with a unit, as Go writes them: "500ms", "30s", "1m30s",
 * "2h", "1d". A number without a unit is refused, 0 is fine.
 *
 * Returns: true and the milliseconds, or false.
 */
bool clock_parse_duration(const char *text, int64_t *ms_ret);

#endif
