/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_HOOKS_GO_LAYOUT_H
#define RUNTIME_HOOKS_GO_LAYOUT_H

/**
 * Where things are in this very runtime: the list of all goroutines, the
 * fields of g, sudog, hchan and pollDesc, the texts of the wait reasons.
 *
 * All of it is found in the live process by invariants (a g's sched.g is the
 * g itself; a channel's queue holds the sudog that names the channel; a
 * pollDesc's rg is the g that waits), never by a table of versions: minor
 * releases have moved fields. The Go version only breaks ties.
 *
 * What needs a goroutine in a certain wait to be seen (channels, poll
 * descriptors) is learned at the first such goroutine: go_layout_learn_*().
 *
 * Facts about the structs: runtime/runtime2.go, netpoll.go, chan.go of Go 1.17
 * to 1.27. Offsets of stack (0), m (48) and sched (56: sp, pc, g) have been
 * the same in all of them, and are checked on every g.
 */

#include "base/error.h"
#include "runtime-hooks/go/live.h"
#include "runtime-hooks/go/symbols.h"
#include "runtime-hooks/task.h"

#define GO_MAX_REASONS 256 /* waitReason is a uint8 */
#define GO_G_STACK_LO 0
#define GO_G_STACK_HI 8
#define GO_G_M 48
#define GO_G_SP 56
#define GO_G_PC 64
#define GO_G_SELF 72   /* sched.g */
#define GO_G_BYTES 512 /* of a g are looked at; it has 376 to 456 */

/* Status words (runtime2.go); numbers have never changed, only been added. */
enum go_status {
	GO_IDLE = 0,
	GO_RUNNABLE = 1,
	GO_RUNNING = 2,
	GO_SYSCALL = 3,
	GO_WAITING = 4,
	GO_DEAD = 6,
	GO_COPYSTACK = 8,
	GO_PREEMPTED = 9,
	GO_LEAKED = 10,	   /* 1.26 */
	GO_DEADEXTRA = 11, /* 1.26 */
};
#define GO_STATUS_SCAN 0x1000

/** Which reader of runtime structures a wait reason asks for. */
enum go_reason_class {
	GO_REASON_OTHER,
	GO_REASON_IO,
	GO_REASON_CHAN_RECV,
	GO_REASON_CHAN_SEND,
	GO_REASON_SELECT,
	GO_REASON_FOREVER,
	GO_REASON_SEMA, /* mutex, rwmutex, waitgroup, plain semaphore */
	GO_REASON_COND,
	GO_REASON_SLEEP,
	GO_REASON_RUNTIME,
	GO_REASON_COROUTINE, /* parked by coroswitch, which skips execute() */
};

struct go_reason {
	const char *text;
	enum go_reason_class class;
};

/** Offsets; 0 means not known where 0 cannot be one. */
struct go_layout {
	struct go_live *mem;
	const struct go_symbols *sym;
	struct arena *arena; /* texts */
	int minor;	     /* of the Go version, 0 unknown: breaks ties */

	raddr_t allgs;	   /* address of the slice header */
	size_t allgs_seen; /* its length when it was found */
	unsigned allgs_candidates, allgs_checked, allgs_passed, allgs_twins;

	uint16_t g_status, g_goid, g_waitsince, g_waitreason;
	uint16_t g_syscallsp; /* pc follows */
	uint16_t g_parent, g_gopc, g_startpc, g_waiting, g_labels;
	uint16_t g_lockedm; /* 0 until a locked goroutine was seen */
	uint16_t g_len;	    /* bytes to read of each g */
	unsigned g_samples, g_status_candidates, g_start_candidates;
	bool g_syscallsp_sure;

	struct go_reason reasons[GO_MAX_REASONS];
	size_t n_reasons;

	uint16_t m_procid; /* 0 until a carried goroutine was seen */

	uint16_t sudog_c, hchan_recvq; /* 0 until a channel wait was seen */
	bool sudog_tracked;	       /* 1.26: {vp, vu} pairs */
	unsigned chan_confirmed, chan_refuted;

	uint16_t poll_fd, poll_rg, poll_wg; /* 0 until an IO wait was seen */
	uint16_t poll_rd, poll_wd;	    /* 0: deadlines not found */
	bool poll_fd_proved;		    /* poll.FD's Sysfd said the same */
	unsigned poll_confirmed, poll_refuted;
};

/**
 * Find allgs, the fields of g, and the wait reasons.
 *
 * @param segments writable memory of the runtime's own module that may hold
 * pointers: data and bss, not noptr*.
 *
 * Fails: ERROR_CORRUPT (no list of goroutines, or one that makes no sense),
 * ERROR_GONE, ERROR_DENIED, ERROR_NOMEM.
 */
struct error *go_layout_find(struct go_layout *layout,
			     const struct go_segment *segments, size_t n);

/** runtime.allgs as it is now; false when it makes no sense at the moment. */
bool go_layout_allgs(struct go_layout *layout, raddr_t *array_ret,
		     size_t *n_ret);

/** Lines for `doctor`. */
void go_layout_explain(const struct go_layout *layout,
		       void (*line)(void *arg, const char *text), void *arg);

/**
 * Learn sudog.c and hchan.recvq from the goroutine @g that is in a channel
 * send or receive with the sudog @sudog; also counts agreement when they are
 * known already.
 *
 * @param select it is in a select, which may do either: then the queue's
 * place must be one that a known version uses, since those tell the direction.
 * Returns: are they known now?
 */
bool go_layout_learn_chan(struct go_layout *layout, raddr_t g, raddr_t sudog,
			  bool send, bool select);

/**
 * Learn the fields of pollDesc from the goroutine @g, parked in an IO wait on
 * the pollDesc @pd.
 *
 * @param write it waits to write. @param sysfd the fd as poll.FD has it, -1
 * when that was not found.
 */
bool go_layout_learn_poll(struct go_layout *layout, raddr_t g, raddr_t pd,
			  bool write, int sysfd);

/** The deadline that the word @value of pollDesc.rd or .wd means. */
struct deadline go_layout_deadline(int64_t value);

/** Class of a wait reason by its words. */
enum go_reason_class go_reason_classify(const char *text);

/* The parts of go_layout_find(), apart so that each can be tested. */

/** Words of a status that this or an older Go knows, scan bit or not. */
bool go_status_known(uint32_t status);

struct go_sample {
	raddr_t addr;
	uint8_t bytes[GO_G_BYTES];
};
/** Find the fields of g in @n samples, the main goroutine's among them. */
struct error *go_layout_fields(struct go_layout *layout,
			       const struct go_sample *samples, size_t n);

/** Walk segments in windows; each is seen with 24 bytes of the next. */
struct go_window {
	raddr_t addr;
	const uint8_t *bytes;
	size_t n_words; /* that may start a match */
};
typedef bool go_window_fn(void *arg, const struct go_window *window);
/** Returns 0, 1 when @fn said stop, or -ENOMEM. */
int go_layout_scan(struct go_live *mem, const struct go_segment *segments,
		   size_t n, go_window_fn *fn, void *arg);
/** Find runtime.waitReasonStrings; 0 reasons when it is not there. */
struct error *go_layout_reasons(struct go_layout *layout,
				const struct go_segment *segments, size_t n);

#endif
