/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime-hooks/task.h"

#include <stdlib.h>

void task_snapshot_destroy(struct task_snapshot *snap)
{
	if (!snap)
		return;
	arena_destroy(snap->arena);
	free(snap);
}

const struct task *task_snapshot_find(const struct task_snapshot *snap,
				      uint64_t id)
{
	size_t lo = 0, hi = snap->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (snap->tasks[mid].id < id)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo == snap->n || snap->tasks[lo].id != id)
		return NULL;
	return &snap->tasks[lo];
}

const char *wait_kind_name(enum wait_kind kind)
{
	static const char *const names[] = {
		[WAIT_NONE] = "none",
		[WAIT_READ] = "read",
		[WAIT_WRITE] = "write",
		[WAIT_ACCEPT] = "accept",
		[WAIT_CONNECT] = "connect",
		[WAIT_CHAN_SEND] = "chan send",
		[WAIT_CHAN_RECV] = "chan receive",
		[WAIT_SELECT] = "select",
		[WAIT_FOREVER] = "forever",
		[WAIT_MUTEX] = "mutex",
		[WAIT_RWMUTEX] = "rwmutex",
		[WAIT_WAITGROUP] = "waitgroup",
		[WAIT_COND] = "cond",
		[WAIT_SEMAPHORE] = "semaphore",
		[WAIT_SLEEP] = "sleep",
		[WAIT_SYSCALL] = "syscall",
		[WAIT_RUNTIME] = "runtime",
		[WAIT_OTHER] = "other",
		[WAIT_POLL] = "poll",
		[WAIT_EPOLL] = "epoll",
		[WAIT_IO_URING] = "io_uring",
		[WAIT_FUTEX] = "futex",
	};

	if ((size_t)kind >= sizeof(names) / sizeof(names[0]))
		return "other";
	return names[kind];
}

const char *task_state_name(enum task_state state)
{
	static const char *const names[] = {
		[TASK_RUNNABLE] = "runnable",	[TASK_RUNNING] = "running",
		[TASK_SYSCALL] = "syscall",	[TASK_WAITING] = "waiting",
		[TASK_PREEMPTED] = "preempted", [TASK_COPYSTACK] = "copystack",
		[TASK_LEAKED] = "leaked",	[TASK_IDLE] = "idle",
		[TASK_UNKNOWN] = "unknown",
	};

	if ((size_t)state >= sizeof(names) / sizeof(names[0]))
		return "unknown";
	return names[state];
}

const char *wait_object_name(enum wait_object_kind kind)
{
	switch (kind) {
	case OBJECT_CHAN:
		return "chan";
	case OBJECT_MUTEX:
		return "mutex";
	case OBJECT_RWMUTEX:
		return "rwmutex";
	case OBJECT_WAITGROUP:
		return "waitgroup";
	case OBJECT_COND:
		return "cond";
	case OBJECT_SEMAPHORE:
		return "semaphore";
	case OBJECT_FUTEX:
		return "futex";
	}
	return "?";
}

const char *task_runtime_name(enum task_runtime kind)
{
	switch (kind) {
	case TASK_GO:
		return "go";
	case TASK_COROUTINE:
		return "coroutine";
	case TASK_THREAD:
		return "thread";
	}
	return "?";
}
