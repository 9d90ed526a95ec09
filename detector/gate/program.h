/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DETECTOR_GATE_PROGRAM_H
#define DETECTOR_GATE_PROGRAM_H

/**
 * Which programs cost a look: a build runs a dozen of them thousands of times,
 * so what was found out about one is remembered.
 *
 * A program is what is mapped executable in the process, not its main file
 * alone: python3 with a Go library is another than python3 without. Files are
 * told by device, inode, size and times, so that one that was built anew in
 * place is another one.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum program_kind {
	PROGRAM_NEW, /* not looked at yet */
	PROGRAM_FOREIGN,
	PROGRAM_GO,
	PROGRAM_TOOLCHAIN, /* of Go's own: go, compile, link, vet ... */
};

struct program_key {
	uint64_t dev, ino, size, mtime_ns, ctime_ns;
	uint64_t mappings; /* hash over all that is mapped executable */
};

/**
 * Identify the program of the thread @tid, by /proc. Returns: 0 or -errno.
 */
int program_key(pid_t tid, struct program_key *ret)
	__attribute__((warn_unused_result));

struct programs;

struct programs *programs_create(void);
void programs_destroy(struct programs *programs);
enum program_kind programs_find(const struct programs *programs,
				const struct program_key *key);
/** Out of memory: it is not remembered, and will be looked at again. */
void programs_put(struct programs *programs, const struct program_key *key,
		  enum program_kind kind);

/**
 * Could there be goroutines, or coroutines that we read, in the process of the
 * thread @tid? A cheap look at the section names, and the names of dynamic
 * symbols, of each file that is mapped executable: no is certain enough (it has
 * section headers, and none of Go's), and everything else is yes.
 */
bool program_may_have_tasks(pid_t tid);

/**
 * As programs_find(), but a new one that has no tasks for sure, by the thread
 * @tid that runs it, is PROGRAM_FOREIGN from now on.
 */
enum program_kind programs_kind(struct programs *programs, pid_t tid,
				const struct program_key *key);

/** What a Go program says of itself. */
#define PROGRAM_PATH_MAX 512
struct program_info {
	char path[PROGRAM_PATH_MAX];   /* main package's import path; "" */
	char module[PROGRAM_PATH_MAX]; /* main module's path; "" */
};

/**
 * Read the build info of the executable of @pid: modinfo of Go 1.18 and later
 * (debug/buildinfo), from the section .go.buildinfo.
 *
 * Returns: false when it has none, or none that we understand.
 */
bool program_info(pid_t pid, struct program_info *ret);
/** The parser behind it; @bytes: any, also hostile ones. */
bool program_info_parse(const void *bytes, size_t len,
			struct program_info *ret);
/**
 * Is it a test binary, as go test makes them? @info may be empty: Go before
 * 1.18; then the name of @exe says it, which may be NULL.
 */
bool program_is_test(const struct program_info *info, const char *exe);
/**
 * The import path of the package whose folder is @dir, by the nearest go.mod
 * above it: what a test binary before Go 1.20 does not say itself. For tests:
 * go test runs each in its package's folder.
 *
 * Returns: false when there is none.
 */
bool program_package_of(const char *dir, char ret[PROGRAM_PATH_MAX]);

/** Is it one of Go's own commands (cmd/go, cmd/compile ...)? */
bool program_is_toolchain(const struct program_info *info);

#endif
