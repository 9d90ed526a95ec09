/* SPDX-License-Identifier: Apache-2.0 */
#include "netwatch/replay.h"

#include <arpa/inet.h>
#include <errno.h>
#include <jansson.h>
#include <linux/inet_diag.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "tests/unit/unit.h"

#define UNUSED __attribute__((unused))

static char path[] = "/tmp/stranded-replay-XXXXXX";

/* A file of our own making, whole in memory. */
struct file {
	char *data;
	size_t len;
};

static struct inet_diag_msg message(uint32_t inode, uint64_t cookie)
{
	return (struct inet_diag_msg){
		.idiag_family = AF_INET,
		.idiag_state = TCP_STATE_ESTABLISHED,
		.idiag_inode = inode,
		.idiag_rqueue = inode + 1,
		.id = { .idiag_sport = htons(80),
			.idiag_cookie = { cookie, cookie >> 32 } },
	};
}

static void put_socket(struct net_record *r, enum net_record_type type,
		       uint32_t inode, uint64_t cookie)
{
	struct inet_diag_msg m = message(inode, cookie);
	struct net_record_head head = { type, 42, 1000 + inode, 2000 };

	net_record_put(r, &head, &m, sizeof(m));
}

static struct file read_file(void)
{
	struct file f = { malloc(1 << 20), 0 };
	FILE *in = fopen(path, "r");

	assert_non_null(in);
	f.len = fread(f.data, 1, 1 << 20, in);
	fclose(in);
	return f;
}

static struct file small_recording(void)
{
	struct tcp_socket s = { .netns = 42, .cookie = 9 };
	struct net_facts facts = { .peer.why = "\xff not UTF-8",
				   .path.device = "eth0",
				   .path.neighbour_age_ms = -1 };
	AUTO_SOCKETS struct tcp_snapshot *snap = tcp_snapshot_create();
	struct net_record *r = NULL;

	gaps_add(&snap->gaps, GAP_LIMIT, 7, "cut");
	snap->consistent = false;
	assert_ok(net_record_create(path, &r));
	put_socket(r, NET_RECORD_DUMP, 11, 9);
	put_socket(r, NET_RECORD_DUMP, 10, 8);
	net_record_meta(r, snap);
	net_record_facts(r, &s, &facts);
	put_socket(r, NET_RECORD_LOOKUP, 12, 9);
	facts.peer.times = 2;
	net_record_facts(r, &s, &facts);
	put_socket(r, NET_RECORD_LOOKUP, 13, 9);
	assert_ok(net_record_finish(r));
	return read_file();
}

static void test_recording_is_read_back(void **state UNUSED)
{
	struct file f = small_recording();
	AUTO_SOCKETS struct tcp_snapshot *snap = NULL;
	AUTO_ARENA struct arena *arena = arena_create();
	struct net_replay *replay = NULL;
	struct net_facts facts;

	assert_ok(net_replay_parse(f.data, f.len, &replay));
	assert_ok(net_replay_snapshot(replay, &snap));
	assert_int_equal(snap->n, 2);
	assert_false(snap->consistent);
	assert_int_equal(snap->gaps.v[0].kind, GAP_LIMIT);
	assert_int_equal(snap->gaps.v[0].count, 7);
	assert_string_equal(snap->gaps.v[0].text, "cut");
	assert_int_equal(snap->v[0].inode, 10);
	struct tcp_socket *s = &snap->v[1];
	assert_int_equal(s->netns, 42);
	assert_int_equal(s->first.at_mono_ns, 1011);
	assert_int_equal(s->local.port, 80);
	// of several answers for one socket, the last one counts
	net_replay_resample(replay, s);
	assert_int_equal(s->second_state, TCP_SAMPLED);
	assert_int_equal(s->second.rqueue, 14);
	assert_ok(net_replay_facts(replay, s, arena, &facts));
	assert_int_equal(facts.peer.times, 2);
	assert_string_equal(facts.path.device, "eth0");
	assert_int_equal(facts.path.neighbour_age_ms, -1);
	assert_string_equal(facts.peer.why, "\xef\xbf\xbd not UTF-8");
	net_replay_close(replay);
	free(f.data);
}

static void test_recording_is_for_its_owner_alone(void **state UNUSED)
{
	struct stat st;

	unlink(path);
	free(small_recording().data);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
}

static void test_recording_cut_anywhere_is_refused(void **state UNUSED)
{
	struct file f = small_recording();

	for (size_t len = 0; len < f.len; len++) {
		struct net_replay *replay = NULL;
		char *cut = malloc(len + !len); // exact, for the sanitizer

		memcpy(cut, f.data, len);
		struct error *err = net_replay_parse(cut, len, &replay);
		assert_error(err, ERROR_USAGE, "recording");
		free(cut);
	}
	free(f.data);
}

/* Each byte made wrong: refused or read, never a crash. */
static void test_damaged_recording_is_survived(void **state UNUSED)
{
	struct file f = small_recording();
	size_t refused = 0;

	for (size_t i = 0; i < f.len; i++) {
		struct net_replay *replay = NULL;
		char was = f.data[i];

		f.data[i] ^= 0xff;
		struct error *err = net_replay_parse(f.data, f.len, &replay);
		if (err) {
			assert_int_equal(error_code(err), ERROR_USAGE);
			error_free(err);
			refused++;
		} else {
			net_replay_close(replay);
		}
		f.data[i] = was;
	}
	assert_true(refused > 100); // magic, types, lengths, JSON
	free(f.data);
}

static void test_other_files_are_refused_by_name(void **state UNUSED)
{
	static const struct {
		const char *text, *want;
	} cases[] = {
		{ "", "is not a recording" },
		{ "\x7f"
		  "ELF",
		  "not a recording" },
		{ "stranded-net", "not a recording" },
		{ "stranded-net 2\n", "format 2, this program reads format 1" },
		{ "stranded-net 1x\n", "not a recording" },
		{ "stranded-net 99999999999999\n", "not a recording" },
		{ "stranded-net 1\n", "it is cut" },
	};

	for (size_t i = 0; i < N_OF(cases); i++) {
		struct net_replay *replay = NULL;
		FILE *out = fopen(path, "w");

		fputs(cases[i].text, out);
		fclose(out);
		assert_error(net_replay_open(path, &replay), ERROR_USAGE,
			     cases[i].want);
	}
	struct net_replay *replay = NULL;
	assert_error(net_replay_open("/nonexistent/x", &replay), ERROR_USAGE,
		     "cannot read '/nonexistent/x'");
	assert_error(net_replay_open("/tmp", &replay), ERROR_USAGE,
		     "is not a recording");
}

static void test_facts_of_the_wrong_shape_are_unknown(void **state UNUSED)
{
	static const char *const texts[] = {
		"{\"cookie\":9}",
		"{\"cookie\":9,\"options\":[],\"path\":7,\"peer\":null}",
		"{\"cookie\":9,\"peer\":{\"lookup\":99}}",
	};

	for (size_t i = 0; i < N_OF(texts); i++) {
		struct net_record_head head = { NET_RECORD_FACTS, 42, 1, 2 };
		struct tcp_socket s = { .netns = 42, .cookie = 9 };
		AUTO_ARENA struct arena *arena = arena_create();
		struct net_replay *replay = NULL;
		struct net_record *r = NULL;
		struct net_facts facts;

		assert_ok(net_record_create(path, &r));
		net_record_put(r, &head, texts[i], strlen(texts[i]));
		assert_ok(net_record_finish(r));
		assert_ok(net_replay_open(path, &replay));
		assert_ok(net_replay_facts(replay, &s, arena, &facts));
		assert_false(s.options.known);
		assert_int_equal(facts.peer.lookup, PEER_NOT_LOOKED);
		assert_int_equal(facts.path.route_present, FACT_UNKNOWN);
		assert_string_equal(facts.path.unknown_why,
				    "not readable in the recording");
		net_replay_close(replay);
	}
}

/* Probes are facts, too; and a recording without them has none. */
static void test_probe_is_read_back(void **state UNUSED)
{
	struct tcp_socket s = { .cookie = 9 };
	struct net_facts facts = {
		.path.neighbour_age_ms = -1,
		.probe = { .method = PROBE_BY_KEEPALIVE,
			   .result = PROBE_SILENCE,
			   .shielded = true,
			   .sent = 3,
			   .at_wall_ms = { 11, 12, 13 },
			   .known_wall_ms = 14,
			   .answered_ms = -1,
			   .waited_ms = 15,
			   .window_ms = 16,
			   .segs_in = 17,
			   .segs_out = 18,
			   .state = TCP_STATE_FIN_WAIT2,
			   .next_hop_failed = FACT_YES,
			   .next_hop = "10.0.0.254",
			   .why = "because" },
	};
	AUTO_ARENA struct arena *arena = arena_create();
	struct tcp_options o;
	struct net_facts back;
	json_t *json = net_facts_to_json(&s, &facts);

	assert_int_equal(net_facts_from_json(json, arena, &o, &back), 0);
	assert_string_equal(back.probe.next_hop, "10.0.0.254");
	assert_string_equal(back.probe.why, "because");
	back.probe.next_hop = facts.probe.next_hop;
	back.probe.why = facts.probe.why;
	assert_memory_equal(&back.probe, &facts.probe, sizeof(back.probe));
	json_object_set_new(json_object_get(json, "probe"), "sent",
			    json_integer(PROBE_MAX + 1));
	assert_int_equal(net_facts_from_json(json, arena, &o, &back), -EBADMSG);
	json_object_del(json, "probe");
	assert_int_equal(net_facts_from_json(json, arena, &o, &back), 0);
	assert_int_equal(back.probe.result, PROBE_NOT_ASKED);
	json_decref(json);
}

static void test_record_of_an_unknown_type_is_skipped(void **state UNUSED)
{
	struct net_record_head head = { 77, 1, 1, 1 };
	AUTO_SOCKETS struct tcp_snapshot *snap = NULL;
	struct net_replay *replay = NULL;
	struct net_record *r = NULL;

	assert_ok(net_record_create(path, &r));
	net_record_put(r, &head, "?", 1);
	put_socket(r, NET_RECORD_DUMP, 5, 6);
	assert_ok(net_record_finish(r));
	assert_ok(net_replay_open(path, &replay));
	assert_ok(net_replay_snapshot(replay, &snap));
	assert_int_equal(snap->n, 1);
	assert_true(snap->consistent);
	net_replay_close(replay);
}

static int make_file(void **state UNUSED)
{
	int fd = mkstemp(path);

	close(fd);
	return fd < 0 ? -1 : 0;
}

static int remove_file(void **state UNUSED)
{
	unlink(path);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_recording_is_read_back),
		cmocka_unit_test(test_recording_is_for_its_owner_alone),
		cmocka_unit_test(test_recording_cut_anywhere_is_refused),
		cmocka_unit_test(test_damaged_recording_is_survived),
		cmocka_unit_test(test_other_files_are_refused_by_name),
		cmocka_unit_test(test_facts_of_the_wrong_shape_are_unknown),
		cmocka_unit_test(test_probe_is_read_back),
		cmocka_unit_test(test_record_of_an_unknown_type_is_skipped),
	};

	return cmocka_run_group_tests(tests, make_file, remove_file);
}
