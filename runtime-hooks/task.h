/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_HOOKS_TASK_H
#define RUNTIME_HOOKS_TASK_H

/**
 * What a task source yields: the goroutines, coroutines or threads of one
 * process at one moment, as an immutable value.
 *
 * A snapshot owns one arena; every pointer in it points there or, for stacks,
 * functions and type names, into the tables of the source that took it. So the
 * order is: destroy snapshots first, then detach the source. Nothing here is
 * escaped: names are the target's bytes.
 *
 * Not here: sockets and verdicts (netwatch), and what a wait means (detector).
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/gap.h"
#include "base/process.h"

/* Limits, with their reasons. */
#define TASK_MAX_FRAMES 1024   /* deep recursion; debug=2 prints 100 */
#define TASK_MAX_TASKS 8000000 /* goroutines of 2 KiB: 16 GB of stacks alone */
#define TASK_MAX_LABELS 64
#define TASK_MAX_OBJECTS 64    /* cases of one select that are decoded */
#define TASK_MAX_WAIT_FDS 1024 /* of one poll, select or epoll set */

enum task_runtime { TASK_GO, TASK_COROUTINE, TASK_THREAD };

enum task_state {
	TASK_RUNNABLE, /* could run, waits for a CPU */
	TASK_RUNNING,  /* on a CPU: it has no stack to show */
	TASK_SYSCALL,  /* in a system call or C code */
	TASK_WAITING,  /* parked */
	TASK_PREEMPTED,
	TASK_COPYSTACK,
	TASK_LEAKED,  /* the runtime itself has proven that it is leaked */
	TASK_IDLE,    /* being created or ended */
	TASK_UNKNOWN, /* a state that this version does not know */
};

enum wait_kind {
	WAIT_NONE, /* does not wait */
	WAIT_READ,
	WAIT_WRITE,
	WAIT_ACCEPT,
	WAIT_CONNECT,
	WAIT_CHAN_SEND,
	WAIT_CHAN_RECV,
	WAIT_SELECT,
	WAIT_FOREVER, /* nil channel, select{}: nothing can end it */
	WAIT_MUTEX,
	WAIT_RWMUTEX,
	WAIT_WAITGROUP,
	WAIT_COND,
	WAIT_SEMAPHORE, /* a runtime semaphore, owner not known */
	WAIT_SLEEP,
	WAIT_SYSCALL,  /* in a system call other than the above */
	WAIT_RUNTIME,  /* the runtime's own wait: GC worker, finalizer ... */
	WAIT_OTHER,    /* a reason that we have no kind for */
	WAIT_POLL,     /* poll, select and their kin: see task.fds */
	WAIT_EPOLL,    /* epoll_wait and its kin: task.fd is the epoll fd */
	WAIT_IO_URING, /* io_uring_enter: task.fd is the ring's fd */
	WAIT_FUTEX,    /* a lock, condition or join of native code */
};

/** One logical frame. Frames are interned: equal pc, equal pointer. */
struct frame {
	raddr_t pc;	      /* as on the stack: a return address */
	const char *function; /* as the runtime prints it: main.(*T).run */
	const char *file;     /* "?" when not known */
	uint32_t line;	      /* 0 when not known */
	uint32_t offset;      /* pc - start of the physical function */
	bool inlined;	      /* into the frame that follows it */
	bool runtime;	      /* a frame of the runtime's own package(s) */
	bool hidden;	      /* the runtime's own dump leaves it out, unless
				 it would leave out the whole stack */
	bool uncertain;	      /* found by a scan of the stack, not by call frame
			   information */
	bool own; /* native: code of the program itself (its executable, or a
		     library outside of the system's folders) */
	/* Native: file name of the ELF object it lies in, without folders;
	 * NULL for Go. `function` is never NULL: a symbol, or
	 * "libc.so.6+0x1234" where there is none, or "?". */
	const char *object;
};

/** A whole stack, innermost first; interned: equal stacks, equal pointer. */
struct stack {
	uint32_t n;
	bool truncated;	 /* more than TASK_MAX_FRAMES */
	bool incomplete; /* did not reach the outermost function */
	const struct frame *const *frames;
};

enum fd_proof {
	FD_UNKNOWN, /* the task waits on an fd that could not be told */
	FD_NONE,    /* it waits on no fd */
	FD_PROVEN,  /* the poller's record points back at the task */
	FD_SYSCALL, /* the argument of the system call its thread sits in */
	FD_HOOK,    /* the program or its library told the hook so */
	FD_LAST_IO, /* the last to answer EAGAIN on that stack: likely only */
};

/** One of the descriptors that a poll, select or epoll set watches. */
struct wait_fd {
	int fd;
	uint32_t events; /* POLLIN ... as poll(2); epoll's are the same bits */
};

enum deadline_state {
	DEADLINE_UNKNOWN,
	DEADLINE_NONE,
	DEADLINE_SET,	  /* falls due at at_mono_ns */
	DEADLINE_EXPIRED, /* is past: the next operation fails at once */
};

/** 8 bytes: there is one per task and direction, and tasks come by 100,000. */
struct deadline {
	enum deadline_state state : 3;
	int64_t at_mono_ns : 61; /* CLOCK_MONOTONIC; 0 unless SET; < 36 years */
};

enum blocked_source {
	BLOCKED_UNKNOWN,
	BLOCKED_WAITSINCE, /* the runtime's own mark (Go: set by a GC) */
	BLOCKED_OBSERVED,  /* same place in two snapshots of ours */
	BLOCKED_LAST_DATA, /* bounded by the last data on its socket */
	BLOCKED_PROCESS,   /* no longer than the process has lived */
};

/** How long a task has been blocked: an interval, in milliseconds. */
struct blocked_for {
	int64_t at_least_ms : 56; /* 0 when nothing is known */
	enum blocked_source at_least_source : 8;
	int64_t at_most_ms : 56; /* -1 when nothing is known */
	enum blocked_source at_most_source : 8;
};

enum wait_object_kind {
	OBJECT_CHAN,
	OBJECT_MUTEX,
	OBJECT_RWMUTEX,
	OBJECT_WAITGROUP,
	OBJECT_COND,
	OBJECT_SEMAPHORE, /* address of the semaphore word itself */
	OBJECT_FUTEX,	  /* address of the futex word */
};

/** What a task waits on when that is not an fd. A select has several. */
struct wait_object {
	raddr_t addr;
	uint64_t length;	  /* channel: elements held now */
	uint64_t capacity;	  /* channel: 0 is unbuffered */
	const char *element_type; /* channel: Go type name, NULL unknown */
	uint32_t waiters; /* tasks in the same queue, this one included */
	enum wait_object_kind kind : 8;
	bool send : 1;	       /* channel: it sends (else it receives) */
	bool closed : 1;       /* channel */
	bool counts_known : 1; /* length ... waiters were read */
};

struct label {
	const char *key, *value;
};

/**
 * One task. Kept small (about 180 bytes) by bit-fields, since a snapshot of
 * 100,000 goroutines has as many; members are used as ever, but have no
 * address.
 */
struct task {
	uint64_t id;	    /* goid; thread id; coroutine id */
	uint64_t parent_id; /* 0 when not known (Go before 1.21) */
	/* The runtime's own words: "IO wait"; of a thread, the name of the
	 * system call: "recvfrom"; never NULL. */
	const char *reason;
	const char *name; /* thread's comm, coroutine's name; NULL: none */
	enum task_state state : 8;
	enum wait_kind wait : 8;
	enum fd_proof fd_proof : 8;
	bool locked_to_thread : 1;
	bool leaked : 1;   /* the runtime's proof (Go 1.26 _Gleaked) */
	bool system : 1;   /* the runtime's own task, hidden by its own dump */
	bool torn : 1;	   /* changed while it was read, also after retries */
	bool partial : 1;  /* some of it could not be read; see the gaps */
	bool scan_bit : 1; /* the GC was scanning it: Go prints "(scan)" */
	bool fds_cut : 1;  /* the set holds more than `fds` lists */
	int fd;		   /* -1 when fd_proof is UNKNOWN or NONE */
	pid_t tid;	   /* thread that carries it; 0 none or not known */
	uint16_t n_objects;
	uint16_t n_labels;
	struct deadline read_deadline, write_deadline;
	/* The runtime's mark as it stands there, which its own dump shows as
	 * "minutes"; no bound of anything. 0: it has not marked it. */
	int64_t wait_since_mono_ns;
	int64_t parked_before_mono_ns; /* was parked by then; 0 not known */
	struct blocked_for blocked;
	/* Counts how often it was switched to (thread: context switches;
	 * coroutine: its record's generation): the same in two looks, and it
	 * has not run between them. 0: not known. */
	uint64_t runs;
	/* Time-out of the call it waits in, -1 none; of WAIT_POLL, WAIT_EPOLL,
	 * WAIT_IO_URING and WAIT_FUTEX only. */
	int64_t timeout_ms;
	/* What a WAIT_POLL or WAIT_EPOLL watches, as far as it could be told,
	 * at most TASK_MAX_WAIT_FDS; NULL: none, or not known. With WAIT_POLL
	 * fd is the only one of the set, or -1. */
	const struct wait_fd *fds;
	uint32_t n_fds;
	raddr_t sp, pc;			/* where it is parked; 0 when running */
	raddr_t handle;			/* address of its record (Go: the g) */
	const struct stack *stack;	/* NULL: none could be had */
	const struct frame *created_by; /* NULL: not known, or the main task */
	const struct frame *start;	/* start function, NULL: not known */
	const struct wait_object *objects;
	const struct label *labels;
};

struct task_snapshot {
	struct arena *arena;
	const char *runtime; /* "go1.22.5"; never NULL */
	enum task_runtime kind;
	int64_t taken_mono_ns; /* when the reading began */
	int64_t taken_wall_ms;
	int64_t duration_ns;
	int64_t stopped_ns; /* how long the target was stopped: 0 for Go */
	struct task *tasks; /* ascending by id */
	size_t n;
	uint64_t torn_retried; /* tasks that were read again */
	uint64_t torn;	       /* of these, still torn: marked */
	struct gaps gaps;
};

void task_snapshot_destroy(struct task_snapshot *snap);
/** Find by id; NULL when absent. */
const struct task *task_snapshot_find(const struct task_snapshot *snap,
				      uint64_t id);
/** "read", "chan send" ... for JSON and tests. */
const char *wait_kind_name(enum wait_kind kind);
/** "chan", "mutex" ... for text and JSON. */
const char *wait_object_name(enum wait_object_kind kind);
const char *task_state_name(enum task_state state);
/** "go", "coroutine", "thread". */
const char *task_runtime_name(enum task_runtime kind);

static inline void task_snapshot_destroyp(struct task_snapshot **snap)
{
	task_snapshot_destroy(*snap);
}
#define AUTO_TASKS __attribute__((cleanup(task_snapshot_destroyp)))

#endif
