/* SPDX-License-Identifier: Apache-2.0 */
#include "netwatch/options.h"

#include <errno.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/xattr.h>

#include "base/cleanup.h"
#include "netwatch/netns.h"

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

static int get_u32(int fd, int level, int name, uint32_t *ret)
{
	socklen_t len = sizeof(*ret);

	return getsockopt(fd, level, name, ret, &len) < 0 ? -errno : 0;
}

/* A time-out of less than one millisecond is one all the same. */
static int get_timeout(int fd, int name, uint32_t *ret)
{
	struct timeval tv = { 0 };
	socklen_t len = sizeof(tv);

	if (getsockopt(fd, SOL_SOCKET, name, &tv, &len) < 0)
		return -errno;
	if (tv.tv_sec >= UINT32_MAX / 1000)
		*ret = UINT32_MAX;
	else
		*ret = (uint32_t)(tv.tv_sec * 1000 + (tv.tv_usec + 999) / 1000);
	return 0;
}

static int get_cookie(int fd, uint64_t *ret)
{
	socklen_t len = sizeof(*ret);

	return getsockopt(fd, SOL_SOCKET, SO_COOKIE, ret, &len) < 0 ? -errno
								    : 0;
}

static uint64_t fd_inode(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 ? st.st_ino : 0;
}

static bool is_same_socket(int dup, const struct socket_ref *ref, bool is_mptcp)
{
	uint64_t cookie;

	if (is_mptcp || get_cookie(dup, &cookie) < 0)
		return ref->inode != 0 && fd_inode(dup) == ref->inode;
	return cookie == ref->cookie;
}

static int read_settings(int dup, const struct tcp_socket *s,
			 struct tcp_options *ret)
{
	const struct {
		int name;
		uint32_t *to;
	} settings[] = {
		{ TCP_KEEPIDLE, &ret->keepidle_s },
		{ TCP_KEEPINTVL, &ret->keepintvl_s },
		{ TCP_KEEPCNT, &ret->keepcnt },
		{ TCP_USER_TIMEOUT, &ret->user_timeout_ms },
	};
	uint32_t protocol, keepalive;
	int rc = get_u32(dup, SOL_SOCKET, SO_PROTOCOL, &protocol);

	if (rc < 0)
		return rc;
	ret->is_mptcp = protocol == IPPROTO_MPTCP;
	const struct socket_ref ref = { .inode = s->inode,
					.cookie = s->cookie };
	if (!is_same_socket(dup, &ref, ret->is_mptcp))
		return -ESTALE;
	rc = get_u32(dup, SOL_SOCKET, SO_KEEPALIVE, &keepalive);
	if (rc < 0)
		return rc;
	ret->keepalive = keepalive != 0;
	rc = get_timeout(dup, SO_RCVTIMEO, &ret->recv_timeout_ms);
	if (!rc)
		rc = get_timeout(dup, SO_SNDTIMEO, &ret->send_timeout_ms);
	if (rc < 0)
		return rc;
	for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++) {
		rc = get_u32(dup, IPPROTO_TCP, settings[i].name,
			     settings[i].to);
		if (rc < 0)
			return rc;
	}
	return 0;
}

int tcp_options_read(const struct process *p, int fd,
		     const struct tcp_socket *s, struct tcp_options *ret)
{
	AUTO_CLOSE int dup = process_dup_fd(p, fd);
	struct tcp_options o = { 0 };
	int rc = dup < 0 ? dup : read_settings(dup, s, &o);

	if (rc < 0)
		o = (struct tcp_options){ .error = -rc,
					  .is_mptcp = o.is_mptcp };
	else
		o.known = true;
	*ret = o;
	return rc;
}

const char *tcp_options_why(const struct tcp_options *o)
{
	if (o->known)
		return NULL;
	switch (o->error) {
	case 0:
		return "not asked for";
	case EPERM:
	case EACCES:
		return "not permitted; run as root or grant CAP_SYS_PTRACE";
	case EBADF:
	case ESTALE:
		return "the program closed it meanwhile";
	case ESRCH:
		return "the process has ended";
	case ENOSYS:
		return "this kernel has no pidfd_getfd (Linux 5.6)";
	case EOPNOTSUPP:
	case ENOPROTOOPT:
		return "this kernel does not tell for this kind of socket";
	case ENODATA:
		return "not in the recording";
	default:
		return strerror(o->error);
	}
}

enum socket_kind socket_kind_by_name(const struct process *p, int fd)
{
	char path[64], name[64];

	// through procfd, so that a reused pid cannot answer
	snprintf(path, sizeof(path), "/proc/self/fd/%d/fd/%d", p->procfd, fd);
	ssize_t len =
		getxattr(path, "system.sockprotoname", name, sizeof(name) - 1);
	if (len <= 0)
		return SOCKET_UNKNOWN;
	name[len] = '\0';
	if (strcmp(name, "TCP") == 0 || strcmp(name, "TCPv6") == 0 ||
	    strcmp(name, "MPTCP") == 0 || strcmp(name, "MPTCPv6") == 0)
		return SOCKET_TCP;
	return name[0] ? SOCKET_NOT_TCP : SOCKET_UNKNOWN;
}

static void from_sockaddr(const struct sockaddr_storage *ss,
			  struct endpoint *ret)
{
	if (ss->ss_family == AF_INET6) {
		struct sockaddr_in6 in6;

		memcpy(&in6, ss, sizeof(in6));
		ret->family = AF_INET6;
		memcpy(ret->addr, &in6.sin6_addr, 16);
		ret->port = ntohs(in6.sin6_port);
		ret->scope = in6.sin6_scope_id;
	} else {
		struct sockaddr_in in;

		memcpy(&in, ss, sizeof(in));
		ret->family = AF_INET;
		memcpy(ret->addr, &in.sin_addr, 4);
		ret->port = ntohs(in.sin_port);
	}
}

static void probe_names(int dup, struct socket_probe *ret)
{
	struct sockaddr_storage ss = { 0 };
	socklen_t len = sizeof(ss);

	if (getsockname(dup, (struct sockaddr *)&ss, &len) == 0)
		from_sockaddr(&ss, &ret->local);
	ret->remote.family = ret->local.family;
	memset(&ss, 0, sizeof(ss));
	len = sizeof(ss);
	if (getpeername(dup, (struct sockaddr *)&ss, &len) == 0)
		from_sockaddr(&ss, &ret->remote);
}

static enum socket_kind probe_kind(int dup, bool *is_mptcp)
{
	uint32_t domain, type, protocol;

	if (get_u32(dup, SOL_SOCKET, SO_DOMAIN, &domain) < 0 ||
	    get_u32(dup, SOL_SOCKET, SO_TYPE, &type) < 0 ||
	    get_u32(dup, SOL_SOCKET, SO_PROTOCOL, &protocol) < 0)
		return SOCKET_UNKNOWN;
	*is_mptcp = protocol == IPPROTO_MPTCP;
	if ((domain != AF_INET && domain != AF_INET6) || type != SOCK_STREAM ||
	    (protocol != IPPROTO_TCP && !*is_mptcp))
		return SOCKET_NOT_TCP;
	return SOCKET_TCP;
}

static void probe_tcp(int dup, struct socket_probe *ret)
{
	socklen_t len = sizeof(ret->info);

	get_cookie(dup, &ret->cookie);
	if (getsockopt(dup, IPPROTO_TCP, TCP_INFO, ret->info, &len) == 0) {
		ret->info_len = len;
		ret->state = len > 0 ? ret->info[0] : TCP_STATE_UNKNOWN;
	}
	probe_names(dup, ret);
	ret->netns_fd = ioctl(dup, SIOCGSKNS);
	if (ret->netns_fd < 0)
		ret->netns_error = errno;
	else
		ret->netns = netns_inode(ret->netns_fd);
}

/* Returns: a duplicate of @ref->fd that certainly is @ref, or -errno. */
static int dup_ref(const struct process *p, const struct socket_ref *ref,
		   bool *is_mptcp)
{
	AUTO_CLOSE int dup = process_dup_fd(p, ref->fd);
	struct stat st;

	if (dup < 0)
		return dup;
	if (fstat(dup, &st) < 0)
		return -errno;
	if (!S_ISSOCK(st.st_mode))
		return -ENOTSOCK;
	*is_mptcp = false;
	if (probe_kind(dup, is_mptcp) != SOCKET_TCP)
		return -EPROTOTYPE;
	if (!is_same_socket(dup, ref, *is_mptcp))
		return -ESTALE;
	return TAKE_FD(dup);
}

int socket_ref_dup(const struct process *p, const struct socket_ref *ref)
{
	bool is_mptcp;
	int dup = dup_ref(p, ref, &is_mptcp);

	// what is no TCP socket at all is another file now
	return dup == -ENOTSOCK || dup == -EPROTOTYPE ? -ESTALE : dup;
}

int tcp_dup(const struct process *p, int fd, const struct tcp_socket *s,
	    bool *is_mptcp)
{
	const struct socket_ref ref = { .fd = fd,
					.inode = s->inode,
					.cookie = s->cookie };

	return dup_ref(p, &ref, is_mptcp);
}

int socket_probe(const struct process *p, int fd, struct socket_probe *ret)
{
	AUTO_CLOSE int dup = process_dup_fd(p, fd);

	if (dup < 0)
		return dup;
	memset(ret, 0, sizeof(*ret));
	ret->netns_fd = -1;
	ret->inode = fd_inode(dup);
	ret->kind = probe_kind(dup, &ret->is_mptcp);
	if (ret->kind == SOCKET_TCP)
		probe_tcp(dup, ret);
	return 0;
}
