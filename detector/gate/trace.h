/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DETECTOR_GATE_TRACE_H
#define DETECTOR_GATE_TRACE_H

/**
 * The fallback where seccomp notifications cannot be had: catch every process
 * below a command by ptrace(2), PTRACE_O_TRACEEXIT.
 *
 * It costs more: each thread stops when it is created, when it gets a signal
 * and when it ends; no other tracer can be used below; and there is no time of
 * grace, since by then the other threads are told to die. When we are killed
 * the kernel lets everyone go on. x86-64 only.
 */

#include <signal.h>

#include "base/error.h"
#include "detector/gate/catch.h"

struct trace_held;

struct trace {
	pid_t pid;	/* the command: our child */
	int exec_errno; /* it could not be run: why; 0: it runs */
	struct trace_held *held;
	size_t n_held, cap;
	pid_t execing; /* whose threads end for an execve; 0 none */
	pid_t *freed;  /* processes that were let go, until they have ended */
	size_t n_freed, freed_cap;
};

/**
 * Start @argv, as catch_start() does. Fails: ERROR_UNSUPPORTED, ERROR_DENIED,
 * ERROR_OS.
 */
struct error *trace_start(const char *const *argv, const sigset_t *mask,
			  struct trace *ret);

enum trace_result {
	TRACE_NOTHING, /* nobody has stopped or ended just now */
	TRACE_WENT_ON, /* somebody has, and goes on */
	TRACE_EXIT,    /* a process is about to exit: see trace_exit */
	TRACE_ENDED,   /* a child of ours, or thread below us, has ended */
	TRACE_EMPTY,   /* nobody is left */
};

struct trace_exit {
	pid_t tid; /* EXIT: the thread that called exit_group; ENDED: who */
	uint8_t status;	 /* EXIT: that it exits with */
	int wait_status; /* ENDED */
};

/** Handle one stop or end, if there is one. */
enum trace_result trace_next(struct trace *t, struct trace_exit *ret);
/** Let the process go, of which @tid is about to exit. */
void trace_let_go(struct trace *t, pid_t tid);
void trace_deinit(struct trace *t);

#endif
