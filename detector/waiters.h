/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DETECTOR_WAITERS_H
#define DETECTOR_WAITERS_H

/**
 * For each connection of a survey: its fd and the tasks that wait on it. An
 * index for the writers of `sockets`; correlate has its own bookkeeping.
 */

#include "detector/survey.h"

struct waiters;

/** Returns NULL when out of memory. */
struct waiters *waiters_create(const struct survey *survey);
void waiters_destroy(struct waiters *waiters);

/** The first task that waits on socket @i; NULL none. */
const struct task *waiters_of(const struct waiters *w, size_t i);
size_t waiters_count(const struct waiters *w, size_t i);
/** The lowest fd of socket @i; -1 none. */
int waiters_fd(const struct waiters *w, size_t i);

#endif
