/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime-hooks/go/buildinfo.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char version[GO_VERSION_MAX];
	uint64_t pointer;
	size_t len;

	go_buildinfo_parse(data, size, version, &pointer);
	len = strnlen(version, sizeof(version));
	if (len == sizeof(version) ||
	    (len && !go_version_plausible(version, len)) || (len && pointer) ||
	    go_version_minor(version) < 0)
		abort();
	return 0;
}
