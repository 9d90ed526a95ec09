/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DETECTOR_GATE_LEAK_H
#define DETECTOR_GATE_LEAK_H

/**
 * What a process left behind, as values: made once, shown by many writers.
 *
 * A `struct gate_process` owns one arena; all that it points to lies there (or
 * in the policy, which lives longer), nothing in the snapshots that it was made
 * of.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/arena.h"
#include "base/gap.h"

/* Limits, with their reasons. */
#define GATE_MAX_FRAMES 64  /* shown of one stack */
#define GATE_MAX_LEAKS 1000 /* groups of one process; more are counted */
#define GATE_FINGERPRINT 17 /* 16 hex digits and a NUL */

enum leak_kind {
	LEAK_GOROUTINE,
	LEAK_COROUTINE,	 /* parked, and known to the coroutine hook */
	LEAK_CONNECTION, /* dead or half-closed, and held: no task waits */
};

struct leak_frame {
	const char *function, *file;
	uint32_t line;
	bool own; /* the program's own code */
};

struct policy_rule;

/** One group: same stack, same creator, same test. */
struct leak {
	enum leak_kind kind;
	char fingerprint[GATE_FINGERPRINT];
	size_t count;
	uint64_t before;	   /* that were there before, and count not */
	uint64_t id;		   /* goroutine id of the first; 0 none */
	const char *reason;	   /* "chan receive"; NULL: a connection */
	const char *test;	   /* "TestPool"; NULL: not known */
	const char *package;	   /* import path; NULL: not known */
	struct leak_frame *frames; /* innermost first */
	size_t n_frames;
	bool has_creator, has_site;
	struct leak_frame creator; /* created by */
	struct leak_frame site;	   /* where a person is to look first */
	const char *connection;	   /* "A:P -> B:P ESTABLISHED"; NULL none */
	const char *verdict;	   /* "half-open"; NULL: none was judged */
	const char *why;	   /* its first evidence, or NULL */
	bool verdict_certain;	   /* proven */
	bool dead; /* proven, and it is one that no peer will ever answer on */
	/* Filled in by the policy and the baseline. */
	bool known;			   /* stands in the baseline */
	const struct policy_rule *ignored; /* NULL: it counts */
};

/** Where the look at one process ended. */
enum gate_outcome {
	GATE_JUDGED,
	GATE_NOT_READ, /* it is of a runtime that we read, but could not be */
	GATE_KILLED,   /* it ended while it was looked at */
	GATE_FAILED,   /* it exits with a failure: not judged, as goleak does */
	GATE_FOREIGN,  /* not of a runtime that we read */
	GATE_COPY,     /* what fork made of a Go program: nothing runs in it */
	GATE_TOOLCHAIN, /* go, compile, link ...: nobody's leak but Go's own */
};

struct gate_process {
	struct gate_process *next;
	struct arena *arena;
	pid_t pid;
	enum gate_outcome outcome;
	uint8_t status; /* that it exits with */
	const char *cmdline, *exe, *cwd;
	const char *runtime; /* "go1.22.5" */
	const char *package; /* of its main package, or under test; NULL */
	const char *module;  /* path of its main module; NULL */
	bool is_test;
	pid_t parent;
	bool may_be_cached; /* GATE_TOOLCHAIN: a go test, as in gotest.h */
	const char *why;    /* GATE_NOT_READ: the reason */
	/* No other goroutine can run while the exit waits: there was no time
	 * of grace. Because of a single P; or, starved, most likely because a
	 * garbage collection waits for the thread that exits. */
	bool no_grace, starved;
	int64_t held_ms; /* how long its exit was held up */
	uint64_t tasks;	 /* goroutines that were looked at */
	struct leak *leaks;
	size_t n_leaks;
	uint64_t leaks_cut;   /* groups beyond GATE_MAX_LEAKS */
	uint64_t start_ticks; /* with the pid: which process it was */
	/* Looks at it while it went on; 0: it was looked at as it exited. */
	uint64_t looks;
	struct gaps gaps;
};

/** "goroutine", "coroutine", "connection". */
const char *leak_kind_name(enum leak_kind kind);

/** Leaks that fail the build: neither known nor ignored. */
size_t gate_process_new_leaks(const struct gate_process *p);

/** A new one with its arena, NULL when out of memory. */
struct gate_process *gate_process_create(pid_t pid);
void gate_process_destroy(struct gate_process *p);

/**
 * The test that a function belongs to: "TestPool" for
 * "example.com/x.TestPool.func1", also FuzzX, BenchmarkX and ExampleX; "" when
 * it is none. Pure.
 */
void leak_test_name(const char *function, char *buf, size_t size);

/** The import path in a function's name, unescaped; Pure. */
void leak_package_name(const char *function, char *buf, size_t size);

/**
 * Fill in the fingerprint: from function names alone, of the creator and of the
 * outermost frames, which stay the same wherever in a loop it is parked.
 */
void leak_fingerprint(struct leak *leak);

#endif
