// SPDX-License-Identifier: Apache-2.0

// Fibers of Boost.Fiber, which has no sockets: each waits for the main fiber,
// which polls, as in the library's own guide ("Integrating Fibers with
// Asynchronous Callbacks").

#include <sys/socket.h>

#include <boost/fiber/all.hpp>
#include <cerrno>

#include "scenarios/programs/twins/twin.h"

namespace
{

struct slot {
	boost::fibers::mutex mutex;
	boost::fibers::condition_variable changed;
	bool readable = false;
};

slot slots[TWIN_MAX];

} // namespace

namespace client
{

TWIN_NAMED ssize_t recv_fiber(const twin_conn *c, char *buf, size_t size)
{
	slot &s = slots[c - twin_conns];
	ssize_t n;

	while ((n = recv(c->fd, buf, size, 0)) < 0 && errno == EAGAIN) {
		std::unique_lock<boost::fibers::mutex> lock(s.mutex);
		s.changed.wait(lock, [&s] { return s.readable; });
		s.readable = false;
	}
	return n;
}

// Where it is stranded.
TWIN_NAMED void wait_reply(twin_conn *c)
{
	char buf[4096];
	ssize_t n;

	do {
		n = recv_fiber(c, buf, sizeof(buf));
	} while (n > 0);
	twin_returned(c, n);
}

} // namespace client

int main(int argc, char **argv)
{
	twin_open(argc, argv);
	twin_nonblocking();
	twin_say_truth("client::wait_reply", "read", false);
	for (size_t i = 0; i < twin_n; i++)
		boost::fibers::fiber(boost::fibers::launch::dispatch,
				     client::wait_reply, &twin_conns[i])
			.detach();
	for (;;) {
		slot &s = slots[twin_poll() - twin_conns];
		{
			std::unique_lock<boost::fibers::mutex> lock(s.mutex);
			s.readable = true;
		}
		s.changed.notify_one();
		boost::this_fiber::yield();
	}
}
