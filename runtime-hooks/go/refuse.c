/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Why a process is not read: the name of the reason. Nothing here decides
 * whether a program is Go; the search for module data did, and found none.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "runtime-hooks/go/image_priv.h"

/* Of the executable's file; a `--all` run asks this of each process. */
#define SEARCH_BYTES (8u << 20)

enum mark_kind {
	MARK_UPX,
	MARK_GCCGO,
	MARK_TINYGO,
	MARK_GO_OLD, /* the pc table of Go 1.2 to 1.15 */
	MARK_GO,
	MARK_KINDS
};

struct mark {
	enum mark_kind kind;
	const char *backwards; /* so that we do not bear them ourselves */
	size_t len;
	size_t within; /* bytes of the file that are searched */
};

#define MARK(kind, s, within)                                                  \
	{                                                                      \
		kind, s, sizeof(s) - 1, within                                 \
	}

/*
 * UPX: its loader header's magic. gccgo: paths of its library's sources, and a
 * symbol of each program. TinyGo: likewise. Old Go: the pcHeader's magic with
 * the two zeros, quantum 1 and pointer size 8 that follow it.
 */
static const struct mark marks[] = {
	MARK(MARK_UPX, "!XPU", 4096),
	MARK(MARK_GCCGO, "/ogbil/", SEARCH_BYTES),
	MARK(MARK_GCCGO, "niam_tini_og__", SEARCH_BYTES),
	MARK(MARK_TINYGO, "/crs/ogynit/", SEARCH_BYTES),
	MARK(MARK_TINYGO, "_ogynit", SEARCH_BYTES),
	MARK(MARK_GO_OLD, "\10\1\0\0\xff\xff\xff\xfb", SEARCH_BYTES),
};

static bool bears(const uint8_t *bytes, size_t len, const struct mark *mark)
{
	char text[16];

	for (size_t i = 0; i < mark->len; i++)
		text[i] = mark->backwards[mark->len - 1 - i];
	if (len > mark->within)
		len = mark->within;
	return memmem(bytes, len, text, mark->len) != NULL;
}

/* A whole block, not just the magic: programs that read others hold that. */
static bool has_buildinfo(const uint8_t *bytes, size_t len)
{
	char version[GO_VERSION_MAX];
	uint64_t pointer;

	for (size_t at = 0; at + GO_BUILDINFO_HEAD <= len; at += 16)
		if (bytes[at] == 0xff &&
		    go_buildinfo_parse(bytes + at, len - at, version,
				       &pointer) &&
		    (version[0] || pointer))
			return true;
	return false;
}

static size_t read_exe(int fd, uint8_t *buf, size_t size)
{
	size_t done = 0;

	while (done < size) {
		ssize_t n = pread(fd, buf + done, size - done, (off_t)done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		done += (size_t)n;
	}
	return done;
}

static bool maps_libgo(const struct process_maps *maps)
{
	for (size_t i = 0; i < maps->n; i++) {
		const char *slash = strrchr(maps->v[i].path, '/');

		if (slash && strncmp(slash, "/libgo.so", 9) == 0)
			return true;
	}
	return false;
}

static struct error *refuse(const struct process *p, const char *what)
{
	return error_new(ERROR_UNSUPPORTED, "process %d is %s", p->pid, what);
}

/* What the headers tell; NULL: nothing unusual. */
static struct error *refuse_header(const struct process *p, enum elf_kind kind,
				   const struct elf_head *head, off_t size)
{
	char machine[32], text[96];

	switch (kind) {
	case ELF_32BIT:
		return refuse(p, "a 32-bit program; only 64-bit ones are read");
	case ELF_BIG_ENDIAN:
		return refuse(p, "a big-endian program");
	case ELF_FOREIGN:
		snprintf(text, sizeof(text),
			 "a program for %s; it must be that of this machine",
			 elf_machine_name(head->machine, machine));
		return refuse(p, text);
	case ELF_NOT:
	case ELF_NOT_PROGRAM:
		return error_new(ERROR_ABSENT,
				 "process %d is not an ELF program", p->pid);
	case ELF_TRUNCATED:
		break;
	case ELF_OK:
		if (head->file_end <= (uint64_t)size)
			return NULL;
		break;
	}
	return error_new(ERROR_CORRUPT,
			 "the executable of process %d is truncated", p->pid);
}

static struct error *refuse_marks(const struct process *p,
				  const bool found[MARK_KINDS])
{
	if (found[MARK_UPX])
		return refuse(p, "packed by UPX and holds no Go program that "
				 "can be read; run it unpacked (upx -d)");
	if (found[MARK_GCCGO])
		return refuse(p, "a Go program built by gccgo; only those of "
				 "the standard toolchain are read");
	if (found[MARK_TINYGO])
		return refuse(p, "a Go program built by TinyGo; only those of "
				 "the standard toolchain are read");
	if (found[MARK_GO_OLD])
		return refuse(p, "a Go program built by Go 1.15 or older; "
				 "1.17 and later are read");
	if (found[MARK_GO])
		return error_new(ERROR_CORRUPT,
				 "process %d has Go build info, but no module "
				 "data that holds together",
				 p->pid);
	return error_new(ERROR_ABSENT, "process %d is not a Go program",
			 p->pid);
}

struct error *image_refuse(const struct process *p,
			   const struct process_maps *maps,
			   const struct go_image *found)
{
	AUTO_CLOSE int fd = openat(p->procfd, "exe", O_RDONLY | O_CLOEXEC);
	AUTO_FREE uint8_t *buf = malloc(SEARCH_BYTES);
	bool seen[MARK_KINDS] = { false };
	struct elf_head head;
	struct error *err;
	struct stat st;
	size_t len;

	if (!buf)
		return &error_nomem;
	if (fd < 0 || fstat(fd, &st) < 0)
		return process_error(p, errno, "the executable of");
	if (!maps->n || !process_alive(p))
		return process_error(p, ESRCH, "memory of");
	// Maps that are there, and nothing in them that can be read.
	if (!found->n_objects && pagecache_errno(found->mem))
		return process_error(p, pagecache_errno(found->mem),
				     "memory of");
	len = read_exe(fd, buf, SEARCH_BYTES);
	err = refuse_header(p, elf_parse(buf, len, &head), &head, st.st_size);
	if (err)
		return err;
	for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++)
		seen[marks[i].kind] |= bears(buf, len, &marks[i]);
	seen[MARK_GO] = has_buildinfo(buf, len);
	seen[MARK_GCCGO] |= maps_libgo(maps);
	return refuse_marks(p, seen);
}
