/* SPDX-License-Identifier: Apache-2.0 */
#include "base/open_files.h"

#include <stdbool.h>
#include <sys/resource.h>

static rlim_t former;
static bool raised;

void open_files_raise(void)
{
	struct rlimit limit;

	if (raised || getrlimit(RLIMIT_NOFILE, &limit))
		return;
	former = limit.rlim_cur;
	limit.rlim_cur = limit.rlim_max;
	raised = !setrlimit(RLIMIT_NOFILE, &limit);
}

void open_files_restore(void)
{
	struct rlimit limit;

	if (!raised || getrlimit(RLIMIT_NOFILE, &limit))
		return;
	limit.rlim_cur = former < limit.rlim_max ? former : limit.rlim_max;
	raised = setrlimit(RLIMIT_NOFILE, &limit) != 0;
}
