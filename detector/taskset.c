/* SPDX-License-Identifier: Apache-2.0 */
#include "detector/taskset.h"

const struct task_mark *task_set_mark(const struct task_set *set, uint64_t id)
{
	size_t lo = 0, hi = set->marks ? set->n_marks : 0;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (set->marks[mid].id < id)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (!set->marks || lo == set->n_marks || set->marks[lo].id != id)
		return NULL;
	return &set->marks[lo];
}

const char *task_word(enum task_runtime runtime)
{
	switch (runtime) {
	case TASK_GO:
		return "goroutine";
	case TASK_COROUTINE:
		return "coroutine";
	case TASK_THREAD:
		return "thread";
	}
	return "task";
}

uint64_t task_counts_sum(const struct task_counts *counts)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < sizeof(counts->of) / sizeof(*counts->of); i++)
		sum += counts->of[i];
	return sum;
}

bool task_is_blocked(const struct task *task)
{
	switch (task->state) {
	case TASK_WAITING:
	case TASK_LEAKED:
		return true;
	case TASK_SYSCALL:
		return task->fd_proof == FD_SYSCALL ||
		       task->wait == WAIT_POLL || task->wait == WAIT_EPOLL ||
		       task->wait == WAIT_IO_URING || task->wait == WAIT_FUTEX;
	case TASK_RUNNABLE:
	case TASK_RUNNING:
	case TASK_PREEMPTED:
	case TASK_COPYSTACK:
	case TASK_IDLE:
	case TASK_UNKNOWN:
		return false;
	}
	return false;
}

void task_set_deinit(struct task_set *set)
{
	task_snapshot_destroy(set->snapshot);
	if (set->source && set->context)
		set->source->detach(set->context);
	*set = (struct task_set){ 0 };
}
