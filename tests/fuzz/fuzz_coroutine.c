/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A process whose table of coroutines lies: a small table, into which the
 * input writes, some of it while it is read. Records of {place u16, how u8,
 * value u64}; the first byte says how many of them come later. And an ELF
 * object whose headers and notes are the input.
 */
#include "tests/unit/table_world.h"

#include "base/log.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define RECORD 11

static const uint8_t *later;
static size_t n_later;

static void quiet(const char *line, size_t len)
{
	(void)line;
	(void)len;
}

static void write_record(struct table_look *look, const uint8_t *record)
{
	uint64_t *words = (uint64_t *)&look->w, value;
	uint32_t used = sizeof(look->w) / 8, word;
	uint16_t place;

	memcpy(&place, record, sizeof(place));
	memcpy(&value, record + 3, sizeof(value));
	// every other one goes to the root, where most is decided
	word = place & 1 ? (place >> 1) % (sizeof(struct hook_root) / 8)
			 : (place >> 1) % used;
	switch (record[2] % 5) {
	case 0:
		words[word] = value;
		break;
	case 1: // to something in the table
		words[word] = TW_BASE + value % used * 8;
		break;
	case 2: // half a word
		memcpy((uint8_t *)&words[word] + (value >> 63) * 4, &value, 4);
		break;
	case 3: // a little off
		words[word] += value % 64 - 32;
		break;
	default: // what another has
		words[word] = words[value % used];
		break;
	}
}

static void write_meanwhile(struct table_look *look)
{
	if (look->reads % 8 || n_later < RECORD)
		return;
	write_record(look, later);
	later += RECORD;
	n_later -= RECORD;
}

static void check(const struct task_snapshot *snap)
{
	for (size_t i = 0; i < snap->n; i++) {
		const struct task *t = &snap->tasks[i];

		if (!t->reason || t->fd < -1 ||
		    (t->torn && (t->fd != -1 || t->stack)) ||
		    (i && t[-1].id > t->id) ||
		    (t->name && strlen(t->name) >= HOOK_NAME_MAX))
			abort();
	}
}

static void take_table(const uint8_t *data, size_t size)
{
	static struct table_look look;
	struct task_snapshot *snap;
	struct error *err;
	size_t now;

	tw_begin(&look);
	for (uint32_t i = 0; i < 100; i++)
		tw_park(&look, i)->flags |= i % 3 ? HOOK_FLAG_MORE
						  : HOOK_FLAG_MARKED;
	now = size / RECORD - (size ? data[0] % (size / RECORD + 1) : 0);
	for (size_t i = 0; i < now; i++)
		write_record(&look, data + i * RECORD);
	later = data + now * RECORD;
	n_later = size - now * RECORD;
	look.meanwhile = write_meanwhile;
	snap = tw_take(&look, &err);
	if (snap)
		check(snap);
	error_free(err);
	task_snapshot_destroy(snap);
}

/* Memory that is the input, as an object would be mapped. */
struct bytes {
	const uint8_t *data;
	size_t size;
};

static int read_bytes(void *arg, struct process_read_req *reqs, size_t n)
{
	const struct bytes *b = arg;

	for (size_t i = 0; i < n; i++) {
		uint64_t at = reqs[i].addr - TW_BASE;

		reqs[i].ok = reqs[i].addr >= TW_BASE && at <= b->size &&
			     reqs[i].len <= b->size - at;
		if (reqs[i].ok && reqs[i].len)
			memcpy(reqs[i].buf, b->data + at, reqs[i].len);
	}
	return 0;
}

static void find_in_object(const uint8_t *data, size_t size)
{
	struct bytes bytes = { data, size };
	struct live mem = { .read = read_bytes, .arg = &bytes };
	struct process_map map = { .start = TW_BASE,
				   .end = TW_BASE + 65536,
				   .read = true,
				   .path = "/x" };
	struct process_maps maps = { &map, 1 };
	struct root root;
	raddr_t found[ROOT_MAX];
	size_t n = root_find(&mem, &maps, found, ROOT_MAX);

	for (size_t i = 0; i < n; i++)
		error_free(root_read(&mem, found[i], &root));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	log_set_sink(quiet);
	if (size > 1 << 16)
		return 0;
	take_table(data, size);
	find_in_object(data, size);
	return 0;
}
