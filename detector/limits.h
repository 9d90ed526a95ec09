/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DETECTOR_LIMITS_H
#define DETECTOR_LIMITS_H

/**
 * The limit on open files that this process was started with, for the programs
 * that it becomes: what stranded needs for itself is not theirs.
 */

/**
 * Raise the soft limit to the hard one. A node may have a thousand network
 * namespaces, and each that a peer is looked for in takes several sockets.
 */
void limits_raise(void);
/** What it was before limits_raise(); nothing when that was not called. */
void limits_restore(void);

#endif
