/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Libraries that create coroutines for their callers, by makecontext(3): the
 * site is the program's call, not the library's. GNU Pth 2.0.7 (pth_lib.c,
 * pth_mctx.c), PCL 1.12 (pcl.c).
 */

#include "runtime-hooks/coroutine/hook/hook_priv.h"

#define EXPORT __attribute__((visibility("default")))

typedef void *(*spawn_fn)(void *attr, void *(*func)(void *), void *arg);
typedef int (*init_fn)(void);
typedef void *(*create_fn)(void (*func)(void *), void *data, void *stack,
			   int size);

void *pth_spawn(void *attr, void *(*func)(void *), void *arg);
int pth_init(void);
void pth_exit(void *value) __attribute__((noreturn));
void *co_create(void (*func)(void *), void *data, void *stack, int size);

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

static void set_site(uint64_t pc, uint64_t start)
{
	hook_self.site_pc = pc;
	hook_self.site_start = start;
}

EXPORT void *pth_spawn(void *attr, void *(*func)(void *), void *arg)
{
	spawn_fn real = NEXT(spawn_fn, "pth_spawn");

	set_site((uint64_t)__builtin_return_address(0), (uint64_t)func);
	void *ret = real(attr, func, arg);
	set_site(0, 0);
	return ret;
}

/* It spawns its scheduler. */
EXPORT int pth_init(void)
{
	init_fn real = NEXT(init_fn, "pth_init");

	hook_self.system = true;
	int ret = real();
	hook_self.system = false;
	return ret;
}

/* Also called when the function of a thread returns. Its record lives on until
 * it is joined; it does not run any more. */
EXPORT void pth_exit(void *value)
{
	typedef void (*exit_fn)(void *value) __attribute__((noreturn));
	exit_fn real = NEXT(exit_fn, "pth_exit");

	hook_end(hook_self.id);
	real(value);
}

EXPORT void *co_create(void (*func)(void *), void *data, void *stack, int size)
{
	create_fn real = NEXT(create_fn, "co_create");

	set_site((uint64_t)__builtin_return_address(0), (uint64_t)func);
	void *ret = real(func, data, stack, size);
	set_site(0, 0);
	return ret;
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
