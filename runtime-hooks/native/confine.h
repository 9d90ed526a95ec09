/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_HOOKS_NATIVE_CONFINE_H
#define RUNTIME_HOOKS_NATIVE_CONFINE_H

/**
 * Give up, for good, all system calls but those that reading open files and
 * allocating memory take; any other fails with EPERM from then on (seccomp(2),
 * Linux 3.17). Under a sanitizer, which needs more, nothing is given up.
 *
 * Returns: 0 or -errno; -EINVAL when the kernel has no seccomp.
 */
int confine_to_computing(void) __attribute__((warn_unused_result));

#endif
