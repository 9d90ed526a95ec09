/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_NATIVELAB_H
#define TESTS_UNIT_NATIVELAB_H

/**
 * Programs whose stacks are unwound in tests: built from tests/victims/native
 * with given compiler flags, started, and looked at from outside. Their
 * registers come from a stop by ptrace(2), which is the test's own means.
 */

#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/user.h>

#include "base/process.h"
#include "runtime-hooks/native/native.h"

#define LAB_MAX_PCS 256

/** Ways to compile the victim in C. */
static UNUSED const char *const lab_flags[] = {
	"-O0 -g",
	"-O2 -g",
	"-O2 -fno-omit-frame-pointer",
	"-O2 -fomit-frame-pointer -fno-pie -no-pie",
	"-O3 -fcf-protection=full",
	"-O2 -static",
};

struct lab {
	char dir[64];
	char program[128];
	pid_t pid;
	int in; /* its standard input: end of file ends it */
	struct process *p;
	struct native *native;
	uint64_t truth[LAB_MAX_PCS]; /* what it printed */
	size_t n_truth;
	char line[8192];
};

static char lab_dir[64]; /* what a test that failed has left */

static inline void lab_remove_dir(void)
{
	char command[128];

	if (!lab_dir[0])
		return;
	snprintf(command, sizeof(command), "rm -rf %s", lab_dir);
	if (system(command))
		print_message("cannot remove %s\n", lab_dir);
	lab_dir[0] = '\0';
}

/** Build tests/victims/native/@source with the flags @how. */
static inline void lab_build(struct lab *lab, const char *source,
			     const char *how)
{
	static bool registered;
	char command[1024];
	const char *compiler = strstr(source, ".cc") ? "g++" : "gcc";

	memset(lab, 0, sizeof(*lab));
	snprintf(lab->dir, sizeof(lab->dir), "/tmp/stranded-native-XXXXXX");
	assert_non_null(mkdtemp(lab->dir));
	if (!registered)
		registered = !atexit(lab_remove_dir);
	lab_remove_dir();
	snprintf(lab_dir, sizeof(lab_dir), "%s", lab->dir);
	snprintf(lab->program, sizeof(lab->program), "%s/deep", lab->dir);
	snprintf(command, sizeof(command),
		 "%s -o %s tests/victims/native/%s %s", compiler, lab->program,
		 source, how);
	assert_int_equal(system(command), 0);
}

static inline void lab_clean(const struct lab *lab)
{
	assert_string_equal(lab->dir, lab_dir);
	lab_remove_dir();
}

static inline void lab_read_line(struct lab *lab, int fd)
{
	size_t n = 0;

	while (n < sizeof(lab->line) - 1 && read(fd, &lab->line[n], 1) == 1 &&
	       lab->line[n] != '\n')
		n++;
	lab->line[n] = '\0';
}

static inline void lab_parse_truth(struct lab *lab)
{
	char *p = lab->line;

	for (lab->n_truth = 0; lab->n_truth < LAB_MAX_PCS; lab->n_truth++) {
		char *end;

		lab->truth[lab->n_truth] = strtoull(p, &end, 16);
		if (end == p)
			break;
		p = end;
	}
}

/** Start @argv and read its first line, when @tells. */
static inline void lab_start(struct lab *lab, char *const argv[], bool tells)
{
	int in[2], out[2];

	assert_int_equal(pipe2(in, O_CLOEXEC), 0);
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	lab->pid = fork();
	assert_true(lab->pid >= 0);
	if (!lab->pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(in[0], 0);
		dup2(out[1], 1);
		execvp(argv[0], argv);
		_exit(127);
	}
	close(in[0]);
	close(out[1]);
	lab->in = in[1];
	if (tells)
		lab_read_line(lab, out[0]);
	close(out[0]);
	lab_parse_truth(lab);
}

/** Start the victim that was built. */
static inline void lab_run(struct lab *lab, const char *mode)
{
	char *const argv[] = { lab->program, (char *)mode, NULL };

	lab_start(lab, argv, true);
}

static inline void lab_attach(struct lab *lab)
{
	assert_ok(process_open(lab->pid, &lab->p));
	assert_ok(native_open(lab->p, &lab->native));
}

static inline void lab_end(struct lab *lab)
{
	native_close(lab->native);
	process_close(lab->p);
	close(lab->in);
	child_end(lab->pid);
	lab->native = NULL;
	lab->p = NULL;
}

/** Wait until @tid is blocked in a system call; false after 10 s. */
static inline bool lab_wait_blocked(struct lab *lab, pid_t tid)
{
	for (int i = 0; i < 1000; i++) {
		struct process_syscall call;

		if (!process_thread_syscall(lab->p, tid, &call) &&
		    !call.running && call.nr >= 0)
			return true;
		usleep(10000);
	}
	return false;
}

static inline void lab_take(const struct user_regs_struct *from,
			    struct native_regs *to)
{
	const unsigned long long all[NATIVE_N_REGS] = {
		from->rax, from->rdx, from->rcx, from->rbx, from->rsi,
		from->rdi, from->rbp, from->rsp, from->r8,  from->r9,
		from->r10, from->r11, from->r12, from->r13, from->r14,
		from->r15, from->rip,
	};

	memset(to, 0, sizeof(*to));
	for (int i = 0; i < NATIVE_N_REGS; i++)
		native_regs_set(to, (enum native_reg)i, all[i]);
}

static inline void lab_stop(pid_t tid)
{
	int status;

	assert_int_equal(ptrace(PTRACE_SEIZE, tid, 0, 0), 0);
	assert_int_equal(ptrace(PTRACE_INTERRUPT, tid, 0, 0), 0);
	assert_int_equal(waitpid(tid, &status, __WALL), tid);
	assert_true(WIFSTOPPED(status));
}

/** All registers of the blocked thread @tid. */
static inline void lab_stopped_regs(pid_t tid, struct native_regs *ret)
{
	struct user_regs_struct regs;

	lab_stop(tid);
	assert_int_equal(ptrace(PTRACE_GETREGS, tid, 0, &regs), 0);
	assert_int_equal(ptrace(PTRACE_DETACH, tid, 0, 0), 0);
	lab_take(&regs, ret);
}

/** What is known of it without a stop: stack pointer and pc. */
static inline void lab_blocked_regs(struct lab *lab, pid_t tid,
				    struct native_regs *ret)
{
	struct process_syscall call;

	assert_int_equal(process_thread_syscall(lab->p, tid, &call), 0);
	memset(ret, 0, sizeof(*ret));
	native_regs_set(ret, NATIVE_RIP, call.pc);
	native_regs_set(ret, NATIVE_RSP, call.sp);
}

static inline struct native_result lab_unwind(struct lab *lab,
					      enum native_engine engine,
					      const struct native_regs *regs)
{
	uint8_t bytes[8192];
	ssize_t n = process_read_some(lab->p, regs->r[NATIVE_RSP], bytes,
				      sizeof(bytes));
	struct native_copy copy = { .base = regs->r[NATIVE_RSP],
				    .bytes = bytes,
				    .len = n > 0 ? (size_t)n : 0 };
	struct native_result ret;

	assert_int_equal(native_unwind(lab->native, engine, regs, &copy, &ret),
			 0);
	assert_non_null(ret.stack);
	return ret;
}

/** The physical frames: inlined ones share the pc of what follows. */
static inline size_t lab_pcs(const struct stack *stack, uint64_t *pcs,
			     size_t max)
{
	size_t n = 0;

	for (uint32_t i = 0; i < stack->n && n < max; i++)
		if (!stack->frames[i]->inlined)
			pcs[n++] = stack->frames[i]->pc;
	return n;
}

static inline void lab_print(const char *what, const struct native_result *r)
{
	print_message("%s: %s at 0x%llx\n", what, native_end_name(r->end),
		      (unsigned long long)r->end_pc);
	for (uint32_t i = 0; i < r->stack->n; i++) {
		const struct frame *f = r->stack->frames[i];

		print_message("  %2u 0x%llx %s+0x%x %s:%u%s%s\n", i,
			      (unsigned long long)f->pc, f->function, f->offset,
			      f->file, f->line, f->inlined ? " inlined" : "",
			      f->uncertain ? " uncertain" : "");
	}
}

/** Both engines, which must agree pc for pc. */
static inline struct native_result lab_both(struct lab *lab, const char *what,
					    const struct native_regs *regs)
{
	struct native_result fast = lab_unwind(lab, NATIVE_FAST, regs);
	struct native_result slow = lab_unwind(lab, NATIVE_LIBUNWIND, regs);

	if (fast.stack != slow.stack || fast.end != slow.end) {
		lab_print("fast", &fast);
		lab_print("libunwind", &slow);
		fail_msg("%s: the engines do not agree", what);
	}
	return fast;
}

#endif
