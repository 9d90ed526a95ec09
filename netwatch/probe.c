/* SPDX-License-Identifier: Apache-2.0 */
#include "netwatch/probe.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "netwatch/destroyed.h"
#include "netwatch/probe_priv.h"

#define NS_PER_MS INT64_C(1000000)
#define LOOK_MS 250
#define SHIELD_LOOK_MS 500
/* Looks of one window: each 250 ms, and a few more after each probe. */
#define ROUNDS_MAX (PROBE_WINDOW_MAX_MS / LOOK_MS + 64)

/* See probe.h for why these. */
static const int64_t probe_at_ms[PROBE_MAX] = { 0, 1000, 5000 };
/* After a probe; then each LOOK_MS. A local peer answers in less than 1 ms. */
static const int64_t look_after_ms[] = { 3, 20, 60, 200 };

struct run {
	const struct probe_world *world;
	const struct probe_options *opt;
	struct shot *shots;
	size_t n;
	struct guard *guard;
	/* Per namespace: who is behind the shield, by shot. */
	struct shielded *shielded;
	size_t *shielded_shot;
	size_t *shield_first, *shield_n;
	struct destroyed **ends; /* per namespace; NULL: not listened to */
	int64_t begin_ns;
	int64_t shield_read_ms;
};

static int64_t now_ms(const struct run *r)
{
	return (clock_mono_ns() - r->begin_ns) / NS_PER_MS;
}

static size_t pending(const struct run *r)
{
	size_t n = 0;

	for (size_t i = 0; i < r->n; i++)
		n += !r->shots[i].done;
	return n;
}

/* --- the shield --- */

static struct error *raise_shields(struct run *r)
{
	size_t k = 0;
	struct error *err = NULL;

	for (size_t ns = 0; ns < r->world->n_netns && !err; ns++) {
		r->shield_first[ns] = k;
		for (size_t i = 0; i < r->n; i++) {
			if (r->shots[i].done || r->shots[i].t->netns != ns)
				continue;
			r->shielded[k].s = r->shots[i].t->s;
			r->shielded_shot[k++] = i;
		}
		r->shield_n[ns] = k - r->shield_first[ns];
		if (r->shield_n[ns])
			err = shield_raise(r->guard, ns,
					   &r->shielded[r->shield_first[ns]],
					   r->shield_n[ns], r->opt->window_ms);
	}
	return err;
}

static void reset_behind_shield(struct shot *shot)
{
	if (shot->done)
		return;
	shot->f->shielded = true;
	shot->f->answered_ms =
		shot->first_mono_ns
			? (clock_mono_ns() - shot->first_mono_ns) / NS_PER_MS
			: 0;
	shot->f->waited_ms = shot->f->answered_ms;
	shot_end(shot, PROBE_RST, NULL);
}

static struct error *read_shields(struct run *r)
{
	struct error *err = NULL;

	for (size_t ns = 0; ns < r->world->n_netns && !err; ns++)
		if (r->shield_n[ns])
			err = shield_read(r->guard, ns,
					  &r->shielded[r->shield_first[ns]],
					  r->shield_n[ns]);
	if (err)
		return err;
	for (size_t ns = 0; ns < r->world->n_netns; ns++)
		for (size_t k = r->shield_first[ns];
		     k < r->shield_first[ns] + r->shield_n[ns]; k++)
			if (r->shielded[k].resets) {
				struct shot *shot =
					&r->shots[r->shielded_shot[k]];

				reset_behind_shield(shot);
				shot_disarm(r->world->p, shot);
			}
	return NULL;
}

static struct error *look_at_shields(struct run *r, bool now)
{
	if (!r->opt->rst_shield || !pending(r) ||
	    (!now && now_ms(r) < r->shield_read_ms + SHIELD_LOOK_MS))
		return NULL;
	r->shield_read_ms = now_ms(r);
	return read_shields(r);
}

/* --- last words --- */

static void keep_last_words(void *arg, const struct tcp_socket *freed)
{
	struct run *r = arg;

	for (size_t i = 0; i < r->n; i++) {
		if (r->shots[i].done || r->shots[i].ref.cookie != freed->cookie)
			continue;
		r->shots[i].freed = true;
		r->shots[i].last = freed->first.info;
		return;
	}
}

static void hear_ends(struct run *r)
{
	for (size_t ns = 0; ns < r->world->n_netns; ns++)
		if (!destroyed_hear(r->ends[ns], keep_last_words, r))
			log_debug("net", "some ends of sockets were missed");
}

static void listen_to_ends(struct run *r)
{
	for (size_t ns = 0; ns < r->world->n_netns; ns++) {
		AUTO_ERROR struct error *err =
			destroyed_open(r->world->netns_fds[ns], &r->ends[ns]);

		if (err)
			log_debug("net", "%s", error_text(err));
	}
}

/* --- the schedule --- */

/* The @k-th probe of all that are still open. */
static void fire_all(struct run *r, size_t k)
{
	bool armed = false;

	for (size_t i = 0; i < r->n; i++) {
		struct shot *shot = &r->shots[i];

		if (shot->done || (k > 0 && shot->armed))
			continue;
		/* What came while others were asked is an answer, too. */
		if (k > 0)
			shot_look(r->world->p, shot);
		else
			shot_baseline(shot);
		if (!shot->done)
			shot_fire(r->world->p, shot);
		armed |= shot->armed;
	}
	if (armed && k == 0)
		guard_armed(r->guard);
}

static void look_all(struct run *r)
{
	for (size_t i = 0; i < r->n; i++)
		if (!r->shots[i].done)
			shot_look(r->world->p, &r->shots[i]);
}

/* The next moment at which there is something to do, after @fired_ms. */
static int64_t next_ms(const struct run *r, size_t fired, int64_t fired_ms)
{
	int64_t now = now_ms(r), next = now + LOOK_MS;
	size_t n = sizeof(look_after_ms) / sizeof(look_after_ms[0]);

	for (size_t i = n; i-- > 0;)
		if (fired_ms + look_after_ms[i] > now)
			next = fired_ms + look_after_ms[i];
	if (fired < PROBE_MAX && probe_at_ms[fired] < next)
		next = probe_at_ms[fired];
	return next < r->opt->window_ms ? next : r->opt->window_ms;
}

static struct error *run_schedule(struct run *r)
{
	size_t fired = 0;
	int64_t fired_ms = 0;
	struct error *err = NULL;

	r->begin_ns = clock_mono_ns();
	for (int i = 0; i < ROUNDS_MAX && pending(r) && !err; i++) {
		int64_t now = now_ms(r);

		hear_ends(r);
		if (fired < PROBE_MAX && now >= probe_at_ms[fired] &&
		    probe_at_ms[fired] < r->opt->window_ms) {
			fire_all(r, fired++);
			fired_ms = now_ms(r);
		} else {
			look_all(r);
			err = look_at_shields(r, now > fired_ms + 15 &&
							 now < fired_ms + 45);
		}
		if (now >= r->opt->window_ms)
			break;
		clock_sleep_until(r->begin_ns +
				  next_ms(r, fired, fired_ms) * NS_PER_MS);
	}
	return err ? err : look_at_shields(r, true);
}

/* --- beginning and end --- */

static void settle(struct shot *shot)
{
	struct probe_facts *f = shot->f;

	if (shot->done)
		return;
	if (shot->vanished)
		shot_lost(shot);
	else if (f->sent)
		shot_end(shot, PROBE_SILENCE, NULL);
	else
		shot_refuse(shot,
			    f->why ? f->why
				   : "the window was over before keepalive "
				     "had sent a probe; a longer --window");
}

static void start_shot(struct run *r, const struct probe_target *t, size_t i,
		       struct probe_facts *f)
{
	struct shot *shot = &r->shots[i];

	*f = (struct probe_facts){ .answered_ms = -1,
				   .window_ms = r->opt->window_ms };
	*shot = (struct shot){
		.t = t,
		.f = f,
		.ref = { .fd = t->fd,
			 .inode = t->s->inode,
			 .cookie = t->s->cookie },
	};
	if (i >= PROBE_SOCKETS_MAX)
		shot_refuse(shot, "too many connections at once; name some by "
				  "--remote");
	else if (!t->diag)
		shot_refuse(shot,
			    "its network namespace cannot be looked into");
	else if (t->fd < 0)
		shot_refuse(shot, "no file descriptor refers to it any more");
	else
		shot_baseline(shot);
}

static struct error *make_room(struct run *r)
{
	r->shots = calloc(r->n + 1, sizeof(*r->shots));
	r->shielded = calloc(r->n + 1, sizeof(*r->shielded));
	r->shielded_shot = calloc(r->n + 1, sizeof(*r->shielded_shot));
	r->shield_first = calloc(r->world->n_netns + 1, sizeof(size_t));
	r->shield_n = calloc(r->world->n_netns + 1, sizeof(size_t));
	r->ends = calloc(r->world->n_netns + 1, sizeof(*r->ends));
	if (!r->shots || !r->shielded || !r->shielded_shot ||
	    !r->shield_first || !r->shield_n || !r->ends)
		return &error_nomem;
	return NULL;
}

static void free_room(struct run *r)
{
	free(r->shots);
	free(r->shielded);
	free(r->shielded_shot);
	free(r->shield_first);
	free(r->shield_n);
	for (size_t ns = 0; r->ends && ns < r->world->n_netns; ns++)
		destroyed_close(r->ends[ns]);
	free(r->ends);
}

/* Of two errors, that of what could not be put back is the one to tell. */
static struct error *put_everything_back(struct run *r, struct error *err)
{
	for (size_t i = 0; i < r->n; i++)
		shot_disarm(r->world->p, &r->shots[i]);
	for (size_t ns = 0; ns < guard_n_shields(r->guard); ns++)
		if (shield_remove(r->guard, ns))
			log_debug("net", "shield left to the guardian");
	struct error *left = guard_finish(TAKE(r->guard));
	if (!left)
		return err;
	error_free(err);
	return left;
}

static struct error *run_guarded(struct run *r)
{
	struct error *err =
		guard_create(r->world->p, r->n, r->world->netns_fds,
			     r->opt->rst_shield ? r->world->n_netns : 0,
			     r->opt->window_ms, &r->guard);

	if (err)
		return err;
	for (size_t i = 0; i < r->n; i++) {
		r->shots[i].entry = guard_entry(r->guard, i);
		r->shots[i].entry->ref = r->shots[i].ref;
	}
	listen_to_ends(r);
	if (r->opt->rst_shield)
		err = raise_shields(r);
	if (!err)
		err = run_schedule(r);
	return put_everything_back(r, err);
}

struct error *probe_run(const struct probe_world *world,
			const struct probe_target *v, size_t n,
			const struct probe_options *opt,
			struct probe_facts **facts)
{
	struct run r = { .world = world, .opt = opt, .n = n };
	struct error *err = make_room(&r);

	for (size_t i = 0; i < n && !err; i++)
		start_shot(&r, &v[i], i, facts[i]);
	if (!err && pending(&r))
		err = run_guarded(&r);
	for (size_t i = 0; i < n && !err; i++)
		settle(&r.shots[i]);
	free_room(&r);
	return err;
}
