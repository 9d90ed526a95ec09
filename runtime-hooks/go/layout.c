/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime-hooks/go/layout.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

#define WINDOW_BYTES (256u << 10)
#define WINDOW_TAIL 24 /* three words more: a match may start in the last */
/* Of writable memory with pointers; kubelet has 3 MB, the largest seen 9 MB. */
#define SCAN_MAX (256ull << 20)

#define CANDIDATES_MAX 1024
#define SURVIVORS_MAX 256
#define CHECK_SAMPLES 32

struct slice {
	raddr_t at; /* where the header is */
	raddr_t array;
	uint64_t len, cap;
	raddr_t first; /* element 0 */
};

struct allgs_search {
	struct go_layout *layout;
	struct slice todo[CANDIDATES_MAX];
	size_t n_todo;
	struct slice survivors[SURVIVORS_MAX];
	size_t n_survivors;
};

static int scan_one(struct go_live *mem, const struct go_segment *seg,
		    uint8_t *buf, go_window_fn *fn, void *arg)
{
	raddr_t addr = (seg->start + 7) & ~7ULL;
	raddr_t end = seg->end;

	if (end > addr + SCAN_MAX)
		end = addr + SCAN_MAX;
	for (; addr < end; addr += WINDOW_BYTES) {
		size_t want = WINDOW_BYTES + WINDOW_TAIL;
		size_t words;

		if (end - addr < want)
			want = end - addr;
		memset(buf + want, 0, WINDOW_BYTES + WINDOW_TAIL - want);
		if (!go_live_read(mem, addr, buf, want)) {
			if (mem->error)
				return 0;
			memset(buf, 0, want);
		}
		words = want > WINDOW_BYTES ? WINDOW_BYTES / 8 : want / 8;
		if (!fn(arg, &(struct go_window){
				     .addr = addr,
				     .bytes = buf,
				     .n_words = words,
			     }))
			return 1;
	}
	return 0;
}

int go_layout_scan(struct go_live *mem, const struct go_segment *segments,
		   size_t n, go_window_fn *fn, void *arg)
{
	uint8_t *buf = malloc(WINDOW_BYTES + WINDOW_TAIL);
	int rc = 0;

	if (!buf)
		return -ENOMEM;
	for (size_t i = 0; i < n && !rc; i++)
		rc = scan_one(mem, &segments[i], buf, fn, arg);
	free(buf);
	return rc;
}

/* Does @g hold together as a g: sched.g points back, a stack or none? */
static bool is_g(const uint8_t *bytes, raddr_t g)
{
	uint64_t lo = go_word(bytes + GO_G_STACK_LO);
	uint64_t hi = go_word(bytes + GO_G_STACK_HI);

	if (go_word(bytes + GO_G_SELF) != g)
		return false;
	return lo < hi || (!lo && !hi); // a dead one may have given it back
}

/* Keep of the candidates those whose element 0 is a g. */
static void sift(struct allgs_search *search)
{
	struct go_live *mem = search->layout->mem;
	struct process_read_req reqs[CANDIDATES_MAX];
	uint8_t head[GO_G_SELF + 8];
	size_t n = search->n_todo;

	search->n_todo = 0;
	for (size_t i = 0; i < n; i++)
		reqs[i] = (struct process_read_req){
			.addr = search->todo[i].array,
			.buf = &search->todo[i].first,
			.len = 8
		};
	int rc = mem->read(mem->arg, reqs, n);
	if (rc < 0) {
		mem->error = rc;
		return;
	}
	for (size_t i = 0; i < n; i++) {
		struct slice *s = &search->todo[i];

		if (!reqs[i].ok || !go_live_plausible(s->first) ||
		    !go_live_read(mem, s->first, head, sizeof(head)))
			continue;
		if (is_g(head, s->first) && go_word(head) &&
		    search->n_survivors < SURVIVORS_MAX)
			search->survivors[search->n_survivors++] = *s;
	}
}

static bool collect_slices(void *arg, const struct go_window *window)
{
	struct allgs_search *search = arg;

	for (size_t i = 0; i < window->n_words; i++) {
		const uint8_t *w = window->bytes + i * 8;
		struct slice s = {
			.at = window->addr + i * 8,
			.array = go_word(w),
			.len = go_word(w + 8),
			.cap = go_word(w + 16),
		};

		if (!go_live_plausible(s.array) || !s.len || s.len > s.cap ||
		    s.cap > 2ull * TASK_MAX_TASKS)
			continue;
		search->todo[search->n_todo++] = s;
		if (search->n_todo == CANDIDATES_MAX)
			sift(search);
	}
	return true;
}

/* How many of up to CHECK_SAMPLES elements, spread over @s, are g's. */
static unsigned check_spread(struct go_live *mem, const struct slice *s,
			     unsigned *checked)
{
	size_t step = s->len > CHECK_SAMPLES ? s->len / CHECK_SAMPLES : 1;
	unsigned passed = 0;

	*checked = 0;
	for (size_t i = 0; i < s->len && *checked < CHECK_SAMPLES; i += step) {
		uint8_t head[GO_G_SELF + 8];
		raddr_t g;

		++*checked;
		if (go_live_read(mem, s->array + i * 8, &g, 8) &&
		    go_live_plausible(g) &&
		    go_live_read(mem, g, head, sizeof(head)) && is_g(head, g))
			passed++;
	}
	return passed;
}

struct twin_search {
	raddr_t array, self;
	unsigned found;
};

static bool count_twins(void *arg, const struct go_window *window)
{
	struct twin_search *t = arg;

	for (size_t i = 0; i < window->n_words; i++)
		t->found += go_word(window->bytes + i * 8) == t->array &&
			    window->addr + i * 8 != t->self;
	return true;
}

/* runtime.allgptr is another word equal to the array's address. */
static unsigned twins(struct go_layout *layout, const struct slice *s,
		      const struct go_segment *segments, size_t n)
{
	struct twin_search t = { .array = s->array, .self = s->at };

	if (go_layout_scan(layout->mem, segments, n, count_twins, &t) < 0)
		return 0;
	return t.found;
}

static bool better(const struct go_layout *l, unsigned n_twins, uint64_t len)
{
	if (!l->allgs)
		return true;
	if (!n_twins != !l->allgs_twins)
		return n_twins;
	return len > l->allgs_seen;
}

static void choose(struct allgs_search *search,
		   const struct go_segment *segments, size_t n)
{
	struct go_layout *l = search->layout;

	for (size_t i = 0; i < search->n_survivors; i++) {
		const struct slice *s = &search->survivors[i];
		unsigned checked, passed, n_twins;

		passed = check_spread(l->mem, s, &checked);
		if (passed * 4 < checked * 3)
			continue;
		l->allgs_candidates++;
		n_twins = twins(l, s, segments, n);
		if (!better(l, n_twins, s->len))
			continue;
		l->allgs = s->at;
		l->allgs_seen = s->len;
		l->allgs_checked = checked;
		l->allgs_passed = passed;
		l->allgs_twins = n_twins;
	}
}

static struct error *read_error(const struct go_layout *layout)
{
	int rc = layout->mem->error;

	if (rc)
		return error_os(-rc, "cannot read the memory of the program");
	return NULL;
}

static struct error *find_allgs(struct go_layout *layout,
				const struct go_segment *segments, size_t n)
{
	struct allgs_search *search = calloc(1, sizeof(*search));
	struct error *err;
	int rc;

	if (!search)
		return &error_nomem;
	search->layout = layout;
	rc = go_layout_scan(layout->mem, segments, n, collect_slices, search);
	if (rc >= 0) {
		sift(search);
		choose(search, segments, n);
	}
	free(search);
	if (rc < 0)
		return &error_nomem;
	err = read_error(layout);
	if (err)
		return err;
	log_debug("go", "allgs at %#llx: %zu elements, %u candidates, %u twins",
		  (unsigned long long)layout->allgs, layout->allgs_seen,
		  layout->allgs_candidates, layout->allgs_twins);
	if (!layout->allgs)
		return error_new(ERROR_CORRUPT,
				 "no list of goroutines in the program's data; "
				 "it may not have started yet");
	return NULL;
}

bool go_layout_allgs(struct go_layout *layout, raddr_t *array_ret,
		     size_t *n_ret)
{
	// the runtime writes the three words one by one: until two reads agree
	for (int tries = 0; tries < 4; tries++) {
		uint64_t a[3], b[3];

		if (!go_live_read(layout->mem, layout->allgs, a, sizeof(a)) ||
		    !go_live_read(layout->mem, layout->allgs, b, sizeof(b)))
			return false;
		if (memcmp(a, b, sizeof(a)) != 0 || !go_live_plausible(a[0]) ||
		    !a[1] || a[1] > a[2] || a[2] > 2ull * TASK_MAX_TASKS)
			continue;
		*array_ret = a[0];
		*n_ret = a[1];
		return true;
	}
	return false;
}

static size_t take_samples(struct go_layout *layout, struct go_sample *samples,
			   size_t max)
{
	raddr_t array;
	size_t len, step, n = 0;

	if (!go_layout_allgs(layout, &array, &len))
		return 0;
	step = len > max ? len / max : 1;
	for (size_t i = 0; i < len && n < max; i += step) {
		struct go_sample *s = &samples[n];

		memset(s, 0, sizeof(*s));
		if (!go_live_read(layout->mem, array + i * 8, &s->addr, 8) ||
		    !go_live_plausible(s->addr))
			continue;
		// the end of a g near an unmapped page reads as zeros
		if (!go_live_read(layout->mem, s->addr, s->bytes,
				  sizeof(s->bytes)) &&
		    go_word(s->bytes + GO_G_SELF) != s->addr)
			continue;
		n += is_g(s->bytes, s->addr);
	}
	return n;
}

#define FIELD_SAMPLES 256

static struct error *find_fields(struct go_layout *layout)
{
	struct go_sample *samples = calloc(FIELD_SAMPLES, sizeof(*samples));
	struct error *err;
	size_t n;

	if (!samples)
		return &error_nomem;
	n = take_samples(layout, samples, FIELD_SAMPLES);
	err = read_error(layout);
	if (!err)
		err = go_layout_fields(layout, samples, n);
	free(samples);
	return err;
}

struct error *go_layout_find(struct go_layout *layout,
			     const struct go_segment *segments, size_t n)
{
	struct error *err;

	err = find_allgs(layout, segments, n);
	if (err)
		return err;
	err = find_fields(layout);
	if (err)
		return err;
	return go_layout_reasons(layout, segments, n);
}

#define SAY(...)                                                               \
	do {                                                                   \
		snprintf(text, sizeof(text), __VA_ARGS__);                     \
		line(arg, text);                                               \
	} while (0)

static void explain_waits(const struct go_layout *l,
			  void (*line)(void *arg, const char *text), void *arg)
{
	char text[256];

	if (l->sudog_c)
		SAY("channels: sudog.c %u%s, recvq %u, sendq %u; "
		    "%u waits agree, %u do not",
		    l->sudog_c, l->sudog_tracked ? " (pair)" : "",
		    l->hchan_recvq, l->hchan_recvq + 16, l->chan_confirmed,
		    l->chan_refuted);
	else
		SAY("channels: no goroutine waits on one, not calibrated");
	if (l->poll_rg)
		SAY("pollDesc: fd %u%s, rg %u, wg %u, deadlines %u and %u; "
		    "%u waits agree, %u do not",
		    l->poll_fd, l->poll_fd_proved ? " (proved)" : "",
		    l->poll_rg, l->poll_wg, l->poll_rd, l->poll_wd,
		    l->poll_confirmed, l->poll_refuted);
	else
		SAY("pollDesc: no goroutine waits for I/O, not calibrated");
	if (l->m_procid)
		SAY("m.procid %u", l->m_procid);
	else
		SAY("m.procid: no goroutine is on a thread, not calibrated");
}

void go_layout_explain(const struct go_layout *l,
		       void (*line)(void *arg, const char *text), void *arg)
{
	char text[256];

	SAY("allgs at %#llx: %zu goroutines, %u of %u samples hold, "
	    "%u candidates, %s",
	    (unsigned long long)l->allgs, l->allgs_seen, l->allgs_passed,
	    l->allgs_checked, l->allgs_candidates,
	    l->allgs_twins ? "allgptr agrees" : "no allgptr seen");
	SAY("g: status %u, goid %u, waitreason %u, syscallsp %u%s "
	    "(%u samples, %u candidates)",
	    l->g_status, l->g_goid, l->g_waitreason, l->g_syscallsp,
	    l->g_syscallsp_sure ? "" : " (by version)", l->g_samples,
	    l->g_status_candidates);
	SAY("g: gopc %u, startpc %u, parent %u, waiting %u, labels %u "
	    "(%u candidates)",
	    l->g_gopc, l->g_startpc, l->g_parent, l->g_waiting, l->g_labels,
	    l->g_start_candidates);
	SAY("wait reasons: %zu texts", l->n_reasons);
	explain_waits(l, line, arg);
}
