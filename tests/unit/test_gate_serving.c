/* SPDX-License-Identifier: Apache-2.0 */
#include <sys/socket.h>

#include "detector/gate/serving.h"
#include "tests/unit/detect.h"

#define LISTENER_FD 3

static struct endpoint at(const char *text)
{
	struct endpoint e = { 0 };

	assert_true(endpoint_parse(text, &e));
	return e;
}

/* As a socket of IPv6 has it that talks IPv4. */
static struct endpoint mapped(const char *text)
{
	struct endpoint v4 = at(text),
			e = { .family = AF_INET6, .port = v4.port };

	e.addr[10] = e.addr[11] = 0xff;
	memcpy(e.addr + 12, v4.addr, 4);
	return e;
}

static void sample(struct tcp_socket *s, struct tcp_sample now)
{
	s->first = s->second = now;
}

static struct tcp_socket *add(struct world *w, int fd, struct endpoint local,
			      enum tcp_state state)
{
	struct tcp_socket *s = add_socket(w, fd, VERDICT_ALIVE, true);

	s->local = local;
	s->cookie = 7000 + w->tcp.n;
	s->netns = 4026531840;
	sample(s, (struct tcp_sample){ .state = state });
	return s;
}

static struct tcp_socket *add_listener(struct world *w, const char *local)
{
	return add(w, LISTENER_FD, at(local), TCP_STATE_LISTEN);
}

/* The last of the client's was answered 2 s ago, and read, and all is acked. */
static const struct tcp_sample answered = {
	.state = TCP_STATE_ESTABLISHED,
	.info = { .known = TCP_INFO_BASE | TCP_INFO_BYTES | TCP_INFO_DATASEGS,
		  .last_data_recv_ms = 2004,
		  .last_data_sent_ms = 2000,
		  .last_ack_recv_ms = 2000,
		  .data_segs_in = 1,
		  .data_segs_out = 1,
		  .bytes_received = 100,
		  .bytes_acked = 200 },
};

static struct tcp_socket *add_client(struct world *w, int fd)
{
	struct tcp_socket *s =
		add(w, fd, at("10.0.0.1:80"), TCP_STATE_ESTABLISHED);

	sample(s, answered);
	return s;
}

static struct serving_state look(const struct world *w)
{
	struct serving_state state;

	assert_ok(serving_look(&w->tcp, NULL, &state));
	assert_true(!state.in_flight == !state.example);
	return state;
}

static size_t in_flight(struct world *w, struct tcp_socket *s,
			struct tcp_sample now)
{
	sample(s, now);
	return look(w).in_flight;
}

/* --- serving_look --- */

static void test_nothing_serves_nobody(void **state UNUSED)
{
	AUTO_WORLD struct world *w = world_create();
	struct serving_state none = look(w);

	assert_int_equal(none.listeners + none.accepted + none.in_flight, 0);
	add_client(w, 9); /* as a client has one: there is no listener */
	assert_int_equal(look(w).accepted, 0);
}

static void test_each_state_of_an_accepted_connection(void **state UNUSED)
{
	static const struct {
		enum tcp_state state;
		bool accepted, in_flight;
	} rows[] = {
		{ TCP_STATE_ESTABLISHED, true, true },
		{ TCP_STATE_SYN_RECV, true, true },
		{ TCP_STATE_NEW_SYN_RECV, true, true },
		/* one of both has said that it is done */
		{ TCP_STATE_FIN_WAIT1, true, false },
		{ TCP_STATE_FIN_WAIT2, true, false },
		{ TCP_STATE_CLOSE_WAIT, true, false },
		{ TCP_STATE_LAST_ACK, true, false },
		{ TCP_STATE_CLOSING, true, false },
		{ TCP_STATE_CLOSE, true, false },
		{ TCP_STATE_TIME_WAIT, false, false },
	};
	AUTO_WORLD struct world *w = world_create();

	add_listener(w, "0.0.0.0:80");
	struct tcp_socket *s = add_client(w, 9);
	for (size_t i = 0; i < N_OF(rows); i++) {
		sample(s, (struct tcp_sample){ .state = rows[i].state,
					       .rqueue = 1,
					       .wqueue = 1 });
		struct serving_state now = look(w);

		assert_int_equal(now.listeners, 1);
		assert_int_equal(now.accepted, rows[i].accepted);
		assert_int_equal(now.in_flight, rows[i].in_flight);
		assert_ptr_equal(now.example, rows[i].in_flight ? s : NULL);
	}
}

static void test_who_waits_to_be_accepted_is_in_flight(void **state UNUSED)
{
	AUTO_WORLD struct world *w = world_create();
	struct tcp_socket *s = add_listener(w, "0.0.0.0:80");

	assert_int_equal(look(w).in_flight, 0);
	s->first.rqueue = s->second.rqueue = 1;
	assert_int_equal(look(w).in_flight, 1);
	assert_ptr_equal(look(w).example, s);
	assert_int_equal(look(w).accepted, 0);
}

static void test_a_request_that_is_not_answered(void **state UNUSED)
{
	AUTO_WORLD struct world *w = world_create();
	struct tcp_sample now = answered;

	add_listener(w, "0.0.0.0:80");
	struct tcp_socket *s = add_client(w, 9);
	assert_int_equal(in_flight(w, s, now), 0);
	now.info.last_data_recv_ms = now.info.last_data_sent_ms;
	assert_int_equal(in_flight(w, s, now), 0); /* within one jiffy */
	now.info.last_data_recv_ms--;
	assert_int_equal(in_flight(w, s, now), 1);
	now.info.last_data_sent_ms = 3600000;
	now.info.last_data_recv_ms = SERVING_STUCK_MS - 1;
	assert_int_equal(in_flight(w, s, now), 1);
	now.info.last_data_recv_ms = SERVING_STUCK_MS + 1;
	assert_int_equal(in_flight(w, s, now), 0);
	now.info.known = 0; /* the kernel has not told */
	now.info.last_data_recv_ms = 1;
	assert_int_equal(in_flight(w, s, now), 0);
}

/* Both times count from the connection's begin. */
static void test_the_first_request_of_a_connection(void **state UNUSED)
{
	AUTO_WORLD struct world *w = world_create();
	struct tcp_sample now = answered;

	add_listener(w, "0.0.0.0:80");
	struct tcp_socket *s = add_client(w, 9);
	now.info.last_data_recv_ms = now.info.last_data_sent_ms = 5000;
	now.info.data_segs_in = now.info.data_segs_out = 0;
	assert_int_equal(in_flight(w, s, now), 0);
	now.info.data_segs_in = 1;
	assert_int_equal(in_flight(w, s, now), 1);
	now.info.data_segs_out = 1;
	assert_int_equal(in_flight(w, s, now), 0);
	now.info.data_segs_out = 0;
	now.info.known &= ~(uint32_t)TCP_INFO_DATASEGS;
	assert_int_equal(in_flight(w, s, now), 0);
	now = answered;
	now.info.data_segs_out = 0;
	now.info.last_data_recv_ms = SERVING_STUCK_MS + 1;
	assert_int_equal(in_flight(w, s, now), 0);
}

static void test_what_is_not_read_is_stuck_in_the_end(void **state UNUSED)
{
	AUTO_WORLD struct world *w = world_create();
	struct tcp_sample now = answered;

	add_listener(w, "0.0.0.0:80");
	struct tcp_socket *s = add_client(w, 9);
	now.rqueue = 1;
	assert_int_equal(in_flight(w, s, now), 1);
	now.info.last_data_recv_ms = SERVING_STUCK_MS + 1;
	assert_int_equal(in_flight(w, s, now), 0);
	now.info.known = 0;
	assert_int_equal(in_flight(w, s, now), 1);
}

/* A client that has gone, or whose network has, acknowledges nothing more. */
static void test_what_nobody_acknowledges_is_stuck(void **state UNUSED)
{
	AUTO_WORLD struct world *w = world_create();
	struct tcp_sample now = answered;

	add_listener(w, "0.0.0.0:80");
	struct tcp_socket *s = add_client(w, 9);
	now.wqueue = 1;
	/* sent again and again */
	now.info.last_data_recv_ms = 3600000;
	now.info.last_data_sent_ms = 100;
	now.info.last_ack_recv_ms = SERVING_STUCK_MS - 1;
	assert_int_equal(in_flight(w, s, now), 1);
	now.info.last_ack_recv_ms = SERVING_STUCK_MS + 1;
	assert_int_equal(in_flight(w, s, now), 0);
	now.info.known = 0;
	assert_int_equal(in_flight(w, s, now), 1);
}

static void test_where_it_was_accepted(void **state UNUSED)
{
	static const struct {
		const char *listener, *local;
		bool mapped_listener, mapped_local, accepted;
	} rows[] = {
		{ "0.0.0.0:80", "10.0.0.1:80", false, false, true },
		{ "0.0.0.0:80", "10.0.0.1:81", false, false, false },
		{ "10.0.0.1:80", "10.0.0.1:80", false, false, true },
		{ "10.0.0.2:80", "10.0.0.1:80", false, false, false },
		{ "[::]:80", "[fd00::1]:80", false, false, true },
		{ "[fd00::1]:80", "[fd00::1]:80", false, false, true },
		{ "[fd00::2]:80", "[fd00::1]:80", false, false, false },
		/* both families at one socket, ipv6(7) */
		{ "[::]:80", "10.0.0.1:80", false, true, true },
		{ "[::]:80", "10.0.0.1:80", false, false, true },
		{ "10.0.0.1:80", "10.0.0.1:80", true, true, true },
		{ "10.0.0.1:80", "10.0.0.1:80", false, true, true },
		{ "10.0.0.2:80", "10.0.0.1:80", true, true, false },
		{ "0.0.0.0:80", "10.0.0.1:80", true, true, true },
		{ "0.0.0.0:80", "[fd00::1]:80", false, false, false },
		{ "0.0.0.0:80", "[fd00::1]:80", true, false, false },
	};

	for (size_t i = 0; i < N_OF(rows); i++) {
		AUTO_WORLD struct world *w = world_create();
		struct tcp_socket *listener = add_listener(w, "0.0.0.0:1");
		struct tcp_socket *s = add_client(w, 9);

		listener->local = rows[i].mapped_listener
					  ? mapped(rows[i].listener)
					  : at(rows[i].listener);
		s->local = rows[i].mapped_local ? mapped(rows[i].local)
						: at(rows[i].local);
		if (look(w).accepted != rows[i].accepted)
			fail_msg("row %zu", i);
	}
}

static void test_a_listener_of_another_namespace_is_not_its(void **state UNUSED)
{
	AUTO_WORLD struct world *w = world_create();
	struct tcp_socket *listener = add_listener(w, "0.0.0.0:80");

	add_client(w, 9);
	assert_int_equal(look(w).accepted, 1);
	listener->netns++;
	assert_int_equal(look(w).accepted, 0);
	assert_int_equal(look(w).listeners, 1);
}

static void test_a_link_local_address_is_of_one_interface(void **state UNUSED)
{
	AUTO_WORLD struct world *w = world_create();
	struct tcp_socket *listener = add_listener(w, "[fe80::1]:80");
	struct tcp_socket *s = add_client(w, 9);

	s->local = listener->local;
	s->local.scope = 2;
	listener->local.scope = 2;
	assert_int_equal(look(w).accepted, 1);
	listener->local.scope = 3;
	assert_int_equal(look(w).accepted, 0);
	listener->local = at("[::]:80");
	assert_int_equal(look(w).accepted, 1);
}

static void test_many_listeners_each_with_its_own(void **state UNUSED)
{
	AUTO_WORLD struct world *w = world_create();

	for (int i = 0; i < 500; i++) {
		char local[32];

		snprintf(local, sizeof(local), "10.0.0.1:%d", 9000 - 7 * i);
		add_listener(w, local);
		add_client(w, 9 + i)->local = at(local);
		add_client(w, 9 + i)->local.port = (uint16_t)(8999 - 7 * i);
	}
	assert_int_equal(look(w).listeners, 500);
	assert_int_equal(look(w).accepted, 500);
}

static void test_connections_that_ended_meanwhile(void **state UNUSED)
{
	AUTO_WORLD struct world *w = world_create();
	AUTO_WORLD struct world *before = world_create();
	struct serving_state now;

	add_listener(w, "0.0.0.0:80");
	add_client(before, 9)->first.state = TCP_STATE_CLOSE;
	add_client(before, 10)->local = mapped("10.0.0.1:80");
	add_client(before, 11)->local.port = 40000; /* its client's end */
	add_client(before, 12)->netns++;
	assert_ok(serving_look(&w->tcp, &before->tcp, &now));
	assert_int_equal(now.ended, 2);
	assert_int_equal(now.accepted, 0);
	assert_true(now.signature == look(w).signature);
	assert_int_equal(look(w).ended, 0);
}

static void test_the_signature_changes_with_each_byte(void **state UNUSED)
{
	AUTO_WORLD struct world *w = world_create();
	struct tcp_sample now = answered;

	add_listener(w, "0.0.0.0:80");
	struct tcp_socket *s = add_client(w, 9);
	uint64_t before = look(w).signature;

	/* time alone changes nothing, nor a keepalive probe */
	now.info.last_data_recv_ms = 9000;
	now.info.last_data_sent_ms = 8996;
	now.info.last_ack_recv_ms = 10;
	now.at_mono_ns = 1;
	sample(s, now);
	assert_true(look(w).signature == before);
	now.info.bytes_received++;
	sample(s, now);
	assert_true(look(w).signature != before);
	now = answered;
	now.info.bytes_acked++;
	sample(s, now);
	assert_true(look(w).signature != before);
	now = answered;
	now.rqueue = 1;
	sample(s, now);
	assert_true(look(w).signature != before);
	now = answered;
	now.wqueue = 1;
	sample(s, now);
	assert_true(look(w).signature != before);
	sample(s, answered);
	assert_true(look(w).signature == before);
	s->cookie++; /* closed, and another opened that is just alike */
	assert_true(look(w).signature != before);
}

static void test_the_signature_of_what_opens_and_closes(void **state UNUSED)
{
	AUTO_WORLD struct world *w = world_create();

	add_listener(w, "0.0.0.0:80");
	uint64_t none = look(w).signature;
	struct tcp_socket *a = add_client(w, 9), *b = add_client(w, 10);
	uint64_t two = look(w).signature;
	struct tcp_socket held = *a;

	assert_true(two != none);
	*a = *b;
	*b = held;
	assert_true(look(w).signature == two);
	b->first.state = b->second.state = TCP_STATE_CLOSE_WAIT;
	assert_true(look(w).signature != two);
	w->tcp.n = 1;
	assert_true(look(w).signature == none);
	/* what it dials itself is none of it */
	add_client(w, 9)->local.port = 40000;
	assert_true(look(w).signature == none);
}

/* --- serving_tasks --- */

static void serve(struct world *w, bool *serves)
{
	memset(serves, 0x55, w->snap.n * sizeof(*serves));
	assert_ok(
		serving_tasks(&w->snap, &w->fds, &w->tcp, w->verdicts, serves));
}

static struct task *add_child(struct world *w, enum wait_kind wait, int fd,
			      uint64_t parent)
{
	struct task *t = add_task(w, wait, fd);

	t->parent_id = parent;
	return t;
}

/* Main, the accepting loop, who serves a client, and the one that reads it. */
enum { MAIN, ACCEPTS, SERVES, READS, AT_FIRST };

static void begin(struct world *w)
{
	add_listener(w, "0.0.0.0:80");
	add_client(w, 9);
	add_task(w, WAIT_CHAN_RECV, -1)->id = 1;
	add_child(w, WAIT_ACCEPT, LISTENER_FD, 1);
	add_child(w, WAIT_SELECT, -1, w->tasks[ACCEPTS].id);
	add_child(w, WAIT_READ, 9, w->tasks[SERVES].id);
	assert_int_equal(w->snap.n, AT_FIRST);
}

static void test_who_reads_the_next_request_and_its_starter(void **state UNUSED)
{
	AUTO_WORLD struct world *w = world_create();
	bool serves[16];

	begin(w);
	add_child(w, WAIT_CHAN_SEND, -1, w->tasks[SERVES].id); /* is left */
	add_child(w, WAIT_CHAN_SEND, -1, w->tasks[MAIN].id);
	serve(w, serves);
	assert_false(serves[MAIN] || serves[ACCEPTS]);
	assert_true(serves[SERVES] && serves[READS]);
	assert_false(serves[AT_FIRST] || serves[AT_FIRST + 1]);
}

static void test_the_accepting_loop_serves_no_one(void **state UNUSED)
{
	AUTO_WORLD struct world *w = world_create();
	bool serves[16];

	begin(w);
	w->tasks[READS].parent_id = w->tasks[ACCEPTS].id;
	serve(w, serves);
	assert_true(serves[READS]);
	assert_false(serves[ACCEPTS] || serves[SERVES] || serves[MAIN]);
	w->tasks[READS].parent_id = 1;
	serve(w, serves);
	assert_true(serves[READS]);
	assert_false(serves[ACCEPTS] || serves[SERVES] || serves[MAIN]);
}

static void
test_what_was_started_together_by_one_who_is_gone(void **state UNUSED)
{
	AUTO_WORLD struct world *w = world_create();
	bool serves[16];

	begin(w);
	w->tasks[READS].parent_id = 900;
	add_child(w, WAIT_SELECT, -1, 900);
	add_child(w, WAIT_CHAN_SEND, -1, 901);
	add_child(w, WAIT_CHAN_SEND, -1, 0);
	add_child(w, WAIT_ACCEPT, LISTENER_FD, 900); /* one more loop */
	serve(w, serves);
	assert_true(serves[READS] && serves[AT_FIRST]);
	assert_false(serves[SERVES] || serves[AT_FIRST + 1] ||
		     serves[AT_FIRST + 2] || serves[AT_FIRST + 3]);
}

/* Before Go 1.21 all have the parent 0. */
static void test_where_parents_are_not_known(void **state UNUSED)
{
	AUTO_WORLD struct world *w = world_create();
	bool serves[16];

	begin(w);
	for (size_t i = 0; i < w->snap.n; i++)
		w->tasks[i].parent_id = 0;
	serve(w, serves);
	assert_true(serves[READS]);
	assert_false(serves[MAIN] || serves[ACCEPTS] || serves[SERVES]);
}

static void test_who_reads_something_else_serves_nobody(void **state UNUSED)
{
	AUTO_WORLD struct world *w = world_create();
	bool serves[16];

	begin(w);
	w->tasks[READS].wait = WAIT_WRITE;
	serve(w, serves);
	assert_false(serves[READS] || serves[SERVES]);
	w->tasks[READS].wait = WAIT_READ;
	w->sockets[1].local.port = 40000; /* to a backend */
	serve(w, serves);
	assert_false(serves[READS] || serves[SERVES]);
	w->sockets[1].local.port = 80;
	w->sockets[1].first.state = TCP_STATE_CLOSE_WAIT;
	serve(w, serves);
	assert_false(serves[READS] || serves[SERVES]);
}

static void test_the_reader_of_a_dead_connection_is_left(void **state UNUSED)
{
	static const struct {
		enum verdict_kind kind;
		bool certain, serves;
	} rows[] = {
		{ VERDICT_ALIVE, true, true },
		{ VERDICT_SILENT, false, true },
		{ VERDICT_HALF_OPEN, false, true },
		{ VERDICT_HALF_OPEN, true, false },
		{ VERDICT_LOCAL_CAUSE, true, false },
		{ VERDICT_UNREACHABLE, true, false },
	};
	AUTO_WORLD struct world *w = world_create();
	bool serves[16];

	begin(w);
	for (size_t i = 0; i < N_OF(rows); i++) {
		w->verdicts[1].kind = rows[i].kind;
		w->verdicts[1].certain = rows[i].certain;
		serve(w, serves);
		assert_int_equal(serves[READS], rows[i].serves);
		assert_int_equal(serves[SERVES], rows[i].serves);
	}
	assert_ok(serving_tasks(&w->snap, &w->fds, &w->tcp, NULL, serves));
	assert_true(serves[READS]);
}

static void test_without_sockets_nobody_serves(void **state UNUSED)
{
	AUTO_WORLD struct world *w = world_create();
	bool serves[16];

	begin(w);
	memset(serves, 1, sizeof(serves));
	assert_ok(serving_tasks(&w->snap, &w->fds, NULL, NULL, serves));
	for (size_t i = 0; i < w->snap.n; i++)
		assert_false(serves[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing_serves_nobody),
		cmocka_unit_test(test_each_state_of_an_accepted_connection),
		cmocka_unit_test(test_who_waits_to_be_accepted_is_in_flight),
		cmocka_unit_test(test_a_request_that_is_not_answered),
		cmocka_unit_test(test_the_first_request_of_a_connection),
		cmocka_unit_test(test_what_is_not_read_is_stuck_in_the_end),
		cmocka_unit_test(test_what_nobody_acknowledges_is_stuck),
		cmocka_unit_test(test_where_it_was_accepted),
		cmocka_unit_test(
			test_a_listener_of_another_namespace_is_not_its),
		cmocka_unit_test(test_a_link_local_address_is_of_one_interface),
		cmocka_unit_test(test_many_listeners_each_with_its_own),
		cmocka_unit_test(test_connections_that_ended_meanwhile),
		cmocka_unit_test(test_the_signature_changes_with_each_byte),
		cmocka_unit_test(test_the_signature_of_what_opens_and_closes),
		cmocka_unit_test(
			test_who_reads_the_next_request_and_its_starter),
		cmocka_unit_test(test_the_accepting_loop_serves_no_one),
		cmocka_unit_test(
			test_what_was_started_together_by_one_who_is_gone),
		cmocka_unit_test(test_where_parents_are_not_known),
		cmocka_unit_test(test_who_reads_something_else_serves_nobody),
		cmocka_unit_test(test_the_reader_of_a_dead_connection_is_left),
		cmocka_unit_test(test_without_sockets_nobody_serves),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
