/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_HOOKS_COROUTINE_HOOK_REAL_H
#define RUNTIME_HOOKS_COROUTINE_HOOK_REAL_H

/**
 * The functions that the hook stands in front of. Each is looked up once, by
 * dlsym(3) with RTLD_NEXT, when the library is loaded: dlsym takes locks and
 * may allocate, which must not happen on the first call in a signal handler.
 * A call from another library's constructor may come before ours and looks its
 * function up itself.
 */

/** Each with the same name in the C library, or in libboost_context.so. */
#define REAL_FUNCTIONS(X)                                                      \
	X(read)                                                                \
	X(readv)                                                               \
	X(preadv)                                                              \
	X(preadv64)                                                            \
	X(preadv2)                                                             \
	X(preadv64v2)                                                          \
	X(recv)                                                                \
	X(recvfrom)                                                            \
	X(recvmsg)                                                             \
	X(recvmmsg)                                                            \
	X(write)                                                               \
	X(writev)                                                              \
	X(send)                                                                \
	X(sendto)                                                              \
	X(sendmsg)                                                             \
	X(sendmmsg)                                                            \
	X(accept)                                                              \
	X(accept4)                                                             \
	X(connect)                                                             \
	X(close)                                                               \
	X(poll)                                                                \
	X(ppoll)                                                               \
	X(select)                                                              \
	X(pselect)                                                             \
	X(epoll_wait)                                                          \
	X(epoll_pwait)                                                         \
	X(epoll_pwait2)                                                        \
	X(make_fcontext)                                                       \
	X(jump_fcontext)                                                       \
	X(ontop_fcontext)                                                      \
	X(free)                                                                \
	X(mmap)                                                                \
	X(mmap64)                                                              \
	X(munmap)                                                              \
	X(__read_chk)                                                          \
	X(__recv_chk)                                                          \
	X(__recvfrom_chk)                                                      \
	X(__poll_chk)                                                          \
	X(__ppoll_chk)

enum real_index {
#define X(name) REAL_##name,
	REAL_FUNCTIONS(X)
#undef X
		REAL_COUNT,
};

/** NULL: not looked up yet, or this C library has no such function. */
extern void *real_address[REAL_COUNT] __attribute__((visibility("hidden")));

/**
 * Look @index up and remember where it is.
 *
 * Returns: NULL when there is none, which is not remembered: a library may be
 * loaded later.
 */
void *real_lookup(enum real_index index) __attribute__((visibility("hidden")));

/**
 * The same for a function of Boost's that a plugin calls: a library that
 * dlopen(3) loaded for it alone is not among those that RTLD_NEXT looks
 * through. All three are taken from there.
 *
 * @param caller an address in the plugin. Takes locks, unless it was found
 * before.
 */
void *real_lookup_for(enum real_index index, const void *caller)
	__attribute__((visibility("hidden")));

/** Fails with ENOSYS, as the kernel would: epoll_pwait2 came with glibc 2.35. */
long real_not_there(void) __attribute__((visibility("hidden")));

/** The real function @name, with its type. */
#define REAL(name)                                                             \
	({                                                                     \
		void *real_ = __atomic_load_n(&real_address[REAL_##name],      \
					      __ATOMIC_RELAXED);               \
		if (__builtin_expect(!real_, 0))                               \
			real_ = real_lookup(REAL_##name);                      \
		if (__builtin_expect(!real_, 0))                               \
			real_ = (void *)real_not_there;                        \
		(__typeof__(&name))real_;                                      \
	})

#endif
