/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Facts and options as JSON and back. What comes back is foreign: a number out
 * of range becomes the unknown value, never an enum that nobody knows.
 */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/escape.h"
#include "netwatch/replay.h"

#define TEXT_MAX 4096

/* A member that is not recorded makes a replay judge otherwise: add it here. */
_Static_assert(sizeof(struct tcp_options) == 40, "record the new member");
_Static_assert(sizeof(struct path_facts) == 56, "record the new member");
_Static_assert(sizeof(struct peer_facts) == 72, "record the new member");
_Static_assert(sizeof(struct probe_facts) == 104, "record the new member");

/* A text that may hold any bytes, or none. */
static json_t *text_to_json(const char *text)
{
	if (!text)
		return json_null();
	AUTO_FREE char *utf8 = escape_utf8(text);
	return utf8 ? json_string(utf8) : NULL;
}

static json_t *options_to_json(const struct tcp_options *o)
{
	return json_pack("{sb si sb sI sI sI sI sb sI sI}", "known", o->known,
			 "error", o->error, "keepalive", o->keepalive,
			 "keepidle_s", (json_int_t)o->keepidle_s, "keepintvl_s",
			 (json_int_t)o->keepintvl_s, "keepcnt",
			 (json_int_t)o->keepcnt, "user_timeout_ms",
			 (json_int_t)o->user_timeout_ms, "mptcp", o->is_mptcp,
			 "recv_timeout_ms", (json_int_t)o->recv_timeout_ms,
			 "send_timeout_ms", (json_int_t)o->send_timeout_ms);
}

static json_t *path_to_json(const struct path_facts *p)
{
	return json_pack("{si si si si so so so sI so}", "address_present",
			 p->address_present, "route_present", p->route_present,
			 "carrier", p->carrier, "neighbour_failed",
			 p->neighbour_failed, "device", text_to_json(p->device),
			 "next_hop", text_to_json(p->next_hop), "neighbour",
			 text_to_json(p->neighbour), "neighbour_age_ms",
			 (json_int_t)p->neighbour_age_ms, "unknown_why",
			 text_to_json(p->unknown_why));
}

static json_t *peer_to_json(const struct peer_facts *p)
{
	return json_pack("{si sI so si si si sb so so sI sI sI}", "lookup",
			 p->lookup, "netns", (json_int_t)p->netns, "netns_name",
			 text_to_json(p->netns_name), "state", p->peer_state,
			 "timer", p->peer_timer, "retrans", p->peer_retrans,
			 "limited", p->limited, "via", text_to_json(p->via),
			 "why", text_to_json(p->why), "at_wall_ms",
			 (json_int_t)p->at_wall_ms, "first_wall_ms",
			 (json_int_t)p->first_wall_ms, "times",
			 (json_int_t)p->times);
}

static json_t *probe_to_json(const struct probe_facts *p)
{
	return json_pack(
		"{si si sb sI s[III] sI sI sI sI sI sI si si so so}", "method",
		p->method, "result", p->result, "shielded", p->shielded, "sent",
		(json_int_t)p->sent, "at_wall_ms", (json_int_t)p->at_wall_ms[0],
		(json_int_t)p->at_wall_ms[1], (json_int_t)p->at_wall_ms[2],
		"known_wall_ms", (json_int_t)p->known_wall_ms, "answered_ms",
		(json_int_t)p->answered_ms, "waited_ms",
		(json_int_t)p->waited_ms, "window_ms", (json_int_t)p->window_ms,
		"segs_in", (json_int_t)p->segs_in, "segs_out",
		(json_int_t)p->segs_out, "state", p->state, "next_hop_failed",
		p->next_hop_failed, "next_hop", text_to_json(p->next_hop),
		"why", text_to_json(p->why));
}

json_t *net_facts_to_json(const struct tcp_socket *s,
			  const struct net_facts *facts)
{
	json_t *json = json_pack(
		"{sI so so so}", "cookie", (json_int_t)s->cookie, "options",
		options_to_json(&s->options), "path",
		path_to_json(&facts->path), "peer", peer_to_json(&facts->peer));

	if (json && facts->probe.result != PROBE_NOT_ASKED)
		json_object_set_new(json, "probe",
				    probe_to_json(&facts->probe));
	return json;
}

/* What reading a JSON object has come to: one flag instead of many ifs. */
struct reader {
	struct arena *arena;
	int error;
};

static json_int_t read_int(struct reader *r, const json_t *obj, const char *key,
			   json_int_t max)
{
	const json_t *v = json_object_get(obj, key);
	json_int_t n = json_integer_value(v);

	if (!json_is_integer(v) || n < 0 || n > max) {
		r->error = -EBADMSG;
		return 0;
	}
	return n;
}

/* A duration that may be unknown: -1. */
static int64_t read_age(struct reader *r, const json_t *obj, const char *key)
{
	if (json_integer_value(json_object_get(obj, key)) == -1)
		return -1;
	return read_int(r, obj, key, INT64_MAX);
}

static bool read_bool(struct reader *r, const json_t *obj, const char *key)
{
	const json_t *v = json_object_get(obj, key);

	if (!json_is_boolean(v))
		r->error = -EBADMSG;
	return json_is_true(v);
}

static const char *read_text(struct reader *r, const json_t *obj,
			     const char *key)
{
	const json_t *v = json_object_get(obj, key);

	if (json_is_null(v))
		return NULL;
	if (!json_is_string(v) || json_string_length(v) > TEXT_MAX) {
		r->error = -EBADMSG;
		return NULL;
	}
	const char *copy = arena_strdup(r->arena, json_string_value(v));
	if (!copy)
		r->error = -ENOMEM;
	return copy;
}

static void read_options(struct reader *r, const json_t *obj,
			 struct tcp_options *o)
{
	o->known = read_bool(r, obj, "known");
	o->error = read_int(r, obj, "error", 4095);
	o->keepalive = read_bool(r, obj, "keepalive");
	o->keepidle_s = read_int(r, obj, "keepidle_s", UINT32_MAX);
	o->keepintvl_s = read_int(r, obj, "keepintvl_s", UINT32_MAX);
	o->keepcnt = read_int(r, obj, "keepcnt", UINT32_MAX);
	o->user_timeout_ms = read_int(r, obj, "user_timeout_ms", UINT32_MAX);
	o->is_mptcp = read_bool(r, obj, "mptcp");
	/* Recordings of before these were read have none. */
	if (!json_object_get(obj, "recv_timeout_ms"))
		return;
	o->recv_timeout_ms = read_int(r, obj, "recv_timeout_ms", UINT32_MAX);
	o->send_timeout_ms = read_int(r, obj, "send_timeout_ms", UINT32_MAX);
}

static void read_path(struct reader *r, const json_t *obj, struct path_facts *p)
{
	p->address_present = read_int(r, obj, "address_present", FACT_NO);
	p->route_present = read_int(r, obj, "route_present", FACT_NO);
	p->carrier = read_int(r, obj, "carrier", FACT_NO);
	p->neighbour_failed = read_int(r, obj, "neighbour_failed", FACT_NO);
	p->device = read_text(r, obj, "device");
	p->next_hop = read_text(r, obj, "next_hop");
	p->neighbour = read_text(r, obj, "neighbour");
	p->neighbour_age_ms = read_age(r, obj, "neighbour_age_ms");
	p->unknown_why = read_text(r, obj, "unknown_why");
}

static void read_peer(struct reader *r, const json_t *obj, struct peer_facts *p)
{
	p->lookup = read_int(r, obj, "lookup", PEER_AMBIGUOUS);
	p->netns = read_int(r, obj, "netns", INT64_MAX);
	p->netns_name = read_text(r, obj, "netns_name");
	p->peer_state = read_int(r, obj, "state", TCP_STATE_NEW_SYN_RECV);
	p->peer_timer = read_int(r, obj, "timer", UINT8_MAX);
	p->peer_retrans = read_int(r, obj, "retrans", UINT8_MAX);
	p->limited = json_is_true(json_object_get(obj, "limited"));
	p->via = read_text(r, obj, "via");
	p->why = read_text(r, obj, "why");
	p->at_wall_ms = read_int(r, obj, "at_wall_ms", INT64_MAX);
	p->first_wall_ms = read_int(r, obj, "first_wall_ms", INT64_MAX);
	p->times = read_int(r, obj, "times", UINT32_MAX);
}

/* Absent where nobody asked for a probe, and in what older versions wrote. */
static void read_probe(struct reader *r, const json_t *obj,
		       struct probe_facts *p)
{
	const json_t *at = json_object_get(obj, "at_wall_ms");

	if (!obj)
		return;
	p->method = read_int(r, obj, "method", PROBE_BY_KEEPALIVE);
	p->result = read_int(r, obj, "result", PROBE_GONE);
	p->shielded = read_bool(r, obj, "shielded");
	p->sent = read_int(r, obj, "sent", PROBE_MAX);
	for (size_t i = 0; i < PROBE_MAX; i++)
		p->at_wall_ms[i] = json_integer_value(json_array_get(at, i));
	p->known_wall_ms = read_int(r, obj, "known_wall_ms", INT64_MAX);
	p->answered_ms = read_age(r, obj, "answered_ms");
	p->waited_ms = read_int(r, obj, "waited_ms", INT64_MAX);
	p->window_ms = read_int(r, obj, "window_ms", INT64_MAX);
	p->segs_in = read_int(r, obj, "segs_in", UINT32_MAX);
	p->segs_out = read_int(r, obj, "segs_out", UINT32_MAX);
	p->state = read_int(r, obj, "state", TCP_STATE_NEW_SYN_RECV);
	p->next_hop_failed = read_int(r, obj, "next_hop_failed", FACT_NO);
	p->next_hop = read_text(r, obj, "next_hop");
	p->why = read_text(r, obj, "why");
}

int net_facts_from_json(const json_t *json, struct arena *arena,
			struct tcp_options *options, struct net_facts *facts)
{
	struct reader r = { .arena = arena };
	struct tcp_options o = { 0 };
	struct net_facts f = { 0 };

	read_options(&r, json_object_get(json, "options"), &o);
	read_path(&r, json_object_get(json, "path"), &f.path);
	read_peer(&r, json_object_get(json, "peer"), &f.peer);
	read_probe(&r, json_object_get(json, "probe"), &f.probe);
	if (r.error)
		return r.error;
	*options = o;
	*facts = f;
	return 0;
}
