/* SPDX-License-Identifier: Apache-2.0 */
#include "detector/blocked.h"

enum task_motion task_motion(const struct task *task,
			     const struct task_mark *mark)
{
	if (!mark || mark->torn)
		return MOTION_NEW;
	if (mark->handle != task->handle || mark->state != task->state ||
	    mark->sp != task->sp || mark->pc != task->pc)
		return MOTION_MOVED;
	/* A worker parks at one place for whichever connection it serves. */
	if (task->fd >= 0 && mark->fd >= 0 && mark->fd != task->fd)
		return MOTION_MOVED;
	/*
	 * A count says it. When it parked may come out a little different the
	 * second time: a coroutine's is computed from the processor's counter.
	 */
	if (task->runs && task->runs == mark->runs)
		return MOTION_STILL;
	/*
	 * Go sets waitsince at a GC and clears it when the goroutine runs: an
	 * unset one that is set later is no motion, all other changes are.
	 */
	if (task->wait_since_mono_ns &&
	    task->wait_since_mono_ns != mark->wait_since_mono_ns)
		return MOTION_MOVED;
	if (task->runs && mark->runs && task->runs != mark->runs)
		return MOTION_AGAIN;
	return MOTION_STILL;
}

static void raise_at_least(struct blocked_for *b, int64_t ms,
			   enum blocked_source source)
{
	if (ms <= b->at_least_ms)
		return;
	b->at_least_ms = ms;
	b->at_least_source = source;
}

static void lower_at_most(struct blocked_for *b, int64_t ms,
			  enum blocked_source source)
{
	if (ms < 0 || (b->at_most_ms >= 0 && ms >= b->at_most_ms))
		return;
	b->at_most_ms = ms;
	b->at_most_source = source;
}

/*
 * A parked reader would have been woken by data, so it has not waited longer
 * than the connection is without; unless that data is still in the queue.
 */
static void bound_by_data(struct blocked_for *b, const struct blocked_input *in)
{
	const struct tcp_sample *s = tcp_socket_latest(in->socket);

	if (in->wait != WAIT_READ || s->rqueue ||
	    !(s->info.known & TCP_INFO_BASE))
		return;
	int64_t since = s->info.last_data_recv_ms;
	int64_t passed = (in->now_mono_ns - s->at_mono_ns) / 1000000;
	if (s->at_mono_ns && passed > 0)
		since += passed;
	lower_at_most(b, since, BLOCKED_LAST_DATA);
}

struct blocked_for blocked_interval(const struct blocked_input *in)
{
	struct blocked_for b = { .at_most_ms = -1 };
	int64_t before = in->task->parked_before_mono_ns;

	if (before > 0 && before < in->now_mono_ns)
		raise_at_least(&b, (in->now_mono_ns - before) / 1000000,
			       BLOCKED_WAITSINCE);
	raise_at_least(&b, in->observed_ms, BLOCKED_OBSERVED);
	lower_at_most(&b, in->process_age_ms, BLOCKED_PROCESS);
	if (in->socket)
		bound_by_data(&b, in);
	/*
	 * The kernel's last_data_recv counts jiffies, ours nanoseconds; and a
	 * goroutine that reads again and again at one place looks still.
	 */
	if (b.at_most_ms >= 0 && b.at_least_ms > b.at_most_ms)
		b.at_least_ms = b.at_most_ms;
	return b;
}
