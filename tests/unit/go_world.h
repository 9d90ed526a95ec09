/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_GO_WORLD_H
#define TESTS_UNIT_GO_WORLD_H

/**
 * A Go runtime's memory as a test wants it: g's, stacks, sudogs, channels and
 * poll descriptors at the offsets of one version, by the tables of
 * runtime/runtime2.go, chan.go and netpoll.go of that version. Functions have
 * made-up pcs with one fixed frame size, names are real.
 *
 * The reader may be made to change the memory while it is read.
 */

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "runtime-hooks/go/goroutine.h"
#include "runtime-hooks/go/wait.h"

#define WORLD_BASE 0xc000000000ULL
#define WORLD_BYTES (5120u << 10)
#define WORLD_DATA WORLD_BASE /* data and bss: the first 16 KB */
#define WORLD_DATA_BYTES 0x4000u
#define WORLD_TEXT 0x401000ULL
#define WORLD_FUNC_BYTES 0x100u
#define WORLD_FRAME 64u /* of every function, return address included */
#define WORLD_STACK 2048u
#define WORLD_MAX_GS 2048

/* Offsets that moved between versions. */
struct world_shape {
	const char *name;
	int minor;
	unsigned status, syscallsp, gopc, lockedm, procid;
	bool parent;
	unsigned sudog_c, recvq;
	bool pair;
	unsigned poll_fd, poll_rg, poll_wg, poll_rd, poll_wd, poll_self;
};

static const struct world_shape world_shapes[] = {
	{ "go1.17.1", 17, 144, 112, 296, 232, 72, false, 80, 56, false, 16, 40,
	  136, 120, 216, 224 },
	{ "go1.20", 20, 144, 112, 296, 232, 72, false, 80, 56, false, 8, 24, 32,
	  136, 224, 232 },
	{ "go1.22", 22, 144, 112, 280, 208, 72, true, 80, 56, false, 8, 32, 40,
	  144, 232, 240 },
	{ "go1.24", 24, 152, 112, 288, 216, 72, true, 80, 64, false, 8, 32, 40,
	  160, 264, 272 },
	{ "go1.25", 25, 144, 104, 280, 208, 64, true, 80, 64, false, 8, 32, 40,
	  168, 280, 288 },
	{ "go1.27", 27, 144, 104, 288, 208, 64, true, 88, 64, true, 8, 32, 40,
	  168, 280, 288 },
};
#define WORLD_SHAPES (sizeof(world_shapes) / sizeof(world_shapes[0]))

enum world_func {
	F_GOEXIT,
	F_MAIN_MAIN,
	F_RUNTIME_MAIN,
	F_GOPARK,
	F_CHANRECV,
	F_POLLWAIT,
	F_FD_READ,
	F_FD_WRITE,
	F_SEMACQUIRE,
	F_LOCKSLOW,
	F_WORKER,
	F_OTHER_WORKER,
	F_BGSWEEP,
	F_NOTIFYWAIT,
	F_COND_WAIT,
	F_WAIT_READ,
	F_WAIT_WRITE,
	WORLD_FUNCS
};

static const char *const world_names[WORLD_FUNCS] = {
	[F_GOEXIT] = "runtime.goexit",
	[F_MAIN_MAIN] = "main.main",
	[F_RUNTIME_MAIN] = "runtime.main",
	[F_GOPARK] = "runtime.gopark",
	[F_CHANRECV] = "runtime.chanrecv",
	[F_POLLWAIT] = "internal/poll.runtime_pollWait",
	[F_FD_READ] = "internal/poll.(*FD).Read",
	[F_FD_WRITE] = "internal/poll.(*FD).Write",
	[F_SEMACQUIRE] = "runtime.semacquire1",
	[F_LOCKSLOW] = "sync.(*Mutex).lockSlow",
	[F_WORKER] = "main.worker",
	[F_OTHER_WORKER] = "main.otherWorker",
	[F_BGSWEEP] = "runtime.bgsweep",
	[F_NOTIFYWAIT] = "sync.runtime_notifyListWait",
	[F_COND_WAIT] = "sync.(*Cond).Wait",
	[F_WAIT_READ] = "internal/poll.(*pollDesc).waitRead",
	[F_WAIT_WRITE] = "internal/poll.(*pollDesc).waitWrite",
};

/* Some of waitReasonStrings, in an order of our own: it has changed before. */
enum world_reason {
	R_ZERO,
	R_ASSIST,
	R_IO,
	R_SEND,
	R_RECV,
	R_SELECT,
	R_MUTEX,
	R_COND,
	R_SWEEP,
	R_SLEEP,
	R_FOREVER,
	WORLD_REASONS
};

static const char *const world_reasons[WORLD_REASONS] = {
	"",
	"GC assist marking",
	"IO wait",
	"chan send",
	"chan receive",
	"select",
	"sync.Mutex.Lock",
	"sync.Cond.Wait",
	"GC sweep wait",
	"sleep",
	"select (no cases)",
};

struct world {
	const struct world_shape *shape;
	uint8_t *bytes;
	raddr_t next; /* free memory */
	raddr_t gs[WORLD_MAX_GS];
	size_t n_gs;
	raddr_t allgs, array;
	struct arena *arena; /* frames and stacks */
	/* reading */
	uint64_t reads, bytes_read;
	void (*on_read)(struct world *w, raddr_t addr, size_t len);
	raddr_t watch;
	int budget;
	bool ended; /* the process has */
	/* what is tested */
	struct go_symbols sym;
	struct go_live live;
	struct go_layout layout;
	struct go_goroutines *goroutines;
};

static inline uint8_t *world_at(struct world *w, raddr_t addr)
{
	return w->bytes + (addr - WORLD_BASE);
}

static inline void world_put(struct world *w, raddr_t addr, uint64_t v)
{
	memcpy(world_at(w, addr), &v, 8);
}

static inline uint64_t world_get(struct world *w, raddr_t addr)
{
	return go_word(world_at(w, addr));
}

static inline raddr_t world_alloc(struct world *w, size_t size)
{
	raddr_t at = w->next;

	w->next += (size + 63) & ~(size_t)63;
	if (w->next > WORLD_BASE + WORLD_BYTES)
		abort();
	return at;
}

static inline int world_read(void *arg, struct process_read_req *reqs, size_t n)
{
	struct world *w = arg;

	for (size_t i = 0; i < n; i++) {
		struct process_read_req *r = &reqs[i];

		if (w->ended) {
			for (; i < n; i++)
				reqs[i].ok = false;
			return -ESRCH;
		}

		r->ok = r->addr >= WORLD_BASE &&
			r->addr <= WORLD_BASE + WORLD_BYTES &&
			r->len <= WORLD_BASE + WORLD_BYTES - r->addr;
		if (!r->ok)
			continue;
		memcpy(r->buf, world_at(w, r->addr), r->len);
		w->reads++;
		w->bytes_read += r->len;
		if (w->on_read)
			w->on_read(w, r->addr, r->len);
	}
	return 0;
}

static inline raddr_t world_entry(enum world_func f)
{
	return WORLD_TEXT + (raddr_t)f * WORLD_FUNC_BYTES;
}

/* The pc after a call in @f, as a return address has it. */
static inline raddr_t world_pc(enum world_func f)
{
	return world_entry(f) + 0x20;
}

static inline bool world_func(void *arg, raddr_t pc, struct go_func *ret)
{
	uint64_t i = (pc - WORLD_TEXT) / WORLD_FUNC_BYTES;

	(void)arg;
	if (pc < WORLD_TEXT || i >= WORLD_FUNCS)
		return false;
	*ret = (struct go_func){ .entry = world_entry((enum world_func)i),
				 .index = (uint32_t)i,
				 .name = world_names[i],
				 .top_frame = i == F_GOEXIT };
	return true;
}

static inline bool world_is_entry(void *arg, raddr_t pc)
{
	struct go_func f;

	return world_func(arg, pc, &f) && f.entry == pc;
}

static inline bool world_func_by_name(void *arg, const char *name,
				      struct go_func *ret)
{
	for (unsigned i = 0; i < WORLD_FUNCS; i++)
		if (!strcmp(name, world_names[i]))
			return world_func(arg, world_entry(i), ret);
	return false;
}

static inline bool world_frame_size(void *arg, raddr_t pc, bool is_return,
				    uint32_t *ret)
{
	struct go_func f;

	(void)is_return;
	if (!world_func(arg, pc, &f))
		return false;
	*ret = pc == f.entry ? 8 : WORLD_FRAME;
	return true;
}

static inline const struct frame *world_frame(void *arg, raddr_t pc)
{
	struct world *w = arg;
	struct frame *f;
	struct go_func func;

	if (!world_func(arg, pc, &func))
		return NULL;
	f = arena_alloc(w->arena, sizeof(*f));
	if (!f)
		return NULL;
	f->pc = pc;
	f->function = func.name;
	f->file = "x.go";
	f->line = (uint32_t)(pc - func.entry);
	return f;
}

static inline const struct stack *world_stack(void *arg, const raddr_t *pcs,
					      size_t n, bool first_is_return,
					      bool incomplete, bool truncated)
{
	struct world *w = arg;
	struct stack *s = arena_alloc(w->arena, sizeof(*s));
	const struct frame **v = arena_array(w->arena, n + 1, sizeof(*v));

	(void)first_is_return;
	if (!s || !v)
		return NULL;
	for (size_t i = 0; i < n; i++) {
		v[s->n] = world_frame(arg, pcs[i]);
		s->n += v[s->n] != NULL;
	}
	s->frames = v;
	s->incomplete = incomplete;
	s->truncated = truncated;
	return s;
}

static inline const char *world_type_name(void *arg, raddr_t type)
{
	(void)arg;
	return type == WORLD_TEXT ? "main.payload" : NULL;
}

static inline int world_thread_syscall(void *arg, pid_t tid,
				       struct process_syscall *ret)
{
	(void)arg;
	*ret = (struct process_syscall){ .nr = 0 /* read */, .args = { 7 } };
	return tid == 4242 ? 0 : -ESRCH;
}

static inline void world_put_string(struct world *w, raddr_t header,
				    const char *s)
{
	raddr_t text = strlen(s) ? world_alloc(w, strlen(s)) : 0;

	if (text)
		memcpy(world_at(w, text), s, strlen(s));
	world_put(w, header, text);
	world_put(w, header + 8, strlen(s));
}

static inline void world_init(struct world *w, const struct world_shape *shape)
{
	raddr_t reasons = WORLD_DATA + 0x1000;

	memset(w, 0, sizeof(*w));
	w->shape = shape;
	w->bytes = calloc(1, WORLD_BYTES);
	w->arena = arena_create();
	if (!w->bytes || !w->arena || go_live_init(&w->live, world_read, w) < 0)
		abort();
	w->next = WORLD_BASE + WORLD_DATA_BYTES;
	w->array = world_alloc(w, WORLD_MAX_GS * 8);
	w->allgs = WORLD_DATA + 0x100;
	world_put(w, w->allgs, w->array);
	world_put(w, w->allgs + 16, WORLD_MAX_GS);
	world_put(w, WORLD_DATA + 0x200, w->array); // allgptr
	for (unsigned i = 0; i < WORLD_REASONS; i++)
		world_put_string(w, reasons + i * 16, world_reasons[i]);
	w->sym = (struct go_symbols){
		.arg = w,
		.func = world_func,
		.is_entry = world_is_entry,
		.func_by_name = world_func_by_name,
		.frame_size = world_frame_size,
		.stack = world_stack,
		.creator = world_frame,
		.start = world_frame,
		.type_name = world_type_name,
		.thread_syscall = world_thread_syscall,
	};
	w->layout = (struct go_layout){ .mem = &w->live,
					.sym = &w->sym,
					.arena = w->arena,
					.minor = shape->minor };
}

static inline void world_deinit(struct world *w)
{
	go_goroutines_destroy(w->goroutines);
	go_live_deinit(&w->live);
	arena_destroy(w->arena);
	free(w->bytes);
}

/* The word @i of frame @f (0: innermost) of goroutine @g; WORLD_FRAME / 8 - 1
 * is the return address, WORLD_FRAME / 8 the first word of the next frame. */
static inline raddr_t world_slot(struct world *w, raddr_t g, unsigned f,
				 unsigned i)
{
	return world_get(w, g + GO_G_SP) + f * WORLD_FRAME + i * 8;
}

/* Park @g in the functions @frames, innermost first; goexit is added. */
static inline void world_park(struct world *w, raddr_t g, const int *frames,
			      size_t n)
{
	raddr_t hi = world_get(w, g + GO_G_STACK_HI);
	raddr_t sp = hi - 64 - (n + 1) * WORLD_FRAME;

	world_put(w, g + GO_G_SP, sp);
	world_put(w, g + GO_G_PC, world_pc(frames[0]));
	world_put(w, g + w->shape->syscallsp - 8, hi - 128); // gobuf.bp
	for (size_t i = 0; i < n; i++)
		world_put(w, sp + (i + 1) * WORLD_FRAME - 8,
			  world_pc(i + 1 < n ? frames[i + 1] : F_GOEXIT));
}

static inline void world_status(struct world *w, raddr_t g, unsigned status,
				unsigned reason)
{
	uint8_t *at = world_at(w, g + w->shape->status);

	memcpy(at, &status, 4);
	at[32] = (uint8_t)reason;
}

/* A goroutine that waits for @reason in the @n functions @frames. */
static inline raddr_t world_go(struct world *w, enum world_func start,
			       unsigned reason, const int *frames, size_t n)
{
	const struct world_shape *s = w->shape;
	raddr_t stack = world_alloc(w, WORLD_STACK), g = world_alloc(w, 448);

	world_put(w, g + GO_G_STACK_LO, stack);
	world_put(w, g + GO_G_STACK_HI, stack + WORLD_STACK);
	world_put(w, g + GO_G_SELF, g);
	world_put(w, g + s->status - 16, stack + WORLD_STACK - 32);
	world_put(w, g + s->status + 8, w->n_gs + 1);
	world_put(w, g + s->gopc + 16, world_entry(start));
	world_put(w, g + s->gopc, world_pc(F_MAIN_MAIN));
	if (s->parent && w->n_gs)
		world_put(w, g + s->gopc - 8, 1);
	world_status(w, g, GO_WAITING, reason);
	world_park(w, g, frames, n);
	world_put(w, w->array + w->n_gs * 8, g);
	w->gs[w->n_gs++] = g;
	world_put(w, w->allgs + 8, w->n_gs);
	return g;
}

#define WORLD_GO(w, start, reason, ...)                                        \
	world_go(w, start, reason, (const int[]){ __VA_ARGS__ },               \
		 sizeof((const int[]){ __VA_ARGS__ }) / sizeof(int))

/* What every program has: main, and @extra goroutines of the runtime. */
static inline void world_usual(struct world *w, unsigned extra)
{
	WORLD_GO(w, F_RUNTIME_MAIN, R_SLEEP, F_GOPARK, F_MAIN_MAIN,
		 F_RUNTIME_MAIN);
	for (unsigned i = 0; i < extra; i++)
		WORLD_GO(w, F_BGSWEEP, R_SWEEP, F_GOPARK, F_BGSWEEP);
}

static inline raddr_t world_chan(struct world *w, uint64_t len, uint64_t cap)
{
	raddr_t c = world_alloc(w, 112);

	world_put(w, c, len);
	world_put(w, c + 8, cap);
	world_put(w, c + w->shape->recvq - 24, WORLD_TEXT);
	return c;
}

/* A sudog of @g, the last of @c's queue; @c 0: of no channel. */
static inline raddr_t world_sudog(struct world *w, raddr_t g, raddr_t c,
				  bool send)
{
	raddr_t s = world_alloc(w, 112), q = c + w->shape->recvq;

	world_put(w, s, g);
	if (!c)
		return s;
	q += send ? 16 : 0;
	world_put(w, s + w->shape->sudog_c, c);
	if (w->shape->pair)
		world_put(w, s + w->shape->sudog_c + 8, c);
	if (world_get(w, q)) {
		world_put(w, world_get(w, q + 8) + 8, s);
		world_put(w, s + 16, world_get(w, q + 8));
	} else {
		world_put(w, q, s);
	}
	world_put(w, q + 8, s);
	return s;
}

static inline void world_waiting(struct world *w, raddr_t g, raddr_t sudog)
{
	world_put(w, g + w->shape->gopc + 32, sudog);
}

/* A goroutine that receives from @c (or sends). */
static inline raddr_t world_receiver(struct world *w, raddr_t c, bool send)
{
	raddr_t g = WORLD_GO(w, F_WORKER, send ? R_SEND : R_RECV, F_GOPARK,
			     F_CHANRECV, F_WORKER);

	world_waiting(w, g, world_sudog(w, g, c, send));
	return g;
}

/* A goroutine that waits for I/O on @fd; *pd_ret is its pollDesc. */
static inline raddr_t world_poller(struct world *w, int fd, bool write,
				   raddr_t *pd_ret)
{
	const struct world_shape *s = w->shape;
	raddr_t pd = world_alloc(w, 512), pfd = world_alloc(w, 72), g;

	g = WORLD_GO(w, F_WORKER, R_IO, F_GOPARK, F_POLLWAIT,
		     write ? F_WAIT_WRITE : F_WAIT_READ,
		     write ? F_FD_WRITE : F_FD_READ, F_WORKER);
	world_put(w, pd + s->poll_fd, (uint64_t)fd);
	world_put(w, pd + (write ? s->poll_wg : s->poll_rg), g);
	world_put(w, pd + s->poll_self, pd);
	world_put(w, pfd + 16, (uint64_t)fd);
	world_put(w, pfd + 32, pd);
	// spilled arguments: of pollWait in frame 2, of FD.Read in frame 4
	world_put(w, world_slot(w, g, 2, 0), pd);
	world_put(w, world_slot(w, g, 4, 0), pfd);
	*pd_ret = pd;
	return g;
}

static inline struct error *world_find(struct world *w)
{
	struct go_segment data = { WORLD_DATA, WORLD_DATA + WORLD_DATA_BYTES };

	return go_layout_find(&w->layout, &data, 1);
}

/* A snapshot; the caller destroys it. NULL and *err on failure. */
static inline struct task_snapshot *world_snapshot(struct world *w,
						   struct error **err)
{
	struct task_snapshot *snap = calloc(1, sizeof(*snap));

	if (!snap)
		abort();
	snap->arena = arena_create();
	snap->gaps.arena = snap->arena;
	snap->taken_mono_ns = clock_mono_ns();
	if (!w->goroutines)
		w->goroutines =
			go_goroutines_create(&w->live, &w->layout, &w->sym);
	if (!w->goroutines || !snap->arena)
		abort();
	*err = go_goroutines_read(w->goroutines, &runtime_everything, 1000,
				  snap);
	if (!*err)
		return snap;
	task_snapshot_destroy(snap);
	return NULL;
}

#endif
