/* SPDX-License-Identifier: Apache-2.0 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);
	char buf[CLOCK_TEXT_MAX];
	int64_t ms = 0;

	memcpy(text, data, size);
	text[size] = '\0';
	if (clock_parse_duration(text, &ms)) {
		if (ms < 0)
			abort();
		clock_format_duration(ms, buf);
		if (!memchr(buf, '\0', sizeof(buf)))
			abort();
	}
	free(text);
	if (size >= sizeof(ms)) {
		memcpy(&ms, data, sizeof(ms));
		clock_format_duration(ms, buf);
		clock_format_rfc3339(ms, buf);
		if (!memchr(buf, '\0', sizeof(buf)))
			abort();
	}
	return 0;
}
