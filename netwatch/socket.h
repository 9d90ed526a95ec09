/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NETWATCH_SOCKET_H
#define NETWATCH_SOCKET_H

/**
 * TCP sockets as values: what the kernel said of them, when, and what it did
 * not say. Nothing here makes a system call, nothing here judges.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/gap.h"

#define SOCKET_MAX 8000000 /* sockets in one snapshot: 5 GB of ours */

/** States by the kernel's numbers (include/net/tcp_states.h, Linux 6.18). */
enum tcp_state {
	TCP_STATE_UNKNOWN = 0,
	TCP_STATE_ESTABLISHED = 1,
	TCP_STATE_SYN_SENT = 2,
	TCP_STATE_SYN_RECV = 3,
	TCP_STATE_FIN_WAIT1 = 4,
	TCP_STATE_FIN_WAIT2 = 5,
	TCP_STATE_TIME_WAIT = 6,
	TCP_STATE_CLOSE = 7,
	TCP_STATE_CLOSE_WAIT = 8,
	TCP_STATE_LAST_ACK = 9,
	TCP_STATE_LISTEN = 10,
	TCP_STATE_CLOSING = 11,
	TCP_STATE_NEW_SYN_RECV = 12,
};

/** idiag_timer (net/ipv4/inet_diag.c, Linux 6.18). */
enum tcp_timer {
	TCP_TIMER_OFF = 0,
	TCP_TIMER_RETRANSMIT = 1, /* also RACK and loss probe */
	TCP_TIMER_KEEPALIVE = 2,
	TCP_TIMER_TIME_WAIT = 3,
	TCP_TIMER_PERSIST = 4, /* zero window probe */
};

/** An address and a port. v4-mapped IPv6 addresses stay AF_INET6. */
struct endpoint {
	uint8_t family;	  /* AF_INET or AF_INET6 */
	uint8_t addr[16]; /* network order; the first 4 bytes for AF_INET */
	uint16_t port;	  /* host order */
	uint32_t scope;	  /* interface of a link-local address, 0 none */
};

/** Room for "[ffff:...%4294967295]:65535". */
#define ENDPOINT_TEXT_MAX 80

/** "10.0.0.1:80", "[2001:db8::1]:80"; v4-mapped ones print as IPv4. */
void endpoint_format(const struct endpoint *e, char buf[ENDPOINT_TEXT_MAX]);
/** The address alone, without port and brackets. */
void endpoint_format_addr(const struct endpoint *e,
			  char buf[ENDPOINT_TEXT_MAX]);
/**
 * Parse "10.0.0.1", "10.0.0.1:80", "fd00::1", "[fd00::1]", "[fd00::1]:80", and
 * nothing else; a v4-mapped address becomes AF_INET. Without a port it is 0.
 */
bool endpoint_parse(const char *text, struct endpoint *ret);
/** Is @e what @asked means: the same address, and its port unless that is 0? */
bool endpoint_meant(const struct endpoint *asked, const struct endpoint *e);
/** @asked as it was written: without its port when that is 0. */
void endpoint_format_asked(const struct endpoint *asked,
			   char buf[ENDPOINT_TEXT_MAX]);
bool endpoint_equal(const struct endpoint *a, const struct endpoint *b);
bool endpoint_is_v4mapped(const struct endpoint *e);
bool endpoint_is_loopback(const struct endpoint *e);
/** The same endpoint as AF_INET when it is v4-mapped, else unchanged. */
struct endpoint endpoint_unmap(const struct endpoint *e);

/**
 * The fields of tcp_info that we use. `known` has a bit for each group, set
 * from the length that the kernel sent: older kernels send less.
 */
enum tcp_info_known {
	TCP_INFO_BASE = 1 << 0,	    /* up to tcpi_total_retrans, 104 bytes */
	TCP_INFO_BYTES = 1 << 1,    /* bytes_acked, bytes_received (4.1) */
	TCP_INFO_SEGS = 1 << 2,	    /* segs_out, segs_in (4.2) */
	TCP_INFO_NOTSENT = 1 << 3,  /* notsent_bytes, min_rtt (4.6) */
	TCP_INFO_DATASEGS = 1 << 4, /* data_segs_in, data_segs_out (4.6) */
	TCP_INFO_LIMITED = 1 << 5,  /* busy, rwnd_limited, sndbuf_limited */
	TCP_INFO_SENT = 1 << 6,	    /* bytes_sent, bytes_retrans (4.19) */
	TCP_INFO_SND_WND = 1 << 7,  /* snd_wnd (5.4) */
	TCP_INFO_RTO = 1 << 8,	    /* total_rto ... (6.7) */
};

struct tcp_info_fields {
	uint32_t known; /* enum tcp_info_known bits; 0: no tcp_info at all */
	uint8_t retransmits, probes, backoff;
	uint32_t rto_us, snd_mss, unacked, lost, retrans;
	uint32_t last_data_sent_ms, last_data_recv_ms, last_ack_recv_ms;
	uint32_t pmtu, rtt_us, rttvar_us, total_retrans;
	uint64_t bytes_acked, bytes_received;
	uint32_t segs_out, segs_in;
	uint32_t notsent_bytes, min_rtt_us;
	uint32_t data_segs_in, data_segs_out;
	uint64_t busy_us, rwnd_limited_us, sndbuf_limited_us;
	uint64_t bytes_sent, bytes_retrans;
	uint32_t snd_wnd;
	uint16_t total_rto, total_rto_recoveries;
	uint32_t total_rto_time_ms;
};

/** What one look at a socket gave. */
struct tcp_sample {
	int64_t at_mono_ns; /* when the kernel's answer was received */
	int64_t at_wall_ms;
	enum tcp_state state;
	enum tcp_timer timer;
	uint32_t expires_ms; /* to that timer; 0 when OFF */
	uint8_t retrans;     /* of that timer: unanswered probes or resends */
	uint32_t rqueue; /* bytes not read by the program; LISTEN: backlog */
	uint32_t wqueue; /* bytes not acknowledged; LISTEN: its limit */
	struct tcp_info_fields info;
};

/** Settings on the socket, by getsockopt(2) on a short-lived duplicate. */
struct tcp_options {
	bool known;
	int error; /* errno when not known: EPERM, EBADF (gone) ... */
	bool keepalive;
	uint32_t keepidle_s, keepintvl_s, keepcnt;
	uint32_t user_timeout_ms; /* 0: off */
	/* SO_RCVTIMEO, SO_SNDTIMEO (socket(7)): what ends a blocking call; 0:
	 * none. Up to 49 days, longer ones are cut. */
	uint32_t recv_timeout_ms, send_timeout_ms;
	bool is_mptcp; /* SO_PROTOCOL is IPPROTO_MPTCP */
};

enum tcp_sample_state {
	TCP_SAMPLED,	 /* taken */
	TCP_NOT_SAMPLED, /* not asked for */
	TCP_VANISHED,	 /* the kernel has no such socket (cookie) any more */
	TCP_SAMPLE_FAILED,
};

struct tcp_socket {
	uint64_t netns; /* inode of the namespace it lives in */
	struct endpoint local, remote;
	uint64_t inode;	 /* 0: no file (TIME_WAIT, orphan) */
	uint64_t cookie; /* identity: never reused */
	uint32_t uid;
	uint32_t ifindex; /* bound device, 0 none */
	struct tcp_sample first;
	struct tcp_sample second; /* valid when second_state is SAMPLED */
	enum tcp_sample_state second_state;
	struct tcp_options options;
};

/** All (or the asked-for) TCP sockets at one moment. Immutable once taken. */
struct tcp_snapshot {
	struct arena *arena;
	struct tcp_socket *v; /* ascending by inode, then by cookie */
	size_t n;
	size_t cap;	 /* of v, which grows and so is not in the arena */
	bool consistent; /* false: a dump was interrupted, also when retried */
	struct gaps gaps;
};

/** An empty, consistent one; NULL when out of memory. */
struct tcp_snapshot *tcp_snapshot_create(void);
void tcp_snapshot_destroy(struct tcp_snapshot *snap);
/**
 * While it is being taken: a slot at the end, with any contents, or NULL when
 * out of memory or at SOCKET_MAX. Moves v.
 */
struct tcp_socket *tcp_snapshot_add(struct tcp_snapshot *snap);
/** Make room for @n more, with one allocation. Moves v. */
struct error *tcp_snapshot_reserve(struct tcp_snapshot *snap, size_t n);
/** Put v in order, and drop what was seen twice (same cookie). */
struct error *tcp_snapshot_sort(struct tcp_snapshot *snap);
/** The latest sample that was taken of it. */
static inline const struct tcp_sample *
tcp_socket_latest(const struct tcp_socket *s)
{
	return s->second_state == TCP_SAMPLED ? &s->second : &s->first;
}

/** By inode (not 0); NULL when absent. */
struct tcp_socket *tcp_snapshot_find(const struct tcp_snapshot *snap,
				     uint64_t inode);
/** "ESTABLISHED" ...; JSON uses the lower-case form "established". */
const char *tcp_state_name(enum tcp_state state);
const char *tcp_state_json(enum tcp_state state);
/** "off", "retransmit", "keepalive", "time-wait", "persist". */
const char *tcp_timer_name(enum tcp_timer timer);

static inline void tcp_snapshot_destroyp(struct tcp_snapshot **snap)
{
	tcp_snapshot_destroy(*snap);
}
#define AUTO_SOCKETS __attribute__((cleanup(tcp_snapshot_destroyp)))

#endif
