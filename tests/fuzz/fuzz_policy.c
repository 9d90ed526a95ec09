/* SPDX-License-Identifier: Apache-2.0 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "detector/policy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);
	struct tcp_options o = { .known = true, .keepalive = true };
	struct tcp_keepalive k;
	struct policy p;

	memcpy(text, data, size);
	text[size] = '\0';
	struct error *err = policy_parse(text, &p);
	if (!err && (p.limit_ms == 0 || p.limit_ms < -1 ||
		     !memchr(p.text, '\0', sizeof(p.text))))
		abort();
	error_free(err);
	err = keepalive_parse(text, &k);
	if (!err && (k.idle_s < 1 || k.idle_s > TCP_KEEPALIVE_MAX_S ||
		     k.intvl_s < 1 || k.intvl_s > TCP_KEEPALIVE_MAX_S ||
		     k.cnt < 1 || k.cnt > TCP_KEEPALIVE_MAX_CNT))
		abort();
	error_free(err);
	free(text);
	/* The settings of a recording are anything. */
	if (size >= 16) {
		memcpy(&o.keepidle_s, data, 4);
		memcpy(&o.keepintvl_s, data + 4, 4);
		memcpy(&o.keepcnt, data + 8, 4);
		memcpy(&o.user_timeout_ms, data + 12, 4);
		if (keepalive_detects_ms(&o) < POLICY_NEVER)
			abort();
	}
	return 0;
}
