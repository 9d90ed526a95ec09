/* SPDX-License-Identifier: Apache-2.0 */
#include "detector/patterns.h"

#include <stddef.h>

bool pattern_glob(const char *pattern, const char *text)
{
	const char *star = NULL, *resume = NULL;

	while (*text) {
		if (*pattern == '*') {
			star = ++pattern;
			resume = text;
			continue;
		}
		size_t escaped = pattern[0] == '\\' && pattern[1];
		if (pattern[escaped] && pattern[escaped] == *text) {
			pattern += escaped + 1;
			text++;
		} else if (star) {
			/* Let the last star take one more. */
			pattern = star;
			text = ++resume;
		} else {
			return false;
		}
	}
	while (*pattern == '*')
		pattern++;
	return !*pattern;
}

bool patterns_add(struct patterns *patterns, struct arena *arena, int key,
		  const char *text)
{
	struct pattern *p = arena_alloc(arena, sizeof(*p));

	if (!p || !(p->text = arena_strdup(arena, text)))
		return false;
	p->key = key;
	p->next = patterns->first;
	patterns->first = p;
	patterns->keys |= 1u << key;
	return true;
}

bool patterns_match(const struct patterns *patterns,
		    bool (*matches)(const struct pattern *p, const void *arg),
		    const void *arg)
{
	uint32_t matched = 0;

	for (const struct pattern *p = patterns->first; p; p = p->next)
		if (!(matched & (1u << p->key)) && matches(p, arg))
			matched |= 1u << p->key;
	return matched == patterns->keys;
}
