/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NETWATCH_VERDICT_H
#define NETWATCH_VERDICT_H

/**
 * Is a connection alive? A pure function of what was observed: no system call,
 * no clock. The word half-open is kept for proof.
 */

#include "base/error.h"
#include "netwatch/socket.h"

enum verdict_kind {
	VERDICT_HALF_OPEN,	  /* the peer has no such connection */
	VERDICT_UNREACHABLE,	  /* what was sent goes unanswered */
	VERDICT_LOCAL_CAUSE,	  /* address, route, carrier, next hop */
	VERDICT_HALF_CLOSED,	  /* the peer said goodbye */
	VERDICT_PEER_NOT_READING, /* zero window, peer answers */
	VERDICT_PATH_MTU,	  /* small packets pass, big ones do not */
	VERDICT_DATA_WAITING,	  /* the reader is not stuck on the network */
	VERDICT_ALIVE,
	VERDICT_SILENT,	    /* idle: nothing tells alive from dead */
	VERDICT_UNKNOWN,    /* not seen well enough to say even that */
	VERDICT_LISTENING,  /* a listener: there is nothing to judge */
	VERDICT_CONNECTING, /* the handshake is not finished */
};

enum fact {
	FACT_UNKNOWN,
	FACT_YES,
	FACT_NO,
};

/** What the local side says of the path to the peer (rtnetlink). */
struct path_facts {
	enum fact address_present;  /* is the source address still ours? */
	enum fact route_present;    /* is there a route from it? */
	enum fact carrier;	    /* of the outgoing device */
	enum fact neighbour_failed; /* next hop's entry is NUD_FAILED */
	const char *device;	    /* outgoing device, NULL unknown */
	const char *next_hop;	    /* address text, NULL: on link or unknown */
	const char *neighbour;	    /* "REACHABLE", "STALE" ..., NULL none */
	int64_t neighbour_age_ms; /* since that state was entered, -1 unknown */
	const char *unknown_why;  /* what stopped us from knowing, or NULL */
};

enum peer_lookup {
	PEER_NOT_LOOKED,  /* see why */
	PEER_NOT_ON_HOST, /* no namespace that we reach has the address */
	PEER_FOUND,	  /* its socket: see peer_state */
	PEER_ABSENT,	  /* the path leads to a namespace that lacks it */
	PEER_AMBIGUOUS,	  /* address is here, that it is the peer is not sure */
};

/** What the peer's own namespace says, when the peer is on this host. */
struct peer_facts {
	enum peer_lookup lookup;
	uint64_t netns;		   /* inode of the peer's namespace */
	const char *netns_name;	   /* "/run/netns/b" or "pid 12 (redis)" */
	enum tcp_state peer_state; /* FOUND */
	uint8_t peer_timer, peer_retrans;
	bool limited;	       /* not ABSENT or FOUND, for a limit of ours */
	const char *via;       /* namespaces and NAT on the way, NULL direct */
	const char *why;       /* why not looked, or why ambiguous */
	int64_t first_wall_ms; /* first look that gave this answer */
	int64_t at_wall_ms;    /* the last one */
	uint32_t times; /* how often the lookup was made with this answer */
};

enum probe_method {
	PROBE_BY_NOTHING,
	PROBE_BY_WINDOW,    /* TCP_REPAIR 0: one zero-length window probe */
	PROBE_BY_KEEPALIVE, /* the kernel's keepalive, turned on for a while */
};

enum probe_result {
	PROBE_NOT_ASKED,
	PROBE_REFUSED,	/* none was sent; see why */
	PROBE_ANSWERED, /* a segment arrived, and no reset */
	PROBE_RST,	/* a reset arrived */
	PROBE_SILENCE,	/* nothing arrived; see sent and waited_ms */
	PROBE_GONE,	/* it ended meanwhile, and not by a reset we saw */
};

#define PROBE_MAX 3 /* for one connection and attempt: see probe.h */

/** What came of probing, when the user asked for it (probe.h). */
struct probe_facts {
	enum probe_method method;
	enum probe_result result;
	bool shielded;		       /* a reset was kept from the program */
	uint32_t sent;		       /* at most PROBE_MAX */
	int64_t at_wall_ms[PROBE_MAX]; /* of each, or when it was seen */
	int64_t known_wall_ms;	       /* when the result was known */
	int64_t answered_ms;	       /* after the first probe; -1 no answer */
	int64_t waited_ms;	    /* from the first probe to the last look */
	int64_t window_ms;	    /* that was asked for */
	uint32_t segs_in, segs_out; /* more than before the first probe */
	enum tcp_state state;	    /* at the last look */
	enum fact next_hop_failed;  /* after the probes */
	const char *next_hop;	    /* address text, NULL unknown */
	const char *why; /* refused, gone, or not all sent: the reason */
};

struct net_facts {
	struct path_facts path;
	struct peer_facts peer;
	struct probe_facts probe;
	/**
	 * Judge for a blocked write: unread data in the receive queue is then
	 * no excuse. Set by whoever knows who waits; false is a reader.
	 */
	bool for_writer;
};

enum evidence_kind {
	EVIDENCE_PEER_NETNS,  /* "peer-netns-lookup" */
	EVIDENCE_SEGMENTS,    /* "segments": segs_in in two samples */
	EVIDENCE_RETRANSMIT,  /* "retransmissions" */
	EVIDENCE_KEEPALIVE,   /* "keepalive" */
	EVIDENCE_ZERO_WINDOW, /* "zero-window" */
	EVIDENCE_LOCAL,	      /* "local-path" */
	EVIDENCE_STATE,	      /* "state" */
	EVIDENCE_QUEUE,	      /* "queue" */
	EVIDENCE_IDLE,	      /* "idle": what is known of silence */
	EVIDENCE_MISSING,     /* "missing": what would tell */
	EVIDENCE_PROBE,	      /* "probe": what was sent, and the answer */
};

struct evidence {
	enum evidence_kind kind;
	const char *text;   /* one sentence, no full stop */
	int64_t at_wall_ms; /* when it was observed */
};

#define VERDICT_MAX_EVIDENCE 12

struct verdict {
	enum verdict_kind kind;
	bool certain; /* proof: nothing else explains what was seen */
	/**
	 * When the kernel itself ends the connection if nothing answers until
	 * then, from the last sample on; -1: never, or not known.
	 */
	int64_t kernel_gives_up_ms;
	struct evidence evidence[VERDICT_MAX_EVIDENCE];
	uint32_t n_evidence;
};

/**
 * Judge @s (first and, when taken, second sample) by @facts.
 *
 * Half-open needs all of: PEER_ABSENT in two looks at least 500 ms apart, the
 * first not after the second sample, the last not before it; the connection
 * ESTABLISHED (or FIN_WAIT2) in both samples; no segment in between. So it is
 * never the verdict of one sample (--quick). Or a reset that answered a probe:
 * a firewall can forge one, but the connection is dead either way, and the
 * evidence says what it was.
 *
 * A probe that any segment answers is alive. Unreachable by probe needs three
 * without an answer (two of keepalive's) and ten seconds; what was tried with
 * less is evidence of a silent connection and no more.
 *
 * @param facts NULL: nothing is known.
 * @param arena for the evidence texts.
 * Returns: NULL or ERROR_NOMEM.
 */
struct error *verdict_judge(const struct tcp_socket *s,
			    const struct net_facts *facts, struct arena *arena,
			    struct verdict *ret);

/** Were so many probes unanswered for so long that it is called unreachable? */
bool verdict_probe_failed(const struct probe_facts *p);
/** Did it answer, or end, so that the probe is what decides? */
bool verdict_probe_decides(const struct probe_facts *p);

/** "window" ..., "answered" ... as in JSON. */
const char *probe_method_name(enum probe_method method);
const char *probe_result_name(enum probe_result result);

/** "half-open" ... as in JSON and text. */
const char *verdict_name(enum verdict_kind kind);
const char *evidence_kind_name(enum evidence_kind kind);

#endif
