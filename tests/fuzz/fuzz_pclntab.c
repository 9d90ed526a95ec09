/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Recorded memory (tests/lib/gomem.h): the pc tables of its module, and the
 * frames that follow from them. Calibration is left to fuzz_moduledata.
 */

#include "tests/lib/gomem.h"

#define MAX_FUNCS 64
#define MAX_PCS_OF_FUNC 4

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_stack(const struct stack *stack)
{
	if (!stack || stack->n > TASK_MAX_FRAMES)
		abort();
	for (uint32_t i = 0; i < stack->n; i++)
		if (!stack->frames[i]->function[0] || !stack->frames[i]->file)
			abort();
}

static void ask(struct go_image *image, raddr_t pc)
{
	raddr_t pcs[3] = { pc, pc + 1, pc };
	const struct frame *const *frames;
	struct go_func func;
	uint32_t delta;

	if (go_image_func(image, pc, &func) && func.entry > pc)
		abort();
	go_image_frame_size(image, pc, true, &delta);
	go_image_frames(image, pc, false, &frames);
	go_image_creator(image, pc);
	go_image_start(image, pc);
	go_image_type_name(image, pc);
	check_stack(go_image_stack(image, pcs, 3, true, false, false));
}

/* Functions that were recorded have a table; the rest is zeros. */
static void ask_all(struct go_image *image)
{
	struct module *m = &image->modules[0];
	int left = MAX_FUNCS;

	for (uint32_t i = 0; i < m->tab.nfunc && i < 8192 && left; i++) {
		struct pclntab_func f;

		if (!pclntab_func_at(&m->tab, i, &f) || !f.pcsp)
			continue;
		left--;
		for (int k = 0; k < MAX_PCS_OF_FUNC; k++)
			ask(image, f.entry + 37u * (unsigned int)k);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct gomem mem;
	struct go_image *image;
	struct error *err;

	if (!gomem_parse(data, size, &mem))
		return 0;
	image = image_alloc(
		pagecache_create_bytes(mem.bytes, mem.len, mem.base));
	if (!image)
		abort();
	image->objects[0].head = mem.head;
	image->objects[0].path = "";
	image->n_objects = 1;
	err = image_search(image);
	if (!err && image->n_modules) {
		struct module *m = &image->modules[0];

		// Where 1.27 and 1.19 have gofunc, and types of both.
		m->tab.gofunc = m->words[344 / 8];
		if (m->tab.version == GO_PCLNTAB_118)
			m->tab.gofunc = m->words[304 / 8];
		m->public.types = m->words[280 / 8];
		m->public.etypes = m->words[312 / 8];
		image->wrapper_id = 22;
		ask_all(image);
	}
	error_free(err);
	go_image_destroy(image);
	free(mem.bytes);
	return 0;
}
