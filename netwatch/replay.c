/* SPDX-License-Identifier: Apache-2.0 */
#include "netwatch/replay.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "netwatch/sockdiag.h"

#define MAGIC "stranded-net "
#define VERSION 1

/* A record's head in the file. */
struct raw_head {
	uint32_t type, len;
	uint64_t netns, mono_ns, wall_ms;
};

struct net_record {
	FILE *f;
	char *path;
	uint64_t n;
	int error; // the first one, errno
};

struct error *net_record_create(const char *path, struct net_record **ret)
{
	struct net_record *record = calloc(1, sizeof(*record));

	if (!record)
		return &error_nomem;
	record->path = strdup(path);
	// addresses and ports of a foreign process: for the owner alone
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	record->f = fd < 0 ? NULL : fdopen(fd, "w");
	if (!record->f || !record->path) {
		struct error *err = error_os(errno, "cannot create '%s'", path);

		if (record->f)
			fclose(record->f);
		else if (fd >= 0)
			close(fd);
		free(record->path);
		free(record);
		return err;
	}
	if (fprintf(record->f, MAGIC "%d\n", VERSION) < 0)
		record->error = errno;
	*ret = record;
	return NULL;
}

void net_record_put(struct net_record *record,
		    const struct net_record_head *head, const void *data,
		    size_t len)
{
	struct raw_head raw = {
		.type = htole32(head->type),
		.len = htole32(len),
		.netns = htole64(head->netns),
		.mono_ns = htole64(head->mono_ns),
		.wall_ms = htole64(head->wall_ms),
	};

	if (record->error)
		return;
	if (len > NET_RECORD_MAX)
		record->error = EFBIG;
	else if (fwrite(&raw, sizeof(raw), 1, record->f) != 1 ||
		 (len > 0 && fwrite(data, len, 1, record->f) != 1))
		record->error = errno ? errno : EIO;
	record->n++;
}

static void put_json(struct net_record *record, enum net_record_type type,
		     uint64_t netns, json_t *json)
{
	struct net_record_head head = { type, netns, clock_mono_ns(),
					clock_wall_ms() };
	AUTO_FREE char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;

	json_decref(json);
	if (text)
		net_record_put(record, &head, text, strlen(text));
	else if (!record->error)
		record->error = ENOMEM;
}

void net_record_facts(struct net_record *record, const struct tcp_socket *s,
		      const struct net_facts *facts)
{
	put_json(record, NET_RECORD_FACTS, s->netns,
		 net_facts_to_json(s, facts));
}

void net_record_meta(struct net_record *record, const struct tcp_snapshot *snap)
{
	json_t *gaps = json_array();

	for (size_t i = 0; i < snap->gaps.n; i++) {
		const struct gap *g = &snap->gaps.v[i];

		json_array_append_new(gaps,
				      json_pack("{ss sI ss}", "kind",
						gap_kind_name(g->kind), "count",
						(json_int_t)g->count, "text",
						g->text ? g->text : ""));
	}
	put_json(record, NET_RECORD_META, 0,
		 json_pack("{sb so}", "consistent", snap->consistent, "gaps",
			   gaps));
}

struct error *net_record_finish(struct net_record *record)
{
	struct error *err = NULL;

	if (!record)
		return NULL;
	uint64_t n = htole64(record->n);
	struct net_record_head head = { NET_RECORD_END, 0, clock_mono_ns(),
					clock_wall_ms() };
	net_record_put(record, &head, &n, sizeof(n));
	if (fclose(record->f) != 0 && !record->error)
		record->error = errno;
	if (record->error)
		err = error_os(record->error, "the recording '%s' is not whole",
			       record->path);
	free(record->path);
	free(record);
	return err;
}

/* A second sample, or facts, of the socket with that cookie. */
struct second {
	uint64_t netns, cookie;
	size_t order; // of the last two of one socket, the later one counts
	enum tcp_sample_state state;
	struct tcp_sample sample;
};

struct facts {
	uint64_t netns, cookie;
	json_t *json; // with the same rule
	size_t order;
};

struct net_replay {
	struct tcp_snapshot *snap;
	struct second *seconds;
	size_t n_seconds, cap_seconds;
	struct facts *facts;
	size_t n_facts, cap_facts;
};

void net_replay_close(struct net_replay *replay)
{
	if (!replay)
		return;
	for (size_t i = 0; i < replay->n_facts; i++)
		json_decref(replay->facts[i].json);
	tcp_snapshot_destroy(replay->snap);
	free(replay->seconds);
	free(replay->facts);
	free(replay);
}

/* Room for one more element of @size in *@v. */
static bool grow(void **v, size_t n, size_t *cap, size_t size)
{
	if (n < *cap)
		return true;
	size_t more = *cap ? *cap * 2 : 32;
	void *grown = reallocarray(*v, more, size);
	if (!grown)
		return false;
	*v = grown;
	*cap = more;
	return true;
}

static struct error *broken(const char *what)
{
	return error_new(ERROR_USAGE, "broken recording: %s", what);
}

static int parse_sample(const struct net_record_head *head, const void *data,
			size_t len, struct tcp_socket *s)
{
	int rc = sockdiag_parse(data, len, s);

	s->netns = head->netns;
	s->first.at_mono_ns = head->mono_ns;
	s->first.at_wall_ms = head->wall_ms;
	return rc;
}

static struct error *on_dump(struct net_replay *replay,
			     const struct net_record_head *head,
			     const void *data, size_t len)
{
	struct tcp_socket *s = tcp_snapshot_add(replay->snap);

	if (!s)
		return &error_nomem;
	return parse_sample(head, data, len, s) < 0 ? broken("a socket") : NULL;
}

static struct error *add_second(struct net_replay *replay, uint64_t netns,
				uint64_t cookie, enum tcp_sample_state state,
				const struct tcp_sample *sample)
{
	if (!grow((void **)&replay->seconds, replay->n_seconds,
		  &replay->cap_seconds, sizeof(*replay->seconds)))
		return &error_nomem;
	replay->seconds[replay->n_seconds] = (struct second){
		.netns = netns,
		.cookie = cookie,
		.order = replay->n_seconds,
		.state = state,
		.sample = *sample,
	};
	replay->n_seconds++;
	return NULL;
}

static struct error *on_lookup(struct net_replay *replay,
			       const struct net_record_head *head,
			       const void *data, size_t len)
{
	struct tcp_socket s = { 0 };

	if (parse_sample(head, data, len, &s) < 0)
		return broken("a second sample");
	return add_second(replay, head->netns, s.cookie, TCP_SAMPLED, &s.first);
}

static struct error *on_gone(struct net_replay *replay,
			     const struct net_record_head *head,
			     const void *data, size_t len)
{
	struct tcp_sample none = { .at_mono_ns = head->mono_ns,
				   .at_wall_ms = head->wall_ms };
	uint64_t cookie;

	if (len != sizeof(cookie))
		return broken("a cookie");
	memcpy(&cookie, data, sizeof(cookie));
	return add_second(replay, head->netns, le64toh(cookie), TCP_VANISHED,
			  &none);
}

static struct error *on_facts(struct net_replay *replay,
			      const struct net_record_head *head,
			      const void *data, size_t len)
{
	json_t *json = json_loadb(data, len, 0, NULL);

	if (!json_is_integer(json_object_get(json, "cookie"))) {
		json_decref(json);
		return broken("facts");
	}
	if (!grow((void **)&replay->facts, replay->n_facts, &replay->cap_facts,
		  sizeof(*replay->facts))) {
		json_decref(json);
		return &error_nomem;
	}
	json_int_t cookie = json_integer_value(json_object_get(json, "cookie"));
	replay->facts[replay->n_facts] = (struct facts){
		head->netns,
		(uint64_t)cookie,
		json,
		replay->n_facts,
	};
	replay->n_facts++;
	return NULL;
}

static enum gap_kind gap_kind_from(const char *name)
{
	for (int i = GAP_RUNNING; name && i <= GAP_LIMIT; i++) {
		if (strcmp(gap_kind_name(i), name) == 0)
			return i;
	}
	return GAP_UNSUPPORTED; // of a version that knows more kinds
}

static struct error *on_meta(struct net_replay *replay, const void *data,
			     size_t len)
{
	json_t *json = json_loadb(data, len, 0, NULL), *gap;
	json_t *consistent = json_object_get(json, "consistent");
	bool valid = json_is_boolean(consistent);
	size_t i;

	if (!json_is_true(consistent))
		replay->snap->consistent = false;
	json_array_foreach(json_object_get(json, "gaps"), i, gap)
	{
		json_int_t n =
			json_integer_value(json_object_get(gap, "count"));
		const char *text =
			json_string_value(json_object_get(gap, "text"));
		const char *kind =
			json_string_value(json_object_get(gap, "kind"));

		if (n > 0 && text)
			gaps_add(&replay->snap->gaps, gap_kind_from(kind), n,
				 "%s", text);
		else
			valid = false;
	}
	json_decref(json);
	return valid ? NULL : broken("gaps");
}

static struct error *on_record(struct net_replay *replay,
			       const struct net_record_head *head,
			       const void *data, size_t len)
{
	switch (head->type) {
	case NET_RECORD_DUMP:
		return on_dump(replay, head, data, len);
	case NET_RECORD_LOOKUP:
		return on_lookup(replay, head, data, len);
	case NET_RECORD_GONE:
		return on_gone(replay, head, data, len);
	case NET_RECORD_FACTS:
		return on_facts(replay, head, data, len);
	case NET_RECORD_META:
		return on_meta(replay, data, len);
	case NET_RECORD_END:
		break;
	}
	return NULL;
}

static int compare_seconds(const void *a, const void *b)
{
	const struct second *x = a, *y = b;

	if (x->netns != y->netns)
		return x->netns < y->netns ? -1 : 1;
	if (x->cookie != y->cookie)
		return x->cookie < y->cookie ? -1 : 1;
	return x->order < y->order ? -1 : x->order > y->order;
}

static int compare_facts(const void *a, const void *b)
{
	const struct facts *x = a, *y = b;

	if (x->netns != y->netns)
		return x->netns < y->netns ? -1 : 1;
	if (x->cookie != y->cookie)
		return x->cookie < y->cookie ? -1 : 1;
	return x->order < y->order ? -1 : x->order > y->order;
}

static bool is_end(const struct net_record_head *head, const void *data,
		   size_t len, uint64_t n)
{
	uint64_t count;

	if (head->type != NET_RECORD_END || len != sizeof(count))
		return false;
	memcpy(&count, data, sizeof(count));
	return le64toh(count) == n;
}

/* The records after the version line. */
static struct error *parse_records(struct net_replay *replay, const char *p,
				   size_t left)
{
	for (uint64_t n = 0; left >= sizeof(struct raw_head); n++) {
		struct raw_head raw;

		memcpy(&raw, p, sizeof(raw));
		p += sizeof(raw);
		left -= sizeof(raw);
		size_t len = le32toh(raw.len);
		if (len > left || len > NET_RECORD_MAX)
			return broken("it is cut, or a length is wrong");
		struct net_record_head head = {
			.type = le32toh(raw.type),
			.netns = le64toh(raw.netns),
			.mono_ns = le64toh(raw.mono_ns),
			.wall_ms = le64toh(raw.wall_ms),
		};
		if (is_end(&head, p, len, n))
			return left == len ? NULL
					   : broken("it goes on after "
						    "its end");
		struct error *err = on_record(replay, &head, p, len);
		if (err)
			return err;
		p += len;
		left -= len;
	}
	return broken("it is cut");
}

/* Gives the length of the version line. */
static struct error *parse_version(const char *data, size_t len, size_t *ret)
{
	size_t prefix = strlen(MAGIC);
	const char *end = len > prefix ? memchr(data, '\n', len < 64 ? len : 64)
				       : NULL;
	unsigned version = 0;

	if (!end || memcmp(data, MAGIC, prefix) != 0)
		return error_new(ERROR_USAGE, "not a recording of stranded");
	for (const char *p = data + prefix; p < end; p++) {
		if (*p < '0' || *p > '9' || version > 100000)
			return error_new(ERROR_USAGE,
					 "not a recording of stranded");
		version = version * 10 + (*p - '0');
	}
	if (version != VERSION)
		return error_new(ERROR_USAGE,
				 "a recording of format %u, this program reads "
				 "format %d; use the version that wrote it",
				 version, VERSION);
	*ret = end - data + 1;
	return NULL;
}

static struct error *parse_all(struct net_replay *replay, const char *data,
			       size_t len)
{
	size_t at;
	struct error *err = parse_version(data, len, &at);

	if (!err)
		err = parse_records(replay, data + at, len - at);
	if (err)
		return err;
	if (replay->n_seconds > 0)
		qsort(replay->seconds, replay->n_seconds,
		      sizeof(*replay->seconds), compare_seconds);
	if (replay->n_facts > 0)
		qsort(replay->facts, replay->n_facts, sizeof(*replay->facts),
		      compare_facts);
	return tcp_snapshot_sort(replay->snap);
}

struct error *net_replay_parse(const void *data, size_t len,
			       struct net_replay **ret)
{
	struct net_replay *replay = calloc(1, sizeof(*replay));

	if (!replay)
		return &error_nomem;
	replay->snap = tcp_snapshot_create();
	struct error *err = replay->snap ? parse_all(replay, data, len)
					 : &error_nomem;
	if (err) {
		net_replay_close(replay);
		return err;
	}
	*ret = replay;
	return NULL;
}

struct error *net_replay_open(const char *path, struct net_replay **ret)
{
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return error_new(ERROR_USAGE, "cannot read '%s': %s", path,
				 strerror(errno));
	if (!S_ISREG(st.st_mode) || st.st_size == 0 ||
	    (uint64_t)st.st_size > NET_REPLAY_MAX)
		return error_new(ERROR_USAGE,
				 "'%s' is not a recording of stranded", path);
	// read, not mapped: a file that shrinks meanwhile must not kill us
	AUTO_FREE char *data = malloc(st.st_size);
	if (!data)
		return &error_nomem;
	size_t len = 0;
	while (len < (size_t)st.st_size) {
		ssize_t n = read(fd, data + len, st.st_size - len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		len += n;
	}
	struct error *err = net_replay_parse(data, len, ret);
	return err ? error_wrap(err, "'%s'", path) : NULL;
}

struct error *net_replay_snapshot(const struct net_replay *replay,
				  struct tcp_snapshot **ret)
{
	const struct tcp_snapshot *from = replay->snap;
	struct tcp_snapshot *snap = tcp_snapshot_create();

	if (!snap)
		return &error_nomem;
	for (size_t i = 0; i < from->n; i++) {
		struct tcp_socket *s = tcp_snapshot_add(snap);

		if (!s) {
			tcp_snapshot_destroy(snap);
			return &error_nomem;
		}
		*s = from->v[i];
	}
	snap->consistent = from->consistent;
	gaps_merge(&snap->gaps, &from->gaps);
	*ret = snap;
	return NULL;
}

/* The last element of @v that is not above @key, or NULL. */
static const void *find_last(const void *key, const void *v, size_t n,
			     size_t size,
			     int (*compare)(const void *, const void *))
{
	const char *at = v;
	size_t lo = 0, hi = n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (compare(at + mid * size, key) <= 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo > 0 ? at + (lo - 1) * size : NULL;
}

static void no_facts(struct tcp_socket *s, struct net_facts *facts,
		     const char *why)
{
	s->options = (struct tcp_options){ .error = ENODATA };
	*facts = (struct net_facts){
		.path.neighbour_age_ms = -1,
		.path.unknown_why = why,
		.peer.why = why,
	};
}

struct error *net_replay_facts(const struct net_replay *replay,
			       struct tcp_socket *s, struct arena *arena,
			       struct net_facts *facts)
{
	struct facts key = { .netns = s->netns,
			     .cookie = s->cookie,
			     .order = SIZE_MAX };
	const struct facts *f = find_last(&key, replay->facts, replay->n_facts,
					  sizeof(key), compare_facts);

	if (!f || f->netns != s->netns || f->cookie != s->cookie) {
		no_facts(s, facts, "not in the recording");
		return NULL;
	}
	int rc = net_facts_from_json(f->json, arena, &s->options, facts);
	if (rc == -ENOMEM)
		return &error_nomem;
	if (rc < 0)
		no_facts(s, facts, "not readable in the recording");
	return NULL;
}

void net_replay_resample(const struct net_replay *replay, struct tcp_socket *s)
{
	struct second key = { .netns = s->netns,
			      .cookie = s->cookie,
			      .order = SIZE_MAX };
	const struct second *found = find_last(&key, replay->seconds,
					       replay->n_seconds, sizeof(key),
					       compare_seconds);

	s->second_state = TCP_NOT_SAMPLED;
	if (!found || found->netns != s->netns || found->cookie != s->cookie)
		return;
	s->second = found->sample;
	s->second_state = found->state;
}
