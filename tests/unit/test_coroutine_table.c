/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/unit.h"

#include "tests/unit/table_world.h"

static struct table_look *look;

static int begin(void **state)
{
	(void)state;
	look = malloc(sizeof(*look));
	assert_non_null(look);
	tw_begin(look);
	for (uint32_t i = 0; i < 100; i++)
		tw_park(look, i);
	return 0;
}

static int end(void **state)
{
	(void)state;
	free(look);
	return 0;
}

static struct task_snapshot *take(void)
{
	struct error *err;
	struct task_snapshot *snap = tw_take(look, &err);

	assert_ok(err);
	return snap;
}

static void refused(enum error_code code, const char *part)
{
	struct error *err;
	struct task_snapshot *snap = tw_take(look, &err);

	assert_null(snap);
	assert_error(err, code, part);
}

static const struct gap *gap_of(const struct task_snapshot *snap,
				enum gap_kind kind)
{
	for (size_t i = 0; i < snap->gaps.n; i++)
		if (snap->gaps.v[i].kind == kind)
			return &snap->gaps.v[i];
	return NULL;
}

static void test_every_line_is_a_task(void **state)
{
	AUTO_TASKS struct task_snapshot *snap = take();

	(void)state;
	assert_int_equal(snap->n, 100);
	for (uint32_t i = 0; i < 100; i++) {
		const struct task *t = &snap->tasks[i];

		assert_int_equal(t->id, i + 1);
		assert_int_equal(t->state, TASK_WAITING);
		assert_int_equal(t->wait, WAIT_READ);
		assert_int_equal(t->fd, i + 3);
		assert_int_equal(t->fd_proof, FD_HOOK);
		assert_int_equal(t->parent_id, 0);
		assert_int_equal(t->handle, TW_AT(lines[0]) + i * 64);
		assert_null(t->stack);
		assert_false(t->torn);
	}
	assert_int_equal(snap->gaps.n, 0);
}

static void test_what_each_operation_waits_for(void **state)
{
	static const struct {
		enum stranded_op op;
		enum wait_kind kind;
		enum fd_proof proof;
	} rows[] = {
		{ STRANDED_READ, WAIT_READ, FD_HOOK },
		{ STRANDED_WRITE, WAIT_WRITE, FD_HOOK },
		{ STRANDED_ACCEPT, WAIT_ACCEPT, FD_HOOK },
		{ STRANDED_CONNECT, WAIT_CONNECT, FD_HOOK },
		{ STRANDED_POLL, WAIT_POLL, FD_HOOK },
		{ STRANDED_SLEEP, WAIT_SLEEP, FD_NONE },
		{ STRANDED_MUTEX, WAIT_MUTEX, FD_NONE },
		{ STRANDED_COND, WAIT_COND, FD_NONE },
		{ STRANDED_CHAN_SEND, WAIT_CHAN_SEND, FD_NONE },
		{ STRANDED_CHAN_RECV, WAIT_CHAN_RECV, FD_NONE },
		{ STRANDED_JOIN, WAIT_OTHER, FD_NONE },
		{ 200, WAIT_OTHER, FD_NONE }, // a later hook's
	};
	struct task_snapshot *snap;

	(void)state;
	for (uint32_t i = 0; i < N_OF(rows); i++)
		look->w.lines[0][i].op = (uint8_t)rows[i].op;
	look->w.lines[0][20].flags = 0; // it answered EAGAIN last
	look->w.lines[0][21].fd = -1;	// reads, and nobody knows what
	snap = take();
	for (uint32_t i = 0; i < N_OF(rows); i++) {
		assert_int_equal(snap->tasks[i].wait, rows[i].kind);
		assert_int_equal(snap->tasks[i].fd_proof, rows[i].proof);
		assert_int_equal(snap->tasks[i].fd,
				 rows[i].proof == FD_HOOK ? (int)i + 3 : -1);
		assert_non_null(snap->tasks[i].reason);
	}
	assert_int_equal(snap->tasks[20].fd_proof, FD_LAST_IO);
	assert_int_equal(snap->tasks[20].fd, 23);
	assert_int_equal(snap->tasks[21].fd_proof, FD_UNKNOWN);
	task_snapshot_destroy(snap);
}

static void test_states_that_do_not_wait(void **state)
{
	AUTO_TASKS struct task_snapshot *snap = NULL;

	(void)state;
	look->w.lines[0][0].state = HOOK_FREE;
	look->w.lines[0][1].state = HOOK_CREATED;
	look->w.lines[0][2].state = HOOK_RUNNING;
	look->w.lines[0][2].bp = 4711;
	look->w.lines[0][3].state = 77;
	look->w.lines[0][4].incarnation = 0;
	look->w.lines[0][5].flags |= HOOK_FLAG_SYSTEM;
	snap = take();
	assert_int_equal(snap->n, 98);
	assert_int_equal(snap->tasks[0].state, TASK_IDLE);
	assert_int_equal(snap->tasks[1].state, TASK_RUNNING);
	assert_int_equal(snap->tasks[1].tid, 4711);
	assert_int_equal(snap->tasks[1].wait, WAIT_NONE);
	assert_int_equal(snap->tasks[1].fd, -1);
	assert_int_equal(snap->tasks[2].state, TASK_UNKNOWN);
	assert_true(snap->tasks[3].system);
	assert_int_equal(gap_of(snap, GAP_UNSUPPORTED)->count, 1);
}

static void test_one_only_seen_may_have_gone_on(void **state)
{
	AUTO_TASKS struct task_snapshot *snap = NULL;

	(void)state;
	look->w.lines[0][0].state = HOOK_SEEN;
	snap = take();
	// also what is said to have been told was seen only
	assert_int_equal(snap->tasks[0].fd_proof, FD_LAST_IO);
	assert_int_equal(snap->tasks[0].blocked.at_least_ms, 0);
	assert_int_equal(snap->tasks[0].parked_before_mono_ns, 0);
}

static void test_parents_also_those_that_ended(void **state)
{
	AUTO_TASKS struct task_snapshot *snap = NULL;

	(void)state;
	look->w.lines[0][7].incarnation = 1027; // low bits: 3
	look->w.lines[0][0].parent = 7 | 3u << HOOK_PARENT_BITS;
	look->w.lines[0][1].parent = 7 | 2u << HOOK_PARENT_BITS;
	look->w.lines[0][2].parent = 7 | 5u << HOOK_PARENT_BITS;
	look->w.lines[0][3].parent = 4000;			 // no such line
	look->w.lines[0][4].parent = 8 | 9u << HOOK_PARENT_BITS; // nor life
	snap = take();
	assert_int_equal(snap->tasks[0].parent_id, 1026ull << 32 | 8);
	assert_int_equal(snap->tasks[1].parent_id, 1025ull << 32 | 8);
	assert_int_equal(snap->tasks[2].parent_id, 4ull << 32 | 8);
	assert_int_equal(snap->tasks[3].parent_id, 0);
	assert_int_equal(snap->tasks[4].parent_id, 0);
}

static void test_tasks_ascend_by_id(void **state)
{
	AUTO_TASKS struct task_snapshot *snap = NULL;

	(void)state;
	for (uint32_t i = 0; i < 100; i++)
		look->w.lines[i / TW_CHUNK][i % TW_CHUNK].incarnation =
			1 + i * 2654435761u % 100000;
	snap = take();
	assert_int_equal(snap->n, 100);
	for (size_t i = 1; i < snap->n; i++)
		assert_true(snap->tasks[i - 1].id < snap->tasks[i].id);
	for (size_t i = 0; i < snap->n; i++)
		assert_int_equal(snap->tasks[i].fd,
				 (uint32_t)snap->tasks[i].id + 2);
}

static void test_names_and_deadlines(void **state)
{
	AUTO_TASKS struct task_snapshot *snap = NULL;
	int64_t now = look->w.root.mono_ns;

	(void)state;
	strcpy(look->w.names, "session");
	memset(look->w.names + 16, 'x', 200);
	for (uint32_t i = 0; i < 6; i++)
		look->w.more[0][i] = (struct hook_more){
			.incarnation = 1,
			.name = TW_AT(names) + (i == 3 ? 16 : 0),
			.deadline_ns = i == 2 ? now + 60000000000 : now - 5,
			.object = 0x5000,
		};
	look->w.more[0][1].incarnation = 9; // of another life
	look->w.more[0][4].name = 0x6000;   // nothing there
	look->w.lines[0][2].flags |= HOOK_FLAG_MORE;
	look->w.lines[0][3].flags |= HOOK_FLAG_MORE;
	look->w.lines[0][5].flags |= HOOK_FLAG_MORE;
	look->w.lines[0][5].op = STRANDED_MUTEX;
	snap = take();
	assert_string_equal(snap->tasks[0].name, "session");
	assert_null(snap->tasks[1].name);
	assert_int_equal(strlen(snap->tasks[3].name), HOOK_NAME_MAX - 1);
	assert_null(snap->tasks[4].name);
	// a name is for life, the rest for a park
	assert_int_equal(snap->tasks[0].read_deadline.state, DEADLINE_UNKNOWN);
	assert_int_equal(snap->tasks[2].read_deadline.state, DEADLINE_SET);
	assert_int_equal(snap->tasks[2].read_deadline.at_mono_ns,
			 now + 60000000000);
	assert_int_equal(snap->tasks[3].read_deadline.state, DEADLINE_EXPIRED);
	assert_int_equal(snap->tasks[5].n_objects, 1);
	assert_int_equal(snap->tasks[5].objects[0].addr, 0x5000);
	assert_int_equal(snap->tasks[5].objects[0].kind, OBJECT_MUTEX);
}

static void test_a_stack_without_its_mark_is_not_its_own(void **state)
{
	AUTO_TASKS struct task_snapshot *snap = NULL;
	uint64_t id = 1ull << 32 | 5; /* as the hook has it */

	(void)state;
	for (uint32_t i = 5; i < 8; i++)
		look->w.lines[0][i].flags |= HOOK_FLAG_MARKED;
	for (uint32_t i = 5; i < 7; i++)
		look->w.lines[0][i].stack_hi = TW_AT(stack[500]);
	look->w.lines[0][7].stack_hi = 0x10000; // unmapped
	look->w.stack[500] = id;
	look->w.stack[501] = id ^ HOOK_MARK;
	snap = take();
	assert_int_equal(snap->n, 98);
	assert_non_null(task_snapshot_find(snap, 6));
	assert_null(task_snapshot_find(snap, 7));
	assert_null(task_snapshot_find(snap, 8));
}

static void test_one_without_a_stack_waits_for_nothing(void **state)
{
	AUTO_TASKS struct task_snapshot *snap = NULL;

	(void)state;
	look->w.lines[0][5].sp = 0x7e0000001000; // unmapped, or a guard page
	look->w.lines[0][5].stack_hi = 0;
	look->w.lines[0][6].sp = look->w.lines[0][6].stack_hi; // outside of it
	look->w.lines[0][7].sp = 0;
	snap = take();
	assert_int_equal(snap->n, 100);
	for (int i = 5; i < 8; i++) {
		assert_int_equal(snap->tasks[i].state, TASK_UNKNOWN);
		assert_int_equal(snap->tasks[i].wait, WAIT_NONE);
		assert_int_equal(snap->tasks[i].fd, -1);
		assert_true(snap->tasks[i].partial);
	}
	assert_int_equal(gap_of(snap, GAP_CORRUPT)->count, 3);
}

/* Every third line is switched between each two reads. */
static void switch_all(struct table_look *at)
{
	for (uint32_t i = 0; i < 100; i += 3)
		at->w.lines[i / TW_CHUNK][i % TW_CHUNK].seq += 2;
}

static void test_what_never_holds_still_is_torn(void **state)
{
	AUTO_TASKS struct task_snapshot *snap = NULL;

	(void)state;
	look->meanwhile = switch_all;
	look->w.lines[0][1].seq = 5; // being written, for ever
	snap = take();
	assert_int_equal(snap->n, 100);
	assert_int_equal(snap->torn, 35);
	assert_int_equal(gap_of(snap, GAP_TORN)->count, 35);
	for (uint32_t i = 0; i < 100; i++) {
		assert_int_equal(snap->tasks[i].torn, i == 1 || i % 3 == 0);
		if (!snap->tasks[i].torn)
			continue;
		// what need not belong together is not told
		assert_int_equal(snap->tasks[i].fd, -1);
		assert_null(snap->tasks[i].stack);
		assert_int_equal(snap->tasks[i].blocked.at_least_ms, 0);
	}
}

static void end_one(struct table_look *at)
{
	if (at->reads == 4) {
		at->w.lines[0][10].seq += 2;
		at->w.lines[0][10].state = HOOK_FREE;
	}
}

static void test_what_ends_meanwhile_is_not_listed(void **state)
{
	AUTO_TASKS struct task_snapshot *snap = NULL;

	(void)state;
	look->meanwhile = end_one;
	snap = take();
	assert_int_equal(snap->torn, 0);
	assert_null(task_snapshot_find(snap, 11));
	assert_int_equal(snap->n, 99);
}

static void test_a_missing_chunk_is_a_gap(void **state)
{
	AUTO_TASKS struct task_snapshot *snap = NULL;

	(void)state;
	look->w.root.lines[1] = 0;
	snap = take();
	assert_int_equal(snap->n, TW_CHUNK);
	assert_int_equal(gap_of(snap, GAP_CORRUPT)->count, 100 - TW_CHUNK);
}

static void test_a_chunk_that_is_unmapped_is_a_gap(void **state)
{
	AUTO_TASKS struct task_snapshot *snap = NULL;

	(void)state;
	look->w.root.lines[0] = 0x10000000;
	snap = take();
	assert_int_equal(snap->n, 100 - TW_CHUNK);
	assert_int_equal(gap_of(snap, GAP_CORRUPT)->count, TW_CHUNK);
}

static void test_what_the_full_table_left_out_is_a_gap(void **state)
{
	AUTO_TASKS struct task_snapshot *snap = NULL;

	(void)state;
	look->w.root.dropped = 12;
	snap = take();
	assert_int_equal(gap_of(snap, GAP_LIMIT)->count, 12);
}

static void test_a_newer_version_is_named(void **state)
{
	(void)state;
	look->w.root.version = 2;
	refused(ERROR_UNSUPPORTED, "version 2");
	memcpy(look->w.root.magic, "stranded hook 9", 16);
	look->w.root.version = 9;
	refused(ERROR_UNSUPPORTED, "version 9");
}

static void test_a_longer_layout_is_read(void **state)
{
	AUTO_TASKS struct task_snapshot *snap = NULL;
	static struct table_look old;

	(void)state;
	old = *look;
	// each line is as long as four, of which the last three are new
	look->w.root.line_size = 256;
	look->w.root.chunk_lines = TW_CHUNK / 4;
	look->w.root.n_lines = TW_CHUNK;
	for (uint32_t i = 0; i < TW_CHUNK; i++)
		look->w.lines[i / 16][i % 16 * 4] = old.w.lines[0][i];
	snap = take();
	assert_int_equal(snap->n, TW_CHUNK);
	for (uint32_t i = 0; i < TW_CHUNK; i++)
		assert_int_equal(snap->tasks[i].fd, i + 3);
}

static void test_times_that_cannot_be_are_not_told(void **state)
{
	AUTO_TASKS struct task_snapshot *snap = NULL;

	(void)state;
	look->w.lines[0][0].since = UINT64_MAX;
	look->w.lines[0][1].since = 0;
	look->w.lines[0][2].since = 1; // before the process began
	look->w.lines[0][3].flags |= HOOK_FLAG_PC_RETURN; // the hook's own
	snap = take();
	for (int i = 0; i < 3; i++) {
		assert_int_equal(snap->tasks[i].blocked.at_least_source,
				 BLOCKED_UNKNOWN);
		assert_int_equal(snap->tasks[i].wait_since_mono_ns, 0);
		assert_int_equal(snap->tasks[i].blocked.at_most_ms, 1000);
	}
	assert_int_equal(snap->tasks[3].blocked.at_least_source,
			 BLOCKED_WAITSINCE);
	assert_int_equal(snap->tasks[3].parked_before_mono_ns,
			 snap->tasks[3].wait_since_mono_ns);
	// the program's last tick: it may have parked much later
	assert_int_equal(snap->tasks[4].blocked.at_least_source,
			 BLOCKED_UNKNOWN);
	assert_int_equal(snap->tasks[4].parked_before_mono_ns, 0);
	assert_int_equal(snap->tasks[4].blocked.at_most_source,
			 BLOCKED_WAITSINCE);
	assert_in_range(snap->tasks[3].wait_since_mono_ns, look->w.root.mono_ns,
			look->w.root.mono_ns + 10000000);
}

#define LIE(member, value)                                                     \
	do {                                                                   \
		struct hook_root kept = look->w.root;                          \
                                                                               \
		look->w.root.member = (value);                                 \
		refused(ERROR_CORRUPT, "makes no sense");                      \
		look->w.root = kept;                                           \
	} while (0)

static void test_tables_that_lie_are_refused(void **state)
{
	(void)state;
	LIE(magic[3], 'x');
	LIE(magic[14], '2'); // and says version 1
	LIE(root_size, 8);
	LIE(root_size, UINT32_MAX);
	LIE(line_size, 0);
	LIE(line_size, 65);
	LIE(line_size, UINT32_MAX);
	LIE(more_size, 0);
	LIE(site_size, 1 << 20);
	LIE(chunk_lines, 0);
	LIE(chunk_lines, UINT32_MAX);
	LIE(max_chunks, HOOK_MAX_CHUNKS + 1);
	LIE(max_chunks, 1); // fewer than its lines need
	LIE(n_lines, UINT32_MAX);
	LIE(n_lines, TW_CHUNK * TW_CHUNKS + 1);
	LIE(max_sites, UINT32_MAX);
	LIE(n_sites, TW_SITES + 1);
	LIE(sites, 0);
	LIE(sites, 1ull << 63);
	LIE(activity, 7);
	LIE(lines[0], 3);
	LIE(lines[0], UINT64_MAX - 7);
	LIE(lines[0], TW_BASE);			   // the root itself
	LIE(lines[1], look->w.root.lines[0]);	   // the same once more
	LIE(lines[1], look->w.root.lines[0] + 64); // overlapping
	LIE(more[0], look->w.root.lines[0]);
}

static void test_a_hook_that_has_not_begun(void **state)
{
	(void)state;
	memset(&look->w.root, 0, sizeof(look->w.root));
	refused(ERROR_UNSUPPORTED, "not begun");
}

static void test_the_clock_of_a_table_that_lies_is_not_used(void **state)
{
	struct tsc_moment begin = tsc_now();
	struct tsc_moment lie = { begin.tsc - 1000, begin.mono_ns - 99999999 };
	struct tsc_rate rate = tsc_rate_find(begin, lie), own;

	(void)state;
	own = tsc_rate_find(begin, (struct tsc_moment){ 0, INT64_MAX });
	assert_true(own.ns_per_tick > 0);
	assert_true(rate.ns_per_tick > own.ns_per_tick * 0.99);
	assert_true(rate.ns_per_tick < own.ns_per_tick * 1.01);
}

#define T(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_every_line_is_a_task),
		T(test_what_each_operation_waits_for),
		T(test_states_that_do_not_wait),
		T(test_one_only_seen_may_have_gone_on),
		T(test_parents_also_those_that_ended),
		T(test_tasks_ascend_by_id),
		T(test_names_and_deadlines),
		T(test_a_stack_without_its_mark_is_not_its_own),
		T(test_one_without_a_stack_waits_for_nothing),
		T(test_what_never_holds_still_is_torn),
		T(test_what_ends_meanwhile_is_not_listed),
		T(test_a_missing_chunk_is_a_gap),
		T(test_a_chunk_that_is_unmapped_is_a_gap),
		T(test_what_the_full_table_left_out_is_a_gap),
		T(test_a_newer_version_is_named),
		T(test_a_longer_layout_is_read),
		T(test_times_that_cannot_be_are_not_told),
		T(test_tables_that_lie_are_refused),
		T(test_a_hook_that_has_not_begun),
		T(test_the_clock_of_a_table_that_lies_is_not_used),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
