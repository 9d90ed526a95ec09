/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_GAP_H
#define BASE_GAP_H

/**
 * What could not be seen, and why. Gaps are counted by kind and text and are
 * shown with every report: not seen is not the same as clean.
 */

#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"

enum gap_kind {
	GAP_RUNNING,	  /* tasks that were running: no stack can be had */
	GAP_TORN,	  /* changed under our hands, also after retries */
	GAP_GONE,	  /* the target, a thread, an fd vanished meanwhile */
	GAP_DENIED,	  /* not permitted */
	GAP_UNSUPPORTED,  /* not understood by this version */
	GAP_CORRUPT,	  /* read, and makes no sense */
	GAP_INCONSISTENT, /* an interrupted netlink dump */
	GAP_LIMIT,	  /* a limit of ours cut it */
};

struct gap {
	enum gap_kind kind;
	uint64_t count;
	const char *text; /* what was not seen and, after ';', the remedy */
};

struct gaps {
	struct gap *v;
	size_t n, cap;
	struct arena *arena; /* where v and the texts live */
};

/**
 * Count @count more of the gap (@kind, text); a new one is added when that
 * pair was not seen yet. Once GAPS_MAX different ones are held, further ones
 * are added to the last of their kind, so nothing is lost from the count.
 * Out of memory drops the text, never the count of an existing gap.
 */
#define GAPS_MAX 64
void gaps_add(struct gaps *gaps, enum gap_kind kind, uint64_t count,
	      const char *fmt, ...) __attribute__((format(printf, 4, 5)));
/** Add all of @from, copying texts. */
void gaps_merge(struct gaps *gaps, const struct gaps *from);
/** "running", "torn" ... for JSON. */
const char *gap_kind_name(enum gap_kind kind);

#endif
