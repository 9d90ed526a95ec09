/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Nanoseconds per switch of Boost.Context between two fibers, both of which
 * the hook parks and resumes each time; a thread's own stack it need not.
 */
#include <algorithm>
#include <cstdio>
#include <ctime>

#include <boost/context/fiber.hpp>

namespace ctx = boost::context;

static const long rounds = 50000;
static const int parts = 101;

/* Of the CPU: other programs' turns do not count. */
static double now()
{
	timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return t.tv_sec * 1e9 + t.tv_nsec;
}

int main()
{
	ctx::fiber echo([](ctx::fiber &&caller) {
		for (;;)
			caller = std::move(caller).resume();
		return std::move(caller);
	});
	ctx::fiber caller([&echo](ctx::fiber &&main) {
		echo = std::move(echo).resume();
		double took[parts];
		for (double &t : took) {
			double begin = now();
			for (long i = 0; i < rounds; i++)
				echo = std::move(echo).resume();
			t = (now() - begin) / (2 * rounds);
		}
		std::nth_element(took, took + parts / 2, took + parts);
		printf("%.2f\n", took[parts / 2]);
		return std::move(main);
	});

	std::move(caller).resume();
	return 0;
}
