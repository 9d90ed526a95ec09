/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DETECTOR_FINGERPRINT_H
#define DETECTOR_FINGERPRINT_H

/**
 * Two identities of a stack, both over function names only.
 *
 * The identity groups the tasks of one report: every function counts. The
 * fingerprint names a finding across restarts, rebuilds, other peers, other
 * lines and other Go versions, so that it can stand in a baseline: only the
 * program's functions count (or, where there are none, the standard library's
 * without the runtime). Pure.
 */

#include <stdint.h>

#include "detector/finding.h"

/** Hash of every function name of @stack (may be NULL). */
uint64_t stack_identity(const struct stack *stack);

/**
 * Write 16 hex digits and a NUL.
 *
 * @param stack may be NULL: for a connection that no task waits on.
 * @param created_by may be NULL.
 * @param extra what tells findings without a stack apart; "" for none.
 */
void fingerprint(enum finding_kind kind, const struct stack *stack,
		 const struct frame *created_by, const char *extra,
		 char ret[17]);

#endif
