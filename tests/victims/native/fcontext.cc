// SPDX-License-Identifier: Apache-2.0

// A coroutine that Boost.Context's jump_fcontext has parked. Prints the
// address of its saved registers, then the return addresses that the C
// library's backtrace(3) has within it.

#include <boost/context/detail/fcontext.hpp>
#include <cstdio>
#include <execinfo.h>
#include <unistd.h>

namespace ctx = boost::context::detail;

static volatile int sink;
static ctx::fcontext_t caller;
static void *pcs[64];
static int n_pcs;

__attribute__((noinline)) static void park()
{
	n_pcs = backtrace(pcs, 64);
	caller = ctx::jump_fcontext(caller, nullptr).fctx;
	sink = sink + 1;
}

__attribute__((noinline, noclone)) static int deep(int n)
{
	if (n > 0)
		sink = deep(n - 1) + n;
	else
		park();
	return sink;
}

static void body(ctx::transfer_t from)
{
	caller = from.fctx;
	sink = deep(5);
	ctx::jump_fcontext(caller, nullptr);
}

int main()
{
	static char stack[1 << 16] __attribute__((aligned(16)));
	void *warm[1];
	char c;

	backtrace(warm, 1);
	ctx::fcontext_t f =
		ctx::make_fcontext(stack + sizeof(stack), sizeof(stack), body);
	std::printf("%lx", (unsigned long)ctx::jump_fcontext(f, nullptr).fctx);
	// the first is in park, before the call that parks
	for (int i = 1; i < n_pcs; i++)
		std::printf(" %lx", (unsigned long)pcs[i]);
	std::printf("\n");
	std::fflush(stdout);
	while (read(0, &c, 1) > 0)
		;
	return sink != 0;
}
