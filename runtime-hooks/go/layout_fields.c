/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime-hooks/go/layout.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"

/*
 * The fields of g move in three blocks, each as a whole (runtime2.go, Go 1.16
 * to 1.27):
 *   head    stack 0, m 48, sched 56
 *   status  stktopsp -16, param -8, atomicstatus, goid +8, schedlink +16,
 *           waitsince +24, waitreason +32; syscallsp -32, or -40 since 1.23
 *   gopc    parentGoid -8 (1.21), gopc, ancestors +8, startpc +16,
 *           racectx +24, waiting +32, cgoCtxt +40, labels +64
 * so that one anchor per block is enough, and its neighbours check it.
 */
#define STATUS_FROM 112
#define STATUS_TO 200
#define START_FROM 216
#define START_TO 440

#define GOID_MAX (1ULL << 48)

bool go_status_known(uint32_t status)
{
	switch (status & ~GO_STATUS_SCAN) {
	case GO_IDLE:
	case GO_RUNNABLE:
	case GO_RUNNING:
	case GO_SYSCALL:
	case GO_WAITING:
	case GO_DEAD:
	case GO_COPYSTACK:
	case GO_PREEMPTED:
	case GO_LEAKED:
	case GO_DEADEXTRA:
		return true;
	default:
		return false;
	}
}

static uint32_t status_at(const struct go_sample *s, unsigned off)
{
	return go_half(s->bytes + off) & ~GO_STATUS_SCAN;
}

static bool dead_at(const struct go_sample *s, unsigned off)
{
	uint32_t status = status_at(s, off);

	return status == GO_IDLE || status == GO_DEAD || status == GO_DEADEXTRA;
}

/*
 * How many of @n records may contradict what all others say: one that is just
 * being changed, or a broken one, must not hide the rest. The field is where
 * the most agree.
 */
static size_t outliers(size_t n)
{
	return n / 16;
}

/*
 * Is startpc at @off: a function's entry, or 0, in all, with the pc of a go
 * statement two words before? Returns how many have both.
 */
static size_t fits_start(const struct go_layout *layout,
			 const struct go_sample *samples, size_t n,
			 unsigned off)
{
	const struct go_symbols *sym = layout->sym;
	size_t both = 0, misfits = 0;

	for (size_t i = 0; i < n; i++) {
		uint64_t start = go_word(samples[i].bytes + off);
		uint64_t gopc = go_word(samples[i].bytes + off - 16);
		struct go_func func;

		if ((start && !sym->is_entry(sym->arg, start)) ||
		    (gopc && !sym->func(sym->arg, gopc, &func))) {
			if (++misfits > outliers(n))
				return 0;
			continue;
		}
		both += start && gopc;
	}
	return both;
}

/* How many goroutine ids are no ids, or another's. */
static size_t bad_ids(const struct go_sample *samples, size_t n,
		      unsigned status)
{
	size_t bad = 0;

	for (size_t i = 0; i < n; i++) {
		uint64_t id = go_word(samples[i].bytes + status + 8);

		if (dead_at(&samples[i], status))
			continue;
		if (!id || id >= GOID_MAX) {
			bad++;
			continue;
		}
		for (size_t k = 0; k < i; k++)
			bad += !dead_at(&samples[k], status) &&
			       go_word(samples[k].bytes + status + 8) == id;
	}
	return bad;
}

/*
 * Is atomicstatus at @off, by what it and its neighbours may hold? Returns how
 * many live goroutines there are then; 0: it is not.
 */
static size_t fits_status(const struct go_sample *samples, size_t n,
			  unsigned off, int64_t now)
{
	size_t misfits = 0, wrong = 0, live = 0;

	for (size_t i = 0; i < n; i++) {
		const uint8_t *b = samples[i].bytes;
		int64_t since = (int64_t)go_word(b + off + 24);
		uint64_t hi = go_word(b + GO_G_STACK_HI);
		uint64_t top = go_word(b + off - 16);

		if (!go_status_known(go_half(b + off)) || since < 0 ||
		    since > now) {
			if (++wrong > outliers(n))
				return 0;
			continue;
		}
		if (dead_at(&samples[i], off) || !hi)
			continue;
		live++;
		// stktopsp is a few words below the end of the stack, unless
		// that is being moved just now
		misfits += top > hi || hi - top > 4096;
	}
	return misfits <= n / 8 &&
			       wrong + bad_ids(samples, n, off) <= outliers(n)
		       ? live
		       : 0;
}

/* Whether the goroutine that runs runtime.main has the id 1; 0 if none does. */
static size_t main_is_first(const struct go_sample *samples, size_t n,
			    unsigned start, unsigned goid, raddr_t main_entry)
{
	for (size_t i = 0; i < n && main_entry; i++)
		if (go_word(samples[i].bytes + start) == main_entry)
			return go_word(samples[i].bytes + goid) == 1;
	return 0;
}

static bool find_status(struct go_layout *l, const struct go_sample *samples,
			size_t n, raddr_t main_entry)
{
	int64_t now = clock_mono_ns();
	size_t best = 0;

	for (unsigned off = STATUS_FROM; off <= STATUS_TO; off += 8) {
		size_t score = fits_status(samples, n, off, now);

		if (!score)
			continue;
		l->g_status_candidates++;
		// the main goroutine's id is 1: stronger than plausibility
		if (main_is_first(samples, n, l->g_startpc, off + 8,
				  main_entry))
			score += n;
		if (score <= best)
			continue;
		best = score;
		l->g_status = (uint16_t)off;
	}
	return best;
}

/*
 * Does the word before gopc hold other goroutines' ids? Until 1.20 it is
 * sigpc, 0 but after a crash; since 1.21 it is 0 only for what a timer made.
 */
static bool fits_parent(const struct go_layout *l,
			const struct go_sample *samples, size_t n)
{
	size_t ids = 0, zeros = 0;

	for (size_t i = 0; i < n; i++) {
		const uint8_t *b = samples[i].bytes;
		uint64_t id = go_word(b + l->g_goid);
		uint64_t parent = go_word(b + l->g_gopc - 8);

		if (dead_at(&samples[i], l->g_status) || id <= 1 ||
		    !go_word(b + l->g_gopc))
			continue;
		// ids are given out in batches: a parent may be numbered later
		if (parent >= GOID_MAX || parent == id)
			return false;
		ids += parent != 0;
		zeros += !parent;
	}
	return ids > zeros;
}

static bool in_stack(const uint8_t *b, uint64_t addr)
{
	return addr > go_word(b + GO_G_STACK_LO) &&
	       addr <= go_word(b + GO_G_STACK_HI);
}

/*
 * syscallsp is 32 before the status, or 40 where a syscallbp follows (1.23).
 * One word tells: at -40 is gobuf.bp in the old layout (in the stack while
 * parked), and syscallsp (0 while parked) in the new one, whose bp is at -48.
 */
static void find_syscallsp(struct go_layout *l, const struct go_sample *samples,
			   size_t n)
{
	unsigned old = 0, new = 0;

	for (size_t i = 0; i < n; i++) {
		const uint8_t *b = samples[i].bytes;
		uint32_t status = status_at(&samples[i], l->g_status);
		bool at_40 = in_stack(b, go_word(b + l->g_status - 40));
		bool at_48 = in_stack(b, go_word(b + l->g_status - 48));

		if (status == GO_WAITING) {
			old += at_40 && !at_48;
			new += at_48 && !at_40;
		}
	}
	l->g_syscallsp_sure = !old != !new;
	if (l->g_syscallsp_sure)
		l->g_syscallsp = (uint16_t)(l->g_status - (old ? 32 : 40));
	else
		l->g_syscallsp =
			(uint16_t)(l->g_status -
				   (l->minor && l->minor < 23 ? 32 : 40));
	log_debug("go", "syscallsp %u: %u old, %u new", l->g_syscallsp, old,
		  new);
}

static bool find_start(struct go_layout *l, const struct go_sample *samples,
		       size_t n)
{
	size_t best = 0;

	for (unsigned off = START_FROM; off <= START_TO; off += 8) {
		size_t score = fits_start(l, samples, n, off);

		if (!score)
			continue;
		l->g_start_candidates++;
		if (score <= best)
			continue;
		best = score;
		l->g_startpc = (uint16_t)off;
	}
	return best;
}

struct error *go_layout_fields(struct go_layout *l,
			       const struct go_sample *samples, size_t n)
{
	struct go_func main_func = { 0 }; // a library has none that runs

	l->g_samples = (unsigned)n;
	if (!n)
		return error_new(ERROR_CORRUPT, "no goroutine could be read");
	if (!find_start(l, samples, n))
		return error_new(ERROR_CORRUPT,
				 "layout of goroutines not found: no field "
				 "holds their start functions");
	l->g_gopc = (uint16_t)(l->g_startpc - 16);
	l->g_waiting = (uint16_t)(l->g_startpc + 16);
	l->g_labels = (uint16_t)(l->g_startpc + 48);
	l->g_len = (uint16_t)(l->g_labels + 8);
	l->sym->func_by_name(l->sym->arg, "runtime.main", &main_func);
	if (!find_status(l, samples, n, main_func.entry))
		return error_new(ERROR_CORRUPT,
				 "layout of goroutines not found: no field "
				 "holds their status and id");
	l->g_goid = (uint16_t)(l->g_status + 8);
	l->g_waitsince = (uint16_t)(l->g_status + 24);
	l->g_waitreason = (uint16_t)(l->g_status + 32);
	if (fits_parent(l, samples, n))
		l->g_parent = (uint16_t)(l->g_gopc - 8);
	find_syscallsp(l, samples, n);
	return NULL;
}

struct reason_search {
	struct go_live *mem;
	raddr_t at;
};

#define FIRST_REASON "GC assist marking"

/* waitReasonStrings starts with "" and then the text above, in all versions. */
static bool find_reasons(void *arg, const struct go_window *window)
{
	struct reason_search *search = arg;
	char text[sizeof(FIRST_REASON)];

	for (size_t i = 0; i < window->n_words; i++) {
		const uint8_t *w = window->bytes + i * 8;
		size_t len = sizeof(FIRST_REASON) - 1;

		if (go_word(w) || go_word(w + 8) || go_word(w + 24) != len)
			continue;
		if (!go_live_peek(search->mem, go_word(w + 16), text, len) ||
		    memcmp(text, FIRST_REASON, len) != 0)
			continue;
		search->at = window->addr + i * 8;
		return false;
	}
	return true;
}

static bool printable(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (text[i] < ' ' || text[i] > '~')
			return false;
	return true;
}

static struct error *read_reasons(struct go_layout *l, raddr_t at)
{
	l->reasons[0].text = "";
	l->n_reasons = 1;
	while (l->n_reasons < GO_MAX_REASONS) {
		uint64_t head[2];
		char text[64];
		char *copy;

		if (!go_live_peek(l->mem, at + l->n_reasons * 16, head, 16) ||
		    !head[1] || head[1] >= sizeof(text) ||
		    !go_live_peek(l->mem, head[0], text, head[1]) ||
		    !printable(text, head[1]))
			break;
		copy = arena_strndup(l->arena, text, head[1]);
		if (!copy)
			return &error_nomem;
		l->reasons[l->n_reasons].text = copy;
		l->reasons[l->n_reasons].class = go_reason_classify(copy);
		l->n_reasons++;
	}
	log_debug("go", "%zu wait reasons at %#llx", l->n_reasons,
		  (unsigned long long)at);
	return NULL;
}

struct error *go_layout_reasons(struct go_layout *layout,
				const struct go_segment *segments, size_t n)
{
	struct reason_search search = { .mem = layout->mem };

	if (go_layout_scan(layout->mem, segments, n, find_reasons, &search) < 0)
		return &error_nomem;
	return search.at ? read_reasons(layout, search.at) : NULL;
}

enum go_reason_class go_reason_classify(const char *text)
{
	static const struct {
		const char *prefix;
		enum go_reason_class class;
	} table[] = {
		// longer ones before those that they start with
		{ "IO wait", GO_REASON_IO },
		{ "chan receive (nil chan)", GO_REASON_FOREVER },
		{ "chan send (nil chan)", GO_REASON_FOREVER },
		{ "select (no cases)", GO_REASON_FOREVER },
		{ "chan receive", GO_REASON_CHAN_RECV },
		{ "chan send", GO_REASON_CHAN_SEND },
		{ "select", GO_REASON_SELECT },
		{ "semacquire", GO_REASON_SEMA },
		{ "sync.Cond.Wait", GO_REASON_COND },
		{ "sync.", GO_REASON_SEMA },
		{ "sleep", GO_REASON_SLEEP },
		{ "coroutine", GO_REASON_COROUTINE },
		{ "GC ", GO_REASON_RUNTIME },
		{ "GOMAXPROCS", GO_REASON_RUNTIME },
		{ "garbage collection", GO_REASON_RUNTIME },
		{ "finalizer wait", GO_REASON_RUNTIME },
		{ "cleanup wait", GO_REASON_RUNTIME },
		{ "force gc", GO_REASON_RUNTIME },
		{ "timer goroutine", GO_REASON_RUNTIME },
		{ "trace", GO_REASON_RUNTIME },
		{ "wait for GC cycle", GO_REASON_RUNTIME },
		{ "stopping the world", GO_REASON_RUNTIME },
		{ "flushing proc caches", GO_REASON_RUNTIME },
		{ "wait until GC ends", GO_REASON_RUNTIME },
		{ "dumping heap", GO_REASON_RUNTIME },
		{ "page trace flush", GO_REASON_RUNTIME },
		{ "debug call", GO_REASON_RUNTIME },
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (!strncmp(text, table[i].prefix, strlen(table[i].prefix)))
			return table[i].class;
	return GO_REASON_OTHER;
}
