/* SPDX-License-Identifier: Apache-2.0 */
#include "detector/policy.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

static const struct {
	const char *name;
	enum policy_subject subject;
} subjects[] = {
	{ "keepalive", POLICY_KEEPALIVE },
	{ "user-timeout", POLICY_USER_TIMEOUT },
};

static const char *skip_blanks(const char *p)
{
	while (*p == ' ' || *p == '\t')
		p++;
	return p;
}

static struct error *policy_error(const char *text)
{
	return error_new(ERROR_USAGE,
			 "'%.80s' is no policy; use keepalive, keepalive<=60s, "
			 "user-timeout or user-timeout<=60s",
			 text);
}

/* Past the name of a subject; NULL: none is there. */
static const char *parse_subject(const char *p, struct policy *policy)
{
	for (size_t i = 0; i < sizeof(subjects) / sizeof(subjects[0]); i++) {
		size_t len = strlen(subjects[i].name);

		if (strncmp(p, subjects[i].name, len) != 0)
			continue;
		policy->subject = subjects[i].subject;
		return p + len;
	}
	return NULL;
}

/* "<= DURATION" or nothing, up to the end. */
static bool parse_limit(const char *p, int64_t *ms_ret)
{
	char duration[POLICY_TEXT_MAX];

	p = skip_blanks(p);
	if (!*p)
		return true;
	if (strncmp(p, "<=", 2) != 0)
		return false;
	p = skip_blanks(p + 2);
	size_t len = strcspn(p, " \t");
	if (*skip_blanks(p + len) || len >= sizeof(duration))
		return false;
	memcpy(duration, p, len);
	duration[len] = '\0';
	return clock_parse_duration(duration, ms_ret) && *ms_ret > 0;
}

struct error *policy_parse(const char *text, struct policy *ret)
{
	struct policy policy = { .limit_ms = -1 };
	size_t len = strnlen(text, POLICY_TEXT_MAX);

	if (len == POLICY_TEXT_MAX)
		return policy_error(text);
	memcpy(policy.text, text, len);
	const char *p = parse_subject(skip_blanks(text), &policy);
	if (!p || !parse_limit(p, &policy.limit_ms))
		return policy_error(text);
	*ret = policy;
	return NULL;
}

/* One part of the list, up to its comma; NULL: there is none, or too long. */
static const char *cut(const char *p, char part[POLICY_TEXT_MAX])
{
	size_t len = strcspn(p, ",");

	if (len >= POLICY_TEXT_MAX || p[len] != ',')
		return NULL;
	memcpy(part, p, len);
	part[len] = '\0';
	return p + len + 1;
}

static bool parse_seconds(const char *part, uint32_t *ret)
{
	int64_t ms;

	if (!clock_parse_duration(part, &ms) || ms % 1000 || ms < 1000 ||
	    ms / 1000 > TCP_KEEPALIVE_MAX_S)
		return false;
	*ret = (uint32_t)(ms / 1000);
	return true;
}

static bool parse_count(const char *part, uint32_t *ret)
{
	char *end;

	if (!isdigit((unsigned char)*part))
		return false;
	errno = 0;
	unsigned long n = strtoul(part, &end, 10);
	if (errno || *end || n < 1 || n > TCP_KEEPALIVE_MAX_CNT)
		return false;
	*ret = (uint32_t)n;
	return true;
}

struct error *keepalive_parse(const char *text, struct tcp_keepalive *ret)
{
	char idle[POLICY_TEXT_MAX], intvl[POLICY_TEXT_MAX];
	struct tcp_keepalive k;
	const char *p = cut(text, idle);

	if (p)
		p = cut(p, intvl);
	if (!p || !parse_seconds(idle, &k.idle_s) ||
	    !parse_seconds(intvl, &k.intvl_s) || !parse_count(p, &k.cnt))
		return error_new(ERROR_USAGE,
				 "'%.80s' is no keepalive; use IDLE,INTVL,CNT "
				 "as in 15s,15s,9: whole seconds up to %d, and "
				 "a count up to %d",
				 text, TCP_KEEPALIVE_MAX_S,
				 TCP_KEEPALIVE_MAX_CNT);
	*ret = k;
	return NULL;
}

int64_t keepalive_detects_ms(const struct tcp_options *o)
{
	int64_t idle = INT64_C(1000) * o->keepidle_s;
	int64_t intvl = INT64_C(1000) * o->keepintvl_s;
	int64_t n = o->keepcnt ? o->keepcnt : 1;
	int64_t ms;

	if (!o->known || !o->keepalive || intvl <= 0)
		return POLICY_NEVER;
	if (o->user_timeout_ms) {
		int64_t left = o->user_timeout_ms - idle;

		n = left > 0 ? (left + intvl - 1) / intvl : 1;
	}
	/* The values may be a recording's. */
	if (__builtin_mul_overflow(n, intvl, &ms) ||
	    __builtin_add_overflow(ms, idle, &ms))
		return POLICY_NEVER;
	return ms;
}

static bool is_asked(const struct tcp_socket *s)
{
	enum tcp_state state = tcp_socket_latest(s)->state;

	if (s->second_state == TCP_VANISHED)
		return false;
	/* Keepalive is for these (tcp_keepalive_timer()). */
	return state == TCP_STATE_ESTABLISHED ||
	       state == TCP_STATE_CLOSE_WAIT || state == TCP_STATE_FIN_WAIT2;
}

enum policy_answer policy_judge(const struct policy *policy,
				const struct tcp_socket *s,
				int64_t *detects_ms_ret)
{
	const struct tcp_options *o = &s->options;
	int64_t ms = POLICY_NEVER;

	*detects_ms_ret = POLICY_NEVER;
	if (!is_asked(s))
		return POLICY_NOT_ASKED;
	if (!o->known)
		return POLICY_UNKNOWN;
	switch (policy->subject) {
	case POLICY_KEEPALIVE:
		ms = keepalive_detects_ms(o);
		break;
	case POLICY_USER_TIMEOUT:
		if (o->user_timeout_ms)
			ms = o->user_timeout_ms;
		break;
	}
	*detects_ms_ret = ms;
	if (ms == POLICY_NEVER ||
	    (policy->limit_ms >= 0 && ms > policy->limit_ms))
		return POLICY_VIOLATED;
	return POLICY_KEPT;
}

struct policy_count policy_count(const struct policy *policy,
				 const struct tcp_snapshot *sockets)
{
	struct policy_count c = { 0 };
	int64_t ms;

	for (size_t i = 0; i < sockets->n; i++) {
		switch (policy_judge(policy, &sockets->v[i], &ms)) {
		case POLICY_VIOLATED:
			c.violations++;
			c.checked++;
			break;
		case POLICY_KEPT:
			c.checked++;
			break;
		case POLICY_UNKNOWN:
			c.unknown++;
			break;
		case POLICY_NOT_ASKED:
			break;
		}
	}
	return c;
}
