/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NETWATCH_REPLAY_H
#define NETWATCH_REPLAY_H

/**
 * Recordings of raw netlink answers: written by `--net-record FILE`, read by
 * `--net-from FILE` and by tests, so that a report from somewhere else can be
 * judged again here, and each parser sees real bytes.
 *
 * The file: a magic and version line, then records {type, netns inode, mono,
 * wall, length, bytes}, little-endian; see replay.c. The file is foreign:
 * every length is checked.
 */

#include "base/error.h"
#include "netwatch/socket.h"

struct net_record; /* being written */
struct net_replay; /* read whole */

enum net_record_type {
	NET_RECORD_DUMP = 1,   /* one inet_diag_msg of a dump, first sample */
	NET_RECORD_LOOKUP = 2, /* the same, of a second sample */
	NET_RECORD_GONE = 3,   /* a second sample found nothing; cookie (u64) */
	NET_RECORD_FACTS = 4,  /* net_facts and options of one socket, as JSON */
	NET_RECORD_META = 5,   /* consistent flag and gaps, as JSON */
};

struct error *net_record_create(const char *path, struct net_record **ret);
/** Write one record. Errors are kept and told by net_record_finish(). */
void net_record_put(struct net_record *record, enum net_record_type type,
		    uint64_t netns, const void *data, size_t len);
/** Flush, close, free. Fails: ERROR_OS (disk full: the file is not whole). */
struct error *net_record_finish(struct net_record *record);

/** Fails: ERROR_USAGE (not such a file, newer version, truncated). */
struct error *net_replay_open(const char *path, struct net_replay **ret);
/** The parser behind it, for the fuzzer: any bytes; copies what it needs. */
struct error *net_replay_parse(const void *data, size_t len,
			       struct net_replay **ret);
void net_replay_close(struct net_replay *replay);

#endif
