/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/unit.h"

#include <sys/mman.h>

#include "base/process.h"

static struct error *parse(const char *text, struct arena *arena,
			   struct process_maps *ret)
{
	size_t len = strlen(text);
	char *exact = malloc(len ? len : 1); // no NUL: reads behind it show
	struct error *err;

	memcpy(exact, text, len);
	err = process_maps_parse(exact, len, arena, ret);
	free(exact);
	return err;
}

static void test_each_field_of_a_line_is_read(void **state)
{
	AUTO_ARENA struct arena *arena = arena_create();
	struct process_maps maps;

	(void)state;
	assert_ok(parse("00400000-0048a000 r-xp 00001000 103:02 1314"
			"        /usr/bin/a b\\012c (deleted)\n"
			"7f0000000000-7f0000001000 rw-s 00000000 00:01 0\n"
			"ffffffffff600000-ffffffffff601000 --xp 00000000 "
			"00:00 0   [vsyscall]",
			arena, &maps));
	assert_int_equal(maps.n, 3);
	assert_int_equal(maps.v[0].start, 0x400000);
	assert_int_equal(maps.v[0].end, 0x48a000);
	assert_true(maps.v[0].read && !maps.v[0].write && maps.v[0].exec);
	assert_false(maps.v[0].shared);
	assert_int_equal(maps.v[0].offset, 0x1000);
	assert_int_equal(maps.v[0].dev_major, 0x103);
	assert_int_equal(maps.v[0].dev_minor, 2);
	assert_int_equal(maps.v[0].inode, 1314);
	assert_string_equal(maps.v[0].path, "/usr/bin/a b\\012c (deleted)");
	assert_true(maps.v[1].shared && maps.v[1].write);
	assert_string_equal(maps.v[1].path, "");
	assert_string_equal(maps.v[2].path, "[vsyscall]");
	assert_true(maps.v[2].end == 0xffffffffff601000);
}

static void test_hostile_text_is_refused(void **state)
{
	static const char *const rows[] = {
		"\n",
		"x",
		"0-1",
		"1000-2000 r-xp 0 00:00",
		"2000-1000 r-xp 00000000 00:00 0\n",
		"1000-1000 r-xp 00000000 00:00 0\n",
		"-1000-2000 r-xp 00000000 00:00 0\n",
		"0x1000-0x2000 r-xp 00000000 00:00 0\n",
		"1000-2000 r-Xp 00000000 00:00 0\n",
		"1000-2000 r-x 00000000 00:00 0\n",
		"1000-2000 r-xp 00000000 00:00 0x\n",
		"1000-2000 r-xp 00000000 00:00 99999999999999999999999\n",
		"1000-10000000000000000 r-xp 00000000 00:00 0\n",
		"1000-2000 r-xp 00000000 100000000:00 0\n",
		"1000-2000 r-xp 0 00:00 0\n\n2000-3000 r-xp 0 00:00 0\n",
		"2000-3000 r-xp 0 00:00 0\n1000-2000 r-xp 0 00:00 0\n",
		"2000-3000 r-xp 0 00:00 0\n2000-3000 r-xp 0 00:00 0\n",
	};

	(void)state;
	for (size_t i = 0; i < N_OF(rows); i++) {
		AUTO_ARENA struct arena *arena = arena_create();
		struct process_maps maps;
		struct error *err = parse(rows[i], arena, &maps);

		if (!err)
			fail_msg("row %zu is accepted", i);
		assert_error(err, ERROR_CORRUPT, "makes no sense");
	}
}

static void test_a_nul_in_the_path_ends_it_harmlessly(void **state)
{
	static const char text[] = "1000-2000 r-xp 0 00:00 0 /a\0b\n"
				   "2000-3000 r-xp 0 00:00 0 /c\n";
	AUTO_ARENA struct arena *arena = arena_create();
	struct process_maps maps;

	(void)state;
	assert_ok(process_maps_parse(text, sizeof(text) - 1, arena, &maps));
	assert_int_equal(maps.n, 2);
	assert_string_equal(maps.v[0].path, "/a");
}

static void test_more_mappings_than_the_limit_are_refused(void **state)
{
	AUTO_ARENA struct arena *arena = arena_create();
	size_t len = PROCESS_MAX_MAPS + 1;
	char *text = malloc(len);
	struct process_maps maps;

	(void)state;
	memset(text, '\n', len);
	assert_error(process_maps_parse(text, len, arena, &maps), ERROR_CORRUPT,
		     "more than 262144 memory mappings");
	free(text);
}

static void test_a_mapping_merged_while_reading_is_shown_once(void **state)
{
	AUTO_ARENA struct arena *arena = arena_create();
	struct process_maps maps;

	(void)state;
	assert_ok(parse("1000-2000 r--p 00005000 08:01 7 /a\n"
			"1000-4000 r--p 00005000 08:01 7 /a\n",
			arena, &maps));
	assert_int_equal(maps.n, 2);
	assert_int_equal(maps.v[1].start, 0x2000);
	assert_int_equal(maps.v[1].end, 0x4000);
	assert_int_equal(maps.v[1].offset, 0x6000);
}

static void test_find_knows_both_ends(void **state)
{
	AUTO_ARENA struct arena *arena = arena_create();
	struct process_maps maps;

	(void)state;
	assert_ok(parse("1000-2000 r--p 0 0:0 0\n2000-3000 rw-p 0 0:0 0\n"
			"5000-6000 rw-p 0 0:0 0\n",
			arena, &maps));
	assert_null(process_maps_find(&maps, 0));
	assert_null(process_maps_find(&maps, 0xfff));
	assert_ptr_equal(process_maps_find(&maps, 0x1000), &maps.v[0]);
	assert_ptr_equal(process_maps_find(&maps, 0x1fff), &maps.v[0]);
	assert_ptr_equal(process_maps_find(&maps, 0x2000), &maps.v[1]);
	assert_null(process_maps_find(&maps, 0x3000));
	assert_ptr_equal(process_maps_find(&maps, 0x5fff), &maps.v[2]);
	assert_null(process_maps_find(&maps, UINT64_MAX));
	assert_ok(parse("", arena, &maps));
	assert_int_equal(maps.n, 0);
	assert_null(process_maps_find(&maps, 0));
}

static void test_a_childs_mapping_is_found_with_its_rights(void **state)
{
	AUTO_ARENA struct arena *arena = arena_create();
	AUTO_PROCESS struct process *p = NULL;
	const struct process_map *map;
	struct process_maps maps;
	void *two = mmap(NULL, 8192, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	raddr_t addr = (raddr_t)(uintptr_t)two;
	pid_t pid;

	(void)state;
	mprotect((char *)two + 4096, 4096, PROT_READ);
	pid = child_start(NULL, NULL);
	assert_ok(process_open(pid, &p));
	assert_ok(process_maps(p, arena, &maps));
	map = process_maps_find(&maps, addr);
	assert_non_null(map);
	assert_true(map->read && map->write && map->shared && !map->exec);
	map = process_maps_find(&maps, addr + 4096);
	assert_int_equal(map->start, addr + 4096);
	assert_true(map->read && !map->write);
	child_end(pid);
	assert_error(process_maps(p, arena, &maps), ERROR_GONE, "has ended");
	munmap(two, 8192);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_field_of_a_line_is_read),
		cmocka_unit_test(test_hostile_text_is_refused),
		cmocka_unit_test(test_a_nul_in_the_path_ends_it_harmlessly),
		cmocka_unit_test(test_more_mappings_than_the_limit_are_refused),
		cmocka_unit_test(
			test_a_mapping_merged_while_reading_is_shown_once),
		cmocka_unit_test(test_find_knows_both_ends),
		cmocka_unit_test(
			test_a_childs_mapping_is_found_with_its_rights),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
