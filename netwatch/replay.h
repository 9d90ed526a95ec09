/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NETWATCH_REPLAY_H
#define NETWATCH_REPLAY_H

/**
 * Recordings of raw netlink answers: written by `--net-record FILE`, read by
 * `--net-from FILE` and by tests, so that a report from somewhere else can be
 * judged again here, and each parser sees real bytes.
 *
 * The file: the line "stranded-net 1\n", then records, little-endian:
 *
 *	u32 type, u32 length, u64 netns, i64 mono_ns, i64 wall_ms, bytes
 *
 * and as the last one NET_RECORD_END, so that a cut file is told from a short
 * one. Records of unknown type are skipped. The file is foreign: every length
 * is checked, and JSON of the wrong shape is an unknown fact.
 */

#include "base/error.h"
#include "netwatch/socket.h"
#include "netwatch/verdict.h"

#define NET_RECORD_MAX (1u << 20)   /* bytes of one record */
#define NET_REPLAY_MAX (2ull << 30) /* bytes of one file */

struct net_record; /* being written */
struct net_replay; /* read whole */

enum net_record_type {
	NET_RECORD_DUMP = 1,   /* one inet_diag_msg, first sample */
	NET_RECORD_LOOKUP = 2, /* the same, of a second sample */
	NET_RECORD_GONE = 3,   /* a second sample found nothing; cookie (u64) */
	NET_RECORD_FACTS = 4, /* net_facts and options of one socket, as JSON */
	NET_RECORD_META = 5,  /* consistent flag and gaps, as JSON */
	NET_RECORD_END = 6,   /* number of records before it (u64) */
};

/** When and where a record was observed. */
struct net_record_head {
	enum net_record_type type;
	uint64_t netns; /* inode */
	int64_t mono_ns, wall_ms;
};

struct error *net_record_create(const char *path, struct net_record **ret);
/** Write one record. Errors are kept and told by net_record_finish(). */
void net_record_put(struct net_record *record,
		    const struct net_record_head *head, const void *data,
		    size_t len);
/** Write the facts and the options of @s. */
void net_record_facts(struct net_record *record, const struct tcp_socket *s,
		      const struct net_facts *facts);
/** Write what is true of the whole of @snap. */
void net_record_meta(struct net_record *record,
		     const struct tcp_snapshot *snap);
/** End, flush, close, free. Fails: ERROR_OS (disk full: not whole). */
struct error *net_record_finish(struct net_record *record);

/** Fails: ERROR_USAGE (not such a file, newer version, cut, broken). */
struct error *net_replay_open(const char *path, struct net_replay **ret);
/** The parser behind it, for the fuzzer: any bytes; copies what it needs. */
struct error *net_replay_parse(const void *data, size_t len,
			       struct net_replay **ret);
void net_replay_close(struct net_replay *replay);

/** All first samples, as a snapshot that the caller owns. */
struct error *net_replay_snapshot(const struct net_replay *replay,
				  struct tcp_snapshot **ret);
/**
 * Options and facts of @s. Not in the recording: unknown, and @facts says so.
 * Fails: ERROR_NOMEM.
 */
struct error *net_replay_facts(const struct net_replay *replay,
			       struct tcp_socket *s, struct arena *arena,
			       struct net_facts *facts);
/**
 * Second sample of @s; NOT_SAMPLED when there is none in the recording (it was
 * not asked for, or the kernel refused).
 */
void net_replay_resample(const struct net_replay *replay, struct tcp_socket *s);

struct json_t;

/**
 * Facts and options as JSON and back: the one place that knows both. Owned by
 * the caller (json_decref); NULL when out of memory.
 */
struct json_t *net_facts_to_json(const struct tcp_socket *s,
				 const struct net_facts *facts);
/**
 * Texts go into @arena. Returns: 0, -EBADMSG when it is not of that shape
 * (then nothing is set), -ENOMEM.
 */
int net_facts_from_json(const struct json_t *json, struct arena *arena,
			struct tcp_options *options, struct net_facts *facts);

#endif
