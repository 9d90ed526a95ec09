/* SPDX-License-Identifier: Apache-2.0 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/escape.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_text(const char *text)
{
	size_t len = escape_text(NULL, 0, text);
	char *buf = malloc(len + 1), *again = malloc(len + 1);
	char small[7];

	if (escape_text(buf, len + 1, text) != len || strlen(buf) != len)
		abort();
	for (size_t i = 0; i < len; i++) {
		if ((unsigned char)buf[i] < 0x20 || buf[i] == 0x7f)
			abort();
	}
	// what is fit to print stays as it is
	if (escape_text(again, len + 1, buf) != len || strcmp(buf, again))
		abort();
	if (escape_text(small, sizeof(small), text) != len ||
	    strlen(small) >= sizeof(small) ||
	    strncmp(small, buf, strlen(small)))
		abort();
	free(buf);
	free(again);
}

/* jansson refuses what is no UTF-8: an independent judge. */
static void check_json(const char *text)
{
	char *utf8 = escape_utf8(text);
	json_t *json = json_string(utf8);

	if (!json)
		abort();
	json_decref(json);
	json = json_string(text);
	if (json && strcmp(text, utf8))
		abort();
	json_decref(json);
	free(utf8);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);
	FILE *f = fopen("/dev/null", "w");

	memcpy(text, data, size);
	text[size] = '\0';
	check_text(text);
	check_json(text);
	// exactly the bytes, without a NUL behind them
	if (f && size) {
		char *exact = malloc(size);

		memcpy(exact, data, size);
		escape_print(f, exact, size);
		free(exact);
	}
	if (f)
		fclose(f);
	free(text);
	return 0;
}
