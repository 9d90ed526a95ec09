/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes in, values out: inet_diag_msg, its attributes, and tcp_info. The bytes
 * are the kernel's, or those of a file that somebody sent, so no length in
 * them is believed and no alignment is assumed.
 */
#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <string.h>
#include <sys/socket.h>

#include "netwatch/sockdiag.h"

/*
 * struct tcp_info by offset, because the header that we are built with may be
 * older than the kernel that answers. Fields are only ever appended, and each
 * member of ours has the size of its field.
 * Source: include/uapi/linux/tcp.h, Linux 6.18; the group's length is where
 * its last field ends, and a kernel that sends less does not have the group.
 */
#define FIELD(group, offset, member)                                           \
	{                                                                      \
		group, offset, offsetof(struct tcp_info_fields, member),       \
			sizeof(((struct tcp_info_fields *)0)->member)          \
	}

static const struct {
	enum tcp_info_known group;
	uint16_t offset; // in tcp_info
	uint16_t member; // in tcp_info_fields
	uint16_t size;	 // in both
} info_fields[] = {
	FIELD(TCP_INFO_BASE, 2, retransmits),
	FIELD(TCP_INFO_BASE, 3, probes),
	FIELD(TCP_INFO_BASE, 4, backoff),
	FIELD(TCP_INFO_BASE, 8, rto_us),
	FIELD(TCP_INFO_BASE, 16, snd_mss),
	FIELD(TCP_INFO_BASE, 24, unacked),
	FIELD(TCP_INFO_BASE, 32, lost),
	FIELD(TCP_INFO_BASE, 36, retrans),
	FIELD(TCP_INFO_BASE, 44, last_data_sent_ms),
	FIELD(TCP_INFO_BASE, 52, last_data_recv_ms),
	FIELD(TCP_INFO_BASE, 56, last_ack_recv_ms),
	FIELD(TCP_INFO_BASE, 60, pmtu),
	FIELD(TCP_INFO_BASE, 68, rtt_us),
	FIELD(TCP_INFO_BASE, 72, rttvar_us),
	FIELD(TCP_INFO_BASE, 100, total_retrans),
	FIELD(TCP_INFO_BYTES, 120, bytes_acked),
	FIELD(TCP_INFO_BYTES, 128, bytes_received),
	FIELD(TCP_INFO_SEGS, 136, segs_out),
	FIELD(TCP_INFO_SEGS, 140, segs_in),
	FIELD(TCP_INFO_NOTSENT, 144, notsent_bytes),
	FIELD(TCP_INFO_NOTSENT, 148, min_rtt_us),
	FIELD(TCP_INFO_DATASEGS, 152, data_segs_in),
	FIELD(TCP_INFO_DATASEGS, 156, data_segs_out),
	FIELD(TCP_INFO_LIMITED, 168, busy_us),
	FIELD(TCP_INFO_LIMITED, 176, rwnd_limited_us),
	FIELD(TCP_INFO_LIMITED, 184, sndbuf_limited_us),
	FIELD(TCP_INFO_SENT, 200, bytes_sent),
	FIELD(TCP_INFO_SENT, 208, bytes_retrans),
	FIELD(TCP_INFO_SND_WND, 228, snd_wnd),
	FIELD(TCP_INFO_RTO, 240, total_rto),
	FIELD(TCP_INFO_RTO, 242, total_rto_recoveries),
	FIELD(TCP_INFO_RTO, 244, total_rto_time_ms),
};

/* Length from which a group is there. */
static const struct {
	enum tcp_info_known group;
	size_t len;
} info_groups[] = {
	{ TCP_INFO_BASE, 104 },	    { TCP_INFO_BYTES, 136 },
	{ TCP_INFO_SEGS, 144 },	    { TCP_INFO_NOTSENT, 152 },
	{ TCP_INFO_DATASEGS, 160 }, { TCP_INFO_LIMITED, 192 },
	{ TCP_INFO_SENT, 216 },	    { TCP_INFO_SND_WND, 232 },
	{ TCP_INFO_RTO, 248 },
};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* Of a constant size each, or it would be a call for each of 32 fields. */
static inline void copy_field(void *to, const void *from, size_t size)
{
	switch (size) {
	case 1:
		memcpy(to, from, 1);
		break;
	case 2:
		memcpy(to, from, 2);
		break;
	case 4:
		memcpy(to, from, 4);
		break;
	case 8:
		memcpy(to, from, 8);
		break;
	}
}

void sockdiag_parse_tcp_info(const void *data, size_t len,
			     struct tcp_info_fields *ret)
{
	memset(ret, 0, sizeof(*ret));
	for (size_t i = 0; i < COUNT(info_groups); i++) {
		if (len >= info_groups[i].len)
			ret->known |= info_groups[i].group;
	}
	for (size_t i = 0; i < COUNT(info_fields); i++) {
		if (ret->known & info_fields[i].group)
			copy_field((char *)ret + info_fields[i].member,
				   (const char *)data + info_fields[i].offset,
				   info_fields[i].size);
	}
}

static bool is_link_local(const struct endpoint *e)
{
	return e->family == AF_INET6 && e->addr[0] == 0xfe &&
	       (e->addr[1] & 0xc0) == 0x80;
}

static void parse_endpoint(uint8_t family, const __be32 addr[4], __be16 port,
			   uint32_t ifindex, struct endpoint *ret)
{
	const uint8_t *p = (const uint8_t *)&port;

	ret->family = family;
	memcpy(ret->addr, addr, family == AF_INET ? 4 : 16);
	ret->port = p[0] << 8 | p[1];
	// a link-local connection is always bound to its interface
	ret->scope = is_link_local(ret) ? ifindex : 0;
}

static void parse_attributes(const uint8_t *p, size_t len,
			     struct tcp_socket *ret)
{
	while (len >= sizeof(struct nlattr)) {
		struct nlattr attr;

		memcpy(&attr, p, sizeof(attr));
		if (attr.nla_len < sizeof(attr) || attr.nla_len > len)
			return;
		if ((attr.nla_type & NLA_TYPE_MASK) == INET_DIAG_INFO)
			sockdiag_parse_tcp_info(p + sizeof(attr),
						attr.nla_len - sizeof(attr),
						&ret->first.info);
		size_t step = NLA_ALIGN(attr.nla_len);
		if (step >= len)
			return;
		p += step;
		len -= step;
	}
}

int sockdiag_parse(const void *data, size_t len, struct tcp_socket *ret)
{
	struct inet_diag_msg m;

	if (len < sizeof(m))
		return -EBADMSG;
	memcpy(&m, data, sizeof(m));
	if ((m.idiag_family != AF_INET && m.idiag_family != AF_INET6) ||
	    m.idiag_state > TCP_STATE_NEW_SYN_RECV)
		return -EBADMSG;
	memset(ret, 0, sizeof(*ret));
	parse_endpoint(m.idiag_family, m.id.idiag_src, m.id.idiag_sport,
		       m.id.idiag_if, &ret->local);
	parse_endpoint(m.idiag_family, m.id.idiag_dst, m.id.idiag_dport,
		       m.id.idiag_if, &ret->remote);
	ret->inode = m.idiag_inode;
	ret->cookie = (uint64_t)m.id.idiag_cookie[1] << 32 |
		      m.id.idiag_cookie[0];
	ret->uid = m.idiag_uid;
	ret->ifindex = m.id.idiag_if;
	ret->second_state = TCP_NOT_SAMPLED;
	ret->first.state = m.idiag_state;
	ret->first.timer = m.idiag_timer;
	ret->first.expires_ms = m.idiag_expires;
	ret->first.retrans = m.idiag_retrans;
	ret->first.rqueue = m.idiag_rqueue;
	ret->first.wqueue = m.idiag_wqueue;
	parse_attributes((const uint8_t *)data + sizeof(m), len - sizeof(m),
			 ret);
	return 0;
}
