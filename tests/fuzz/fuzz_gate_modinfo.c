/* SPDX-License-Identifier: Apache-2.0 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "detector/gate/gotest.h"
#include "detector/gate/program.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Any bytes are a section .go.buildinfo, and a command line. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct program_info info;
	bool ok = program_info_parse(data, size, &info);

	if (strnlen(info.path, PROGRAM_PATH_MAX) == PROGRAM_PATH_MAX ||
	    strnlen(info.module, PROGRAM_PATH_MAX) == PROGRAM_PATH_MAX ||
	    ok != (*info.path != '\0'))
		__builtin_trap();
	gotest_is_cacheable((const char *)data, size);
	return 0;
}
