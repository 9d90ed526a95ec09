/* SPDX-License-Identifier: Apache-2.0 */
#include "detector/judge.h"

static const struct judgement fine = { .what = JUDGED_FINE };
static const struct judgement unknown = { .what = JUDGED_UNKNOWN };

static struct judgement found(enum finding_kind kind, enum grade grade)
{
	return (struct judgement){ .what = JUDGED_FINDING,
				   .kind = kind,
				   .grade = grade };
}

enum keepalive_state socket_keepalive(const struct tcp_socket *s)
{
	const struct tcp_sample *sample = tcp_socket_latest(s);

	if (s->options.known)
		return s->options.keepalive ? KEEPALIVE_ON : KEEPALIVE_OFF;
	if (sample->timer == TCP_TIMER_KEEPALIVE)
		return KEEPALIVE_ON;
	/*
	 * With keepalive the timer of an idle ESTABLISHED socket always runs
	 * (inet_csk_reset_keepalive_timer, Linux 6.18): none means off.
	 */
	if (sample->timer == TCP_TIMER_OFF &&
	    sample->state == TCP_STATE_ESTABLISHED)
		return KEEPALIVE_OFF;
	return KEEPALIVE_UNKNOWN;
}

bool task_waits_on_network(const struct task *task)
{
	switch (task->wait) {
	case WAIT_READ:
	case WAIT_WRITE:
	case WAIT_ACCEPT:
	case WAIT_CONNECT:
		return true;
	case WAIT_NONE:
	case WAIT_CHAN_SEND:
	case WAIT_CHAN_RECV:
	case WAIT_SELECT:
	case WAIT_FOREVER:
	case WAIT_MUTEX:
	case WAIT_RWMUTEX:
	case WAIT_WAITGROUP:
	case WAIT_COND:
	case WAIT_SEMAPHORE:
	case WAIT_SLEEP:
	case WAIT_SYSCALL:
	case WAIT_RUNTIME:
	case WAIT_OTHER:
	case WAIT_POLL:
	case WAIT_EPOLL:
	case WAIT_IO_URING:
	case WAIT_FUTEX:
		/* A poller's record that names it is proof enough. */
		return task->fd_proof == FD_PROVEN;
	}
	return false;
}

/* The threshold that applies to @grade. */
static int64_t min_blocked(const struct judge_limits *limits, enum grade grade)
{
	if (limits->min_blocked_ms >= 0)
		return limits->min_blocked_ms;
	return grade == GRADE_POSSIBLE ? JUDGE_MIN_BLOCKED_POSSIBLE_MS : 0;
}

static bool in_handshake(const struct tcp_socket *s)
{
	return tcp_socket_latest(s)->state == TCP_STATE_SYN_SENT;
}

static enum finding_kind kind_of(const struct task *task,
				 const struct tcp_socket *s)
{
	if (task->wait == WAIT_CONNECT || in_handshake(s))
		return FINDING_STRANDED_CONNECT;
	if (task->wait == WAIT_WRITE)
		return FINDING_STRANDED_WRITER;
	return FINDING_STRANDED_READER;
}

static const struct deadline *deadline_of(const struct task *task)
{
	return task->wait == WAIT_WRITE || task->wait == WAIT_CONNECT
		       ? &task->write_deadline
		       : &task->read_deadline;
}

static bool deadline_ends_it(const struct task *task,
			     const struct judge_limits *limits)
{
	const struct deadline *d = deadline_of(task);

	if (d->state == DEADLINE_EXPIRED)
		return true;
	return d->state == DEADLINE_SET &&
	       d->at_mono_ns - limits->now_mono_ns <
		       JUDGE_DEADLINE_FAR_MS * INT64_C(1000000);
}

/* A reader on a connection of which nothing tells alive from dead. */
static struct judgement judge_silent(const struct task *task,
				     const struct tcp_socket *s,
				     enum finding_kind kind)
{
	if (task->wait == WAIT_WRITE || task->wait == WAIT_CONNECT)
		return fine;
	if (socket_keepalive(s) == KEEPALIVE_ON)
		return fine; /* the kernel will find out */
	return found(kind, GRADE_POSSIBLE);
}

/*
 * In CLOSE_WAIT the peer has closed; a parked reader would have been given the
 * end of file. In FIN_WAIT2 it was us who said goodbye, and waiting for the
 * rest of the peer's answer is what a half-close is for.
 */
static struct judgement judge_half_closed(const struct task *task,
					  const struct tcp_socket *s)
{
	if (tcp_socket_latest(s)->state == TCP_STATE_FIN_WAIT2)
		return judge_silent(task, s, FINDING_HALF_CLOSED_HELD);
	return found(FINDING_HALF_CLOSED_HELD, GRADE_PROVEN);
}

/* Zero window, and nothing was taken between the two looks. */
static struct judgement judge_not_reading(const struct task *task,
					  const struct tcp_socket *s)
{
	if (task->wait != WAIT_WRITE)
		return fine;
	if (s->second_state == TCP_SAMPLED &&
	    (s->first.info.known & s->second.info.known & TCP_INFO_BYTES) &&
	    s->first.info.bytes_acked != s->second.info.bytes_acked)
		return fine;
	return found(FINDING_STRANDED_WRITER, GRADE_LIKELY);
}

/* The same data lies in the queue twice, and the reader still sleeps. */
static struct judgement judge_not_woken(const struct task *task,
					const struct blocked_for *blocked,
					const struct tcp_socket *s)
{
	if (task->wait != WAIT_READ || s->second_state != TCP_SAMPLED ||
	    !s->first.rqueue || s->first.rqueue != s->second.rqueue ||
	    s->first.info.bytes_received != s->second.info.bytes_received ||
	    blocked->at_least_ms < 1000)
		return fine;
	return found(FINDING_STRANDED_READER, GRADE_LIKELY);
}

static struct judgement judge_connecting(const struct task *task,
					 const struct tcp_socket *s)
{
	if (in_handshake(s) &&
	    tcp_socket_latest(s)->info.retransmits >= JUDGE_SYN_RETRANSMITS)
		return found(kind_of(task, s), GRADE_LIKELY);
	return fine;
}

static struct judgement by_verdict(const struct task *task,
				   const struct blocked_for *blocked,
				   const struct tcp_socket *s,
				   const struct verdict *verdict)
{
	switch (verdict->kind) {
	case VERDICT_HALF_OPEN:
	case VERDICT_LOCAL_CAUSE:
		return found(kind_of(task, s),
			     verdict->certain ? GRADE_PROVEN : GRADE_LIKELY);
	case VERDICT_UNREACHABLE:
	case VERDICT_PATH_MTU:
		return found(kind_of(task, s), GRADE_LIKELY);
	case VERDICT_HALF_CLOSED:
		return judge_half_closed(task, s);
	case VERDICT_PEER_NOT_READING:
		return judge_not_reading(task, s);
	case VERDICT_DATA_WAITING:
		return judge_not_woken(task, blocked, s);
	case VERDICT_SILENT:
		return judge_silent(task, s, kind_of(task, s));
	case VERDICT_CONNECTING:
		return judge_connecting(task, s);
	case VERDICT_ALIVE:
	case VERDICT_LISTENING:
		return fine;
	case VERDICT_UNKNOWN:
		return unknown;
	}
	return unknown;
}

struct judgement judge_wait(const struct task *task,
			    const struct blocked_for *blocked,
			    const struct tcp_socket *s,
			    const struct verdict *verdict,
			    const struct judge_limits *limits)
{
	struct judgement j = by_verdict(task, blocked, s, verdict);

	if (j.what == JUDGED_FINE)
		return j;
	/* Whatever it is, it will be over. */
	if (deadline_ends_it(task, limits)) {
		j.what = j.what == JUDGED_FINDING && j.grade != GRADE_POSSIBLE
				 ? JUDGED_ENDS
				 : JUDGED_FINE;
		return j;
	}
	if (j.what == JUDGED_FINDING &&
	    !blocked_maybe(blocked, min_blocked(limits, j.grade)))
		j.what = JUDGED_YOUNG;
	return j;
}

/* Since when the peer's FIN is here, at least, in milliseconds. */
static int64_t half_closed_for_ms(const struct tcp_socket *s)
{
	const struct tcp_sample *sample = tcp_socket_latest(s);

	if (sample->info.known & TCP_INFO_BASE)
		return sample->info.last_ack_recv_ms;
	return 0;
}

struct judgement judge_idle(const struct tcp_socket *s,
			    const struct verdict *verdict,
			    const struct judge_limits *limits)
{
	switch (verdict->kind) {
	case VERDICT_HALF_OPEN:
	case VERDICT_LOCAL_CAUSE:
		return found(FINDING_DEAD_IDLE,
			     verdict->certain ? GRADE_PROVEN : GRADE_LIKELY);
	case VERDICT_UNREACHABLE:
		/* A handshake without a waiter is a connect with a timer. */
		if (in_handshake(s))
			return fine;
		return found(FINDING_DEAD_IDLE, GRADE_LIKELY);
	case VERDICT_HALF_CLOSED:
		if (tcp_socket_latest(s)->state != TCP_STATE_CLOSE_WAIT ||
		    half_closed_for_ms(s) < (limits->min_blocked_ms >= 0
						     ? limits->min_blocked_ms
						     : JUDGE_HALF_CLOSED_MS))
			return fine;
		return found(FINDING_HALF_CLOSED_HELD, GRADE_LIKELY);
	case VERDICT_PATH_MTU:
	case VERDICT_PEER_NOT_READING:
	case VERDICT_DATA_WAITING:
	case VERDICT_ALIVE:
	case VERDICT_SILENT:
	case VERDICT_UNKNOWN:
	case VERDICT_LISTENING:
	case VERDICT_CONNECTING:
		return fine;
	}
	return fine;
}

struct judgement judge_group_member(const struct task *task,
				    const struct blocked_for *blocked,
				    const struct judge_limits *limits)
{
	if (task->leaked || task->state == TASK_LEAKED)
		return found(FINDING_BLOCKED_GROUP, GRADE_PROVEN);
	switch (task->wait) {
	case WAIT_CHAN_SEND:
	case WAIT_FOREVER:
	case WAIT_MUTEX:
	case WAIT_RWMUTEX:
	case WAIT_WAITGROUP:
	case WAIT_FUTEX: /* a lock or an idle worker; rules tell some */
		break;
	case WAIT_NONE:
	case WAIT_READ:
	case WAIT_WRITE:
	case WAIT_ACCEPT:
	case WAIT_CONNECT:
	case WAIT_CHAN_RECV: /* an idle worker looks the same */
	case WAIT_SELECT:
	case WAIT_COND:
	case WAIT_SEMAPHORE:
	case WAIT_SLEEP:
	case WAIT_SYSCALL:
	case WAIT_RUNTIME:
	case WAIT_OTHER:
	case WAIT_POLL:
	case WAIT_EPOLL:
	case WAIT_IO_URING:
		return fine;
	}
	/* Here the lower end counts: many wait briefly in a busy program. */
	if (blocked->at_least_ms < min_blocked(limits, GRADE_POSSIBLE))
		return fine;
	return found(FINDING_BLOCKED_GROUP, GRADE_POSSIBLE);
}
