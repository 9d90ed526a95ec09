/* SPDX-License-Identifier: Apache-2.0 */

/* Nanoseconds per switch of Boost.Context, to a fiber and back. */
#include <chrono>
#include <cstdio>

#include <boost/context/fiber.hpp>

namespace ctx = boost::context;

int main()
{
	const long n = 5000000;
	ctx::fiber f([](ctx::fiber &&caller) {
		for (;;)
			caller = std::move(caller).resume();
		return std::move(caller);
	});

	f = std::move(f).resume();
	auto begin = std::chrono::steady_clock::now();
	for (long i = 0; i < n; i++)
		f = std::move(f).resume();
	std::chrono::duration<double, std::nano> took =
		std::chrono::steady_clock::now() - begin;
	printf("%.2f\n", took.count() / (2 * n));
	return 0;
}
