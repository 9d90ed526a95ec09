/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_CLEANUP_H
#define BASE_CLEANUP_H

/**
 * Cleanup attributes for what the C library hands out, and TAKE() to hand a
 * value over. Each module that has a create/destroy pair defines its own
 * AUTO_ macro beside it.
 */

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static inline void cleanup_free(void *p)
{
	free(*(void **)p);
}
#define AUTO_FREE __attribute__((cleanup(cleanup_free)))

static inline void cleanup_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}
#define AUTO_CLOSE __attribute__((cleanup(cleanup_close)))

static inline void cleanup_fclose(FILE **f)
{
	if (*f)
		fclose(*f);
}
#define AUTO_FCLOSE __attribute__((cleanup(cleanup_fclose)))

/** Hand over the pointer in @p: gives its value and leaves NULL behind. */
#define TAKE(p)                                                                \
	({                                                                     \
		__typeof__(p) taken_ = (p);                                    \
		(p) = NULL;                                                    \
		taken_;                                                        \
	})

/** The same for a file descriptor: leaves -1 behind. */
#define TAKE_FD(fd)                                                            \
	({                                                                     \
		int taken_ = (fd);                                             \
		(fd) = -1;                                                     \
		taken_;                                                        \
	})

#endif
