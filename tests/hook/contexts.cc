/* SPDX-License-Identifier: Apache-2.0 */

/*
 * usage: contexts N
 *
 * N contexts of each kind that Boost makes on top of Boost.Context, half of
 * them ended and half of them parked: context::fiber, context::callcc,
 * coroutine2 that pulls and coroutine2 that pushes. Prints how many of each
 * are parked; after a line of input, destroys them, which unwinds each, and
 * prints how many destructors ran.
 */

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

#include <boost/context/continuation.hpp>
#include <boost/context/fiber.hpp>
#include <boost/coroutine2/all.hpp>

namespace ctx = boost::context;
namespace co2 = boost::coroutines2;

static int unwound;

struct witness {
	~witness()
	{
		unwound++;
	}
};

static ctx::fiber fiber_body(bool ends, ctx::fiber &&caller)
{
	witness w;

	caller = std::move(caller).resume();
	while (!ends)
		caller = std::move(caller).resume();
	return std::move(caller);
}

static ctx::continuation callcc_body(bool ends, ctx::continuation &&caller)
{
	witness w;

	caller = caller.resume();
	while (!ends)
		caller = caller.resume();
	return std::move(caller);
}

int main(int argc, char **argv)
{
	int n = argc > 1 ? atoi(argv[1]) : 10;
	std::vector<ctx::fiber> fibers;
	std::vector<ctx::continuation> continuations;
	using coroutine = co2::coroutine<int>;
	std::vector<std::unique_ptr<coroutine::pull_type>> pulls;
	std::vector<std::unique_ptr<coroutine::push_type>> pushes;
	int with = 0, values = 0;

	for (int i = 0; i < n; i++) {
		bool ends = i % 2;

		ctx::fiber f([ends](ctx::fiber &&c) {
			return fiber_body(ends, std::move(c));
		});
		f = std::move(f).resume();
		/* runs a function on top of the fiber, with data that lies on
		 * this stack: no end */
		f = std::move(f).resume_with([&with](ctx::fiber &&c) {
			with++;
			return std::move(c);
		});
		fibers.push_back(std::move(f));

		auto c = ctx::callcc([ends](ctx::continuation &&k) {
			return callcc_body(ends, std::move(k));
		});
		continuations.push_back(c.resume());

		pulls.emplace_back(new coroutine::pull_type(
			[ends](coroutine::push_type &sink) {
				witness w;

				sink(1);
				while (!ends)
					sink(2);
			}));
		(*pulls.back())();

		pushes.emplace_back(new coroutine::push_type(
			[ends, &values](coroutine::pull_type &source) {
				witness w;

				values += source.get();
				while (!ends && source)
					source();
			}));
		(*pushes.back())(1);
	}
	int parked = 0;
	for (int i = 0; i < n; i++)
		parked += !!fibers[(size_t)i] + !!continuations[(size_t)i] +
			  !!*pulls[(size_t)i] + !!*pushes[(size_t)i];
	printf("{\"created\": %d, \"parked\": %d, \"with\": %d, "
	       "\"values\": %d}\n",
	       4 * n, parked, with, values);
	fflush(stdout);
	if (getchar() == EOF)
		return 1;
	fibers.clear();
	continuations.clear();
	pulls.clear();
	pushes.clear();
	printf("{\"unwound\": %d}\n", unwound);
	fflush(stdout);
	while (getchar() != EOF)
		;
	return 0;
}
