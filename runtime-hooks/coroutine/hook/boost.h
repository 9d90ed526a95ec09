/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_HOOKS_COROUTINE_HOOK_BOOST_H
#define RUNTIME_HOOKS_COROUTINE_HOOK_BOOST_H

/** What free(3) has to know of the stacks of Boost's contexts. */

#include <stdbool.h>
#include <stdint.h>

#define BOOST_LATEST_BITS 16

/* A bit for each stack that may be there, by its lower end. */
extern uint64_t boost_filter[1 << (BOOST_LATEST_BITS - 6)]
	__attribute__((visibility("hidden")));

static inline uint64_t boost_place_of(uintptr_t lo)
{
	return (lo * UINT64_C(0x9e3779b97f4a7c15)) >> (64 - BOOST_LATEST_BITS);
}

/** May a context's stack begin at @lo? Looks at one bit. */
static inline bool boost_may_own(uintptr_t lo)
{
	uint64_t at = boost_place_of(lo);

	return __atomic_load_n(&boost_filter[at / 64], __ATOMIC_RELAXED) >>
		       (at % 64) &
	       1;
}

/** What begins at @lo is no stack any more: whose it was has ended. */
void boost_stack_left(uintptr_t lo) __attribute__((visibility("hidden")));

#endif
