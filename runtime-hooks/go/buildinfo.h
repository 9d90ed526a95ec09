/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_HOOKS_GO_BUILDINFO_H
#define RUNTIME_HOOKS_GO_BUILDINFO_H

/**
 * The Go version that a program says it was built with.
 *
 * Two places: the build info block (debug/buildinfo, internal/buildcfg; magic
 * "\xff Go buildinf:", 16-aligned at the start of the data), with the string
 * inline since 1.18 and behind two pointers before; and, in programs without
 * that block, the string variable runtime.buildVersion.
 *
 * The version is shown, and tells how this version's own dump prints; no
 * layout is derived from it.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GO_VERSION_MAX 128
#define GO_BUILDINFO_MAGIC "\xff Go buildinf:"
#define GO_BUILDINFO_MAGIC_LEN 14
#define GO_BUILDINFO_HEAD 32

/**
 * Parse a block that begins at @bytes.
 *
 * @param pointer_ret 0, or for the old form the address in the target of a
 * string header {address, length} that holds the version.
 * Returns: true when it is a block; @version is then the version, or "" when
 * it is behind *pointer_ret, or when the block does not hold together.
 */
bool go_buildinfo_parse(const void *bytes, size_t len,
			char version[GO_VERSION_MAX], uint64_t *pointer_ret);

/**
 * Where the strings of a block begin that has them inline (since Go 1.18):
 * the version, then what the modules are. NULL: no such block.
 */
const uint8_t *go_buildinfo_strings(const void *bytes, size_t len);
/**
 * The string at *@p, with its length before it (encoding/binary.Uvarint); *@p
 * is behind it then. Returns false when it does not end before @end.
 */
bool go_buildinfo_string(const uint8_t **p, const uint8_t *end,
			 const uint8_t **text_ret, size_t *len_ret);

/** Does @text look like a Go version: "go1.22.5", "devel go1.28-abc X:..."? */
bool go_version_plausible(const char *text, size_t len);
/** 22 for "go1.22.5"; 0 when there is no such number. */
int go_version_minor(const char *version);

#endif
