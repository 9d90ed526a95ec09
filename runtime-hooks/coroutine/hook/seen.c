/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Coroutines of libraries whose switches cannot be hooked: State Threads is
 * linked statically, others switch by hand. What is left of one that is parked
 * is the stack that it called from: from the call that would have blocked
 * outwards, its frames are still there. So each stack that such a call was
 * made on has a line, with where the call was made. It may have moved on since
 * without any call that is hooked, and the line says so by its state.
 */

#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "runtime-hooks/coroutine/hook/io.h"
#include "runtime-hooks/coroutine/hook/real.h"
#include "runtime-hooks/coroutine/hook/stacks.h"

#define EXPORT __attribute__((visibility("default")))

/*
 * A thread may have got its stack from the program, too
 * (pthread_attr_setstack); glibc then keeps its descriptor at the upper end.
 */
static bool is_threads_own(const struct stack_range *r)
{
	uintptr_t self = (uintptr_t)pthread_self();

	return self >= r->lo && self < r->hi;
}

static void write_line(struct stranded_task *task, enum stranded_op op, int fd,
		       const struct io_frame *from)
{
	uint32_t seq = stranded_write_begin(task);
	task->op = (uint8_t)op;
	task->fd = fd;
	task->sp = task->pc = task->bp = 0;
	task->flags = 0;
#ifdef __x86_64__
	/* elsewhere a frame does not begin where its caller's stack ends */
	if (from) {
		task->sp = (uint64_t)from->stack;
		task->pc = from->pc;
		task->bp = from->bp;
		task->flags = HOOK_FLAG_PC_RETURN;
	}
#else
	(void)from;
#endif
	task->since = hook_ticks();
	task->state = HOOK_SEEN;
	stranded_write_end(task, seq);
}

static uint64_t create(const struct stack_range *r)
{
	return hook_create(&(struct hook_new){ .stack_hi = r->hi });
}

void seen_would_block(enum stranded_op op, int fd, const struct io_frame *from)
{
	struct stack_range *r = hook_active ? stacks_find((uintptr_t)from)
					    : NULL;

	if (!r || is_threads_own(r))
		return;
	struct stranded_task *task = hook_line(r->owner);
	if (!task) {
		r->owner = create(r);
		task = hook_line(r->owner);
	}
	/* a coroutine whose switches are known, which no switch led to */
	if (!task || (task->state != HOOK_SEEN && task->state != HOOK_CREATED))
		return;
	write_line(task, op, fd, from);
}

void seen_took(const struct io_frame *from)
{
	const struct stack_range *r = stacks_find((uintptr_t)from);
	struct stranded_task *task = r ? hook_line(r->owner) : NULL;

	if (task && task->state == HOOK_SEEN && task->fd >= 0)
		write_line(task, STRANDED_OTHER, -1, NULL);
}

void seen_closes(int fd, const struct io_frame *from)
{
	const struct stack_range *r = stacks_find((uintptr_t)from);
	struct stranded_task *task = r ? hook_line(r->owner) : NULL;

	if (task && task->state == HOOK_SEEN && task->fd == fd)
		write_line(task, STRANDED_OTHER, -1, NULL);
}

/* What may be a stack: memory of nobody else's, that no file stands behind. */
static void mapped(void *p, size_t size, int flags)
{
	if (p == MAP_FAILED || !hook_active)
		return;
	/* what was there, if its end was not seen, is no more */
	stacks_remove((uintptr_t)p, size, hook_end);
	if ((flags & MAP_ANONYMOUS) && (flags & MAP_TYPE) == MAP_PRIVATE)
		stacks_add((uintptr_t)p, size);
}

/*
 * An allocator that was preloaded, too, may call this from inside of dlsym(3):
 * what is not looked up yet is asked of the kernel, as glibc does.
 */
static void *real_mmap(void *hint, size_t size, int prot, int flags, int fd,
		       off_t at)
{
	void *real =
		__atomic_load_n(&real_address[REAL_mmap], __ATOMIC_RELAXED);

	if (real)
		return ((__typeof__(&mmap))real)(hint, size, prot, flags, fd,
						 at);
	return (void *)syscall(SYS_mmap, hint, size, prot, flags, fd, at);
}

EXPORT void *mmap(void *hint, size_t size, int prot, int flags, int fd,
		  off_t at)
{
	void *p = real_mmap(hint, size, prot, flags, fd, at);

	mapped(p, size, flags);
	return p;
}

EXPORT void *mmap64(void *hint, size_t size, int prot, int flags, int fd,
		    off64_t at)
{
	void *p = real_mmap(hint, size, prot, flags, fd, at);

	mapped(p, size, flags);
	return p;
}

EXPORT int munmap(void *p, size_t size)
{
	void *real =
		__atomic_load_n(&real_address[REAL_munmap], __ATOMIC_RELAXED);

	/* before: afterwards another thread may be given the same addresses */
	stacks_remove((uintptr_t)p, size, hook_end);
	if (real)
		return ((__typeof__(&munmap))real)(p, size);
	return (int)syscall(SYS_munmap, p, size);
}
