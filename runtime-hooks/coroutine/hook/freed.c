/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A coroutine whose stack is freed will not run again. Many programs end them
 * in no other way: the last switch of a coroutine is like any other, and the
 * scheduler frees what it has left.
 *
 * A stack that malloc(3) gave ends with the block, or a little before, and
 * above it is a mark (makecontext of ucontext.c). So nothing is kept of blocks
 * here; the last words of a large one are looked at. Which is not done before
 * the first mark is set. Those of Boost have no room above them; where they
 * begin is kept (boost.h).
 */

#include <malloc.h>
#include <stdlib.h>

#include "runtime-hooks/coroutine/hook/boost.h"
#include "runtime-hooks/coroutine/hook/hook_priv.h"

#define EXPORT __attribute__((visibility("default")))
#define MARK_BYTES 16
/* Blocks of less hold no marked stack. */
#define MIN_BYTES 1024
/*
 * A block that glibc maps for itself (M_MMAP_THRESHOLD: 128 KiB at least) is
 * rounded up to pages, less 16 bytes; of others, up to 16 less 8.
 */
#define MAPPED_BYTES (128 * 1024)
#define PAGE 4096

static void *real_free;

/* It may be called from inside of dlsym(3), to free what that had said before:
 * a string that is lost then. */
static __attribute__((noinline, cold)) void *look_up(void)
{
	static __thread bool busy __attribute__((tls_model("initial-exec")));

	if (busy)
		return NULL;
	busy = true;
	__atomic_store_n(&real_free, hook_next("free"), __ATOMIC_RELAXED);
	busy = false;
	return real_free;
}

static void __attribute__((constructor)) look_up_early(void)
{
	look_up();
}

static __attribute__((noinline)) void end_owner(void *block)
{
	size_t size = malloc_usable_size(block);
	uint64_t end = ((uint64_t)block + size) & ~(uint64_t)15;
	/* one more for a request that was no multiple of 16 */
	int n = size >= MAPPED_BYTES && size % MARK_BYTES == 0
			? PAGE / MARK_BYTES + 2
			: 2;

	if (size < MIN_BYTES)
		return;
	for (int i = 1; i <= n; i++) {
		const uint64_t *at =
			(const uint64_t *)(end - (uint64_t)i * MARK_BYTES);

		if ((at[0] ^ HOOK_MARK) == at[1])
			hook_end(hook_marked_stack((uint64_t)at));
	}
}

EXPORT void free(void *block)
{
	void *real = __atomic_load_n(&real_free, __ATOMIC_RELAXED);

	if (__builtin_expect(!real, 0))
		real = look_up();
	if (!real || !block)
		return;
	if (__atomic_load_n(&hook_stacks_marked, __ATOMIC_RELAXED))
		end_owner(block);
	if (__builtin_expect(boost_may_own((uintptr_t)block), 0))
		boost_stack_left((uintptr_t)block);
	((void (*)(void *))real)(block);
}
