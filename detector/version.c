/* SPDX-License-Identifier: Apache-2.0 */
#include "detector/cli.h"

#ifndef STRANDED_VERSION
#define STRANDED_VERSION "unknown"
#endif

const char *stranded_version(void)
{
	return STRANDED_VERSION;
}
