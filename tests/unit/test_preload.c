/* SPDX-License-Identifier: Apache-2.0 */
/** Whether LD_PRELOAD reaches a program: real files, real programs. */
#include "detector/preload.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "tests/unit/unit.h"

static char folder[] = "/tmp/st-preload-XXXXXX";

static const char *path_of(const char *name)
{
	static char path[256];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	return path;
}

static const char *write_file(const char *name, const void *data, size_t len,
			      mode_t mode)
{
	const char *path = path_of(name);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, len), (ssize_t)len);
	/* by fchmod: the umask takes nothing from it, nor a chown after it */
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
	return path;
}

/* The test itself, an ELF program of this machine with a loader. */
static size_t own_program(char *buf, size_t size)
{
	int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	ssize_t n = read(fd, buf, size);

	assert_true(n > (ssize_t)sizeof(Elf64_Ehdr));
	close(fd);
	return (size_t)n;
}

static struct preload look(const char *file, struct arena *arena)
{
	struct preload p;

	assert_ok(preload_look(file, arena, &p));
	return p;
}

static void test_a_program_of_the_system_is_reached(void **state)
{
	struct preload p = look("/proc/self/exe", *state);

	assert_int_equal(p.reach, PRELOAD_REACHES);
	assert_false(p.script);
	assert_null(preload_text(&p, *state));
}

static void test_setuid_counts_for_other_owners_only(void **state)
{
	static char program[65536];
	size_t n = own_program(program, sizeof(program));

	const char *path = write_file("setuid", program, n, 06755);
	/* one's own: the kernel changes no id, and ld.so takes LD_PRELOAD */
	assert_int_equal(look(path, *state).reach, PRELOAD_REACHES);
	NEEDS("root, for files of others", !getuid());
	assert_int_equal(chown(path, 65534, (gid_t)-1), 0);
	/* chown() took the bits away */
	assert_int_equal(chmod(path, 04755), 0);
	struct preload p = look(path, *state);
	assert_int_equal(p.reach, PRELOAD_SETUID);
	assert_non_null(strstr(preload_text(&p, *state), "setuid"));
	assert_int_equal(chown(path, 0, 65534), 0);
	assert_int_equal(chmod(path, 02755), 0);
	assert_int_equal(look(path, *state).reach, PRELOAD_SETGID);
	/* a mandatory lock, no setgid */
	assert_int_equal(chmod(path, 02745), 0);
	assert_int_equal(look(path, *state).reach, PRELOAD_REACHES);
}

static void test_other_machines_and_the_static_are_named(void **state)
{
	static char program[65536];
	size_t n = own_program(program, sizeof(program));
	Elf64_Ehdr *eh = (Elf64_Ehdr *)program;

	eh->e_ident[EI_CLASS] = ELFCLASS32;
	assert_int_equal(look(write_file("32", program, n, 0755), *state).reach,
			 PRELOAD_OTHER_MACHINE);
	eh->e_ident[EI_CLASS] = ELFCLASS64;
	Elf64_Half machine = eh->e_machine;
	eh->e_machine = EM_S390;
	assert_int_equal(
		look(write_file("s390", program, n, 0755), *state).reach,
		PRELOAD_OTHER_MACHINE);
	eh->e_machine = machine;
	eh->e_phnum = 0;
	struct preload p = look(write_file("none", program, n, 0755), *state);
	assert_int_equal(p.reach, PRELOAD_STATIC);
	assert_non_null(strstr(preload_text(&p, *state), "statically"));
}

/* A header that lies about where and how many its entries are. */
static void test_a_lying_header_is_bounded(void **state)
{
	static char program[65536];
	size_t n = own_program(program, sizeof(program));
	Elf64_Ehdr *eh = (Elf64_Ehdr *)program;

	eh->e_phnum = 0xffff;
	eh->e_phoff = n - 10;
	assert_int_equal(
		look(write_file("lie", program, n, 0755), *state).reach,
		PRELOAD_STATIC);
	eh->e_phoff = UINT64_MAX;
	assert_int_equal(
		look(write_file("lie", program, n, 0755), *state).reach,
		PRELOAD_STATIC);
	assert_int_equal(
		look(write_file("short", program, 10, 0755), *state).reach,
		PRELOAD_NOT_ELF);
}

static void test_the_loader_of_musl_is_told(void **state)
{
	static char program[65536];
	size_t n = own_program(program, sizeof(program));
	Elf64_Ehdr *eh = (Elf64_Ehdr *)program;
	Elf64_Phdr *ph = (Elf64_Phdr *)(program + eh->e_phoff);

	while (ph->p_type != PT_INTERP)
		ph++;
	strcpy(program + ph->p_offset, "/lib/ld-musl-x.so.1");
	struct preload p = look(write_file("musl", program, n, 0755), *state);
	assert_int_equal(p.reach, PRELOAD_OTHER_LIBC);
	assert_string_equal(p.loader, "/lib/ld-musl-x.so.1");
}

static void test_a_script_is_judged_by_its_interpreter(void **state)
{
	const char *path = write_file("script", "#! /bin/sh -e\n", 14, 0755);
	struct preload p = look(path, *state);

	assert_int_equal(p.reach, PRELOAD_REACHES);
	assert_true(p.script);
	assert_string_equal(p.file, "/bin/sh");
	/* one that is its own interpreter, as ELOOP */
	char self[300];
	int n = snprintf(self, sizeof(self), "#!%s\n", path_of("loop"));
	p = look(write_file("loop", self, (size_t)n, 0755), *state);
	assert_int_equal(p.reach, PRELOAD_NOT_ELF);
	/* no newline, no name */
	p = look(write_file("bare", "#!", 2, 0755), *state);
	assert_int_equal(p.reach, PRELOAD_UNKNOWN);
	p = look(write_file("text", "hello\n", 6, 0755), *state);
	assert_int_equal(p.reach, PRELOAD_NOT_ELF);
}

static void test_a_command_is_found_as_execvp_finds_it(void **state)
{
	char path[300];
	const char *file;

	write_file("mine", "#!/bin/sh\n", 10, 0755);
	write_file("data", "x", 1, 0644);
	snprintf(path, sizeof(path), "/nonexistent:%s:", folder);
	assert_int_equal(preload_find("mine", path, *state, &file), 0);
	assert_string_equal(file, path_of("mine"));
	assert_int_equal(preload_find("data", path, *state, &file), -EACCES);
	assert_int_equal(preload_find("nope", path, *state, &file), -ENOENT);
	assert_int_equal(preload_find("", path, *state, &file), -ENOENT);
	assert_int_equal(preload_find("/tmp", path, *state, &file), -EACCES);
	assert_int_equal(preload_find("sh", NULL, *state, &file), 0);
	assert_string_equal(file, "/bin/sh");
}

static void test_what_is_preloaded_already_stays(void **state)
{
	const char *v;

	assert_ok(preload_join("/a/h.so", NULL, *state, &v));
	assert_string_equal(v, "/a/h.so");
	assert_ok(preload_join("/a/h.so", "/b.so /c.so", *state, &v));
	assert_string_equal(v, "/a/h.so:/b.so /c.so");
	assert_ok(preload_join("/a/h.so", "/b.so:/a/h.so", *state, &v));
	assert_string_equal(v, "/b.so:/a/h.so");
	assert_error(preload_join("/a b/h.so", NULL, *state, &v), ERROR_USAGE,
		     "a space, colon or dollar sign");
}

static int make_folder(void **state)
{
	*state = arena_create();
	return *state && mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
	static const char *const names[] = {
		"setuid", "32",	  "s390", "none", "lie",  "short", "musl",
		"script", "loop", "bare", "text", "mine", "data",
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		unlink(path_of(names[i]));
	arena_destroy(*state);
	return rmdir(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_program_of_the_system_is_reached),
		cmocka_unit_test(test_setuid_counts_for_other_owners_only),
		cmocka_unit_test(test_other_machines_and_the_static_are_named),
		cmocka_unit_test(test_a_lying_header_is_bounded),
		cmocka_unit_test(test_the_loader_of_musl_is_told),
		cmocka_unit_test(test_a_script_is_judged_by_its_interpreter),
		cmocka_unit_test(test_a_command_is_found_as_execvp_finds_it),
		cmocka_unit_test(test_what_is_preloaded_already_stays),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
