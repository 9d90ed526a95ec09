/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime-hooks/go/layout.h"

#include <string.h>

#include "base/log.h"

/*
 * Channels. sudog: g 0, next 8, prev 16, elem 24, ..., waitlink, waittail, c.
 * In 1.26 elem and c became pairs {pointer, the same as a number}, of which
 * the first is cleared while the runtime looks for leaks.
 * hchan: qcount 0, dataqsiz 8, buf 16, elemsize 24, closed 28, [timer 32,]
 * elemtype, sendx, recvx, recvq {first, last}, sendq {first, last}.
 */
#define SUDOG_BYTES 112
#define SUDOG_C_FROM 72
#define SUDOG_C_TO 96
#define HCHAN_BYTES 112
#define RECVQ_FROM 48

/*
 * Where in the channel @c is a queue of which @sudog is the first or the last?
 * Its own links say which: alone it is both. 0: nowhere, or in the middle.
 */
static unsigned find_queue(struct go_live *mem, raddr_t c, raddr_t sudog,
			   const uint8_t *s, unsigned from)
{
	bool first = !go_word(s + 16), last = !go_word(s + 8);
	uint8_t b[HCHAN_BYTES];

	if (!go_live_plausible(c) || !go_live_peek(mem, c, b, sizeof(b)))
		return 0;
	for (unsigned k = from; k <= from + 48 && k + 16 <= HCHAN_BYTES; k += 8)
		if ((go_word(b + k) == sudog) == first &&
		    (go_word(b + k + 8) == sudog) == last && (first || last))
			return k;
	return 0;
}

/*
 * recvq has been at 56 (to 1.22) and 64, sendq 16 after it: the four places
 * differ, so a select's queue tells which it is. 0: a place never seen.
 */
static unsigned recvq_of_select(unsigned queue)
{
	if (queue == 56 || queue == 64)
		return queue;
	return queue == 72 || queue == 80 ? queue - 16 : 0;
}

bool go_layout_learn_chan(struct go_layout *l, raddr_t g, raddr_t sudog,
			  bool send, bool select)
{
	uint8_t s[SUDOG_BYTES];
	unsigned add = send ? 16 : 0;

	if (l->sudog_c)
		return true;
	if (!go_live_peek(l->mem, sudog, s, sizeof(s)) || go_word(s) != g)
		return false;
	for (unsigned o = SUDOG_C_FROM; o <= SUDOG_C_TO; o += 8) {
		raddr_t c = go_word(s + o);
		unsigned k = find_queue(l->mem, c, sudog, s, RECVQ_FROM + add);

		if (k && select)
			k = recvq_of_select(k);
		if (!k)
			continue;
		l->sudog_tracked = o + 8 < SUDOG_BYTES &&
				   go_word(s + o + 8) == c;
		// only the second of the pair is there during a leak search
		if (o == SUDOG_C_TO) {
			l->sudog_tracked = true;
			o -= 8;
		}
		l->sudog_c = (uint16_t)o;
		l->hchan_recvq = (uint16_t)(k - add);
		log_debug("go", "learned sudog.c %u%s, hchan.recvq %u",
			  l->sudog_c, l->sudog_tracked ? " (pair)" : "",
			  l->hchan_recvq);
		return true;
	}
	return false;
}

/*
 * Poll descriptors (netpoll.go). What is known of the shape:
 *   1.17.13-1.20  link 0, fd 8, atomicInfo 16, rg 24, wg 32, ..., seq 56
 *   1.21-1.27     link 0, fd 8, fdseq 16, atomicInfo 24, rg 32, wg 40, ...,
 *                 seq 64; then in both: rt timer, rd, wseq, wt timer, wd, self
 *   1.16-1.17.5   link 0, lock 8, fd 16, ..., rseq 32, rg 40, rt timer, rd,
 *                 wseq, wg, wt timer, wd, self
 * self points to the descriptor, so the size of the timers, which changes, is
 * half of what lies between.
 */
#define POLL_BYTES 512
#define TIMER_MIN 48
#define TIMER_MAX 192

struct poll_shape {
	unsigned fd, rg, wg, rd, wd;
};

static unsigned find_word(const uint8_t *b, unsigned from, unsigned to,
			  uint64_t value)
{
	for (unsigned o = from; o + 8 <= to; o += 8)
		if (go_word(b + o) == value)
			return o;
	return 0;
}

/* rd and wd of the layouts with rg and wg side by side, by the two timers. */
static void place_deadlines(struct poll_shape *s, unsigned self)
{
	unsigned seq = s->rg + 32, timer;

	if (self < seq + 32 || (self - seq - 32) % 16)
		return;
	timer = (self - seq - 32) / 2;
	if (timer < TIMER_MIN || timer > TIMER_MAX)
		return;
	s->rd = seq + 8 + timer;
	s->wd = self - 8;
}

static bool old_shape(struct poll_shape *s, unsigned self)
{
	unsigned timer = (self - 80) / 2;

	if (self < 80 || timer < TIMER_MIN || timer > TIMER_MAX)
		return false;
	s->fd = 16;
	s->rg = 40;
	s->rd = s->rg + 8 + timer;
	s->wg = s->rd + 16;
	s->wd = self - 8;
	return true;
}

/* The shape that has the waiting goroutine at @hit. */
static bool shape_of(struct poll_shape *s, unsigned hit, bool write,
		     unsigned self)
{
	*s = (struct poll_shape){ .fd = 8 };
	if (old_shape(s, self) && hit == (write ? s->wg : s->rg))
		return true;
	*s = (struct poll_shape){ .fd = 8 };
	s->rg = write ? hit - 8 : hit;
	s->wg = s->rg + 8;
	if (s->rg < 16 || s->wg > 96)
		return false;
	place_deadlines(s, self);
	return true;
}

/* poll.FD's Sysfd says which word is the fd. */
static void prove_fd(struct poll_shape *s, const uint8_t *b, int sysfd,
		     bool *proved)
{
	*proved = false;
	if (sysfd < 0)
		return;
	if (go_word(b + s->fd) != (uint64_t)sysfd)
		for (unsigned o = 8; o < s->rg; o += 8)
			if (go_word(b + o) == (uint64_t)sysfd)
				s->fd = o;
	*proved = go_word(b + s->fd) == (uint64_t)sysfd;
}

static size_t peek_desc(struct go_live *mem, raddr_t pd, uint8_t *b)
{
	for (size_t len = POLL_BYTES; len >= 256; len -= 64)
		if (go_live_peek(mem, pd, b, len))
			return len;
	return 0;
}

bool go_layout_learn_poll(struct go_layout *l, raddr_t g, raddr_t pd,
			  bool write, int sysfd)
{
	uint8_t b[POLL_BYTES] = { 0 };
	struct poll_shape shape;
	unsigned hit, self;
	bool proved;

	if (l->poll_rg)
		return true;
	if (!go_live_plausible(pd) || !peek_desc(l->mem, pd, b))
		return false;
	hit = find_word(b, 16, 256, g);
	self = find_word(b, 128, POLL_BYTES, pd);
	// without self it may be anything that happens to name the goroutine
	if (!hit || !self || !shape_of(&shape, hit, write, self))
		return false;
	prove_fd(&shape, b, sysfd, &proved);
	l->poll_fd = (uint16_t)shape.fd;
	l->poll_rg = (uint16_t)shape.rg;
	l->poll_wg = (uint16_t)shape.wg;
	l->poll_rd = (uint16_t)shape.rd;
	l->poll_wd = (uint16_t)shape.wd;
	l->poll_fd_proved = proved;
	log_debug("go", "learned pollDesc fd %u rg %u wg %u rd %u wd %u",
		  shape.fd, shape.rg, shape.wg, shape.rd, shape.wd);
	return true;
}

struct deadline go_layout_deadline(int64_t value)
{
	const int64_t far = INT64_C(1) << 59; // 18 years: as good as never

	if (!value)
		return (struct deadline){ .state = DEADLINE_NONE };
	if (value < 0)
		return (struct deadline){ .state = DEADLINE_EXPIRED };
	return (struct deadline){
		.state = DEADLINE_SET,
		.at_mono_ns = value < far ? value : far,
	};
}
