/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Libraries that create coroutines for their callers, by makecontext(3): the
 * site is the program's call, not the library's. GNU Pth 2.0.7 (pth_lib.c,
 * pth_mctx.c), PCL 1.12 (pcl.c).
 */

#include <link.h>

#include "runtime-hooks/coroutine/hook/hook_priv.h"

#define EXPORT __attribute__((visibility("default")))

typedef void *(*spawn_fn)(void *attr, void *(*func)(void *), void *arg);
typedef void *(*create_fn)(void (*func)(void *), void *data, void *stack,
			   int size);

void *pth_spawn(void *attr, void *(*func)(void *), void *arg);
void pth_exit(void *value) __attribute__((noreturn));
void *co_create(void (*func)(void *), void *data, void *stack, int size);
void co_exit(void);
void co_exit_to(void *to);

/* The functions stand in for another library's, and are called by who has it:
 * there always is a next one. */
#define NEXT(type, name)                                                       \
	({                                                                     \
		static void *next_;                                            \
		if (!__atomic_load_n(&next_, __ATOMIC_RELAXED))                \
			__atomic_store_n(&next_, hook_next(name),              \
					 __ATOMIC_RELAXED);                    \
		(type) next_;                                                  \
	})

/* Where a library's code is. */
struct library {
	uint64_t in, lo, hi; /* @in is an address of it */
};

static struct library pth, pcl;

static int find_range(struct dl_phdr_info *info, size_t size, void *arg)
{
	struct library *l = arg;

	(void)size;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *ph = &info->dlpi_phdr[i];
		uint64_t lo = info->dlpi_addr + ph->p_vaddr;

		if (ph->p_type == PT_LOAD && l->in - lo < ph->p_memsz) {
			l->lo = lo;
			l->hi = lo + ph->p_memsz;
			return 1;
		}
	}
	return 0;
}

/* What a library creates for itself (a scheduler, who cleans up) is no task of
 * the program's. */
static void begin(uint64_t pc, uint64_t start, uint64_t real, struct library *l)
{
	if (!l->hi) {
		struct library found = { .in = real };

		dl_iterate_phdr(find_range, &found);
		l->lo = found.lo;
		l->hi = found.hi;
	}
	hook_self.system = pc >= l->lo && pc < l->hi;
	hook_self.site_pc = pc;
	hook_self.site_start = start;
}

static void end(void)
{
	hook_self.system = false;
	hook_self.site_pc = hook_self.site_start = 0;
}

EXPORT void *pth_spawn(void *attr, void *(*func)(void *), void *arg)
{
	spawn_fn real = NEXT(spawn_fn, "pth_spawn");

	begin((uint64_t)__builtin_return_address(0), (uint64_t)func,
	      (uint64_t)real, &pth);
	void *ret = real(attr, func, arg);
	end();
	return ret;
}

/* Also called when the function of a thread returns. Its record lives on until
 * it is joined; it does not run any more. */
EXPORT void pth_exit(void *value)
{
	typedef void (*exit_fn)(void *value);
	exit_fn real = NEXT(exit_fn, "pth_exit");

	hook_end(hook_self.id);
	real(value);
	__builtin_unreachable();
}

EXPORT void *co_create(void (*func)(void *), void *data, void *stack, int size)
{
	create_fn real = NEXT(create_fn, "co_create");

	begin((uint64_t)__builtin_return_address(0), (uint64_t)func,
	      (uint64_t)real, &pcl);
	void *ret = real(func, data, stack, size);
	end();
	return ret;
}

/*
 * PCL frees an ended coroutine on the stack of one of its own, which it makes
 * for that. co_exit() is also what follows a coroutine's function.
 */
EXPORT void co_exit(void)
{
	typedef void (*exit_fn)(void);
	exit_fn real = NEXT(exit_fn, "co_exit");

	hook_end(hook_self.id);
	real();
}

EXPORT void co_exit_to(void *to)
{
	typedef void (*exit_fn)(void *to);
	exit_fn real = NEXT(exit_fn, "co_exit_to");

	hook_end(hook_self.id);
	real(to);
}

/*
 * What a Pth thread waits for is in the arguments of the call, and nowhere
 * else: it is asked of select(2) by the scheduler. The outermost call counts;
 * pth_wait() alone says nothing of a file.
 */
typedef long (*any_fn)(long, long, long, long, long, long, long);

#define TOLD(name, op, fd)                                                     \
	long name(long a, long b, long c, long d, long e, long f, long g);     \
	EXPORT long name(long a, long b, long c, long d, long e, long f,       \
			 long g)                                               \
	{                                                                      \
		any_fn real = NEXT(any_fn, #name);                             \
		bool told = hook_tell(op, fd);                                 \
		long ret = real(a, b, c, d, e, f, g);                          \
                                                                               \
		if (told)                                                      \
			hook_untell();                                         \
		return ret;                                                    \
	}

TOLD(pth_read_ev, STRANDED_READ, (int)a)
TOLD(pth_readv_ev, STRANDED_READ, (int)a)
TOLD(pth_recv_ev, STRANDED_READ, (int)a)
TOLD(pth_recvfrom_ev, STRANDED_READ, (int)a)
TOLD(pth_write_ev, STRANDED_WRITE, (int)a)
TOLD(pth_writev_ev, STRANDED_WRITE, (int)a)
TOLD(pth_send_ev, STRANDED_WRITE, (int)a)
TOLD(pth_sendto_ev, STRANDED_WRITE, (int)a)
TOLD(pth_accept_ev, STRANDED_ACCEPT, (int)a)
TOLD(pth_connect_ev, STRANDED_CONNECT, (int)a)
TOLD(pth_poll_ev, STRANDED_POLL, -1)
TOLD(pth_select_ev, STRANDED_POLL, -1)
TOLD(pth_sleep, STRANDED_SLEEP, -1)
TOLD(pth_usleep, STRANDED_SLEEP, -1)
TOLD(pth_nap, STRANDED_SLEEP, -1)
TOLD(pth_mutex_acquire, STRANDED_MUTEX, -1)
TOLD(pth_cond_await, STRANDED_COND, -1)
TOLD(pth_join, STRANDED_JOIN, -1)
TOLD(pth_wait, STRANDED_OTHER, -1)
