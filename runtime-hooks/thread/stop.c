/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime-hooks/thread/stop.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>

#include "base/clock.h"

/* An interrupted thread stops at once, unless it sleeps uninterruptibly. */
#define WAIT_NS INT64_C(100000000)
#define SPIN_NS 1000000 /* so long it is asked without a sleep in between */
#define POLL_NS 100000

#ifdef __x86_64__
/* DWARF numbers beside the names of struct user_regs_struct. */
static void take_regs(const struct user_regs_struct *u, struct native_regs *r)
{
	*r = (struct native_regs){ 0 };
	native_regs_set(r, NATIVE_RAX, u->rax);
	native_regs_set(r, NATIVE_RDX, u->rdx);
	native_regs_set(r, NATIVE_RCX, u->rcx);
	native_regs_set(r, NATIVE_RBX, u->rbx);
	native_regs_set(r, NATIVE_RSI, u->rsi);
	native_regs_set(r, NATIVE_RDI, u->rdi);
	native_regs_set(r, NATIVE_RBP, u->rbp);
	native_regs_set(r, NATIVE_RSP, u->rsp);
	native_regs_set(r, NATIVE_R8, u->r8);
	native_regs_set(r, NATIVE_R9, u->r9);
	native_regs_set(r, NATIVE_R10, u->r10);
	native_regs_set(r, NATIVE_R11, u->r11);
	native_regs_set(r, NATIVE_R12, u->r12);
	native_regs_set(r, NATIVE_R13, u->r13);
	native_regs_set(r, NATIVE_R14, u->r14);
	native_regs_set(r, NATIVE_R15, u->r15);
	native_regs_set(r, NATIVE_RIP, u->rip);
}
#endif

/* Wait until @tid is stopped, but not for ever. */
static int wait_stop(pid_t tid, int *status_ret)
{
	int64_t begin = clock_mono_ns();

	for (;;) {
		pid_t got = waitpid(tid, status_ret, __WALL | WNOHANG);

		if (got < 0 && errno != EINTR)
			return -errno;
		if (got == tid)
			return WIFSTOPPED(*status_ret) ? 0 : -ESRCH;
		int64_t now = clock_mono_ns();
		if (now - begin > WAIT_NS)
			return -ETIMEDOUT;
		/* A sleep takes 50 us more than was asked for. */
		if (now - begin > SPIN_NS)
			clock_sleep_until(now + POLL_NS);
		else if (now - begin > SPIN_NS / 4)
			sched_yield(); /* it may need this processor to stop */
	}
}

/*
 * A signal that was on its way may have stopped it instead of our interrupt:
 * that one is delivered with the detach, or it would be lost.
 */
static int signal_of(int status)
{
	if (status >> 16 == PTRACE_EVENT_STOP)
		return 0;
	return WSTOPSIG(status);
}

#ifdef __x86_64__
struct stop {
	const struct process *process;
	pid_t tid;
	void *copy;
	size_t copy_len, len;
	struct user_regs_struct regs;
	int64_t stopped_ns;
	int rc;
};

/*
 * In a thread of its own, which is the tracer: a thread that does not stop in
 * time (state D) cannot be detached from, but when its tracer ends the kernel
 * takes back the interrupt, too (exit_ptrace and __ptrace_unlink,
 * kernel/ptrace.c).
 */
static void *stop_and_read(void *arg)
{
	struct stop *s = arg;
	int status = 0;

	if (ptrace(PTRACE_SEIZE, s->tid, NULL, NULL) < 0) {
		s->rc = -errno;
		return NULL;
	}
	int64_t begin = clock_mono_ns(); /* until now it ran on */
	s->rc = ptrace(PTRACE_INTERRUPT, s->tid, NULL, NULL) < 0 ? -errno : 0;
	if (!s->rc)
		s->rc = wait_stop(s->tid, &status);
	if (s->rc == -ETIMEDOUT)
		return NULL;
	if (!s->rc && ptrace(PTRACE_GETREGS, s->tid, NULL, &s->regs) < 0)
		s->rc = -errno;
	ssize_t n = s->rc ? 0
			  : process_read_some(s->process, s->regs.rsp, s->copy,
					      s->copy_len);
	ptrace(PTRACE_DETACH, s->tid, NULL, (void *)(long)signal_of(status));
	s->stopped_ns = clock_mono_ns() - begin;
	s->len = n > 0 ? (size_t)n : 0;
	return NULL;
}

static bool is_traced(const struct process *p, pid_t tid)
{
	char tracer[32];

	return process_thread_status(p, tid, "TracerPid", tracer,
				     sizeof(tracer)) &&
	       atoi(tracer);
}

int thread_stop(const struct process *p, pid_t tid, struct native_regs *regs,
		void *copy, size_t copy_len, size_t *len_ret,
		int64_t *stopped_ns_ret)
{
	struct stop s = {
		.process = p, .tid = tid, .copy = copy, .copy_len = copy_len
	};
	pthread_t tracer;

	*stopped_ns_ret = 0;
	int rc = pthread_create(&tracer, NULL, stop_and_read, &s);
	if (rc)
		return -rc;
	pthread_join(tracer, NULL);
	*stopped_ns_ret = s.stopped_ns;
	if (s.rc == -EPERM && is_traced(p, tid))
		return -EBUSY;
	if (s.rc)
		return s.rc;
	*len_ret = s.len;
	take_regs(&s.regs, regs);
	return 0;
}
#else
int thread_stop(const struct process *p, pid_t tid, struct native_regs *regs,
		void *copy, size_t copy_len, size_t *len_ret,
		int64_t *stopped_ns_ret)
{
	(void)p, (void)tid, (void)regs, (void)copy, (void)copy_len;
	(void)len_ret;
	*stopped_ns_ret = 0;
	return -EOPNOTSUPP;
}
#endif
