/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "netwatch/destroyed.h"
#include "tests/unit/unit.h"

/** The ends of real sockets, as this kernel tells them. */

static struct destroyed *ends_open(void)
{
	struct destroyed *d = NULL;

	assert_ok(destroyed_open(-1, &d));
	return d;
}

struct heard {
	uint16_t local, remote; /* asked for */
	struct tcp_socket last;
	size_t n;
};

static void hear(void *arg, const struct tcp_socket *freed)
{
	struct heard *h = arg;

	if (freed->local.port != h->local || freed->remote.port != h->remote)
		return;
	h->last = *freed;
	h->n++;
}

/* The kernel sends them from a work queue: a moment later. */
static void hear_for_a_while(struct destroyed *d, struct heard *h)
{
	for (int i = 0; i < 200 && !h->n; i++) {
		destroyed_hear(d, hear, h);
		clock_sleep_until(clock_mono_ns() + 10 * 1000000);
	}
}

static uint16_t port_of(int fd)
{
	struct sockaddr_in at;
	socklen_t len = sizeof(at);

	assert_int_equal(getsockname(fd, (void *)&at, &len), 0);
	return ntohs(at.sin_port);
}

static void connect_pair(int *listener, int *client, int *accepted)
{
	struct sockaddr_in at = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

	*listener = socket(AF_INET, SOCK_STREAM, 0);
	*client = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(bind(*listener, (void *)&at, sizeof(at)), 0);
	assert_int_equal(listen(*listener, 1), 0);
	at.sin_port = htons(port_of(*listener));
	assert_int_equal(connect(*client, (void *)&at, sizeof(at)), 0);
	*accepted = accept(*listener, NULL, NULL);
	assert_true(*accepted >= 0);
}

/* Its own port has been given back by then, and is told all the same. */
static void an_end(bool server_first)
{
	struct destroyed *d = ends_open();
	int listener, client, accepted;
	char buf[8];

	connect_pair(&listener, &client, &accepted);
	struct heard h = { .local = port_of(listener),
			   .remote = port_of(client) };
	assert_int_equal(write(client, "hello", 5), 5);
	assert_int_equal(read(accepted, buf, sizeof(buf)), 5);
	assert_true(destroyed_hear(d, hear, &h));
	assert_int_equal(h.n, 0);
	close(server_first ? accepted : client);
	close(server_first ? client : accepted);
	hear_for_a_while(d, &h);
	assert_int_equal(h.n, 1);
	assert_true(h.last.cookie != 0);
	assert_int_equal(h.last.local.addr[0], 127);
	assert_int_equal(h.last.first.info.data_segs_in, 1);
	close(listener);
	destroyed_close(d);
}

static void test_the_end_of_a_connection_has_its_port(void **state UNUSED)
{
	an_end(false);
	an_end(true);
}

/* Far more than the buffer holds, and nobody reads. */
static void test_what_was_missed_is_told(void **state UNUSED)
{
	struct destroyed *d = ends_open();
	struct heard h = { 0 };
	bool all = true;

	for (int i = 0; i < 20000; i++)
		close(socket(AF_INET, SOCK_STREAM, IPPROTO_TCP));
	for (int i = 0; i < 100 && all; i++) {
		clock_sleep_until(clock_mono_ns() + 20 * 1000000);
		all = destroyed_hear(d, hear, &h);
	}
	assert_false(all);
	destroyed_close(d);
	assert_true(destroyed_hear(NULL, hear, &h));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_end_of_a_connection_has_its_port),
		cmocka_unit_test(test_what_was_missed_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
