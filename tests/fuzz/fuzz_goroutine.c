/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A program whose memory lies: a small runtime with goroutines in every kind
 * of wait, into which the input writes. Its first byte chooses the layout, the
 * next whether the layout is found before or after the writing; then come
 * records of {word number u16, how u8, value u64}.
 */
#include "tests/unit/go_world.h"

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

static void write_word(struct world *w, const uint8_t *record)
{
	uint32_t used = (uint32_t)(w->next - WORLD_BASE) / 8;
	uint32_t word = (record[0] | (uint32_t)record[1] << 8) % used;
	uint64_t value = go_word(record + 3);
	raddr_t at = WORLD_BASE + word * 8ull;

	switch (record[2] % 5) {
	case 0:
		world_put(w, at, value);
		break;
	case 1: // to some other word
		world_put(w, at, WORLD_BASE + value % used * 8);
		break;
	case 2: // to a goroutine
		world_put(w, at, w->gs[value % w->n_gs]);
		break;
	case 3: // a little off
		world_put(w, at, world_get(w, at) + value % 64 - 32);
		break;
	default: // what another word has
		world_put(w, at, world_get(w, WORLD_BASE + value % used * 8));
		break;
	}
}

/* Some of the writing happens while it is read. */
static void write_meanwhile(struct world *w, raddr_t addr, size_t len)
{
	(void)addr;
	(void)len;
	if (w->reads % 16 || n_later < RECORD)
		return;
	write_word(w, later);
	later += RECORD;
	n_later -= RECORD;
}

static void fill(struct world *w)
{
	raddr_t c, d, g, s, pd, mutex;

	world_usual(w, 2);
	c = world_chan(w, 2, 4);
	world_receiver(w, c, false);
	world_receiver(w, c, false);
	d = world_chan(w, 4, 4);
	world_receiver(w, d, true);
	g = WORLD_GO(w, F_WORKER, R_SELECT, F_GOPARK, F_WORKER);
	s = world_sudog(w, g, c, false);
	world_put(w, s + w->shape->sudog_c - 16, world_sudog(w, g, d, true));
	world_waiting(w, g, s);
	world_poller(w, 5, false, &pd);
	world_poller(w, 6, true, &pd);
	mutex = world_alloc(w, 8);
	g = WORLD_GO(w, F_WORKER, R_MUTEX, F_GOPARK, F_SEMACQUIRE, F_LOCKSLOW,
		     F_WORKER);
	s = world_sudog(w, g, 0, false);
	world_put(w, s + 24, mutex + 4);
	world_put(w, world_slot(w, g, 1, 3), s);
	g = WORLD_GO(w, F_WORKER, R_COND, F_GOPARK, F_NOTIFYWAIT, F_COND_WAIT,
		     F_WORKER);
	s = world_sudog(w, g, 0, false);
	world_put(w, mutex + 16, 1);
	world_put(w, mutex + 16 + 16, s);
	world_put(w, mutex + 16 + 24, s);
	world_put(w, world_slot(w, g, 1, 3), s);
	world_put(w, world_slot(w, g, 2, 4), mutex);
	world_put(w, g + w->shape->gopc + 64, world_alloc(w, 64)); // labels
}

/* What holds of every snapshot, whatever the memory says. */
static void check(const struct task_snapshot *snap)
{
	for (size_t i = 0; i < snap->n; i++) {
		const struct task *t = &snap->tasks[i];

		if (!t->reason || (i && snap->tasks[i - 1].id >= t->id) ||
		    (t->fd >= 0) != (t->fd_proof == FD_PROVEN ||
				     t->fd_proof == FD_SYSCALL) ||
		    t->n_objects > TASK_MAX_OBJECTS ||
		    t->n_labels > TASK_MAX_LABELS || (t->torn && t->stack) ||
		    (t->stack && t->stack->n > TASK_MAX_FRAMES))
			abort();
		for (unsigned k = 0; k < t->n_objects; k++)
			if (!t->objects[k].waiters)
				abort();
	}
}

static void run(struct world *w)
{
	for (int i = 0; i < 2; i++) {
		struct error *err;
		struct task_snapshot *snap = world_snapshot(w, &err);

		error_free(err);
		if (snap)
			check(snap);
		task_snapshot_destroy(snap);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct error *err = NULL;
	struct world w;
	bool lies_first;
	size_t half;

	log_set_sink(quiet);
	if (size < 2)
		return 0;
	world_init(&w, &world_shapes[data[0] % WORLD_SHAPES]);
	w.layout.minor = data[1] & 2 ? w.shape->minor : 0;
	fill(&w);
	lies_first = data[1] & 1;
	data += 2;
	size -= 2;
	if (!lies_first)
		err = world_find(&w);
	half = size / RECORD / 2 * RECORD;
	for (size_t i = 0; i < half; i += RECORD)
		write_word(&w, data + i);
	later = data + half;
	n_later = size - half;
	w.on_read = write_meanwhile;
	if (lies_first)
		err = world_find(&w);
	if (!err)
		run(&w);
	error_free(err);
	world_deinit(&w);
	return 0;
}
