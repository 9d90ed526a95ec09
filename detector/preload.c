/* SPDX-License-Identifier: Apache-2.0 */
#include "detector/preload.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/cleanup.h"

#define DEFAULT_PATH "/bin:/usr/bin"
#define MAX_SCRIPTS 5 /* fs/exec.c, exec_binprm() */
/* BINPRM_BUF_SIZE, include/uapi/linux/binfmts.h: what the kernel looks at */
#define HEAD_BYTES 256
#define MAX_PHDRS 64

#if defined(__x86_64__)
#define OWN_MACHINE EM_X86_64
#elif defined(__aarch64__)
#define OWN_MACHINE EM_AARCH64
#else
#define OWN_MACHINE EM_NONE
#endif

/* 0 when @file can be executed; -EACCES too for a folder. */
static int executable(const char *file)
{
	struct stat st;

	if (stat(file, &st))
		return -errno;
	return S_ISREG(st.st_mode) && !access(file, X_OK) ? 0 : -EACCES;
}

int preload_find(const char *name, const char *path, struct arena *arena,
		 const char **ret)
{
	int result = -ENOENT;

	if (!*name)
		return -ENOENT;
	if (strchr(name, '/')) {
		int rc = executable(name);
		if (!rc)
			*ret = name;
		return rc;
	}
	for (const char *p = path ? path : DEFAULT_PATH;; p++) {
		size_t len = strcspn(p, ":");
		/* an empty entry is the working directory */
		const char *file =
			len ? arena_printf(arena, "%.*s/%s", (int)len, p, name)
			    : arena_printf(arena, "./%s", name);

		if (!file)
			return -ENOMEM;
		int rc = executable(file);
		if (!rc) {
			*ret = file;
			return 0;
		}
		if (rc == -EACCES)
			result = rc;
		p += len;
		if (!*p)
			return result;
	}
}

/* The privileges of a file count for nothing here. */
static bool no_privileges(int fd)
{
	struct statvfs fs;

	return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 ||
	       (!fstatvfs(fd, &fs) && (fs.f_flag & ST_NOSUID));
}

static enum preload_reach look_secure(int fd)
{
	struct stat st;
	bool privileges = !no_privileges(fd) && !fstat(fd, &st);
	uid_t euid = geteuid();
	gid_t egid = getegid();

	if (privileges && (st.st_mode & S_ISUID))
		euid = st.st_uid;
	/* without S_IXGRP it is the mark of a mandatory lock */
	if (privileges &&
	    (st.st_mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP))
		egid = st.st_gid;
	if (euid != getuid())
		return PRELOAD_SETUID;
	if (egid != getgid())
		return PRELOAD_SETGID;
	if (privileges && getuid() &&
	    fgetxattr(fd, "security.capability", NULL, 0) > 0)
		return PRELOAD_CAPABILITIES;
	return PRELOAD_REACHES;
}

/* The value of the first PT_INTERP, "" without one, NULL out of memory. */
static const char *loader_of(int fd, const Elf64_Ehdr *eh, struct arena *arena)
{
	Elf64_Phdr ph[MAX_PHDRS];
	char buf[PATH_MAX];
	size_t n = eh->e_phnum < MAX_PHDRS ? eh->e_phnum : MAX_PHDRS;

	if (eh->e_phentsize != sizeof(ph[0]) ||
	    pread(fd, ph, n * sizeof(ph[0]), (off_t)eh->e_phoff) !=
		    (ssize_t)(n * sizeof(ph[0])))
		return "";
	for (size_t i = 0; i < n; i++) {
		if (ph[i].p_type != PT_INTERP)
			continue;
		size_t want = ph[i].p_filesz < sizeof(buf) ? ph[i].p_filesz
							   : sizeof(buf);
		ssize_t got = pread(fd, buf, want, (off_t)ph[i].p_offset);
		return got > 0 ? arena_strndup(arena, buf, (size_t)got) : "";
	}
	return "";
}

static struct error *look_elf(int fd, const char *head, struct arena *arena,
			      struct preload *p)
{
	Elf64_Ehdr eh;

	memcpy(&eh, head, sizeof(eh));
	if (eh.e_ident[EI_CLASS] != ELFCLASS64 || eh.e_machine != OWN_MACHINE) {
		p->reach = PRELOAD_OTHER_MACHINE;
		return NULL;
	}
	const char *loader = loader_of(fd, &eh, arena);
	if (!loader)
		return &error_nomem;
	if (!*loader) {
		p->reach = PRELOAD_STATIC;
		return NULL;
	}
	p->reach = look_secure(fd);
	if (!strstr(loader, "musl"))
		return NULL;
	p->reach = PRELOAD_OTHER_LIBC;
	p->loader = loader;
	return NULL;
}

/* The interpreter that a "#!" line names, as fs/binfmt_script.c finds it. */
static char *interpreter(const char *head, struct arena *arena)
{
	const char *line = head + 2 + strspn(head + 2, " \t");

	return arena_strndup(arena, line, strcspn(line, " \t\n"));
}

struct error *preload_look(const char *file, struct arena *arena,
			   struct preload *ret)
{
	*ret = (struct preload){ .reach = PRELOAD_NOT_ELF, .file = file };
	for (int i = 0; i <= MAX_SCRIPTS; i++) {
		char head[HEAD_BYTES + 1] = { 0 };
		AUTO_CLOSE int fd =
			open(ret->file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
		ssize_t n = fd < 0 ? -1 : read(fd, head, HEAD_BYTES);

		if (n < 0) {
			ret->reach = PRELOAD_UNKNOWN;
			return NULL;
		}
		if (n >= (ssize_t)sizeof(Elf64_Ehdr) &&
		    !memcmp(head, ELFMAG, SELFMAG))
			return look_elf(fd, head, arena, ret);
		if (strncmp(head, "#!", 2))
			return NULL;
		ret->script = true;
		ret->file = interpreter(head, arena);
		if (!ret->file)
			return &error_nomem;
	}
	return NULL;
}

const char *preload_text(const struct preload *p, struct arena *arena)
{
	static const char *const why[] = {
		[PRELOAD_REACHES] = NULL,
		[PRELOAD_UNKNOWN] =
			"cannot be read; whether the hook works there is not "
			"known",
		[PRELOAD_SETUID] =
			"runs with another user's rights (setuid), and "
			"ignores LD_PRELOAD; it runs without the hook",
		[PRELOAD_SETGID] =
			"runs with another group's rights (setgid), and "
			"ignores LD_PRELOAD; it runs without the hook",
		[PRELOAD_CAPABILITIES] =
			"has file capabilities, and ignores LD_PRELOAD; it "
			"runs without the hook",
		[PRELOAD_STATIC] =
			"is linked statically, and LD_PRELOAD does not reach "
			"it; Go needs no hook, and what is C can link "
			"libstranded-hook.a (stranded/hook.h)",
		[PRELOAD_OTHER_MACHINE] =
			"is no program of this machine's own 64 bits; it runs "
			"without the hook",
		[PRELOAD_OTHER_LIBC] =
			"is linked with musl, not glibc; it runs without the "
			"hook",
		[PRELOAD_NOT_ELF] =
			"is neither an ELF program nor a script with #!; "
			"whether the hook works there is not known",
	};

	if (!why[p->reach])
		return NULL;
	return arena_printf(arena, "%s'%s' %s",
			    p->script ? "the script's interpreter " : "",
			    p->file, why[p->reach]);
}

/* Is @library an entry of @list? */
static bool holds(const char *list, const char *library)
{
	size_t len = strlen(library);

	for (const char *p = list; *p;) {
		size_t n = strcspn(p, ": ");

		if (n == len && !strncmp(p, library, n))
			return true;
		p += n;
		p += strspn(p, ": ");
	}
	return false;
}

struct error *preload_join(const char *library, const char *old,
			   struct arena *arena, const char **ret)
{
	/* a dollar sign begins a token such as $ORIGIN, ld.so(8) */
	if (strpbrk(library, ": $"))
		return error_new(ERROR_USAGE,
				 "LD_PRELOAD cannot hold the path '%s': a "
				 "space, colon or dollar sign is in it; copy "
				 "the library and name it in STRANDED_HOOK",
				 library);
	const char *joined =
		!old || !*old ? library
		: holds(old, library)
			? old
			: arena_printf(arena, "%s:%s", library, old);
	if (!joined)
		return &error_nomem;
	*ret = joined;
	return NULL;
}
