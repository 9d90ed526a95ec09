/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_DETECT_H
#define TESTS_UNIT_DETECT_H

/**
 * Snapshots by hand, for the pure half of the detector: tasks with stacks,
 * connections with samples, verdicts. Times are milliseconds; "now" is
 * DETECT_NOW_MS on the monotonic clock.
 */

#include "detector/correlate.h"
#include "tests/unit/unit.h"

#define DETECT_NOW_MS INT64_C(100000000)
#define DETECT_MAX 2048

struct world {
	struct arena *arena;
	struct task_snapshot snap;
	struct task tasks[DETECT_MAX];
	struct tcp_snapshot tcp;
	struct tcp_socket sockets[DETECT_MAX];
	struct verdict verdicts[DETECT_MAX];
	struct process_fds fds;
	struct process_fd fd[DETECT_MAX];
	struct rules *rules;
	struct judge_limits limits;
	bool second_look;
};

static inline struct world *world_create(void)
{
	struct world *w = calloc(1, sizeof(*w));

	w->arena = arena_create();
	w->snap = (struct task_snapshot){ .arena = w->arena,
					  .runtime = "go1.22.5",
					  .tasks = w->tasks };
	w->snap.taken_mono_ns = DETECT_NOW_MS * 1000000;
	w->tcp = (struct tcp_snapshot){ .arena = w->arena,
					.v = w->sockets,
					.consistent = true };
	w->fds.v = w->fd;
	w->limits =
		(struct judge_limits){ .min_blocked_ms = -1,
				       .min_group = 100,
				       .now_mono_ns = DETECT_NOW_MS * 1000000 };
	assert_ok(rules_create(&w->rules));
	w->second_look = true;
	return w;
}

static inline void world_destroy(struct world *w)
{
	rules_destroy(w->rules);
	arena_destroy(w->arena);
	free(w);
}

static inline void worldp(struct world **w)
{
	world_destroy(*w);
}
#define AUTO_WORLD __attribute__((cleanup(worldp)))

static inline struct frame *make_frame(struct world *w, const char *function,
				       const char *file, uint32_t line)
{
	struct frame *f = arena_alloc(w->arena, sizeof(*f));

	f->function = function;
	f->file = file;
	f->line = line;
	f->pc = 0x400000 + line;
	f->offset = line;
	return f;
}

/** Functions, innermost first, NULL at the end; lines from @line on. */
static inline struct stack *make_stack(struct world *w, uint32_t line,
				       const char *const *functions)
{
	struct stack *s = arena_alloc(w->arena, sizeof(*s));
	const struct frame **v =
		arena_array(w->arena, TASK_MAX_FRAMES, sizeof(*v));

	for (; functions[s->n]; s->n++)
		v[s->n] = make_frame(w, functions[s->n], "/src/app/pool.go",
				     line + s->n);
	s->frames = v;
	return s;
}

static const char *const reader_functions[] = {
	"internal/poll.runtime_pollWait",
	"internal/poll.(*FD).Read",
	"net.(*netFD).Read",
	"net.(*conn).Read",
	"bufio.(*Reader).fill",
	"bufio.(*Reader).ReadSlice",
	"main.(*Pool).readReply",
	"main.(*Pool).Get",
	NULL,
};

/** A goroutine parked in a read on @fd (-1: waits on none). */
static inline struct task *add_task(struct world *w, enum wait_kind wait,
				    int fd)
{
	size_t i = w->snap.n++;
	struct task *t = &w->tasks[i];

	*t = (struct task){
		.id = 18 + i,
		.state = TASK_WAITING,
		.wait = wait,
		.reason = fd >= 0 ? "IO wait" : "chan send",
		.fd_proof = fd >= 0 ? FD_PROVEN : FD_NONE,
		.fd = fd,
		.read_deadline = { .state = DEADLINE_NONE },
		.write_deadline = { .state = DEADLINE_NONE },
		.sp = 0xc000100000 + i * 4096,
		.pc = 0x433333,
		.handle = 0xc000000000 + i * 512,
		.stack = make_stack(w, 100, reader_functions),
		.created_by = make_frame(w, "main.(*Pool).dial",
					 "/src/app/pool.go", 60),
	};
	return t;
}

static inline void put_endpoint(struct endpoint *e, uint8_t last, uint16_t port)
{
	*e = (struct endpoint){ .family = 2, .port = port };
	e->addr[0] = 10;
	e->addr[3] = last;
}

/** An ESTABLISHED idle socket, sampled twice, keepalive off. */
static inline struct tcp_socket *
add_socket(struct world *w, int fd, enum verdict_kind verdict, bool certain)
{
	size_t i = w->tcp.n++;
	struct tcp_socket *s = &w->sockets[i];
	struct tcp_sample sample = {
		.at_mono_ns = DETECT_NOW_MS * 1000000,
		.at_wall_ms = 1700000000000,
		.state = TCP_STATE_ESTABLISHED,
		.info = { .known = 0x1ff,
			  .last_data_recv_ms = 11000000,
			  .last_ack_recv_ms = 11000000,
			  .segs_in = 41 },
	};

	*s = (struct tcp_socket){ .inode = 1000 + i,
				  .first = sample,
				  .second = sample,
				  .second_state = TCP_SAMPLED,
				  .options = { .known = true } };
	put_endpoint(&s->local, 1, (uint16_t)(40000 + i));
	put_endpoint(&s->remote, 2, 6379);
	w->fd[w->fds.n++] = (struct process_fd){ .fd = fd,
						 .kind = PROCESS_FD_SOCKET,
						 .inode = 1000 + i,
						 .text = "socket" };
	w->verdicts[i] = (struct verdict){
		.kind = verdict,
		.certain = certain,
		.kernel_gives_up_ms = -1,
		.n_evidence = 1,
		.evidence = { { .kind = EVIDENCE_SEGMENTS,
				.text = "no segment for 3 h 02 min",
				.at_wall_ms = 1700000000000 } },
	};
	return s;
}

/** A reader on a socket of its own, with @verdict. */
static inline struct task *add_reader(struct world *w,
				      enum verdict_kind verdict, bool certain)
{
	int fd = 9 + (int)w->fds.n;

	add_socket(w, fd, verdict, certain);
	return add_task(w, WAIT_READ, fd);
}

static inline struct findings *
world_judge_marks(struct world *w, struct task_mark *marks, size_t n)
{
	struct findings *f = NULL;
	const struct task_set set = {
		.snapshot = &w->snap,
		.marks = marks,
		.n_marks = n,
		.observed_ms = marks ? 1000 : 0,
	};
	const struct correlate_input in = {
		.sets = &set,
		.n_sets = 1,
		.fds = &w->fds,
		.sockets = &w->tcp,
		.verdicts = w->verdicts,
		.rules = w->rules,
		.limits = w->limits,
		.process_age_ms = 20000000,
	};

	assert_ok(correlate(&in, &f));
	return f;
}

/** Judge it all; everyone is still where they were in the second look. */
static inline struct findings *world_judge(struct world *w)
{
	struct task_mark *marks =
		w->second_look ? correlate_marks(&w->snap, w->arena) : NULL;

	return world_judge_marks(w, marks, w->second_look ? w->snap.n : 0);
}

#endif
