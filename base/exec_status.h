/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_EXEC_STATUS_H
#define BASE_EXEC_STATUS_H

#include <errno.h>

/** What sh(1) and env(1) exit with when a program is there and cannot run. */
#define EXEC_CANNOT_RUN 126

/**
 * What they exit with after execve(2) failed with @errnum: 127 where nothing
 * was found, else EXEC_CANNOT_RUN.
 */
static inline int exec_status(int errnum)
{
	return errnum == ENOENT ? 127 : EXEC_CANNOT_RUN;
}

#endif
