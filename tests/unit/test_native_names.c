/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/nativelab.h"

#include "base/gap.h"
#include "runtime-hooks/native/names.h"

/* The line of tests/victims/native/@source that has @text in it. */
static uint32_t line_of(const char *source, const char *text)
{
	char path[128], line[512];
	uint32_t n = 1;
	FILE *f;

	snprintf(path, sizeof(path), "tests/victims/native/%s", source);
	f = fopen(path, "r");
	assert_non_null(f);
	while (fgets(line, sizeof(line), f) && !strstr(line, text))
		n++;
	fclose(f);
	return n;
}

/* Build, run in @mode and unwind; the lab is to be ended. */
static struct native_result look(struct lab *lab, const char *mode)
{
	struct native_regs regs;

	lab_run(lab, mode);
	lab_attach(lab);
	assert_true(lab_wait_blocked(lab, lab->pid));
	lab_stopped_regs(lab->pid, &regs);
	return lab_unwind(lab, NATIVE_FAST, &regs);
}

static const struct frame *frame_of(const struct native_result *r,
				    const char *function)
{
	for (uint32_t i = 0; i < r->stack->n; i++)
		if (!strcmp(r->stack->frames[i]->function, function))
			return r->stack->frames[i];
	lab_print("no such frame", r);
	fail_msg("no frame of %s", function);
	return NULL;
}

static void assert_place(const struct frame *frame, const char *file,
			 uint32_t line)
{
	size_t len = strlen(frame->file), want = strlen(file);

	if (len < want || strcmp(frame->file + len - want, file) != 0 ||
	    frame->line != line)
		fail_msg("%s is at %s:%u, should be %s:%u", frame->function,
			 frame->file, frame->line, file, line);
}

static __attribute__((format(printf, 1, 2))) void run(const char *fmt, ...)
{
	char command[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(command, sizeof(command), fmt, ap);
	va_end(ap);
	assert_int_equal(system(command), 0);
}

static void assert_c_names(const struct native_result *r)
{
	assert_string_equal(r->stack->frames[0]->function, "read");
	assert_true(r->stack->frames[0]->runtime);
	assert_string_equal(r->stack->frames[0]->file, "?");
	assert_int_equal(strncmp(r->stack->frames[0]->object, "libc", 4), 0);
	assert_place(frame_of(r, "wait_for_end"), "deep.c",
		     line_of("deep.c", "while (read(0"));
	assert_place(frame_of(r, "deep"), "deep.c",
		     line_of("deep.c", "		leaf();"));
	assert_place(frame_of(r, "main"), "deep.c",
		     line_of("deep.c", "		deep(DEPTH - 2);"));
	assert_false(r->stack->frames[0]->own);
	assert_false(frame_of(r, "main")->runtime);
	assert_true(frame_of(r, "main")->own);
	assert_string_equal(frame_of(r, "main")->object, "deep");
}

static void test_functions_have_files_and_lines(void **state)
{
	static const char *const how[] = { "-O0 -g", "-O1 -gdwarf-4 -no-pie",
					   "-O1 -gdwarf-5 -gz" };

	(void)state;
	for (size_t i = 0; i < N_OF(how); i++) {
		struct native_result r;
		struct lab lab;

		lab_build(&lab, "deep.c", how[i]);
		r = look(&lab, "plain");
		assert_c_names(&r);
		lab_end(&lab);
		lab_clean(&lab);
	}
}

static void test_lines_come_from_a_separate_file(void **state)
{
	struct native_result r;
	struct lab lab;
	char debug[160];

	(void)state;
	lab_build(&lab, "deep.c", "-O1 -g");
	snprintf(debug, sizeof(debug), "%s.debug", lab.program);
	run("objcopy --only-keep-debug %s %s", lab.program, debug);
	run("objcopy --strip-all --add-gnu-debuglink=%s %s", debug,
	    lab.program);
	r = look(&lab, "plain");
	assert_c_names(&r);
	lab_end(&lab);

	// another one of that name is not taken for it
	run("truncate -s +1 %s", debug);
	r = look(&lab, "plain");
	frame_of(&r, "read");
	assert_int_equal(strncmp(r.stack->frames[1]->function, "deep+0x", 7),
			 0);
	lab_end(&lab);
	unlink(debug);
	lab_clean(&lab);
}

static void test_a_function_without_a_symbol_is_a_place(void **state)
{
	struct native_result r;
	struct lab lab;

	(void)state;
	lab_build(&lab, "deep.c", "-O2 -s -no-pie");
	r = look(&lab, "plain");
	assert_int_equal(r.end, NATIVE_END_OUTERMOST);
	for (uint32_t i = 0; i < r.stack->n; i++) {
		const struct frame *f = r.stack->frames[i];
		char place[64];

		if (strcmp(f->object, "deep") != 0)
			continue;
		// as addr2line(1) wants it
		snprintf(place, sizeof(place), "deep+0x%llx",
			 (unsigned long long)f->pc);
		if (strcmp(f->function, "_start") != 0)
			assert_string_equal(f->function, place);
		assert_string_equal(f->file, "?");
		assert_int_equal(f->line, 0);
	}
	lab_end(&lab);
	lab_clean(&lab);
}

static void test_the_file_may_be_gone_or_be_another(void **state)
{
	struct native_result r;
	struct native_regs regs;
	struct lab lab;

	(void)state;
	lab_build(&lab, "deep.c", "-O1 -g");
	lab_run(&lab, "plain");
	unlink(lab.program);
	run("cp /bin/true %s", lab.program);
	lab_attach(&lab);
	assert_true(lab_wait_blocked(&lab, lab.pid));
	lab_stopped_regs(lab.pid, &regs);
	r = lab_both(&lab, "replaced", &regs);
	assert_int_equal(r.end, NATIVE_END_OUTERMOST);
	// CAP_CHECKPOINT_RESTORE: the kernel still has it
	if (!geteuid()) {
		assert_c_names(&r);
	} else {
		assert_int_equal(
			strncmp(r.stack->frames[1]->function, "deep+0x", 7), 0);
		assert_int_equal(native_gaps(lab.native)->n, 1);
	}
	lab_end(&lab);
	lab_clean(&lab);
}

/* 0 found, 1 not found and a gap tells, 2 neither, 3 an error. */
static int find_symbol(pid_t pid)
{
	AUTO_PROCESS struct process *p = NULL;
	AUTO_NATIVE struct native *native = NULL;
	raddr_t addr;

	if (process_open(pid, &p) || native_open(p, &native))
		return 3;
	if (!native_symbol(native, "", "wait_for_end", &addr, NULL))
		return 0;
	return native_gaps(native)->n == 1 &&
			       strstr(native_gaps(native)->v[0].text,
				      "was deleted or replaced")
		       ? 1
		       : 2;
}

/* As nobody, who may not open what the kernel has mapped, only by name. */
static int as_nobody(void *arg)
{
	const struct lab *lab = arg;
	char *const argv[] = { (char *)lab->program, (char *)"plain", NULL };
	char command[1024];
	int found, replaced, in[2], out[2];
	pid_t pid;
	char c;

	if (setresgid(65534, 65534, 65534) || setresuid(65534, 65534, 65534) ||
	    pipe(in) || pipe(out))
		return 10;
	pid = fork();
	if (!pid) {
		dup2(in[0], 0);
		dup2(out[1], 1);
		execv(argv[0], argv);
		_exit(127);
	}
	// it runs, and has all its libraries, once it tells
	if (read(out[0], &c, 1) != 1)
		return 11;
	found = find_symbol(pid);
	// another program of that name, with that symbol
	snprintf(command, sizeof(command), "cp %s-other %s.new && mv %s.new %s",
		 lab->program, lab->program, lab->program, lab->program);
	if (system(command))
		return 12;
	replaced = find_symbol(pid);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return found * 4 + (replaced == 1 ? 0 : 1);
}

static void test_names_are_only_those_of_the_very_file(void **state)
{
	struct lab lab;
	char other[160];

	(void)state;
	NEEDS("root, to become nobody", !geteuid());
	lab_build(&lab, "deep.c", "-O1");
	snprintf(other, sizeof(other), "%s-other", lab.program);
	run("gcc -O0 -o %s tests/victims/native/deep.c", other);
	run("chmod 777 %s && chmod 755 %s %s", lab.dir, lab.program, other);
	in_child(as_nobody, &lab);
	unlink(other);
	lab_clean(&lab);
}

static void test_inlined_functions_of_cxx_are_frames(void **state)
{
	static const char *const how[] = { "-O2 -g", "-O1 -g -gdwarf-4" };

	(void)state;
	for (size_t i = 0; i < N_OF(how); i++) {
		const struct frame *inlined, *around;
		struct native_result r;
		struct lab lab;

		lab_build(&lab, "deep.cc", how[i]);
		r = look(&lab, "");
		assert_place(frame_of(&r, "shop::Reader::wait"), "deep.cc",
			     (uint32_t)strtoul(lab.line, NULL, 10));
		inlined = frame_of(&r, "shop::inlined<shop::Reader>");
		around = frame_of(&r, "shop::Loop<shop::Reader>::run");
		assert_true(inlined->inlined);
		assert_false(around->inlined);
		assert_true(inlined->pc == around->pc);
		assert_place(inlined, "deep.cc",
			     line_of("deep.cc", "reader.wait() + 1"));
		assert_place(around, "deep.cc",
			     line_of("deep.cc", "inlined(reader);"));
		assert_place(frame_of(&r, "main"), "deep.cc",
			     line_of("deep.cc", "loop.run("));
		lab_end(&lab);
		lab_clean(&lab);
	}
}

static void test_symbols_are_found_by_name(void **state)
{
	const struct frame *frame;
	uint64_t size = 0;
	struct lab lab;
	raddr_t addr;

	(void)state;
	lab_build(&lab, "deep.c", "-O1");
	look(&lab, "plain");
	assert_int_equal(
		native_symbol(lab.native, "", "wait_for_end", &addr, &size), 0);
	assert_true(size > 0);
	frame = native_frame(lab.native, addr, false);
	assert_string_equal(frame->function, "wait_for_end");
	assert_int_equal(frame->offset, 0);
	frame = native_frame(lab.native, addr + size, true);
	assert_string_equal(frame->function, "wait_for_end");
	assert_int_equal(frame->offset, size);
	assert_int_equal(native_symbol(lab.native, "[vdso]",
				       "__vdso_clock_gettime", &addr, &size),
			 0);
	frame = native_frame(lab.native, addr, false);
	assert_string_equal(frame->function, "clock_gettime");
	assert_string_equal(frame->object, "[vdso]");
	assert_int_equal(
		native_symbol(lab.native, NULL, "no such", &addr, &size),
		-ENOENT);
	assert_int_equal(
		native_symbol(lab.native, "libc.so", "main", &addr, &size),
		-ENOENT);
	assert_string_equal(native_frame(lab.native, 16, false)->function, "?");
	lab_end(&lab);
	lab_clean(&lab);
}

/* What is blocked in the function @name of a library. */
static void assert_in(struct lab *lab, const char *name, uint64_t *pc_ret)
{
	struct native_regs regs;
	struct native_result r;

	assert_true(lab_wait_blocked(lab, lab->pid));
	lab_stopped_regs(lab->pid, &regs);
	r = lab_both(lab, name, &regs);
	assert_int_equal(r.end, NATIVE_END_OUTERMOST);
	*pc_ret = frame_of(&r, name)->pc;
	assert_true(frame_of(&r, name)->own);
}

/* Let it go on to the next place: its count of switches tells. */
static void go_on(struct lab *lab)
{
	assert_int_equal(write(lab->in, "x", 1), 1);
	usleep(200000);
}

static void test_code_that_comes_and_goes(void **state)
{
	char a[160], b[160];
	struct lab lab;
	uint64_t at[2];

	(void)state;
	lab_build(&lab, "deep.c", "-O1");
	snprintf(a, sizeof(a), "%s-a.so", lab.program);
	snprintf(b, sizeof(b), "%s-b.so", lab.program);
	run("gcc -O1 -shared -fPIC -DNAME=alpha -o %s "
	    "tests/victims/native/plugin.c",
	    a);
	run("gcc -O1 -shared -fPIC -DNAME=bravo -o %s "
	    "tests/victims/native/plugin.c",
	    b);

	char *const argv[] = { lab.program, (char *)"reload", a, b, NULL };

	lab_start(&lab, argv, true);
	lab_attach(&lab);
	go_on(&lab);
	// loaded since: found without native_begin()
	assert_in(&lab, "alpha", &at[0]);
	go_on(&lab);
	assert_ok(native_begin(lab.native));
	assert_in(&lab, "bravo", &at[1]);
	// or this shows nothing
	assert_true(at[0] == at[1]);
	lab_end(&lab);
	unlink(a);
	unlink(b);
	lab_clean(&lab);
}

static bool has_gap(const struct lab *lab, const char *part)
{
	const struct gaps *gaps = native_gaps(lab->native);

	for (size_t i = 0; i < gaps->n; i++)
		if (strstr(gaps->v[i].text, part))
			return true;
	return false;
}

/* Whoever reads debug information may be made to crash; we are not. */
static void test_debug_information_may_be_a_bomb(void **state)
{
	struct native_result r;
	struct lab lab;

	(void)state;
	lab_build(&lab, "deep.c", "-O1 tests/victims/native/bomb.S");
	r = look(&lab, "plain");
	assert_int_equal(r.end, NATIVE_END_OUTERMOST);
	assert_string_equal(frame_of(&r, "wait_for_end")->file, "?");
	assert_true(has_gap(&lab, "debug information cannot be read"));
	lab_end(&lab);
	lab_clean(&lab);
}

/* The only child of this process that reads lines. */
static pid_t lines_child(void)
{
	char path[64], text[256];
	pid_t pid = 0;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/task/%d/children",
		 (int)getpid());
	fd = open(path, O_RDONLY);
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[n > 0 ? n : 0] = '\0';
	for (char *p = strtok(text, " "); p; p = strtok(NULL, " ")) {
		char comm[64] = "";

		snprintf(path, sizeof(path), "/proc/%s/comm", p);
		fd = open(path, O_RDONLY);
		if (read(fd, comm, sizeof(comm) - 1) > 0 &&
		    !strcmp(comm, "stranded-lines\n"))
			pid = (pid_t)atoi(p);
		close(fd);
	}
	return pid;
}

static void test_lines_are_read_by_a_child_that_may_die(void **state)
{
	struct native_result r;
	struct lab lab;
	uint64_t size;
	raddr_t addr;
	pid_t child;

	(void)state;
	lab_build(&lab, "deep.c", "-O1 -g");
	r = look(&lab, "plain");
	assert_c_names(&r);
	child = lines_child();
	assert_true(child > 0);
	kill(child, SIGKILL);
	assert_int_equal(
		native_symbol(lab.native, "", "with_align", &addr, &size), 0);
	assert_string_equal(native_frame(lab.native, addr, false)->function,
			    "with_align");
	assert_string_equal(native_frame(lab.native, addr, false)->file, "?");
	assert_true(has_gap(&lab, "debug information cannot be read"));
	// and it is not left behind
	assert_int_equal(lines_child(), 0);
	assert_int_equal(waitpid(child, NULL, WNOHANG), -1);
	lab_end(&lab);
	lab_clean(&lab);
}

static const struct {
	const char *mangled, *name;
} names[] = {
	{ "main", "main" },
	{ "_Z", "_Z" },
	{ "_start", "_start" },
	{ "_ZN4shop6Reader4waitEv", "shop::Reader::wait" },
	{ "_ZNSt6vectorIiSaIiEE9push_backERKi",
	  "std::vector<int, std::allocator<int> >::push_back" },
	{ "_ZN4core3fmt5Write9write_fmt17h0123456789abcdefE",
	  "core::fmt::Write::write_fmt" },
	{ "_RNvCskwGfYPst2Cb_3foo3bar", "foo::bar" },
	{ "_Znonsense", "_Znonsense" },
	// a piece of no bytes at no address
	{ "_RNvC0skwGfCb_3Coo3r", "_RNvC0skwGfCb_3Coo3r" },
};

static void test_names_are_demangled(void **state)
{
	AUTO_ARENA struct arena *arena = arena_create();

	(void)state;
	for (size_t i = 0; i < N_OF(names); i++)
		assert_string_equal(names_demangle(arena, names[i].mangled,
						   strlen(names[i].mangled)),
				    names[i].name);
}

/* Each S_ stands for twice what came before: 2^40 characters. */
static void test_a_name_that_explodes_is_cut(void **state)
{
	AUTO_ARENA struct arena *arena = arena_create();
	char mangled[4000];
	const char *name;
	size_t n;

	(void)state;
	n = (size_t)snprintf(mangled, sizeof(mangled), "_ZN1fI1aS_IS0_S0_E");
	for (int i = 1; i < 36; i++) {
		char digit = (char)(i < 10 ? '0' + i : 'A' + i - 10);

		n += (size_t)snprintf(mangled + n, sizeof(mangled) - n,
				      "S_IS%c_S%c_E", digit, digit);
	}
	n += (size_t)snprintf(mangled + n, sizeof(mangled) - n, "EE");
	name = names_demangle(arena, mangled, n);
	assert_non_null(name);
	assert_true(strlen(name) <= DEMANGLE_MAX + 3);
	assert_true(!strncmp(name, "f<a", 3));
	assert_string_equal(name + strlen(name) - 3, "...");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_functions_have_files_and_lines),
		cmocka_unit_test(test_lines_come_from_a_separate_file),
		cmocka_unit_test(test_a_function_without_a_symbol_is_a_place),
		cmocka_unit_test(test_the_file_may_be_gone_or_be_another),
		cmocka_unit_test(test_names_are_only_those_of_the_very_file),
		cmocka_unit_test(test_inlined_functions_of_cxx_are_frames),
		cmocka_unit_test(test_symbols_are_found_by_name),
		cmocka_unit_test(test_code_that_comes_and_goes),
		cmocka_unit_test(test_debug_information_may_be_a_bomb),
		cmocka_unit_test(test_lines_are_read_by_a_child_that_may_die),
		cmocka_unit_test(test_names_are_demangled),
		cmocka_unit_test(test_a_name_that_explodes_is_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
