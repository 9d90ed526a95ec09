/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime-hooks/native/elffile.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"

/* Open for reading what O_PATH has found, if it is a regular file. */
static int reopen(int path_fd)
{
	char self[64];
	struct stat st;
	int fd;

	if (path_fd < 0 || fstat(path_fd, &st))
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	snprintf(self, sizeof(self), "/proc/self/fd/%d", path_fd);
	fd = open(self, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	return fd < 0 ? -errno : fd;
}

int elffile_open(int root, const char *path)
{
	struct open_how how = { .flags = O_PATH | O_CLOEXEC };
	AUTO_CLOSE int fd = -1;

	if (root != AT_FDCWD)
		how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
	fd = (int)syscall(SYS_openat2, root, path, &how, sizeof(how));
	return reopen(fd);
}

int elffile_open_link(int procfd, const char *name)
{
	AUTO_CLOSE int fd = openat(procfd, name, O_PATH | O_CLOEXEC);

	return reopen(fd);
}

static int read_at(const struct elffile *file, uint64_t offset, void *buf,
		   uint64_t len)
{
	char *to = buf;

	if (offset > file->size || len > file->size - offset)
		return -ENOEXEC;
	while (len) {
		ssize_t n = pread(file->fd, to, len, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -ENOEXEC;
		to += n;
		offset += (uint64_t)n;
		len -= (uint64_t)n;
	}
	return 0;
}

/* The section that holds the sections' names. */
static void read_names(struct elffile *file, const Elf64_Ehdr *eh)
{
	if (eh->e_shstrndx < file->n)
		file->names = elffile_bytes(file,
					    &file->sections[eh->e_shstrndx],
					    &file->names_len);
}

int elffile_read(int fd, struct elffile *ret)
{
	AUTO_ELFFILE struct elffile file = { .fd = fd };
	Elf64_Ehdr eh;
	struct stat st;
	int rc;

	if (fstat(fd, &st))
		return -errno;
	file.size = (uint64_t)st.st_size;
	rc = read_at(&file, 0, &eh, sizeof(eh));
	if (rc)
		return rc;
	if (memcmp(eh.e_ident, ELFMAG, SELFMAG) != 0 ||
	    eh.e_ident[EI_CLASS] != ELFCLASS64 ||
	    eh.e_ident[EI_DATA] != ELFDATA2LSB ||
	    (eh.e_shnum && eh.e_shentsize != sizeof(Elf64_Shdr)))
		return -ENOEXEC;
	file.sections = calloc((size_t)eh.e_shnum + 1, sizeof(Elf64_Shdr));
	if (!file.sections)
		return -ENOMEM;
	rc = read_at(&file, eh.e_shoff, file.sections,
		     eh.e_shnum * sizeof(Elf64_Shdr));
	if (rc)
		return rc;
	file.n = eh.e_shnum;
	read_names(&file, &eh);
	*ret = file;
	memset(&file, 0, sizeof(file));
	return 0;
}

void elffile_clear(struct elffile *file)
{
	free(file->sections);
	free(file->names);
	memset(file, 0, sizeof(*file));
}

const Elf64_Shdr *elffile_section(const struct elffile *file, const char *name)
{
	for (size_t i = 0; i < file->n && file->names; i++) {
		const Elf64_Shdr *sh = &file->sections[i];

		if (sh->sh_name < file->names_len &&
		    !strcmp(file->names + sh->sh_name, name))
			return sh;
	}
	return NULL;
}

void *elffile_bytes(const struct elffile *file, const Elf64_Shdr *section,
		    size_t *len_ret)
{
	AUTO_FREE char *bytes = NULL;

	if (!section || section->sh_type == SHT_NOBITS ||
	    section->sh_flags & SHF_COMPRESSED ||
	    section->sh_size > ELFFILE_MAX_TABLE ||
	    section->sh_size > file->size)
		return NULL;
	bytes = malloc(section->sh_size + 1);
	if (!bytes ||
	    read_at(file, section->sh_offset, bytes, section->sh_size))
		return NULL;
	bytes[section->sh_size] = '\0';
	*len_ret = section->sh_size;
	return TAKE(bytes);
}

bool elffile_build_id(int fd, struct object_build_id *ret)
{
	AUTO_ELFFILE struct elffile file = { .fd = -1 };

	if (elffile_read(fd, &file))
		return false;
	for (size_t i = 0; i < file.n; i++) {
		const Elf64_Shdr *sh = &file.sections[i];
		AUTO_FREE void *notes = NULL;
		size_t len;

		if (sh->sh_type != SHT_NOTE || sh->sh_size > OBJECT_MAX_NOTES)
			continue;
		notes = elffile_bytes(&file, sh, &len);
		if (notes && object_find_build_id(notes, len, ret))
			return true;
	}
	return false;
}
