/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stacks [ROUNDS]: how long does it take to unwind a stack of 17 functions?
 *
 * A child blocks there. Measured in turn in each round, per stack and with
 * the copy of its bytes: our compiled rules, libunwind with our accessors, and
 * elfutils' libdwfl with registers and memory given to it. "first" is the first
 * stack of a process: with all mappings, call frame information and names that
 * it takes. Prints one line of JSON with medians in microseconds.
 */
#include <dwarf.h>
#include <elfutils/libdwfl.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/process.h"
#include "runtime-hooks/native/native.h"

#define DEPTH 14 /* with pause(), main() and what the C library has around */
#define ROUNDS_MAX 101
#define STACK_BYTES 8192

static volatile int sink;
static pid_t child;

static void die(const char *what)
{
	fprintf(stderr, "stacks: %s: %s\n", what, strerror(errno));
	if (child > 0)
		kill(child, SIGKILL);
	exit(1);
}

static void die_of(struct error *err)
{
	if (!err)
		return;
	errno = 0;
	die(error_text(err));
}

static __attribute__((noinline, noclone)) int deep(int n)
{
	if (n)
		sink += deep(n - 1) + n;
	else
		pause();
	return sink;
}

static void start_child(void)
{
	child = fork();
	if (child < 0)
		die("fork");
	if (child)
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	deep(DEPTH - 1);
	_exit(0);
}

static void take_registers(struct user_regs_struct *ret)
{
	int status;

	usleep(200000);
	if (ptrace(PTRACE_SEIZE, child, 0, 0) ||
	    ptrace(PTRACE_INTERRUPT, child, 0, 0) ||
	    waitpid(child, &status, __WALL) != child ||
	    ptrace(PTRACE_GETREGS, child, 0, ret) ||
	    ptrace(PTRACE_DETACH, child, 0, 0))
		die("ptrace");
}

static void convert(const struct user_regs_struct *from, uint64_t *to)
{
	const unsigned long long all[NATIVE_N_REGS] = {
		from->rax, from->rdx, from->rcx, from->rbx, from->rsi,
		from->rdi, from->rbp, from->rsp, from->r8,  from->r9,
		from->r10, from->r11, from->r12, from->r13, from->r14,
		from->r15, from->rip,
	};

	for (int i = 0; i < NATIVE_N_REGS; i++)
		to[i] = all[i];
}

struct bench {
	const struct process *p;
	struct native *native;
	struct native_regs regs;
	uint8_t bytes[STACK_BYTES];
	size_t len;
	Dwfl *dwfl;
	uint32_t frames;
};

static void copy_stack(struct bench *b)
{
	ssize_t n = process_read_some(b->p, b->regs.r[NATIVE_RSP], b->bytes,
				      sizeof(b->bytes));

	if (n <= 0)
		die("reading the stack");
	b->len = (size_t)n;
}

static void by_native(struct bench *b, enum native_engine engine)
{
	struct native_copy copy = { .base = b->regs.r[NATIVE_RSP],
				    .bytes = b->bytes,
				    .len = b->len };
	struct native_result r;

	if (native_unwind(b->native, engine, &b->regs, &copy, &r) ||
	    r.end != NATIVE_END_OUTERMOST)
		die("unwinding");
	b->frames = r.stack->n;
}

static void fast(struct bench *b)
{
	by_native(b, NATIVE_FAST);
}

static void fast_and_copy(struct bench *b)
{
	copy_stack(b);
	by_native(b, NATIVE_FAST);
}

static void libunwind(struct bench *b)
{
	copy_stack(b);
	by_native(b, NATIVE_LIBUNWIND);
}

static pid_t next_thread(Dwfl *dwfl, void *arg, void **thread_arg)
{
	(void)dwfl;
	if (*thread_arg)
		return 0;
	*thread_arg = arg;
	return child;
}

static bool get_memory(Dwfl *dwfl, Dwarf_Addr addr, Dwarf_Word *ret, void *arg)
{
	struct bench *b = arg;
	raddr_t off = addr - b->regs.r[NATIVE_RSP];

	(void)dwfl;
	if (off > b->len - 8)
		return !process_read(b->p, addr, ret, sizeof(*ret));
	memcpy(ret, b->bytes + off, sizeof(*ret));
	return true;
}

static bool set_registers(Dwfl_Thread *thread, void *arg)
{
	struct bench *b = arg;

	dwfl_thread_state_register_pc(thread, b->regs.r[NATIVE_RIP]);
	return dwfl_thread_state_registers(thread, 0, NATIVE_N_REGS, b->regs.r);
}

static int count_frame(Dwfl_Frame *frame, void *arg)
{
	Dwarf_Addr pc;
	bool activation;

	(*(uint32_t *)arg)++;
	return dwfl_frame_pc(frame, &pc, &activation) ? DWARF_CB_OK
						      : DWARF_CB_ABORT;
}

static void attach_dwfl(struct bench *b)
{
	static const Dwfl_Callbacks callbacks = {
		.find_elf = dwfl_linux_proc_find_elf,
		.find_debuginfo = dwfl_standard_find_debuginfo,
	};
	static const Dwfl_Thread_Callbacks threads = {
		.next_thread = next_thread,
		.memory_read = get_memory,
		.set_initial_registers = set_registers,
	};

	b->dwfl = dwfl_begin(&callbacks);
	if (!b->dwfl || dwfl_linux_proc_report(b->dwfl, child) ||
	    dwfl_report_end(b->dwfl, NULL, NULL) ||
	    !dwfl_attach_state(b->dwfl, NULL, child, &threads, b))
		die("libdwfl");
}

static void libdwfl(struct bench *b)
{
	uint32_t n = 0;

	copy_stack(b);
	dwfl_getthread_frames(b->dwfl, child, count_frame, &n);
	if (n < DEPTH)
		die("libdwfl has no stack");
}

static void first(struct bench *b)
{
	native_close(b->native);
	b->native = NULL;
	die_of(native_open(b->p, &b->native));
	fast_and_copy(b);
}

static const struct {
	const char *name;
	void (*run)(struct bench *b);
	int times;
} ways[] = {
	{ "fast", fast, 20000 },
	{ "fast_and_copy", fast_and_copy, 2000 },
	{ "libunwind", libunwind, 200 },
	{ "libdwfl", libdwfl, 200 },
	{ "first", first, 1 },
};
#define WAYS (sizeof(ways) / sizeof(ways[0]))

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double measure(struct bench *b, size_t way)
{
	int64_t begin = clock_mono_ns();

	for (int i = 0; i < ways[way].times; i++)
		ways[way].run(b);
	return (double)(clock_mono_ns() - begin) / 1000 / ways[way].times;
}

int main(int argc, char **argv)
{
	static double us[WAYS][ROUNDS_MAX];
	int rounds = argc > 1 ? atoi(argv[1]) : 9;
	struct user_regs_struct raw;
	static struct bench b; // off the stack that the child inherits
	struct process *p;

	if (rounds < 1 || rounds > ROUNDS_MAX)
		rounds = 9;
	start_child();
	die_of(process_open(child, &p));
	b.p = p;
	take_registers(&raw);
	convert(&raw, b.regs.r);
	b.regs.known = (1u << NATIVE_N_REGS) - 1;
	copy_stack(&b);
	die_of(native_open(p, &b.native));
	attach_dwfl(&b);
	for (int i = 0; i < rounds; i++)
		for (size_t j = 0; j < WAYS; j++) {
			ways[j].run(&b);
			us[j][i] = measure(&b, j);
		}
	printf("{\"frames\": %u", b.frames);
	for (size_t j = 0; j < WAYS; j++) {
		qsort(us[j], (size_t)rounds, sizeof(us[j][0]), compare);
		printf(", \"%s_us\": %.3f", ways[j].name, us[j][rounds / 2]);
	}
	printf("}\n");
	dwfl_end(b.dwfl);
	native_close(b.native);
	process_close(p);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	return 0;
}
