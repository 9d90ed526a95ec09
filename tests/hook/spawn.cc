/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Boost.Asio with stackful coroutines, on Boost.Coroutine: an echo server with
 * one for each connection, and twenty clients, five of which wait for what
 * will never come. Prints the fds that the clients and the acceptor wait on
 * and how many sessions are over, and ends after a line of input.
 */
#include <cstdio>
#include <vector>

#include <boost/asio.hpp>
#include <boost/asio/spawn.hpp>

namespace asio = boost::asio;
using asio::ip::tcp;

static int over;

static void serve(tcp::socket &socket, asio::yield_context yield)
{
	boost::system::error_code failed;
	char buf[64];

	for (;;) {
		size_t n = socket.async_read_some(asio::buffer(buf),
						  yield[failed]);
		if (failed)
			break;
		asio::async_write(socket, asio::buffer(buf, n), yield[failed]);
	}
	over++;
}

int main()
{
	asio::io_context io;
	tcp::acceptor acceptor(
		io, tcp::endpoint(asio::ip::address_v4::loopback(), 0));
	std::vector<int> fds = { acceptor.native_handle() };

	asio::spawn(io, [&](asio::yield_context yield) {
		for (;;) {
			tcp::socket s(io);

			acceptor.async_accept(s, yield);
			asio::spawn(io, [s = std::move(s)](
						asio::yield_context y) mutable {
				serve(s, y);
			});
		}
	});
	for (int i = 0; i < 20; i++)
		asio::spawn(io, [&, i](asio::yield_context yield) {
			tcp::socket s(io);
			char buf[4];

			s.async_connect(acceptor.local_endpoint(), yield);
			asio::async_write(s, asio::buffer("abcd", 4), yield);
			asio::async_read(s, asio::buffer(buf), yield);
			if (i >= 5)
				return;
			fds.push_back(s.native_handle());
			asio::async_read(s, asio::buffer(buf), yield);
		});
	while (over < 15)
		io.run_one();
	printf("{\"over\": %d, \"fds\": [", over);
	for (size_t i = 0; i < fds.size(); i++)
		printf("%s%d", i ? ", " : "", fds[i]);
	printf("]}\n");
	fflush(stdout);
	return getchar() == EOF;
}
