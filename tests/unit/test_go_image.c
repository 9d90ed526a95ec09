/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The image of real programs, from recorded memory (tests/fixtures/go/record):
 * one for each of the three formats of pc tables. What the frames should be is
 * what the programs printed of themselves.
 */

#include "tests/unit/unit.h"

#include "tests/lib/gomem.h"

struct fixture {
	struct gomem mem;
	struct go_image *image;
};

static void *slurp(const char *name, const char *suffix, size_t *len_ret)
{
	char path[256], *data;
	FILE *f;

	snprintf(path, sizeof(path), "tests/fixtures/go/%s.%s", name, suffix);
	f = fopen(path, "r");
	if (!f)
		fail_msg("cannot open %s", path);
	data = calloc(1, 1 << 20);
	assert_non_null(data);
	*len_ret = fread(data, 1, (1 << 20) - 1, f);
	fclose(f);
	return data;
}

static void open_fixture(struct fixture *fix, const char *name)
{
	size_t len;
	char *data = slurp(name, "mem", &len);

	assert_true(gomem_parse(data, len, &fix->mem));
	free(data);
	fix->image = gomem_image(&fix->mem);
	assert_non_null(fix->image);
}

static void close_fixture(struct fixture *fix)
{
	go_image_destroy(fix->image);
	free(fix->mem.bytes);
}

static void print_frame(char **out, const struct frame *f)
{
	*out += sprintf(*out, "%s%s\n\t%s:%u", f->function,
			f->inlined ? "(...)" : "()", f->file, f->line);
	if (!f->inlined && f->offset)
		*out += sprintf(*out, " +0x%x", f->offset);
	*out += sprintf(*out, "\n");
}

/* As debug=2 prints it; the parent is not the image's to know. */
static void print_stack(char *out, const struct stack *stack,
			const struct frame *creator)
{
	for (uint32_t i = 0; i < stack->n; i++)
		if (!stack->frames[i]->hidden)
			print_frame(&out, stack->frames[i]);
	if (!creator)
		return;
	sprintf(out, "created by %s\n\t%s:%u +0x%x\n", creator->function,
		creator->file, creator->line, creator->offset);
}

/* Cut " in goroutine 1" off. */
static void drop_parent(char *text)
{
	char *at = strstr(text, " in goroutine ");

	if (at)
		memmove(at, strchr(at, '\n'), strlen(strchr(at, '\n')) + 1);
}

/* One block of the .txt file; returns what follows it. */
static char *check_block(struct go_image *image, char *block)
{
	raddr_t pcs[TASK_MAX_FRAMES], creator;
	char got[16384], *end = strstr(block, "\n\n"), *at;
	const struct stack *stack;
	size_t n = 0;

	assert_non_null(end);
	end[1] = 0;
	creator = strtoull(block + strlen("creator "), &at, 16);
	for (at += strlen("\npcs"); *at == ' '; n++)
		pcs[n] = strtoull(at, &at, 16);
	stack = go_image_stack(image, pcs, n, true, false, false);
	assert_non_null(stack);
	assert_false(stack->incomplete);
	print_stack(got, stack, go_image_creator(image, creator));
	drop_parent(at + 1);
	assert_string_equal(got, at + 1);
	// the same again is the same stack
	assert_ptr_equal(stack,
			 go_image_stack(image, pcs, n, true, false, false));
	return end + 2;
}

static void check_stacks(const char *name, const char *version, int blocks)
{
	struct fixture fix;
	size_t len;
	char *text = slurp(name, "txt", &len), *at = text;

	open_fixture(&fix, name);
	assert_string_equal(go_image_version(fix.image), version);
	for (; strcmp(at, "end\n") != 0; blocks--)
		at = check_block(fix.image, at);
	assert_int_equal(blocks, 0);
	close_fixture(&fix);
	free(text);
}

static void test_frames_of_go_1_17_are_those_it_prints(void **state)
{
	(void)state;
	check_stacks("go1.17.13", "go1.17.13", 4);
}

static void test_frames_of_go_1_19_are_those_it_prints(void **state)
{
	(void)state;
	check_stacks("go1.19.13", "go1.19.13", 6);
}

static void test_frames_of_go_1_27_are_those_it_prints(void **state)
{
	(void)state;
	check_stacks("go1.27.4", "go1.27.4", 6);
}

static void test_words_that_move_between_versions_are_found(void **state)
{
	// runtime/symtab.go: offsets of types and gofunc in moduledata
	static const struct {
		const char *name;
		int types, gofunc;
	} rows[] = {
		{ "go1.17.13", 280, 0 },
		{ "go1.19.13", 280, 304 },
		{ "go1.27.4", 296, 344 },
	};

	(void)state;
	for (size_t i = 0; i < N_OF(rows); i++) {
		struct fixture fix;
		const struct module *m;

		open_fixture(&fix, rows[i].name);
		m = &fix.image->modules[0];
		assert_int_equal(m->public.types, m->words[rows[i].types / 8]);
		assert_int_equal(m->public.gofunc,
				 rows[i].gofunc ? m->words[rows[i].gofunc / 8]
						: 0);
		close_fixture(&fix);
	}
}

static void test_every_frame_is_in_the_stack_and_goexit_is_hidden(void **state)
{
	struct fixture fix;
	const struct stack *stack;
	// main.base.Serve inlined into main.viaInterface (go1.27.4.txt)
	raddr_t pcs[] = { 0x485d0a, 0x415c0e, 0x415732, 0x52eae5, 0x48c401 };

	(void)state;
	open_fixture(&fix, "go1.27.4");
	stack = go_image_stack(fix.image, pcs, N_OF(pcs), true, false, false);
	assert_non_null(stack);
	assert_string_equal(stack->frames[0]->function, "runtime.gopark");
	assert_true(stack->frames[0]->hidden && stack->frames[0]->runtime);
	assert_string_equal(stack->frames[stack->n - 1]->function,
			    "runtime.goexit");
	assert_true(stack->frames[stack->n - 1]->hidden);
	close_fixture(&fix);
}

static void test_a_pc_in_no_function_makes_a_stack_incomplete(void **state)
{
	struct fixture fix;
	const struct stack *stack;
	raddr_t pcs[] = { 0x485d0a, 0x10 };

	(void)state;
	open_fixture(&fix, "go1.27.4");
	stack = go_image_stack(fix.image, pcs, N_OF(pcs), true, false, false);
	assert_non_null(stack);
	assert_true(stack->incomplete);
	assert_string_equal(stack->frames[stack->n - 1]->function, "?");
	assert_string_equal(stack->frames[stack->n - 1]->file, "?");
	close_fixture(&fix);
}

static void test_more_frames_than_the_limit_are_cut_and_said_so(void **state)
{
	struct fixture fix;
	const struct stack *stack;
	raddr_t pcs[TASK_MAX_FRAMES + 10];

	(void)state;
	for (size_t i = 0; i < N_OF(pcs); i++)
		pcs[i] = 0x485d0a;
	open_fixture(&fix, "go1.27.4");
	stack = go_image_stack(fix.image, pcs, N_OF(pcs), true, false, false);
	assert_non_null(stack);
	assert_true(stack->truncated);
	assert_int_equal(stack->n, TASK_MAX_FRAMES);
	close_fixture(&fix);
}

static void test_goexit_ends_every_goroutine(void **state)
{
	static const struct {
		const char *name;
		raddr_t pc;
	} rows[] = { { "go1.27.4", 0x48c401 } };

	(void)state;
	for (size_t i = 0; i < N_OF(rows); i++) {
		struct fixture fix;
		struct go_func func;

		open_fixture(&fix, rows[i].name);
		assert_true(go_image_func(fix.image, rows[i].pc, &func));
		assert_string_equal(func.name, "runtime.goexit");
		assert_true(func.top_frame);
		assert_true(go_image_is_entry(fix.image, rows[i].pc - 1));
		assert_false(go_image_is_entry(fix.image, rows[i].pc));
		close_fixture(&fix);
	}
}

/* The words of the module lie in the recorded memory: change them there. */
static uint64_t *module_words(const struct fixture *fix)
{
	raddr_t addr = fix->image->modules[0].public.addr;

	return (uint64_t *)(void *)(fix->mem.bytes + (addr - fix->mem.base));
}

static void test_a_module_of_absurd_size_is_no_module(void **state)
{
	// length and capacity of ftab; maxpc before minpc; names elsewhere
	static const struct {
		int word;
		uint64_t value;
	} lies[] = {
		{ 17, 1ull << 40 }, { 17, 0 },	{ 20, ~0ull },
		{ 2, 1ull << 50 },  { 1, 8 },	{ 0, 0 },
		{ 22, ~0ull },	    { 4, 0x1 }, { 17, 5 },
	};

	(void)state;
	for (size_t i = 0; i < N_OF(lies); i++) {
		struct fixture fix;
		struct go_image *image;

		open_fixture(&fix, "go1.27.4");
		module_words(&fix)[lies[i].word] = lies[i].value;
		image = gomem_image(&fix.mem);
		if (image)
			fail_msg("lie %zu was believed", i);
		close_fixture(&fix);
	}
}

static void test_inline_trees_that_are_nowhere_are_said_to_be(void **state)
{
	struct fixture fix;
	struct go_image *image;

	(void)state;
	open_fixture(&fix, "go1.27.4");
	module_words(&fix)[344 / 8] = 0;
	image = gomem_image(&fix.mem);
	assert_non_null(image);
	assert_int_equal(image->modules[0].public.gofunc, 0);
	assert_non_null(strstr(go_image_how(image), "inline trees not found"));
	go_image_destroy(image);
	close_fixture(&fix);
}

static void test_an_inline_tree_that_is_a_cycle_ends(void **state)
{
	struct fixture fix;
	struct pclntab_func func;
	struct pclntab_frame frames[GO_MAX_INLINE_DEPTH];
	struct module *m;
	// main.inlined, three calls inlined (go1.27.4.txt)
	raddr_t pc = 0x52a871 - 1;
	uint32_t offset;
	size_t n;

	(void)state;
	open_fixture(&fix, "go1.27.4");
	m = &fix.image->modules[0];
	assert_true(pclntab_find(&m->tab, pc, &func));
	assert_int_equal(pclntab_inlined(&m->tab, &func, pc, frames,
					 GO_MAX_INLINE_DEPTH),
			 4);
	// Each call's parent is where the innermost call is.
	assert_true(pagecache_u32(fix.image->mem,
				  func.tables + 4 * func.npcdata + 4 * 3,
				  &offset));
	for (int i = 0; i < 3; i++) {
		uint32_t parent = (uint32_t)(pc - func.entry);
		raddr_t at = m->tab.gofunc + offset + 16u * i + 8;

		memcpy(fix.mem.bytes + (at - fix.mem.base), &parent, 4);
	}
	n = pclntab_inlined(&m->tab, &func, pc, frames, GO_MAX_INLINE_DEPTH);
	assert_int_equal(n, GO_MAX_INLINE_DEPTH);
	assert_false(frames[n - 1].inlined);
	close_fixture(&fix);
}

static void test_a_name_without_an_end_is_a_question_mark(void **state)
{
	struct fixture fix;
	struct go_func func;
	const struct module *m;

	(void)state;
	open_fixture(&fix, "go1.27.4");
	m = &fix.image->modules[0];
	memset(fix.mem.bytes + (m->tab.names - fix.mem.base), 'x',
	       m->tab.names_len); // followed by more tables in the record
	assert_true(go_image_func(fix.image, 0x52a871, &func));
	assert_string_equal(func.name, "?");
	close_fixture(&fix);
}

static void test_a_chain_of_modules_may_be_a_ring(void **state)
{
	struct fixture fix;
	struct go_image *image;
	uint64_t *words;

	(void)state;
	open_fixture(&fix, "go1.27.4");
	words = module_words(&fix);
	words[70] = fix.image->modules[0].public.addr;
	image = gomem_image(&fix.mem);
	assert_non_null(image);
	assert_int_equal(image->n_modules, 1);
	go_image_destroy(image);
	close_fixture(&fix);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_frames_of_go_1_17_are_those_it_prints),
		cmocka_unit_test(test_frames_of_go_1_19_are_those_it_prints),
		cmocka_unit_test(test_frames_of_go_1_27_are_those_it_prints),
		cmocka_unit_test(
			test_words_that_move_between_versions_are_found),
		cmocka_unit_test(
			test_every_frame_is_in_the_stack_and_goexit_is_hidden),
		cmocka_unit_test(
			test_a_pc_in_no_function_makes_a_stack_incomplete),
		cmocka_unit_test(
			test_more_frames_than_the_limit_are_cut_and_said_so),
		cmocka_unit_test(test_goexit_ends_every_goroutine),
		cmocka_unit_test(test_a_module_of_absurd_size_is_no_module),
		cmocka_unit_test(
			test_inline_trees_that_are_nowhere_are_said_to_be),
		cmocka_unit_test(test_an_inline_tree_that_is_a_cycle_ends),
		cmocka_unit_test(test_a_name_without_an_end_is_a_question_mark),
		cmocka_unit_test(test_a_chain_of_modules_may_be_a_ring),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
