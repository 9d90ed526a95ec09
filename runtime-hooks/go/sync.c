/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime-hooks/go/wait.h"

#include <stdlib.h>
#include <string.h>

#define SUDOG_BYTES 112
#define SUDOG_NEXT 8
#define SUDOG_PREV 16
#define SUDOG_ELEM 24
#define SUDOG_TICKET 48 /* behind elem, acquiretime and releasetime */
#define HCHAN_BYTES 112
#define SEARCH_MAX 4096	  /* bytes of a stack that are looked through */
#define COND_LIST 16	  /* sync.Cond {L Locker, notify notifyList} */
#define COND_WALK_MAX 256 /* waiters of one Cond that are walked */

/*
 * A sudog of the goroutine, through the cache or, when that is too old to
 * know it, from the target.
 */
static bool read_sudog(struct go_wait *w, raddr_t g, raddr_t addr, uint8_t *s)
{
	if (!go_live_plausible(addr))
		return false;
	if (go_live_peek(w->mem, addr, s, SUDOG_BYTES) && go_word(s) == g)
		return true;
	return go_live_read(w->mem, addr, s, SUDOG_BYTES) && go_word(s) == g;
}

/* A pointer that 1.26 keeps twice, of which the first may be cleared. */
static raddr_t tracked(const struct go_layout *l, const uint8_t *s, unsigned at)
{
	return go_word(s + at + (l->sudog_tracked ? 8 : 0));
}

static bool queue_holds(const uint8_t *c, unsigned q, raddr_t sudog,
			const uint8_t *s)
{
	if (!go_word(s + SUDOG_PREV) && go_word(c + q) != sudog)
		return false;
	if (!go_word(s + SUDOG_NEXT) && go_word(c + q + 8) != sudog)
		return false;
	return go_word(c + q) && go_word(c + q + 8);
}

struct chan_case {
	raddr_t sudog;
	const uint8_t *s; /* its bytes */
	raddr_t chan;
	bool both, send; /* direction is not known beforehand, or is @send */
};

static bool decode_chan(struct go_wait *w, const struct chan_case *c,
			const uint8_t *b, struct wait_object *o)
{
	const struct go_layout *l = w->layout;
	bool recv = queue_holds(b, l->hchan_recvq, c->sudog, c->s);
	bool send = queue_holds(b, l->hchan_recvq + 16u, c->sudog, c->s);

	if (!c->both && (c->send ? !send : !recv))
		return false;
	if (!send && !recv)
		return false;
	*o = (struct wait_object){
		.kind = OBJECT_CHAN,
		.addr = c->chan,
		.send = c->both ? send && !recv : c->send,
		.closed = go_half(b + 28) != 0,
		.counts_known = true,
		.length = go_word(b),
		.capacity = go_word(b + 8),
		.waiters = 1, // go_wait_count() adds the others
		.element_type = w->sym->type_name(
			w->sym->arg, go_word(b + l->hchan_recvq - 24)),
	};
	return o->length <= o->capacity;
}

static bool read_chan(struct go_wait *w, const struct chan_case *c,
		      struct wait_object *o)
{
	uint8_t b[HCHAN_BYTES];
	size_t len = w->layout->hchan_recvq + 32u;

	if (!go_live_plausible(c->chan) || len > sizeof(b))
		return false;
	if (go_live_peek(w->mem, c->chan, b, len) && decode_chan(w, c, b, o))
		return true;
	return go_live_read(w->mem, c->chan, b, len) && decode_chan(w, c, b, o);
}

static bool set_objects(struct go_wait *w, struct task *task,
			const struct wait_object *objects, size_t n)
{
	task->objects = arena_memdup(w->arena, objects, n * sizeof(*objects));
	task->n_objects = task->objects ? (uint16_t)n : 0;
	return true;
}

bool go_wait_chan(struct go_wait *w, const struct go_wait_on *on,
		  struct task *task)
{
	const struct go_layout *l = w->layout;
	struct wait_object objects[TASK_MAX_OBJECTS];
	raddr_t addr = on->waiting;
	size_t n = 0;
	bool select = on->class == GO_REASON_SELECT;

	if (!go_layout_learn_chan(w->layout, on->g, addr,
				  on->class == GO_REASON_CHAN_SEND, select)) {
		// one that comes later in the pass may teach it
		w->chans_unlearned += !w->first_round;
		return !w->first_round;
	}
	while (addr && n < TASK_MAX_OBJECTS) {
		uint8_t s[SUDOG_BYTES];
		struct chan_case c = { .sudog = addr,
				       .s = s,
				       .both = select,
				       .send = on->class ==
					       GO_REASON_CHAN_SEND };

		if (!read_sudog(w, on->g, addr, s))
			return false;
		c.chan = tracked(l, s, l->sudog_c);
		if (!read_chan(w, &c, &objects[n]))
			return false;
		n++;
		// the list of a select's sudogs is linked by waitlink
		addr = select ? go_word(s + l->sudog_c - 16) : 0;
	}
	w->layout->chan_confirmed++;
	return !n || set_objects(w, task, objects, n);
}

/* Frame sizes are the target's words too. */
static uint64_t search_end(uint32_t end)
{
	return end < SEARCH_MAX ? end : SEARCH_MAX;
}

/* The sudog of a semaphore wait: g.waiting since 1.26, else on the stack. */
static raddr_t find_sudog(struct go_wait *w, const struct go_wait_on *on,
			  bool want_elem, uint8_t *s)
{
	struct go_shape *shape = on->shape;
	uint64_t end, addr;

	if (on->waiting && read_sudog(w, on->g, on->waiting, s))
		return on->waiting;
	if (*on->known && read_sudog(w, on->g, *on->known, s) &&
	    (!want_elem || go_word(s + SUDOG_ELEM)))
		return *on->known;
	if (!shape || !shape->sudog_end)
		return 0;
	end = search_end(shape->sudog_end);
	// where it was on the last stack of this shape, then everywhere
	for (uint64_t i = 0, off = shape->found_at; i <= end; off = i, i += 8) {
		if (!go_stack_word(w->unwinder, on->view, off, &addr) ||
		    !go_live_plausible(addr) || addr == on->g ||
		    (addr >= on->view->sp && addr < on->view->hi) ||
		    !go_live_peek(w->mem, addr, s, SUDOG_BYTES) ||
		    go_word(s) != on->g)
			continue;
		// a released one has no element, and may still name the g
		if (want_elem && !go_word(s + SUDOG_ELEM))
			continue;
		shape->found_at = (uint32_t)off;
		*on->known = addr;
		return addr;
	}
	return 0;
}

/*
 * Is @sudog on the notifyList {wait u32, notify u32, lock, head, tail}? Its
 * ticket was drawn from wait, and notify did not come to it yet. The list of
 * many waiters is not walked to its end for each of them: a list of sudogs
 * that long, with tickets that fit, is no chance.
 */
static bool list_holds(struct go_wait *w, raddr_t list, raddr_t sudog,
		       uint32_t ticket)
{
	uint8_t b[32];
	uint64_t at;

	if (!go_live_peek(w->mem, list, b, sizeof(b)) ||
	    ticket - go_half(b + 4) >= go_half(b) - go_half(b + 4))
		return false;
	if (go_word(b + 24) == sudog)
		return true;
	at = go_word(b + 16);
	for (int i = 0; i < COND_WALK_MAX; i++) {
		if (!go_live_plausible(at))
			return false;
		if (at == sudog)
			return true;
		if (!go_live_word(w->mem, at + SUDOG_NEXT, &at))
			return false;
	}
	return true;
}

/* Until 1.25 the sudog of a Cond does not name it; Cond.Wait needs it later,
 * so it lies in that function's frame. */
static raddr_t find_cond(struct go_wait *w, const struct go_wait_on *on,
			 raddr_t sudog, uint32_t ticket)
{
	uint64_t end = on->shape ? search_end(on->shape->cond_end) : 0, addr;

	for (uint64_t off = 0; off < end; off += 8)
		if (go_stack_word(w->unwinder, on->view, off, &addr) &&
		    go_live_plausible(addr) && !(addr & 7) &&
		    !(addr >= on->view->sp && addr < on->view->hi) &&
		    list_holds(w, addr + COND_LIST, sudog, ticket))
			return addr;
	return 0;
}

static enum wait_object_kind object_kind(enum wait_kind kind)
{
	if (kind == WAIT_MUTEX)
		return OBJECT_MUTEX;
	if (kind == WAIT_RWMUTEX)
		return OBJECT_RWMUTEX;
	if (kind == WAIT_WAITGROUP)
		return OBJECT_WAITGROUP;
	return kind == WAIT_COND ? OBJECT_COND : OBJECT_SEMAPHORE;
}

static bool sema_object(struct go_wait *w, const struct go_wait_on *on,
			struct wait_object *o)
{
	bool cond = o->kind == OBJECT_COND;
	unsigned elem_at = SUDOG_ELEM;
	uint8_t s[SUDOG_BYTES];
	raddr_t sudog, elem;

	sudog = find_sudog(w, on, !cond, s);
	if (!sudog)
		return false;
	// since 1.26, when g.waiting came, the element is a pair
	if (on->waiting == sudog && go_word(s + SUDOG_ELEM + 8))
		elem_at += 8;
	elem = go_word(s + elem_at);
	if (cond && !elem)
		o->addr = find_cond(w, on, sudog, go_half(s + SUDOG_TICKET));
	else if (elem)
		o->addr = elem - (on->shape ? on->shape->sync_back : 0);
	return o->addr;
}

bool go_wait_sema(struct go_wait *w, const struct go_wait_on *on,
		  struct task *task)
{
	struct wait_object o = { .waiters = 1, .counts_known = true };

	if (on->shape && on->class == GO_REASON_SEMA)
		task->wait = on->shape->sync;
	o.kind = object_kind(task->wait);
	if (!on->objects || !on->shape)
		return true;
	if (!sema_object(w, on, &o))
		return false;
	return set_objects(w, task, &o, 1);
}

struct tally {
	uint64_t key;
	uint32_t count;
};

static struct tally *tally_at(struct tally *table, size_t size,
			      const struct wait_object *o)
{
	uint64_t key = o->addr << 1 | o->send;
	size_t at = (key * 0x9e3779b97f4a7c15ULL >> 20) & (size - 1);

	while (table[at].key && table[at].key != key)
		at = (at + 1) & (size - 1);
	table[at].key = key;
	return &table[at];
}

void go_wait_count(struct task *tasks, size_t n)
{
	struct tally *table;
	size_t total = 0, size = 16;

	for (size_t i = 0; i < n; i++)
		total += tasks[i].n_objects;
	while (size < total * 2)
		size *= 2;
	if (!total)
		return;
	table = calloc(size, sizeof(*table));
	if (!table)
		return; // each says 1 then, which is true of itself
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < tasks[i].n_objects; k++)
			tally_at(table, size, &tasks[i].objects[k])->count++;
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < tasks[i].n_objects; k++) {
			// built in this snapshot's arena, not yet handed out
			struct wait_object *o =
				(struct wait_object *)&tasks[i].objects[k];

			o->waiters = tally_at(table, size, o)->count;
		}
	free(table);
}
