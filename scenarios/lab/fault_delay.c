/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A full queue: a token bucket on the way to b, and a filler that keeps as
 * much in it as takes the delay to send. The queue has room for more, so that
 * what passes is late, and not lost.
 */

#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "scenarios/lab/lab_priv.h"

#define QUEUE_BYTES 64000
#define QUEUE_ROOM (1 << 20)
#define FRAME_BYTES 1000
#define STEP_MS 10
#define ETHERTYPE_EXPERIMENT 0x88b5 /* IEEE 802, local experimental 1 */

struct filler {
	struct lab_breaking *fault;
	int sock, ifindex, netns, keeper;
	char device[LAB_DEVICE_MAX];
};

/* To a hardware address that nobody has: b's kernel drops it unseen. */
static const uint8_t frame[FRAME_BYTES] = { 0x02,
					    0x00,
					    0x5e,
					    0x00,
					    0x00,
					    0x99, /* to */
					    0x02,
					    0x00,
					    0x5e,
					    0x00,
					    0x00,
					    0x98, /* from */
					    ETHERTYPE_EXPERIMENT >> 8,
					    ETHERTYPE_EXPERIMENT & 0xff };

static struct error *open_filler(struct filler *f)
{
	struct sockaddr_ll to = { .sll_family = AF_PACKET };
	int room = QUEUE_ROOM;

	if (setns(f->netns, CLONE_NEWNET))
		return error_os(errno, "cannot enter the queue's namespace");
	f->ifindex = (int)if_nametoindex(f->device);
	f->sock = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	to.sll_ifindex = f->ifindex;
	if (f->sock < 0 || !f->ifindex ||
	    bind(f->sock, (struct sockaddr *)&to, sizeof(to)))
		return error_os(errno, "cannot fill the queue of '%s'",
				f->device);
	// a wish; what the kernel gives anyone is enough for this queue
	if (setsockopt(f->sock, SOL_SOCKET, SO_SNDBUFFORCE, &room,
		       sizeof(room)))
		setsockopt(f->sock, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	return NULL;
}

/* Up to the mark; false: the queue is no more. */
static bool top_up(const struct filler *f)
{
	int backlog = lab_net_backlog(f->ifindex);

	if (backlog < 0)
		return false;
	for (; backlog < QUEUE_BYTES; backlog += FRAME_BYTES) {
		if (send(f->sock, frame, sizeof(frame), MSG_DONTWAIT) < 0)
			return errno == EAGAIN || errno == ENOBUFS;
	}
	return true;
}

/* Until its time is over, or the lab's. */
static void keep_full(const struct filler *f)
{
	int64_t end = clock_mono_ns() + LAB_DELAY_LIFE_MS * INT64_C(1000000);
	struct pollfd keeper = { .fd = f->keeper, .events = POLLIN };

	while (top_up(f) && clock_mono_ns() < end) {
		if (poll(&keeper, 1, STEP_MS) > 0)
			return;
	}
	f->fault->heal = true;
	error_free(lab_break_delay(f->fault));
}

static void run_filler(struct filler *f, int ready)
{
	struct lab_answer answer = { 0 };

	prctl(PR_SET_NAME, "lab-filler");
	setsid();
	struct error *err = open_filler(f);
	if (!err && !top_up(f))
		err = error_new(ERROR_OS, "cannot fill the queue of '%s'",
				f->device);
	bool failed = err != NULL;
	answer.helper = lab_process_of(getpid());
	lab_error_send(ready, err, &answer);
	if (failed)
		_exit(1);
	// nothing of whoever asked for the fault, such as its standard output
	f->sock = dup3(f->sock, 0, O_CLOEXEC);
	f->keeper = dup3(f->keeper, 1, O_CLOEXEC);
	close_range(2, ~0u, 0);
	keep_full(f);
	_exit(0);
}

static struct error *start_filler(struct filler *f, struct lab_answer *answer)
{
	struct error *err = NULL;
	int ends[2];

	if (pipe2(ends, O_CLOEXEC))
		return error_os(errno, "cannot make a pipe");
	pid_t pid = fork();
	if (pid == 0)
		run_filler(f, ends[1]);
	close(ends[1]);
	if (pid < 0 || !lab_error_receive(ends[0], answer, &err))
		err = error_new(ERROR_OS, "cannot start what fills the queue");
	close(ends[0]);
	return err;
}

/*
 * ARP and neighbour discovery give up after 3 s, and would wait in that queue
 * as everything does. So both sides of it know each other for good.
 */
static struct error *pin(struct lab_breaking *b)
{
	const char *host = b->plan->shape & LAB_ROUTER ? "r" : "a";
	AUTO_CLOSE int x = -1;
	AUTO_CLOSE int y = -1;
	struct lab_end end_x, end_y;
	struct error *err = lab_break_netns(b, host, &x);

	if (!err)
		err = lab_break_netns(b, "b", &y);
	if (err || !lab_plan_towards(b->plan, host, "b", &end_x) ||
	    !lab_plan_towards(b->plan, "b", host, &end_y))
		return err;
	err = lab_net_pin(x, &end_x, y, &end_y, !b->heal);
	return err ? err : lab_net_pin(y, &end_y, x, &end_x, !b->heal);
}

/* b may be gone, and its neighbours with it. */
static struct error *heal_delay(struct lab_breaking *b, const struct filler *f)
{
	struct error *err = pin(b);

	error_catch(&err, ERROR_GONE);
	return err ? err : lab_net_tbf(f->netns, f->device, 0, 0);
}

struct error *lab_break_delay(struct lab_breaking *b)
{
	const char *host = b->plan->shape & LAB_ROUTER ? "r" : "s";
	struct filler f = { .fault = b, .sock = -1, .netns = -1, .keeper = -1 };
	struct lab_end end;

	if (!lab_plan_towards(b->plan, host, "b", &end))
		return error_new(ERROR_USAGE, "no way from %s to b", host);
	snprintf(f.device, sizeof(f.device), "%s", end.device);
	struct error *err = lab_break_netns(b, host, &f.netns);
	if (!err && b->heal) {
		err = heal_delay(b, &f);
		close(f.netns);
		return err;
	}
	if (!err)
		err = pin(b);
	if (!err)
		err = lab_net_tbf(f.netns, f.device,
				  (int)(QUEUE_BYTES * 1000L / b->number),
				  QUEUE_BYTES + QUEUE_ROOM);
	f.keeper = lab_process_open(&b->st->keeper);
	if (!err)
		err = start_filler(&f, b->answer);
	cleanup_close(&f.netns);
	cleanup_close(&f.keeper);
	return err;
}
