/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Nanoseconds per switch of Boost.Context between two fibers, both of which
 * the hook parks and resumes each time; a thread's own stack it need not.
 */
#include <chrono>
#include <cstdio>

#include <boost/context/fiber.hpp>

namespace ctx = boost::context;

static const long rounds = 5000000;

int main()
{
	ctx::fiber echo([](ctx::fiber &&caller) {
		for (;;)
			caller = std::move(caller).resume();
		return std::move(caller);
	});
	ctx::fiber caller([&echo](ctx::fiber &&main) {
		echo = std::move(echo).resume();
		auto begin = std::chrono::steady_clock::now();
		for (long i = 0; i < rounds; i++)
			echo = std::move(echo).resume();
		std::chrono::duration<double, std::nano> took =
			std::chrono::steady_clock::now() - begin;
		printf("%.2f\n", took.count() / (2 * rounds));
		return std::move(main);
	});

	std::move(caller).resume();
	return 0;
}
