/* SPDX-License-Identifier: Apache-2.0 */
#include "detector/gate/program.h"

#include <errno.h>
#include <fcntl.h>
#include <gelf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/fnv.h"
#include "runtime-hooks/go/buildinfo.h"

#define MAX_SECTIONS 4096
/* Replaces the string when there is none; 16 bytes at both ends of modinfo. */
#define SENTINEL 16
#define BUILDINFO_MAX (1u << 20)

/* "START-END r-xp OFFSET DEV INODE PATH": from DEV on, where x is set. */
static uint64_t hash_line(uint64_t hash, const char *line)
{
	const char *perms = strchr(line, ' ');

	if (!perms || strlen(perms) < 5 || perms[3] != 'x')
		return hash;
	const char *dev = strchr(perms + 6, ' ');
	return dev ? fnv_bytes(hash, dev, strcspn(dev, "\n")) : hash;
}

static int hash_mappings(pid_t tid, uint64_t *ret)
{
	char path[40];
	AUTO_FREE char *line = NULL;
	size_t cap = 0;

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)tid);
	AUTO_FCLOSE FILE *f = fopen(path, "re");
	if (!f)
		return -errno;
	*ret = FNV_OFFSET;
	while (getline(&line, &cap, f) > 0)
		*ret = hash_line(*ret, line);
	return 0;
}

static uint64_t ns_of(const struct timespec *t)
{
	return (uint64_t)t->tv_sec * 1000000000 + (uint64_t)t->tv_nsec;
}

int program_key(pid_t tid, struct program_key *ret)
{
	char path[40];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%d/exe", (int)tid);
	if (stat(path, &st) < 0)
		return -errno;
	*ret = (struct program_key){
		.dev = st.st_dev,
		.ino = st.st_ino,
		.size = (uint64_t)st.st_size,
		.mtime_ns = ns_of(&st.st_mtim),
		.ctime_ns = ns_of(&st.st_ctim),
	};
	return hash_mappings(tid, &ret->mappings);
}

struct entry {
	struct program_key key;
	enum program_kind kind; /* PROGRAM_NEW: empty */
};

struct programs {
	struct entry *v;
	size_t n, cap; /* cap is a power of two */
};

struct programs *programs_create(void)
{
	return calloc(1, sizeof(struct programs));
}

void programs_destroy(struct programs *programs)
{
	if (programs)
		free(programs->v);
	free(programs);
}

/* Where it is, or belongs. There is always a free place. */
static struct entry *place(const struct programs *p,
			   const struct program_key *key)
{
	size_t i = fnv_bytes(FNV_OFFSET, key, sizeof(*key)) & (p->cap - 1);

	while (p->v[i].kind != PROGRAM_NEW &&
	       memcmp(&p->v[i].key, key, sizeof(*key)) != 0)
		i = (i + 1) & (p->cap - 1);
	return &p->v[i];
}

enum program_kind programs_find(const struct programs *programs,
				const struct program_key *key)
{
	return programs->cap ? place(programs, key)->kind : PROGRAM_NEW;
}

static bool grow(struct programs *p)
{
	struct programs bigger = { .cap = p->cap ? 2 * p->cap : 64, .n = p->n };

	if (2 * (p->n + 1) < p->cap)
		return true;
	bigger.v = calloc(bigger.cap, sizeof(*bigger.v));
	if (!bigger.v)
		return false;
	for (size_t i = 0; i < p->cap; i++)
		if (p->v[i].kind != PROGRAM_NEW)
			*place(&bigger, &p->v[i].key) = p->v[i];
	free(p->v);
	*p = bigger;
	return true;
}

void programs_put(struct programs *programs, const struct program_key *key,
		  enum program_kind kind)
{
	if (kind == PROGRAM_NEW || !grow(programs))
		return;
	struct entry *e = place(programs, key);
	programs->n += e->kind == PROGRAM_NEW;
	*e = (struct entry){ .key = *key, .kind = kind };
}

/* The first word after "@key\t" at the start of a line. */
static void take_word(const char *text, size_t len, const char *key,
		      char ret[PROGRAM_PATH_MAX])
{
	size_t key_len = strlen(key);
	const char *end = text + len;

	*ret = '\0';
	while (text < end) {
		const char *nl = memchr(text, '\n', (size_t)(end - text));
		const char *stop = nl ? nl : end;

		if ((size_t)(stop - text) > key_len &&
		    !memcmp(text, key, key_len)) {
			const char *word = text + key_len;
			size_t n = 0;

			while (word + n < stop && word[n] != '\t' &&
			       n < PROGRAM_PATH_MAX - 1)
				n++;
			memcpy(ret, word, n);
			ret[n] = '\0';
			return;
		}
		text = stop + 1;
	}
}

bool program_info_parse(const void *bytes, size_t len, struct program_info *ret)
{
	const uint8_t *end = (const uint8_t *)bytes + len, *text;
	const uint8_t *at = go_buildinfo_strings(bytes, len);
	size_t n;

	*ret = (struct program_info){ "", "" };
	/* the version, then the modules */
	if (!at || !go_buildinfo_string(&at, end, &text, &n) ||
	    !go_buildinfo_string(&at, end, &text, &n) || n <= 2 * SENTINEL)
		return false;
	const char *lines = (const char *)text + SENTINEL;
	take_word(lines, n - 2 * SENTINEL, "path\t", ret->path);
	take_word(lines, n - 2 * SENTINEL, "mod\t", ret->module);
	return *ret->path;
}

static bool info_of_elf(Elf *elf, struct program_info *ret)
{
	size_t names;
	int n = 0;

	if (elf_kind(elf) != ELF_K_ELF || elf_getshdrstrndx(elf, &names) < 0)
		return false;
	for (Elf_Scn *s = NULL;
	     n < MAX_SECTIONS && (s = elf_nextscn(elf, s)) != NULL; n++) {
		GElf_Shdr h;
		const char *name = gelf_getshdr(s, &h)
					   ? elf_strptr(elf, names, h.sh_name)
					   : NULL;

		if (!name || strcmp(name, ".go.buildinfo") != 0 ||
		    h.sh_size > BUILDINFO_MAX)
			continue;
		const Elf_Data *d = elf_rawdata(s, NULL);
		return d && d->d_buf &&
		       program_info_parse(d->d_buf, d->d_size, ret);
	}
	return false;
}

static bool is_go_section(const char *name)
{
	return strstr(name, "gopclntab") || strstr(name, "go.buildinfo") ||
	       strstr(name, "go.buildid");
}

/* The hook's table, and the queue of the State Threads library. */
static bool has_hook(Elf_Scn *s)
{
	static const char hook[] = "stranded_hook_table_v1";
	static const char st[] = "_st_this_vp";
	const Elf_Data *d = elf_rawdata(s, NULL);

	return !d ||
	       (d->d_buf && (memmem(d->d_buf, d->d_size, hook, sizeof(hook)) ||
			     memmem(d->d_buf, d->d_size, st, sizeof(st))));
}

static bool elf_may_be_go(Elf *elf)
{
	size_t names;
	int n = 0;

	if (elf_kind(elf) != ELF_K_ELF || elf_getshdrstrndx(elf, &names) < 0)
		return true;
	for (Elf_Scn *s = NULL; (s = elf_nextscn(elf, s)) != NULL; n++) {
		GElf_Shdr h;
		const char *name = gelf_getshdr(s, &h)
					   ? elf_strptr(elf, names, h.sh_name)
					   : NULL;

		if (!name || n == MAX_SECTIONS || is_go_section(name))
			return true;
		if (!strcmp(name, ".dynstr") && has_hook(s))
			return true;
	}
	return !n;
}

/* @inode: it must be that very file, through whatever mounts and links. */
static bool file_may_be_go(pid_t tid, const char *path, uint64_t inode)
{
	char in_root[PROGRAM_PATH_MAX + 4096];
	struct stat st;

	snprintf(in_root, sizeof(in_root), "/proc/%d/root%s", (int)tid, path);
	AUTO_CLOSE int fd = open(in_root, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st) < 0 || st.st_ino != inode ||
	    !S_ISREG(st.st_mode) || elf_version(EV_CURRENT) == EV_NONE)
		return true;
	Elf *elf = elf_begin(fd, ELF_C_READ, NULL);
	if (!elf)
		return true;
	bool may = elf_may_be_go(elf);
	elf_end(elf);
	return may;
}

/* One line of /proc/PID/maps; what is not mapped from a file is no program. */
static bool line_may_be_go(pid_t tid, char *line)
{
	unsigned long long inode;
	char perms[5];
	int at = 0;

	line[strcspn(line, "\n")] = '\0';
	if (sscanf(line, "%*s %4s %*s %*s %llu %n", perms, &inode, &at) != 2 ||
	    !at)
		return true;
	return perms[2] == 'x' && inode &&
	       file_may_be_go(tid, line + at, inode);
}

bool program_may_have_tasks(pid_t tid)
{
	char path[40];
	AUTO_FREE char *line = NULL;
	size_t cap = 0;
	bool any = false;

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)tid);
	AUTO_FCLOSE FILE *f = fopen(path, "re");
	if (!f)
		return true;
	while (getline(&line, &cap, f) > 0) {
		any = true;
		if (line_may_be_go(tid, line))
			return true;
	}
	return !any;
}

bool program_info(pid_t pid, struct program_info *ret)
{
	char path[40];

	*ret = (struct program_info){ "", "" };
	snprintf(path, sizeof(path), "/proc/%d/exe", (int)pid);
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || elf_version(EV_CURRENT) == EV_NONE)
		return false;
	/* The file may be cut under a mapping: then there is no such read. */
	Elf *elf = elf_begin(fd, ELF_C_READ, NULL);
	if (!elf)
		return false;
	bool ok = info_of_elf(elf, ret);
	elf_end(elf);
	return ok;
}

enum program_kind programs_kind(struct programs *programs, pid_t tid,
				const struct program_key *key)
{
	enum program_kind kind = programs_find(programs, key);

	if (kind == PROGRAM_NEW && !program_may_have_tasks(tid)) {
		kind = PROGRAM_FOREIGN;
		programs_put(programs, key, kind);
	}
	return kind;
}

static bool has_suffix(const char *s, const char *suffix)
{
	size_t len = strlen(s), n = strlen(suffix);

	return len > n && !strcmp(s + len - n, suffix);
}

bool program_is_test(const struct program_info *info, const char *exe)
{
	return has_suffix(info->path, ".test") ||
	       (!*info->path && exe && has_suffix(exe, ".test"));
}

/* "module example.com/x", perhaps quoted, perhaps with a comment behind. */
static bool module_of(const char *dir, char ret[PROGRAM_PATH_MAX])
{
	char path[4096 + 16], line[1024];
	size_t n;

	snprintf(path, sizeof(path), "%s/go.mod", dir);
	AUTO_FCLOSE FILE *f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f)) {
		if (strncmp(line, "module ", 7) != 0)
			continue;
		const char *word = line + 7 + strspn(line + 7, " \t\"");
		n = strcspn(word, " \t\"\r\n");
		if (!n || n >= PROGRAM_PATH_MAX)
			return false;
		memcpy(ret, word, n);
		ret[n] = '\0';
		return true;
	}
	return false;
}

bool program_package_of(const char *dir, char ret[PROGRAM_PATH_MAX])
{
	char at[4096], module[PROGRAM_PATH_MAX];
	size_t len = strlen(dir);

	if (*dir != '/' || len >= sizeof(at))
		return false;
	memcpy(at, dir, len + 1);
	while (len > 1) {
		if (module_of(at, module)) {
			int n = snprintf(ret, PROGRAM_PATH_MAX, "%s%s", module,
					 dir + len);
			return n > 0 && n < PROGRAM_PATH_MAX;
		}
		while (len && at[--len] != '/')
			;
		at[len] = '\0';
	}
	return false;
}

bool program_is_toolchain(const struct program_info *info)
{
	return !strncmp(info->path, "cmd/", 4);
}
