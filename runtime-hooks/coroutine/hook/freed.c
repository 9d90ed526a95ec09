/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A coroutine whose stack is freed will not run again. Many programs end them
 * in no other way: the last switch of a coroutine is like any other, and the
 * scheduler frees what it has left.
 *
 * A stack that malloc(3) gave ends with the block, or a little before, and
 * above it is a mark (makecontext of ucontext.c). So nothing is kept of blocks
 * here; the last words of a large one are looked at. Which is not done before
 * the first mark is set. Stacks of Boost have no mark; boost.c keeps where they
 * begin.
 */

#include <malloc.h>
#include <stdlib.h>

#include "runtime-hooks/coroutine/hook/hook_priv.h"
#include "runtime-hooks/coroutine/hook/real.h"

#ifdef __x86_64__

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

/*
 * dlsym(3) may free what it has allocated. What comes here meanwhile, once in
 * a process at most, is not freed.
 */
static void *real_free(void)
{
	static __thread bool asks __attribute__((tls_model("initial-exec")));
	void *real =
		__atomic_load_n(&real_address[REAL_free], __ATOMIC_RELAXED);

	if (__builtin_expect(real || asks, 1))
		return real;
	asks = true;
	real = real_lookup(REAL_free);
	asks = false;
	return real;
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
	void *real = real_free();

	if (__atomic_load_n(&hook_stacks_marked, __ATOMIC_RELAXED) && block)
		end_owner(block);
	hook_boost_freed((uintptr_t)block);
	if (real)
		((__typeof__(&free))real)(block);
}

#endif
