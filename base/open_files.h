/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_OPEN_FILES_H
#define BASE_OPEN_FILES_H

/**
 * How many files this process may have open. Both are for main() and for the
 * moment before an execve(2), when nobody else runs.
 */

/**
 * Raise the soft limit (RLIMIT_NOFILE, setrlimit(2)) to the hard one. A node
 * may have a thousand network namespaces, and each that a peer is looked for in
 * takes several sockets: more than the usual 1,024. A limit that cannot be
 * raised stays as it is.
 */
void open_files_raise(void);

/**
 * Set the soft limit back to what it was, for a program that takes our place:
 * with more than FD_SETSIZE files select(2) would write past its sets. Nothing
 * happens when it was never raised. Async-signal-safe.
 */
void open_files_restore(void);

#endif
