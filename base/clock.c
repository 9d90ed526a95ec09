/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define NS_PER_S 1000000000LL
#define NS_PER_MS 1000000LL
#define MS_PER_S 1000LL
#define MS_PER_MIN (60 * MS_PER_S)
#define MS_PER_H (60 * MS_PER_MIN)
#define MS_PER_DAY (24 * MS_PER_H)

static int64_t now_ns(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

int64_t clock_mono_ns(void)
{
	return now_ns(CLOCK_MONOTONIC);
}

int64_t clock_wall_ms(void)
{
	return now_ns(CLOCK_REALTIME) / NS_PER_MS;
}

int64_t clock_boot_ns(void)
{
	return now_ns(CLOCK_BOOTTIME);
}

void clock_sleep_until(int64_t mono_ns)
{
	struct timespec ts = {
		.tv_sec = mono_ns / NS_PER_S,
		.tv_nsec = mono_ns % NS_PER_S,
	};

	if (mono_ns <= 0)
		return;
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) ==
	       EINTR)
		;
}

void clock_format_rfc3339(int64_t wall_ms, char buf[CLOCK_TEXT_MAX])
{
	int64_t ms = wall_ms % MS_PER_S;
	time_t s = wall_ms / MS_PER_S;
	char head[CLOCK_TEXT_MAX - 8];
	struct tm tm;

	if (ms < 0) {
		ms += MS_PER_S;
		s--;
	}
	// fails only for years that no clock shows
	if (!gmtime_r(&s, &tm) ||
	    !strftime(head, sizeof(head), "%Y-%m-%dT%H:%M:%S", &tm)) {
		snprintf(buf, CLOCK_TEXT_MAX, "?");
		return;
	}
	snprintf(buf, CLOCK_TEXT_MAX, "%s.%03dZ", head, (int)ms);
}

void clock_format_duration(int64_t ms, char buf[CLOCK_TEXT_MAX])
{
	if (ms < 0)
		ms = 0;
	// always cut, never rounded up: 59.99 s is not 60.0 s
	if (ms < MS_PER_S)
		snprintf(buf, CLOCK_TEXT_MAX, "%d ms", (int)ms);
	else if (ms < MS_PER_MIN)
		snprintf(buf, CLOCK_TEXT_MAX, "%d.%d s", (int)(ms / MS_PER_S),
			 (int)(ms % MS_PER_S / 100));
	else if (ms < MS_PER_H)
		snprintf(buf, CLOCK_TEXT_MAX, "%d min", (int)(ms / MS_PER_MIN));
	else if (ms < MS_PER_DAY)
		snprintf(buf, CLOCK_TEXT_MAX, "%d h %02d min",
			 (int)(ms / MS_PER_H),
			 (int)(ms % MS_PER_H / MS_PER_MIN));
	else
		snprintf(buf, CLOCK_TEXT_MAX, "%" PRId64 " d %d h",
			 (int64_t)(ms / MS_PER_DAY),
			 (int)(ms % MS_PER_DAY / MS_PER_H));
}

static const struct unit {
	const char *name; /* longer ones before their prefixes */
	int64_t ms;
} units[] = {
	{ "ms", 1 },	     { "s", MS_PER_S }, { "min", MS_PER_MIN },
	{ "m", MS_PER_MIN }, { "h", MS_PER_H }, { "d", MS_PER_DAY },
};

static const struct unit *find_unit(const char *s)
{
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (!strncmp(s, units[i].name, strlen(units[i].name)))
			return &units[i];
	}
	return NULL;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* One "1.5h"; moves *@s behind it. */
static bool parse_part(const char **s, int64_t *ms_ret)
{
	int64_t whole = 0, thousandths = 0, scale = 100, ms;
	const struct unit *unit;
	const char *p = *s;

	if (!is_digit(*p))
		return false;
	for (; is_digit(*p); p++) {
		if (__builtin_mul_overflow(whole, 10, &whole) ||
		    __builtin_add_overflow(whole, *p - '0', &whole))
			return false;
	}
	if (*p == '.') {
		if (!is_digit(*++p))
			return false;
		for (; is_digit(*p); p++, scale /= 10)
			thousandths += (*p - '0') * scale;
	}
	unit = find_unit(p);
	if (!unit || __builtin_mul_overflow(whole, unit->ms, &ms) ||
	    __builtin_add_overflow(ms, thousandths * unit->ms / 1000, &ms))
		return false;
	*s = p + strlen(unit->name);
	*ms_ret = ms;
	return true;
}

bool clock_parse_duration(const char *text, int64_t *ms_ret)
{
	int64_t sum = 0, ms;

	if (!strcmp(text, "0")) {
		*ms_ret = 0;
		return true;
	}
	do {
		if (!parse_part(&text, &ms) ||
		    __builtin_add_overflow(sum, ms, &sum))
			return false;
	} while (*text);
	*ms_ret = sum;
	return true;
}
