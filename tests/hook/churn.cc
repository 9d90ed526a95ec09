/* SPDX-License-Identifier: Apache-2.0 */

/*
 * usage: churn N THREADS
 *
 * N fibers of Boost.Fiber, in batches, that ask a socket, yield a few times,
 * and end, on threads that steal them from each other; every tenth starts one
 * more and waits for it. Prints how many ended, when all have.
 */
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <thread>
#include <vector>

#include <boost/fiber/all.hpp>
#include <sys/socket.h>

namespace fibers = boost::fibers;

static std::atomic<int> ready, ended;
static std::atomic<bool> over;
static int pair[2];

static void body(int i, bool more)
{
	char c;

	for (int k = i % 7; k >= 0; k--) {
		if (recv(pair[0], &c, 1, MSG_DONTWAIT) >= 0 || errno != EAGAIN)
			abort();
		boost::this_fiber::yield();
	}
	if (more)
		fibers::fiber(body, i + 1, false).join();
	ended++;
}

static void work(unsigned threads)
{
	fibers::use_scheduling_algorithm<fibers::algo::work_stealing>(threads,
								      false);
	ready++;
	while (!over)
		boost::this_fiber::yield();
}

int main(int argc, char **argv)
{
	int n = argc > 1 ? atoi(argv[1]) : 1000;
	unsigned threads = argc > 2 ? (unsigned)atoi(argv[2]) : 2;
	std::vector<std::thread> others;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
		return 1;
	for (unsigned i = 1; i < threads; i++)
		others.emplace_back(work, threads);
	fibers::use_scheduling_algorithm<fibers::algo::work_stealing>(threads,
								      false);
	while (ready < (int)threads - 1)
		std::this_thread::yield();
	for (int done = 0; done < n;) {
		std::vector<fibers::fiber> batch;

		for (int i = 0; i < 500 && done < n; i++, done++)
			batch.emplace_back(body, i, i % 10 == 0);
		for (auto &f : batch)
			f.join();
	}
	/* the last to return on this thread is freed by the thread's scheduler
	 * (boost::fibers::scheduler::dispatch), which runs while this sleeps */
	boost::this_fiber::sleep_for(std::chrono::milliseconds(1));
	over = true;
	for (auto &t : others)
		t.join();
	printf("%d\n", ended.load());
	fflush(stdout);
	return getchar() == EOF;
}
