/* SPDX-License-Identifier: Apache-2.0 */

/*
 * usage: fibers N THREADS
 *
 * N fibers of Boost.Fiber, each with a socket of its own that nobody writes
 * to. They yield a hundred times, or until another thread has stolen them (2 s
 * at most), ask their socket once, and wait. Prints a line with the fd of each
 * and how many were seen on more than one thread, and after a line of input,
 * upon which all end, a line with the sum that they have counted.
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
#include <unistd.h>

namespace fibers = boost::fibers;

static std::atomic<int> ready, parked, moved, ended;
static std::atomic<long> sum;
static bool released, several;
static fibers::mutex lock;
static fibers::condition_variable_any released_or_not;

__attribute__((noinline)) static void reader_fiber(int fd)
{
	/* not pthread_self(), which the compiler asks for once */
	auto first = gettid();
	bool elsewhere = false;
	volatile long count = 0;

	auto late = std::chrono::steady_clock::now() + std::chrono::seconds(2);

	for (int i = 0; i < 100 || (several && !elsewhere &&
				    std::chrono::steady_clock::now() < late);
	     i++) {
		count = count + (i < 100 ? i : 0);
		boost::this_fiber::yield();
		elsewhere |= gettid() != first;
	}
	moved += elsewhere;

	std::unique_lock<fibers::mutex> held(lock);
	char c;
	if (recv(fd, &c, 1, MSG_DONTWAIT) >= 0 || errno != EAGAIN)
		abort();
	parked++;
	/* not in a loop that asks again: what is noted must be from before */
	released_or_not.wait(held, [] { return released; });
	sum += count;
	ended++;
}

static void work(unsigned threads)
{
	fibers::use_scheduling_algorithm<fibers::algo::work_stealing>(threads,
								      false);
	ready++;
	std::unique_lock<fibers::mutex> held(lock);
	released_or_not.wait(held, [] { return released; });
}

int main(int argc, char **argv)
{
	int n = argc > 1 ? atoi(argv[1]) : 100;
	unsigned threads = argc > 2 ? (unsigned)atoi(argv[2]) : 1;
	std::vector<std::thread> others;
	std::vector<fibers::fiber> all;
	std::vector<int> fds;

	several = threads > 1;
	for (unsigned i = 1; i < threads; i++)
		others.emplace_back(work, threads);
	if (threads > 1)
		fibers::use_scheduling_algorithm<fibers::algo::work_stealing>(
			threads, false);
	while (ready < (int)threads - 1)
		std::this_thread::yield();
	for (int i = 0; i < n; i++) {
		int pair[2];

		if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
			return 1;
		fds.push_back(pair[0]);
		all.emplace_back(reader_fiber, pair[0]);
	}
	while (parked < n)
		boost::this_fiber::yield();
	printf("{\"moved\": %d, \"fds\": [", moved.load());
	for (int i = 0; i < n; i++)
		printf("%s%d", i ? ", " : "", fds[(size_t)i]);
	printf("]}\n");
	fflush(stdout);
	if (getchar() == EOF)
		return 1;
	{
		std::unique_lock<fibers::mutex> held(lock);
		released = true;
	}
	released_or_not.notify_all();
	for (auto &f : all)
		f.join();
	/* the last to return on this thread is freed by the thread's scheduler
	 * (boost::fibers::scheduler::dispatch), which runs while this sleeps */
	boost::this_fiber::sleep_for(std::chrono::milliseconds(1));
	printf("{\"ended\": %d, \"sum\": %ld}\n", ended.load(), sum.load());
	fflush(stdout);
	/* so that the table can be read once more */
	while (getchar() != EOF)
		;
	for (auto &t : others)
		t.join();
	return 0;
}
