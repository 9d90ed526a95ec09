/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "netwatch/sockdiag.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/*
 * One inet_diag_msg with attributes, as in a recording. The seeds are what the
 * kernel answered. Whatever the bytes: no crash, and what is accepted is fit
 * for the rest of the program.
 */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char text[ENDPOINT_TEXT_MAX];
	struct tcp_info_fields info;
	struct tcp_socket s;

	if (sockdiag_parse(data, size, &s) == 0) {
		endpoint_format(&s.local, text);
		if (strlen(text) >= sizeof(text) - 1 ||
		    (s.local.family != AF_INET && s.local.family != AF_INET6) ||
		    s.remote.family != s.local.family ||
		    s.second_state != TCP_NOT_SAMPLED)
			abort();
		tcp_timer_name(s.first.timer);
	}
	sockdiag_parse_tcp_info(data, size, &info);
	// a later group without an earlier one would be believed
	if (info.known & (info.known + 1))
		abort();
	return 0;
}
