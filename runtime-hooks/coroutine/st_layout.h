/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_HOOKS_COROUTINE_ST_LAYOUT_H
#define RUNTIME_HOOKS_COROUTINE_ST_LAYOUT_H

/** The records of State Threads 1.9 on LP64: common.h of its sources. */

#include <stddef.h>
#include <stdint.h>

#include "base/process.h"

struct st_list {
	raddr_t next, prev;
};

struct st_vp {
	raddr_t idle_thread;
	uint64_t last_clock; /* us */
	struct st_list run_q, io_q, zombie_q;
	int32_t pagesize;
	int32_t pad;
	raddr_t sleep_q; /* root of a heap of threads */
	int32_t sleepq_size;
	int32_t pad2;
};

struct st_thread {
	int32_t state, flags;
	raddr_t start, arg, retval;
	raddr_t stack;
	struct st_list links, wait_links;
	uint64_t due; /* us */
	raddr_t left, right;
	int32_t heap_index, pad;
	raddr_t private_data, term;
	/* jmp_buf, as md.S fills it: rbx, rbp, r12 to r15, rsp, rip */
	uint64_t regs[8];
};
#define ST_RSP 6
#define ST_RIP 7

struct st_stack {
	struct st_list links;
	raddr_t vaddr;
	int32_t vaddr_size, stk_size;
	raddr_t stk_bottom, stk_top, sp;
};

struct st_pollq {
	struct st_list links;
	raddr_t thread, pds;
	int32_t npds, on_ioq;
};

_Static_assert(offsetof(struct st_vp, sleepq_size) == 80, "libst 1.9");
_Static_assert(offsetof(struct st_thread, due) == 72, "libst 1.9");
_Static_assert(offsetof(struct st_thread, regs) == 120, "libst 1.9");
_Static_assert(offsetof(struct st_pollq, on_ioq) == 36, "libst 1.9");

enum st_state {
	ST_RUNNING,
	ST_RUNNABLE,
	ST_IO_WAIT,
	ST_LOCK_WAIT,
	ST_COND_WAIT,
	ST_SLEEPING,
	ST_ZOMBIE,
	ST_SUSPENDED,
};
#define ST_PRIMORDIAL 1
#define ST_IDLE 2
#define ST_ON_SLEEPQ 4

#define ST_RETRIES 3

#endif
